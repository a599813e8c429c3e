#include "array.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "area.h"
#include "objects.h"
#include "type.h"
#include "cpu.h"
#include "value_copy.h"

struct percpu_array {
	struct sl_map map;
	uint64_t cpu_stride; /* struct sl_percpu_array_desc goes on from map.desc */
};

static_assert(offsetof(struct percpu_array, cpu_stride) - offsetof(struct percpu_array, map.desc) ==
		      offsetof(struct sl_percpu_array_desc, cpu_stride),
	"the descriptor is contiguous");

static size_t len_bytes(const struct percpu_array *a)
{
	return a->cpu_stride * sl_cpu_count();
}

static uint8_t *value_on(const struct sl_map *map, uint32_t index, unsigned cpu)
{
	const struct percpu_array *a = (const struct percpu_array *)map;

	return (uint8_t *)map->desc.data + cpu * a->cpu_stride +
	       (uint64_t)index * map->desc.value_stride;
}

static void percpu_array_free(struct sl_map *map)
{
	struct percpu_array *a = (struct percpu_array *)map;

	if (!a)
		return;
	for (uint32_t i = 0;
		sl_btf_record_has(map->desc.record, SL_SPECIAL_HOLDS) && i < map->desc.max_entries;
		i++)
		for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
			sl_map_value_drop(&map->desc, value_on(map, i, cpu), SL_NO_CPU);
	sl_area_free(map->desc.data, len_bytes(a));
	free(a);
}

static int percpu_array_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct percpu_array *a = sl_map_alloc(sizeof(*a), &sl_percpu_array_ops, attr);

	if (!a)
		return -ENOMEM;
	a->cpu_stride = sl_round_up(
		(uint64_t)attr->max_entries * a->map.desc.value_stride, (uint64_t)SL_CACHE_LINE);
	a->map.desc.data = sl_area_new(len_bytes(a), len_bytes(a));
	if (!a->map.desc.data) {
		percpu_array_free(&a->map);
		return -ENOMEM;
	}
	*ret_map = &a->map;
	return 0;
}

static uint64_t percpu_array_memory_bytes(const struct sl_map *map)
{
	const struct percpu_array *a = (const struct percpu_array *)map;

	return sizeof(*a) + len_bytes(a);
}

static int percpu_array_sys_lookup(
	struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	uint32_t index = sl_array_index(key), stride = map->desc.value_stride;

	if (flags)
		return -EINVAL;
	if (index >= map->desc.max_entries)
		return -ENOENT;
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
		sl_map_value_read(&map->desc, (uint8_t *)ret_value + cpu * stride,
			value_on(map, index, cpu), stride);
	return 0;
}

static int percpu_array_sys_update(
	struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t index = sl_array_index(key), stride = map->desc.value_stride;

	if (flags > BPF_EXIST)
		return -EINVAL;
	if (index >= map->desc.max_entries)
		return -E2BIG;
	if (flags == BPF_NOEXIST)
		return -EEXIST;
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		sl_map_value_write(&map->desc, value_on(map, index, cpu),
			(const uint8_t *)value + cpu * stride, stride);
		sl_map_value_drop(&map->desc, value_on(map, index, cpu), SL_NO_CPU);
	}
	return 0;
}

static int percpu_array_sys_delete(struct sl_map *map, const void *key)
{
	return -EINVAL;
}

const struct sl_map_ops sl_percpu_array_ops = {
	.name = "percpu_array",
	.check = sl_array_check,
	.new = percpu_array_new,
	.check_btf = sl_array_check_btf,
	.free = percpu_array_free,
	.memory_bytes = percpu_array_memory_bytes,
	.sys_lookup = percpu_array_sys_lookup,
	.sys_update = percpu_array_sys_update,
	.sys_delete = percpu_array_sys_delete,
	.next_key = sl_array_next_key,
	.batch = SL_MAP_BATCH_LOOKUP | SL_MAP_BATCH_UPDATE,
	.lookup = sl_percpu_array_lookup,
	.update = sl_percpu_array_update,
	.delete = sl_array_delete,
	.for_each = sl_percpu_array_for_each,
	.for_each_symbol = "sl_percpu_array_for_each",
	.lookup_symbol = "sl_percpu_array_lookup",
	.update_symbol = "sl_percpu_array_update",
	.delete_symbol = "sl_array_delete",
	.desc_size = sizeof(struct sl_percpu_array_desc),
};
