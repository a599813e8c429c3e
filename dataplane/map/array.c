#include "array.h"

#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "area.h"
#include "objects.h"
#include "type.h"
#include "spin_lock.h"

/*
 * ARRAY: values one after the other, 8-byte aligned, never moved or freed before the map. A map with
 * BPF_F_MMAPABLE (global data, for one) keeps them in a memfd, of which user space maps a
 * description of its own.
 */
struct array {
	struct sl_map map;
	int fd; /* of the memfd; -1 when the values are private memory */
	size_t len_bytes;
};

int sl_array_check(const union bpf_attr *attr)
{
	const uint32_t allowed = BPF_F_NUMA_NODE | BPF_F_MMAPABLE | BPF_F_PRESERVE_ELEMS |
				 BPF_F_INNER_MAP | SL_MAP_ACCESS_FLAGS;
	bool percpu = attr->map_type == BPF_MAP_TYPE_PERCPU_ARRAY;

	if (attr->max_entries == 0 || attr->key_size != 4 || attr->value_size == 0 ||
		(attr->map_flags & ~allowed) || !sl_map_access_ok(attr->map_flags) ||
		(percpu && sl_map_has_node(attr)))
		return -EINVAL;
	if (attr->map_type != BPF_MAP_TYPE_ARRAY &&
		(attr->map_flags & (BPF_F_MMAPABLE | BPF_F_INNER_MAP)))
		return -EINVAL;
	if (attr->map_type != BPF_MAP_TYPE_PERF_EVENT_ARRAY &&
		(attr->map_flags & BPF_F_PRESERVE_ELEMS))
		return -EINVAL;
	if (attr->value_size > INT_MAX)
		return -E2BIG;
	if (percpu && sl_round_up(attr->value_size, 8u) > SL_PERCPU_VALUE_MAX)
		return -E2BIG;
	return 0;
}

int sl_array_check_btf(const struct sl_map *map, const struct btf *btf, uint32_t key_type_id,
	uint32_t value_type_id)
{
	const struct btf_type *key = btf__type_by_id(btf, key_type_id);

	if (!key_type_id) {
		const struct btf_type *value = btf__type_by_id(btf, value_type_id);

		return map->desc.type == BPF_MAP_TYPE_ARRAY && map->desc.max_entries == 1 &&
				       btf_is_datasec(value)
			       ? 0
			       : -EINVAL;
	}
	while (btf_is_mod(key) || btf_is_typedef(key))
		key = btf__type_by_id(btf, key->type);
	return btf_is_int(key) && btf_int_bits(key) == 32 && !btf_int_offset(key) ? 0 : -EINVAL;
}

static void array_free(struct sl_map *map)
{
	struct array *a = (struct array *)map;

	if (!a)
		return;
	for (uint32_t i = 0;
		sl_btf_record_has(map->desc.record, SL_SPECIAL_HOLDS) && i < map->desc.max_entries;
		i++)
		sl_map_value_drop(&map->desc, sl_array_lookup(&map->desc, NULL, &i), SL_NO_CPU);
	if (a->fd < 0) {
		sl_area_free(map->desc.data, a->len_bytes);
	} else {
		munmap(map->desc.data, a->len_bytes);
		close(a->fd);
	}
	free(a);
}

static int array_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct array *a = sl_map_alloc(sizeof(*a), &sl_array_ops, attr);
	int err = -ENOMEM;

	if (!a)
		return -ENOMEM;
	a->fd = -1;
	a->len_bytes = (size_t)attr->max_entries * a->map.desc.value_stride;
	if (attr->map_flags & BPF_F_MMAPABLE) {
		a->len_bytes = sl_round_up(a->len_bytes, (size_t)sysconf(_SC_PAGESIZE));
		a->fd = sl_area_new_shared(a->len_bytes, &a->map.desc.data);
		err = a->fd;
	} else {
		a->map.desc.data = sl_area_new(a->len_bytes, a->len_bytes);
	}
	if (!a->map.desc.data)
		goto fail;
	*ret_map = &a->map;
	return 0;
fail:
	a->fd = -1;
	array_free(&a->map);
	return err;
}

static uint64_t array_memory_bytes(const struct sl_map *map)
{
	return sizeof(struct array) + ((const struct array *)map)->len_bytes;
}

static int array_sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);
	void *value = sl_array_lookup(&map->desc, NULL, &index);

	if ((flags & ~(uint64_t)BPF_F_LOCK) || (flags && !sl_map_has_lock(&map->desc)))
		return -EINVAL;
	if (!value)
		return -ENOENT;
	if (flags)
		sl_map_sys_read_locked(&map->desc, ret_value, value);
	else
		sl_map_value_read(&map->desc, ret_value, value, map->desc.value_size);
	return 0;
}

static int array_sys_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);

	long err;

	if (!(flags & BPF_F_LOCK))
		return sl_array_update(&map->desc, NULL, &index, value, flags);
	if (!sl_map_has_lock(&map->desc))
		return -EINVAL;
	err = sl_array_check_update(&map->desc, index, flags);
	if (!err)
		sl_map_sys_write_locked(
			&map->desc, sl_array_lookup(&map->desc, NULL, &index), value);
	return err;
}

static uint32_t array_element_count(const struct sl_map *map)
{
	return map->desc.max_entries;
}

static uint32_t array_element(const struct sl_map *map, const void *value, const void **ret_key)
{
	*ret_key = NULL;
	return (uint32_t)((uint64_t)((const uint8_t *)value - (const uint8_t *)map->desc.data) /
			  map->desc.value_stride);
}

static int array_sys_delete(struct sl_map *map, const void *key)
{
	return -EINVAL;
}

int sl_array_next_key(struct sl_map *map, const void *key, void *ret_next)
{
	uint32_t index = key ? sl_array_index(key) : UINT32_MAX;
	uint32_t next = index < map->desc.max_entries ? index + 1 : 0;

	if (next == map->desc.max_entries)
		return -ENOENT;
	__builtin_memcpy(ret_next, &next, sizeof(next));
	return 0;
}

static int array_mmap_fd(const struct sl_map *map)
{
	/* Nobody maps locks and timers. */
	return map->desc.record ? -1 : ((const struct array *)map)->fd;
}

static int array_freeze(struct sl_map *map)
{
	const struct array *a = (const struct array *)map;

	if (a->fd < 0)
		return 0;
	/* Who maps the values from now on may only read them. */
	fcntl(a->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	return map->desc.flags & BPF_F_RDONLY_PROG ? sl_area_detach(map->desc.data, a->len_bytes)
						   : 0;
}

static int array_direct_value(const struct sl_map *map, uint32_t offset, uint64_t *ret_address)
{
	if (map->desc.max_entries != 1)
		return -SL_ENOTSUPP;
	if (offset >= map->desc.value_size)
		return -EINVAL;
	*ret_address = (uintptr_t)map->desc.data + offset;
	return 0;
}

const struct sl_map_ops sl_array_ops = {
	.name = "array",
	.check = sl_array_check,
	.new = array_new,
	.check_btf = sl_array_check_btf,
	.free = array_free,
	.memory_bytes = array_memory_bytes,
	.sys_lookup = array_sys_lookup,
	.sys_update = array_sys_update,
	.sys_delete = array_sys_delete,
	.next_key = sl_array_next_key,
	.batch = SL_MAP_BATCH_LOOKUP | SL_MAP_BATCH_UPDATE,
	.mmap_fd = array_mmap_fd,
	.freeze = array_freeze,
	.direct_value = array_direct_value,
	.lookup = sl_array_lookup,
	.update = sl_array_update,
	.delete = sl_array_delete,
	.element_count = array_element_count,
	.element = array_element,
	.for_each = sl_array_for_each,
	.for_each_symbol = "sl_array_for_each",
	.lookup_symbol = "sl_array_lookup",
	.update_symbol = "sl_array_update",
	.delete_symbol = "sl_array_delete",
	.desc_size = sizeof(struct sl_map_desc),
};
