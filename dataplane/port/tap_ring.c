#include "tap_ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = sizeof(struct sl_tap_record) };

static_assert(ALIGNMENT == 32, "a record never straddles a ring's end");

struct sl_tap_ring *sl_tap_ring_new(uint32_t capacity)
{
	size_t size = sl_round_up(sizeof(struct sl_tap_ring) + capacity, (size_t)SL_CACHE_LINE);
	struct sl_tap_ring *ring = aligned_alloc(SL_CACHE_LINE, size);

	if (!ring)
		return NULL;
	memset(ring, 0, size);
	ring->capacity = capacity;
	return ring;
}

void sl_tap_ring_free(struct sl_tap_ring *ring)
{
	free(ring);
}

static struct sl_tap_record *record_at(struct sl_tap_ring *ring, uint64_t position)
{
	return (struct sl_tap_record *)(ring->data + (position & (ring->capacity - 1)));
}

static bool has_room(struct sl_tap_ring *ring, uint64_t size)
{
	if (sl_likely(ring->head + size - ring->tail_seen <= ring->capacity))
		return true;
	ring->tail_seen = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
	return ring->head + size - ring->tail_seen <= ring->capacity;
}

struct sl_tap_record *sl_tap_ring_reserve(struct sl_tap_ring *ring, uint32_t captured)
{
	uint64_t size =
		sl_round_up(sizeof(struct sl_tap_record) + (uint64_t)captured, (uint64_t)ALIGNMENT);
	uint64_t left = ring->capacity - (ring->head & (ring->capacity - 1));
	struct sl_tap_record *record;

	/* A packet lies in one piece: what is left at the end is passed over. */
	if (left < size) {
		if (!has_room(ring, left + size))
			return NULL;
		record = record_at(ring, ring->head);
		record->size = (uint32_t)left;
		record->captured = SL_TAP_SKIP;
		sl_tap_ring_publish(ring, record);
	}
	if (!has_room(ring, size))
		return NULL;
	record = record_at(ring, ring->head);
	record->size = (uint32_t)size;
	record->captured = captured;
	return record;
}

void sl_tap_ring_publish(struct sl_tap_ring *ring, const struct sl_tap_record *record)
{
	__atomic_store_n(&ring->head, ring->head + record->size, __ATOMIC_RELEASE);
}

const struct sl_tap_record *sl_tap_ring_peek(struct sl_tap_ring *ring)
{
	uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);

	while (ring->tail != head) {
		const struct sl_tap_record *record = record_at(ring, ring->tail);

		if (record->captured != SL_TAP_SKIP)
			return record;
		sl_tap_ring_release(ring, record);
	}
	return NULL;
}

void sl_tap_ring_release(struct sl_tap_ring *ring, const struct sl_tap_record *record)
{
	__atomic_store_n(&ring->tail, ring->tail + record->size, __ATOMIC_RELEASE);
}
