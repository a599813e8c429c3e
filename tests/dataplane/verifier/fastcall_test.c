#include "rows.h"

/* Spills around calls that keep their registers: how much stack both sides say that is left. */

#define CPU HELPER(BPF_FUNC_get_smp_processor_id)
#define SPILL(reg, off) STX(BPF_DW, R10, reg, off)
#define FILL(reg, off) LDX(BPF_DW, reg, R10, off)

static const struct {
	const char *name;
	const char *depth; /* NULL: refused */
	struct bpf_insn insns[40];
} depths[] = {
	{ "one spill", "stack depth 0\n", { SPILL(R1, -8), CPU, FILL(R1, -8), RETURN(0) } },
	{ "two spills", "stack depth 0\n",
		{ MOV_K(R2, 1), SPILL(R2, -8), SPILL(R1, -16), CPU, FILL(R1, -16), FILL(R2, -8),
			RETURN(0) } },
	{ "spills above stay", "stack depth 8\n",
		{ SPILL(R1, -8), SPILL(R1, -16), CPU, FILL(R1, -16), FILL(R1, -8), MOV_K(R2, 0),
			FILL(R2, -8), RETURN(0) } },
	{ "two calls share a slot", "stack depth 0\n",
		{ SPILL(R1, -8), CPU, FILL(R1, -8), SPILL(R1, -8), CPU, FILL(R1, -8), RETURN(0) } },
	{ "the slot is read elsewhere", "stack depth 8\n",
		{ SPILL(R1, -8), CPU, FILL(R1, -8), FILL(R2, -8), RETURN(0) } },
	{ "a byte of the slot is read elsewhere", "stack depth 8\n",
		{ MOV_K(R1, 0), SPILL(R1, -8), CPU, FILL(R1, -8), LDX(BPF_B, R2, R10, -1),
			RETURN(0) } },
	{ "the slot is written elsewhere", "stack depth 8\n",
		{ SPILL(R1, -8), CPU, FILL(R1, -8), ST(BPF_B, R10, -3, 0), RETURN(0) } },
	{ "not the lowest slot", "stack depth 16\n",
		{ MOV_K(R2, 0), SPILL(R2, -16), SPILL(R1, -8), CPU, FILL(R1, -8), RETURN(0) } },
	{ "another register is filled", "stack depth 8\n",
		{ SPILL(R1, -8), CPU, FILL(R2, -8), RETURN(0) } },
	{ "the result is spilled", "stack depth 8\n",
		{ MOV_K(R0, 0), SPILL(R0, -8), CPU, FILL(R0, -8), RETURN(0) } },
	{ "a register that calls keep", "stack depth 8\n",
		{ MOV_K(R6, 0), SPILL(R6, -8), CPU, FILL(R6, -8), RETURN(0) } },
	{ "another base", "stack depth 8\n",
		{ MOV_X(R6, R10), SPILL(R1, -8), CPU, LDX(BPF_DW, R1, R6, -8), RETURN(0) } },
	{ "half a slot", "stack depth 8\n",
		{ MOV_K(R1, 0), STX(BPF_W, R10, R1, -8), CPU, LDX(BPF_W, R1, R10, -8),
			RETURN(0) } },
	{ "a call that is not made to vanish", "stack depth 8\n",
		{ SPILL(R1, -8), HELPER(BPF_FUNC_get_prandom_u32), FILL(R1, -8), RETURN(0) } },
	{ "one that is and one that is not", "stack depth 8\n",
		{ SPILL(R1, -8), CPU, FILL(R1, -8), SPILL(R1, -8), HELPER(BPF_FUNC_get_prandom_u32),
			FILL(R1, -8), RETURN(0) } },
	{ "a jump between spill and call", "stack depth 8\n",
		{ MOV_K(R2, 0), SPILL(R1, -8), JMP_K(BPF_JEQ, R2, 7, 0), CPU, FILL(R1, -8),
			RETURN(0) } },
	{ "a jump to the fill", "stack depth 0\n",
		{ MOV_X(R6, R1), HELPER(BPF_FUNC_get_prandom_u32), MOV_X(R7, R0), MOV_X(R1, R6),
			JMP_K(BPF_JEQ, R7, 7, 2), SPILL(R1, -8), CPU, FILL(R1, -8), RETURN(0) } },
	{ "a jump to the spill", "stack depth 0\n",
		{ MOV_X(R6, R1), HELPER(BPF_FUNC_get_prandom_u32), MOV_X(R7, R0), MOV_X(R1, R6),
			JMP_K(BPF_JEQ, R7, 7, 1), MOV_K(R7, 1), SPILL(R1, -8), CPU, FILL(R1, -8),
			RETURN(0) } },
	{ "a function's own", "stack depth 0+8\n",
		{ SPILL(R1, -8), CPU, FILL(R1, -8), LOCAL_CALL(2), RETURN(0), SPILL(R1, -8), CPU,
			FILL(R1, -8), FILL(R2, -8), RETURN(0) } },
	{ "512 bytes below a caller's spill", "stack depth 0+512\n",
		{ SPILL(R1, -8), CPU, FILL(R1, -8), LOCAL_CALL(2), RETURN(0),
			ST(BPF_B, R10, -512, 1), RETURN(0) } },
	{ "512 bytes below a caller's slot", NULL,
		{ SPILL(R1, -8), CPU, FILL(R1, -8), FILL(R2, -8), LOCAL_CALL(2), RETURN(0),
			ST(BPF_B, R10, -512, 1), RETURN(0) } },
};

TEST(fastcall, stack_that_counts)
{
	static char text[BOTH_LOG_BYTES];

	for (unsigned i = 0; i < sl_array_size(depths); i++) {
		struct row row = { .name = depths[i].name };
		int err, kernel_err;

		memcpy(row.insns, depths[i].insns, sizeof(depths[i].insns));
		TRACE_PUSH("%s", depths[i].name);
		err = both_ours(
			XDP, row.insns, row_length(&row), 4, true, text, sizeof(text), NULL);
		EXPECT_EQ(err, depths[i].depth ? 0 : -EACCES);
		EXPECT_CONTAINS(text, depths[i].depth ? depths[i].depth
						      : "combined stack size of 2 calls is 528");
		if (oracle_permitted()) {
			kernel_err = both_kernel(
				XDP, row.insns, row_length(&row), 4, true, text, sizeof(text));
			EXPECT_EQ(err, kernel_err);
			EXPECT_CONTAINS(text, depths[i].depth
						      ? depths[i].depth
						      : "combined stack size of 2 calls is 528");
		}
		TRACE_POP();
	}
}
