#pragma once

#ifndef __bpf__
#include <stdbool.h>

/* updates_swaps.c: what generations cost. False when a packet has met anything it should not. */
bool updates_swaps(void);
#endif

/* What updates.c and its program agree on. */
enum { UPDATES_ENTRIES = 64 << 10 };
