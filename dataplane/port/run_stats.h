#pragma once

#include <rte_cycles.h>

#include "command.h"
#include "context.h"
#include "prog.h"

/*
 * How often programs run and how long that takes, by CPU: one writer each. Every run is counted, but
 * only some are timed: reading the counter twice may cost more than a short program does. Such a
 * run, or burst, stands for all since the last one, so the sum keeps up with the count and never
 * goes back. Which ones those are follows the golden ratio, at places that no pattern of the
 * traffic, nor a burst's length, keeps in step with. A program that has hardly run yet, and any one
 * while somebody holds a descriptor of BPF_ENABLE_STATS, has all its runs timed.
 */
enum { RUN_ALL_TIMED = 32, RUN_BURSTS_MORE_OFTEN = 3 /* 2^3 times */ };

static inline bool sl_run_is_timed(uint64_t run, unsigned more_often)
{
	uint32_t place = (uint32_t)run * 0x9e3779b1u >> more_often;

	return sl_unlikely(run < RUN_ALL_TIMED) ||
	       sl_unlikely(place < __atomic_load_n(&sl_run_sample, __ATOMIC_RELAXED));
}

/* The last `count` of the runs took these cycles. */
static inline void sl_run_add_cycles(struct sl_prog_stats *stats, uint64_t cycles, uint32_t count)
{
	uint64_t stand_for = stats->run_count - stats->timed_count;

	__atomic_store_n(
		&stats->cycles, stats->cycles + cycles * stand_for / count, __ATOMIC_RELAXED);
	stats->timed_count = stats->run_count;
}

/* 0: nobody wants to know how long this burst takes. */
static inline uint64_t sl_run_begin_burst(const struct sl_prog *prog, uint32_t cpu)
{
	uint64_t run = prog->stats[cpu].run_count;

	return sl_run_is_timed(run, RUN_BURSTS_MORE_OFTEN) ? rte_rdtsc() : 0;
}

static inline void sl_run_end_burst(
	const struct sl_prog *prog, uint32_t cpu, uint64_t begin, uint32_t count)
{
	struct sl_prog_stats *stats = &prog->stats[cpu];

	__atomic_store_n(&stats->run_count, stats->run_count + count, __ATOMIC_RELAXED);
	if (sl_unlikely(begin))
		sl_run_add_cycles(stats, rte_rdtsc() - begin, count);
}

/* Out of the way of the runs that are not timed. */
SL_WORKER uint64_t sl_run_timed(
	const struct sl_code *code, struct sl_ctx *ctx, struct sl_prog_stats *stats);

/* Runs the program on one packet; returns its result. */
static inline uint64_t sl_run_one(const struct sl_prog *prog, struct sl_ctx *ctx)
{
	struct sl_prog_stats *stats = &prog->stats[ctx->cpu];
	const struct sl_code *code = sl_rcu_load(prog->code);
	uint64_t run = stats->run_count;

	/* Before it runs: nothing is left to do then. */
	__atomic_store_n(&stats->run_count, run + 1, __ATOMIC_RELAXED);
	if (sl_run_is_timed(run, 0))
		return sl_run_timed(code, ctx, stats);
	return code->run(ctx, SL_TAIL_CALLS);
}

/* The same for a packet whose path is wanted. Not timed: the next run that is stands for it too. */
static inline uint64_t sl_run_traced(const struct sl_prog *prog, struct sl_ctx *ctx)
{
	struct sl_prog_stats *stats = &prog->stats[ctx->cpu];

	__atomic_store_n(&stats->run_count, stats->run_count + 1, __ATOMIC_RELAXED);
	return sl_rcu_load(prog->code)->run(ctx, SL_TAIL_CALLS | SL_TAIL_CALLS_TRACED);
}
