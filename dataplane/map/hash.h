#pragma once

#include "context.h"
#include "map.h"

/* The hash tables as compiled code sees them; hash_table.c says how they work. */

/* Set in an element's `next` when the element is no longer in the map. */
#define SL_HASH_MARK 1ull

struct sl_hash_elem {
	uint64_t next; /* address of the next element | SL_HASH_MARK */
	uint8_t key[]; /* then, at value_offset from the element, the value */
};

/*
 * Of the LRU types, right behind the key: whether the element was used since the eviction last came
 * by. Written by anyone, relaxed, and only if that changes it, so that the line stays shared.
 */
static inline uint8_t *sl_hash_used(const struct sl_hash_elem *e, uint32_t key_size)
{
	return (uint8_t *)e->key + key_size;
}

static inline void sl_hash_set_used(const struct sl_hash_elem *e, uint32_t key_size)
{
	uint8_t *used = sl_hash_used(e, key_size);

	if (!__atomic_load_n(used, __ATOMIC_RELAXED))
		__atomic_store_n(used, 1, __ATOMIC_RELAXED);
}

struct sl_hash_desc {
	struct sl_map_desc map; /* map.data: the elements */
	uint64_t *buckets; /* address of the first element each */
	uint32_t shift; /* a key's bucket is the highest bits of its hash: 64 - log2(buckets) */
	uint32_t bucket_count; /* a power of two, at least 2 */
	uint64_t seed[3]; /* the last one odd */
	uint32_t value_offset; /* HASH: of the value in its element */
	uint32_t elem_stride; /* bytes from one element to the next */
	/* PERCPU_HASH: the values, one array per CPU, by the element's number. */
	uint8_t *percpu_values;
	uint64_t cpu_stride; /* bytes from one CPU's array to the next */
};

SL_WORKER void *sl_hash_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);
SL_WORKER void *sl_percpu_hash_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);

/* The same, and the element counts as used. */
SL_WORKER void *sl_lru_hash_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);
SL_WORKER void *sl_lru_percpu_hash_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);

SL_WORKER long sl_hash_for_each(const struct sl_map_desc *desc, struct sl_ctx *ctx,
	sl_callback_fn callback, void *callback_ctx, uint64_t flags);
SL_WORKER long sl_percpu_hash_for_each(const struct sl_map_desc *desc, struct sl_ctx *ctx,
	sl_callback_fn callback, void *callback_ctx, uint64_t flags);

/* The map under the key, NULL without. */
SL_WORKER void *sl_hash_of_maps_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);

/* Native only: too large to be worth inlining. */
SL_WORKER long sl_hash_update(const struct sl_map_desc *desc, const struct sl_ctx *ctx,
	const void *key, const void *value, uint64_t flags);
SL_WORKER long sl_hash_delete(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);
