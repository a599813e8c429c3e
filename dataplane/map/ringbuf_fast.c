#include "ringbuf.h"

#include <rte_pause.h>

/*
 * The producers of a ring. One at a time claims room, under a lock that is held for a dozen
 * instructions: a record's header has to be there before the position behind it is published, which
 * rules out claiming room in any order. Who cannot have the lock within a bounded time, because its
 * holder was put to sleep, is told that there is no room: the packet path does not wait.
 *
 * Positions only grow. The consumer can write its own position, and through its descriptor the rest
 * of the file, so producers use what they keep themselves, and of the shared memory only what cannot
 * lead them out of the ring: the consumer's position decides how much is free, old headers how far
 * all is written.
 */

#define LOCK_TRIES 4096
/* Headers looked at per record: more than one, so that it catches up; a consumer may forge them. */
#define PENDING_STEPS 64
#define MAX_RECORD (UINT32_MAX / 4)

static inline bool take_lock(struct sl_ringbuf *ring)
{
	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (sl_likely(!__atomic_load_n(&ring->lock, __ATOMIC_RELAXED) &&
			      !__atomic_exchange_n(&ring->lock, 1, __ATOMIC_ACQUIRE)))
			return true;
		rte_pause();
	}
	return false;
}

static inline void release_lock(struct sl_ringbuf *ring)
{
	__atomic_store_n(&ring->lock, 0, __ATOMIC_RELEASE);
}

static inline struct sl_ringbuf_header *header_at(const struct sl_ringbuf *ring, uint64_t position)
{
	return (struct sl_ringbuf_header *)(ring->data + (position & ring->mask));
}

/* Past the records that nobody writes to any more. */
static inline void advance_pending(struct sl_ringbuf *ring)
{
	for (unsigned i = 0; i < PENDING_STEPS && ring->pending < ring->head; i++) {
		uint32_t len =
			__atomic_load_n(&header_at(ring, ring->pending)->len, __ATOMIC_RELAXED);

		if (len & BPF_RINGBUF_BUSY_BIT)
			return;
		len &= ~BPF_RINGBUF_DISCARD_BIT;
		ring->pending += sl_round_up((uint64_t)len + BPF_RINGBUF_HDR_SZ, 8u);
	}
	ring->pending = sl_min(ring->pending, ring->head);
}

static inline void *no_room(struct sl_ringbuf *ring)
{
	__atomic_add_fetch(&ring->lost, 1, __ATOMIC_RELAXED);
	return NULL;
}

SL_FAST
void *sl_ringbuf_reserve(struct sl_ringbuf *ring, uint64_t size)
{
	uint64_t len = sl_round_up(size + BPF_RINGBUF_HDR_SZ, 8u), consumed, end;
	struct sl_ringbuf_header *header = NULL;

	if (sl_unlikely(size > MAX_RECORD || len > ring->mask + 1))
		return no_room(ring);
	/* Pairs with the consumer's release: it has read what will be overwritten. */
	consumed = __atomic_load_n(&ring->consumer->position, __ATOMIC_ACQUIRE);
	if (sl_unlikely(!take_lock(ring)))
		return no_room(ring);
	advance_pending(ring);
	end = ring->head + len;
	if (sl_likely(end - consumed <= ring->mask && end - ring->pending <= ring->mask)) {
		header = header_at(ring, ring->head);
		__atomic_store_n(
			&header->len, (uint32_t)size | BPF_RINGBUF_BUSY_BIT, __ATOMIC_RELAXED);
		header->page = (uint32_t)(((uintptr_t)header - (uintptr_t)ring) / SL_RINGBUF_PAGE);
		__atomic_store_n(&ring->head, end, __ATOMIC_RELAXED);
		/* Pairs with the consumer's acquire: it sees the header. */
		__atomic_store_n(&ring->producer->position, end, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&ring->producer->pending, ring->pending, __ATOMIC_RELAXED);
	release_lock(ring);
	return sl_likely(header) ? header + 1 : no_room(ring);
}

SL_FAST
void sl_ringbuf_commit(void *record, uint64_t flags, bool discard)
{
	struct sl_ringbuf *ring =
		(struct sl_ringbuf *)((uintptr_t)record & ~(uintptr_t)(SL_RINGBUF_BLOCK - 1));
	struct sl_ringbuf_header *header = (struct sl_ringbuf_header *)record - 1;
	uint32_t len = __atomic_load_n(&header->len, __ATOMIC_RELAXED) ^ BPF_RINGBUF_BUSY_BIT;
	uint64_t at = (uint64_t)((uint8_t *)header - ring->data), consumed;

	if (discard)
		len |= BPF_RINGBUF_DISCARD_BIT;
	/*
	 * A full barrier: either the consumer, about to sleep, sees the record, or its position is
	 * seen here. Pairs with its acquire load of the header.
	 */
	__atomic_exchange_n(&header->len, len, __ATOMIC_SEQ_CST);
	if (flags & BPF_RB_NO_WAKEUP && !(flags & BPF_RB_FORCE_WAKEUP))
		return;
	consumed = __atomic_load_n(&ring->consumer->position, __ATOMIC_ACQUIRE) & ring->mask;
	if (((flags & BPF_RB_FORCE_WAKEUP) || consumed == at) &&
		!__atomic_load_n(&ring->wake, __ATOMIC_RELAXED))
		__atomic_store_n(&ring->wake, 1, __ATOMIC_RELEASE);
}

SL_FAST
uint64_t sl_ringbuf_query(const struct sl_ringbuf *ring, uint64_t what)
{
	uint64_t consumed = __atomic_load_n(&ring->consumer->position, __ATOMIC_ACQUIRE);
	uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);

	switch (what) {
	case BPF_RB_AVAIL_DATA:
		return head - consumed;
	case BPF_RB_RING_SIZE:
		return ring->mask + 1;
	case BPF_RB_CONS_POS:
		return consumed;
	case BPF_RB_PROD_POS:
		return head;
	default:
		return 0;
	}
}
