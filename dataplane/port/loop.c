#include "worker.h"

#include <string.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <rte_mbuf.h>

#include "hook_swap.h"
#include "neighbour.h"
#include "offload.h"
#include "packet.h"
#include "port.h"
#include "prog.h"
#include "redirect.h"
#include "run_stats.h"
#include "skb_room.h"
#include "tap.h"
#include "tc.h"
#include "transmit.h"
#include "tunnel_port.h"
#include "twin.h"
#include "watch.h"

/*
 * The way of a packet: RX burst, XDP program, TC ingress filters, and then the kernel, another
 * port's TC egress filters, or a TX queue. As in the kernel, XDP_TX and XDP_REDIRECT do not pass
 * TC egress filters, and TC sees a VLAN tag in the vlan_* fields instead of in the data.
 *
 * Each packet ends in exactly one OUT counter; whoever frees or sends it counts it.
 *
 * This file is compiled twice. While somebody watches, workers are in loop_watched.c, where WATCHED
 * is true: what packets look like on their way, and what becomes of them, is shown from there, and
 * costs nothing here but one look per burst.
 */
#ifndef WATCHED
#define WATCHED 0
#endif

/* Ports that one packet may visit by redirects from TC. */
enum { HOPS_MAX = 8 };

enum { VLAN_LEN = 4, VERDICTS = XDP_REDIRECT + 1 };

static_assert(XDP_ABORTED == 0 && XDP_REDIRECT == 4, "indices of the table below");

static const enum sluice_counter xdp_counters[VERDICTS + 1] = {
	[XDP_ABORTED] = SLUICE_XDP_ABORTED,
	[XDP_DROP] = SLUICE_XDP_DROP,
	[XDP_PASS] = SLUICE_XDP_PASS,
	[XDP_TX] = SLUICE_XDP_TX,
	[XDP_REDIRECT] = SLUICE_XDP_REDIRECT,
	[VERDICTS] = SLUICE_XDP_INVALID,
};

#define TC_COUNTERS(HOOK)                                             \
	{                                                             \
		[TC_ACT_UNSPEC + 1] = SLUICE_##HOOK##_UNSPEC,         \
		[TC_ACT_OK + 1] = SLUICE_##HOOK##_OK,                 \
		[TC_ACT_RECLASSIFY + 1] = SLUICE_##HOOK##_RECLASSIFY, \
		[TC_ACT_SHOT + 1] = SLUICE_##HOOK##_SHOT,             \
		[TC_ACT_PIPE + 1] = SLUICE_##HOOK##_PIPE,             \
		[TC_ACT_STOLEN + 1] = SLUICE_##HOOK##_STOLEN,         \
		[TC_ACT_QUEUED + 1] = SLUICE_##HOOK##_QUEUED,         \
		[TC_ACT_REPEAT + 1] = SLUICE_##HOOK##_REPEAT,         \
		[TC_ACT_REDIRECT + 1] = SLUICE_##HOOK##_REDIRECT,     \
		[TC_ACT_TRAP + 1] = SLUICE_##HOOK##_TRAP,             \
	}

static const enum sluice_counter tc_counters[2][TC_ACT_TRAP + 2] = {
	[SLUICE_TC_INGRESS] = TC_COUNTERS(INGRESS),
	[SLUICE_TC_EGRESS] = TC_COUNTERS(EGRESS),
};

static void count(
	struct sl_worker *worker, struct sl_port *port, enum sluice_counter counter, uint64_t n)
{
	sl_worker_count_add(worker, port->id, counter, n);
}

static void end_packet(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt,
	enum sluice_counter end)
{
	count(worker, port, end, 1);
	sl_transmit_discard(worker, pkt);
}

/* A packet in a context, whose mbuf does not know its bounds. */
static void finish(
	struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx, enum sluice_counter end)
{
	if (WATCHED)
		sl_watch_drop(worker, port, ctx, end);
	end_packet(worker, port, ctx->mbuf, end);
}

#if !WATCHED
void sl_loop_finish(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt,
	enum sluice_counter end)
{
	if (sl_watching())
		sl_watch_drop_burst(worker, port, &pkt, 1, end);
	end_packet(worker, port, pkt, end);
}
#endif

/* The context of a packet that comes from outside to TC ingress. */
static void skb_begin(struct sl_ctx *ctx, struct sl_worker *worker, struct sl_port *port,
	uint16_t queue, struct rte_mbuf *pkt, uint8_t meta_len)
{
	ctx->run = &worker->run;
	ctx->cpu = worker->run.cpu;
	ctx->ingress_ifindex = port->ifindex;
	ctx->ifindex = port->ifindex;
	ctx->egress_ifindex = 0;
	ctx->rx_queue_index = queue;
	ctx->napi_id = 0;
	ctx->at_ingress = 1;
	ctx->tail_calls = 0;
	memcpy(ctx->port_addr, &port->mac, sizeof(ctx->port_addr));
	sl_packet_begin_skb(ctx, pkt);
	ctx->data_meta -= meta_len;
	if (port->rx_queues > 1)
		ctx->queue_mapping = (uint16_t)(queue + 1);
}

static uint16_t read_be16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint16_t protocol_of(const struct sl_ctx *ctx)
{
	return sl_packet_protocol(ctx->data, (uint32_t)(ctx->data_end - ctx->data));
}

/* Takes the outer tag out of the data, as the kernel does before TC ingress. */
static void untag(struct sl_ctx *ctx)
{
	if (ctx->vlan_present || ctx->data_end - ctx->data < ETH_HLEN + VLAN_LEN)
		return;
	ctx->vlan_present = 1;
	ctx->vlan_proto = read_be16(ctx->data + 2 * ETH_ALEN);
	ctx->vlan_tci = ntohs(read_be16(ctx->data + ETH_HLEN));
	memmove(ctx->data + VLAN_LEN, ctx->data, 2 * ETH_ALEN);
	ctx->data += VLAN_LEN;
	ctx->data_meta = ctx->data;
	ctx->len -= VLAN_LEN;
	ctx->protocol = protocol_of(ctx);
}

/* Puts the tag of the vlan_* fields back before the packet leaves. */
static bool tag(struct sl_ctx *ctx)
{
	uint16_t tci = htons((uint16_t)ctx->vlan_tci), proto = (uint16_t)ctx->vlan_proto;

	if (!ctx->vlan_present)
		return true;
	if (ctx->data - ctx->head < VLAN_LEN || ctx->data_end - ctx->data < 2 * ETH_ALEN)
		return false;
	memmove(ctx->data - VLAN_LEN, ctx->data, 2 * ETH_ALEN);
	ctx->data -= VLAN_LEN;
	ctx->data_meta = ctx->data;
	memcpy(ctx->data + 2 * ETH_ALEN, &proto, sizeof(proto));
	memcpy(ctx->data + 2 * ETH_ALEN + 2, &tci, sizeof(tci));
	ctx->len += VLAN_LEN;
	ctx->protocol = proto;
	ctx->vlan_present = ctx->vlan_tci = ctx->vlan_proto = 0;
	return true;
}

/* A packet that was at another port comes in at this one. */
static void change_ingress(struct sl_ctx *ctx, struct sl_port *port)
{
	ctx->ifindex = port->ifindex;
	ctx->ingress_ifindex = port->ifindex;
	ctx->at_ingress = 1;
	memcpy(ctx->port_addr, &port->mac, sizeof(ctx->port_addr));
	if (!port->link_header)
		return;
	ctx->pkt_type =
		sl_packet_type(ctx->data, (uint32_t)(ctx->data_end - ctx->data), ctx->port_addr);
	ctx->protocol = protocol_of(ctx);
}

static void enter_ingress(struct sl_ctx *ctx, struct sl_port *port)
{
	if (!ctx->at_ingress || ctx->ifindex != port->ifindex)
		change_ingress(ctx, port);
	if (port->link_header &&
		(ctx->protocol == htons(ETH_P_8021Q) || ctx->protocol == htons(ETH_P_8021AD)))
		untag(ctx);
	ctx->mac_offset = (uint16_t)(ctx->data - ctx->head);
	ctx->network_offset = ctx->mac_offset + port->link_header;
	ctx->wire_len = ctx->len - sl_min(ctx->len, (uint32_t)port->link_header);
}

static void enter_egress(struct sl_ctx *ctx, struct sl_port *port)
{
	ctx->ifindex = port->ifindex;
	ctx->at_ingress = 0;
	ctx->wire_len = ctx->len;
	if (sl_unlikely(ctx->gso_size))
		ctx->wire_len = sl_offload_wire_len(ctx);
}

static void walk(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx, bool ingress);

/* Clones go their way, in their order, before the packet that they were made from. */
static void walk_clones(struct sl_worker *worker)
{
	worker->in_clones = true;
	/* More may come while these run their programs. */
	for (uint32_t i = 0; i < worker->clone_count; i++) {
		struct sl_clone *clone = &worker->clones[i];

		if (clone->ctx.tunnel)
			worker->run.tunnel = clone->tunnel;
		walk(worker, clone->port, &clone->ctx, clone->ingress);
	}
	worker->clone_count = 0;
	worker->in_clones = false;
}

static int run_filters(const struct sl_tc_list *list, struct sl_ctx *ctx)
{
	uint32_t classid = 0;
	int verdict = WATCHED ? sl_tc_classify_watched(list, ctx, &classid)
			      : sl_tc_classify(list, ctx, &classid);

	if (verdict == TC_ACT_OK || verdict == TC_ACT_RECLASSIFY)
		ctx->tc_index = classid & 0xffff;
	return verdict;
}

/* Shows a packet before its hook, whose verdict is told afterwards. */
static void show_at_hook(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx,
	enum sluice_tc_hook hook, bool has_programs)
{
	const struct sl_sight sight = {
		.worker = worker,
		.port = port,
		.point = hook == SLUICE_TC_INGRESS ? SLUICE_POINT_INGRESS : SLUICE_POINT_EGRESS,
		.queue = (uint16_t)ctx->rx_queue_index,
	};

	if (has_programs)
		sl_watch_hold(&sight, ctx);
	else
		sl_watch_show(&sight, ctx);
}

/* Runs a hook's tcx programs and filters; TC_ACT_UNSPEC without any. */
static int run_hook(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx,
	enum sluice_tc_hook hook)
{
	const struct sl_mprog *progs = sl_rcu_load(port->tcx[hook]);
	const struct sl_tc_list *list = sl_rcu_load(port->tc[hook]);
	int verdict = TC_ACT_UNSPEC;

	if (WATCHED)
		show_at_hook(worker, port, ctx, hook, list || progs);
	if (!list && !progs)
		return TC_ACT_UNSPEC;
	sl_run_reset(&worker->run);
	if (progs)
		verdict = WATCHED ? sl_tcx_run_watched(progs, ctx) : sl_tcx_run(progs, ctx);
	if (list && verdict == TC_ACT_UNSPEC)
		verdict = run_filters(list, ctx);
	count(worker, port, tc_counters[hook][verdict + 1], 1);
	if (WATCHED)
		sl_watch_tc(worker, port, ctx, hook, verdict);
	if (sl_unlikely(worker->clone_count) && !worker->in_clones) {
		struct sl_run asked = worker->run;

		walk_clones(worker);
		worker->run.redirect_ifindex = asked.redirect_ifindex;
		worker->run.redirect_flags = asked.redirect_flags;
		if (ctx->tunnel)
			worker->run.tunnel = asked.tunnel;
		memcpy(worker->run.redirect_nexthop, asked.redirect_nexthop,
			sizeof(asked.redirect_nexthop));
	}
	return verdict;
}

static void show_to_taps(
	struct sl_worker *worker, struct sl_port *port, const struct sl_ctx *ctx, bool outgoing)
{
	const struct sl_tap_list *taps = sl_rcu_load(port->taps);

	if (sl_unlikely(taps))
		sl_tap_show(worker, taps, ctx, outgoing);
}

/* From the context back to the mbuf; false where its way has ended. */
static bool seal(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx)
{
	if (sl_unlikely(ctx->mbuf->ol_flags & SL_OFFLOADS) && !sl_offload_end(ctx)) {
		finish(worker, port, ctx, SLUICE_BAD_OFFLOAD);
		return false;
	}
	if (!sl_packet_end(ctx)) {
		finish(worker, port, ctx, SLUICE_NO_ROOM);
		return false;
	}
	return true;
}

/* Sends a packet that TC has let out of a port. */
static void leave(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx)
{
	if (!tag(ctx)) {
		finish(worker, port, ctx, SLUICE_NO_ROOM);
		return;
	}
	show_to_taps(worker, port, ctx, true);
	if (seal(worker, port, ctx))
		sl_transmit_add(worker, port, ctx->mbuf);
}

/* To the kernel's side of the port, with the tag among the bytes. */
static void reach_kernel(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx)
{
	if (!port->twin || !tag(ctx)) {
		finish(worker, port, ctx, port->twin ? SLUICE_NO_ROOM : SLUICE_KERNEL);
		return;
	}
	if (WATCHED)
		sl_path_kernel(worker->run.path, port->ifindex);
	ctx->mbuf->ol_flags &= ~RTE_MBUF_F_RX_VLAN_STRIPPED;
	if (seal(worker, port, ctx))
		sl_twin_put(worker, port, ctx->mbuf);
}

/*
 * A port without link-layer headers takes the packet from its network header on; one with them
 * needs that a program has put one in front of a packet that had none.
 */
static bool fit_header(struct sl_ctx *ctx, const struct sl_port *port)
{
	int32_t network = sl_skb_network_offset(ctx);

	if (port->link_header)
		return ctx->mac_offset != ctx->network_offset;
	if (network < 0 || network >= ctx->data_end - ctx->data)
		return false;
	ctx->data += network;
	ctx->data_meta = ctx->data;
	ctx->len -= (uint32_t)network;
	ctx->mac_offset = ctx->network_offset;
	ctx->vlan_present = 0;
	return true;
}

/* What a packet's pieces share on their way into a tunnel. */
struct into_tunnel {
	struct sl_worker *worker;
	struct sl_port *port;
	const struct sl_ctx *ctx;
	const struct sl_tunnel *key;
};

static void encapsulate_pieces(void *arg, struct rte_mbuf **pkts, unsigned n)
{
	const struct into_tunnel *into = arg;

	for (unsigned i = 0; i < n; i++) {
		struct sl_ctx ctx = *into->ctx;
		int32_t mac = sl_skb_mac_offset(&ctx), network = sl_skb_network_offset(&ctx);
		struct sl_port *next;

		sl_packet_begin(&ctx, pkts[i]);
		ctx.mac_offset = (uint16_t)(ctx.data - ctx.head + mac);
		ctx.network_offset = (uint16_t)(ctx.data - ctx.head + network);
		ctx.len = pkts[i]->pkt_len;
		ctx.gso_size = 0;
		ctx.ip_summed = SL_CSUM_NONE;
		if (ctx.tunnel)
			*ctx.tunnel = *into->key;
		next = sl_tunnel_transmit(into->worker, into->port, &ctx);
		if (next)
			walk(into->worker, next, &ctx, false);
	}
}

/* Outer headers go around packets that ask for nothing. */
static void encapsulate_whole(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx)
{
	struct sl_tunnel key = { 0 };
	struct into_tunnel into = { worker, port, ctx, &key };

	if (!sl_offload_end(ctx)) {
		finish(worker, port, ctx, SLUICE_BAD_OFFLOAD);
		return;
	}
	if (ctx->tunnel)
		key = *ctx->tunnel;
	sl_offload_each(worker, port, false, &ctx->mbuf, 1, encapsulate_pieces, &into);
}

/* The port below, for the outer packet; NULL where the packet's way has ended. */
static struct sl_port *encapsulate(
	struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx)
{
	if (sl_likely(!(ctx->mbuf->ol_flags & SL_OFFLOADS)))
		return sl_tunnel_transmit(worker, port, ctx);
	encapsulate_whole(worker, port, ctx);
	return NULL;
}

/* A packet that TC has let out of a port: sent; or the port below, for the outer packet. */
static struct sl_port *leave_or_encapsulate(
	struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx)
{
	if (sl_likely(!port->tunnel)) {
		leave(worker, port, ctx);
		return NULL;
	}
	if (tag(ctx)) {
		show_to_taps(worker, port, ctx, true);
		return encapsulate(worker, port, ctx);
	}
	finish(worker, port, ctx, SLUICE_NO_ROOM);
	return NULL;
}

/* For a tunnel, which looks at the checksum. No device below a tunnel puts packets together. */
static bool complete(struct sl_ctx *ctx)
{
	struct rte_mbuf *m = ctx->mbuf;
	int32_t shift = (int32_t)(ctx->data - ctx->head);

	if (ctx->gso_size || ctx->ip_summed != SL_CSUM_PARTIAL)
		return true;
	if (!sl_offload_end(ctx))
		return false;
	shift = (int32_t)(ctx->data - ctx->head) - shift;
	ctx->mac_offset += shift;
	ctx->network_offset += shift;
	if (m->ol_flags & SL_OFFLOADS)
		sl_offload_complete(m, sl_offload_start(m), ctx->csum_offset);
	sl_offload_clear(m);
	ctx->ip_summed = SL_CSUM_NONE;
	return true;
}

/*
 * A packet that TC has let in at a port: to the tunnel over it that it is for (*ret_ingress), out of
 * the port that it passes to, or to the kernel.
 */
static struct sl_port *enter_stack(
	struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx, bool *ret_ingress)
{
	struct sl_port *next;
	bool ended;

	*ret_ingress = false;
	if (sl_unlikely(sl_rcu_load(port->tunnels))) {
		if (sl_unlikely(ctx->mbuf->ol_flags & SL_OFFLOADS) && !complete(ctx)) {
			finish(worker, port, ctx, SLUICE_BAD_OFFLOAD);
			return NULL;
		}
		next = sl_tunnel_receive(worker, port, ctx, &ended);
		*ret_ingress = next;
		if (next || ended)
			return next;
	}
	next = sl_rcu_load(port->pass_to);
	if (next && sl_likely(fit_header(ctx, next)))
		return next;
	if (next)
		finish(worker, port, ctx, SLUICE_NO_LINK_HEADER);
	else
		reach_kernel(worker, port, ctx);
	return NULL;
}

/*
 * What bpf_redirect_peer and bpf_redirect_neigh add to a redirect; false where the packet's way has
 * ended. The peer of a port is what is at its other end: the packet gets there without the port's
 * egress filters. As in the kernel, only what comes in may be sent that way.
 */
static bool prepare_redirect(
	struct sl_worker *worker, struct sl_port *next, struct sl_ctx *ctx, bool ingress)
{
	int end = 0;

	if (worker->run.redirect_flags & SL_REDIRECT_NEIGH)
		end = sl_neighbour_fill(ctx, next);
	else if (!ingress || next->tunnel || !fit_header(ctx, next))
		end = SLUICE_REDIRECT_DROP;
	if (end)
		finish(worker, next, ctx, (enum sluice_counter)end);
	else if (worker->run.redirect_flags & SL_REDIRECT_PEER)
		leave(worker, next, ctx);
	return !end && !(worker->run.redirect_flags & SL_REDIRECT_PEER);
}

/*
 * Takes a packet from the ingress (or egress) of `port` to its end, over as many ports as its
 * verdicts name.
 */
static void walk(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx, bool ingress)
{
	for (unsigned hop = 0; hop < HOPS_MAX; hop++) {
		struct sl_port *next;

		if (ingress) {
			enter_ingress(ctx, port);
			show_to_taps(worker, port, ctx, false);
		} else {
			enter_egress(ctx, port);
		}
		switch (run_hook(
			worker, port, ctx, ingress ? SLUICE_TC_INGRESS : SLUICE_TC_EGRESS)) {
		case TC_ACT_SHOT:
		case TC_ACT_STOLEN:
		case TC_ACT_QUEUED:
		case TC_ACT_TRAP:
			/* Counted by the hook, under the verdict's name. */
			sl_transmit_discard(worker, ctx->mbuf);
			return;
		case TC_ACT_REDIRECT:
			next = sl_port_peek(worker->run.redirect_ifindex);
			if (!next) {
				finish(worker, port, ctx, SLUICE_NO_PORT);
				return;
			}
			if (sl_unlikely(worker->run.redirect_flags &
					(SL_REDIRECT_PEER | SL_REDIRECT_NEIGH)) &&
				!prepare_redirect(worker, next, ctx, ingress))
				return;
			if (!fit_header(ctx, next)) {
				finish(worker, port, ctx, SLUICE_NO_LINK_HEADER);
				return;
			}
			ingress = worker->run.redirect_flags & BPF_F_INGRESS;
			break;
		default:
			next = ingress ? enter_stack(worker, port, ctx, &ingress)
				       : leave_or_encapsulate(worker, port, ctx);
			if (!next)
				return;
		}
		port = next;
	}
	finish(worker, port, ctx, SLUICE_LOOP);
}

#if !WATCHED
int sl_loop_clone(struct sl_ctx *ctx, uint32_t ifindex, uint64_t flags)
{
	struct sl_worker *worker = ctx->run->worker;
	struct sl_port *port = sl_port_peek(ifindex);
	struct sl_clone *clone;
	struct rte_mbuf *copy;
	uint8_t *meta;
	int32_t shift;

	if (!port)
		return -EINVAL;
	/* A test run has no queues: its copy goes nowhere. */
	if (!worker)
		return 0;
	if (worker->clone_count == SL_CLONES)
		return -ENETDOWN;
	if (!sl_packet_end(ctx))
		return -ENOMEM;
	copy = rte_pktmbuf_copy(ctx->mbuf, ctx->mbuf->pool, 0, UINT32_MAX);
	meta = ctx->data_meta;
	sl_packet_begin(ctx, ctx->mbuf);
	ctx->data_meta = meta;
	if (!copy)
		return -ENOMEM;
	clone = &worker->clones[worker->clone_count];
	clone->ctx = *ctx;
	if (ctx->tunnel)
		clone->tunnel = *ctx->tunnel;
	clone->port = port;
	clone->ingress = flags & BPF_F_INGRESS;
	sl_packet_begin(&clone->ctx, copy);
	/* The copy may begin elsewhere in its buffer. */
	shift = (int32_t)(clone->ctx.data - clone->ctx.head) - (int32_t)(ctx->data - ctx->head);
	clone->ctx.mac_offset += shift;
	clone->ctx.network_offset += shift;
	clone->ctx.csum_start += shift;
	clone->ctx.inner_network_offset += shift;
	if (!fit_header(&clone->ctx, port)) {
		rte_pktmbuf_free(copy);
		return -ERANGE;
	}
	count(worker, port, SLUICE_CLONE, 1);
	worker->clone_count++;
	return 0;
}
#endif

static void pass(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, const uint8_t *meta_lens, unsigned n)
{
	struct sl_port *to = sl_rcu_load(port->pass_to);

	/* Without filters on the way no context is needed. */
	if (!WATCHED && !sl_port_has_tc(port, SLUICE_TC_INGRESS) && !sl_rcu_load(port->tunnels) &&
		!sl_rcu_load(port->taps)) {
		if (!to && port->twin) {
			sl_twin_burst(worker, port, pkts, n);
			return;
		}
		if (!to) {
			count(worker, port, SLUICE_KERNEL, n);
			sl_transmit_free(pkts, n);
			return;
		}
		if (!sl_port_has_tc(to, SLUICE_TC_EGRESS) && !sl_rcu_load(to->taps)) {
			sl_transmit_burst(worker, to, pkts, n);
			return;
		}
	}
	for (unsigned i = 0; i < n; i++) {
		struct sl_ctx ctx;

		if (i + SL_PREFETCH < n)
			rte_prefetch0(rte_pktmbuf_mtod(pkts[i + SL_PREFETCH], void *));
		skb_begin(&ctx, worker, port, queue, pkts[i], meta_lens[i]);
		walk(worker, port, &ctx, true);
	}
}

static void egress_burst(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	if (!WATCHED && !sl_port_has_tc(port, SLUICE_TC_EGRESS) && !sl_rcu_load(port->taps)) {
		sl_transmit_burst(worker, port, pkts, n);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		struct sl_ctx ctx;

		if (i + SL_PREFETCH < n)
			rte_prefetch0(rte_pktmbuf_mtod(pkts[i + SL_PREFETCH], void *));
		skb_begin(&ctx, worker, port, 0, pkts[i], 0);
		/* It has come in nowhere, and nobody has looked whom it is for. */
		ctx.ingress_ifindex = 0;
		ctx.pkt_type = PACKET_HOST;
		ctx.queue_mapping = 0;
		if (ctx.protocol == htons(ETH_P_8021Q) || ctx.protocol == htons(ETH_P_8021AD))
			untag(&ctx);
		ctx.mac_offset = (uint16_t)(ctx.data - ctx.head);
		ctx.network_offset = ctx.mac_offset + SL_ETH_HEADER;
		walk(worker, port, &ctx, false);
	}
}

static void encapsulate_burst(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct sl_port *next;
		struct sl_ctx ctx;

		skb_begin(&ctx, worker, port, 0, pkts[i], 0);
		if (!fit_header(&ctx, port)) {
			finish(worker, port, &ctx, SLUICE_NO_LINK_HEADER);
			continue;
		}
		next = encapsulate(worker, port, &ctx);
		if (next)
			walk(worker, next, &ctx, false);
	}
}

#if !WATCHED
/* For code without a burst entry, and packets with metadata. */
static void run_one_by_one(const struct sl_code *code, struct sl_burst *burst, uint64_t tail_calls)
{
	struct sl_run *run = burst->ctx->run;

	for (uint32_t i = 0; i < burst->count; i++) {
		struct sl_ctx ctx = *burst->ctx;
		uint32_t verdict;

		sl_packet_begin(&ctx, burst->pkts[i]);
		ctx.len = burst->pkts[i]->pkt_len;
		ctx.data_meta -= burst->meta_lens[i];
		sl_run_reset(run);
		verdict = (uint32_t)code->run(&ctx, tail_calls);
		burst->verdicts[i] = sl_packet_end(&ctx) ? verdict : (uint32_t)XDP_ABORTED;
		burst->meta_lens[i] = (uint8_t)(ctx.data - ctx.data_meta);
		burst->redirects[i] = (struct sl_redirect){
			.ifindex = run->redirect_ifindex,
			.entry = run->redirect_entry,
			.flags = run->redirect_flags,
			.map = run->redirect_map,
		};
	}
}

void sl_loop_run(const struct sl_prog *prog, struct sl_burst *burst, bool has_meta)
{
	const struct sl_code *code = sl_rcu_load(prog->code);
	uint64_t begin = sl_run_begin_burst(prog, burst->ctx->cpu);

	if (sl_likely(code->burst) && !has_meta)
		code->burst(burst);
	else
		run_one_by_one(code, burst, SL_TAIL_CALLS);
	sl_run_end_burst(prog, burst->ctx->cpu, begin, burst->count);
}

void sl_loop_run_traced(const struct sl_prog *prog, struct sl_burst *burst)
{
	const struct sl_code *code = sl_rcu_load(prog->code);

	run_one_by_one(code, burst, SL_TAIL_CALLS | SL_TAIL_CALLS_TRACED);
	sl_run_end_burst(prog, burst->ctx->cpu, 0, burst->count);
}

unsigned sl_loop_linearize(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts,
	uint8_t *meta_lens, unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (pkts[i]->nb_segs > 1 && rte_pktmbuf_linearize(pkts[i]) != 0) {
			sl_loop_finish(worker, port, pkts[i], SLUICE_XDP_FRAGS);
			continue;
		}
		if (meta_lens)
			meta_lens[kept] = meta_lens[i];
		pkts[kept++] = pkts[i];
	}
	return kept;
}
#endif

static void dispatch(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_burst *burst)
{
	struct rte_mbuf *passed[SL_BURST];
	unsigned passed_count = 0;
	uint32_t tally[VERDICTS + 1] = { 0 };
	uint8_t meta_lens[SL_BURST];

	for (uint32_t i = 0; i < burst->count; i++) {
		struct rte_mbuf *pkt = burst->pkts[i];
		uint32_t verdict = sl_min(burst->verdicts[i], (uint32_t)VERDICTS);

		tally[verdict]++;
		switch (verdict) {
		case XDP_PASS:
			meta_lens[passed_count] = burst->meta_lens[i];
			passed[passed_count++] = pkt;
			break;
		case XDP_TX:
			sl_transmit_add(worker, port, pkt);
			break;
		case XDP_REDIRECT:
			if (WATCHED)
				sl_redirect_watched(worker, port, queue, pkt, burst->meta_lens[i],
					&burst->redirects[i]);
			else
				sl_redirect(worker, port, queue, pkt, burst->meta_lens[i],
					&burst->redirects[i]);
			break;
		default:
			sl_transmit_discard(worker, pkt);
		}
	}
	for (unsigned v = 0; v <= VERDICTS; v++) {
		if (tally[v])
			count(worker, port, xdp_counters[v], tally[v]);
	}
	if (passed_count)
		pass(worker, port, queue, passed, meta_lens, passed_count);
}

/* A burst of which all packets share a verdict goes on as a whole. False: they do not. */
static bool dispatch_whole(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_burst *burst)
{
	uint32_t first = burst->verdicts[0], differ = 0;

	for (uint32_t i = 1; i < burst->count; i++)
		differ |= burst->verdicts[i] ^ first;
	if (differ || first >= XDP_REDIRECT)
		return false;
	count(worker, port, xdp_counters[first], burst->count);
	if (first == XDP_TX)
		sl_transmit_burst(worker, port, burst->pkts, burst->count);
	else if (first == XDP_PASS)
		pass(worker, port, queue, burst->pkts, burst->meta_lens, burst->count);
	else
		sl_transmit_free(burst->pkts, burst->count);
	return true;
}

static void run_watched(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_prog *prog, struct sl_burst *burst, bool has_meta)
{
	const struct sl_sight sight = {
		.worker = worker,
		.port = port,
		.point = SLUICE_POINT_RX,
		.queue = queue,
	};
	struct sluice_step *step;

	prog = sl_hook_swap_actual(prog, worker->run.cpu);
	sl_watch_hold_burst(&sight, burst->pkts, burst->count);
	step = sl_path_run(worker->run.path, SLUICE_HOOK_XDP, port->ifindex, prog);
	if (worker->run.path)
		sl_loop_run_traced(prog, burst);
	else
		sl_loop_run(prog, burst, has_meta);
	if (step)
		step->value = (int)burst->verdicts[0];
	sl_watch_xdp(worker, port, queue, prog, burst);
}

static void run_xdp(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_prog *prog, struct rte_mbuf **pkts, const uint8_t *met, unsigned n)
{
	struct sl_redirect redirects[SL_BURST];
	uint32_t verdicts[SL_BURST];
	uint8_t meta_lens[SL_BURST] = { 0 };
	struct sl_ctx ctx = {
		.run = &worker->run,
		.cpu = worker->run.cpu,
		.ingress_ifindex = port->ifindex,
		.rx_queue_index = queue,
	};
	struct sl_burst burst = {
		.pkts = pkts,
		.verdicts = verdicts,
		.count = n,
		.prefetch = SL_PREFETCH,
		.ctx = &ctx,
		.redirects = redirects,
		.meta_lens = meta_lens,
	};

	if (sl_unlikely(met))
		memcpy(meta_lens, met, n);
	if (WATCHED)
		run_watched(worker, port, queue, prog, &burst, met);
	else
		sl_loop_run(prog, &burst, met);
	if (!dispatch_whole(worker, port, queue, &burst))
		dispatch(worker, port, queue, &burst);
}

struct arrival {
	struct sl_worker *worker;
	struct sl_port *port;
	uint16_t queue;
	const struct sl_prog *xdp;
};

/* For a program that does not say that it knows of frags. */
static __rte_noinline unsigned linearize(
	const struct arrival *a, struct rte_mbuf **pkts, unsigned n)
{
	if (sl_hook_swap_has_frags(a->xdp, a->worker->run.cpu))
		return n;
	return sl_loop_linearize(a->worker, a->port, pkts, NULL, n);
}

static void show_arrival(const struct arrival *a, struct rte_mbuf **pkts, unsigned n)
{
	const struct sl_sight sight = {
		.worker = a->worker,
		.port = a->port,
		.point = SLUICE_POINT_RX,
		.queue = a->queue,
	};

	sl_watch_show_burst(&sight, pkts, n);
}

static void admit(const struct arrival *a, struct rte_mbuf **pkts, unsigned n)
{
	const struct sl_prog *prog = a->xdp;
	static const uint8_t no_meta[SL_BURST];

	if (prog && sl_unlikely(a->port->may_scatter) && !(prog->flags & BPF_F_XDP_HAS_FRAGS))
		n = linearize(a, pkts, n);
	if (WATCHED && !prog)
		show_arrival(a, pkts, n);
	if (!prog)
		pass(a->worker, a->port, a->queue, pkts, no_meta, n);
	else if (n)
		run_xdp(a->worker, a->port, a->queue, prog, pkts, NULL, n);
}

static void note_burst(struct sl_worker *worker, unsigned n)
{
	unsigned bucket = n > 1 ? 32 - (unsigned)__builtin_clz(n - 1) : 0;

	worker->round_packets += n;
	sl_worker_note(&worker->stats.burst_packets, n);
	sl_worker_note(&worker->stats.bursts[bucket], 1);
}

/* A packet whose path is wanted goes alone, after those before it and before those behind it. */
static void admit_watched(const struct arrival *a, struct rte_mbuf **pkts, unsigned n)
{
	unsigned begin = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!sl_watch_wants_path(a->worker, a->port, a->queue, pkts[i]))
			continue;
		if (i > begin)
			admit(a, pkts + begin, i - begin);
		sl_transmit_end_burst(a->worker);
		sl_watch_path_begin(a->worker, a->port, a->queue, pkts[i]);
		admit(a, pkts + i, 1);
		sl_transmit_end_burst(a->worker);
		sl_watch_path_end(a->worker);
		begin = i + 1;
	}
	if (n > begin)
		admit(a, pkts + begin, n - begin);
}

static void enter(void *arg, struct rte_mbuf **pkts, unsigned n)
{
	if (WATCHED)
		admit_watched(arg, pkts, n);
	else
		admit(arg, pkts, n);
}

static void arrive(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, unsigned n)
{
	struct arrival arrival = { worker, port, queue, sl_rcu_load(port->xdp) };
	bool asking;

	note_burst(worker, n);
	count(worker, port, SLUICE_RX, n);
	asking = sl_offload_any(pkts, n);
	if (sl_unlikely(asking))
		n = sl_offload_receive(worker, port, pkts, n);
	/* XDP programs see packets that ask for nothing. */
	if (sl_unlikely(asking) && arrival.xdp)
		sl_offload_each(worker, port, false, pkts, n, enter, &arrival);
	else
		enter(&arrival, pkts, n);
	sl_transmit_end_burst(worker);
}

#if WATCHED
void sl_loop_arrive_watched(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, unsigned n)
{
	arrive(worker, port, queue, pkts, n);
}

void sl_loop_pass_watched(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, const uint8_t *meta_lens, unsigned n)
{
	pass(worker, port, queue, pkts, meta_lens, n);
}

void sl_loop_xdp_watched(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_prog *prog, struct rte_mbuf **pkts, const uint8_t *meta_lens, unsigned n)
{
	run_xdp(worker, port, queue, prog, pkts, meta_lens, n);
}

void sl_loop_encapsulate_watched(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	encapsulate_burst(worker, port, pkts, n);
}

void sl_loop_egress_watched(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	egress_burst(worker, port, pkts, n);
}
#else
void sl_loop_poll(struct sl_worker *worker, struct sl_port *port, uint16_t queue)
{
	struct rte_mbuf *pkts[SL_BURST];
	unsigned n = rte_eth_rx_burst(port->id, queue, pkts, SL_BURST);

	if (n == 0) {
		sl_worker_note(&worker->stats.empty_polls, 1);
		return;
	}
	if (sl_watching())
		sl_loop_arrive_watched(worker, port, queue, pkts, n);
	else
		arrive(worker, port, queue, pkts, n);
}

void sl_loop_pass(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, const uint8_t *meta_lens, unsigned n)
{
	if (sl_watching())
		sl_loop_pass_watched(worker, port, queue, pkts, meta_lens, n);
	else
		pass(worker, port, queue, pkts, meta_lens, n);
}

void sl_loop_xdp(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_prog *prog, struct rte_mbuf **pkts, const uint8_t *meta_lens, unsigned n)
{
	if (sl_watching())
		sl_loop_xdp_watched(worker, port, queue, prog, pkts, meta_lens, n);
	else
		run_xdp(worker, port, queue, prog, pkts, meta_lens, n);
}

void sl_loop_encapsulate(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	if (sl_watching())
		sl_loop_encapsulate_watched(worker, port, pkts, n);
	else
		encapsulate_burst(worker, port, pkts, n);
}

void sl_loop_egress(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	if (sl_watching())
		sl_loop_egress_watched(worker, port, pkts, n);
	else
		egress_burst(worker, port, pkts, n);
}
#endif
