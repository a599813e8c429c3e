#include "verifier.h"

#include "rows.h"

/*
 * Programs that are safe and programs that are not, one for each way of not being it. Every row is
 * loaded into the kernel too: the verdicts, and the reasons, have to be the same.
 */

TEST(verifier, loop_too_long)
{
	static char text[BOTH_LOG_BYTES];
	struct bpf_insn insns[] = { MOV_K(R0, 0), ALU_K(BPF_ADD, R0, 1),
		JMP_K(BPF_JLT, R0, 2000000, -2), EXIT };

	EXPECT_EQ(both_ours(XDP, insns, 4, 4, true, text, sizeof(text), NULL), -E2BIG);
	EXPECT_CONTAINS(text, "BPF program is too large. Processed 1000001 insn");
}

TEST(verifier, too_many_branches)
{
	static char text[BOTH_LOG_BYTES];
	static struct bpf_insn insns[8202];
	const unsigned branches = 8198;

	insns[0] = HELPER(BPF_FUNC_get_prandom_u32);
	for (unsigned i = 1; i <= branches; i++)
		insns[i] = JMP_K(BPF_JEQ, R0, (int)i, (int)(branches - i));
	insns[branches + 1] = MOV_K(R0, 0);
	insns[branches + 2] = EXIT;
	EXPECT_EQ(both_ours(XDP, insns, branches + 3, 1, true, text, sizeof(text), NULL), -EFAULT);
	EXPECT_CONTAINS(text, "The sequence of 8193 jumps is too complex.");
	if (!oracle_permitted())
		return;
	EXPECT_EQ(both_kernel(XDP, insns, branches + 3, 1, true, text, sizeof(text)), -EFAULT);
	EXPECT_CONTAINS(text, "The sequence of 8193 jumps is too complex.");
}

static const struct row basics[] = {
	{ "return a number", XDP, ACCEPT, { RETURN(2) } },
	{ "uninitialised r0", XDP, "R0 !read_ok", { EXIT } },
	{ "uninitialised operand", XDP, "R3 !read_ok",
		{ MOV_K(R0, 1), ALU_X(BPF_ADD, R0, R3), EXIT } },
	{ "write to r10", XDP, "frame pointer is read only", { MOV_K(R10, 1), RETURN(0) } },
	{ "division by zero", XDP, "div by zero", { MOV_K(R0, 1), ALU_K(BPF_DIV, R0, 0), EXIT } },
	{ "division by an unknown", XDP, ACCEPT,
		{ MOV_X(R6, R1), HELPER(BPF_FUNC_get_prandom_u32), MOV_K(R1, 7),
			ALU_X(BPF_DIV, R1, R0), RETURN(0) } },
	{ "shift too far", XDP, "invalid shift 64",
		{ MOV_K(R0, 1), ALU_K(BPF_LSH, R0, 64), EXIT } },
	{ "endless loop", XDP, "infinite loop detected", { MOV_K(R0, 0), JA(-2) } },
	{ "endless loop without change", XDP, "infinite loop detected",
		{ MOV_K(R0, 0), MOV_K(R2, 1), JMP_K(BPF_JNE, R0, 1, -3 + 1), EXIT } },
	{ "counted loop", XDP, ACCEPT,
		{ MOV_K(R0, 0), ALU_K(BPF_ADD, R0, 1), JMP_K(BPF_JLT, R0, 100, -2), EXIT } },
	{ "counted loop with 32-bit counter", XDP, ACCEPT,
		{ MOV_K(R0, 0), ALU32_K(BPF_ADD, R0, 1), JMP32_K(BPF_JLT, R0, 50, -2), EXIT } },
	{ "pointer returned", XDP, ACCEPT, { MOV_X(R0, R1), EXIT } },
	{ "dead branch is not checked", XDP, ACCEPT,
		{ MOV_K(R0, 0), JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_W, R0, R9, 0), EXIT } },
	{ "pointer arithmetic with and", XDP, "bitwise operator &= on pointer prohibited",
		{ ALU_K(BPF_AND, R1, 7), RETURN(0) } },
	{ "pointer times number", XDP, "pointer arithmetic with *= operator prohibited",
		{ ALU_K(BPF_MUL, R1, 7), RETURN(0) } },
	{ "32-bit pointer arithmetic", XDP, "32-bit pointer arithmetic prohibited",
		{ ALU32_K(BPF_ADD, R1, 7), RETURN(0) } },
	{ "pointer plus pointer", XDP, "R1 pointer += pointer prohibited",
		{ ALU_X(BPF_ADD, R1, R10), RETURN(0) } },
	{ "pointer minus pointer", XDP, ACCEPT, { ALU_X(BPF_SUB, R1, R10), RETURN(0) } },
	{ "scalar minus pointer", XDP, "tried to subtract pointer from scalar",
		{ MOV_K(R0, 1), ALU_X(BPF_SUB, R0, R1), EXIT } },
	{ "frame pointer minus number", XDP, "subtraction from stack pointer prohibited",
		{ MOV_X(R2, R10), ALU_K(BPF_SUB, R2, 8), RETURN(0) } },
	{ "packet end plus number", XDP, "pointer arithmetic on pkt_end prohibited",
		{ XDP_DATA, ALU_K(BPF_ADD, R3, 1), RETURN(0) } },
	{ "huge offset", XDP, "math between fp pointer and 1073741823 is not allowed",
		{ MOV_X(R2, R10), ALU_K(BPF_ADD, R2, 0x3fffffff), RETURN(0) } },
	{ "load through a number", XDP, "R2 invalid mem access 'scalar'",
		{ MOV_K(R2, 5), LDX(BPF_W, R0, R2, 0), EXIT } },
	{ "sign extended move", XDP, ACCEPT,
		{ HELPER(BPF_FUNC_get_prandom_u32), INSN(BPF_ALU64 | BPF_MOV | BPF_X, R1, R0, 8, 0),
			RETURN(0) } },
	{ "comparison of nothing, and with a register too many", XDP, "R0 !read_ok",
		{ INSN(BPF_JMP | BPF_JEQ | BPF_K, R0, R1, 0, 0), RETURN(0) } },
	{ "comparison with a register too many", XDP, "BPF_JMP/JMP32 uses reserved fields",
		{ INSN(BPF_JMP | BPF_JEQ | BPF_K, R1, R1, 0, 0), RETURN(0) } },
};

static const struct row stack_rows[] = {
	{ "store and load", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 5), LDX(BPF_DW, R0, R10, -8), EXIT } },
	{ "above the frame", XDP, "invalid write to stack R10 off=0 size=8",
		{ ST(BPF_DW, R10, 0, 5), RETURN(0) } },
	{ "below the frame", XDP, "invalid write to stack R10 off=-520 size=8",
		{ ST(BPF_DW, R10, -520, 5), RETURN(0) } },
	{ "load below the frame", XDP, "invalid read from stack R10 off=-516 size=4",
		{ LDX(BPF_W, R0, R10, -516), EXIT } },
	{ "misaligned", XDP, "misaligned stack access", { ST(BPF_DW, R10, -12, 5), RETURN(0) } },
	{ "never written", XDP, ACCEPT, { LDX(BPF_DW, R0, R10, -8), EXIT } },
	{ "spill and fill of the context", XDP, ACCEPT,
		{ STX(BPF_DW, R10, R1, -8), LDX(BPF_DW, R2, R10, -8), LDX(BPF_W, R0, R2, 0),
			RETURN(0) } },
	{ "half a pointer spilled", XDP, "invalid size of register spill",
		{ STX(BPF_W, R10, R1, -8), RETURN(0) } },
	{ "half a pointer filled", XDP, "invalid size of register fill",
		{ STX(BPF_DW, R10, R1, -8), LDX(BPF_W, R0, R10, -8), EXIT } },
	{ "pointer overwritten in part", XDP, "R2 invalid mem access 'scalar'",
		{ STX(BPF_DW, R10, R1, -8), ST(BPF_B, R10, -5, 1), LDX(BPF_DW, R2, R10, -8),
			LDX(BPF_W, R0, R2, 0), EXIT } },
	{ "variable offset load", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), ST(BPF_DW, R10, -16, 0), LDX(BPF_W, R2, R1, 16),
			ALU_K(BPF_AND, R2, 8), MOV_X(R3, R10), ALU_X(BPF_ADD, R3, R2),
			LDX(BPF_DW, R0, R3, -16), EXIT } },
	{ "variable offset unbounded", XDP, "invalid unbounded variable-offset read from stack R3",
		{ LDX(BPF_W, R2, R1, 16), MOV_X(R3, R10), ALU_X(BPF_ADD, R3, R2),
			LDX(BPF_B, R0, R3, -16), EXIT } },
	{ "variable offset too far", XDP, "invalid variable-offset read from stack R3",
		{ LDX(BPF_W, R2, R1, 16), ALU_K(BPF_AND, R2, 0xff), MOV_X(R3, R10),
			ALU_X(BPF_ADD, R3, R2), LDX(BPF_B, R0, R3, -16), EXIT } },
	{ "variable offset store", XDP, ACCEPT,
		{ LDX(BPF_W, R2, R1, 16), ALU_K(BPF_AND, R2, 8), MOV_X(R3, R10),
			ALU_X(BPF_ADD, R3, R2), STX(BPF_DW, R3, R2, -16), LDX(BPF_DW, R0, R10, -16),
			EXIT } },
	{ "variable store destroys a spill", XDP, "R2 invalid mem access 'scalar'",
		{ STX(BPF_DW, R10, R1, -8), LDX(BPF_W, R2, R1, 16), ALU_K(BPF_AND, R2, 8),
			MOV_X(R3, R10), ALU_X(BPF_ADD, R3, R2), STX(BPF_DW, R3, R2, -16),
			LDX(BPF_DW, R2, R10, -8), LDX(BPF_W, R0, R2, 0), EXIT } },
	{ "atomic add on the stack", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 1), MOV_K(R2, 2), ATOMIC(BPF_DW, BPF_ADD, R10, R2, -8),
			LDX(BPF_DW, R0, R10, -8), EXIT } },
	{ "misaligned atomic", XDP, "misaligned stack access",
		{ ST(BPF_DW, R10, -8, 1), MOV_K(R2, 2), ATOMIC(BPF_DW, BPF_ADD, R10, R2, -12),
			RETURN(0) } },
	{ "atomic fetch of a known number", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 1), MOV_K(R2, 2),
			ATOMIC(BPF_DW, BPF_ADD | BPF_FETCH, R10, R2, -8), MOV_X(R3, R10),
			ALU_X(BPF_ADD, R3, R2), LDX(BPF_B, R0, R3, -8), EXIT } },
	{ "compare and exchange", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 1), MOV_K(R0, 1), MOV_K(R2, 2),
			ATOMIC(BPF_DW, BPF_CMPXCHG, R10, R2, -8), EXIT } },
};

static const struct row context_rows[] = {
	{ "xdp data", XDP, ACCEPT, { XDP_DATA, RETURN(0) } },
	{ "xdp past the end", XDP, "invalid bpf_context access off=24 size=4",
		{ LDX(BPF_W, R0, R1, 24), EXIT } },
	{ "xdp eight bytes", XDP, "invalid bpf_context access off=0 size=8",
		{ LDX(BPF_DW, R0, R1, 0), EXIT } },
	{ "xdp write", XDP, "invalid bpf_context access off=0 size=4",
		{ MOV_K(R2, 1), STX(BPF_W, R1, R2, 0), RETURN(0) } },
	{ "xdp between fields", XDP, "invalid bpf_context access off=2 size=4",
		{ LDX(BPF_W, R0, R1, 2), EXIT } },
	{ "negative", XDP, "invalid bpf_context access off=-4 size=4",
		{ LDX(BPF_W, R0, R1, -4), EXIT } },
	{ "moved context", XDP, "dereference of modified ctx ptr R1 off=4 disallowed",
		{ ALU_K(BPF_ADD, R1, 4), LDX(BPF_W, R0, R1, 0), EXIT } },
	{ "variable context", XDP, "variable ctx access var_off=",
		{ LDX(BPF_W, R2, R1, 16), ALU_K(BPF_AND, R2, 4), ALU_X(BPF_ADD, R1, R2),
			LDX(BPF_W, R0, R1, 0), EXIT } },
	{ "skb mark", CLS, ACCEPT, { LDX(BPF_W, R0, R1, 8), STX(BPF_W, R1, R0, 8), RETURN(0) } },
	{ "skb mark narrow", CLS, ACCEPT, { LDX(BPF_B, R0, R1, 9), EXIT } },
	{ "skb cb", CLS, ACCEPT, { ST(BPF_W, R1, 48, 7), LDX(BPF_DW, R0, R1, 48), EXIT } },
	{ "skb len is read only", CLS, "invalid bpf_context access off=0 size=4",
		{ ST(BPF_W, R1, 0, 7), RETURN(0) } },
	{ "socket filter has no data", SOCK, "invalid bpf_context access off=76 size=4",
		{ LDX(BPF_W, R0, R1, 76), EXIT } },
	{ "socket filter may not write mark", SOCK, "invalid bpf_context access off=8 size=4",
		{ ST(BPF_W, R1, 8, 7), RETURN(0) } },
	{ "context and stack in one load", XDP, "same insn cannot be used with different pointers",
		{ MOV_X(R6, R1), ST(BPF_DW, R10, -8, 0), LDX(BPF_W, R2, R1, 16),
			JMP_K(BPF_JEQ, R2, 0, 2), MOV_X(R6, R10), ALU_K(BPF_ADD, R6, -8),
			LDX(BPF_W, R0, R6, 0), RETURN(0) } },
	{ "atomic on the context", CLS, "BPF_ATOMIC stores into R1 ctx is not allowed",
		{ MOV_K(R2, 1), ATOMIC(BPF_W, BPF_ADD, R1, R2, 8), RETURN(0) } },
};

static const struct row packet_rows[] = {
	{ "checked", XDP, ACCEPT,
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGT, R4, R3, 1),
			LDX(BPF_H, R0, R2, 12), RETURN(0) } },
	{ "unchecked", XDP, "invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)",
		{ XDP_DATA, LDX(BPF_B, R0, R2, 0), EXIT } },
	{ "one byte too many", XDP, "invalid access to packet, off=13 size=2, R2(id=0,off=13,r=14)",
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGT, R4, R3, 1),
			LDX(BPF_H, R0, R2, 13), RETURN(0) } },
	{ "wrong branch", XDP, "R2 offset is outside of the packet",
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JLT, R4, R3, 1),
			LDX(BPF_B, R0, R2, 0), RETURN(0) } },
	{ "end compared first", XDP, ACCEPT,
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JLT, R3, R4, 1),
			LDX(BPF_H, R0, R2, 12), RETURN(0) } },
	{ "greater or equal gives one more", XDP, ACCEPT,
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGE, R4, R3, 1),
			LDX(BPF_B, R0, R2, 14), RETURN(0) } },
	{ "less or equal", XDP, ACCEPT,
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JLE, R4, R3, 1), JA(1),
			LDX(BPF_B, R0, R2, 13), RETURN(0) } },
	{ "write", XDP, ACCEPT,
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGT, R4, R3, 1),
			ST(BPF_B, R2, 0, 1), RETURN(0) } },
	{ "before the packet", XDP, "invalid access to packet, off=-1 size=1",
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGT, R4, R3, 1),
			LDX(BPF_B, R0, R2, -1), RETURN(0) } },
	{ "end dereferenced", XDP, "R3 invalid mem access 'pkt_end'",
		{ XDP_DATA, LDX(BPF_B, R0, R3, 0), EXIT } },
	{ "variable offset", XDP, ACCEPT,
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGT, R4, R3, 7),
			LDX(BPF_B, R5, R2, 0), ALU_K(BPF_AND, R5, 15), ALU_X(BPF_ADD, R2, R5),
			MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 4), JMP_X(BPF_JGT, R4, R3, 1),
			LDX(BPF_W, R0, R2, 0), RETURN(0) } },
	{ "variable offset keeps no range", XDP,
		"invalid access to packet, off=0 size=1, R2(id=1,off=0,r=0)",
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGT, R4, R3, 4),
			LDX(BPF_B, R5, R2, 0), ALU_K(BPF_AND, R5, 15), ALU_X(BPF_ADD, R2, R5),
			LDX(BPF_B, R0, R2, 0), RETURN(0) } },
	{ "offset without a bound", XDP, "R2 offset is outside of the packet",
		{ MOV_X(R6, R1), LDX(BPF_W, R5, R1, 16), XDP_DATA, ALU_X(BPF_ADD, R2, R5),
			MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 4), JMP_X(BPF_JGT, R4, R3, 1),
			LDX(BPF_W, R0, R2, 0), RETURN(0) } },
	{ "pointer after adjust_head", XDP, "R2 invalid mem access 'scalar'",
		{ MOV_X(R6, R1), LDX(BPF_W, R7, R1, 0), LDX(BPF_W, R8, R1, 4), MOV_X(R4, R7),
			ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGT, R4, R8, 4), MOV_K(R2, 0),
			HELPER(BPF_FUNC_xdp_adjust_head), MOV_X(R2, R7), LDX(BPF_B, R0, R2, 0),
			RETURN(0) } },
	{ "meta before data", XDP, ACCEPT,
		{ LDX(BPF_W, R2, R1, 8), LDX(BPF_W, R3, R1, 0), MOV_X(R4, R2),
			ALU_K(BPF_ADD, R4, 4), JMP_X(BPF_JGT, R4, R3, 1), LDX(BPF_W, R0, R2, 0),
			RETURN(0) } },
	{ "meta checked with the end", XDP, "R2 offset is outside of the packet",
		{ LDX(BPF_W, R2, R1, 8), LDX(BPF_W, R3, R1, 4), MOV_X(R4, R2),
			ALU_K(BPF_ADD, R4, 4), JMP_X(BPF_JGT, R4, R3, 1), LDX(BPF_W, R0, R2, 0),
			RETURN(0) } },
	{ "range through a spill", XDP, ACCEPT,
		{ XDP_DATA, STX(BPF_DW, R10, R2, -8), MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14),
			JMP_X(BPF_JGT, R4, R3, 2), LDX(BPF_DW, R5, R10, -8), LDX(BPF_H, R0, R5, 12),
			RETURN(0) } },
	{ "skb data", CLS, ACCEPT,
		{ LDX(BPF_W, R2, R1, 76), LDX(BPF_W, R3, R1, 80), MOV_X(R4, R2),
			ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGT, R4, R3, 1), LDX(BPF_H, R0, R2, 12),
			RETURN(0) } },
	{ "known to be beyond the end", XDP, ACCEPT,
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JLE, R4, R3, 2),
			JMP_X(BPF_JGT, R4, R3, 1), LDX(BPF_W, R0, R9, 0), RETURN(0) } },
	{ "ld_abs", SOCK, ACCEPT, { MOV_X(R6, R1), LD_ABS(BPF_H, 12), EXIT } },
	{ "ld_abs clobbers", SOCK, "R1 !read_ok",
		{ MOV_X(R6, R1), LD_ABS(BPF_H, 12), MOV_X(R0, R1), EXIT } },
	{ "ld_abs without context", SOCK, "at the time of BPF_LD_ABS|IND R6 != pointer to skb",
		{ MOV_K(R6, 0), LD_ABS(BPF_H, 12), EXIT } },
	{ "ld_abs in xdp", XDP, "BPF_LD_[ABS|IND] instructions not allowed for this program type",
		{ MOV_X(R6, R1), LD_ABS(BPF_H, 12), EXIT } },
	{ "ld_ind", SOCK, ACCEPT, { MOV_X(R6, R1), MOV_K(R7, 3), LD_IND(BPF_B, R7, 12), EXIT } },
};

static const struct row map_rows[] = {
	{ "checked value", XDP, ACCEPT,
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_DW, R0, R0, 40), EXIT } },
	{ "unchecked value", XDP, "R0 invalid mem access 'map_value_or_null'",
		{ LOOKUP_ANY(M_ARRAY), LDX(BPF_DW, R0, R0, 40), EXIT } },
	{ "checked the wrong way", XDP, "R0 invalid mem access 'scalar'",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JNE, R0, 0, 1), LDX(BPF_DW, R0, R0, 40), EXIT } },
	{ "known index needs no check", XDP, ACCEPT,
		{ ST(BPF_W, R10, -8, 1), LD_MAP(R1, M_ARRAY), MOV_X(R2, R10),
			ALU_K(BPF_ADD, R2, -8), HELPER(BPF_FUNC_map_lookup_elem),
			LDX(BPF_DW, R0, R0, 40), EXIT } },
	{ "known index in a wider spill does", XDP, "R0 invalid mem access 'map_value_or_null'",
		{ ST(BPF_DW, R10, -8, 1), LD_MAP(R1, M_ARRAY), MOV_X(R2, R10),
			ALU_K(BPF_ADD, R2, -8), HELPER(BPF_FUNC_map_lookup_elem),
			LDX(BPF_DW, R0, R0, 40), EXIT } },
	{ "index past the end", XDP, "R0 invalid mem access 'map_value_or_null'",
		{ ST(BPF_W, R10, -4, 4), LD_MAP(R1, M_ARRAY), MOV_X(R2, R10),
			ALU_K(BPF_ADD, R2, -4), HELPER(BPF_FUNC_map_lookup_elem),
			LDX(BPF_DW, R0, R0, 40), EXIT } },
	{ "known key of a hash does", XDP, "R0 invalid mem access 'map_value_or_null'",
		{ LOOKUP(M_HASH), LDX(BPF_DW, R0, R0, 0), EXIT } },
	{ "past the value", XDP, "invalid access to map value, value_size=48 off=44 size=8",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_DW, R0, R0, 44), EXIT } },
	{ "before the value", XDP, "R0 min value is outside of the allowed memory range",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_B, R0, R0, -1), EXIT } },
	{ "copy of a checked value", XDP, ACCEPT,
		{ LOOKUP_ANY(M_ARRAY), MOV_X(R7, R0), JMP_K(BPF_JEQ, R0, 0, 1),
			LDX(BPF_DW, R0, R7, 0), EXIT } },
	{ "arithmetic before the check", XDP, "pointer arithmetic on map_value_or_null prohibited",
		{ LOOKUP_ANY(M_ARRAY), ALU_K(BPF_ADD, R0, 4), RETURN(0) } },
	{ "bounded index into the value", XDP, ACCEPT,
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 4), LDX(BPF_B, R1, R0, 0),
			JMP_K(BPF_JGT, R1, 40, 2), ALU_X(BPF_ADD, R0, R1), LDX(BPF_DW, R0, R0, 0),
			RETURN(0) } },
	{ "index without a bound", XDP, "R0 max value is outside of the allowed memory range",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 3), LDX(BPF_B, R1, R0, 0),
			ALU_X(BPF_ADD, R0, R1), LDX(BPF_DW, R0, R0, 0), RETURN(0) } },
	{ "index of 64 bits", XDP, "R0 unbounded memory access",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 3), LDX(BPF_W, R1, R0, 0),
			ALU_X(BPF_ADD, R0, R1), LDX(BPF_DW, R0, R0, 0), RETURN(0) } },
	{ "signed index", XDP, "register with unbounded min value is not allowed",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 4), LDX(BPF_DW, R1, R0, 0),
			JMP_K(BPF_JSGT, R1, 40, 2), ALU_X(BPF_ADD, R0, R1), LDX(BPF_B, R0, R0, 0),
			RETURN(0) } },
	{ "atomic counter", XDP, ACCEPT,
		{ LOOKUP_ANY(M_HASH), JMP_K(BPF_JEQ, R0, 0, 2), MOV_K(R1, 1),
			ATOMIC(BPF_DW, BPF_ADD, R0, R1, 0), RETURN(0) } },
	{ "key not on the stack", XDP,
		"R2 type=scalar expected=fp, pkt, pkt_meta, map_key, map_value",
		{ LD_MAP(R1, M_ARRAY), MOV_K(R2, 0), HELPER(BPF_FUNC_map_lookup_elem),
			RETURN(0) } },
	{ "key too deep", XDP, "invalid read from stack R2 off=-4 size=8",
		{ ST(BPF_W, R10, -4, 0), LD_MAP(R1, M_HASH), MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -4),
			HELPER(BPF_FUNC_map_lookup_elem), RETURN(0) } },
	{ "context for a map", XDP, "R1 type=ctx expected=map_ptr",
		{ MOV_X(R2, R10), HELPER(BPF_FUNC_map_lookup_elem), RETURN(0) } },
	{ "lookup in a prog array", XDP, "cannot pass map_type 3 into func bpf_map_lookup_elem#1",
		{ LOOKUP(M_PROGS), RETURN(0) } },
	{ "lookup in a perf array", XDP, "cannot pass map_type 4 into func bpf_map_lookup_elem#1",
		{ LOOKUP(M_PERF), RETURN(0) } },
	{ "update", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), ST(BPF_DW, R10, -16, 1), ST(BPF_DW, R10, -24, 1),
			LD_MAP(R1, M_HASH), MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -8), MOV_X(R3, R10),
			ALU_K(BPF_ADD, R3, -24), MOV_K(R4, 0), HELPER(BPF_FUNC_map_update_elem),
			EXIT } },
	{ "update with packet bytes", XDP, ACCEPT,
		{ XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 24), JMP_X(BPF_JGT, R4, R3, 6),
			MOV_X(R3, R2), ALU_K(BPF_ADD, R3, 8), LD_MAP(R1, M_HASH), MOV_K(R4, 0),
			HELPER(BPF_FUNC_map_update_elem), RETURN(0) } },
	{ "delete", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), LD_MAP(R1, M_HASH), MOV_X(R2, R10),
			ALU_K(BPF_ADD, R2, -8), HELPER(BPF_FUNC_map_delete_elem), RETURN(0) } },
	{ "direct value", XDP, ACCEPT, { LD_VALUE(R1, M_DATA, 8), LDX(BPF_DW, R0, R1, 48), EXIT } },
	{ "direct value too far", XDP, "invalid access to map value, value_size=64 off=64 size=8",
		{ LD_VALUE(R1, M_DATA, 8), LDX(BPF_DW, R0, R1, 56), EXIT } },
	{ "direct value offset past the end", XDP,
		"invalid access to map value pointer, value_size=64 off=64",
		{ LD_VALUE(R1, M_DATA, 64), RETURN(0) } },
	{ "direct value of a hash", XDP, "no direct value access support for this map type",
		{ LD_VALUE(R1, M_HASH, 0), RETURN(0) } },
	{ "constants decide branches", XDP, ACCEPT,
		{ LD_VALUE(R1, M_CONST, 0), LDX(BPF_B, R2, R1, 3), JMP_K(BPF_JEQ, R2, 3, 1),
			LDX(BPF_B, R0, R9, 0), RETURN(0) } },
	{ "what is not frozen does not", XDP, "R9 !read_ok",
		{ LD_VALUE(R1, M_RDONLY, 0), LDX(BPF_B, R2, R1, 3), JMP_K(BPF_JEQ, R2, 3, 1),
			LDX(BPF_B, R0, R9, 0), RETURN(0) } },
	{ "write to constants", XDP, "write into map forbidden, value_size=16 off=0 size=1",
		{ LD_VALUE(R1, M_CONST, 0), ST(BPF_B, R1, 0, 1), RETURN(0) } },
};

static const struct row call_rows[] = {
	{ "unknown helper", XDP, "invalid func unknown#100000", { HELPER(100000), EXIT } },
	{ "helper of another type", XDP,
		"program of this type cannot use helper bpf_skb_store_bytes#9",
		{ HELPER(BPF_FUNC_skb_store_bytes), EXIT } },
	{ "arguments are gone after a call", XDP, "R1 !read_ok",
		{ HELPER(BPF_FUNC_get_prandom_u32), MOV_X(R0, R1), EXIT } },
	{ "saved registers stay", XDP, ACCEPT,
		{ MOV_X(R6, R1), HELPER(BPF_FUNC_get_prandom_u32), LDX(BPF_W, R0, R6, 16), EXIT } },
	{ "missing argument", CLS, "R2 !read_ok", { HELPER(BPF_FUNC_skb_pull_data), EXIT } },
	{ "context for nothing", CLS, "R1 type=fp expected=ctx",
		{ MOV_X(R1, R10), MOV_K(R2, 0), HELPER(BPF_FUNC_skb_pull_data), EXIT } },
	{ "gpl only", XDP, "cannot call GPL-restricted function from non-GPL compatible program",
		{ HELPER(BPF_FUNC_perf_event_output), EXIT }, .proprietary = true },
	{ "load bytes", CLS, ACCEPT,
		{ MOV_K(R2, 0), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -16), MOV_K(R4, 16),
			HELPER(BPF_FUNC_skb_load_bytes), LDX(BPF_DW, R0, R10, -8), EXIT } },
	{ "load bytes into too little", CLS, "invalid write to stack R3 off=-16 size=17",
		{ MOV_K(R2, 0), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -16), MOV_K(R4, 17),
			HELPER(BPF_FUNC_skb_load_bytes), RETURN(0) } },
	{ "zero size", CLS, "R4 invalid zero-sized read: u64=[0,0]",
		{ MOV_K(R2, 0), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -16), MOV_K(R4, 0),
			HELPER(BPF_FUNC_skb_load_bytes), RETURN(0) } },
	{ "negative size", CLS, "R4 min value is negative, either use unsigned or 'var &= const'",
		{ LDX(BPF_W, R4, R1, 8), ALU_K(BPF_LSH, R4, 32), ALU_K(BPF_ARSH, R4, 32),
			MOV_K(R2, 0), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -16),
			HELPER(BPF_FUNC_skb_load_bytes), RETURN(0) } },
	{ "bounded size", CLS, ACCEPT,
		{ LDX(BPF_W, R4, R1, 8), ALU_K(BPF_AND, R4, 7), ALU_K(BPF_ADD, R4, 1), MOV_K(R2, 0),
			MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -16), HELPER(BPF_FUNC_skb_load_bytes),
			RETURN(0) } },
	{ "size without a bound", CLS,
		"R4 unbounded memory access, use 'var &= const' or 'if (var < const)'",
		{ LDX(BPF_W, R4, R1, 8), ALU_K(BPF_ADD, R4, 1), MOV_K(R2, 0), MOV_X(R3, R10),
			ALU_K(BPF_ADD, R3, -16), HELPER(BPF_FUNC_skb_load_bytes), RETURN(0) } },
	{ "pointer for a size", CLS, "R4 type=fp expected=scalar",
		{ MOV_K(R2, 0), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -16), MOV_X(R4, R10),
			HELPER(BPF_FUNC_skb_load_bytes), RETURN(0) } },
	{ "helper overwrites a spill", CLS, "R1 invalid mem access 'scalar'",
		{ STX(BPF_DW, R10, R1, -8), MOV_K(R2, 0), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -8),
			MOV_K(R4, 4), HELPER(BPF_FUNC_skb_load_bytes), LDX(BPF_DW, R1, R10, -8),
			LDX(BPF_W, R0, R1, 0), EXIT } },
	{ "csum_diff with null", CLS, ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), MOV_K(R1, 0), MOV_K(R2, 0), MOV_X(R3, R10),
			ALU_K(BPF_ADD, R3, -8), MOV_K(R4, 8), MOV_K(R5, 0),
			HELPER(BPF_FUNC_csum_diff), EXIT } },
	{ "csum_diff null with a size", CLS, "R1 type=scalar expected=fp",
		{ ST(BPF_DW, R10, -8, 0), MOV_K(R1, 0), MOV_K(R2, 4), MOV_X(R3, R10),
			ALU_K(BPF_ADD, R3, -8), MOV_K(R4, 8), MOV_K(R5, 0),
			HELPER(BPF_FUNC_csum_diff), EXIT } },
	{ "tail call", XDP, ACCEPT,
		{ LD_MAP(R2, M_PROGS), MOV_K(R3, 1), HELPER(BPF_FUNC_tail_call), RETURN(0) } },
	{ "tail call with another map", CLS, "expected prog array map for tail call",
		{ LD_MAP(R2, M_ARRAY), MOV_K(R3, 1), HELPER(BPF_FUNC_tail_call), RETURN(0) } },
	{ "nothing after a tail call but saved registers", XDP, "R0 !read_ok",
		{ LD_MAP(R2, M_PROGS), MOV_K(R3, 1), HELPER(BPF_FUNC_tail_call), EXIT } },
	{ "local call", XDP, ACCEPT, { MOV_K(R1, 1), LOCAL_CALL(1), EXIT, MOV_X(R0, R1), EXIT } },
	{ "local call with a stack pointer", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 3), MOV_X(R1, R10), ALU_K(BPF_ADD, R1, -8), LOCAL_CALL(2),
			LDX(BPF_DW, R0, R10, -8), EXIT, ST(BPF_DW, R1, 0, 4), RETURN(0) } },
	{ "callee's stack returned", XDP, "cannot return stack pointer to the caller",
		{ LOCAL_CALL(1), EXIT, MOV_X(R0, R10), EXIT } },
	{ "callee's stack stored in the caller's", XDP,
		"cannot spill pointers to stack into stack frame of the caller",
		{ ST(BPF_DW, R10, -8, 3), MOV_X(R1, R10), ALU_K(BPF_ADD, R1, -8), LOCAL_CALL(1),
			EXIT, STX(BPF_DW, R1, R10, 0), RETURN(0) } },
	{ "callee reads what it was not given", XDP, "R6 !read_ok",
		{ MOV_K(R6, 1), LOCAL_CALL(1), EXIT, MOV_X(R0, R6), EXIT } },
	{ "callee with packet pointers", XDP, ACCEPT,
		{ XDP_DATA, MOV_X(R1, R2), MOV_X(R2, R3), LOCAL_CALL(1), EXIT, MOV_X(R4, R1),
			ALU_K(BPF_ADD, R4, 14), JMP_X(BPF_JGT, R4, R2, 1), LDX(BPF_H, R0, R1, 12),
			RETURN(0) } },
	{ "recursion", XDP, "the call stack of 9 frames is too deep",
		{ LOCAL_CALL(1), EXIT, LOCAL_CALL(-1), EXIT } },
	{ "frames too deep together", XDP, "combined stack size of 2 calls is",
		{ ST(BPF_DW, R10, -400, 0), LOCAL_CALL(1), EXIT, ST(BPF_DW, R10, -200, 0),
			RETURN(0) } },
	{ "the tail of a callee", XDP, ACCEPT,
		{ MOV_X(R6, R1), LOCAL_CALL(4), MOV_X(R1, R6), LOCAL_CALL(2), RETURN(2),
			LDX(BPF_W, R0, R1, 16), EXIT } },
	{ "perf event", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 3), LD_MAP(R2, M_PERF), MOV_K(R3, -1), MOV_X(R4, R10),
			ALU_K(BPF_ADD, R4, -8), MOV_K(R5, 8), HELPER(BPF_FUNC_perf_event_output),
			RETURN(0) } },
};

/* What lies behind a pointer, or in a slot, is not what it was. */
static const struct row stale_rows[] = {
	{ "packet after a tail call that falls through", XDP, ACCEPT,
		{ LDX(BPF_W, R6, R1, 0), LDX(BPF_W, R3, R1, 4), MOV_X(R2, R6),
			ALU_K(BPF_ADD, R2, 8), JMP_X(BPF_JGT, R2, R3, 5), LD_MAP(R2, M_PROGS),
			MOV_K(R3, 0), HELPER(BPF_FUNC_tail_call), LDX(BPF_B, R0, R6, 7),
			RETURN(0) } },
	{ "exchange through a spilled pointer into its register", XDP,
		"misaligned access off (0x0; 0xffffffffffffffff)+0+0 size 8",
		{ MOV_X(R6, R10), ALU_K(BPF_ADD, R6, -8), LD_VALUE(R7, M_DATA, 0),
			STX(BPF_DW, R10, R7, -8), ATOMIC(BPF_DW, BPF_XCHG, R6, R6, 0),
			LDX(BPF_DW, R1, R10, -8), ST(BPF_DW, R1, 56, 0), RETURN(0) } },
	{ "exchange with a spilled pointer", XDP, ACCEPT,
		{ MOV_X(R6, R10), ALU_K(BPF_ADD, R6, -8), LD_VALUE(R7, M_DATA, 0), MOV_K(R5, 0),
			STX(BPF_DW, R10, R7, -8), ATOMIC(BPF_DW, BPF_XCHG, R6, R5, 0),
			ST(BPF_DW, R5, 56, 0), RETURN(0) } },
	{ "exchange of a number into the address", XDP,
		"misaligned access off (0x0; 0xffffffffffffffff)+0+0 size 8",
		{ MOV_X(R6, R10), ALU_K(BPF_ADD, R6, -8), ST(BPF_DW, R10, -8, 1),
			ATOMIC(BPF_DW, BPF_XCHG, R6, R6, 0), RETURN(0) } },
};

static const struct {
	const char *name;
	enum bpf_prog_type type;
	bool zeroed;
	struct bpf_insn insns[16];
} frame_rows[] = {
	{ "load that may fail", XDP, true,
		{ MOV_K(R2, 0), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -8), MOV_K(R4, 8),
			HELPER(BPF_FUNC_xdp_load_bytes), LDX(BPF_DW, R0, R10, -8), EXIT } },
	{ "load over what was written", XDP, false,
		{ ST(BPF_DW, R10, -8, 0), MOV_K(R2, 0), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -8),
			MOV_K(R4, 8), HELPER(BPF_FUNC_xdp_load_bytes), LDX(BPF_DW, R0, R10, -8),
			EXIT } },
	{ "store at one of two places", XDP, true,
		{ HELPER(BPF_FUNC_get_prandom_u32), ALU_K(BPF_AND, R0, 8), MOV_X(R2, R10),
			ALU_K(BPF_ADD, R2, -16), ALU_X(BPF_ADD, R2, R0), ST(BPF_DW, R2, 0, 1),
			LDX(BPF_DW, R0, R10, -16), EXIT } },
	{ "store at one of two places over what was written", XDP, false,
		{ HELPER(BPF_FUNC_get_prandom_u32), ALU_K(BPF_AND, R0, 8), MOV_X(R2, R10),
			ALU_K(BPF_ADD, R2, -16), ALU_X(BPF_ADD, R2, R0), ST(BPF_DW, R10, -8, 0),
			ST(BPF_DW, R10, -16, 0), ST(BPF_DW, R2, 0, 1), LDX(BPF_DW, R0, R10, -16),
			EXIT } },
	{ "load that always fills", CLS, false,
		{ MOV_K(R2, 0), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -8), MOV_K(R4, 8),
			HELPER(BPF_FUNC_skb_load_bytes), LDX(BPF_DW, R0, R10, -8), EXIT } },
};

/* Programs whose safety hangs on what a comparison teaches, or on what pruning may not forget. */
static const struct row analysis_rows[] = {
	{ "copy learns with the original", XDP, ACCEPT,
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 5), LDX(BPF_DW, R1, R0, 0),
			MOV_X(R2, R1), JMP_K(BPF_JGT, R2, 40, 2), ALU_X(BPF_ADD, R0, R1),
			LDX(BPF_DW, R0, R0, 0), RETURN(0) } },
	{ "copy plus a constant", XDP, ACCEPT,
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 6), LDX(BPF_W, R1, R0, 0),
			MOV_X(R2, R1), ALU_K(BPF_ADD, R2, 8), JMP_K(BPF_JGT, R1, 32, 2),
			ALU_X(BPF_ADD, R0, R2), LDX(BPF_DW, R0, R0, 0), RETURN(0) } },
	{ "spilled copy", XDP, ACCEPT,
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 6), LDX(BPF_DW, R1, R0, 0),
			STX(BPF_DW, R10, R1, -16), JMP_K(BPF_JGT, R1, 40, 3),
			LDX(BPF_DW, R2, R10, -16), ALU_X(BPF_ADD, R0, R2), LDX(BPF_DW, R0, R0, 0),
			RETURN(0) } },
	{ "pruning keeps the larger index", XDP, "is outside of the allowed memory range",
		/* one way the index is 8, the other 48: the second must be followed */
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 12), LDX(BPF_W, R1, R0, 0),
			MOV_K(R2, 8), JMP_K(BPF_JEQ, R1, 0, 1), MOV_K(R2, 48), MOV_K(R3, 0),
			MOV_K(R4, 0), MOV_K(R5, 0), JMP_K(BPF_JEQ, R1, 5, 1), MOV_K(R3, 1),
			ALU_X(BPF_ADD, R0, R2), LDX(BPF_B, R0, R0, 0), RETURN(0) } },
	{ "pruning keeps a spilled index", XDP, "is outside of the allowed memory range",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 13), LDX(BPF_W, R1, R0, 0),
			MOV_K(R2, 8), JMP_K(BPF_JEQ, R1, 0, 1), MOV_K(R2, 48),
			STX(BPF_DW, R10, R2, -16), MOV_K(R4, 0), MOV_K(R5, 0),
			JMP_K(BPF_JEQ, R1, 5, 1), MOV_K(R3, 1), LDX(BPF_DW, R2, R10, -16),
			ALU_X(BPF_ADD, R0, R2), LDX(BPF_B, R0, R0, 0), RETURN(0) } },
	{ "pruning keeps a pointer's kind", XDP, "R6 invalid mem access 'scalar'",
		{ MOV_X(R7, R1), MOV_X(R6, R10), LDX(BPF_W, R2, R1, 16), ST(BPF_DW, R10, -8, 0),
			JMP_K(BPF_JEQ, R2, 0, 1), MOV_K(R6, 5), MOV_K(R3, 0), MOV_K(R4, 0),
			MOV_K(R5, 0), JMP_K(BPF_JEQ, R2, 7, 1), MOV_K(R5, 1), MOV_K(R5, 2),
			LDX(BPF_DW, R0, R6, -8), RETURN(0) } },
	{ "argument of a callee is precise in the caller", XDP,
		"is outside of the allowed memory range",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 9), MOV_X(R6, R0),
			LDX(BPF_W, R1, R0, 0), MOV_K(R2, 8), JMP_K(BPF_JEQ, R1, 0, 1),
			MOV_K(R2, 48), MOV_X(R1, R6), LOCAL_CALL(4), RETURN(0), RETURN(0),
			MOV_X(R0, R1), JMP_K(BPF_JEQ, R2, 3, 1), MOV_K(R4, 1), MOV_K(R4, 2),
			ALU_X(BPF_ADD, R0, R2), LDX(BPF_B, R0, R0, 0), RETURN(0) } },
	{ "loop over the packet", XDP, ACCEPT,
		{ XDP_DATA, MOV_K(R5, 0), MOV_K(R0, 0), MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 1),
			JMP_X(BPF_JGT, R4, R3, 5), LDX(BPF_B, R1, R2, 0), ALU_X(BPF_ADD, R0, R1),
			MOV_X(R2, R4), ALU_K(BPF_ADD, R5, 1), JMP_K(BPF_JLT, R5, 40, -8), EXIT } },
	{ "copy minus a constant", XDP, ACCEPT,
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 7), LDX(BPF_W, R1, R0, 0),
			MOV_X(R2, R1), ALU_K(BPF_SUB, R2, 8), JMP_K(BPF_JGT, R1, 48, 3),
			JMP_K(BPF_JLT, R1, 8, 2), ALU_X(BPF_ADD, R0, R2), LDX(BPF_DW, R0, R0, 0),
			RETURN(0) } },
	{ "copy plus a constant in 32 bits", XDP, ACCEPT,
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 6), LDX(BPF_W, R1, R0, 0),
			MOV_X(R2, R1), ALU32_K(BPF_ADD, R2, 8), JMP_K(BPF_JGT, R1, 32, 2),
			ALU_X(BPF_ADD, R0, R2), LDX(BPF_DW, R0, R0, 0), RETURN(0) } },
	{ "a 64-bit copy plus a constant in 32 bits", XDP, "R0 unbounded memory access",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 7), LDX(BPF_DW, R1, R0, 0),
			MOV_X(R2, R1), ALU32_K(BPF_ADD, R2, 8), JMP_K(BPF_JGT, R2, 32, 3),
			ALU_K(BPF_RSH, R1, 1), ALU_X(BPF_ADD, R0, R1), LDX(BPF_B, R0, R0, 0),
			RETURN(0) } },
	{ "low half compared", XDP, ACCEPT,
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 4), LDX(BPF_W, R1, R0, 0),
			JMP32_K(BPF_JGT, R1, 40, 2), ALU_X(BPF_ADD, R0, R1), LDX(BPF_DW, R0, R0, 0),
			RETURN(0) } },
	{ "sign-extending load", XDP, "R0 min value is negative",
		{ LOOKUP_ANY(M_ARRAY), JMP_K(BPF_JEQ, R0, 0, 4), LDSX(BPF_B, R1, R0, 0),
			JMP_K(BPF_JSGT, R1, 40, 2), ALU_X(BPF_ADD, R0, R1), LDX(BPF_DW, R0, R0, 0),
			RETURN(0) } },
};

TEST(verifier, basics)
{
	check_rows(basics, sl_array_size(basics));
}

TEST(verifier, stack)
{
	check_rows(stack_rows, sl_array_size(stack_rows));
}

TEST(verifier, context)
{
	check_rows(context_rows, sl_array_size(context_rows));
}

TEST(verifier, packet)
{
	check_rows(packet_rows, sl_array_size(packet_rows));
}

TEST(verifier, maps)
{
	check_rows(map_rows, sl_array_size(map_rows));
}

TEST(verifier, calls)
{
	check_rows(call_rows, sl_array_size(call_rows));
}

TEST(verifier, stale)
{
	check_rows(stale_rows, sl_array_size(stale_rows));
}

/* A frame that is read where a helper may have left it as it was must not show the worker's stack. */
TEST(verifier, frames_to_zero)
{
	static char text[BOTH_LOG_BYTES];

	for (unsigned i = 0; i < sl_array_size(frame_rows); i++) {
		struct row row = { .name = frame_rows[i].name };
		struct sl_prog *prog = NULL;

		memcpy(row.insns, frame_rows[i].insns, sizeof(frame_rows[i].insns));
		TRACE_PUSH("%s", row.name);
		EXPECT_EQ(both_ours(frame_rows[i].type, row.insns, row_length(&row), 1, true, text,
				  sizeof(text), &prog),
			0);
		if (prog) {
			EXPECT_EQ(prog->facts->funcs[0].stack_uninit_read, frame_rows[i].zeroed);
			sl_object_unref(&prog->obj);
		}
		TRACE_POP();
	}
}

TEST(verifier, analysis)
{
	check_rows(analysis_rows, sl_array_size(analysis_rows));
}

TEST(verifier, statistics_at_their_level)
{
	static char text[BOTH_LOG_BYTES];
	const struct bpf_insn insns[] = { LOCAL_CALL(2), MOV_K(R0, 0), EXIT, ST(BPF_B, R10, -17, 0),
		MOV_K(R0, 0), EXIT };
	const char *rest;

	EXPECT_EQ(both_ours(XDP, insns, 6, 4, true, text, sizeof(text), NULL), 0);
	EXPECT_TRUE(strncmp(text, "verification time ", 18) == 0);
	rest = strchrnul(text, '\n');
	EXPECT_TRUE(strncmp(rest, "\npeak memory of states ", 23) == 0);
	rest = strstr(text, " KiB\n");
	ASSERT_NE(rest, NULL);
	EXPECT_STREQ(rest,
		" KiB\nstack depth 0+24\nprocessed 6 insns (limit 1000000) max_states_per_insn 0 "
		"total_states 0 peak_states 0 mark_read 0\n");
	if (!oracle_permitted())
		return;
	EXPECT_EQ(both_kernel(XDP, insns, 6, 4, true, text, sizeof(text)), 0);
	EXPECT_CONTAINS(text, "\nstack depth 0+24\nprocessed 6 insns");
}

TEST(verifier, endless_loop_shows_both_states_at_every_level)
{
	static char text[BOTH_LOG_BYTES];
	const struct bpf_insn insns[] = { MOV_K(R0, 0), JA(-2) };

	for (uint32_t level = 1; level <= 4; level *= 2) {
		EXPECT_EQ(both_ours(XDP, insns, 2, level, true, text, sizeof(text), NULL), -EINVAL);
		EXPECT_CONTAINS(text, "cur state: R0=0 R1=ctx() R10=fp0\nold state: R0=0 R1=ctx()");
		if (!oracle_permitted())
			continue;
		EXPECT_EQ(both_kernel(XDP, insns, 2, level, true, text, sizeof(text)), -EINVAL);
		EXPECT_CONTAINS(text, "cur state: R0=0 R1=ctx() R10=fp0\nold state: R0=0 R1=ctx()");
	}
}
