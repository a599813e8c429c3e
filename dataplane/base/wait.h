#pragma once

#include <time.h>

#include <rte_pause.h>

#include "defs.h"

/*
 * One step of a control thread's waiting for workers. A worker answers within a burst, unless it has
 * been interrupted, perhaps by us: then we get out of its way. Asleep, because a thread that yields
 * its CPU to one that never sleeps gets it back only a whole time slice later.
 */
SL_CONTROL static inline void sl_wait_step(unsigned *steps)
{
	enum { SPINS = 200 }; /* some microseconds */
	static const struct timespec nap = { .tv_nsec = 20000 };

	if (++*steps < SPINS)
		rte_pause();
	else
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
}
