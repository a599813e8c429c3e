#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "field.h"
#include "helper.h"
#include "jit.h"
#include "map.h"
#include "test.h"

/*
 * Whatever a table names can be compiled: each helper, each map type's operations, each field of a
 * context. The programs are compiled and never run.
 */
#define MAX_INSNS 4096

static struct jit_fixture fx;
static struct bpf_insn insns[MAX_INSNS];

static void expect_compiles(unsigned count, const struct sl_call_fact *calls)
{
	insns[count++] = MOV_K(0, 0);
	insns[count++] = EXIT;
	fx.facts.calls = (struct sl_call_fact *)calls;
	EXPECT_EQ(sl_jit_compile(&fx.prog), 0);
	sl_jit_free(fx.prog.code);
	fx.prog.code = NULL;
}

TEST(jit_runtime, every_helper_compiles)
{
	static struct sl_call_fact calls[SL_HELPER_MAX_ID];
	unsigned n = 0;

	for (uint32_t id = 1; id < SL_HELPER_MAX_ID; id++) {
		const struct sl_helper *row = sl_helper_by_id(id);

		if (!row || row->unavailable || !row->fn)
			continue;
		for (unsigned i = 1; i <= 5; i++)
			insns[n * 6 + i - 1] = MOV_K(i, 0);
		insns[n * 6 + 5] = CALL((int)id);
		calls[n++].helper = row;
	}
	EXPECT_GT(n, 20u);
	jit_fixture_init(&fx, insns, 6 * n + 2);
	fx.facts.call_count = n;
	for (unsigned i = 0; i < n; i++)
		fx.insn_facts[6 * i + 5].call = i;
	expect_compiles(6 * n, calls);
}

static void add_calls(const struct sl_call_fact *call, unsigned *n, struct sl_call_fact *calls)
{
	for (unsigned i = 1; i <= 5; i++)
		insns[*n * 6 + i - 1] = MOV_K(i, 0);
	insns[*n * 6 + 5] = CALL((int)call->helper->id);
	calls[(*n)++] = *call;
}

TEST(jit_runtime, every_map_operation_compiles)
{
	static const uint32_t ids[] = { BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem,
		BPF_FUNC_map_delete_elem };
	static struct sl_call_fact calls[3 * 64];
	struct sl_map *maps[64];
	unsigned n = 0, map_count = 0;

	for (unsigned type = 1; type < 64; type++) {
		const struct sl_map_ops *ops = sl_map_ops_of((enum bpf_map_type)type);
		struct sl_map *map;

		if (!ops)
			continue;
		ASSERT_GE(ops->desc_size, sizeof(struct sl_map_desc));
		map = aligned_alloc(64, sl_round_up(sizeof(*map) + ops->desc_size, 64));
		memset(map, 0, sizeof(*map) + ops->desc_size);
		map->ops = ops;
		map->desc.type = type;
		map->desc.key_size = map->desc.value_size = map->desc.value_stride = 8;
		for (unsigned i = 0; i < sl_array_size(ids); i++) {
			struct sl_call_fact call = { .helper = sl_helper_by_id(ids[i]) };

			call.args[0] = (struct sl_reg_fact){
				.kind = SL_MEM_MAP, .const_off = true, .map = map_count
			};
			add_calls(&call, &n, calls);
		}
		maps[map_count++] = map;
	}
	jit_fixture_init(&fx, insns, 6 * n + 2);
	fx.facts.call_count = n;
	fx.prog.used_maps = maps;
	fx.prog.used_map_count = map_count;
	for (unsigned i = 0; i < n; i++)
		fx.insn_facts[6 * i + 5].call = i;
	expect_compiles(6 * n, calls);
	for (unsigned i = 0; i < map_count; i++)
		free(maps[i]);
}

static unsigned size_code(unsigned bytes)
{
	return bytes == 1 ? BPF_B : bytes == 2 ? BPF_H : bytes == 4 ? BPF_W : BPF_DW;
}

static void check_fields(enum bpf_prog_type type)
{
	unsigned count, n = 0;
	const struct sl_field *fields = sl_fields_of(type, &count);

	for (unsigned i = 0; i < count; i++) {
		const struct sl_field *f = &fields[i];
		unsigned size = size_code(sl_min(f->size, 8));

		insns[n++] = LDX(size, 2, 1, f->offset);
		insns[n++] = f->writable_by ? STX(size, 1, 2, f->offset) : MOV_K(2, 0);
	}
	jit_fixture_init(&fx, insns, n + 2);
	fx.prog.type = fx.prog.rules_type = type;
	for (unsigned i = 0; i < n; i++)
		fx.insn_facts[i].field =
			BPF_CLASS(insns[i].code) == BPF_ALU64 ? NULL : &fields[i / 2];
	expect_compiles(n, NULL);
}

TEST(jit_runtime, every_context_field_compiles)
{
	check_fields(BPF_PROG_TYPE_XDP);
	check_fields(BPF_PROG_TYPE_SCHED_CLS);
	check_fields(BPF_PROG_TYPE_SOCKET_FILTER);
}
