#include "map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "area.h"
#include "btf_record.h"
#include "logging.h"
#include "timer.h"
#include "type.h"

static const struct sl_map_ops *const ops_table[] = {
#define SL_MAP_TYPE(type, name) [BPF_MAP_TYPE_##type] = &name,
#include "types.def"
#undef SL_MAP_TYPE
};

const struct sl_map_ops *sl_map_ops_of(enum bpf_map_type type)
{
	return type < sl_array_size(ops_table) ? ops_table[type] : NULL;
}

const char *sl_map_unavailable(enum bpf_map_type type)
{
	static const char *const reasons[] = {
#define SL_NO_MAP_TYPE(number, type, why) [number] = why,
#include "no_types.def"
#undef SL_NO_MAP_TYPE
	};

	return type < sl_array_size(reasons) ? reasons[type] : NULL;
}

static void map_unlink(struct sl_object *obj)
{
	struct sl_map *map = sl_map_of(obj);

	if (map->btf)
		sl_object_unref(&map->btf->obj);
	map->btf = NULL;
}

static void map_user_release(struct sl_object *obj)
{
	struct sl_map *map = sl_map_of(obj);

	sl_timers_stop(map);
	if (map->ops->user_release)
		map->ops->user_release(map);
}

static void map_release(struct sl_object *obj)
{
	struct sl_map *map = sl_map_of(obj);
	void *record = (void *)map->desc.record;
	struct sl_btf *btf = map->objects_btf;

	sl_timers_free(map);
	map->ops->free(map);
	free(record);
	if (btf)
		sl_object_unref(&btf->obj);
}

static const struct sl_object_ops map_object_ops = {
	.user_release = map_user_release,
	.unlink = map_unlink,
	.release = map_release,
};

/* Whether the machine has the node that BPF_F_NUMA_NODE names. */
static bool node_exists(uint32_t node)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u", node);
	return access(path, F_OK) == 0 || node == 0;
}

/* What holds for every type, in the kernel's order. */
static int check_common(const struct sl_map_ops *ops, const union bpf_attr *attr)
{
	if (attr->map_extra != 0 && !(ops && ops->takes_extra))
		return -EINVAL;
	if ((attr->map_flags & BPF_F_RDONLY) && (attr->map_flags & BPF_F_WRONLY))
		return -EINVAL;
	if ((attr->map_flags & BPF_F_NUMA_NODE) && attr->numa_node != UINT32_MAX &&
		!node_exists(attr->numa_node))
		return -EINVAL;
	return 0;
}

static void fill_desc(struct sl_map *map, const union bpf_attr *attr)
{
	struct sl_map_desc *desc = &map->desc;

	desc->type = attr->map_type;
	desc->key_size = attr->key_size;
	desc->value_size = attr->value_size;
	desc->max_entries = attr->max_entries;
	/* Of the descriptor that is to be given out, not of the map. */
	desc->flags = attr->map_flags & ~(uint32_t)(BPF_F_RDONLY | BPF_F_WRONLY);
	desc->value_stride = sl_round_up(attr->value_size, 8u);
	desc->map = map;
}

/* The kernel's sizeof(struct htab_elem). */
#define HTAB_ELEM_BYTES 48

static void fill_shown(struct sl_map *map, const union bpf_attr *attr)
{
	const struct sl_map_desc *desc = &map->desc;
	bool percpu = desc->type == BPF_MAP_TYPE_PERCPU_HASH ||
		      desc->type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
	uint32_t bits = desc->max_entries <= 1 ? 0 : 32 - __builtin_clz(desc->max_entries - 1);
	uint32_t slots = (uint32_t)(1ull << bits);

	map->shown.numa_node = sl_map_has_node(attr) ? (int32_t)attr->numa_node : -1;
	map->shown.index_mask = slots - 1;
	map->shown.bucket_count = slots;
	map->shown.slot_count = desc->max_entries + 1;
	map->shown.elem_size = desc->value_stride;
	switch (desc->type) {
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_HASH_OF_MAPS:
		/* Those of a map per CPU are elsewhere. */
		map->shown.elem_size = HTAB_ELEM_BYTES + sl_round_up(desc->key_size, 8u) +
				       (percpu ? 8 : sl_round_up(desc->value_size, 8u));
		break;
	case BPF_MAP_TYPE_LPM_TRIE:
		map->shown.data_size = desc->key_size - sizeof(struct bpf_lpm_trie_key);
		map->shown.max_prefixlen = map->shown.data_size * 8;
		break;
	}
}

int sl_map_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	const struct sl_map_ops *ops = sl_map_ops_of(attr->map_type);
	struct sl_map *map;
	int err = check_common(ops, attr);

	if (err)
		return err;
	if (!ops) {
		const char *why = sl_map_unavailable(attr->map_type);

		if (why)
			sl_log(SL_LOG_WARN, "maps of type %u are not available: %s", attr->map_type,
				why);
		return -EINVAL;
	}
	err = ops->check(attr);
	if (err)
		return err;
	sl_area_set_node(sl_map_has_node(attr) ? (int)attr->numa_node : -1);
	err = ops->new(attr, &map);
	sl_area_set_node(-1);
	if (err)
		return err;
	fill_shown(map, attr);
	sl_object_init(&map->obj, SL_OBJECT_MAP, &map_object_ops);
	memcpy(map->name, attr->map_name, sizeof(map->name));
	map->name[sizeof(map->name) - 1] = '\0';
	*ret_map = map;
	return 0;
}

int sl_map_check_no_btf(const struct sl_map *map, const struct btf *btf, uint32_t key_type_id,
	uint32_t value_type_id)
{
	return -SL_ENOTSUPP;
}

void *sl_map_alloc(size_t size, const struct sl_map_ops *ops, const union bpf_attr *attr)
{
	struct sl_map *map = aligned_alloc(SL_CACHE_LINE, sl_round_up(size, (size_t)SL_CACHE_LINE));

	if (!map)
		return NULL;
	memset(map, 0, size);
	map->ops = ops;
	map->map_extra = attr->map_extra;
	fill_desc(map, attr);
	return map;
}

struct sl_map *sl_map_ref(struct sl_map *map)
{
	sl_object_ref(&map->obj);
	return map;
}

void sl_map_unref(struct sl_map *map)
{
	if (map)
		sl_object_unref(&map->obj);
}

#define TYPE(name) (1ull << BPF_MAP_TYPE_##name)
#define LOCK_MAPS (TYPE(HASH) | TYPE(ARRAY))
#define TIMER_MAPS (LOCK_MAPS | TYPE(LRU_HASH))
#define POINTER_MAPS (TIMER_MAPS | TYPE(PERCPU_HASH) | TYPE(LRU_PERCPU_HASH) | TYPE(PERCPU_ARRAY))

/* Which maps may hold which special fields, of the types that Sluice could have. */
static const struct {
	uint32_t fields;
	uint64_t map_types;
} special_maps[] = {
	{ SL_SPECIAL_SPIN_LOCK | SL_SPECIAL_RES_SPIN_LOCK, LOCK_MAPS },
	{ SL_SPECIAL_TIMER | SL_SPECIAL_WORKQUEUE | SL_SPECIAL_TASK_WORK | SL_SPECIAL_GRAPH_ROOT,
		TIMER_MAPS },
	{ SL_SPECIAL_KPTR | SL_SPECIAL_REFCOUNT, POINTER_MAPS },
	{ SL_SPECIAL_UPTR, 0 },
};

int sl_map_set_record(struct sl_map *map, const struct sl_btf *btf, struct sl_btf_record *record)
{
	int err = 0;

	if (!record)
		return 0;
	if (map->desc.flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG))
		err = -EACCES;
	for (unsigned i = 0; !err && i < sl_array_size(special_maps); i++)
		if ((record->types & special_maps[i].fields) &&
			!(special_maps[i].map_types >> map->desc.type & 1))
			err = -EOPNOTSUPP;
	if (err) {
		free(record);
		return err;
	}
	map->desc.record = record;
	/* Longer than map->btf: until the values are gone. */
	if (record->types & SL_SPECIAL_HOLDS) {
		map->objects_btf = (struct sl_btf *)btf;
		sl_object_ref(&map->objects_btf->obj);
	}
	return sl_btf_record_has(record, SL_SPECIAL_TIMER) ? sl_timers_new(map) : 0;
}
