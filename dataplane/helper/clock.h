#pragma once

#include "defs.h"

/*
 * CLOCK_MONOTONIC without a system call or the vdso's fences: the time-stamp counter, scaled. A
 * background thread compares it with the kernel's clock and publishes a line through which time
 * runs from now on; it never steps back. There are two lines, and readers use the one that
 * is not being written (a latch), so a preempted writer delays nobody. Until the first line is
 * known, and where the counter is not invariant, the vdso answers.
 */
struct sl_clock_line {
	uint64_t tsc, ns; /* a point on the line */
	uint64_t mult; /* ns per count, 32.32 fixed point */
};

struct sl_clock {
	uint32_t seq; /* writer: background; readers: any. line[seq & 1] is stable. 0: not known */
	struct sl_clock_line line[2];
	int64_t boot_ns, tai_ns; /* offsets from CLOCK_MONOTONIC */
	uint64_t jiffy_ns; /* 1e9 / HZ */
} sl_cache_aligned;

extern struct sl_clock sl_clock;

/* Starts the calibration; idempotent. */
SL_CONTROL int sl_clock_start(void);

/* CLOCK_MONOTONIC, ns. */
SL_ANY uint64_t sl_clock_ns(void);

/*
 * How long so many counts of the time-stamp counter take. The rate is measured once, so that a sum
 * that does not go back does not go back in nanoseconds either; the first call may take 10 ms.
 */
SL_CONTROL uint64_t sl_clock_cycles_ns(uint64_t cycles);
/* Counts per second, as that takes them. */
SL_CONTROL uint64_t sl_clock_cycles_hz(void);

/* What sl_clock_ns falls back to. */
SL_ANY uint64_t sl_clock_slow_ns(void);
