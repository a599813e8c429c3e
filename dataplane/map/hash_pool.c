#include "hash_pool.h"

#include <errno.h>
#include <string.h>

#include "area.h"
#include "cpu.h"
#include "rcu.h"

uint64_t sl_pool_total(uint32_t max_entries)
{
	uint64_t caches = sl_cpu_count() + 1;

	return max_entries + caches * (2 * SL_POOL_BATCH + SL_POOL_GRACE);
}

int sl_pool_init(struct sl_pool *pool, uint32_t max_entries)
{
	uint32_t total = sl_pool_total(max_entries);
	size_t cache_bytes = (sl_cpu_count() + 1) * sizeof(struct sl_pool_cache);
	uint64_t slots = 1;
	uint8_t *area;

	/* Every batch in the queue is full and a number is in one batch: this never overflows. */
	while (slots * SL_POOL_BATCH < total)
		slots *= 2;
	pool->total = total;
	pool->max_entries = max_entries;
	pool->slot_mask = slots - 1;
	pool->len_bytes = cache_bytes + slots * sizeof(struct sl_pool_slot);
	area = sl_area_new(pool->len_bytes, cache_bytes);
	if (!area)
		return -ENOMEM;
	pool->caches = (struct sl_pool_cache *)area;
	pool->slots = (struct sl_pool_slot *)(area + cache_bytes);
	return 0;
}

void sl_pool_done(struct sl_pool *pool)
{
	sl_area_free(pool->caches, pool->len_bytes);
	pool->caches = NULL;
}

static struct sl_pool_slot *slot_at(struct sl_pool *pool, uint64_t position, uint64_t *ret_turn)
{
	*ret_turn = position / ((uint64_t)pool->slot_mask + 1) * 2;
	return &pool->slots[position & pool->slot_mask];
}

/* Puts the cache's full batch of retired elements into the queue. */
static void enqueue(struct sl_pool *pool, struct sl_pool_cache *cache)
{
	uint64_t position = __atomic_load_n(&pool->tail, __ATOMIC_RELAXED);
	struct sl_pool_slot *slot;
	uint64_t turn;

	for (;;) {
		slot = slot_at(pool, position, &turn);
		if (__atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE) != turn)
			position = __atomic_load_n(&pool->tail, __ATOMIC_RELAXED);
		else if (__atomic_compare_exchange_n(&pool->tail, &position, position + 1, true,
				 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			break;
	}
	__atomic_store_n(&slot->token, sl_rcu_token(), __ATOMIC_RELAXED);
	memcpy(slot->elems, cache->retired, sizeof(slot->elems));
	__atomic_store_n(&slot->turn, turn + 1, __ATOMIC_RELEASE);
	cache->retired_count = 0;
}

/* Fills the cache with the oldest batch of the queue, if that one's grace period is over. */
static bool dequeue(struct sl_pool *pool, struct sl_pool_cache *cache)
{
	uint64_t position = __atomic_load_n(&pool->head, __ATOMIC_RELAXED);
	struct sl_pool_slot *slot;
	uint64_t turn, now;

	for (;;) {
		slot = slot_at(pool, position, &turn);
		if (__atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE) != turn + 1) {
			now = __atomic_load_n(&pool->head, __ATOMIC_RELAXED);
			if (now == position)
				return false;
			position = now;
			continue;
		}
		/* Another thread's token when the slot has been refilled; then the CAS fails. */
		if (!sl_rcu_passed(__atomic_load_n(&slot->token, __ATOMIC_RELAXED)))
			return false;
		if (__atomic_compare_exchange_n(&pool->head, &position, position + 1, true,
			    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			break;
	}
	memcpy(cache->free, slot->elems, sizeof(cache->free));
	cache->free_count = SL_POOL_BATCH;
	__atomic_store_n(&slot->turn, turn + 2, __ATOMIC_RELEASE);
	return true;
}

static void take_unused(struct sl_pool *pool, struct sl_pool_cache *cache)
{
	uint64_t first;

	if (__atomic_load_n(&pool->unused, __ATOMIC_RELAXED) >= pool->total)
		return;
	first = __atomic_fetch_add(&pool->unused, SL_POOL_BATCH, __ATOMIC_RELAXED);
	/* The lowest number is taken first, so that a young map is dense. */
	for (uint64_t end = sl_min(first + SL_POOL_BATCH, (uint64_t)pool->total); end > first;)
		cache->free[cache->free_count++] = --end;
}

uint32_t sl_pool_get(struct sl_pool *pool, struct sl_pool_cache *cache)
{
	if (cache->free_count == 0 && !dequeue(pool, cache))
		take_unused(pool, cache);
	return cache->free_count ? cache->free[--cache->free_count] : SL_POOL_NONE;
}

void sl_pool_put(struct sl_pool_cache *cache, uint32_t elem)
{
	cache->free[cache->free_count++] = elem;
}

void sl_pool_retire(struct sl_pool *pool, struct sl_pool_cache *cache, uint32_t elem)
{
	cache->retired[cache->retired_count++] = elem;
	if (cache->retired_count == SL_POOL_BATCH)
		enqueue(pool, cache);
}

static bool take_room(struct sl_pool_cache *cache)
{
	uint32_t room = __atomic_load_n(&cache->room, __ATOMIC_RELAXED);

	while (room > 0) {
		if (__atomic_compare_exchange_n(&cache->room, &room, room - 1, true,
			    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

/* Near the end one at a time, so that no CPU has what another one needs. */
static uint32_t portion(const struct sl_pool *pool, uint32_t given)
{
	uint32_t left = pool->max_entries - given;

	return left > SL_POOL_BATCH * (sl_cpu_count() + 1) ? SL_POOL_BATCH : sl_min(left, 1u);
}

bool sl_pool_enter(struct sl_pool *pool, struct sl_pool_cache *cache)
{
	uint32_t given, some;

	if (sl_likely(take_room(cache)))
		return true;
	given = __atomic_load_n(&pool->room_given, __ATOMIC_RELAXED);
	while ((some = portion(pool, given)) > 0) {
		if (!__atomic_compare_exchange_n(&pool->room_given, &given, given + some, true,
			    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			continue;
		if (some > 1)
			__atomic_add_fetch(&cache->room, some - 1, __ATOMIC_RELAXED);
		return true;
	}
	for (unsigned i = 0; i <= sl_cpu_count(); i++) {
		if (take_room(&pool->caches[i]))
			return true;
	}
	return false;
}

void sl_pool_leave(struct sl_pool_cache *cache)
{
	__atomic_add_fetch(&cache->room, 1, __ATOMIC_RELAXED);
}

uint32_t sl_pool_count(const struct sl_pool *pool)
{
	int64_t count = __atomic_load_n(&pool->room_given, __ATOMIC_RELAXED);

	for (unsigned i = 0; i <= sl_cpu_count(); i++)
		count -= __atomic_load_n(&pool->caches[i].room, __ATOMIC_RELAXED);
	return count < 0 ? 0 : (uint32_t)count;
}
