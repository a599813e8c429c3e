#include "traits.h"

#define REFERS(type, word) SL_STATE_READ, type, word, true

/* The types that are not read like a hash. */
static const struct {
	uint32_t type;
	struct sl_state_traits traits;
} rows[] = {
	{ BPF_MAP_TYPE_PROG_ARRAY, { REFERS(SL_OBJECT_PROG, 0) } },
	{ BPF_MAP_TYPE_ARRAY_OF_MAPS, { REFERS(SL_OBJECT_MAP, 0) } },
	{ BPF_MAP_TYPE_HASH_OF_MAPS, { REFERS(SL_OBJECT_MAP, 0) } },
	{ BPF_MAP_TYPE_QUEUE, { .how = SL_STATE_POPPED } },
	{ BPF_MAP_TYPE_STACK, { .how = SL_STATE_POPPED } },
	{ BPF_MAP_TYPE_PERF_EVENT_ARRAY, { .how = SL_STATE_NOT_KEPT } },
	{ BPF_MAP_TYPE_CGROUP_ARRAY, { .how = SL_STATE_NOT_KEPT } },
	{ BPF_MAP_TYPE_XSKMAP, { .how = SL_STATE_NOT_KEPT } },
	{ BPF_MAP_TYPE_SOCKMAP, { .how = SL_STATE_NOT_KEPT } },
	{ BPF_MAP_TYPE_SOCKHASH, { .how = SL_STATE_NOT_KEPT } },
	{ BPF_MAP_TYPE_RINGBUF, { .how = SL_STATE_NOT_KEPT } },
	{ BPF_MAP_TYPE_USER_RINGBUF, { .how = SL_STATE_NOT_KEPT } },
	{ BPF_MAP_TYPE_BLOOM_FILTER, { .how = SL_STATE_NOT_KEPT } },
	/* Ports come after the state, and have other numbers. */
	{ BPF_MAP_TYPE_DEVMAP, { .how = SL_STATE_NOT_KEPT } },
	{ BPF_MAP_TYPE_DEVMAP_HASH, { .how = SL_STATE_NOT_KEPT } },
};

static const struct sl_state_traits plain;
/* The queue's length, and if the values have room for it, a program. */
static const struct sl_state_traits cpumap = { REFERS(SL_OBJECT_PROG, 1) };

const struct sl_state_traits *sl_state_traits(const struct sl_map_desc *desc)
{
	if (desc->type == BPF_MAP_TYPE_CPUMAP && desc->value_size > 4)
		return &cpumap;
	for (size_t i = 0; i < sl_array_size(rows); i++)
		if (rows[i].type == desc->type)
			return &rows[i].traits;
	return &plain;
}
