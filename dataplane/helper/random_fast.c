#include <rte_cycles.h>

#include "row.h"

/* SplitMix64: a counter through a mixer; no bad seed, and passes the usual batteries. */
SL_FAST
SL_HELPER_FN(get_prandom_u32)
{
	uint64_t x = ctx->run->random;

	if (sl_unlikely(x == 0))
		x = rte_rdtsc() ^ (uint64_t)ctx->cpu << 48;
	x += 0x9e3779b97f4a7c15;
	ctx->run->random = x;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return (uint32_t)(x >> 32);
}
