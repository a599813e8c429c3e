#pragma once

#include <linux/if_xdp.h>

#include "defs.h"

/*
 * A ring of an AF_XDP socket, in memory that it shares with an untrusted process. Of that memory only
 * the other side's position and the entries are read, each once, and nothing is believed: positions
 * are counted here, an index is masked.
 */
struct sl_xsk_ring_memory {
	uint32_t producer sl_cache_aligned;
	uint32_t pad1 sl_cache_aligned;
	uint32_t consumer sl_cache_aligned;
	uint32_t pad2 sl_cache_aligned;
	uint32_t flags;
	uint32_t pad3 sl_cache_aligned;
	uint8_t entries[] sl_cache_aligned;
};

struct sl_xsk_ring {
	struct sl_xsk_ring_memory *memory;
	uint32_t size, mask; /* in entries */
	uint32_t own, other; /* positions: this side's, and the other's as last read */
	/* Written by one worker, read by control threads. */
	uint64_t invalid, empty;

	/* Control threads only. */
	size_t len_bytes;
	int memfd;
};

static inline void sl_xsk_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t *sl_xsk_addresses(const struct sl_xsk_ring *ring)
{
	return (uint64_t *)ring->memory->entries;
}

static inline struct xdp_desc *sl_xsk_descs(const struct sl_xsk_ring *ring)
{
	return (struct xdp_desc *)ring->memory->entries;
}

/* Of a ring that the other side fills: how many entries are there, at most `max`. */
static inline uint32_t sl_xsk_filled(struct sl_xsk_ring *ring, uint32_t max)
{
	if (ring->other - ring->own < max) /* pairs with the program's release of what it wrote */
		ring->other = __atomic_load_n(&ring->memory->producer, __ATOMIC_ACQUIRE);
	return sl_min(ring->other - ring->own, max);
}

/* Of a ring that the other side empties: how many entries are free, at most `max`. */
static inline uint32_t sl_xsk_free(struct sl_xsk_ring *ring, uint32_t max)
{
	uint32_t used = ring->own - ring->other;

	if (used > ring->size || ring->size - used < max) {
		/* Pairs with the program's release of what it read. */
		ring->other = __atomic_load_n(&ring->memory->consumer, __ATOMIC_ACQUIRE);
		used = ring->own - ring->other;
	}
	return used > ring->size ? 0 : sl_min(ring->size - used, max);
}

/* Tell the other side of what has been put in, or taken out. */
static inline void sl_xsk_put_done(struct sl_xsk_ring *ring)
{
	__atomic_store_n(&ring->memory->producer, ring->own, __ATOMIC_RELEASE);
}

static inline void sl_xsk_take_done(struct sl_xsk_ring *ring)
{
	__atomic_store_n(&ring->memory->consumer, ring->own, __ATOMIC_RELEASE);
}
