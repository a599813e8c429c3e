#include "../../../benchmarks/verifier_programs.h"
#include "both.h"
#include "memory.h"

/*
 * Long, branchy and hostile programs: as many instructions processed and states kept as the kernel
 * does, with the same outcome, and never more memory than the limit.
 */

/* What the kernel takes minutes for; the loops that we leave to the benchmark for their time. */
static bool is_slow(const struct verifier_program *program)
{
	return strstr(program->name, "900k") || strstr(program->name, "9000");
}

static const char *counts(const char *log)
{
	const char *found = strstr(log, "processed ");

	return found ? found : "no counts";
}

/* Statistics only: the text of long programs does not matter here. */
static void compare(
	const struct verifier_program *program, const struct bpf_insn *insns, unsigned count)
{
	static char ours[1 << 16], theirs[1 << 16];
	struct sl_prog *prog = NULL;
	int err, kernel_err;

	err = both_ours(program->type, insns, count, 4, true, ours, sizeof(ours), &prog);
	kernel_err = both_kernel(program->type, insns, count, 4, true, theirs, sizeof(theirs));
	EXPECT_EQ(err, kernel_err);
	EXPECT_STREQ(counts(ours), counts(theirs));
	EXPECT_NE(strstr(ours, "verification time "), NULL);
	EXPECT_NE(strstr(ours, "peak memory of states "), NULL);
	EXPECT_LE(sl_memory_peak(), SL_STATE_MEMORY_MAX);
	if (prog) {
		EXPECT_GT(prog->peak_states, 0u);
		EXPECT_GT(prog->peak_state_bytes, 0u);
		sl_object_unref(&prog->obj);
	}
}

TEST(scale, counts_are_the_kernels)
{
	struct bpf_insn *insns = calloc(VERIFIER_PROGRAM_INSNS, sizeof(*insns));

	ORACLE_OR_SKIP();
	ASSERT_NE(insns, NULL);
	sl_prog_set_free_hooks(sl_facts_free, NULL, sl_map_unref);
	for (unsigned i = 0; i < verifier_program_count; i++) {
		const struct verifier_program *program = &verifier_programs[i];

		if (is_slow(program))
			continue;
		TRACE_PUSH("%s", program->name);
		compare(program, insns, program->build(insns, program->size));
		TRACE_POP();
	}
	free(insns);
}

/* As many branches left open as there may be, and then `last`. */
static void check_open_branches(uint32_t branches, struct bpf_insn last)
{
	const uint32_t count = branches + 5;
	struct bpf_insn *insns = calloc(count, sizeof(*insns));
	static char ours[1 << 16], theirs[1 << 16];
	int err, kernel_err;

	ASSERT_NE(insns, NULL);
	insns[0] = HELPER(BPF_FUNC_get_prandom_u32);
	for (uint32_t i = 1; i <= branches; i++)
		insns[i] = JMP_K(BPF_JEQ, 0, (int32_t)i, 0);
	insns[count - 4] = last;
	insns[count - 3] = JA(0);
	insns[count - 2] = MOV_K(0, 0);
	insns[count - 1] = EXIT;
	err = both_ours(BPF_PROG_TYPE_XDP, insns, count, 4, true, ours, sizeof(ours), NULL);
	kernel_err = both_kernel(BPF_PROG_TYPE_XDP, insns, count, 4, true, theirs, sizeof(theirs));
	TRACE_PUSH("%u branches: %.300s\n%.300s", branches, ours, theirs);
	EXPECT_EQ(err, kernel_err);
	if (err)
		EXPECT_CONTAINS(ours, "The sequence of 8193 jumps is too complex.");
	TRACE_POP();
	free(insns);
}

TEST(scale, open_branches_are_bounded)
{
	const struct bpf_insn may_goto = INSN(BPF_JMP | 0xe0, 0, 0, 1, 0);

	ORACLE_OR_SKIP();
	sl_prog_set_free_hooks(sl_facts_free, NULL, sl_map_unref);
	check_open_branches(9000, JA(0));
	check_open_branches(8191, JMP_K(BPF_JEQ, 0, 77777, 0));
	check_open_branches(8192, JMP_K(BPF_JEQ, 0, 77777, 0));
	check_open_branches(8191, may_goto);
	check_open_branches(8192, may_goto);
}

/* Memory is refused at the limit, and what was given back can be had again. */
TEST(scale, memory_is_bounded)
{
	void *block, *other;

	sl_memory_begin(1 << 20);
	block = sl_memory_alloc(800000);
	ASSERT_NE(block, NULL);
	EXPECT_FALSE(sl_memory_exhausted());
	EXPECT_EQ(sl_memory_alloc(800000), NULL);
	EXPECT_EQ(sl_memory_realloc(block, 2 << 20), NULL);
	EXPECT_TRUE(sl_memory_exhausted());
	sl_memory_free(block);
	other = sl_memory_alloc(800000);
	EXPECT_NE(other, NULL);
	EXPECT_GE(sl_memory_peak(), 800000u);
	EXPECT_LE(sl_memory_peak(), 1u << 20);
	sl_memory_free(other);
	sl_memory_begin(SL_STATE_MEMORY_MAX);
}

/* 9000 open branches that each hold eight full stacks are more than the limit. */
TEST(scale, hostile_states_are_refused)
{
	struct bpf_insn *insns = calloc(VERIFIER_PROGRAM_INSNS, sizeof(*insns));
	const struct verifier_program *program = &verifier_programs[verifier_program_count - 1];
	static char text[1 << 16];
	struct sl_prog *prog = NULL;
	int err;

	ASSERT_NE(insns, NULL);
	err = both_ours(program->type, insns, program->build(insns, program->size), 4, true, text,
		sizeof(text), &prog);
	EXPECT_EQ(err, -ENOMEM);
	EXPECT_NE(strstr(text, "The states to keep need more than 512 MiB\n"), NULL);
	EXPECT_LE(sl_memory_peak(), SL_STATE_MEMORY_MAX);
	free(insns);
}
