#include "watch.h"

#include <string.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "clock.h"
#include "packet.h"
#include "prog.h"
#include "run_stats.h"
#include "watch_object.h"

/*
 * Packets at their points. The filter runs on the worker, so that only what it keeps is copied. A
 * packet whose fate is not known yet is reserved a record and not published: nothing else is put
 * into a watch's ring before sl_watch_tell, for the hooks' programs show nothing.
 */
enum { ETH_ADDRS = 12, VLAN_LEN = 4 };

static void count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* The ring. Of what readers can write to only `tail` is read: it decides what is overwritten. */

static struct sluice_record *record_at(const struct sl_watch *watch, struct sl_watch_worker *w)
{
	return (struct sluice_record *)(w->ring->data + (w->head & (watch->capacity - 1)));
}

static bool has_room(const struct sl_watch *watch, struct sl_watch_worker *w, uint64_t size)
{
	if (sl_likely(w->head + size - w->tail_seen <= watch->capacity))
		return true;
	w->tail_seen = __atomic_load_n(&w->ring->tail, __ATOMIC_ACQUIRE); /* pairs with release */
	return w->head + size - w->tail_seen <= watch->capacity;
}

/* NULL: no room. */
struct sluice_record *sl_watch_reserve(
	const struct sl_watch *watch, struct sl_watch_worker *w, uint64_t len)
{
	uint64_t size = sl_round_up(sizeof(struct sluice_record) + len, 64ull);
	uint64_t left = watch->capacity - (w->head & (watch->capacity - 1));
	struct sluice_record *record;

	/* A record lies in one piece: what is left at the end is passed over. */
	if (left < size) {
		if (!has_room(watch, w, left + size))
			return NULL;
		record = record_at(watch, w);
		record->size = (uint32_t)left;
		record->kind = SLUICE_RECORD_SKIP;
		w->head += left;
	}
	if (!has_room(watch, w, size))
		return NULL;
	record = record_at(watch, w);
	*record = (struct sluice_record){ .size = (uint32_t)size };
	w->head += size;
	return record;
}

void sl_watch_publish(struct sl_watch_worker *w)
{
	__atomic_store_n(&w->ring->head, w->head, __ATOMIC_RELEASE); /* pairs with the reader */
}

/* The packet. */

/* The mbuf's own bounds of the first segment may be stale; those of others hold. */
static void copy_out(uint8_t *to, const struct sl_ctx *ctx, uint32_t len)
{
	uint32_t n = sl_min((uint32_t)(ctx->data_end - ctx->data), len);

	memcpy(to, ctx->data, n);
	for (const struct rte_mbuf *m = ctx->mbuf->next; m && n < len; m = m->next) {
		uint32_t part = sl_min((uint32_t)m->data_len, len - n);

		memcpy(to + n, rte_pktmbuf_mtod(m, const uint8_t *), part);
		n += part;
	}
	/* Lengths that do not add up show nothing of who had the memory before. */
	if (n < len)
		memset(to + n, 0, len - n);
}

static bool has_link_header(const struct sl_port *port, const struct sl_ctx *ctx)
{
	return port->link_header && (!ctx->is_skb || ctx->mac_offset != ctx->network_offset);
}

uint32_t sl_watch_filter(
	const struct sl_watch *watch, const struct sl_port *port, const struct sl_ctx *ctx)
{
	const struct sl_prog *prog = has_link_header(port, ctx) ? watch->filter : watch->raw_filter;
	struct sl_path *path = ctx->run->path;
	struct sl_ctx own;
	uint32_t kept;

	if (!watch->filtered)
		return watch->snaplen;
	if (!prog)
		return 0;
	own = *ctx;
	memset(own.cb, 0, sizeof(own.cb));
	own.tail_calls = 0;
	ctx->run->path = NULL;
	kept = (uint32_t)sl_run_one(prog, &own);
	ctx->run->path = path;
	return sl_min(kept, watch->snaplen);
}

bool sl_watch_is_for(const struct sl_watch *watch, const struct sl_port *port)
{
	return !watch->only || (watch->only == port->id + 1 && watch->serial == port->serial);
}

struct sluice_watch_counts *sl_watch_counts_of(
	struct sl_watch_worker *w, const struct sl_port *port, enum sluice_point point)
{
	struct sluice_watch_port *counts = &w->ring->ports[port->id];

	__atomic_store_n(&counts->ifindex, port->ifindex, __ATOMIC_RELAXED);
	return &counts->points[point];
}

static void fill(struct sluice_record *record, const struct sl_sight *sight, bool raw)
{
	record->kind = SLUICE_RECORD_PACKET;
	record->point = (uint8_t)sight->point;
	record->flags =
		(sight->has_verdict ? SLUICE_RECORD_VERDICT : 0) | (raw ? SLUICE_RECORD_RAW : 0);
	record->time_ns = sl_clock_ns();
	record->ifindex = sight->port->ifindex;
	record->worker = sight->worker->index;
	record->queue = sight->queue;
	record->verdict = sight->verdict;
	record->reason = sight->reason;
	if (sight->prog) {
		record->prog_id = sight->prog->obj.id;
		memcpy(record->prog_name, sight->prog->name, sizeof(record->prog_name));
	}
}

/* One watch; NULL: it does not get the packet. The record is not published. */
static struct sluice_record *offer(const struct sl_watch *watch, struct sl_watch_worker *w,
	const struct sl_sight *sight, const struct sl_ctx *ctx)
{
	struct sluice_watch_counts *counts = sl_watch_counts_of(w, sight->port, sight->point);
	uint32_t *lost = &w->lost[sight->port->id][sight->point];
	struct sluice_record *record;
	uint32_t captured;

	count(&counts->seen);
	captured = sl_min(sl_watch_filter(watch, sight->port, ctx), ctx->len);
	if (!captured)
		return NULL;
	count(&counts->matched);
	record = w->held_count < SL_TX_BATCH ? sl_watch_reserve(watch, w, captured) : NULL;
	if (!record) {
		count(&counts->lost);
		++*lost;
		return NULL;
	}
	fill(record, sight, !has_link_header(sight->port, ctx));
	record->captured = captured;
	record->len = ctx->len;
	record->lost = *lost;
	*lost = 0;
	copy_out((uint8_t *)(record + 1), ctx, captured);
	return record;
}

/* The wire has the tag in the packet, TC in the context: it goes back for a moment. */
struct tagged {
	uint8_t below[VLAN_LEN], addrs[ETH_ADDRS];
};

static bool put_tag(struct sl_ctx *ctx, struct tagged *saved)
{
	uint16_t tag[2] = { (uint16_t)ctx->vlan_proto, rte_cpu_to_be_16((uint16_t)ctx->vlan_tci) };

	if (!ctx->vlan_present || ctx->data - ctx->head < VLAN_LEN ||
		ctx->data_end - ctx->data < ETH_ADDRS)
		return false;
	memcpy(saved->addrs, ctx->data, ETH_ADDRS);
	ctx->data -= VLAN_LEN;
	memcpy(saved->below, ctx->data, VLAN_LEN);
	memcpy(ctx->data, saved->addrs, ETH_ADDRS);
	memcpy(ctx->data + ETH_ADDRS, tag, VLAN_LEN);
	ctx->len += VLAN_LEN;
	return true;
}

static void take_tag(struct sl_ctx *ctx, const struct tagged *saved)
{
	memcpy(ctx->data, saved->below, VLAN_LEN);
	ctx->data += VLAN_LEN;
	memcpy(ctx->data, saved->addrs, ETH_ADDRS);
	ctx->len -= VLAN_LEN;
}

static void show(const struct sl_sight *sight, struct sl_ctx *ctx, bool hold, unsigned index)
{
	const struct sl_watch_list *list = sl_rcu_load(sl_watches);
	struct tagged saved;
	bool tagged;

	if (!list || !(list->points & 1u << sight->point))
		return;
	tagged = put_tag(ctx, &saved);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct sl_watch *watch = list->watches[i];
		struct sl_watch_worker *w = &watch->workers[sight->worker->index];
		struct sluice_record *record;

		if (watch->paths || !(watch->points & 1u << sight->point) ||
			!sl_watch_is_for(watch, sight->port))
			continue;
		record = offer(watch, w, sight, ctx);
		if (hold && record)
			w->held[w->held_count++] = (struct sl_held){ record, index };
		else if (record)
			sl_watch_publish(w);
	}
	if (tagged)
		take_tag(ctx, &saved);
}

static bool wanted(enum sluice_point point)
{
	const struct sl_watch_list *list = sl_rcu_load(sl_watches);

	return list && list->points & 1u << point;
}

/* The context of a packet that is no program's at the moment. */
void sl_watch_context(struct sl_ctx *ctx, struct sl_worker *worker, struct sl_port *port,
	uint16_t queue, struct rte_mbuf *pkt)
{
	*ctx = (struct sl_ctx){
		.run = &worker->run,
		.cpu = worker->run.cpu,
		.ingress_ifindex = port->ifindex,
		.ifindex = port->ifindex,
		.rx_queue_index = queue,
	};
	memcpy(ctx->port_addr, &port->mac, sizeof(ctx->port_addr));
	sl_packet_begin_skb(ctx, pkt);
	if (!port->link_header)
		ctx->network_offset = ctx->mac_offset;
}

static void show_burst(
	const struct sl_sight *sight, struct rte_mbuf *const *pkts, unsigned n, bool hold)
{
	if (!wanted(sight->point))
		return;
	for (unsigned i = 0; i < n; i++) {
		struct sl_ctx ctx;

		sl_watch_context(&ctx, sight->worker, sight->port, sight->queue, pkts[i]);
		/* What the mbuf says is of its arrival. */
		if (sight->point == SLUICE_POINT_TX)
			ctx.vlan_present = 0;
		show(sight, &ctx, hold, i);
	}
}

void sl_watch_show(const struct sl_sight *sight, struct sl_ctx *ctx)
{
	show(sight, ctx, false, 0);
}

void sl_watch_hold(const struct sl_sight *sight, struct sl_ctx *ctx)
{
	show(sight, ctx, true, 0);
}

void sl_watch_show_burst(const struct sl_sight *sight, struct rte_mbuf *const *pkts, unsigned n)
{
	show_burst(sight, pkts, n, false);
}

void sl_watch_hold_burst(const struct sl_sight *sight, struct rte_mbuf *const *pkts, unsigned n)
{
	show_burst(sight, pkts, n, true);
}

void sl_watch_tell(struct sl_worker *worker, sl_watch_tell_fn tell, void *arg)
{
	const struct sl_watch_list *list = sl_rcu_load(sl_watches);

	for (uint32_t i = 0; list && i < list->count; i++) {
		struct sl_watch_worker *w;

		if (list->watches[i]->paths)
			continue;
		w = &list->watches[i]->workers[worker->index];
		for (uint32_t h = 0; h < w->held_count; h++)
			if (!tell(arg, w->held[h].index, w->held[h].record))
				w->held[h].record->kind = SLUICE_RECORD_SKIP;
		if (w->held_count)
			sl_watch_publish(w);
		w->held_count = 0;
	}
}

/* The hooks. */

static void set_verdict(struct sluice_record *record, int verdict, const struct sl_prog *prog)
{
	record->verdict = verdict;
	record->flags |= SLUICE_RECORD_VERDICT;
	if (!prog)
		return;
	record->prog_id = prog->obj.id;
	memcpy(record->prog_name, prog->name, sizeof(record->prog_name));
}

struct xdp_fate {
	const struct sl_burst *burst;
	const struct sl_prog *prog;
};

static bool tell_xdp(void *arg, unsigned index, struct sluice_record *record)
{
	const struct xdp_fate *fate = arg;

	set_verdict(record, (int)fate->burst->verdicts[index], fate->prog);
	return true;
}

static enum sluice_counter xdp_reason(uint32_t verdict)
{
	if (verdict > XDP_REDIRECT)
		return SLUICE_XDP_INVALID;
	return verdict == XDP_DROP ? SLUICE_XDP_DROP : SLUICE_XDP_ABORTED;
}

void sl_watch_xdp(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_prog *prog, const struct sl_burst *burst)
{
	struct xdp_fate fate = { burst, prog };
	struct sl_sight exit = {
		.worker = worker,
		.port = port,
		.point = SLUICE_POINT_XDP_EXIT,
		.queue = queue,
		.prog = prog,
		.has_verdict = true,
	};

	sl_watch_tell(worker, tell_xdp, &fate);
	sl_path_verdict(worker->run.path, SLUICE_HOOK_XDP, port->ifindex, (int)burst->verdicts[0]);
	for (uint32_t i = 0; i < burst->count; i++) {
		uint32_t verdict = burst->verdicts[i];
		struct sl_sight drop = exit;

		exit.verdict = (int)verdict;
		sl_watch_show_burst(&exit, &burst->pkts[i], 1);
		if (verdict == XDP_PASS || verdict == XDP_TX || verdict == XDP_REDIRECT)
			continue;
		drop.point = SLUICE_POINT_DROP;
		drop.verdict = (int)verdict;
		drop.reason = xdp_reason(verdict);
		sl_watch_show_burst(&drop, &burst->pkts[i], 1);
	}
}

static bool tell_tc(void *arg, unsigned index, struct sluice_record *record)
{
	(void)index;
	set_verdict(record, *(const int *)arg, NULL);
	return true;
}

static const enum sluice_counter tc_drops[2][TC_ACT_TRAP + 1] = {
	[SLUICE_TC_INGRESS] = {
		[TC_ACT_SHOT] = SLUICE_INGRESS_SHOT,
		[TC_ACT_STOLEN] = SLUICE_INGRESS_STOLEN,
		[TC_ACT_QUEUED] = SLUICE_INGRESS_QUEUED,
		[TC_ACT_TRAP] = SLUICE_INGRESS_TRAP,
	},
	[SLUICE_TC_EGRESS] = {
		[TC_ACT_SHOT] = SLUICE_EGRESS_SHOT,
		[TC_ACT_STOLEN] = SLUICE_EGRESS_STOLEN,
		[TC_ACT_QUEUED] = SLUICE_EGRESS_QUEUED,
		[TC_ACT_TRAP] = SLUICE_EGRESS_TRAP,
	},
};

void sl_watch_tc(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx,
	enum sluice_tc_hook hook, int verdict)
{
	bool ingress = hook == SLUICE_TC_INGRESS;
	struct sl_sight sight = {
		.worker = worker,
		.port = port,
		.point = ingress ? SLUICE_POINT_INGRESS_EXIT : SLUICE_POINT_EGRESS_EXIT,
		.queue = (uint16_t)ctx->rx_queue_index,
		.has_verdict = true,
		.verdict = verdict,
	};

	sl_watch_tell(worker, tell_tc, &verdict);
	sl_path_verdict(worker->run.path, ingress ? SLUICE_HOOK_INGRESS : SLUICE_HOOK_EGRESS,
		port->ifindex, verdict);
	if (verdict == TC_ACT_REDIRECT)
		sl_path_redirect(worker->run.path, worker->run.redirect_ifindex, 0);
	sl_watch_show(&sight, ctx);
	if (verdict < 0 || !tc_drops[hook][verdict])
		return;
	sight.point = SLUICE_POINT_DROP;
	sight.reason = tc_drops[hook][verdict];
	sl_watch_show(&sight, ctx);
}

void sl_watch_drop(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx,
	enum sluice_counter reason)
{
	const struct sl_sight sight = {
		.worker = worker,
		.port = port,
		.point = SLUICE_POINT_DROP,
		.queue = (uint16_t)ctx->rx_queue_index,
		.reason = reason,
	};

	if (reason != SLUICE_KERNEL)
		sl_watch_show(&sight, ctx);
}

void sl_watch_drop_burst(struct sl_worker *worker, struct sl_port *port,
	struct rte_mbuf *const *pkts, unsigned n, enum sluice_counter reason)
{
	const struct sl_sight sight = {
		.worker = worker,
		.port = port,
		.point = SLUICE_POINT_DROP,
		.reason = reason,
	};

	if (reason != SLUICE_KERNEL && reason != SLUICE_XSK)
		sl_watch_show_burst(&sight, pkts, n);
}

static bool tell_sent(void *arg, unsigned index, struct sluice_record *record)
{
	(void)record;
	return index < *(const unsigned *)arg;
}

unsigned sl_watch_send(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, unsigned n)
{
	const struct sl_sight sight = {
		.worker = worker,
		.port = port,
		.point = SLUICE_POINT_TX,
		.queue = queue,
	};
	unsigned sent;

	/* The device's afterwards. */
	sl_watch_hold_burst(&sight, pkts, n);
	sent = rte_eth_tx_burst(port->id, queue, pkts, (uint16_t)n);
	sl_watch_tell(worker, tell_sent, &sent);
	return sent;
}
