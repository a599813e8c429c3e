#include <rte_cycles.h>

#include "clock.h"
#include "row.h"

SL_FAST
uint64_t sl_clock_ns(void)
{
	const struct sl_clock_line *line;
	uint64_t ns;
	int64_t delta;
	uint32_t seq;

	/* Pairs with the release stores in time.c. */
	while ((seq = __atomic_load_n(&sl_clock.seq, __ATOMIC_ACQUIRE)) != 0) {
		line = &sl_clock.line[seq & 1];
		delta = (int64_t)(rte_rdtsc() - line->tsc);
		/* Another CPU's counter may be a little behind the one that drew the line. */
		if (sl_unlikely(delta < 0))
			delta = 0;
		ns = line->ns + (uint64_t)((unsigned __int128)(uint64_t)delta * line->mult >> 32);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (sl_likely(__atomic_load_n(&sl_clock.seq, __ATOMIC_RELAXED) == seq))
			return ns;
	}
	return sl_clock_slow_ns();
}

SL_FAST
SL_HELPER_FN(ktime_get_ns)
{
	return sl_clock_ns();
}

SL_FAST
SL_HELPER_FN(ktime_get_coarse_ns)
{
	return sl_clock_ns();
}

SL_FAST
SL_HELPER_FN(ktime_get_boot_ns)
{
	return sl_clock_ns() + (uint64_t)__atomic_load_n(&sl_clock.boot_ns, __ATOMIC_RELAXED);
}

SL_FAST
SL_HELPER_FN(ktime_get_tai_ns)
{
	return sl_clock_ns() + (uint64_t)__atomic_load_n(&sl_clock.tai_ns, __ATOMIC_RELAXED);
}
