#include "generate.h"

#include <string.h>

#include "kernel.h"

enum kind { NONE, SCALAR, PACKET, PACKET_END, VALUE, STACK, CONTEXT, TAKEN };

#define REGS 10
#define TO_EXIT INT16_MAX /* jump offset: to the common exit, set at the end */
#define MAX_CALLS 4
#define SNIPPETS 14
#define STACK_SLOTS 14

struct writer {
	struct sl_random *random;
	struct program *program;
	enum kind kinds[REGS];
	unsigned safe[REGS]; /* PACKET: bytes proven */
	uint32_t calls[MAX_CALLS]; /* where local calls stand */
	unsigned call_count;
	unsigned nested; /* inside a branch or loop */
};

static void snippet(struct writer *w);

static bool chance(struct writer *w, unsigned one_in)
{
	return random_below(w->random, one_in) == 0;
}

static unsigned below(struct writer *w, unsigned limit)
{
	return random_below(w->random, limit);
}

static uint32_t emit(struct writer *w, struct bpf_insn insn)
{
	if (w->program->count < PROGRAM_MAX_INSNS - 200)
		w->program->insns[w->program->count++] = insn;
	return w->program->count - 1;
}

static uint8_t any_size(struct writer *w)
{
	static const uint8_t sizes[] = { BPF_B, BPF_H, BPF_W, BPF_DW };

	return sizes[below(w, 4)];
}

static int bytes_of(uint8_t size)
{
	return size == BPF_B ? 1 : size == BPF_H ? 2 : size == BPF_W ? 4 : 8;
}

/* A register that holds `kind`, sometimes any; -1 when none does. */
static int find(struct writer *w, enum kind kind)
{
	unsigned start = below(w, REGS);

	if (chance(w, 150)) {
		w->program->comparable = false;
		return (int)start;
	}
	for (unsigned i = 0; i < REGS; i++)
		if (w->kinds[(start + i) % REGS] == kind)
			return (int)((start + i) % REGS);
	return -1;
}

static int free_reg(struct writer *w)
{
	unsigned start = below(w, REGS);

	for (unsigned i = 0; i < REGS; i++) {
		unsigned reg = (start + i) % REGS;

		if (w->kinds[reg] == NONE || (w->kinds[reg] == SCALAR && chance(w, 2)))
			return (int)reg;
	}
	for (unsigned i = 0; i < REGS; i++)
		if (w->kinds[i] != TAKEN && w->kinds[i] != CONTEXT)
			return (int)i;
	return 0;
}

static int scalar(struct writer *w)
{
	int reg = find(w, SCALAR);

	if (reg >= 0)
		return reg;
	reg = free_reg(w);
	emit(w, MOV_K(reg, (int32_t)random_value(w->random)));
	w->kinds[reg] = SCALAR;
	return reg;
}

static void clobber(struct writer *w)
{
	for (int reg = 0; reg < 6; reg++)
		if (w->kinds[reg] != TAKEN)
			w->kinds[reg] = NONE;
}

static void write_alu(struct writer *w)
{
	static const uint8_t ops[] = { BPF_ADD, BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR, BPF_AND,
		BPF_AND, BPF_LSH, BPF_RSH, BPF_NEG, BPF_MOD, BPF_XOR, BPF_MOV, BPF_ARSH, BPF_END };
	static const int16_t sext[] = { 0, 8, 16, 32 };
	uint8_t op = ops[below(w, sl_array_size(ops))];
	bool is32 = below(w, 2);
	struct bpf_insn insn = { .code = (is32 ? BPF_ALU : BPF_ALU64) | op };

	insn.dst_reg = scalar(w);
	if (op == BPF_END) {
		insn.imm = 16 << below(w, 3);
		insn.code |= is32 && chance(w, 2) ? BPF_TO_BE : 0;
	} else if (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH) {
		insn.imm = (int32_t)below(w, is32 ? 32 : 64);
	} else if (op != BPF_NEG && chance(w, 2)) {
		insn.code |= BPF_X;
		insn.src_reg = scalar(w);
		if (op == BPF_MOV)
			insn.off = sext[below(w, is32 ? 3 : 4)];
		if (op == BPF_DIV || op == BPF_MOD)
			insn.off = (int16_t)below(w, 2);
	} else if (op != BPF_NEG) {
		insn.imm = (int32_t)random_value(w->random);
		if ((op == BPF_DIV || op == BPF_MOD) && insn.imm == 0)
			insn.imm = 1;
	}
	emit(w, insn);
}

/* A scalar that is at most `max`, by one of the ways in which programs make sure of it. */
static int bounded(struct writer *w, unsigned max)
{
	int reg = scalar(w);

	if (chance(w, 30))
		max *= 4;
	switch (below(w, 4)) {
	case 0:
		emit(w, JMP_K(BPF_JGT, reg, (int32_t)max, TO_EXIT));
		break;
	case 1:
		emit(w, ALU_K(BPF_AND, reg, 0xff));
		emit(w, INSN(BPF_JMP32 | BPF_JGE | BPF_K, reg, 0, TO_EXIT, (int32_t)max + 1));
		break;
	case 2:
		emit(w, ALU_K(BPF_RSH, reg, 60 + (int32_t)below(w, 4)));
		emit(w, JMP_K(BPF_JSGT, reg, (int32_t)max, TO_EXIT));
		break;
	default:
		while (max & (max + 1))
			max &= max - 1;
		emit(w, ALU_K(BPF_AND, reg, (int32_t)max));
	}
	return reg;
}

static void write_packet_check(struct writer *w)
{
	bool xdp = w->program->type == BPF_PROG_TYPE_XDP;
	unsigned len = 1 + below(w, 40);
	int ctx = find(w, CONTEXT), data = free_reg(w), end, top, offset = -1;

	if (ctx < 0)
		return;
	w->kinds[data] = TAKEN;
	end = free_reg(w);
	w->kinds[end] = TAKEN;
	top = free_reg(w);
	w->kinds[top] = TAKEN;
	emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, end, ctx, xdp ? 4 : 80, 0));
	emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, data, ctx, xdp ? 0 : 76, 0));
	if (chance(w, 3)) {
		offset = bounded(w, 32);
		emit(w, ALU_X(BPF_ADD, data, offset));
	}
	emit(w, MOV_X(top, data));
	emit(w, ALU_K(BPF_ADD, top, (int32_t)len));
	switch (below(w, 4)) {
	case 0:
		emit(w, INSN(BPF_JMP | BPF_JLT | BPF_X, end, top, TO_EXIT, 0));
		break;
	case 1:
		emit(w, INSN(BPF_JMP | BPF_JLE | BPF_X, top, end, 1, 0));
		emit(w, JA(TO_EXIT));
		break;
	case 2:
		emit(w, INSN(BPF_JMP | BPF_JGE | BPF_X, top, end, TO_EXIT, 0));
		break;
	default:
		emit(w, INSN(BPF_JMP | BPF_JGT | BPF_X, top, end, TO_EXIT, 0));
	}
	w->kinds[data] = PACKET;
	w->safe[data] = len;
	w->kinds[end] = PACKET_END;
	w->kinds[top] = NONE;
}

static void write_access(struct writer *w, int base, int from, int to)
{
	uint8_t size = any_size(w);
	int bytes = bytes_of(size), room = to - from - bytes, off, reg;

	if (room < 0) {
		size = BPF_B;
		bytes = 1;
		room = to - from - 1;
	}
	off = from + (int)below(w, (unsigned)sl_max(room, 0) + 1);
	if (w->kinds[base] != PACKET && !chance(w, 40))
		off = off / bytes * bytes;
	if (chance(w, 60))
		off += (int)below(w, 9) - 4;
	switch (below(w, 5)) {
	case 0:
		emit(w, INSN(BPF_STX | BPF_MEM | size, base, scalar(w), (int16_t)off, 0));
		break;
	case 1:
		emit(w, INSN(BPF_ST | BPF_MEM | size, base, 0, (int16_t)off,
				(int32_t)random_value(w->random)));
		break;
	default:
		reg = free_reg(w);
		if (size != BPF_DW && chance(w, 3))
			emit(w, INSN(BPF_LDX | 0x80 | size, reg, base, (int16_t)off, 0));
		else
			emit(w, INSN(BPF_LDX | BPF_MEM | size, reg, base, (int16_t)off, 0));
		w->kinds[reg] = SCALAR;
	}
}

static void write_packet_access(struct writer *w)
{
	int base = find(w, PACKET);

	if (base < 0)
		write_packet_check(w);
	else
		write_access(w, base, 0, (int)w->safe[base]);
}

static void write_stack(struct writer *w)
{
	int reg, ptr;

	if (!chance(w, 4)) {
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w), -8 * (1 + below(w, 6)), 0));
		/* R10 has no guess of its own. */
		reg = free_reg(w);
		emit(w, MOV_X(reg, 10));
		w->kinds[reg] = STACK;
		write_access(w, reg, -48, 0);
		return;
	}
	/* At an offset that is not known. */
	for (int slot = 1; slot <= 4; slot++)
		emit(w, INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, (int16_t)(-8 * slot), slot));
	reg = bounded(w, 15);
	w->kinds[reg] = TAKEN;
	ptr = free_reg(w);
	emit(w, MOV_X(ptr, 10));
	emit(w, ALU_K(BPF_ADD, ptr, -32));
	emit(w, ALU_X(BPF_ADD, ptr, reg));
	w->kinds[reg] = SCALAR;
	w->kinds[ptr] = STACK;
	write_access(w, ptr, 0, 16);
	w->kinds[ptr] = NONE;
}

static void write_spill(struct writer *w)
{
	static const enum kind kinds[] = { PACKET, VALUE, SCALAR, SCALAR, PACKET_END };
	enum kind kind = kinds[below(w, sl_array_size(kinds))];
	int reg = find(w, kind), to;
	int16_t slot = (int16_t)(-64 - 8 * (int)below(w, 4));

	if (reg < 0)
		return;
	emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, reg, slot, 0));
	if (chance(w, 3))
		snippet(w);
	to = free_reg(w);
	emit(w, INSN(BPF_LDX | BPF_MEM | (chance(w, 10) ? BPF_W : BPF_DW), to, 10, slot, 0));
	w->kinds[to] = kind;
	w->safe[to] = w->safe[reg];
	if (w->program->insns[w->program->count - 1].code != (BPF_LDX | BPF_MEM | BPF_DW)) {
		w->kinds[to] = SCALAR;
		w->program->comparable &= kind == SCALAR;
	}
}

static void write_lookup(struct writer *w)
{
	int key = scalar(w), map = (int)below(w, PROGRAM_MAPS);

	if (chance(w, 2))
		emit(w, INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, (int32_t)below(w, 6)));
	else
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_W, 10, key, -4, 0));
	emit(w, INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map));
	emit(w, INSN(0, 0, 0, 0, 0));
	emit(w, MOV_X(2, 10));
	emit(w, ALU_K(BPF_ADD, 2, -4));
	emit(w, HELPER(BPF_FUNC_map_lookup_elem));
	clobber(w);
	w->kinds[0] = VALUE;
	if (!chance(w, 40))
		emit(w, JMP_K(BPF_JEQ, 0, 0, TO_EXIT));
	if (chance(w, 2)) {
		int reg = 7 + (int)below(w, 3);

		if (w->kinds[reg] == TAKEN || w->kinds[reg] == CONTEXT)
			return;
		emit(w, MOV_X(reg, 0));
		w->kinds[reg] = VALUE;
		w->kinds[0] = NONE;
	}
}

static void write_update(struct writer *w)
{
	int map = (int)below(w, PROGRAM_MAPS);

	for (int slot = 0; slot < PROGRAM_VALUE_BYTES / 8; slot++)
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w), (int16_t)(-64 + 8 * slot),
				0));
	emit(w, INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, (int32_t)below(w, 6)));
	emit(w, INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map));
	emit(w, INSN(0, 0, 0, 0, 0));
	emit(w, MOV_X(2, 10));
	emit(w, ALU_K(BPF_ADD, 2, -4));
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -64));
	emit(w, MOV_K(4, (int32_t)below(w, 3)));
	emit(w, HELPER(chance(w, 3) ? BPF_FUNC_map_delete_elem : BPF_FUNC_map_update_elem));
	clobber(w);
	w->kinds[0] = SCALAR;
}

static void write_value_access(struct writer *w)
{
	int base = find(w, VALUE), offset;

	if (base < 0) {
		write_lookup(w);
		return;
	}
	switch (below(w, 4)) {
	case 0:
		offset = bounded(w, 31);
		emit(w, ALU_X(BPF_ADD, base, offset));
		write_access(w, base, 0, 8);
		w->kinds[base] = NONE;
		break;
	case 1: {
		static const int32_t ops[] = { BPF_ADD, BPF_AND, BPF_OR, BPF_XOR,
			BPF_ADD | BPF_FETCH, BPF_OR | BPF_FETCH, BPF_XCHG };
		int32_t op = ops[below(w, sl_array_size(ops))];

		emit(w, INSN(BPF_STX | BPF_ATOMIC | (chance(w, 2) ? BPF_W : BPF_DW), base,
				scalar(w), (int16_t)(8 * below(w, 5)), op));
		break;
	}
	default:
		write_access(w, base, 0, PROGRAM_VALUE_BYTES);
	}
}

static void write_context(struct writer *w)
{
	/* What is the same in the kernel's test run and in ours. */
	static const int16_t skb_fields[] = { 0, 8, 32, 44, 48, 52, 56 };
	bool xdp = w->program->type == BPF_PROG_TYPE_XDP;
	int ctx = find(w, CONTEXT), reg;

	if (ctx < 0)
		return;
	if (!xdp && chance(w, 4)) {
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_W, ctx, scalar(w), skb_fields[1 + below(w, 6)],
				0));
		return;
	}
	if (chance(w, 10)) {
		w->program->comparable = false;
		reg = free_reg(w);
		emit(w, INSN(BPF_LDX | BPF_MEM | any_size(w), reg, ctx,
				(int16_t)below(w, xdp ? 32 : 200), 0));
	} else {
		reg = free_reg(w);
		emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, reg, ctx,
				xdp ? 16 : skb_fields[below(w, 7)], 0));
	}
	w->kinds[reg] = SCALAR;
}

static void write_helper(struct writer *w)
{
	bool xdp = w->program->type == BPF_PROG_TYPE_XDP;
	int ctx = find(w, CONTEXT);

	if (ctx < 6)
		return;
	if (xdp && chance(w, 2)) {
		emit(w, MOV_X(1, ctx));
		emit(w, MOV_K(2, (int32_t)below(w, 17) - 8));
		emit(w, HELPER(chance(w, 2) ? BPF_FUNC_xdp_adjust_head : BPF_FUNC_xdp_adjust_tail));
		for (int reg = 0; reg < REGS; reg++)
			if (w->kinds[reg] == PACKET || w->kinds[reg] == PACKET_END)
				w->kinds[reg] = chance(w, 20) ? w->kinds[reg] : NONE;
	} else if (!xdp && chance(w, 2)) {
		emit(w, MOV_X(1, ctx));
		emit(w, MOV_K(2, (int32_t)below(w, 80)));
		emit(w, MOV_X(3, 10));
		emit(w, ALU_K(BPF_ADD, 3, -32));
		emit(w, MOV_K(4, (int32_t)below(w, 33)));
		emit(w, HELPER(BPF_FUNC_skb_load_bytes));
	} else {
		for (int slot = 1; slot <= 4; slot++)
			emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w),
					(int16_t)(-8 * slot), 0));
		emit(w, MOV_X(1, 10));
		emit(w, ALU_K(BPF_ADD, 1, -16));
		emit(w, MOV_K(2, 4 * (int32_t)below(w, 6)));
		emit(w, MOV_X(3, 10));
		emit(w, ALU_K(BPF_ADD, 3, -32));
		emit(w, MOV_K(4, 4 * (int32_t)below(w, 5)));
		emit(w, MOV_K(5, 0));
		emit(w, HELPER(BPF_FUNC_csum_diff));
	}
	clobber(w);
	w->kinds[0] = SCALAR;
}

static struct bpf_insn condition(struct writer *w)
{
	static const uint8_t ops[] = { BPF_JEQ, BPF_JNE, BPF_JSET, BPF_JGT, BPF_JGE, BPF_JLT,
		BPF_JLE, BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE };
	struct bpf_insn insn = { .code = ops[below(w, sl_array_size(ops))] };

	insn.code |= chance(w, 2) ? BPF_JMP : BPF_JMP32;
	insn.dst_reg = scalar(w);
	if (chance(w, 3)) {
		insn.code |= BPF_X;
		insn.src_reg = scalar(w);
	} else {
		insn.imm = (int32_t)random_value(w->random);
	}
	return insn;
}

static void write_branch(struct writer *w)
{
	enum kind before[REGS];
	uint32_t at;
	int body = 1 + (int)below(w, 3);

	if (w->nested > 2)
		return;
	w->nested++;
	at = emit(w, condition(w));
	memcpy(before, w->kinds, sizeof(before));
	while (body-- > 0)
		snippet(w);
	w->program->insns[at].off = (int16_t)(w->program->count - at - 1);
	for (int reg = 0; reg < REGS; reg++) {
		if (w->kinds[reg] == before[reg])
			continue;
		/* Taken for what it is on one way only: an address may get into the result. */
		if (chance(w, 30))
			w->program->comparable = false;
		else
			w->kinds[reg] = NONE;
	}
	w->nested--;
}

static void write_loop(struct writer *w)
{
	int counter = 7 + (int)below(w, 3), body = 1 + (int)below(w, 2);
	uint32_t top;

	if (w->nested > 1 || w->kinds[counter] == TAKEN || w->kinds[counter] == CONTEXT)
		return;
	w->nested++;
	emit(w, MOV_K(counter, 1 + (int32_t)below(w, 5)));
	w->kinds[counter] = TAKEN;
	top = w->program->count;
	while (body-- > 0)
		if (chance(w, 2))
			write_alu(w);
		else
			write_stack(w);
	emit(w, ALU_K(BPF_ADD, counter, -1));
	emit(w, JMP_K(BPF_JNE, counter, 0, (int16_t)(top - w->program->count - 1)));
	w->kinds[counter] = SCALAR;
	w->nested--;
}

static void write_call(struct writer *w)
{
	if (w->call_count >= MAX_CALLS)
		return;
	emit(w, MOV_X(1, scalar(w)));
	w->kinds[1] = TAKEN;
	emit(w, MOV_X(2, scalar(w)));
	w->kinds[1] = SCALAR;
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -8));
	emit(w, INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 5));
	w->calls[w->call_count++] = emit(w, LOCAL_CALL(0));
	clobber(w);
	w->kinds[0] = SCALAR;
}

static void snippet(struct writer *w)
{
	static void (*const snippets[])(struct writer *w) = { write_alu, write_alu, write_alu,
		write_packet_check, write_packet_access, write_packet_access, write_stack,
		write_stack, write_spill, write_lookup, write_value_access, write_value_access,
		write_context, write_helper, write_branch, write_branch, write_loop, write_call,
		write_update };

	snippets[below(w, sl_array_size(snippets))](w);
}

/* Functions: arithmetic on two scalars and a caller's slot. */
static void write_functions(struct writer *w)
{
	for (unsigned i = 0; i < w->call_count; i++) {
		struct bpf_insn *call = &w->program->insns[w->calls[i]];
		int body = 2 + (int)below(w, 4);

		if (call->code != (BPF_JMP | BPF_CALL))
			continue;
		call->imm = (int32_t)(w->program->count - w->calls[i] - 1);
		memset(w->kinds, 0, sizeof(w->kinds));
		w->kinds[1] = w->kinds[2] = SCALAR;
		w->kinds[3] = TAKEN;
		while (body-- > 0)
			write_alu(w);
		if (chance(w, 2))
			emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 3, scalar(w), 0, 0));
		else
			emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, 4, 3, 0, 0));
		emit(w, MOV_X(0, scalar(w)));
		emit(w, EXIT);
	}
}

static void write_end(struct writer *w)
{
	uint32_t out;
	int result = scalar(w);

	/* Every number that is left counts. */
	for (int reg = 0; reg < REGS; reg++)
		if (w->kinds[reg] == SCALAR && reg != result)
			emit(w, ALU_X(BPF_XOR, result, reg));
	emit(w, MOV_X(0, result));
	emit(w, EXIT);
	out = emit(w, MOV_K(0, 1));
	emit(w, EXIT);
	for (uint32_t i = 0; i < out; i++) {
		struct bpf_insn *insn = &w->program->insns[i];
		uint8_t class = BPF_CLASS(insn->code);

		if ((class == BPF_JMP || class == BPF_JMP32) && insn->off == TO_EXIT)
			insn->off = (int16_t)(out - i - 1);
	}
}

void program_generate(struct sl_random *random, struct program *program)
{
	struct writer w = { .random = random, .program = program };

	memset(program, 0, sizeof(*program));
	program->type = chance(&w, 2) ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SCHED_CLS;
	emit(&w, MOV_X(6, 1));
	w.kinds[6] = CONTEXT;
	/* What was on the stack before is nothing to compare. */
	program->comparable = !chance(&w, 4);
	for (int slot = 1; program->comparable && slot <= STACK_SLOTS; slot++)
		emit(&w, INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, (int16_t)(-8 * slot), slot));
	for (int i = 0; i < SNIPPETS; i++)
		snippet(&w);
	write_end(&w);
	write_functions(&w);
}

void program_use_maps(
	const struct program *program, const int fds[PROGRAM_MAPS], struct bpf_insn *ret_insns)
{
	memcpy(ret_insns, program->insns, program->count * sizeof(*ret_insns));
	for (uint32_t i = 0; i < program->count; i++)
		if (ret_insns[i].code == (BPF_LD | BPF_IMM | BPF_DW) &&
			ret_insns[i].src_reg == BPF_PSEUDO_MAP_FD)
			ret_insns[i].imm = fds[ret_insns[i].imm];
}
