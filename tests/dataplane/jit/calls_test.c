#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "array.h"
#include "helper.h"
#include "jit.h"
#include "prog_array.h"
#include "test.h"

/*
 * Calls of all kinds, on maps made by hand: what the JIT sees of a map is its descriptor and the
 * names of its operations.
 */
#define SLOTS 4

struct jump_table {
	struct sl_map map;
	struct sl_prog_table *const *desc_views;
	struct sl_prog_table *views[SL_MAX_CPUS];
	sl_prog_fn slots[SLOTS];
};

static const struct sl_map_ops table_ops = {
	.name = "prog_array",
	.desc_size = sizeof(struct sl_prog_array_desc),
};

static void init_table(struct jump_table *table)
{
	memset(table, 0, sizeof(*table));
	table->map.ops = &table_ops;
	table->map.desc = (struct sl_map_desc){ .max_entries = SLOTS, .map = &table->map };
	table->desc_views = table->views;
	table->views[0] = (struct sl_prog_table *)table->slots;
}

static const struct sl_map_ops array_ops = {
	.name = "array",
	.lookup = sl_array_lookup,
	.lookup_symbol = "sl_array_lookup",
	.update = sl_array_update,
	.update_symbol = "sl_array_update",
	.delete = sl_array_delete,
	.delete_symbol = "sl_array_delete",
	.desc_size = sizeof(struct sl_map_desc),
};

static uint64_t values[8];
static struct sl_map array = {
	.ops = &array_ops,
	.desc = { .key_size = 4,
		.value_size = 8,
		.value_stride = 8,
		.max_entries = 8,
		.data = values,
		.map = &array },
};

static const struct sl_helper lookup_row = {
	.symbol = "sl_bpf_map_lookup_elem",
	.args = { SL_ARG_MAP, SL_ARG_MAP_KEY },
	.map_op = SL_MAP_OP_LOOKUP,
};
static const struct sl_helper update_row = {
	.symbol = "sl_bpf_map_update_elem",
	.args = { SL_ARG_MAP, SL_ARG_MAP_KEY, SL_ARG_MAP_VALUE, SL_ARG_ANYTHING },
	.map_op = SL_MAP_OP_UPDATE,
};

static void use_map(struct jit_fixture *fx, struct sl_map **maps, unsigned load, unsigned call,
	unsigned arg, const struct sl_helper *helper)
{
	unsigned index = fx->facts.call_count++;

	fx->prog.used_maps = maps;
	fx->prog.used_map_count = 1;
	fx->insn_facts[load].map = 0;
	fx->insn_facts[call].call = index;
	fx->calls[index].helper = helper;
	fx->calls[index].args[arg] =
		(struct sl_reg_fact){ .kind = SL_MEM_MAP, .const_off = true, .map = 0 };
}

#define LD_MAP(dst) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, 0), INSN(0, 0, 0, 0, 0)

static const struct bpf_insn count_insns[] = {
	INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 5),
	MOV_X(2, 10),
	ALU_K(BPF_ADD, 2, -4),
	LD_MAP(1),
	CALL(BPF_FUNC_map_lookup_elem),
	JMP_K(BPF_JEQ, 0, 0, 3),
	MOV_K(1, 3),
	INSN(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD),
	LDX(BPF_DW, 0, 0, 0),
	EXIT,
};

TEST(jit_calls, lookup_in_a_known_map_is_inlined)
{
	static struct jit_fixture fx;
	struct sl_map *maps[] = { &array };

	jit_fixture_init(&fx, count_insns, sl_array_size(count_insns));
	use_map(&fx, maps, 3, 5, 0, &lookup_row);
	fx.calls[0].args[1] = (struct sl_reg_fact){
		.kind = SL_MEM_STACK, .const_off = true, .own_frame = true, .off = -4
	};
	values[5] = 40;
	EXPECT_EQ(jit_fixture_run(&fx), 43u);
	EXPECT_EQ(values[5], 43u);
	/* Nothing known of where the key is. */
	fx.calls[0].args[1] = (struct sl_reg_fact){ .kind = SL_MEM_NONE };
	EXPECT_EQ(jit_fixture_run(&fx), 46u);
}

TEST(jit_calls, update_of_a_known_map)
{
	static struct jit_fixture fx;
	struct sl_map *maps[] = { &array };
	const struct bpf_insn insns[] = {
		INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 6),
		INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -16, 77),
		MOV_X(2, 10),
		ALU_K(BPF_ADD, 2, -4),
		MOV_X(3, 10),
		ALU_K(BPF_ADD, 3, -16),
		MOV_K(4, 0),
		LD_MAP(1),
		CALL(BPF_FUNC_map_update_elem),
		EXIT,
	};

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	use_map(&fx, maps, 7, 9, 0, &update_row);
	EXPECT_EQ(jit_fixture_run(&fx), 0u);
	EXPECT_EQ(values[6], 77u);
}

static int direct_value(const struct sl_map *map, uint32_t offset, uint64_t *ret_address)
{
	*ret_address = (uintptr_t)map->desc.data + offset;
	return 0;
}

/* Compiled while the value is 7; a frozen one cannot become 8, so nothing is loaded. */
TEST(jit_calls, read_only_data_is_constant)
{
	static struct jit_fixture fx;
	static const struct sl_map_ops ops = { .name = "array", .direct_value = direct_value };
	static uint64_t value;
	struct sl_map rodata = {
		.ops = &ops,
		.frozen = true,
		.desc = { .value_size = 8,
			.max_entries = 1,
			.flags = BPF_F_RDONLY_PROG,
			.data = &value },
	};
	struct sl_map *maps[] = { &rodata };
	const struct bpf_insn insns[] = {
		INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_VALUE, 0, 0),
		INSN(0, 0, 0, 0, 0),
		LDX(BPF_H, 0, 1, 2),
		EXIT,
	};

	for (unsigned frozen = 0; frozen < 2; frozen++) {
		rodata.frozen = frozen;
		value = 7 << 16;
		jit_fixture_init(&fx, insns, sl_array_size(insns));
		fx.prog.used_maps = maps;
		fx.prog.used_map_count = 1;
		fx.insn_facts[0].imm = (uintptr_t)&value;
		fx.insn_facts[2].base =
			(struct sl_reg_fact){ .kind = SL_MEM_MAP_VALUE, .const_off = true };
		ASSERT_EQ(sl_jit_compile(&fx.prog), 0);
		value = 8 << 16;
		EXPECT_EQ(fx.prog.code->run(&fx.ctx, SL_TAIL_CALLS), frozen ? 7u : 8u);
		sl_jit_free(fx.prog.code);
	}
}

static uint64_t native_sum(
	struct sl_ctx *ctx, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	return r1 + 10 * r2 + 100 * r3 + 1000 * r4 + 10000 * r5 + ctx->mark;
}

TEST(jit_calls, helper_that_is_not_in_the_bitcode_is_called_natively)
{
	static struct jit_fixture fx;
	static const struct sl_helper row = {
		.symbol = "sl_no_such_symbol",
		.fn = native_sum,
		.args = { SL_ARG_ANYTHING, SL_ARG_ANYTHING, SL_ARG_ANYTHING, SL_ARG_ANYTHING,
			SL_ARG_ANYTHING },
	};
	const struct bpf_insn insns[] = { MOV_K(1, 1), MOV_K(2, 2), MOV_K(3, 3), MOV_K(4, 4),
		MOV_K(5, 5), CALL(999), EXIT };

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	fx.facts.call_count = 1;
	fx.calls[0].helper = &row;
	fx.insn_facts[5].call = 0;
	fx.ctx.mark = 100000;
	EXPECT_EQ(jit_fixture_run(&fx), 154321u);
}

TEST(jit_calls, unknown_symbol_is_an_error_and_no_crash)
{
	static struct jit_fixture fx;
	static const struct sl_helper row = { .symbol = "sl_no_such_symbol" };
	const struct bpf_insn insns[] = { CALL(999), EXIT };

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	fx.facts.call_count = 1;
	fx.calls[0].helper = &row;
	fx.insn_facts[0].call = 0;
	EXPECT_EQ(sl_jit_compile(&fx.prog), -EIO);
	fx.insn_facts[0].call = SL_NO_CALL;
	EXPECT_EQ(sl_jit_compile(&fx.prog), -EIO);
	EXPECT_TRUE(fx.prog.code == NULL);
}

/* sum(n) = n + sum(n - 1) over frames of its own, each with the number in its stack. */
TEST(jit_calls, subprograms_have_frames_of_their_own)
{
	static struct jit_fixture fx;
	const struct bpf_insn insns[] = {
		MOV_K(1, 100),
		CALL_LOCAL(1),
		EXIT,
		STX(BPF_DW, 10, 1, -8), /* sum */
		MOV_K(0, 0),
		JMP_K(BPF_JEQ, 1, 0, 4),
		ALU_K(BPF_ADD, 1, -1),
		CALL_LOCAL(-5),
		LDX(BPF_DW, 1, 10, -8),
		ALU_X(BPF_ADD, 0, 1),
		EXIT,
	};

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	jit_fixture_add_func(&fx, 3);
	EXPECT_EQ(jit_fixture_run(&fx), 5050u);
}

TEST(jit_calls, a_subprogram_writes_its_callers_frame)
{
	static struct jit_fixture fx;
	const struct bpf_insn insns[] = {
		INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 1),
		MOV_X(1, 10),
		ALU_K(BPF_ADD, 1, -8),
		CALL_LOCAL(2),
		LDX(BPF_DW, 0, 10, -8),
		EXIT,
		INSN(BPF_ST | BPF_MEM | BPF_DW, 1, 0, 0, 42),
		MOV_K(0, 0),
		EXIT,
	};

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	jit_fixture_add_func(&fx, 6);
	EXPECT_EQ(jit_fixture_run(&fx), 42u);
}

static uint64_t native_loop(
	struct sl_ctx *ctx, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	uint64_t (*callback)(struct sl_ctx *, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

	callback = (void *)r2;
	for (uint64_t i = 0; i < r1; i++)
		callback(ctx, i, r3, 0, 0, 0);
	return r1;
}

TEST(jit_calls, callbacks_are_called_back)
{
	static struct jit_fixture fx;
	static const struct sl_helper row = {
		.symbol = "sl_no_such_symbol",
		.fn = native_loop,
		.args = { SL_ARG_ANYTHING, SL_ARG_FUNC, SL_ARG_STACK },
	};
	const struct bpf_insn insns[] = {
		INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 0),
		MOV_K(1, 10),
		INSN(BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_FUNC, 0, 6),
		INSN(0, 0, 0, 0, 0),
		MOV_X(3, 10),
		ALU_K(BPF_ADD, 3, -8),
		CALL(181),
		LDX(BPF_DW, 0, 10, -8),
		EXIT,
		LDX(BPF_DW, 3, 2, 0), /* *(u64 *)r2 += r1 */
		ALU_X(BPF_ADD, 3, 1),
		STX(BPF_DW, 2, 3, 0),
		MOV_K(0, 0),
		EXIT,
	};

	jit_fixture_init(&fx, insns, sl_array_size(insns));
	jit_fixture_add_func(&fx, 9);
	fx.funcs[1].is_callback = true;
	fx.facts.call_count = 1;
	fx.calls[0].helper = &row;
	fx.insn_facts[6].call = 0;
	EXPECT_EQ(jit_fixture_run(&fx), 45u);
}

/* Counts itself in ctx->mark, jumps to slot r1 of the table; returns `fallen` where it cannot. */
#define CHAIN(fallen)                                                                          \
	MOV_X(6, 1), LDX(BPF_W, 7, 6, offsetof(struct sl_ctx, mark)), ALU_K(BPF_ADD, 7, 1),    \
		STX(BPF_W, 6, 7, offsetof(struct sl_ctx, mark)), MOV_X(1, 6), LD_MAP(2),       \
		LDX(BPF_W, 3, 6, offsetof(struct sl_ctx, priority)), CALL(BPF_FUNC_tail_call), \
		MOV_K(0, fallen), EXIT
#define CHAIN_LOAD 5
#define CHAIN_CALL 8

static void compile_chain(struct jit_fixture *fx, const struct bpf_insn *insns, unsigned count,
	struct sl_map **maps, bool known)
{
	jit_fixture_init(fx, insns, count);
	use_map(fx, maps, CHAIN_LOAD, CHAIN_CALL, 1, NULL);
	if (!known)
		fx->calls[0].args[1].map = SL_MAP_MIXED;
	fx->funcs[0].has_tail_call = true;
	ASSERT_EQ(sl_jit_compile(&fx->prog), 0);
}

static void check_chain(bool known)
{
	static struct jit_fixture fx;
	static struct jump_table table;
	struct sl_map *maps[] = { &table.map };
	const struct bpf_insn insns[] = { CHAIN(7) };

	init_table(&table);
	compile_chain(&fx, insns, sl_array_size(insns), maps, known);
	table.slots[1] = fx.prog.code->run;

	/* Into itself until the limit: the first run and 33 jumps. */
	fx.ctx.priority = 1;
	EXPECT_EQ(fx.prog.code->run(&fx.ctx, SL_TAIL_CALLS), 7u);
	EXPECT_EQ(fx.ctx.mark, SL_TAIL_CALLS + 1u);
	EXPECT_EQ(fx.run.tail_failed, 1u);
	/* An empty slot, and indices past the end. */
	static const uint32_t bad[] = { 0, SLOTS, UINT32_MAX };

	for (unsigned i = 0; i < sl_array_size(bad); i++) {
		fx.ctx.priority = bad[i];
		fx.ctx.mark = 0;
		EXPECT_EQ(fx.prog.code->run(&fx.ctx, SL_TAIL_CALLS), 7u);
		EXPECT_EQ(fx.ctx.mark, 1u);
	}
	EXPECT_EQ(fx.run.tail_failed, 4u);
	sl_jit_free(fx.prog.code);
}

TEST(jit_calls, tail_calls_end_at_the_limit)
{
	check_chain(true);
}

TEST(jit_calls, tail_calls_through_an_unknown_map)
{
	check_chain(false);
}

/*
 * The main program calls a subprogram twice, which jumps into a chain that jumps into itself: the
 * chain returns to the main program, and all of them share one count.
 */
TEST(jit_calls, tail_calls_in_subprograms_share_the_count)
{
	static struct jit_fixture fx, chain;
	static struct jump_table table;
	struct sl_map *maps[] = { &table.map };
	const struct bpf_insn chain_insns[] = { CHAIN(7) };
	const struct bpf_insn insns[] = {
		MOV_X(6, 1),
		CALL_LOCAL(5),
		MOV_X(7, 0),
		MOV_X(1, 6),
		CALL_LOCAL(2),
		ALU_X(BPF_ADD, 0, 7),
		EXIT,
		LD_MAP(2), /* 7 */
		LDX(BPF_W, 3, 1, offsetof(struct sl_ctx, priority)),
		CALL(BPF_FUNC_tail_call),
		MOV_K(0, 1000),
		EXIT,
	};

	init_table(&table);
	compile_chain(&chain, chain_insns, sl_array_size(chain_insns), maps, true);
	table.slots[1] = chain.prog.code->run;
	jit_fixture_init(&fx, insns, sl_array_size(insns));
	jit_fixture_add_func(&fx, 7);
	use_map(&fx, maps, 7, 10, 1, NULL);
	fx.funcs[1].has_tail_call = true;
	fx.ctx.priority = 1;
	/* The first call uses up all 33, so the second one falls through. */
	EXPECT_EQ(jit_fixture_run(&fx), 1007u);
	EXPECT_EQ(fx.ctx.mark, (uint32_t)SL_TAIL_CALLS);
	sl_jit_free(chain.prog.code);
}
