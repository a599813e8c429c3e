#pragma once

#include "defs.h"

/*
 * A ring of records of any length, from one worker to one reader. The worker never waits: what does
 * not fit is not put. Both sides keep what they write on a cache line of their own; `head` and
 * `tail` only grow, and pair as release (writer) with acquire (reader of the other's).
 */
struct sl_tap_ring {
	/* The worker's. */
	uint64_t head sl_cache_aligned; /* bytes put so far */
	uint64_t tail_seen; /* `tail` as last looked up: most puts need not look */

	/* The reader's. */
	uint64_t tail sl_cache_aligned; /* bytes taken so far */

	/* Immutable. */
	uint32_t capacity sl_cache_aligned; /* a power of two */
	uint8_t data[] sl_cache_aligned;
};

/* Ahead of each packet's bytes. Records begin at multiples of their size. */
struct sl_tap_record {
	uint32_t
		size; /* with this and what is left free up to the next; multiple of the alignment */
	uint32_t
		captured; /* bytes of the packet that follow; SL_TAP_SKIP: none, go on at the start */
	uint32_t len; /* of the packet */
	uint32_t mark;
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint16_t vlan_tci, vlan_proto; /* proto big endian, 0 without a tag */
	uint8_t pkt_type; /* PACKET_* */
	uint8_t reserved[3];
};

#define SL_TAP_SKIP UINT32_MAX

/* NULL without memory. Touched, so that the worker meets no page fault. */
SL_CONTROL struct sl_tap_ring *sl_tap_ring_new(uint32_t capacity);
SL_CONTROL void sl_tap_ring_free(struct sl_tap_ring *ring);

/* Room for a packet of `captured` bytes, to be filled and then published; NULL: there is none. */
SL_WORKER struct sl_tap_record *sl_tap_ring_reserve(struct sl_tap_ring *ring, uint32_t captured);
SL_WORKER void sl_tap_ring_publish(struct sl_tap_ring *ring, const struct sl_tap_record *record);

/* The oldest record, NULL when the ring is empty; it stays until it is released. One reader. */
SL_CONTROL const struct sl_tap_record *sl_tap_ring_peek(struct sl_tap_ring *ring);
SL_CONTROL void sl_tap_ring_release(struct sl_tap_ring *ring, const struct sl_tap_record *record);
