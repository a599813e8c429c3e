#include "map.h"

#include <errno.h>

#include "cpu.h"
#include "row.h"

/*
 * Where the program names the map, the JIT calls the map type's own function instead (map_op). These
 * are for maps that are known only at run time: inner maps.
 */
SL_HELPER_FN(map_lookup_elem)
{
	const struct sl_map *map = (const struct sl_map *)r1;

	return (uint64_t)map->ops->lookup(&map->desc, ctx, (const void *)r2);
}

const struct sl_helper sl_helper_map_lookup_elem = {
	SL_ROW(map_lookup_elem, ANY),
	.flags = SL_HELPER_PACKET_ARGS,
	.ret = SL_RET_MAP_VALUE_OR_NULL,
	.args = { SL_ARG_MAP, SL_ARG_MAP_KEY },
	.map_op = SL_MAP_OP_LOOKUP,
};

SL_HELPER_FN(map_update_elem)
{
	const struct sl_map *map = (const struct sl_map *)r1;

	if (!map->ops->update)
		return sl_helper_ret(-EOPNOTSUPP);
	return sl_helper_ret(
		map->ops->update(&map->desc, ctx, (const void *)r2, (const void *)r3, r4));
}

const struct sl_helper sl_helper_map_update_elem = {
	SL_ROW(map_update_elem, ANY),
	.flags = SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_MAP, SL_ARG_MAP_KEY, SL_ARG_MAP_VALUE, SL_ARG_ANYTHING },
	.map_op = SL_MAP_OP_UPDATE,
};

SL_HELPER_FN(map_delete_elem)
{
	const struct sl_map *map = (const struct sl_map *)r1;

	if (!map->ops->delete)
		return sl_helper_ret(-EOPNOTSUPP);
	return sl_helper_ret(map->ops->delete(&map->desc, ctx, (const void *)r2));
}

const struct sl_helper sl_helper_map_delete_elem = {
	SL_ROW(map_delete_elem, ANY),
	.flags = SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_MAP, SL_ARG_MAP_KEY },
	.map_op = SL_MAP_OP_DELETE,
};

/* Per-CPU maps take the CPU, and nothing else, from the context. */
SL_HELPER_FN(map_lookup_percpu_elem)
{
	const struct sl_map *map = (const struct sl_map *)r1;
	uint32_t cpu = (uint32_t)r3;
	struct sl_ctx other = { .cpu = cpu, .run = ctx->run };

	if (cpu >= sl_cpu_count())
		return 0;
	return (uint64_t)map->ops->lookup(&map->desc, &other, (const void *)r2);
}

const struct sl_helper sl_helper_map_lookup_percpu_elem = {
	SL_ROW(map_lookup_percpu_elem, ANY),
	.flags = SL_HELPER_PACKET_ARGS,
	.ret = SL_RET_MAP_VALUE_OR_NULL,
	.args = { SL_ARG_MAP, SL_ARG_MAP_KEY, SL_ARG_ANYTHING },
	.map_types = 1ull << BPF_MAP_TYPE_PERCPU_ARRAY | 1ull << BPF_MAP_TYPE_PERCPU_HASH |
		     1ull << BPF_MAP_TYPE_LRU_PERCPU_HASH,
};

SL_HELPER_FN(for_each_map_elem)
{
	const struct sl_map *map = (const struct sl_map *)r1;

	return sl_helper_ret(
		map->ops->for_each(&map->desc, ctx, (sl_callback_fn)r2, (void *)r3, r4));
}

const struct sl_helper sl_helper_for_each_map_elem = {
	SL_ROW(for_each_map_elem, ANY),
	.args = { SL_ARG_MAP, SL_ARG_FUNC, SL_ARG_STACK_OR_NULL, SL_ARG_ANYTHING },
	.map_op = SL_MAP_OP_FOR_EACH,
};

/*
 * The JIT makes it a jump. One that falls through leaves the packet as it was; after one of a
 * subprogram that does not, the verifier sees to it that the caller looks at the packet anew.
 */
const struct sl_helper sl_helper_tail_call = {
	.name = "bpf_tail_call",
	.id = BPF_FUNC_tail_call,
	.prog_types = SL_TYPES_ANY,
	.ret = SL_RET_VOID,
	.args = { SL_ARG_CTX, SL_ARG_MAP, SL_ARG_ANYTHING },
	.map_types = 1ull << BPF_MAP_TYPE_PROG_ARRAY,
};
