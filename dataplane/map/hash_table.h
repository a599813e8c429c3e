#pragma once

#include <pthread.h>

#include "hash.h"
#include "hash_lru.h"
#include "hash_pool.h"

/* The table under all hash types; hash_table.c says how it works. */
struct sl_hash {
	struct sl_map map;
	/* The rest of struct sl_hash_desc, which begins at map.desc. */
	uint8_t desc_rest[sizeof(struct sl_hash_desc) - sizeof(struct sl_map_desc)];

	bool percpu;
	uint32_t value_bytes; /* of a value as it is stored: value_size, or a map's address */
	size_t area_bytes, percpu_bytes;
	pthread_mutex_t control_lock; /* control threads that change the table; no worker */
	struct sl_pool pool;
	struct sl_lru *lru; /* NULL for a table that refuses what is too much */
};

/* For `cpu`: the value is all CPUs' values one after the other. */
#define SL_HASH_ALL_CPUS UINT32_MAX

static inline struct sl_hash *sl_hash_of(const struct sl_map *map)
{
	return (struct sl_hash *)map;
}

static inline struct sl_hash_desc *sl_hash_desc_of(const struct sl_hash *h)
{
	return (struct sl_hash_desc *)((char *)h + offsetof(struct sl_map, desc));
}

SL_CONTROL int sl_hash_table_new(const union bpf_attr *attr, const struct sl_map_ops *ops,
	bool percpu, struct sl_map **ret_map);
SL_CONTROL void sl_hash_table_free(struct sl_map *map);

/*
 * All of these in a read section; `cache` is the caller's CPU's, or the control threads' with
 * control_lock held.
 */
SL_ANY uint64_t sl_hash_bucket(const struct sl_hash_desc *desc, const void *key);
SL_ANY struct sl_hash_elem *sl_hash_find(const struct sl_hash *h, const void *key);
SL_ANY long sl_hash_put(struct sl_hash *h, struct sl_pool_cache *cache, const void *key,
	const void *value, uint32_t cpu, uint64_t flags);
/* The removed element, valid to the end of the read section; NULL when there was none. */
SL_ANY struct sl_hash_elem *sl_hash_take(
	struct sl_hash *h, struct sl_pool_cache *cache, const void *key);

/*
 * Takes out this element, if it still is in the map, for another one: its room is the caller's. The
 * key must not change meanwhile.
 */
SL_ANY bool sl_hash_take_elem(
	struct sl_hash *h, struct sl_pool_cache *cache, struct sl_hash_elem *e);

static inline struct sl_hash_elem *sl_hash_elem_at(const struct sl_hash *h, uint32_t number)
{
	const struct sl_hash_desc *d = sl_hash_desc_of(h);

	return (struct sl_hash_elem *)((uint8_t *)d->map.data + (uint64_t)number * d->elem_stride);
}

/* The value of one element on one CPU, or its only one. */
static inline uint8_t *sl_hash_value(
	const struct sl_hash *h, const struct sl_hash_elem *e, uint32_t cpu)
{
	const struct sl_hash_desc *d = sl_hash_desc_of(h);
	uint64_t number;

	if (!h->percpu)
		return (uint8_t *)e + d->value_offset;
	number = (uint64_t)((uint8_t *)e - (uint8_t *)d->map.data) / d->elem_stride;
	return d->percpu_values + cpu * d->cpu_stride + number * d->map.value_stride;
}

/* Of HASH_OF_MAPS: the map that is the value; in a read section, or with a reference's right. */
static inline struct sl_map *sl_hash_inner(const struct sl_hash *h, const struct sl_hash_elem *e)
{
	return __atomic_load_n((struct sl_map **)sl_hash_value(h, e, 0), __ATOMIC_ACQUIRE);
}
