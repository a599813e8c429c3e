#include "load_flags.h"

/*
 * Why a value had to be precise, as the log tells it: the same lines as the kernel's, and with a
 * state kept wherever one may be, in the same states.
 */

#define RANDOM HELPER(BPF_FUNC_get_prandom_u32)
#define USE_AS_OFFSET(reg) MOV_X(R1, R10), ALU_X(BPF_ADD, R1, reg)

static const struct {
	const char *name;
	struct bpf_insn insns[40];
} walks[] = {
	{ "a constant", { MOV_K(R6, -8), USE_AS_OFFSET(R6), RETURN(0) } },
	{ "copies and sums", { MOV_K(R6, -4), MOV_X(R7, R6), ALU_X(BPF_ADD, R7, R6),
				     USE_AS_OFFSET(R7), RETURN(0) } },
	{ "a negation", { MOV_K(R6, 8), INSN(BPF_ALU64 | BPF_NEG, R6, 0, 0, 0), USE_AS_OFFSET(R6),
				RETURN(0) } },
	{ "a call's result",
		{ RANDOM, ALU_K(BPF_AND, R0, 7), MOV_X(R6, R0), USE_AS_OFFSET(R6), RETURN(0) } },
	{ "a spill", { MOV_K(R6, -16), STX(BPF_DW, R10, R6, -8), MOV_K(R6, 0),
			     LDX(BPF_DW, R6, R10, -8), USE_AS_OFFSET(R6), RETURN(0) } },
	{ "a spill of a constant", { ST(BPF_DW, R10, -8, -16), LDX(BPF_DW, R6, R10, -8),
					   USE_AS_OFFSET(R6), RETURN(0) } },
	{ "a spill through a copy of the frame pointer",
		{ MOV_X(R7, R10), MOV_K(R6, -16), STX(BPF_DW, R7, R6, -24),
			LDX(BPF_DW, R6, R10, -24), USE_AS_OFFSET(R6), RETURN(0) } },
	{ "behind jumps", { RANDOM, MOV_K(R6, -8), JMP_K(BPF_JEQ, R0, 7, 1), MOV_K(R6, -16),
				  USE_AS_OFFSET(R6), RETURN(0) } },
	{ "a comparison of two",
		{ RANDOM, MOV_X(R6, R0), RANDOM, ALU_K(BPF_AND, R6, 15), ALU_K(BPF_AND, R0, 7),
			JMP_X(BPF_JGT, R6, R0, 2), USE_AS_OFFSET(R6), RETURN(0) } },
	{ "linked copies", { RANDOM, ALU_K(BPF_AND, R0, 255), MOV_X(R6, R0), MOV_X(R7, R0),
				   JMP_K(BPF_JGT, R6, 7, 1), USE_AS_OFFSET(R7), RETURN(0) } },
	{ "a function's result", { MOV_K(R1, -8), LOCAL_CALL(5), MOV_X(R6, R0), USE_AS_OFFSET(R6),
					 RETURN(0), MOV_X(R0, R1), EXIT } },
	{ "a function's argument", { MOV_K(R1, -8), LOCAL_CALL(1), EXIT, MOV_X(R2, R10),
					   ALU_X(BPF_ADD, R2, R1), RETURN(0) } },
	{ "the caller's register",
		{ MOV_K(R6, -8), LOCAL_CALL(4), USE_AS_OFFSET(R6), RETURN(0), RETURN(1) } },
	{ "the caller's spill",
		{ ST(BPF_DW, R10, -8, -24), MOV_X(R1, R10), LOCAL_CALL(5), LDX(BPF_DW, R6, R10, -8),
			USE_AS_OFFSET(R6), RETURN(0), ST(BPF_DW, R10, -8, 1), RETURN(0) } },
	{ "a zero that is stored in part",
		{ MOV_K(R6, 0), STX(BPF_W, R10, R6, -4), LDX(BPF_W, R7, R10, -4), USE_AS_OFFSET(R7),
			RETURN(0) } },
};

static bool is_of_walk(const char *line)
{
	static const char *const starts[] = { "mark_precise: ", "force_precise: ", "frame " };

	for (unsigned i = 0; i < sl_array_size(starts); i++)
		if (strncmp(line, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

/* In place: nothing stays but the lines of walks. */
static unsigned keep_walks(char *text)
{
	char *to = text;
	unsigned lines = 0;

	for (char *line = text, *end; *line; line = end) {
		end = strchrnul(line, '\n');
		end += *end == '\n';
		if (!is_of_walk(line))
			continue;
		memmove(to, line, (size_t)(end - line));
		to += end - line;
		lines++;
	}
	*to = '\0';
	return lines;
}

static void check_walks(uint32_t flags)
{
	static char ours[BOTH_LOG_BYTES], kernel[BOTH_LOG_BYTES];

	for (unsigned i = 0; i < sl_array_size(walks); i++) {
		struct row row = { .name = walks[i].name };
		struct load load = { .insns = row.insns, .flags = flags };

		memcpy(row.insns, walks[i].insns, sizeof(walks[i].insns));
		load.count = row_length(&row);
		TRACE_PUSH("%s", walks[i].name);
		EXPECT_EQ(load_ours(&load, ours), load_kernel(&load, kernel));
		EXPECT_GT(keep_walks(kernel), 0u);
		keep_walks(ours);
		EXPECT_STREQ(ours, kernel);
		TRACE_POP();
	}
}

TEST(precision_log, walks_as_in_the_kernel)
{
	ORACLE_OR_SKIP();
	check_walks(0);
}

TEST(precision_log, walks_through_many_states_as_in_the_kernel)
{
	ORACLE_OR_SKIP();
	check_walks(BPF_F_TEST_STATE_FREQ);
}
