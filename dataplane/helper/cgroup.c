#include "cgroup_array.h"

#include <errno.h>

#include "row.h"

#define CGROUP_ARRAYS (1ull << BPF_MAP_TYPE_CGROUP_ARRAY)

/* Of a packet's socket, which it has not got. */
SL_HELPER_FN(skb_under_cgroup)
{
	return sl_helper_ret(-ENOENT);
}

const struct sl_helper sl_helper_skb_under_cgroup = {
	SL_ROW(skb_under_cgroup, TC),
	.args = { SL_ARG_CTX, SL_ARG_MAP, SL_ARG_ANYTHING },
	.map_types = CGROUP_ARRAYS,
};

SL_HELPER_FN(current_task_under_cgroup)
{
	const struct sl_map *map = (const struct sl_map *)r1;
	uint32_t index = (uint32_t)r2;

	if (index >= map->desc.max_entries)
		return sl_helper_ret(-E2BIG);
	switch (sl_cgroup_array_slot(map, index)) {
	case SL_CGROUP_BELOW:
		return 1;
	case SL_CGROUP_ELSEWHERE:
		return 0;
	default:
		return sl_helper_ret(-EAGAIN);
	}
}

const struct sl_helper sl_helper_current_task_under_cgroup = {
	SL_ROW(current_task_under_cgroup, ANY),
	.args = { SL_ARG_MAP, SL_ARG_ANYTHING },
	.map_types = CGROUP_ARRAYS,
};
