#include "bloom_filter.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "area.h"
#include "hash_key.h"
#include "type.h"

/*
 * BLOOM_FILTER: a set of values that forgets nothing and says of a few others that they are in it.
 * How many bits there are follows from max_entries and the number of hashes as in the kernel, so
 * that the share of those others is the same. Anyone pushes at any time: bits are only ever set.
 */
struct bloom_filter {
	struct sl_map map;
	/* Goes on from map.desc. */
	uint64_t seed[3];
	uint32_t mask, hash_count;
};

static_assert(offsetof(struct bloom_filter, seed) - offsetof(struct sl_map, desc) ==
		      offsetof(struct sl_bloom_filter_desc, seed),
	"the descriptor goes on behind the map's");
static_assert(offsetof(struct bloom_filter, hash_count) - offsetof(struct bloom_filter, seed) ==
		      offsetof(struct sl_bloom_filter_desc, hash_count) -
			      offsetof(struct sl_bloom_filter_desc, seed),
	"and is declared alike");

/* What the kernel can allocate in one piece. */
#define VALUE_MAX (4u << 20)

enum { DEFAULT_HASHES = 5, HASHES_MASK = 15 };

static int check(const union bpf_attr *attr)
{
	const uint32_t allowed = BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | SL_MAP_ACCESS_FLAGS;

	if (attr->value_size > VALUE_MAX)
		return -E2BIG;
	if (attr->key_size || !attr->value_size || !attr->max_entries ||
		(attr->map_flags & ~allowed) || !sl_map_access_ok(attr->map_flags) ||
		(attr->map_extra & ~(uint64_t)HASHES_MASK))
		return -EINVAL;
	return 0;
}

/* Entries times hashes by ln 2, which 7/5 stands for, up to a power of two. */
static uint32_t mask_for(uint32_t max_entries, uint32_t hash_count)
{
	uint64_t bits = (uint64_t)max_entries * hash_count;

	if (bits > UINT32_MAX)
		return UINT32_MAX;
	bits = bits / 5 * 7;
	if (bits > 1ull << 31)
		return UINT32_MAX;
	return bits <= 64 ? 63 : (uint32_t)((1ull << (64 - __builtin_clzll(bits - 1))) - 1);
}

static uint64_t bytes_of(const struct bloom_filter *bloom)
{
	return ((uint64_t)bloom->mask + 1) / 8;
}

static void bloom_free(struct sl_map *map)
{
	struct bloom_filter *bloom = (struct bloom_filter *)map;

	if (!bloom)
		return;
	sl_area_free(map->desc.data, bytes_of(bloom));
	free(bloom);
}

static int bloom_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct bloom_filter *bloom = sl_map_alloc(sizeof(*bloom), &sl_bloom_filter_ops, attr);

	if (!bloom)
		return -ENOMEM;
	bloom->hash_count = attr->map_extra ? (uint32_t)attr->map_extra : DEFAULT_HASHES;
	bloom->mask = mask_for(attr->max_entries, bloom->hash_count);
	sl_hash_seed(bloom->seed, attr->map_flags & BPF_F_ZERO_SEED);
	bloom->map.desc.data = sl_area_new(bytes_of(bloom), bytes_of(bloom));
	if (!bloom->map.desc.data) {
		bloom_free(&bloom->map);
		return -ENOMEM;
	}
	*ret_map = &bloom->map;
	return 0;
}

static int check_btf(const struct sl_map *map, const struct btf *btf, uint32_t key_type_id,
	uint32_t value_type_id)
{
	return key_type_id ? -EINVAL : 0;
}

static uint64_t memory_bytes(const struct sl_map *map)
{
	return sizeof(struct bloom_filter) + bytes_of((const struct bloom_filter *)map);
}

static int sys_peek(struct sl_map *map, const void *key, void *value, uint64_t flags)
{
	return (int)sl_bloom_filter_peek(&map->desc, NULL, value);
}

static int sys_push(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	return (int)sl_bloom_filter_push(&map->desc, NULL, value, flags);
}

const struct sl_map_ops sl_bloom_filter_ops = {
	.name = "bloom_filter",
	.check = check,
	.new = bloom_new,
	.check_btf = check_btf,
	.free = bloom_free,
	.memory_bytes = memory_bytes,
	.sys_lookup = sys_peek,
	.lookup_reads_value = true,
	.sys_update = sys_push,
	.push = sl_bloom_filter_push,
	.peek = sl_bloom_filter_peek,
	.push_symbol = "sl_bloom_filter_push",
	.peek_symbol = "sl_bloom_filter_peek",
	.takes_extra = true,
	.desc_size = sizeof(struct sl_bloom_filter_desc),
};
