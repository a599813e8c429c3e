#pragma once

#include "both.h"

/*
 * Programs as rows of a table. Every row is loaded into the kernel too: the verdicts, and the reasons,
 * have to be the same.
 */

#define R0 BPF_REG_0
#define R1 BPF_REG_1
#define R2 BPF_REG_2
#define R3 BPF_REG_3
#define R4 BPF_REG_4
#define R5 BPF_REG_5
#define R6 BPF_REG_6
#define R7 BPF_REG_7
#define R8 BPF_REG_8
#define R9 BPF_REG_9
#define R10 BPF_REG_10

#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define LDSX(size, dst, src, off) INSN(BPF_LDX | 0x80 | (size), dst, src, off, 0)
#define STX(size, dst, src, off) INSN(BPF_STX | BPF_MEM | (size), dst, src, off, 0)
#define ST(size, dst, off, imm) INSN(BPF_ST | BPF_MEM | (size), dst, 0, off, imm)
#define ATOMIC(size, op, dst, src, off) INSN(BPF_STX | BPF_ATOMIC | (size), dst, src, off, op)
#define ALU32_K(op, dst, imm) INSN(BPF_ALU | (op) | BPF_K, dst, 0, 0, imm)
#define ALU32_X(op, dst, src) INSN(BPF_ALU | (op) | BPF_X, dst, src, 0, 0)
#define MOV32_X(dst, src) INSN(BPF_ALU | BPF_MOV | BPF_X, dst, src, 0, 0)
#define JMP_X(op, dst, src, off) INSN(BPF_JMP | (op) | BPF_X, dst, src, off, 0)
#define JMP32_K(op, dst, imm, off) INSN(BPF_JMP32 | (op) | BPF_K, dst, 0, off, imm)
#define LD_MAP(dst, which) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, which), INSN(0, 0, 0, 0, 0)
#define LD_VALUE(dst, which, off) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_VALUE, 0, which), INSN(0, 0, 0, 0, off)
#define LD_ABS(size, imm) INSN(BPF_LD | BPF_ABS | (size), 0, 0, 0, imm)
#define LD_IND(size, src, imm) INSN(BPF_LD | BPF_IND | (size), 0, src, 0, imm)

/* r2 = data, r3 = data_end */
#define XDP_DATA LDX(BPF_W, R2, R1, 0), LDX(BPF_W, R3, R1, 4)
/* r0 = lookup in `which` with a zero key on the stack at fp-8 */
#define LOOKUP(which)                                                                      \
	ST(BPF_DW, R10, -8, 0), LD_MAP(R1, which), MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -8), \
		HELPER(BPF_FUNC_map_lookup_elem)
/* the same with a key that is not known */
#define LOOKUP_ANY(which)                                                              \
	HELPER(BPF_FUNC_get_prandom_u32), STX(BPF_DW, R10, R0, -8), LD_MAP(R1, which), \
		MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -8), HELPER(BPF_FUNC_map_lookup_elem)
#define RETURN(n) MOV_K(R0, n), EXIT

#define XDP BPF_PROG_TYPE_XDP
#define CLS BPF_PROG_TYPE_SCHED_CLS
#define SOCK BPF_PROG_TYPE_SOCKET_FILTER
#define ACCEPT NULL

struct row {
	const char *name;
	enum bpf_prog_type type;
	const char *reason; /* ACCEPT, or part of the log of both */
	struct bpf_insn insns[40];
	bool proprietary;
};

static inline uint32_t row_length(const struct row *row)
{
	static const struct bpf_insn nothing;
	uint32_t count = sl_array_size(row->insns);

	while (count && !memcmp(&row->insns[count - 1], &nothing, sizeof(nothing)))
		count--;
	return count;
}

static inline void check_row(const struct row *row, const struct both_maps *maps)
{
	static char ours[BOTH_LOG_BYTES], kernel[BOTH_LOG_BYTES];
	uint32_t count = row_length(row);
	struct bpf_insn insns[sl_array_size(row->insns)];
	int err, kernel_err;

	memcpy(insns, row->insns, sizeof(insns));
	both_patch(insns, count, maps->ours);
	err = both_ours(row->type, insns, count, 2, !row->proprietary, ours, sizeof(ours), NULL);
	TRACE_PUSH("%s:\n%s", row->name, ours);
	if (row->reason) {
		EXPECT_LT(err, 0);
		EXPECT_CONTAINS(ours, row->reason);
	} else {
		EXPECT_EQ(err, 0);
	}
	if (oracle_permitted()) {
		memcpy(insns, row->insns, sizeof(insns));
		both_patch(insns, count, maps->kernel);
		kernel_err = both_kernel(
			row->type, insns, count, 2, !row->proprietary, kernel, sizeof(kernel));
		TRACE_PUSH("the kernel's:\n%s", kernel);
		EXPECT_EQ(err, kernel_err);
		if (row->reason)
			EXPECT_CONTAINS(kernel, row->reason);
		TRACE_POP();
	}
	TRACE_POP();
}

static inline void check_rows(const struct row *rows, unsigned count)
{
	struct both_maps maps;

	both_maps_new(&maps);
	for (unsigned i = 0; i < count; i++)
		check_row(&rows[i], &maps);
	both_maps_free(&maps);
}
