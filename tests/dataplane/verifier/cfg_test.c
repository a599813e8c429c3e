#include "random.h"
#include "structure.h"

#define MAX_INSNS 40

static const struct {
	const char *name;
	int err;
	const char *message;
	uint32_t count;
	struct bpf_insn insns[8];
} rows[] = {
	{ "no exit", -EINVAL, "last insn is not an exit or jmp\n", 1, { MOV_K(0, 0) } },
	{ "jump past the end", -EINVAL, "jump out of range from insn 0 to 3\n", 2,
		{ JA(2), EXIT } },
	{ "jump before the start", -EINVAL, "jump out of range from insn 1 to -1\n", 3,
		{ MOV_K(0, 0), JMP_K(BPF_JEQ, 0, 0, -3), EXIT } },
	{ "jump into ld_imm64", -EINVAL, "jump into the middle of ldimm64 insn 1\n", 4,
		{ JMP_K(BPF_JEQ, 1, 0, 1), LD_IMM64(0, 1), EXIT } },
	{ "unreachable", -EINVAL, "unreachable insn 1\n", 3, { JA(1), MOV_K(0, 0), EXIT } },
	{ "half an ld_imm64", -EINVAL, "invalid bpf_ld_imm64 insn\n", 3,
		{ INSN(BPF_LD | BPF_IMM | BPF_DW, 0, 0, 0, 0), MOV_K(0, 0), EXIT } },
	{ "call past the end", -EINVAL, "call to invalid destination\n", 2,
		{ LOCAL_CALL(5), EXIT } },
	{ "call before the start", -EINVAL, "call to invalid destination\n", 2,
		{ LOCAL_CALL(-5), EXIT } },
	{ "jump into another function", -EINVAL, "jump out of range from insn 3 to 2\n", 5,
		{ LOCAL_CALL(2), MOV_K(0, 0), EXIT, JA(-2), EXIT } },
	{ "unknown opcode", -EINVAL, "unknown opcode 86\n", 2, { INSN(0x86, 0, 0, 0, 0), EXIT } },
	{ "opcode 0", -EINVAL, "unknown opcode 00\n", 2, { INSN(0, 0, 0, 0, 0), EXIT } },
	{ "load with an immediate", -EINVAL, "BPF_LDX uses reserved fields\n", 2,
		{ INSN(BPF_LDX | BPF_MEM | BPF_W, 0, 1, 0, 3), EXIT } },
	{ "unknown kind of ld_imm64", -EINVAL, "unrecognized bpf_ld_imm64 insn\n", 3,
		{ INSN(BPF_LD | BPF_IMM | BPF_DW, 0, 9, 0, 0), INSN(0, 0, 0, 0, 0), EXIT } },
	{ "legal", 0, NULL, 2, { MOV_K(0, 0), EXIT } },
	{ "legal loop", 0, NULL, 4,
		{ MOV_K(0, 0), ALU_K(BPF_ADD, 0, 1), JMP_K(BPF_JLT, 0, 9, -2), EXIT } },
	{ "legal call", 0, NULL, 5,
		{ LOCAL_CALL(1), EXIT, MOV_K(0, 0), JMP_K(BPF_JNE, 1, 0, -2), EXIT } },
};

TEST(cfg, errors)
{
	static char text[STRUCTURE_LOG_BYTES];

	for (size_t i = 0; i < sl_array_size(rows); i++) {
		TRACE_PUSH("%s", rows[i].name);
		EXPECT_EQ(structure_of(BPF_PROG_TYPE_XDP, rows[i].insns, rows[i].count, text, NULL),
			rows[i].err);
		if (rows[i].message)
			EXPECT_CONTAINS(text, rows[i].message);
		TRACE_POP();
	}
}

TEST(cfg, errors_are_the_kernels)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		TRACE_PUSH("%s", rows[i].name);
		same_structure(BPF_PROG_TYPE_XDP, rows[i].insns, rows[i].count);
		TRACE_POP();
	}
}

static const int helpers[] = { BPF_FUNC_map_lookup_elem, BPF_FUNC_map_update_elem,
	BPF_FUNC_get_prandom_u32, BPF_FUNC_ktime_get_ns, BPF_FUNC_redirect, BPF_FUNC_tail_call,
	BPF_FUNC_clone_redirect, BPF_FUNC_map_delete_elem };

static struct bpf_insn random_insn(struct sl_random *random, uint32_t index, uint32_t count)
{
	uint8_t dst = (uint8_t)random_below(random, 10), src = (uint8_t)random_below(random, 10);
	int target = (int)random_below(random, count) - (int)index - 1;

	/* Mostly forwards, so that most programs are legal. */
	if (random_below(random, 4))
		target = (int)random_below(random, 4);
	switch (random_below(random, 9)) {
	case 0:
		return JA((int16_t)target);
	case 1:
	case 2:
		return JMP_K(BPF_JGT, dst, 5, (int16_t)target);
	case 3:
		return LOCAL_CALL((int)random_below(random, count) - (int)index - 1);
	case 4:
		return HELPER(helpers[random_below(random, sl_array_size(helpers))]);
	case 5:
		return INSN(BPF_JMP32 | BPF_JA, 0, 0, 0, target);
	case 6:
		return INSN(BPF_JMP | SL_BPF_JCOND, 0, 0, (int16_t)target, 0);
	case 7:
		return EXIT;
	}
	return ALU_X(BPF_ADD, dst, src);
}

static uint32_t random_program(struct sl_random *random, struct bpf_insn *insns)
{
	uint32_t count = 3 + random_below(random, MAX_INSNS - 3);
	bool calls = random_below(random, 3) == 0, jumps = random_below(random, 4);

	for (uint32_t i = 0; i < count; i++) {
		insns[i] = random_insn(random, i, count);
		if ((sl_insn_is_local_call(&insns[i]) && (!calls || random_below(random, 3))) ||
			(BPF_CLASS(insns[i].code) == BPF_JMP && !jumps))
			insns[i] = MOV_X(i % 10, (i + 3) % 10);
		if (i + 2 < count && random_below(random, 16) == 0) {
			insns[i] = INSN(BPF_LD | BPF_IMM | BPF_DW, i % 10,
				random_below(random, 8) ? 0 : BPF_PSEUDO_FUNC, 0, (int)count / 2);
			insns[++i] = INSN(0, 0, 0, 0, 0);
		}
	}
	insns[count - 1] = EXIT;
	return count;
}

TEST(cfg, random_programs_look_as_in_the_kernel)
{
	struct sl_random random = { 7 };
	struct bpf_insn insns[MAX_INSNS];
	unsigned legal = 0;

	ORACLE_OR_SKIP();
	for (int i = 0; i < 6000; i++) {
		static char text[STRUCTURE_LOG_BYTES];
		uint32_t count = random_program(&random, insns);

		if (!same_structure(BPF_PROG_TYPE_SCHED_CLS, insns, count))
			FAIL_NOW("program %d", i);
		legal += structure_of(BPF_PROG_TYPE_SCHED_CLS, insns, count, text, NULL) == 0;
	}
	EXPECT_GT(legal, 100);
}

TEST(cfg, prune_and_jump_points)
{
	static char text[STRUCTURE_LOG_BYTES];
	const struct bpf_insn insns[] = { MOV_K(0, 0), JMP_K(BPF_JEQ, 1, 0, 1), HELPER(7),
		LOCAL_CALL(1), EXIT, INSN(BPF_JMP | SL_BPF_JCOND, 0, 0, 0, 0), HELPER(181), EXIT };
	const uint8_t expected[] = { 0, SL_CFG_PRUNE_POINT, 0,
		SL_CFG_PRUNE_POINT | SL_CFG_JUMP_POINT | SL_CFG_JUMP_TARGET,
		SL_CFG_PRUNE_POINT | SL_CFG_JUMP_POINT,
		SL_CFG_PRUNE_POINT | SL_CFG_JUMP_POINT | SL_CFG_CHECKPOINT,
		SL_CFG_PRUNE_POINT | SL_CFG_JUMP_POINT | SL_CFG_JUMP_TARGET | SL_CFG_CHECKPOINT |
			SL_CFG_CALLS_CALLBACK,
		SL_CFG_PRUNE_POINT | SL_CFG_JUMP_POINT };
	struct sl_cfg *cfg = NULL;

	ASSERT_EQ(structure_of(BPF_PROG_TYPE_XDP, insns, 8, text, &cfg), 0);
	for (uint32_t i = 0; i < 8; i++)
		EXPECT_EQ(cfg->insns[i].flags, expected[i]);
	EXPECT_EQ(cfg->func_count, 2);
	EXPECT_EQ(cfg->funcs[1].start, 5);
	EXPECT_TRUE(cfg->funcs[1].is_called);
	EXPECT_EQ(cfg->postorder_count, 8);
	sl_cfg_free(cfg);
}
