#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "area.h"
#include "array.h"
#include "type.h"

/* ARRAY_OF_MAPS: one pointer per slot, exchanged by control threads and loaded by programs. */

struct array_of_maps {
	struct sl_map map; /* desc.data: struct sl_map *[max_entries] */
	size_t len_bytes;
};

static struct sl_map **slots_of(const struct sl_map *map)
{
	return map->desc.data;
}

static int check(const union bpf_attr *attr)
{
	if (attr->value_size != sizeof(uint32_t) ||
		(attr->map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)))
		return -EINVAL;
	return sl_array_check(attr);
}

static void array_free(struct sl_map *map)
{
	struct array_of_maps *a = (struct array_of_maps *)map;

	if (!a)
		return;
	for (uint32_t i = 0; map->desc.data && i < map->desc.max_entries; i++)
		sl_map_unref(slots_of(map)[i]);
	sl_area_free(map->desc.data, a->len_bytes);
	sl_inner_template_free(map->inner);
	free(a);
}

static int array_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct array_of_maps *a = sl_map_alloc(sizeof(*a), &sl_array_of_maps_ops, attr);
	int err;

	if (!a)
		return -ENOMEM;
	err = sl_inner_template_new((int)attr->inner_map_fd, &a->map.inner);
	if (err)
		goto fail;
	err = -ENOMEM;
	a->len_bytes = (size_t)attr->max_entries * sizeof(struct sl_map *);
	a->map.desc.data = sl_area_new(a->len_bytes, a->len_bytes);
	if (!a->map.desc.data)
		goto fail;
	*ret_map = &a->map;
	return 0;
fail:
	array_free(&a->map);
	return err;
}

static uint64_t memory_bytes(const struct sl_map *map)
{
	return sizeof(struct array_of_maps) + ((const struct array_of_maps *)map)->len_bytes;
}

/* The map's id, as the kernel returns it. */
static int sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);
	const struct sl_map *inner;

	if (flags)
		return -EINVAL;
	inner = index < map->desc.max_entries ? sl_rcu_load(slots_of(map)[index]) : NULL;
	if (!inner)
		return -ENOENT;
	memcpy(ret_value, &inner->obj.id, sizeof(inner->obj.id));
	return 0;
}

static struct sl_map *swap(struct sl_map *map, uint32_t index, struct sl_map *inner)
{
	/* Programs load the slot with acquire. */
	return __atomic_exchange_n(&slots_of(map)[index], inner, __ATOMIC_ACQ_REL);
}

static int sys_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);
	struct sl_map *inner;
	int err;

	if (flags != BPF_ANY)
		return -EINVAL;
	if (index >= map->desc.max_entries)
		return -E2BIG;
	err = sl_inner_get(map, value, &inner);
	if (!err)
		sl_map_unref(swap(map, index, inner));
	return err;
}

static int sys_delete(struct sl_map *map, const void *key)
{
	uint32_t index = sl_array_index(key);
	struct sl_map *old;

	if (index >= map->desc.max_entries)
		return -E2BIG;
	old = swap(map, index, NULL);
	sl_map_unref(old);
	return old ? 0 : -ENOENT;
}

const struct sl_map_ops sl_array_of_maps_ops = {
	.name = "array_of_maps",
	.check = check,
	.new = array_new,
	.check_btf = sl_map_check_no_btf,
	.free = array_free,
	.memory_bytes = memory_bytes,
	.sys_lookup = sys_lookup,
	.sys_update = sys_update,
	.sys_delete = sys_delete,
	.next_key = sl_array_next_key,
	.batch = SL_MAP_BATCH_LOOKUP | SL_MAP_BATCH_UPDATE,
	.lookup = sl_array_of_maps_lookup,
	.lookup_symbol = "sl_array_of_maps_lookup",
	.never_inner = true,
	.desc_size = sizeof(struct sl_map_desc),
};
