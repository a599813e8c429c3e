#include "lpm.h"

#include <bpf/btf.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "area.h"
#include "lpm_trie.h"
#include "type.h"
#include "value_copy.h"

/* LPM_TRIE: the operations of bpf(2) and of programs on the trie of lpm_trie.c. */

enum { DATA_MAX = 256, KEY_MIN = 5, KEY_MAX = 4 + DATA_MAX };

/* What the kernel can allocate in one piece, less the head of its node. */
#define VALUE_MAX ((4u << 20) - DATA_MAX - 40)

/* From how many entries on a table of 2^12 or 2^18 words is worth its memory: 16 KiB and 1 MiB. */
enum { SMALL_TABLE_ENTRIES = 512, LARGE_TABLE_ENTRIES = 32768 };

/*
 * A change takes about a microsecond, short prefixes of a large trie up to some hundred. A worker
 * waits no longer than one such; a control thread that loses its CPU within one is not waited for.
 */
enum { WORKER_TRIES = 1 << 12, CONTROL_TRIES = 1 << 8 };

static int lpm_check(const union bpf_attr *attr)
{
	const uint32_t allowed = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | SL_MAP_ACCESS_FLAGS;

	if (attr->max_entries == 0 || !(attr->map_flags & BPF_F_NO_PREALLOC) ||
		(attr->map_flags & ~allowed) || !sl_map_access_ok(attr->map_flags))
		return -EINVAL;
	if (attr->key_size < KEY_MIN || attr->key_size > KEY_MAX || attr->value_size == 0 ||
		attr->value_size > VALUE_MAX)
		return -EINVAL;
	return 0;
}

/* A key begins with its length: a struct. */
static int lpm_check_btf(const struct sl_map *map, const struct btf *btf, uint32_t key_type_id,
	uint32_t value_type_id)
{
	const struct btf_type *key = btf__type_by_id(btf, key_type_id);

	while (btf_is_mod(key) || btf_is_typedef(key))
		key = btf__type_by_id(btf, key->type);
	return btf_is_struct(key) ? 0 : -EINVAL;
}

static uint32_t table_bits(const union bpf_attr *attr, size_t area_bytes)
{
	/* What a leaf can tell apart. */
	if (area_bytes / SL_LPM_PIECE_BYTES > SL_LPM_DEEP)
		return 0;
	if (attr->max_entries >= LARGE_TABLE_ENTRIES && attr->key_size >= 4 + 3)
		return SL_LPM_TABLE_BITS_MAX;
	return attr->max_entries >= SMALL_TABLE_ENTRIES && attr->key_size >= 4 + 3
		       ? 2 * SL_LPM_STRIDE
		       : 0;
}

static void lpm_free(struct sl_map *map)
{
	struct sl_lpm *lpm = sl_lpm_of(map);

	if (!lpm)
		return;
	sl_area_free(sl_lpm_desc_of(lpm)->table, lpm->table_bytes);
	sl_lpm_arena_free(lpm->arena);
	free(lpm);
}

static int lpm_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct sl_lpm *lpm = sl_map_alloc(sizeof(*lpm), &sl_lpm_ops, attr);
	struct sl_lpm_desc *d;
	size_t area_bytes;

	if (!lpm)
		return -ENOMEM;
	d = sl_lpm_desc_of(lpm);
	d->data_size = attr->key_size - 4;
	d->max_prefixlen = d->data_size * 8;
	d->value_offset =
		sl_round_up(offsetof(struct sl_lpm_entry, prefixlen) + attr->key_size, 8u);
	d->root = &lpm->root;
	d->shortest = &lpm->shortest;
	lpm->arena = sl_lpm_arena_new(
		attr->max_entries, d->max_prefixlen, d->value_offset + d->map.value_stride);
	if (!lpm->arena)
		goto fail;
	d->area = sl_lpm_arena_area(lpm->arena, &area_bytes);
	d->table_bits = table_bits(attr, area_bytes);
	if (d->table_bits) {
		lpm->table_bytes = sizeof(*d->table) << d->table_bits;
		d->table = sl_area_new(lpm->table_bytes, 0);
		if (!d->table)
			goto fail;
	}
	*ret_map = &lpm->map;
	return 0;
fail:
	lpm_free(&lpm->map);
	return -ENOMEM;
}

static uint64_t lpm_entry_count(const struct sl_map *map)
{
	return __atomic_load_n(&sl_lpm_of(map)->entry_count, __ATOMIC_RELAXED);
}

static uint64_t lpm_memory_bytes(const struct sl_map *map)
{
	const struct sl_lpm *lpm = sl_lpm_of(map);

	return sizeof(*lpm) + lpm->table_bytes + sl_lpm_arena_used_bytes(lpm->arena);
}

static bool try_lock(struct sl_lpm *lpm, unsigned tries)
{
	while (tries-- > 0) {
		if (!__atomic_load_n(&lpm->lock, __ATOMIC_RELAXED) &&
			!__atomic_exchange_n(&lpm->lock, 1, __ATOMIC_ACQUIRE))
			return true;
		__builtin_ia32_pause();
	}
	return false;
}

static void lock_as_control(struct sl_lpm *lpm)
{
	while (!try_lock(lpm, CONTROL_TRIES))
		sched_yield();
}

static void unlock(struct sl_lpm *lpm)
{
	__atomic_store_n(&lpm->lock, 0, __ATOMIC_RELEASE);
}

static bool key_ok(const struct sl_map_desc *desc, const void *key)
{
	uint32_t prefixlen;

	memcpy(&prefixlen, key, sizeof(prefixlen));
	return prefixlen <= ((const struct sl_lpm_desc *)desc)->max_prefixlen;
}

static int lpm_sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	void *value;

	if (flags)
		return -EINVAL;
	value = sl_lpm_lookup(&map->desc, NULL, key);
	if (!value)
		return -ENOENT;
	sl_value_read(ret_value, value, map->desc.value_size);
	return 0;
}

static int lpm_sys_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	struct sl_lpm *lpm = sl_lpm_of(map);
	int err;

	if (flags > BPF_EXIST || !key_ok(&map->desc, key))
		return -EINVAL;
	lock_as_control(lpm);
	err = sl_lpm_put(lpm, key, value, flags);
	unlock(lpm);
	return err;
}

static int lpm_sys_delete(struct sl_map *map, const void *key)
{
	struct sl_lpm *lpm = sl_lpm_of(map);
	int err;

	if (!key_ok(&map->desc, key))
		return -EINVAL;
	lock_as_control(lpm);
	err = sl_lpm_take(lpm, key);
	unlock(lpm);
	return err;
}

static int lpm_next_key(struct sl_map *map, const void *key, void *ret_next)
{
	struct sl_lpm_entry *next = sl_lpm_next(sl_lpm_of(map), key);

	if (!next)
		return -ENOENT;
	memcpy(ret_next, &next->prefixlen, map->desc.key_size);
	return 0;
}

long sl_lpm_update(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key,
	const void *value, uint64_t flags)
{
	struct sl_lpm *lpm = sl_lpm_of(desc->map);
	long err;

	if (flags > BPF_EXIST || !key_ok(desc, key))
		return -EINVAL;
	if (!try_lock(lpm, WORKER_TRIES))
		return -EBUSY;
	err = sl_lpm_put(lpm, key, value, flags);
	unlock(lpm);
	return err;
}

long sl_lpm_delete(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	struct sl_lpm *lpm = sl_lpm_of(desc->map);
	long err;

	if (!key_ok(desc, key))
		return -EINVAL;
	if (!try_lock(lpm, WORKER_TRIES))
		return -EBUSY;
	err = sl_lpm_take(lpm, key);
	unlock(lpm);
	return err;
}

const struct sl_map_ops sl_lpm_ops = {
	.name = "lpm_trie",
	.check = lpm_check,
	.new = lpm_new,
	.check_btf = lpm_check_btf,
	.free = lpm_free,
	.memory_bytes = lpm_memory_bytes,
	.entry_count = lpm_entry_count,
	.sys_lookup = lpm_sys_lookup,
	.sys_update = lpm_sys_update,
	.sys_delete = lpm_sys_delete,
	.next_key = lpm_next_key,
	.batch = SL_MAP_BATCH_LOOKUP | SL_MAP_BATCH_UPDATE | SL_MAP_BATCH_DELETE,
	.lookup = sl_lpm_lookup,
	.update = sl_lpm_update,
	.delete = sl_lpm_delete,
	.lookup_symbol = "sl_lpm_lookup",
	.update_symbol = "sl_lpm_update",
	.delete_symbol = "sl_lpm_delete",
	.desc_size = sizeof(struct sl_lpm_desc),
};
