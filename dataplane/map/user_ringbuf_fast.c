#include "ringbuf.h"

#include <errno.h>

#define MAX_SAMPLE ((1u << 24) - 1) /* what a dynptr can refer to */

/*
 * The consumer of a USER_RINGBUF. Whoever has the map can write to all of the memory that is shared,
 * so each word of it is read once, and the position up to where was read is kept where only programs
 * write; what is published of it is for producers.
 */

SL_FAST_INLINE
bool sl_user_ringbuf_begin(struct sl_ringbuf *ring)
{
	/* Acquire: pairs with the release of the consumer before. */
	return !__atomic_exchange_n(&ring->busy, 1, __ATOMIC_ACQUIRE);
}

static inline void advance(struct sl_ringbuf *ring, uint32_t len)
{
	ring->consumed += len;
	/* Pairs with the producer's acquire: what was read may be overwritten. */
	__atomic_store_n(&ring->consumer->position, ring->consumed, __ATOMIC_RELEASE);
}

static inline uint32_t len_of(uint32_t size)
{
	return sl_round_up(size + BPF_RINGBUF_HDR_SZ, 8u);
}

SL_FAST_INLINE
int sl_user_ringbuf_peek(struct sl_ringbuf *ring, void **ret_sample, uint32_t *ret_size)
{
	/* Pairs with the producer's release: the headers up to there are written. */
	uint64_t produced = __atomic_load_n(&ring->producer->position, __ATOMIC_ACQUIRE);
	struct sl_ringbuf_header *header;
	uint32_t flags, size, len;

	if (sl_unlikely(produced % 8))
		return -EINVAL;
	if (ring->consumed >= produced)
		return -ENODATA;
	header = (struct sl_ringbuf_header *)(ring->data + (ring->consumed & ring->mask));
	/* Pairs with the producer's release of the header when the sample is complete. */
	size = __atomic_load_n(&header->len, __ATOMIC_ACQUIRE);
	flags = size & (BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
	size &= ~flags;
	len = len_of(size);
	if (sl_unlikely(len > produced - ring->consumed))
		return -EINVAL;
	if (sl_unlikely(len > ring->mask + 1 || size > MAX_SAMPLE))
		return -E2BIG;
	if (flags & BPF_RINGBUF_DISCARD_BIT) {
		advance(ring, len);
		return -EAGAIN;
	}
	if (flags)
		return -ENODATA;
	*ret_sample = header + 1;
	*ret_size = size;
	return 0;
}

SL_FAST_INLINE
void sl_user_ringbuf_release(struct sl_ringbuf *ring, uint32_t size)
{
	advance(ring, len_of(size));
}

SL_FAST_INLINE
void sl_user_ringbuf_end(struct sl_ringbuf *ring, bool wake)
{
	__atomic_store_n(&ring->busy, 0, __ATOMIC_RELEASE);
	if (wake && !__atomic_load_n(&ring->wake, __ATOMIC_RELAXED))
		__atomic_store_n(&ring->wake, 1, __ATOMIC_RELEASE);
}
