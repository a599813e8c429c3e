#pragma once

#include "map.h"

/* What a CGROUP_ARRAY has at an index: whether this process runs in, or below, a cgroup. */
enum sl_cgroup_slot {
	SL_CGROUP_NONE,
	SL_CGROUP_BELOW,
	SL_CGROUP_ELSEWHERE,
};

static inline enum sl_cgroup_slot sl_cgroup_array_slot(const struct sl_map *map, uint32_t index)
{
	return __atomic_load_n((const uint8_t *)map->desc.data + index, __ATOMIC_RELAXED);
}
