#include "hash.h"

#include <errno.h>

#include "hash_key.h"

/*
 * Wait-free: one load for the bucket, one cache line per element on the way. An element that is
 * marked is not in the map any more, but what follows it still is (hash_table.c).
 */
static inline __attribute__((always_inline)) struct sl_hash_elem *find(
	const struct sl_hash_desc *hash, const void *key)
{
	uint32_t key_size = hash->map.key_size;
	const uint64_t *bucket =
		&hash->buckets[sl_hash_key(key, key_size, hash->seed) >> hash->shift];
	/* Pairs with the release that published the element. */
	struct sl_hash_elem *e = (struct sl_hash_elem *)__atomic_load_n(bucket, __ATOMIC_ACQUIRE);

	while (e) {
		uint64_t next = __atomic_load_n(&e->next, __ATOMIC_ACQUIRE);

		if (sl_likely(sl_hash_key_equal(e->key, key, key_size)) &&
			sl_likely(!(next & SL_HASH_MARK)))
			break;
		e = (struct sl_hash_elem *)(next & ~SL_HASH_MARK);
	}
	return e;
}

SL_FAST_INLINE
void *sl_hash_lookup(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	const struct sl_hash_desc *hash = (const struct sl_hash_desc *)desc;
	struct sl_hash_elem *e = find(hash, key);

	return sl_likely(e != NULL) ? (uint8_t *)e + hash->value_offset : NULL;
}

static inline uint8_t *percpu_value(
	const struct sl_hash_desc *hash, const struct sl_ctx *ctx, const struct sl_hash_elem *e)
{
	uint64_t number = (uint64_t)((uint8_t *)e - (uint8_t *)hash->map.data) / hash->elem_stride;

	return hash->percpu_values + ctx->cpu * hash->cpu_stride + number * hash->map.value_stride;
}

SL_FAST_INLINE
void *sl_percpu_hash_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	const struct sl_hash_desc *hash = (const struct sl_hash_desc *)desc;
	struct sl_hash_elem *e = find(hash, key);

	return sl_likely(e != NULL) ? percpu_value(hash, ctx, e) : NULL;
}

SL_FAST_INLINE
void *sl_lru_hash_lookup(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	const struct sl_hash_desc *hash = (const struct sl_hash_desc *)desc;
	struct sl_hash_elem *e = find(hash, key);

	if (sl_unlikely(!e))
		return NULL;
	sl_hash_set_used(e, hash->map.key_size);
	return (uint8_t *)e + hash->value_offset;
}

SL_FAST_INLINE
void *sl_lru_percpu_hash_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	const struct sl_hash_desc *hash = (const struct sl_hash_desc *)desc;
	struct sl_hash_elem *e = find(hash, key);

	if (sl_unlikely(!e))
		return NULL;
	sl_hash_set_used(e, hash->map.key_size);
	return percpu_value(hash, ctx, e);
}

/*
 * Elements that come or go meanwhile may be seen or not. One that the callback removes stays where
 * it is for the rest of the run, and leads on to what followed it.
 */
static inline long for_each(const struct sl_hash_desc *hash, struct sl_ctx *ctx, bool percpu,
	sl_callback_fn callback, void *callback_ctx, uint64_t flags)
{
	long count = 0;

	if (sl_unlikely(flags))
		return -EINVAL;
	for (uint64_t i = 0; i < hash->bucket_count; i++) {
		/* Pairs with the release that published the element. */
		uint64_t link = __atomic_load_n(&hash->buckets[i], __ATOMIC_ACQUIRE);

		while (link & ~SL_HASH_MARK) {
			struct sl_hash_elem *e = (struct sl_hash_elem *)(link & ~SL_HASH_MARK);
			uint8_t *value = percpu ? percpu_value(hash, ctx, e)
						: (uint8_t *)e + hash->value_offset;

			link = __atomic_load_n(&e->next, __ATOMIC_ACQUIRE);
			if (link & SL_HASH_MARK)
				continue;
			count++;
			if (callback(ctx, (uint64_t)hash->map.map, (uint64_t)e->key,
				    (uint64_t)value, (uint64_t)callback_ctx, 0))
				return count;
			link = __atomic_load_n(&e->next, __ATOMIC_ACQUIRE);
		}
	}
	return count;
}

SL_FAST_INLINE
long sl_hash_for_each(const struct sl_map_desc *desc, struct sl_ctx *ctx, sl_callback_fn callback,
	void *callback_ctx, uint64_t flags)
{
	return for_each(
		(const struct sl_hash_desc *)desc, ctx, false, callback, callback_ctx, flags);
}

SL_FAST_INLINE
long sl_percpu_hash_for_each(const struct sl_map_desc *desc, struct sl_ctx *ctx,
	sl_callback_fn callback, void *callback_ctx, uint64_t flags)
{
	return for_each(
		(const struct sl_hash_desc *)desc, ctx, true, callback, callback_ctx, flags);
}

SL_FAST_INLINE
void *sl_hash_of_maps_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	const struct sl_hash_desc *hash = (const struct sl_hash_desc *)desc;
	struct sl_hash_elem *e = find(hash, key);

	if (sl_unlikely(!e))
		return NULL;
	return __atomic_load_n((void **)((uint8_t *)e + hash->value_offset), __ATOMIC_ACQUIRE);
}
