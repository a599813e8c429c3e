#pragma once

#include "map.h"
#include "ringbuf_mmap.h"

/*
 * A USER_RINGBUF is the same the other way round: programs are its consumers, and producers, whose
 * page it is, are in user space.
 *
 * RINGBUF: one stream of records from all producers to one consumer in user space. The addresses of
 * a ring are fixed parts of one aligned block, as the kernel lays them out: what only producers know
 * in the first page, then the page that the consumer writes, the page that producers write, and the
 * data twice in a row, so that no record wraps. A record leads to its ring by its address alone.
 */
#define SL_RINGBUF_BLOCK (8ull << 30) /* twice the largest ring, and its pages, fit into it */
#define SL_RINGBUF_META_PAGES 3u

/* Shared with the consumer, which may write anything there: never trusted. */
struct sl_ringbuf_consumer {
	uint64_t position;
};

struct sl_ringbuf_producer {
	uint64_t position, pending;
};

struct sl_ringbuf_header {
	uint32_t len; /* bytes of the record | BPF_RINGBUF_BUSY_BIT, _DISCARD_BIT */
	uint32_t page; /* pages from the block's beginning, as the kernel's records say */
};

struct sl_ringbuf {
	/* Constant. */
	uint64_t mask; /* data bytes - 1 */
	struct sl_ringbuf_consumer *consumer;
	struct sl_ringbuf_producer *producer;
	uint8_t *data;

	/* Producers', under the lock; `head` is read by anyone. */
	uint32_t lock sl_cache_aligned;
	uint64_t head; /* where the next record begins */
	uint64_t pending; /* the oldest record that may still be written to */

	/* Records for which there was no room. Producers', atomically. */
	uint64_t lost sl_cache_aligned;

	/* Set by programs, taken back by the background thread: somebody is to be woken. */
	uint32_t wake sl_cache_aligned;

	/* USER_RINGBUF: a program is reading, and up to where it was read. */
	uint32_t busy sl_cache_aligned;
	uint64_t consumed;
};

/* Room for a record of `size` bytes, its header marked busy; NULL when there is none. */
SL_WORKER void *sl_ringbuf_reserve(struct sl_ringbuf *ring, uint64_t size);
/* The record is done: for the consumer, or to be skipped. `flags` BPF_RB_*_WAKEUP. */
SL_WORKER void sl_ringbuf_commit(void *record, uint64_t flags, bool discard);
/* bpf_ringbuf_query. */
SL_WORKER uint64_t sl_ringbuf_query(const struct sl_ringbuf *ring, uint64_t what);

/*
 * The consumer of a USER_RINGBUF: begin returns false while there is another. peek is 0 and a sample
 * in memory that user space may write to all the while, -ENODATA, -EAGAIN for one that was skipped,
 * or what is wrong with what user space wrote: -EINVAL, -E2BIG.
 */
SL_WORKER bool sl_user_ringbuf_begin(struct sl_ringbuf *ring);
SL_WORKER int sl_user_ringbuf_peek(struct sl_ringbuf *ring, void **ret_sample, uint32_t *ret_size);
SL_WORKER void sl_user_ringbuf_release(struct sl_ringbuf *ring, uint32_t size);
SL_WORKER void sl_user_ringbuf_end(struct sl_ringbuf *ring, bool wake);

static inline struct sl_ringbuf *sl_ringbuf_of(const struct sl_map *map)
{
	return (struct sl_ringbuf *)map->desc.data;
}
