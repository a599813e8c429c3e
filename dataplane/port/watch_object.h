#pragma once

#include <sluice/observe.h>

#include "defs.h"
#include "object.h"
#include "worker.h"

/* What a worker keeps of a watch for itself: readers can write to all that is shared. */
struct sl_watch_worker {
	struct sluice_watch_ring *ring;
	uint64_t head; /* of what is reserved; published up to ring->head's value */
	uint64_t tail_seen;
	uint32_t until_sample; /* packets to pass over */
	uint32_t held_count;
	struct sl_held {
		struct sluice_record *record;
		uint32_t index; /* in the burst */
	} held[SL_TX_BATCH];
	uint32_t lost[SLUICE_WATCH_PORTS][SLUICE_POINT_COUNT]; /* since the last record */
} sl_cache_aligned;

/* Immutable while it is on the list, but for what belongs to the workers. */
struct sl_watch {
	struct sl_object obj;
	bool paths;
	uint16_t only; /* 1 + id of the one port; 0: all */
	uint64_t serial; /* of that port, so that none that comes after it is taken for it */
	uint32_t points, snaplen, sample, capacity;
	struct sl_prog *filter, *raw_filter; /* references; NULL: see `filtered` */
	bool filtered;
	struct sl_watch_list *without; /* the memory for the list when it goes */

	int memfd;
	struct sluice_watch_area *area;
	size_t len_bytes;
	struct sl_watch_worker *workers; /* by index */
};

/* watch_packet.c: what paths have in common with packets. NULL: no room. */
struct sluice_record *sl_watch_reserve(
	const struct sl_watch *watch, struct sl_watch_worker *w, uint64_t len);
void sl_watch_publish(struct sl_watch_worker *w);
bool sl_watch_is_for(const struct sl_watch *watch, const struct sl_port *port);
struct sluice_watch_counts *sl_watch_counts_of(
	struct sl_watch_worker *w, const struct sl_port *port, enum sluice_point point);
/* How many bytes of a packet to show. */
uint32_t sl_watch_filter(
	const struct sl_watch *watch, const struct sl_port *port, const struct sl_ctx *ctx);
void sl_watch_context(struct sl_ctx *ctx, struct sl_worker *worker, struct sl_port *port,
	uint16_t queue, struct rte_mbuf *pkt);

/* What a worker collects of the packet whose path is wanted. */
struct sl_path {
	uint32_t wanted; /* bit per watch of `list` */
	const struct sl_watch_list *list; /* the quiescent state comes after the path's end */
	struct sluice_record record;
	uint8_t bytes[SLUICE_WATCH_HEADER_BYTES];
	uint16_t count, missing;
	struct sluice_step steps[SLUICE_WATCH_STEPS];
	uint64_t homeless[SLUICE_COUNTER_COUNT];
	struct sluice_counters before[SL_PORTS_MAX];
};

/* By worker, once anybody has wanted paths. */
extern struct sl_path *sl_paths[SL_WORKERS_MAX];

static_assert(SL_PORTS_MAX <= SLUICE_WATCH_PORTS, "watches count by the ports' ids");
