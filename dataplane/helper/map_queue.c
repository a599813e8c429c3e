#include "map.h"
#include "row.h"

/* The helpers of maps that hold values without keys. The verifier lets no other type through. */
#define KEYLESS (1ull << BPF_MAP_TYPE_QUEUE | 1ull << BPF_MAP_TYPE_STACK)

SL_HELPER_FN(map_push_elem)
{
	struct sl_map *map = (struct sl_map *)r1;

	return sl_helper_ret(map->ops->push(map, (const void *)r2, r3));
}

const struct sl_helper sl_helper_map_push_elem = {
	SL_ROW(map_push_elem, ANY),
	.flags = SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_MAP, SL_ARG_MAP_VALUE, SL_ARG_ANYTHING },
	.map_types = KEYLESS,
};

SL_HELPER_FN(map_pop_elem)
{
	struct sl_map *map = (struct sl_map *)r1;

	return sl_helper_ret(map->ops->pop(map, (void *)r2));
}

const struct sl_helper sl_helper_map_pop_elem = {
	SL_ROW(map_pop_elem, ANY),
	.args = { SL_ARG_MAP, SL_ARG_MAP_VALUE_UNINIT },
	.map_types = KEYLESS,
};

SL_HELPER_FN(map_peek_elem)
{
	struct sl_map *map = (struct sl_map *)r1;

	return sl_helper_ret(map->ops->peek(map, (void *)r2));
}

const struct sl_helper sl_helper_map_peek_elem = {
	SL_ROW(map_peek_elem, ANY),
	.args = { SL_ARG_MAP, SL_ARG_MAP_VALUE_UNINIT },
	.map_types = KEYLESS,
};
