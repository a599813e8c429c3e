#include "hash.h"

#include <errno.h>
#include <string.h>

#include "cpu.h"
#include "hash_table.h"
#include "rcu.h"
#include "type.h"
#include "spin_lock.h"

/* HASH, PERCPU_HASH, their LRU types and HASH_OF_MAPS: the operations of bpf(2) and of programs on the table of hash_table.c. */

/* What the kernel can allocate in one piece, less its own header of an element. */
#define ELEM_MAX ((4u << 20) - 48)

static int hash_check(const union bpf_attr *attr)
{
	const uint32_t allowed = BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE |
				 BPF_F_ZERO_SEED | SL_MAP_ACCESS_FLAGS;
	bool percpu = attr->map_type == BPF_MAP_TYPE_PERCPU_HASH ||
		      attr->map_type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
	bool lru = attr->map_type == BPF_MAP_TYPE_LRU_HASH ||
		   attr->map_type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
	bool own_lists = attr->map_flags & BPF_F_NO_COMMON_LRU;

	if ((attr->map_flags & ~allowed) || !sl_map_access_ok(attr->map_flags) ||
		(!lru && own_lists))
		return -EINVAL;
	if (lru && (attr->map_flags & BPF_F_NO_PREALLOC))
		return -SL_ENOTSUPP;
	if ((percpu || own_lists) && sl_map_has_node(attr))
		return -EINVAL;
	if (attr->max_entries == 0 || attr->key_size == 0 || attr->value_size == 0)
		return -EINVAL;
	if ((uint64_t)attr->key_size + attr->value_size >= ELEM_MAX)
		return -E2BIG;
	if (percpu && sl_round_up(attr->value_size, 8u) > SL_PERCPU_VALUE_MAX)
		return -E2BIG;
	return 0;
}

static int hash_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	return sl_hash_table_new(attr, &sl_hash_ops, false, ret_map);
}

static int percpu_hash_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	return sl_hash_table_new(attr, &sl_percpu_hash_ops, true, ret_map);
}

/* The kernel divides a map without a common list among its CPUs, and rounds it for that. */
static int lru_new(const union bpf_attr *attr, const struct sl_map_ops *ops, bool percpu,
	struct sl_map **ret_map)
{
	union bpf_attr rounded = *attr;
	uint32_t cpus = sl_cpu_count();

	if (attr->map_flags & BPF_F_NO_COMMON_LRU) {
		rounded.max_entries = attr->max_entries + (cpus - attr->max_entries % cpus) % cpus;
		if (rounded.max_entries < attr->max_entries)
			rounded.max_entries = attr->max_entries - attr->max_entries % cpus;
	}
	return sl_hash_table_new(&rounded, ops, percpu, ret_map);
}

static int lru_hash_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	return lru_new(attr, &sl_lru_hash_ops, false, ret_map);
}

static int lru_percpu_hash_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	return lru_new(attr, &sl_lru_percpu_hash_ops, true, ret_map);
}

/* Without BPF_F_NO_PREALLOC what a full map has in use; the rest is address space. */
static uint64_t hash_memory_bytes(const struct sl_map *map)
{
	const struct sl_hash *h = sl_hash_of(map);
	const struct sl_hash_desc *d = sl_hash_desc_of(h);
	uint64_t per_elem = d->elem_stride;

	if (h->percpu)
		per_elem += (uint64_t)map->desc.value_stride * sl_cpu_count();
	return sizeof(*h) + d->bucket_count * sizeof(uint64_t) +
	       (sl_cpu_count() + 1) * sizeof(struct sl_pool_cache) +
	       (map->desc.flags & BPF_F_NO_PREALLOC ? sl_pool_count(&h->pool)
						    : map->desc.max_entries) *
		       per_elem;
}

static uint64_t sum_count(const struct sl_map *map)
{
	return sl_pool_count(&sl_hash_of(map)->pool);
}

/* The cache of those that have no CPU of their own, locked. */
static struct sl_pool_cache *control_begin(struct sl_hash *h)
{
	pthread_mutex_lock(&h->control_lock);
	return &h->pool.caches[sl_cpu_count()];
}

static void control_end(struct sl_hash *h)
{
	pthread_mutex_unlock(&h->control_lock);
}

static void read_value(
	const struct sl_hash *h, const struct sl_hash_elem *e, void *to, uint64_t flags)
{
	const struct sl_map_desc *desc = &h->map.desc;

	if (h->map.inner) {
		const struct sl_map *inner = sl_hash_inner(h, e);

		memcpy(to, &inner->obj.id, sizeof(inner->obj.id));
		return;
	}
	if (flags & BPF_F_LOCK) {
		sl_map_sys_read_locked(desc, to, sl_hash_value(h, e, 0));
		return;
	}
	if (!h->percpu) {
		sl_map_value_read(desc, to, sl_hash_value(h, e, 0), desc->value_size);
		return;
	}
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
		sl_map_value_read(desc, (uint8_t *)to + (size_t)cpu * desc->value_stride,
			sl_hash_value(h, e, cpu), desc->value_stride);
}

static bool read_flags_valid(const struct sl_hash *h, uint64_t flags)
{
	return flags == 0 || (flags == BPF_F_LOCK && sl_map_has_lock(&h->map.desc));
}

static int hash_sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	struct sl_hash *h = sl_hash_of(map);
	struct sl_hash_elem *e;

	if (!read_flags_valid(h, flags))
		return -EINVAL;
	e = sl_hash_find(h, key);
	if (!e)
		return -ENOENT;
	read_value(h, e, ret_value, flags);
	return 0;
}

/*
 * BPF_F_LOCK writes a value that is there in place, and inserts one that is not: as a new one, so that
 * one that came meanwhile is written in place as well.
 */
static uint64_t put_flags(bool locked, uint64_t flags)
{
	return locked && flags == BPF_ANY ? BPF_NOEXIST : flags;
}

static bool came_between(long err, uint64_t flags)
{
	return err == -EEXIST && flags == BPF_ANY;
}

static int hash_sys_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	struct sl_hash *h = sl_hash_of(map);
	bool locked = flags & BPF_F_LOCK;
	struct sl_hash_elem *e;
	int err;

	if (locked && !sl_map_has_lock(&map->desc))
		return -EINVAL;
	flags &= ~(uint64_t)BPF_F_LOCK;
	do {
		e = locked ? sl_hash_find(h, key) : NULL;
		if (e && flags <= BPF_EXIST) {
			if (flags == BPF_NOEXIST)
				return -EEXIST;
			sl_map_sys_write_locked(&map->desc, sl_hash_value(h, e, 0), value);
			return 0;
		}
		err = sl_hash_put(h, control_begin(h), key, value, h->percpu ? SL_HASH_ALL_CPUS : 0,
			put_flags(locked, flags));
		control_end(h);
	} while (locked && came_between(err, flags));
	return err;
}

static int hash_sys_delete(struct sl_map *map, const void *key)
{
	struct sl_hash *h = sl_hash_of(map);
	struct sl_hash_elem *e = sl_hash_take(h, control_begin(h), key);

	control_end(h);
	return e ? 0 : -ENOENT;
}

static int hash_sys_lookup_and_delete(
	struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	struct sl_hash *h = sl_hash_of(map);
	struct sl_hash_elem *e;

	if (!read_flags_valid(h, flags))
		return -EINVAL;
	e = sl_hash_take(h, control_begin(h), key);
	control_end(h);
	if (!e)
		return -ENOENT;
	read_value(h, e, ret_value, flags);
	return 0;
}

/* The first element at or behind `link` that is in the map; not `key`'s, unless that is NULL. */
static struct sl_hash_elem *first_from(const struct sl_hash *h, uint64_t link, const void *key)
{
	while (link & ~SL_HASH_MARK) {
		struct sl_hash_elem *e = (struct sl_hash_elem *)(link & ~SL_HASH_MARK);

		link = __atomic_load_n(&e->next, __ATOMIC_ACQUIRE);
		if (link & SL_HASH_MARK)
			continue;
		/* An update of the key that we just left puts its new element behind the old one. */
		if (!key || memcmp(e->key, key, h->map.desc.key_size) != 0)
			return e;
	}
	return NULL;
}

static int hash_next_key(struct sl_map *map, const void *key, void *ret_next)
{
	const struct sl_hash *h = sl_hash_of(map);
	const struct sl_hash_desc *d = sl_hash_desc_of(h);
	struct sl_hash_elem *e = key ? sl_hash_find(h, key) : NULL, *next = NULL;
	uint64_t bucket = 0;

	/* A key that is gone says nothing about where it was: start again. */
	if (e) {
		next = first_from(h, __atomic_load_n(&e->next, __ATOMIC_ACQUIRE), key);
		bucket = sl_hash_bucket(d, key) + 1;
	}
	for (; !next && bucket < d->bucket_count; bucket++)
		next = first_from(h, __atomic_load_n(&d->buckets[bucket], __ATOMIC_ACQUIRE), NULL);
	if (!next)
		return -ENOENT;
	memcpy(ret_next, next->key, d->map.key_size);
	return 0;
}

/* Where the elements of a batch go. */
struct batch {
	uint8_t *keys, *values;
	uint32_t key_size, value_bytes;
	uint32_t count, max;
	uint64_t flags;
};

static void batch_add(const struct sl_hash *h, struct batch *b, const struct sl_hash_elem *e)
{
	memcpy(b->keys + (size_t)b->count * b->key_size, e->key, b->key_size);
	read_value(h, e, b->values + (size_t)b->count * b->value_bytes, b->flags);
	b->count++;
}

/* Copies the whole bucket or, returning false, nothing. */
static bool batch_copy(const struct sl_hash *h, struct batch *b, uint64_t bucket)
{
	const struct sl_hash_desc *d = sl_hash_desc_of(h);
	uint64_t link = __atomic_load_n(&d->buckets[bucket], __ATOMIC_ACQUIRE);
	uint32_t before = b->count;
	struct sl_hash_elem *e;

	while ((e = first_from(h, link, NULL))) {
		if (b->count == b->max) {
			b->count = before;
			return false;
		}
		batch_add(h, b, e);
		link = __atomic_load_n(&e->next, __ATOMIC_ACQUIRE);
	}
	return true;
}

/* Takes elements out of the bucket until it is empty, true, or there is no more room, false. */
static bool batch_take(
	struct sl_hash *h, struct sl_pool_cache *cache, struct batch *b, uint64_t bucket)
{
	const struct sl_hash_desc *d = sl_hash_desc_of(h);
	struct sl_hash_elem *e;

	while ((e = first_from(h, __atomic_load_n(&d->buckets[bucket], __ATOMIC_ACQUIRE), NULL))) {
		if (b->count == b->max)
			return false;
		e = sl_hash_take(h, cache, e->key);
		if (!e)
			continue;
		batch_add(h, b, e);
		if (h->map.inner)
			sl_map_unref(sl_hash_inner(h, e));
	}
	return true;
}

static int hash_sys_lookup_batch(struct sl_map *map, uint32_t *position, void *keys, void *values,
	uint32_t *count, uint64_t flags, bool delete_too)
{
	struct sl_hash *h = sl_hash_of(map);
	const struct sl_hash_desc *d = sl_hash_desc_of(h);
	struct batch b = {
		.keys = keys,
		.values = values,
		.key_size = d->map.key_size,
		.value_bytes = h->percpu ? d->map.value_stride * sl_cpu_count() : d->map.value_size,
		.max = *count,
		.flags = flags,
	};
	uint64_t bucket = *position;
	bool fits = true;

	*count = 0;
	if (bucket >= d->bucket_count)
		return -ENOENT;
	while (bucket < d->bucket_count) {
		if (delete_too) {
			fits = batch_take(h, control_begin(h), &b, bucket);
			control_end(h);
		} else {
			fits = batch_copy(h, &b, bucket);
		}
		if (!fits)
			break;
		bucket++;
	}
	*position = bucket;
	*count = b.count;
	if (fits)
		return -ENOENT;
	return b.count ? 0 : -ENOSPC;
}

static long update_locked(struct sl_hash *h, struct sl_pool_cache *cache, uint32_t cpu,
	const void *key, const void *value, uint64_t flags)
{
	struct sl_hash_elem *e;
	long err;

	if (flags > BPF_EXIST || !sl_map_has_lock(&h->map.desc))
		return -EINVAL;
	do {
		e = sl_hash_find(h, key);
		if (e) {
			if (flags == BPF_NOEXIST)
				return -EEXIST;
			sl_map_value_write_locked(&h->map.desc, sl_hash_value(h, e, 0), value);
			return 0;
		}
		err = sl_hash_put(h, cache, key, value, cpu, put_flags(true, flags));
	} while (came_between(err, flags));
	return err;
}

long sl_hash_update(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key,
	const void *value, uint64_t flags)
{
	struct sl_hash *h = sl_hash_of(desc->map);
	struct sl_pool_cache *cache = &h->pool.caches[ctx->cpu];

	if (sl_unlikely(flags & BPF_F_LOCK))
		return update_locked(h, cache, ctx->cpu, key, value, flags & ~(uint64_t)BPF_F_LOCK);
	return sl_hash_put(h, cache, key, value, ctx->cpu, flags);
}

long sl_hash_delete(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	struct sl_hash *h = sl_hash_of(desc->map);

	return sl_hash_take(h, &h->pool.caches[ctx->cpu], key) ? 0 : -ENOENT;
}

/*
 * HASH_OF_MAPS: values are addresses of maps, with a reference each. Only control threads change the
 * table, under control_lock, so what an update replaces is what it found.
 */
static int of_maps_check(const union bpf_attr *attr)
{
	return attr->value_size == sizeof(uint32_t) ? hash_check(attr) : -EINVAL;
}

static void of_maps_free(struct sl_map *map)
{
	const struct sl_hash *h = sl_hash_of(map);
	const struct sl_hash_desc *d;
	struct sl_hash_elem *e;

	if (!map)
		return;
	d = sl_hash_desc_of(h);
	for (uint64_t bucket = 0; bucket < d->bucket_count; bucket++)
		for (uint64_t link = d->buckets[bucket]; (e = first_from(h, link, NULL));
			link = e->next)
			sl_map_unref(sl_hash_inner(h, e));
	sl_inner_template_free(map->inner);
	sl_hash_table_free(map);
}

static int of_maps_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct sl_map *inner;
	int err = sl_inner_template_new((int)attr->inner_map_fd, &inner);

	if (err)
		return err;
	err = sl_hash_table_new(attr, &sl_hash_of_maps_ops, false, ret_map);
	if (err)
		sl_inner_template_free(inner);
	else
		(*ret_map)->inner = inner;
	return err;
}

static int of_maps_sys_update(
	struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	struct sl_hash *h = sl_hash_of(map);
	struct sl_map *inner, *old = NULL;
	struct sl_pool_cache *cache;
	struct sl_hash_elem *e;
	int err = sl_inner_get(map, value, &inner);

	if (err)
		return err;
	cache = control_begin(h);
	e = sl_hash_find(h, key);
	if (e)
		old = sl_hash_inner(h, e);
	err = sl_hash_put(h, cache, key, &inner, 0, flags);
	control_end(h);
	sl_map_unref(err ? inner : old);
	return err;
}

static int of_maps_sys_delete(struct sl_map *map, const void *key)
{
	struct sl_hash *h = sl_hash_of(map);
	struct sl_hash_elem *e = sl_hash_take(h, control_begin(h), key);

	control_end(h);
	if (e)
		sl_map_unref(sl_hash_inner(h, e));
	return e ? 0 : -ENOENT;
}

static uint32_t hash_element_count(const struct sl_map *map)
{
	return sl_hash_of(map)->pool.total;
}

static uint32_t hash_element(const struct sl_map *map, const void *value, const void **ret_key)
{
	const struct sl_hash_desc *d = sl_hash_desc_of(sl_hash_of(map));
	const uint8_t *e = (const uint8_t *)value - d->value_offset;

	*ret_key = ((const struct sl_hash_elem *)e)->key;
	return (uint32_t)((uint64_t)(e - (const uint8_t *)d->map.data) / d->elem_stride);
}

#define HASH_OPS                                                                                \
	.check = hash_check, .free = sl_hash_table_free, .memory_bytes = hash_memory_bytes,     \
	.entry_count = sum_count, .sys_lookup = hash_sys_lookup, .sys_update = hash_sys_update, \
	.sys_delete = hash_sys_delete, .sys_lookup_and_delete = hash_sys_lookup_and_delete,     \
	.next_key = hash_next_key,                                                              \
	.batch = SL_MAP_BATCH_LOOKUP | SL_MAP_BATCH_LOOKUP_AND_DELETE | SL_MAP_BATCH_UPDATE |   \
		 SL_MAP_BATCH_DELETE,                                                           \
	.sys_lookup_batch = hash_sys_lookup_batch, .update = sl_hash_update,                    \
	.delete = sl_hash_delete, .update_symbol = "sl_hash_update",                            \
	.delete_symbol = "sl_hash_delete", .desc_size = sizeof(struct sl_hash_desc)

const struct sl_map_ops sl_hash_ops = {
	.name = "hash",
	.new = hash_new,
	.lookup = sl_hash_lookup,
	.lookup_symbol = "sl_hash_lookup",
	.element_count = hash_element_count,
	.element = hash_element,
	.for_each = sl_hash_for_each,
	.for_each_symbol = "sl_hash_for_each",
	.sum_count = sum_count,
	HASH_OPS,
};

const struct sl_map_ops sl_percpu_hash_ops = {
	.name = "percpu_hash",
	.new = percpu_hash_new,
	.lookup = sl_percpu_hash_lookup,
	.lookup_symbol = "sl_percpu_hash_lookup",
	.for_each = sl_percpu_hash_for_each,
	.for_each_symbol = "sl_percpu_hash_for_each",
	.sum_count = sum_count,
	HASH_OPS,
};

const struct sl_map_ops sl_lru_hash_ops = {
	.name = "lru_hash",
	.new = lru_hash_new,
	.lookup = sl_lru_hash_lookup,
	.lookup_symbol = "sl_lru_hash_lookup",
	.element_count = hash_element_count,
	.element = hash_element,
	.for_each = sl_hash_for_each,
	.for_each_symbol = "sl_hash_for_each",
	.sum_count = sum_count,
	HASH_OPS,
};

const struct sl_map_ops sl_lru_percpu_hash_ops = {
	.name = "lru_percpu_hash",
	.new = lru_percpu_hash_new,
	.lookup = sl_lru_percpu_hash_lookup,
	.lookup_symbol = "sl_lru_percpu_hash_lookup",
	.for_each = sl_percpu_hash_for_each,
	.for_each_symbol = "sl_percpu_hash_for_each",
	.sum_count = sum_count,
	HASH_OPS,
};

const struct sl_map_ops sl_hash_of_maps_ops = {
	.name = "hash_of_maps",
	.check = of_maps_check,
	.new = of_maps_new,
	.check_btf = sl_map_check_no_btf,
	.free = of_maps_free,
	.memory_bytes = hash_memory_bytes,
	.entry_count = sum_count,
	.sys_lookup = hash_sys_lookup,
	.sys_update = of_maps_sys_update,
	.sys_delete = of_maps_sys_delete,
	.next_key = hash_next_key,
	.batch = SL_MAP_BATCH_LOOKUP | SL_MAP_BATCH_LOOKUP_AND_DELETE | SL_MAP_BATCH_UPDATE |
		 SL_MAP_BATCH_DELETE,
	.sys_lookup_batch = hash_sys_lookup_batch,
	.lookup = sl_hash_of_maps_lookup,
	.lookup_symbol = "sl_hash_of_maps_lookup",
	.sum_count = sum_count,
	.never_inner = true,
	.desc_size = sizeof(struct sl_hash_desc),
};
