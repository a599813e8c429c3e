#pragma once

#include "defs.h"

/*
 * The elements of a hash table by number: which are free, and which wait for a grace period.
 *
 * Numbers move in batches. Every CPU has a cache that only its worker touches: free numbers to take
 * from and retired ones to add to. A full batch of retired numbers gets one RCU token and goes into
 * a queue that all share; a cache that runs empty takes the oldest batch whose grace period is over,
 * else a batch that was never used. So nothing is allocated, nobody waits, and the shared queue is
 * touched once in SL_POOL_BATCH operations. Control threads share one more cache under a lock of
 * their own that no worker takes.
 *
 * The pool has more numbers than the map may have elements, so that allocation succeeds while up to
 * SL_POOL_GRACE times (CPUs + 1) retired elements wait for their grace period. The rest of the
 * surplus is what the caches can hold at most. All of it is address space until it is needed.
 *
 * How many elements the map holds is counted the other way round, as room for more, and not in one
 * place that all workers would fight for: a cache takes room for some elements from what was never
 * given out, and a deletion leaves its room with the CPU that deleted. Who has none takes
 * one from another CPU. All room together is max_entries less the elements present, so the map is
 * full exactly when nobody has any.
 */
enum { SL_POOL_BATCH = 32, SL_POOL_GRACE = 4096 };

#define SL_POOL_NONE UINT32_MAX

struct sl_pool_cache {
	uint32_t room; /* any thread: elements that may be added in the name of this CPU */
	uint32_t free_count, retired_count;
	uint32_t free[SL_POOL_BATCH];
	uint32_t retired[SL_POOL_BATCH];
} sl_cache_aligned;

/*
 * A slot of the queue. `turn` is 2n when it can take the batch of round n, 2n + 1 when it holds it:
 * zeroed memory is an empty queue.
 */
struct sl_pool_slot {
	uint64_t turn; /* release by whoever filled or emptied the slot, acquire by the next */
	uint64_t token;
	uint32_t elems[SL_POOL_BATCH];
};

struct sl_pool {
	/* Immutable. */
	uint32_t total, max_entries;
	uint32_t slot_mask;
	struct sl_pool_slot *slots;
	struct sl_pool_cache *caches; /* [sl_cpu_count() + 1], the last the control threads' */
	size_t len_bytes;

	/* Any thread. */
	uint64_t head sl_cache_aligned; /* where the next batch is taken */
	uint64_t tail sl_cache_aligned; /* where the next batch is put */
	uint64_t unused sl_cache_aligned; /* numbers from here on were never handed out */
	uint32_t room_given; /* out of max_entries, to caches */
};

/* How many elements a map of max_entries needs. */
SL_ANY uint64_t sl_pool_total(uint32_t max_entries);

/* -ENOMEM. */
SL_CONTROL int sl_pool_init(struct sl_pool *pool, uint32_t max_entries);
SL_CONTROL void sl_pool_done(struct sl_pool *pool);

/* SL_POOL_NONE when all that is not in the map waits for a grace period. In a read section. */
SL_ANY uint32_t sl_pool_get(struct sl_pool *pool, struct sl_pool_cache *cache);
/* Gives back the number that sl_pool_get just returned, never published. */
SL_ANY void sl_pool_put(struct sl_pool_cache *cache, uint32_t elem);
/* The element has been unlinked: reused after a grace period. In a read section. */
SL_ANY void sl_pool_retire(struct sl_pool *pool, struct sl_pool_cache *cache, uint32_t elem);

/* How many elements have room: those in the map, and those about to be. */
SL_ANY uint32_t sl_pool_count(const struct sl_pool *pool);

/* Takes the room that one more element needs; false when the map is full. */
SL_ANY bool sl_pool_enter(struct sl_pool *pool, struct sl_pool_cache *cache);
/* An element has left the map, or did not come to enter it. */
SL_ANY void sl_pool_leave(struct sl_pool_cache *cache);
