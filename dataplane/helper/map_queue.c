#include "map.h"
#include "row.h"

/* The helpers of maps that hold values without keys. The verifier lets no other type through. */
#define QUEUES (1ull << BPF_MAP_TYPE_QUEUE | 1ull << BPF_MAP_TYPE_STACK)
#define KEYLESS (QUEUES | 1ull << BPF_MAP_TYPE_BLOOM_FILTER)

SL_HELPER_FN(map_push_elem)
{
	struct sl_map *map = (struct sl_map *)r1;

	return sl_helper_ret(map->ops->push(&map->desc, ctx, (const void *)r2, r3));
}

const struct sl_helper sl_helper_map_push_elem = {
	SL_ROW(map_push_elem, ANY),
	.flags = SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_MAP, SL_ARG_MAP_VALUE, SL_ARG_ANYTHING },
	.map_types = KEYLESS,
	.map_op = SL_MAP_OP_PUSH,
};

SL_HELPER_FN(map_pop_elem)
{
	struct sl_map *map = (struct sl_map *)r1;

	return sl_helper_ret(map->ops->pop(&map->desc, ctx, (void *)r2));
}

const struct sl_helper sl_helper_map_pop_elem = {
	SL_ROW(map_pop_elem, ANY),
	.args = { SL_ARG_MAP, SL_ARG_MAP_VALUE_UNINIT },
	.map_types = QUEUES,
	.map_op = SL_MAP_OP_POP,
};

SL_HELPER_FN(map_peek_elem)
{
	struct sl_map *map = (struct sl_map *)r1;

	return sl_helper_ret(map->ops->peek(&map->desc, ctx, (void *)r2));
}

const struct sl_helper sl_helper_map_peek_elem = {
	SL_ROW(map_peek_elem, ANY),
	.args = { SL_ARG_MAP, SL_ARG_MAP_VALUE_UNINIT },
	.map_types = KEYLESS,
	.map_op = SL_MAP_OP_PEEK,
};
