#pragma once

#include "clock.h"
#include "command.h"
#include "prog.h"

/* What BPF_ENABLE_STATS turns on: run_cnt and run_time_ns of a program, by its CPU's worker. */

/* When a run begins; 0 while nobody wants to know. */
static inline uint64_t sl_run_stats_begin(void)
{
	return sl_unlikely(sl_stats_enabled()) ? sl_clock_ns() : 0;
}

/* `count` packets later. */
static inline void sl_run_stats_end(
	const struct sl_prog *prog, uint32_t cpu, uint64_t begin_ns, uint32_t count)
{
	struct sl_prog_stats *stats = &prog->stats[cpu];

	if (sl_likely(begin_ns == 0))
		return;
	__atomic_store_n(&stats->run_count, stats->run_count + count, __ATOMIC_RELAXED);
	__atomic_store_n(&stats->run_time_ns, stats->run_time_ns + sl_clock_ns() - begin_ns,
		__ATOMIC_RELAXED);
}
