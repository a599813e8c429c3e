#include "hash_lru.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "area.h"
#include "cpu.h"
#include "hash_table.h"

/*
 * Eviction for LRU_HASH and LRU_PERCPU_HASH, by the CLOCK algorithm (Corbato, 1968).
 *
 * A hand goes round over the numbers of the elements. An element that was used since it last came by
 * has its mark cleared and stays for another round; the first one without the mark goes. An insertion
 * into a full map evicts one element, so the map stays full. The common hand moves by SEGMENT
 * numbers, which whoever moved it goes through on its own, one insertion after the other: workers
 * meet at the hand once in that many elements.
 *
 * Numbers come back from the pool in the order in which they went, so a new element stands where the
 * hand was some time ago, and has nearly a full round to be used. Numbers that were never used
 * before are left to the next round, or the hand would run after the newest elements.
 *
 * `present` has a byte for each number, so that numbers that are free or wait for their grace period
 * are passed eight at a time and without a look at their memory. An element's byte is set before the
 * element is published and cleared after it has been unlinked, so every element in the map has it;
 * and since it is retired afterwards, one that was seen with it keeps its key for as long as the
 * viewer's read section lasts. That it is still in the map is up to the table.
 *
 * Nobody goes round for long: after SCAN_MAX elements, all of them used, the first of these goes.
 * Their marks are cleared by then, so the hand is through a map where everything was used in a few
 * insertions.
 */
enum { SEGMENT = 64, SCAN_MAX = 512, TRIES_MAX = 64 };

/* Of the numbers that one CPU has to go through, [next, end). Its worker's alone, as pool caches. */
struct cursor {
	uint32_t next, end;
} sl_cache_aligned;

struct sl_lru {
	/* Any thread: where the next segment begins, and above 32 bits where the round ends. */
	uint64_t hand sl_cache_aligned;
	uint8_t *present sl_cache_aligned; /* any thread: [sl_round_up(total, SEGMENT)] */
	uint32_t total;
	size_t present_bytes;
	struct cursor cursors[]; /* [sl_cpu_count() + 1], as the pool's caches */
};

int sl_lru_new(uint32_t total, struct sl_lru **ret_lru)
{
	size_t len = sizeof(struct sl_lru) + (sl_cpu_count() + 1) * sizeof(struct cursor);
	struct sl_lru *lru = aligned_alloc(SL_CACHE_LINE, len);

	if (!lru)
		return -ENOMEM;
	memset(lru, 0, len);
	lru->total = total;
	lru->present_bytes = sl_round_up(total, (uint32_t)SEGMENT);
	lru->present = sl_area_new(lru->present_bytes, lru->present_bytes);
	if (!lru->present) {
		free(lru);
		return -ENOMEM;
	}
	*ret_lru = lru;
	return 0;
}

void sl_lru_free(struct sl_lru *lru)
{
	if (!lru)
		return;
	sl_area_free(lru->present, lru->present_bytes);
	free(lru);
}

void sl_lru_add(struct sl_lru *lru, uint32_t number, uint8_t *used)
{
	__atomic_store_n(used, 0, __ATOMIC_RELAXED);
	/* With the key; pairs with the acquire in is_present. */
	__atomic_store_n(&lru->present[number], 1, __ATOMIC_RELEASE);
}

void sl_lru_remove(struct sl_lru *lru, uint32_t number)
{
	__atomic_store_n(&lru->present[number], 0, __ATOMIC_RELAXED);
}

static bool is_present(const struct sl_lru *lru, uint32_t number)
{
	return __atomic_load_n(&lru->present[number], __ATOMIC_ACQUIRE);
}

/* The next segment; behind the last, a new round over the numbers that were handed out by then. */
static void next_segment(struct sl_hash *h, struct cursor *cursor)
{
	struct sl_lru *lru = h->lru;
	uint64_t hand = __atomic_load_n(&lru->hand, __ATOMIC_RELAXED);
	uint32_t begin, end, limit;

	do {
		begin = (uint32_t)hand;
		limit = hand >> 32;
		if (begin >= limit) {
			uint64_t unused = __atomic_load_n(&h->pool.unused, __ATOMIC_RELAXED);

			begin = 0;
			limit = sl_min(unused, (uint64_t)lru->total);
		}
		end = sl_min(begin + SEGMENT, limit);
	} while (!__atomic_compare_exchange_n(&lru->hand, &hand, (uint64_t)limit << 32 | end, true,
		__ATOMIC_RELAXED, __ATOMIC_RELAXED));
	*cursor = (struct cursor){ begin, end };
}

/* The next element, or NULL at the end of the segment. */
static struct sl_hash_elem *next_elem(struct sl_hash *h, struct cursor *cursor)
{
	const struct sl_lru *lru = h->lru;

	while (cursor->next < cursor->end) {
		const uint64_t *eight = (const uint64_t *)&lru->present[cursor->next];
		uint32_t number;

		if (cursor->next % 8 == 0 && !__atomic_load_n(eight, __ATOMIC_RELAXED)) {
			cursor->next += 8;
			continue;
		}
		number = cursor->next++;
		if (is_present(lru, number))
			return sl_hash_elem_at(h, number);
	}
	return NULL;
}

/* An element without the mark or, if there is none for long, the first that lost it here. */
static struct sl_hash_elem *victim(struct sl_hash *h, struct cursor *cursor)
{
	uint32_t key_size = h->map.desc.key_size, segments = h->lru->total / SEGMENT + 2;
	struct sl_hash_elem *first = NULL, *e;

	for (unsigned scanned = 0; scanned < SCAN_MAX;) {
		uint8_t *used;

		e = next_elem(h, cursor);
		if (!e) {
			if (segments-- == 0)
				break;
			next_segment(h, cursor);
			continue;
		}
		used = sl_hash_used(e, key_size);
		if (!__atomic_load_n(used, __ATOMIC_RELAXED))
			return e;
		__atomic_store_n(used, 0, __ATOMIC_RELAXED);
		if (!first)
			first = e;
		scanned++;
	}
	return first;
}

int sl_lru_evict(struct sl_hash *h, struct sl_pool_cache *cache)
{
	struct cursor *cursor = &h->lru->cursors[cache - h->pool.caches];

	/* Who fails met another thread that evicted or deleted: its room may be left. */
	for (unsigned i = 0; i < TRIES_MAX; i++) {
		struct sl_hash_elem *e = victim(h, cursor);

		if (e && sl_hash_take_elem(h, cache, e))
			return 0;
		if (sl_pool_enter(&h->pool, cache))
			return 0;
	}
	return -ENOMEM;
}
