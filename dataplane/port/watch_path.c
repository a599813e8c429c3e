#include "watch.h"

#include <string.h>

#include <rte_mbuf.h>

#include "clock.h"
#include "hook_swap.h"
#include "prog.h"
#include "run_stats.h"
#include "tc_action.h"
#include "watch_object.h"

/*
 * The path of a packet. Steps are noted where they are made, by the watched packet path only; the
 * end is what the worker has counted meanwhile, whoever did it, so that a path and the counters
 * always say the same.
 */

/* STEP counters that say where a packet has gone; the others repeat verdicts. */
static const enum sluice_counter ways[] = { SLUICE_HANDED_OVER, SLUICE_CPUMAP, SLUICE_TUNNEL_DECAP,
	SLUICE_TUNNEL_ENCAP };

static bool is_due(struct sl_watch_worker *w, uint32_t sample)
{
	if (w->until_sample > 0) {
		w->until_sample--;
		return false;
	}
	w->until_sample = sample - 1;
	return true;
}

static void add_one(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

bool sl_watch_wants_path(
	struct sl_worker *worker, struct sl_port *port, uint16_t queue, struct rte_mbuf *pkt)
{
	const struct sl_watch_list *list = sl_rcu_load(sl_watches);
	struct sl_path *path = sl_paths[worker->index];
	struct sl_ctx ctx;

	if (!list || !list->paths)
		return false;
	path->wanted = 0;
	path->list = list;
	sl_watch_context(&ctx, worker, port, queue, pkt);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct sl_watch *watch = list->watches[i];
		struct sl_watch_worker *w = &watch->workers[worker->index];

		if (!watch->paths || !sl_watch_is_for(watch, port))
			continue;
		add_one(&sl_watch_counts_of(w, port, SLUICE_POINT_RX)->seen);
		/* Without a filter to ask, most packets cost a counter. */
		if (!watch->filtered
				? is_due(w, watch->sample)
				: sl_watch_filter(watch, port, &ctx) && is_due(w, watch->sample))
			path->wanted |= 1u << i;
	}
	return path->wanted;
}

/* Counters. */

static void remember(const struct sl_worker *worker, struct sl_path *path)
{
	for (unsigned id = 0; id < SL_PORTS_MAX; id++)
		if (sl_rcu_load(sl_ports[id]))
			path->before[id] = worker->counters[id];
	memcpy(path->homeless, worker->homeless.value, sizeof(path->homeless));
}

static struct sluice_step *add_step(
	struct sl_path *path, enum sluice_step_kind kind, uint32_t ifindex)
{
	struct sluice_step *step;

	if (path->count == SLUICE_WATCH_STEPS) {
		path->missing++;
		return NULL;
	}
	step = &path->steps[path->count++];
	*step = (struct sluice_step){ .kind = (uint8_t)kind, .ifindex = ifindex };
	return step;
}

static void note_counts(
	struct sl_path *path, uint32_t ifindex, const uint64_t *now, const uint64_t *before)
{
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		bool shown = sluice_counter_kind((enum sluice_counter)i) != SLUICE_KIND_STEP;
		struct sluice_step *step;

		for (unsigned w = 0; w < sl_array_size(ways); w++)
			shown |= ways[w] == i;
		if (!shown || now[i] == before[i])
			continue;
		step = add_step(path, SLUICE_STEP_COUNT, ifindex);
		if (!step)
			continue;
		step->value = (int32_t)i;
		step->id = (uint32_t)(now[i] - before[i]);
	}
}

static void note_end(const struct sl_worker *worker, struct sl_path *path)
{
	for (unsigned id = 0; id < SL_PORTS_MAX; id++) {
		const struct sl_port *port = sl_rcu_load(sl_ports[id]);

		if (port)
			note_counts(path, port->ifindex, worker->counters[id].value,
				path->before[id].value);
	}
	note_counts(path, 0, worker->homeless.value, path->homeless);
}

/* The packet as it comes in, of which the programs make something else. */
static void note_packet(struct sl_path *path, struct sl_worker *worker, struct sl_port *port,
	uint16_t queue, const struct rte_mbuf *pkt)
{
	uint32_t n = sl_min((uint32_t)pkt->data_len, (uint32_t)sizeof(path->bytes));

	path->record = (struct sluice_record){
		.captured = n,
		.len = pkt->pkt_len,
		.kind = SLUICE_RECORD_PATH,
		.flags = port->link_header ? 0 : SLUICE_RECORD_RAW,
		.time_ns = sl_clock_ns(),
		.ifindex = port->ifindex,
		.worker = worker->index,
		.queue = queue,
	};
	memcpy(path->bytes, rte_pktmbuf_mtod(pkt, const uint8_t *), n);
	path->count = path->missing = 0;
}

void sl_watch_path_begin(
	struct sl_worker *worker, struct sl_port *port, uint16_t queue, struct rte_mbuf *pkt)
{
	struct sl_path *path = sl_paths[worker->index];

	note_packet(path, worker, port, queue, pkt);
	remember(worker, path);
	worker->run.path = path;
}

static void put(
	const struct sl_path *path, const struct sl_watch *watch, const struct sl_port *port)
{
	struct sl_watch_worker *w = &watch->workers[path->record.worker];
	struct sluice_watch_counts *counts = sl_watch_counts_of(w, port, SLUICE_POINT_RX);
	size_t steps = path->count * sizeof(struct sluice_step);
	uint32_t *lost = &w->lost[port->id][SLUICE_POINT_RX], size;
	struct sluice_record *record;
	struct sluice_path *to;

	add_one(&counts->matched);
	record = sl_watch_reserve(watch, w, sizeof(*to) + steps + path->record.captured);
	if (!record) {
		add_one(&counts->lost);
		++*lost;
		return;
	}
	size = (uint32_t)sl_round_up(
		sizeof(*record) + sizeof(*to) + steps + path->record.captured, (size_t)64);
	*record = path->record;
	record->size = size;
	record->lost = *lost;
	*lost = 0;
	to = (struct sluice_path *)(record + 1);
	*to = (struct sluice_path){ .count = path->count, .missing = path->missing };
	memcpy(to->steps, path->steps, steps);
	memcpy((uint8_t *)to->steps + steps, path->bytes, path->record.captured);
	sl_watch_publish(w);
}

void sl_watch_path_end(struct sl_worker *worker)
{
	struct sl_path *path = worker->run.path;
	const struct sl_port *port = sl_port_peek(path->record.ifindex);

	worker->run.path = NULL;
	note_end(worker, path);
	for (uint32_t i = 0; port && i < path->list->count; i++)
		if (path->wanted & 1u << i)
			put(path, path->list->watches[i], port);
}

static void name_prog(struct sluice_step *step, const struct sl_prog *prog)
{
	step->id = prog->obj.id;
	memcpy(step->name, prog->name, sizeof(step->name));
}

struct sluice_step *sl_path_run(
	struct sl_path *path, enum sluice_hook hook, uint32_t ifindex, const struct sl_prog *prog)
{
	struct sluice_step *step = path ? add_step(path, SLUICE_STEP_RUN, ifindex) : NULL;

	if (step) {
		step->hook = (uint8_t)hook;
		name_prog(step, prog);
	}
	return step;
}

void sl_path_verdict(struct sl_path *path, enum sluice_hook hook, uint32_t ifindex, int verdict)
{
	struct sluice_step *step = path ? add_step(path, SLUICE_STEP_VERDICT, ifindex) : NULL;

	if (step) {
		step->hook = (uint8_t)hook;
		step->value = verdict;
	}
}

void sl_path_redirect(struct sl_path *path, uint32_t ifindex, uint32_t map_id)
{
	struct sluice_step *step = path ? add_step(path, SLUICE_STEP_REDIRECT, ifindex) : NULL;

	if (step)
		step->id = map_id;
}

/* Programs whose jumps nobody asked about do not come here. */
void sl_path_jump(const struct sl_ctx *ctx, const struct sl_prog *prog)
{
	struct sl_path *path = ctx->run->path;
	struct sluice_step *step = path ? add_step(path, SLUICE_STEP_JUMP, 0) : NULL;

	if (step && prog)
		name_prog(step, prog);
}

void sl_path_kernel(struct sl_path *path, uint32_t ifindex)
{
	struct sluice_step *step = path ? add_step(path, SLUICE_STEP_COUNT, ifindex) : NULL;

	if (step) {
		step->value = SLUICE_KERNEL;
		step->id = 1;
	}
}

int sl_tc_run_prog_watched(const struct sl_prog *prog, struct sl_ctx *ctx)
{
	enum sluice_hook hook = ctx->at_ingress ? SLUICE_HOOK_INGRESS : SLUICE_HOOK_EGRESS;
	struct sl_path *path = ctx->run->path;
	struct sluice_step *step;
	int result;

	if (!path)
		return sl_tc_run_prog(prog, ctx);
	prog = sl_hook_swap_actual(prog, ctx->cpu);
	step = sl_path_run(path, hook, ctx->ifindex, prog);
	result = (int)(uint32_t)sl_run_traced(prog, ctx);
	if (step)
		step->value = result;
	return result;
}
