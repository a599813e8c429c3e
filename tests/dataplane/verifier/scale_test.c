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
