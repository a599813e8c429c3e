#include "hash.h"

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

SL_FAST_INLINE
void *sl_percpu_hash_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	const struct sl_hash_desc *hash = (const struct sl_hash_desc *)desc;
	struct sl_hash_elem *e = find(hash, key);
	uint64_t number;

	if (sl_unlikely(!e))
		return NULL;
	number = (uint64_t)((uint8_t *)e - (uint8_t *)desc->data) / hash->elem_stride;
	return hash->percpu_values + ctx->cpu * hash->cpu_stride + number * desc->value_stride;
}
