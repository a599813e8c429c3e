#include "map.h"

#include "kfunc_row.h"

/* Only hash tables count, as in the kernel. */
SL_HELPER_FN(map_sum_elem_count)
{
	const struct sl_map *map = (const struct sl_map *)r1;

	return map->ops->sum_count ? map->ops->sum_count(map) : 0;
}

const struct sl_kfunc sl_kfunc_map_sum_elem_count = {
	.call = { SL_KFUNC_ROW(map_sum_elem_count, ANY), .args = { SL_ARG_MAP } },
};
