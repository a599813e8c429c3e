#include "writer.h"

/* Arithmetic, the packet, the stack, the context, jumps. */

void write_alu(struct writer *w)
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
	} else if ((op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH) && !chance(w, 8)) {
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
		if (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH)
			insn.imm &= 31;
	}
	emit(w, insn);
}

static void write_imm64(struct writer *w)
{
	int reg = free_reg(w);
	uint64_t value = random_value(w->random);

	emit(w, INSN(BPF_LD | BPF_IMM | BPF_DW, reg, 0, 0, (int32_t)value));
	emit(w, INSN(0, 0, 0, 0, (int32_t)(value >> 32)));
	w->kinds[reg] = SCALAR;
}

/* Compares end and top; on the one way the packet reaches to top, the other leads to the exit. */
static void write_end_check(struct writer *w, int top, int end)
{
	switch (below(w, 5)) {
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
	case 3:
		emit(w, INSN(BPF_JMP | BPF_JGE | BPF_X, end, top, 1, 0));
		emit(w, JA(TO_EXIT));
		break;
	default:
		emit(w, INSN(BPF_JMP | BPF_JGT | BPF_X, top, end, TO_EXIT, 0));
	}
}

static void write_packet_check(struct writer *w)
{
	bool xdp = w->program->type == BPF_PROG_TYPE_XDP;
	unsigned len = 1 + below(w, 40);
	int ctx = find(w, CONTEXT), data = free_reg(w), end, top;

	if (ctx < 0)
		return;
	w->kinds[data] = TAKEN;
	end = free_reg(w);
	w->kinds[end] = TAKEN;
	top = free_reg(w);
	w->kinds[top] = TAKEN;
	emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, end, ctx, xdp ? 4 : 80, 0));
	emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, data, ctx, xdp ? 0 : 76, 0));
	if (chance(w, 3))
		emit(w, ALU_X(BPF_ADD, data, bounded(w, 32)));
	emit(w, MOV_X(top, data));
	emit(w, ALU_K(BPF_ADD, top, (int32_t)len));
	write_end_check(w, top, end);
	w->kinds[data] = PACKET;
	w->safe[data] = len;
	w->kinds[end] = PACKET_END;
	w->kinds[top] = NONE;
}

static void write_packet_access(struct writer *w)
{
	int base = find(w, PACKET);

	if (base < 0)
		write_packet_check(w);
	else
		write_access(w, base, 0, (int)w->safe[base]);
}

void write_stack(struct writer *w)
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
	write_access(w, ptr, 0, chance(w, 10) ? 16 : 1);
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

/* What is the same in the kernel's test run and in ours. */
static void write_context(struct writer *w)
{
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
	reg = free_reg(w);
	if (chance(w, 10)) {
		w->program->comparable = false;
		emit(w, INSN(BPF_LDX | BPF_MEM | (below(w, 4) << 3), reg, ctx,
				(int16_t)below(w, xdp ? 32 : 200), 0));
	} else {
		emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, reg, ctx,
				xdp ? 16 : skb_fields[below(w, 7)], 0));
	}
	w->kinds[reg] = SCALAR;
}

/* The old way to the packet: R6 is the context, R0 the result, the others are lost. */
static void write_ld_abs(struct writer *w)
{
	static const uint8_t sizes[] = { BPF_B, BPF_H, BPF_W };
	uint8_t size = sizes[below(w, 3)];

	if (w->kinds[6] != CONTEXT || (w->in_function && !chance(w, 40)))
		return;
	if (chance(w, 2))
		emit(w, INSN(BPF_LD | BPF_ABS | size, 0, 0, 0, (int32_t)below(w, 40)));
	else
		emit(w, INSN(BPF_LD | BPF_IND | size, 0, bounded(w, 40), 0,
				(int32_t)below(w, 20) - 10));
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

/* Registers that are not the same on both ways are nothing afterwards. */
static void join(struct writer *w, const enum kind before[REGS])
{
	for (int reg = 0; reg < REGS; reg++) {
		if (w->kinds[reg] == before[reg])
			continue;
		/* Taken for what it is on one way only: an address may get into the result. */
		if (chance(w, 30))
			w->program->comparable = false;
		else
			w->kinds[reg] = NONE;
	}
}

static void write_branch(struct writer *w)
{
	enum kind before[REGS];
	uint32_t at, over;
	int body = 1 + (int)below(w, 3);

	if (w->nested > 2)
		return;
	w->nested++;
	at = emit(w, condition(w));
	memcpy(before, w->kinds, sizeof(before));
	while (body-- > 0)
		snippet(w);
	if (chance(w, 3)) {
		over = emit(w, chance(w, 4) ? INSN(BPF_JMP32 | BPF_JA, 0, 0, 0, 0) : JA(0));
		w->program->insns[at].off = (int16_t)(w->program->count - at - 1);
		snippet(w);
		if (w->program->insns[over].code == (BPF_JMP | BPF_JA))
			w->program->insns[over].off = (int16_t)(w->program->count - over - 1);
		else
			w->program->insns[over].imm = (int32_t)(w->program->count - over - 1);
	} else {
		w->program->insns[at].off = (int16_t)(w->program->count - at - 1);
	}
	join(w, before);
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

const struct production core_productions[] = {
	{ "alu", write_alu, 3 },
	{ "imm64", write_imm64, 1 },
	{ "packet check", write_packet_check, 1, DIRECT_TYPES },
	{ "packet access", write_packet_access, 2, DIRECT_TYPES },
	{ "stack", write_stack, 2 },
	{ "spill", write_spill, 1 },
	{ "context", write_context, 1 },
	{ "packet load", write_ld_abs, 1, SKB_TYPES },
	{ "branch", write_branch, 2 },
	{ "loop", write_loop, 1 },
};
const unsigned core_production_count = sl_array_size(core_productions);
