#pragma once

#ifndef __bpf__
#include <stdbool.h>
#include <stdint.h>

/* updates_swaps.c: what generations cost. False when a packet has met anything it should not. */
bool updates_swaps(uint64_t (*workers_ns)(void));
#endif

/* What updates.c and its program agree on. */
enum { UPDATES_ENTRIES = 64 << 10 };
