#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "field.h"
#include "oracle.h"
#include "test.h"

/*
 * Random programs of arithmetic, forward jumps and stack slots: here and in the kernel all
 * registers end with the same values. The seed is fixed; RANDOM_TEST_SEED tries others.
 */
#define PROGRAMS 30
#define BODY 120
#define WORK_REGS 6 /* R0 to R5; R6 is the packet */
#define SLOTS 4
#define MAX_INSNS (4 * BODY)

static uint64_t state;

static uint32_t pick(uint32_t n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(state >> 33) % n;
}

static int32_t pick_imm(void)
{
	static const int32_t edges[] = { 0, 1, -1, 31, 63, 0x7fffffff, -0x7fffffff - 1, 0xff,
		0xffff, -0x8000 };

	return pick(2) ? edges[pick(sl_array_size(edges))] : (int32_t)(pick(1u << 31) << 1);
}

static struct bpf_insn pick_alu(void)
{
	static const uint8_t ops[] = { BPF_ADD, BPF_SUB, BPF_MUL, BPF_OR, BPF_AND, BPF_XOR, BPF_LSH,
		BPF_RSH, BPF_ARSH, BPF_DIV, BPF_MOD, BPF_MOV, BPF_NEG };
	uint8_t op = ops[pick(sl_array_size(ops))], class = pick(2) ? BPF_ALU : BPF_ALU64;
	struct bpf_insn insn = INSN(class | op, pick(WORK_REGS), 0, 0, 0);
	unsigned width = class == BPF_ALU ? 32 : 64;

	if (op == BPF_NEG)
		return insn;
	if (pick(2)) {
		insn.code |= BPF_X;
		insn.src_reg = pick(WORK_REGS);
	} else {
		insn.imm = pick_imm();
	}
	if (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH)
		insn.imm = BPF_SRC(insn.code) == BPF_X ? 0 : (int32_t)pick(width);
	if (op == BPF_DIV || op == BPF_MOD) {
		insn.off = pick(2);
		if (BPF_SRC(insn.code) == BPF_K && !insn.imm)
			insn.imm = 7;
	}
	if (op == BPF_MOV && BPF_SRC(insn.code) == BPF_X)
		insn.off = 8 * pick(3);
	return insn;
}

static struct bpf_insn pick_jump(void)
{
	static const uint8_t ops[] = { BPF_JEQ, BPF_JNE, BPF_JGT, BPF_JGE, BPF_JLT, BPF_JLE,
		BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE, BPF_JSET };
	uint8_t class = pick(2) ? BPF_JMP : BPF_JMP32;
	struct bpf_insn insn =
		INSN(class | ops[pick(sl_array_size(ops))], pick(WORK_REGS), 0, 1 + pick(6), 0);

	if (pick(2)) {
		insn.code |= BPF_X;
		insn.src_reg = pick(WORK_REGS);
	} else {
		insn.imm = pick_imm();
	}
	return insn;
}

static struct bpf_insn pick_memory(void)
{
	static const uint8_t sizes[] = { BPF_B, BPF_H, BPF_W, BPF_DW };
	uint8_t size = sizes[pick(sl_array_size(sizes))];
	int slot = -8 * (int)(1 + pick(SLOTS)), reg = pick(WORK_REGS);

	switch (pick(4)) {
	case 0:
		return LDX(size, reg, 10, slot);
	case 1:
		return STX(size, 10, reg, slot);
	case 2:
		return INSN(BPF_STX | BPF_ATOMIC | (pick(2) ? BPF_W : BPF_DW), 10, reg, slot,
			pick(2) ? BPF_ADD | BPF_FETCH : BPF_XOR);
	default:
		/* A sign-extending load; DW has none. */
		return INSN(BPF_LDX | 0x80 | (size == BPF_DW ? BPF_W : size), reg, 10, slot, 0);
	}
}

static struct bpf_insn pick_insn(void)
{
	static const uint8_t widths[] = { 16, 32, 64 };
	uint8_t code;

	switch (pick(8)) {
	case 0:
	case 1:
		return pick_jump();
	case 2:
		return pick_memory();
	case 3:
		code = pick(2) ? BPF_ALU64 | BPF_END
			       : BPF_ALU | BPF_END | (pick(2) ? BPF_TO_BE : 0);
		return INSN(code, pick(WORK_REGS), 0, 0, widths[pick(3)]);
	default:
		return pick_alu();
	}
}

/* Registers from the packet, slots from the registers, the body, registers to the packet. */
static unsigned build(struct bpf_insn *insns)
{
	unsigned n = 0;

	insns[n++] = LDX(BPF_W, 6, 1, 0);
	insns[n++] = LDX(BPF_W, 7, 1, 4);
	insns[n++] = MOV_X(8, 6);
	insns[n++] = ALU_K(BPF_ADD, 8, 64);
	insns[n++] = JMP_X(BPF_JLE, 8, 7, 2);
	insns[n++] = MOV_K(0, 0);
	insns[n++] = EXIT;
	for (unsigned i = 0; i < WORK_REGS; i++)
		insns[n++] = LDX(BPF_DW, i, 6, 8 * i);
	for (unsigned i = 1; i <= SLOTS; i++)
		insns[n++] = STX(BPF_DW, 10, i, -8 * (int)i);
	for (unsigned i = 0; i < BODY; i++)
		insns[n++] = pick_insn();
	/* Where the last jumps may lead. */
	for (unsigned i = 0; i < 6; i++)
		insns[n++] = ALU_K(BPF_ADD, 0, 1);
	for (unsigned i = 0; i < WORK_REGS; i++)
		insns[n++] = STX(BPF_DW, 6, i, 8 * i);
	insns[n++] = MOV_K(0, 2);
	insns[n++] = EXIT;
	return n;
}

static void check_program(void)
{
	static struct jit_fixture fx;
	static struct bpf_insn insns[MAX_INSNS];
	uint64_t theirs[8] = { 0 }, ours[8];
	unsigned count = build(insns);
	uint32_t result;

	for (unsigned i = 0; i < WORK_REGS; i++)
		theirs[i] = pick(2) ? (uint64_t)(int64_t)pick_imm()
				    : (uint64_t)pick_imm() << 32 | (uint32_t)pick_imm();
	memcpy(ours, theirs, sizeof(ours));
	if (!jit_kernel_run(insns, count, (uint8_t *)theirs, sizeof(theirs), &result))
		return;
	jit_fixture_init(&fx, insns, count);
	fx.insn_facts[0].field = &jit_fixture_data;
	fx.insn_facts[1].field = &jit_fixture_data_end;
	jit_fixture_packet(&fx, (uint8_t *)ours, sizeof(ours));
	EXPECT_EQ(jit_fixture_run(&fx), result);
	EXPECT_MEMEQ(ours, theirs, sizeof(ours));
}

TEST(jit_random, registers_end_as_in_the_kernel)
{
	const char *seed = getenv("RANDOM_TEST_SEED");

	ORACLE_OR_SKIP();
	state = seed ? strtoull(seed, NULL, 0) : 1;
	for (unsigned i = 0; i < PROGRAMS; i++) {
		TRACE_PUSH("program %u", i);
		check_program();
		TRACE_POP();
	}
}
