#pragma once

#include "map.h"

struct sl_perf_event;

/* Samples that found no consumer, or no room in its ring; the CPU's own. */
struct sl_perf_event_lost {
	uint64_t count;
} sl_cache_aligned;

struct sl_perf_event_array_desc {
	struct sl_map_desc map;
	struct sl_perf_event **slots; /* [max_entries] */
	struct sl_perf_event_lost *lost; /* [sl_cpu_count()] */
};

/*
 * Where the events come from; event/ sets it once, at start-up. Without it no descriptor is an
 * event's.
 */
struct sl_perf_event_source {
	/* The event behind fd with a reference for the array. -EBADF when it is none. */
	int (*get)(int fd, struct sl_perf_event **ret_event);
	/* Drops that reference; workers may use the event until the next grace period. */
	void (*put)(struct sl_perf_event *event);
};

SL_CONTROL void sl_perf_event_array_set_source(const struct sl_perf_event_source *source);

/*
 * The event in slot `index`, NULL when it is empty; the caller has checked the index against
 * max_entries. Compiled into programs. Valid until the next quiescent state.
 */
SL_WORKER struct sl_perf_event *sl_perf_event_array_slot(
	const struct sl_map_desc *desc, uint32_t index);
/* One more is lost; returns `error`. */
SL_WORKER long sl_perf_event_array_lose(const struct sl_map_desc *desc, uint32_t cpu, long error);
