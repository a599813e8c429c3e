#include "fixture.h"

#include <string.h>

#include "field.h"
#include "oracle.h"
#include "test.h"

/*
 * Each row is a piece of program that makes something of R0 and R2. It runs on all pairs of edge
 * values, here and in the kernel. The values come from the packet and the results go there, so that
 * nothing is a constant for the compiler.
 */
static const uint64_t edges[] = {
	0,
	1,
	0xffffffffffffffff,
	0x8000000000000000,
	0x80000000,
	0x123456789abcdef0,
	31,
};

#define EDGES sl_array_size(edges)
#define PAIRS (EDGES * EDGES)
#define MAX_OP 6

struct row {
	const char *name;
	struct bpf_insn op[MAX_OP + 1]; /* up to a code of 0 */
};

#define ROW(name, ...)              \
	{                           \
		name,               \
		{                   \
			__VA_ARGS__ \
		}                   \
	}

#define ALU_ROWS(op, imm_)                                                       \
	ROW(#op " 64 reg", INSN(BPF_ALU64 | op | BPF_X, 0, 2, 0, 0)),            \
		ROW(#op " 64 imm", INSN(BPF_ALU64 | op | BPF_K, 0, 0, 0, imm_)), \
		ROW(#op " 32 reg", INSN(BPF_ALU | op | BPF_X, 0, 2, 0, 0)),      \
		ROW(#op " 32 imm", INSN(BPF_ALU | op | BPF_K, 0, 0, 0, imm_))

#define SIGNED_ROWS(op, imm_)                                                           \
	ROW(#op " signed 64 reg", INSN(BPF_ALU64 | op | BPF_X, 0, 2, 1, 0)),            \
		ROW(#op " signed 64 imm", INSN(BPF_ALU64 | op | BPF_K, 0, 0, 1, imm_)), \
		ROW(#op " signed 32 reg", INSN(BPF_ALU | op | BPF_X, 0, 2, 1, 0)),      \
		ROW(#op " signed 32 imm", INSN(BPF_ALU | op | BPF_K, 0, 0, 1, imm_))

#define JUMP_ROW(name, class, op, src_bit, imm_)                                                   \
	ROW(name, MOV_K(3, 1), INSN(class | op | src_bit, 0, (src_bit) == BPF_X ? 2 : 0, 1, imm_), \
		MOV_K(3, 0), MOV_X(0, 3))

#define JUMP_ROWS(op, imm)                                        \
	JUMP_ROW(#op " 64 reg", BPF_JMP, op, BPF_X, 0),           \
		JUMP_ROW(#op " 64 imm", BPF_JMP, op, BPF_K, imm), \
		JUMP_ROW(#op " 32 reg", BPF_JMP32, op, BPF_X, 0), \
		JUMP_ROW(#op " 32 imm", BPF_JMP32, op, BPF_K, imm)

#define END(class, to, width) INSN(class | BPF_END | to, 0, 0, 0, width)
#define MOVSX(class, width) INSN(class | BPF_MOV | BPF_X, 0, 2, width, 0)
#define ATOMIC(size, imm) INSN(BPF_STX | BPF_ATOMIC | size, 10, 2, -8, imm)

/* R0 in the slot, R2 the operand; the result is the slot, combined with what R2 and R0 became. */
#define ATOMIC_ROW(size, imm)                                                       \
	ROW(#size " atomic " #imm, STX(BPF_DW, 10, 0, -8), ATOMIC(size, imm),       \
		LDX(BPF_DW, 3, 10, -8), ALU_K(BPF_MUL, 2, 3), ALU_X(BPF_XOR, 0, 3), \
		ALU_X(BPF_ADD, 0, 2))

#define ATOMIC_ROWS(imm)                                                                      \
	ATOMIC_ROW(BPF_DW, imm), ATOMIC_ROW(BPF_W, imm), ATOMIC_ROW(BPF_DW, imm | BPF_FETCH), \
		ATOMIC_ROW(BPF_W, imm | BPF_FETCH)

#define MEMORY_ROW(size)                                                             \
	ROW(#size " store and load", INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, -2), \
		STX(size, 10, 0,                                                     \
			-6 + (size == BPF_DW         ? -2                            \
				     : size == BPF_W ? 2                             \
						     : 0)),                          \
		LDX(BPF_DW, 0, 10, -8))

#define MEMSX 0x80

static const struct row rows[] = {
	ALU_ROWS(BPF_ADD, -7),
	ALU_ROWS(BPF_SUB, 0x7fffffff),
	ALU_ROWS(BPF_MUL, -3),
	ALU_ROWS(BPF_OR, -0x10000),
	ALU_ROWS(BPF_AND, -0x100),
	ALU_ROWS(BPF_XOR, -1),
	ALU_ROWS(BPF_LSH, 13),
	ALU_ROWS(BPF_RSH, 13),
	ALU_ROWS(BPF_ARSH, 13),
	ALU_ROWS(BPF_DIV, -7),
	ALU_ROWS(BPF_MOD, -7),
	SIGNED_ROWS(BPF_DIV, -1),
	SIGNED_ROWS(BPF_MOD, -1),
	SIGNED_ROWS(BPF_DIV, 7),
	SIGNED_ROWS(BPF_MOD, 7),
	ALU_ROWS(BPF_MOV, -5),
	ROW("neg 64", INSN(BPF_ALU64 | BPF_NEG, 0, 0, 0, 0)),
	ROW("neg 32", INSN(BPF_ALU | BPF_NEG, 0, 0, 0, 0)),
	ROW("le16", END(BPF_ALU, BPF_TO_LE, 16)),
	ROW("le32", END(BPF_ALU, BPF_TO_LE, 32)),
	ROW("le64", END(BPF_ALU, BPF_TO_LE, 64)),
	ROW("be16", END(BPF_ALU, BPF_TO_BE, 16)),
	ROW("be32", END(BPF_ALU, BPF_TO_BE, 32)),
	ROW("be64", END(BPF_ALU, BPF_TO_BE, 64)),
	ROW("bswap16", END(BPF_ALU64, 0, 16)),
	ROW("bswap32", END(BPF_ALU64, 0, 32)),
	ROW("bswap64", END(BPF_ALU64, 0, 64)),
	ROW("movsx 64 8", MOVSX(BPF_ALU64, 8)),
	ROW("movsx 64 16", MOVSX(BPF_ALU64, 16)),
	ROW("movsx 64 32", MOVSX(BPF_ALU64, 32)),
	ROW("movsx 32 8", MOVSX(BPF_ALU, 8)),
	ROW("movsx 32 16", MOVSX(BPF_ALU, 16)),
	JUMP_ROWS(BPF_JEQ, -1),
	JUMP_ROWS(BPF_JNE, -1),
	JUMP_ROWS(BPF_JGT, 31),
	JUMP_ROWS(BPF_JGE, 31),
	JUMP_ROWS(BPF_JLT, -1),
	JUMP_ROWS(BPF_JLE, 31),
	JUMP_ROWS(BPF_JSGT, -1),
	JUMP_ROWS(BPF_JSGE, 0),
	JUMP_ROWS(BPF_JSLT, 0),
	JUMP_ROWS(BPF_JSLE, -1),
	JUMP_ROWS(BPF_JSET, -0x80000000),
	ROW("gotol", JMP_K(BPF_JNE, 0, 0, 1), INSN(BPF_JMP32 | BPF_JA, 0, 0, 0, 1), MOV_K(0, 5),
		ALU_X(BPF_ADD, 0, 2)),
	ROW("goto", JMP_K(BPF_JNE, 0, 0, 1), INSN(BPF_JMP | BPF_JA, 0, 0, 1, 0), MOV_K(0, 5),
		ALU_X(BPF_ADD, 0, 2)),
	MEMORY_ROW(BPF_B),
	MEMORY_ROW(BPF_H),
	MEMORY_ROW(BPF_W),
	MEMORY_ROW(BPF_DW),
	ROW("load 8 signed", STX(BPF_DW, 10, 0, -8), INSN(BPF_LDX | MEMSX | BPF_B, 0, 10, -6, 0)),
	ROW("load 16 signed", STX(BPF_DW, 10, 0, -8), INSN(BPF_LDX | MEMSX | BPF_H, 0, 10, -6, 0)),
	ROW("load 32 signed", STX(BPF_DW, 10, 0, -8), INSN(BPF_LDX | MEMSX | BPF_W, 0, 10, -4, 0)),
	ATOMIC_ROWS(BPF_ADD),
	ATOMIC_ROWS(BPF_OR),
	ATOMIC_ROWS(BPF_AND),
	ATOMIC_ROWS(BPF_XOR),
	ATOMIC_ROW(BPF_DW, BPF_XCHG),
	ATOMIC_ROW(BPF_W, BPF_XCHG),
	ATOMIC_ROW(BPF_DW, BPF_CMPXCHG),
	ATOMIC_ROW(BPF_W, BPF_CMPXCHG),
	ROW("cmpxchg 64 that fails", STX(BPF_DW, 10, 0, -8), ALU_K(BPF_ADD, 0, 1),
		ATOMIC(BPF_DW, BPF_CMPXCHG), LDX(BPF_DW, 3, 10, -8), ALU_X(BPF_ADD, 0, 3)),
	ROW("cmpxchg 32 that fails", STX(BPF_DW, 10, 0, -8), ALU_K(BPF_ADD, 0, 1),
		ATOMIC(BPF_W, BPF_CMPXCHG), LDX(BPF_DW, 3, 10, -8), ALU_X(BPF_ADD, 0, 3)),
	ROW("store release, load acquire", STX(BPF_DW, 10, 0, -8), ATOMIC(BPF_H, 0x110),
		INSN(BPF_STX | BPF_ATOMIC | BPF_W, 0, 10, -8, 0x100)),
	ROW("load acquire 8", STX(BPF_DW, 10, 0, -8),
		INSN(BPF_STX | BPF_ATOMIC | BPF_B, 0, 10, -8, 0x100)),
	ROW("load acquire 64", STX(BPF_DW, 10, 0, -8), ATOMIC(BPF_DW, 0x110),
		INSN(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 10, -8, 0x100)),
};

static uint64_t packet[PAIRS][2];

static void fill_packet(uint64_t pairs[PAIRS][2])
{
	for (unsigned i = 0; i < PAIRS; i++) {
		pairs[i][0] = edges[i / EDGES];
		pairs[i][1] = edges[i % EDGES];
	}
}

/* R6: packet. Per pair: load, operate, store. */
static unsigned build(struct bpf_insn *insns, const struct row *row)
{
	unsigned n = 0;

	insns[n++] = LDX(BPF_W, 6, 1, 0);
	insns[n++] = LDX(BPF_W, 7, 1, 4);
	insns[n++] = MOV_X(8, 6);
	insns[n++] = ALU_K(BPF_ADD, 8, sizeof(packet));
	insns[n++] = JMP_X(BPF_JLE, 8, 7, 2);
	insns[n++] = MOV_K(0, 0);
	insns[n++] = EXIT;
	for (unsigned i = 0; i < PAIRS; i++) {
		insns[n++] = LDX(BPF_DW, 0, 6, 16 * i);
		insns[n++] = LDX(BPF_DW, 2, 6, 16 * i + 8);
		for (const struct bpf_insn *op = row->op; op->code; op++)
			insns[n++] = *op;
		insns[n++] = STX(BPF_DW, 6, 0, 16 * i);
	}
	insns[n++] = MOV_K(0, 2);
	insns[n++] = EXIT;
	return n;
}

static void check_row(const struct row *row)
{
	static struct jit_fixture fx;
	static struct bpf_insn insns[4096];
	static uint64_t theirs[PAIRS][2], ours[PAIRS][2];
	unsigned count = build(insns, row), i;
	uint32_t result;

	fill_packet(theirs);
	fill_packet(ours);
	if (!jit_kernel_run(insns, count, (uint8_t *)theirs, sizeof(theirs), &result))
		return;
	jit_fixture_init(&fx, insns, count);
	fx.insn_facts[0].field = &jit_fixture_data;
	fx.insn_facts[1].field = &jit_fixture_data_end;
	jit_fixture_packet(&fx, (uint8_t *)ours, sizeof(ours));
	EXPECT_EQ(jit_fixture_run(&fx), result);
	for (i = 0; i < PAIRS; i++) {
		if (ours[i][0] == theirs[i][0])
			continue;
		sl_test_fail(__FILE__, __LINE__, "%#llx, %#llx: kernel %#llx, ours %#llx",
			(long long)edges[i / EDGES], (long long)edges[i % EDGES],
			(long long)theirs[i][0], (long long)ours[i][0]);
		return;
	}
}

TEST(jit_opcodes, results_are_the_kernels)
{
	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		TRACE_PUSH("%s", rows[i].name);
		check_row(&rows[i]);
		TRACE_POP();
	}
}
