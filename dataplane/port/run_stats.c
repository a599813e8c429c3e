#include "run_stats.h"

uint64_t sl_run_timed(const struct sl_code *code, struct sl_ctx *ctx, struct sl_prog_stats *stats)
{
	uint64_t begin = rte_rdtsc();
	uint64_t result = code->run(ctx, SL_TAIL_CALLS);

	sl_run_add_cycles(stats, rte_rdtsc() - begin, 1);
	return result;
}
