#include <rte_mbuf.h>

#include "packet.h"
#include "port.h"
#include "prog.h"
#include "redirect_target.h"
#include "run_stats.h"
#include "transmit.h"
#include "worker.h"

/*
 * XDP_REDIRECT: to a port, or to what a map says. As in the kernel the map is asked when the packet
 * is redirected, not when the program looked; an entry that has gone meanwhile loses the packet. An
 * entry's program runs on the packet first.
 */

/* The verdict; *ret_asked is what goes with it. The packet's bounds and metadata are updated. */
static uint32_t run_entry(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, const struct sl_redirect_target *target, uint32_t egress_ifindex,
	uint8_t *ret_meta_len)
{
	struct sl_ctx ctx = {
		.run = &worker->run,
		.cpu = worker->run.cpu,
		.ingress_ifindex = port->ifindex,
		.egress_ifindex = egress_ifindex,
		.rx_queue_index = queue,
		.len = pkt->pkt_len,
	};
	uint64_t begin_ns = sl_run_stats_begin();
	uint32_t verdict;

	sl_packet_begin(&ctx, pkt);
	sl_run_reset(&worker->run);
	verdict = (uint32_t)target->prog->code->run(&ctx, SL_TAIL_CALLS);
	sl_run_stats_end(target->prog, ctx.cpu, begin_ns, 1);
	if (!sl_packet_end(&ctx))
		return XDP_ABORTED;
	*ret_meta_len = (uint8_t)(ctx.data - ctx.data_meta);
	return verdict;
}

/* To the port that an entry of a DEVMAP or DEVMAP_HASH names. */
static void to_entry(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, const struct sl_redirect_target *target)
{
	struct sl_port *next = sl_port_peek(target->value);
	uint8_t meta_len;

	if (!next)
		sl_loop_finish(worker, port, pkt, SLUICE_NO_PORT);
	else if (target->prog &&
		 run_entry(worker, port, queue, pkt, target, next->ifindex, &meta_len) != XDP_PASS)
		sl_loop_finish(worker, port, pkt, SLUICE_REDIRECT_DROP);
	else
		sl_transmit_add(worker, next, pkt);
}

/* To all entries; not to the port that it came from if the program said so. */
static void broadcast(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, const struct sl_redirect *to)
{
	const struct sl_redirect_target *target, *previous = NULL;
	uint64_t position = 0;

	while ((target = sl_redirect_next(to->map, &position))) {
		struct rte_mbuf *copy;

		if ((to->flags & BPF_F_EXCLUDE_INGRESS) && target->value == port->ifindex)
			continue;
		if (!sl_port_peek(target->value))
			continue;
		/* The last one gets the packet itself. */
		if (previous) {
			copy = rte_pktmbuf_copy(pkt, pkt->pool, 0, UINT32_MAX);
			if (!copy)
				break;
			sl_worker_count_add(worker, port->id, SLUICE_CLONE, 1);
			to_entry(worker, port, queue, copy, previous);
		}
		previous = target;
	}
	if (previous)
		to_entry(worker, port, queue, pkt, previous);
	else
		sl_loop_finish(worker, port, pkt, SLUICE_NO_PORT);
}

/*
 * To another CPU. Which worker a packet is on matters only for speed, so it stays on this one: the
 * entry's program runs here, and the packet goes on as one that XDP has passed.
 */
static void to_cpu(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, const struct sl_redirect_target *target)
{
	uint32_t verdict = XDP_PASS;
	struct sl_redirect asked;
	uint8_t meta_len = 0;

	if (target->prog)
		verdict = run_entry(worker, port, queue, pkt, target, 0, &meta_len);
	asked = (struct sl_redirect){
		.ifindex = worker->run.redirect_ifindex,
		.key = worker->run.redirect_key,
		.flags = worker->run.redirect_flags,
		.map = worker->run.redirect_map,
	};
	if (verdict == XDP_PASS)
		sl_loop_pass(worker, port, queue, &pkt, &meta_len, 1);
	else if (verdict == XDP_REDIRECT &&
		 !(asked.map && asked.map->desc.type == BPF_MAP_TYPE_CPUMAP))
		sl_redirect(worker, port, queue, pkt, &asked);
	else
		sl_loop_finish(worker, port, pkt, SLUICE_REDIRECT_DROP);
}

void sl_redirect(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, const struct sl_redirect *to)
{
	const struct sl_redirect_target *target;
	struct sl_port *next;

	if (!to->map) {
		next = sl_port_peek(to->ifindex);
		if (next)
			sl_transmit_add(worker, next, pkt);
		else
			sl_loop_finish(worker, port, pkt, SLUICE_NO_PORT);
		return;
	}
	if (to->flags & BPF_F_BROADCAST) {
		broadcast(worker, port, queue, pkt, to);
		return;
	}
	target = sl_redirect_find(to->map, to->key);
	if (!target)
		sl_loop_finish(worker, port, pkt, SLUICE_NO_MAP);
	else if (to->map->desc.type == BPF_MAP_TYPE_CPUMAP)
		to_cpu(worker, port, queue, pkt, target);
	else
		to_entry(worker, port, queue, pkt, target);
}
