#include "writer.h"

bool chance(struct writer *w, unsigned one_in)
{
	return random_below(w->random, one_in) == 0;
}

unsigned below(struct writer *w, unsigned limit)
{
	return random_below(w->random, limit);
}

uint32_t emit(struct writer *w, struct bpf_insn insn)
{
	if (w->program->count < FUZZ_MAX_INSNS)
		w->program->insns[w->program->count++] = insn;
	return w->program->count - 1;
}

void emit_map(struct writer *w, int reg, enum standard_map map)
{
	emit(w, INSN(BPF_LD | BPF_IMM | BPF_DW, reg, BPF_PSEUDO_MAP_FD, 0, map));
	emit(w, INSN(0, 0, 0, 0, 0));
}

int find(struct writer *w, enum kind kind)
{
	unsigned start = below(w, REGS);

	if (chance(w, 700)) {
		w->program->comparable = false;
		return (int)start;
	}
	for (unsigned i = 0; i < REGS; i++)
		if (w->kinds[(start + i) % REGS] == kind)
			return (int)((start + i) % REGS);
	return -1;
}

int free_reg(struct writer *w)
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

int scalar(struct writer *w)
{
	int reg = find(w, SCALAR);

	if (reg >= 0)
		return reg;
	reg = free_reg(w);
	emit(w, MOV_K(reg, (int32_t)random_value(w->random)));
	w->kinds[reg] = SCALAR;
	return reg;
}

int bounded(struct writer *w, unsigned max)
{
	int reg = scalar(w);

	if (chance(w, 30))
		max *= 4;
	switch (below(w, 5)) {
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
	case 3:
		emit(w, ALU_K(BPF_MOD, reg, (int32_t)max + 1));
		emit(w, JMP_K(BPF_JGT, reg, (int32_t)max, TO_EXIT));
		break;
	default:
		while (max & (max + 1))
			max &= max - 1;
		emit(w, ALU_K(BPF_AND, reg, (int32_t)max));
	}
	return reg;
}

void clobber(struct writer *w)
{
	for (int reg = 0; reg < 6; reg++)
		if (w->kinds[reg] != TAKEN)
			w->kinds[reg] = NONE;
}

void forget_packet(struct writer *w)
{
	for (int reg = 0; reg < REGS; reg++)
		if (w->kinds[reg] == PACKET || w->kinds[reg] == PACKET_END)
			w->kinds[reg] = chance(w, 20) ? w->kinds[reg] : NONE;
}

void write_access(struct writer *w, int base, int from, int to)
{
	static const uint8_t sizes[] = { BPF_B, BPF_H, BPF_W, BPF_DW };
	unsigned log = below(w, 4);
	int bytes = 1 << log, room = to - from - bytes, off, reg;

	if (room < 0) {
		log = 0;
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
		emit(w, INSN(BPF_STX | BPF_MEM | sizes[log], base, scalar(w), (int16_t)off, 0));
		break;
	case 1:
		emit(w, INSN(BPF_ST | BPF_MEM | sizes[log], base, 0, (int16_t)off,
				(int32_t)random_value(w->random)));
		break;
	default:
		reg = free_reg(w);
		if (bytes != 8 && chance(w, 3))
			emit(w, INSN(BPF_LDX | 0x80 | sizes[log], reg, base, (int16_t)off, 0));
		else
			emit(w, INSN(BPF_LDX | BPF_MEM | sizes[log], reg, base, (int16_t)off, 0));
		w->kinds[reg] = SCALAR;
	}
}
