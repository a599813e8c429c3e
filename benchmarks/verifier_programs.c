#include "verifier_programs.h"

#include <string.h>

#define INSN(c, d, s, o, i) \
	((struct bpf_insn){ \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (short)(o), .imm = (int)(i) })
#define ALU_K(op, d, i) INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, i)
#define ALU_X(op, d, s) INSN(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE(size, d, s, o) INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define STORE_K(size, d, o, i) INSN(BPF_ST | BPF_MEM | (size), d, 0, o, i)
#define JUMP_K(op, d, i, o) INSN(BPF_JMP | (op) | BPF_K, d, 0, o, i)
#define JUMP_X(op, d, s, o) INSN(BPF_JMP | (op) | BPF_X, d, s, o, 0)
#define HELPER(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define CALL_FROM(here, target) \
	INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, (int)(target) - (int)(here) - 1)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

enum { R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 };

struct writer {
	struct bpf_insn *insns;
	unsigned count;
};

static void put(struct writer *w, const struct bpf_insn *insns, unsigned count)
{
	memcpy(w->insns + w->count, insns, count * sizeof(*insns));
	w->count += count;
}

#define PUT(w, ...)                                              \
	do {                                                     \
		const struct bpf_insn block[] = { __VA_ARGS__ }; \
		put(w, block, sizeof(block) / sizeof(block[0])); \
	} while (0)

/* R2 and R3: the packet's beginning and end; goes on when there are `len` bytes. */
static void put_packet(struct writer *w, int len)
{
	PUT(w, LOAD(BPF_W, R2, R1, 0), LOAD(BPF_W, R3, R1, 4), ALU_K(BPF_MOV, R0, 1),
		ALU_X(BPF_MOV, R4, R2), ALU_K(BPF_ADD, R4, len), JUMP_X(BPF_JLE, R4, R3, 1), EXIT);
}

/* No branches at all. */
static unsigned straight(struct bpf_insn *insns, unsigned size)
{
	struct writer w = { .insns = insns };

	put_packet(&w, 128);
	for (unsigned i = 0; w.count + 4 < size; i++)
		PUT(&w, LOAD(BPF_W, R5, R2, i * 4 % 128), ALU_X(BPF_ADD, R0, R5),
			ALU_K(BPF_XOR, R0, i));
	PUT(&w, EXIT);
	return w.count;
}

/* A decision on the packet in every sixth instruction, each of no consequence for the rest. */
static unsigned branchy(struct bpf_insn *insns, unsigned size)
{
	struct writer w = { .insns = insns };

	put_packet(&w, 128);
	for (unsigned i = 0; w.count + 7 < size; i++)
		PUT(&w, LOAD(BPF_W, R5, R2, i * 4 % 128), ALU_K(BPF_MUL, R0, 31),
			ALU_X(BPF_ADD, R0, R5), JUMP_K(BPF_JGT, R5, i * 977 & 0x7fffffff, 1),
			ALU_K(BPF_XOR, R0, i), ALU_K(BPF_RSH, R0, 1));
	PUT(&w, EXIT);
	return w.count;
}

static void put_stack(struct writer *w, int slots)
{
	for (int i = 1; i <= slots; i++)
		PUT(w, STORE_K(BPF_DW, R10, -8 * i, i));
}

/* The same with what was found out kept on the stack, in eight slots that later parts read. */
static unsigned spilling(struct bpf_insn *insns, unsigned size)
{
	struct writer w = { .insns = insns };

	put_packet(&w, 128);
	put_stack(&w, 8);
	for (unsigned i = 0; w.count + 8 < size; i++)
		PUT(&w, LOAD(BPF_B, R5, R2, i % 128), ALU_K(BPF_MOV, R6, 8),
			JUMP_K(BPF_JSET, R5, 1, 1), ALU_K(BPF_MOV, R6, 24),
			STORE(BPF_DW, R10, R6, -8 * (int)(1 + i % 8)),
			LOAD(BPF_DW, R7, R10, -8 * (int)(1 + (i + 3) % 8)), ALU_X(BPF_ADD, R0, R7));
	PUT(&w, EXIT);
	return w.count;
}

/* Every slot is an offset into the packet, so its value counts: the paths are 2 to the eighth. */
static unsigned precise_spills(struct bpf_insn *insns, unsigned size)
{
	struct writer w = { .insns = insns };

	put_packet(&w, 128);
	put_stack(&w, 8);
	for (unsigned i = 0; w.count + 10 < size; i++)
		PUT(&w, LOAD(BPF_B, R5, R2, i % 128), ALU_K(BPF_MOV, R6, 8),
			JUMP_K(BPF_JSET, R5, 1, 1), ALU_K(BPF_MOV, R6, 24),
			STORE(BPF_DW, R10, R6, -8 * (int)(1 + i % 8)),
			LOAD(BPF_DW, R7, R10, -8 * (int)(1 + (i + 3) % 8)), ALU_X(BPF_MOV, R8, R2),
			ALU_X(BPF_ADD, R8, R7), LOAD(BPF_B, R0, R8, 0));
	PUT(&w, EXIT);
	return w.count;
}

/* `size` functions that parse a part of the packet, each called from two places. */
static unsigned functions(struct bpf_insn *insns, unsigned size)
{
	enum { MAIN = 9, CALLS = 5, BODY = 14 };
	struct writer w = { .insns = insns };
	unsigned first = MAIN + 2 * size * CALLS + 2;

	PUT(&w, ALU_X(BPF_MOV, R6, R1), ALU_K(BPF_MOV, R9, 0), LOAD(BPF_W, R7, R1, 0),
		LOAD(BPF_W, R8, R1, 4), ALU_K(BPF_MOV, R0, 1), ALU_X(BPF_MOV, R4, R7),
		ALU_K(BPF_ADD, R4, 64), JUMP_X(BPF_JLE, R4, R8, 1), EXIT);
	for (unsigned i = 0; i < 2 * size; i++)
		PUT(&w, ALU_X(BPF_MOV, R1, R7), ALU_X(BPF_MOV, R2, R8), ALU_X(BPF_MOV, R3, R9),
			CALL_FROM(w.count + 3, first + i % size * BODY), ALU_X(BPF_MOV, R9, R0));
	PUT(&w, ALU_K(BPF_MOV, R0, 2), EXIT);
	for (unsigned i = 0; i < size; i++)
		PUT(&w, ALU_X(BPF_MOV, R0, R3), LOAD(BPF_B, R5, R1, i % 64),
			ALU_K(BPF_AND, R5, 0x3c), ALU_X(BPF_ADD, R1, R5), ALU_X(BPF_MOV, R4, R1),
			ALU_K(BPF_ADD, R4, 20), JUMP_X(BPF_JGT, R4, R2, 5), LOAD(BPF_H, R5, R1, 18),
			JUMP_K(BPF_JEQ, R5, i, 2), ALU_X(BPF_ADD, R0, R5), ALU_K(BPF_AND, R0, 0xff),
			EXIT, ALU_K(BPF_MOV, R0, 0), EXIT);
	return w.count;
}

/* A load balancer's steps: room in front, the packet looked at anew, a checksum over it in a loop. */
static unsigned encapsulate(struct bpf_insn *insns, unsigned size)
{
	struct writer w = { .insns = insns };

	PUT(&w, ALU_X(BPF_MOV, R6, R1));
	for (unsigned i = 0; i < size; i++) {
		PUT(&w, ALU_X(BPF_MOV, R1, R6), ALU_K(BPF_MOV, R2, i % 2 ? 20 : -20),
			HELPER(BPF_FUNC_xdp_adjust_head), JUMP_K(BPF_JEQ, R0, 0, 2),
			ALU_K(BPF_MOV, R0, 1), EXIT, ALU_X(BPF_MOV, R1, R6));
		put_packet(&w, 40);
		PUT(&w, ALU_K(BPF_MOV, R7, 0), ALU_K(BPF_MOV, R8, 0), ALU_X(BPF_MOV, R9, R2),
			LOAD(BPF_H, R5, R9, 0), ALU_X(BPF_ADD, R7, R5), ALU_K(BPF_ADD, R9, 2),
			ALU_K(BPF_ADD, R8, 1), JUMP_K(BPF_JLT, R8, 20, -5), ALU_X(BPF_MOV, R5, R7),
			ALU_K(BPF_RSH, R5, 16), ALU_K(BPF_AND, R7, 0xffff), ALU_X(BPF_ADD, R7, R5),
			STORE(BPF_H, R2, R7, 10));
	}
	PUT(&w, ALU_K(BPF_MOV, R0, 3), EXIT);
	return w.count;
}

/* A loop of `size` rounds, eight instructions each. */
static unsigned loop(struct bpf_insn *insns, unsigned size)
{
	struct writer w = { .insns = insns };

	put_packet(&w, 64);
	PUT(&w, ALU_K(BPF_MOV, R6, 0), ALU_X(BPF_MOV, R5, R6), ALU_K(BPF_AND, R5, 31),
		ALU_X(BPF_MOV, R4, R2), ALU_X(BPF_ADD, R4, R5), LOAD(BPF_B, R5, R4, 0),
		ALU_X(BPF_ADD, R0, R5), ALU_K(BPF_ADD, R6, 1), JUMP_K(BPF_JLT, R6, size, -8), EXIT);
	return w.count;
}

/* The same with a branch on the packet in each round. */
static unsigned branchy_loop(struct bpf_insn *insns, unsigned size)
{
	struct writer w = { .insns = insns };

	put_packet(&w, 64);
	PUT(&w, ALU_K(BPF_MOV, R6, 0), ALU_X(BPF_MOV, R5, R6), ALU_K(BPF_AND, R5, 31),
		ALU_X(BPF_MOV, R4, R2), ALU_X(BPF_ADD, R4, R5), LOAD(BPF_B, R5, R4, 0),
		JUMP_K(BPF_JGT, R5, 40, 1), ALU_X(BPF_ADD, R0, R5), ALU_K(BPF_ADD, R6, 1),
		JUMP_K(BPF_JLT, R6, size, -9), EXIT);
	return w.count;
}

/* Every branch doubles what R6 may be, and the end depends on it: nothing can be pruned. */
static unsigned bomb(struct bpf_insn *insns, unsigned size)
{
	struct writer w = { .insns = insns };

	put_packet(&w, 128);
	put_stack(&w, 64);
	PUT(&w, ALU_K(BPF_MOV, R6, 0));
	for (unsigned i = 0; i < size; i++)
		PUT(&w, LOAD(BPF_B, R5, R2, i % 128), ALU_K(BPF_LSH, R6, 1),
			JUMP_K(BPF_JSET, R5, 1, 1), ALU_K(BPF_OR, R6, 1));
	PUT(&w, ALU_X(BPF_MOV, R7, R10), ALU_K(BPF_AND, R6, 0xff), ALU_K(BPF_OR, R6, 0x80),
		ALU_X(BPF_SUB, R7, R6), LOAD(BPF_B, R0, R7, 0), EXIT);
	return w.count;
}

/*
 * As many branches open as `size` says, each holding eight frames with 512 bytes of stack: what the
 * depth check refuses only when all paths have been followed.
 */
static unsigned pending(struct bpf_insn *insns, unsigned size)
{
	enum { FRAMES = 8 };
	struct writer w = { .insns = insns };

	for (unsigned f = 0; f < FRAMES; f++) {
		put_stack(&w, 64);
		if (f < FRAMES - 1)
			PUT(&w, CALL_FROM(0, 2), EXIT);
	}
	PUT(&w, LOAD(BPF_W, R2, R1, 0), LOAD(BPF_W, R3, R1, 4), ALU_K(BPF_MOV, R0, 1),
		ALU_X(BPF_MOV, R4, R2), ALU_K(BPF_ADD, R4, 128), JUMP_X(BPF_JGT, R4, R3, 1),
		LOAD(BPF_W, R0, R2, 0));
	for (unsigned i = 0; i < size; i++)
		PUT(&w, JUMP_K(BPF_JEQ, R0, i, 0));
	PUT(&w, ALU_K(BPF_MOV, R0, 0), EXIT);
	return w.count;
}

const struct verifier_program verifier_programs[] = {
	{ "straight 4k", BPF_PROG_TYPE_XDP, straight, 4096 },
	{ "straight 17k", BPF_PROG_TYPE_XDP, straight, 17000 },
	{ "straight 60k", BPF_PROG_TYPE_XDP, straight, 60000 },
	{ "straight 900k", BPF_PROG_TYPE_XDP, straight, 900000 },
	{ "branchy 4k", BPF_PROG_TYPE_XDP, branchy, 4096 },
	{ "branchy 17k", BPF_PROG_TYPE_XDP, branchy, 17000 },
	{ "branchy 48k", BPF_PROG_TYPE_XDP, branchy, 48000 },
	{ "spilling 12k", BPF_PROG_TYPE_XDP, spilling, 12000 },
	{ "precise spills 12k", BPF_PROG_TYPE_XDP, precise_spills, 12000 },
	{ "functions 2k", BPF_PROG_TYPE_XDP, functions, 100 },
	{ "functions 6k", BPF_PROG_TYPE_XDP, functions, 250 },
	{ "encapsulate 100x", BPF_PROG_TYPE_XDP, encapsulate, 100 },
	{ "encapsulate 600x", BPF_PROG_TYPE_XDP, encapsulate, 600 },
	{ "loop 500k", BPF_PROG_TYPE_XDP, loop, 62500 },
	{ "loop 900k", BPF_PROG_TYPE_XDP, loop, 112500 },
	{ "branchy loop 500k", BPF_PROG_TYPE_XDP, branchy_loop, 50000 },
	{ "endless loop", BPF_PROG_TYPE_XDP, loop, 200000 },
	{ "branch bomb", BPF_PROG_TYPE_XDP, bomb, 60 },
	{ "700 pending, full stacks", BPF_PROG_TYPE_XDP, pending, 700 },
	{ "9000 pending, full stacks", BPF_PROG_TYPE_XDP, pending, 9000 },
};

const unsigned verifier_program_count = sizeof(verifier_programs) / sizeof(verifier_programs[0]);
