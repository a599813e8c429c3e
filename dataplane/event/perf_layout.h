#pragma once

#include <assert.h>

#include "defs.h"

struct perf_event_mmap_page;

/*
 * What the writer of a perf ring touches per record. Compiled code holds offsets into these
 * structs.
 */
struct sl_perf_ring {
	/* Read by the writer; constant but for `plain` and `paused`, which control threads write. */
	struct perf_event_mmap_page *page; /* shared with the consumer: never trusted */
	uint8_t *data; /* mapped twice in a row, so that no record wraps */
	uint64_t mask; /* data bytes - 1; 0 for a ring without data pages */
	bool plain; /* samples are just raw data, and a full ring refuses them */
	bool paused;
	bool overwrite; /* the consumer mapped it read-only: old records give way */

	/* Written by the one writer; `samples` and `lost_total` are read by control threads. */
	uint64_t head sl_cache_aligned;
	uint64_t tail_seen; /* data_tail when it was last needed */
	uint64_t lost; /* samples since the last one that fitted */
	uint64_t samples;
	uint64_t lost_total;
};

struct sl_perf_event {
	/* Read by the writer, written by control threads. */
	uint32_t oncpu; /* the event's CPU while it is enabled, SL_PERF_OFF otherwise */
	int32_t error; /* what output to another CPU than oncpu answers */
	struct sl_perf_ring *ring; /* RCU; NULL while nobody has it mapped */

	/* Constant. */
	uint64_t id;
	uint64_t sample_type;
	uint64_t period;
	uint32_t pid;
	uint32_t cpu;
	bool sample_id_all;
	uint64_t (*now)(void); /* the clock of PERF_SAMPLE_TIME, ns */
};

#define SL_PERF_OFF UINT32_MAX

static_assert(offsetof(struct sl_perf_ring, head) == SL_CACHE_LINE, "a line of the writer's own");
