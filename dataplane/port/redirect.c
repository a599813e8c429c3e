#include <rte_mbuf.h>

#include "packet.h"
#include "port.h"
#include "prog.h"
#include "redirect_target.h"
#include "run_stats.h"
#include "to_cpu.h"
#include "transmit.h"
#include "watch.h"
#include "worker.h"
#include "xsk_port.h"

/*
 * XDP_REDIRECT: to a port, or to what a map says. As in the kernel the entry is the one that the
 * program found, whatever has become of the map meanwhile, but a broadcast asks the map when the
 * packet is redirected. An entry's program runs on the packet first.
 */

/*
 * There are two of each function, as in tc.c: one notes the steps of a packet's path, in the other
 * one `path` is constant NULL.
 */
#define INLINE static inline __attribute__((always_inline))

/* The verdict; the packet's bounds are updated. */
INLINE uint32_t run_entry(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt,
	uint8_t meta_len, const struct sl_redirect_target *target, uint32_t egress_ifindex,
	struct sl_path *path)
{
	struct sl_ctx ctx = {
		.run = &worker->run,
		.cpu = worker->run.cpu,
		.ingress_ifindex = port->ifindex,
		.egress_ifindex = egress_ifindex,
		.len = pkt->pkt_len,
	};
	struct sluice_step *step;
	uint32_t verdict;

	sl_packet_begin(&ctx, pkt);
	ctx.data_meta -= meta_len;
	sl_run_reset(&worker->run);
	if (path) {
		step = sl_path_run(path, SLUICE_HOOK_DEVMAP, egress_ifindex, target->prog);
		verdict = (uint32_t)sl_run_traced(target->prog, &ctx);
		if (step)
			step->value = (int)verdict;
	} else {
		verdict = (uint32_t)sl_run_one(target->prog, &ctx);
	}
	return sl_packet_end(&ctx) ? verdict : (uint32_t)XDP_ABORTED;
}

/* To the port that an entry of a DEVMAP or DEVMAP_HASH names. */
INLINE void to_entry(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt,
	uint8_t meta_len, const struct sl_redirect_target *target, struct sl_path *path)
{
	struct sl_port *next = sl_port_peek(target->value);

	if (!next)
		sl_loop_finish(worker, port, pkt, SLUICE_NO_PORT);
	else if (target->prog &&
		 run_entry(worker, port, pkt, meta_len, target, next->ifindex, path) != XDP_PASS)
		sl_loop_finish(worker, port, pkt, SLUICE_REDIRECT_DROP);
	else
		sl_transmit_add(worker, next, pkt);
}

/* To all entries; not to the port that it came from if the program said so. */
INLINE void broadcast(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt,
	uint8_t meta_len, const struct sl_redirect *to, struct sl_path *path)
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
			to_entry(worker, port, copy, meta_len, previous, path);
		}
		previous = target;
	}
	if (previous)
		to_entry(worker, port, pkt, meta_len, previous, path);
	else
		sl_loop_finish(worker, port, pkt, SLUICE_NO_PORT);
}

INLINE void redirect(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, uint8_t meta_len, const struct sl_redirect *to, struct sl_path *path)
{
	const struct sl_redirect_target *target = to->entry;
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
		broadcast(worker, port, pkt, meta_len, to, path);
		return;
	}
	if (to->map->desc.type == BPF_MAP_TYPE_XSKMAP)
		sl_xsk_receive(worker, port, queue, pkt, meta_len, to->entry);
	else if (!target)
		sl_loop_finish(worker, port, pkt, SLUICE_NO_MAP);
	else if (target->queue)
		sl_to_cpu_add(worker, port, pkt, meta_len, target->queue);
	else
		to_entry(worker, port, pkt, meta_len, target, path);
}

void sl_redirect(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, uint8_t meta_len, const struct sl_redirect *to)
{
	redirect(worker, port, queue, pkt, meta_len, to, NULL);
}

void sl_redirect_watched(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, uint8_t meta_len, const struct sl_redirect *to)
{
	struct sl_path *path = worker->run.path;
	uint32_t ifindex = to->ifindex;

	if (to->map && !(to->flags & BPF_F_BROADCAST) && to->entry &&
		(to->map->desc.type == BPF_MAP_TYPE_DEVMAP ||
			to->map->desc.type == BPF_MAP_TYPE_DEVMAP_HASH))
		ifindex = ((const struct sl_redirect_target *)to->entry)->value;
	sl_path_redirect(path, to->map && !ifindex ? 0 : ifindex, to->map ? to->map->obj.id : 0);
	redirect(worker, port, queue, pkt, meta_len, to, path);
}
