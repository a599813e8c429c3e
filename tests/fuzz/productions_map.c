#include "writer.h"

/* Maps: look-ups, values, updates, values addressed directly. */

void look_up(struct writer *w, enum standard_map map)
{
	int key = scalar(w);

	if (chance(w, 2))
		emit(w, INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, (int32_t)below(w, 6)));
	else
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_W, 10, key, -4, 0));
	emit_map(w, 1, map);
	emit(w, MOV_X(2, 10));
	emit(w, ALU_K(BPF_ADD, 2, -4));
	emit(w, HELPER(BPF_FUNC_map_lookup_elem));
	clobber(w);
	w->kinds[0] = VALUE;
}

static void look_up_checked(struct writer *w, enum standard_map map)
{
	look_up(w, map);
	if (!chance(w, 40))
		emit(w, JMP_K(BPF_JEQ, 0, 0, TO_EXIT));
}

static void write_lookup(struct writer *w)
{
	static const enum standard_map maps[] = { MAP_ARRAY, MAP_ARRAY, MAP_HASH, MAP_HASH,
		MAP_PERCPU };

	look_up_checked(w, maps[below(w, sl_array_size(maps))]);
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
	for (int slot = 0; slot < VALUE_BYTES / 8; slot++)
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w), (int16_t)(-64 + 8 * slot),
				0));
	emit(w, INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, (int32_t)below(w, 6)));
	emit_map(w, 1, chance(w, 2) ? MAP_ARRAY : MAP_HASH);
	emit(w, MOV_X(2, 10));
	emit(w, ALU_K(BPF_ADD, 2, -4));
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -64));
	emit(w, MOV_K(4, (int32_t)below(w, 3)));
	emit(w, HELPER(chance(w, 3) ? BPF_FUNC_map_delete_elem : BPF_FUNC_map_update_elem));
	clobber(w);
	w->kinds[0] = SCALAR;
}

static void write_atomic(struct writer *w, int base, int off)
{
	static const int32_t ops[] = { BPF_ADD, BPF_AND, BPF_OR, BPF_XOR, BPF_ADD | BPF_FETCH,
		BPF_OR | BPF_FETCH, BPF_AND | BPF_FETCH, BPF_XOR | BPF_FETCH, BPF_XCHG,
		BPF_CMPXCHG };
	int32_t op = ops[below(w, sl_array_size(ops))];
	int source = scalar(w);

	if (op == BPF_CMPXCHG && w->kinds[0] != SCALAR) {
		if (base == 0)
			return;
		emit(w, MOV_K(0, (int32_t)random_value(w->random)));
		w->kinds[0] = SCALAR;
	}
	emit(w, INSN(BPF_STX | BPF_ATOMIC | (chance(w, 2) ? BPF_W : BPF_DW), base, source,
			(int16_t)off, op));
}

static void write_stack_atomic(struct writer *w)
{
	int off = -8 * (1 + (int)below(w, 4));

	emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w), (int16_t)off, 0));
	write_atomic(w, 10, off);
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
		emit(w, ALU_X(chance(w, 20) ? BPF_SUB : BPF_ADD, base, offset));
		write_access(w, base, 0, 8);
		w->kinds[base] = NONE;
		break;
	case 1:
		write_atomic(w, base, 8 * (int)below(w, 5));
		break;
	default:
		write_access(w, base, 0, VALUE_BYTES);
	}
}

static void write_direct(struct writer *w)
{
	enum standard_map map = chance(w, 2) ? MAP_DATA : MAP_RODATA;
	int reg = free_reg(w), off = 8 * (int)below(w, VALUE_BYTES / 8), to;

	emit(w, INSN(BPF_LD | BPF_IMM | BPF_DW, reg, BPF_PSEUDO_MAP_VALUE, 0, map));
	emit(w, INSN(0, 0, 0, 0, chance(w, 2) ? 0 : off));
	if (!w->program->insns[w->program->count - 1].imm)
		off = 0;
	if (map == MAP_DATA) {
		w->kinds[reg] = VALUE;
		write_access(w, reg, -off, VALUE_BYTES - off);
		w->kinds[reg] = NONE;
		return;
	}
	to = free_reg(w);
	w->kinds[reg] = NONE;
	emit(w, INSN(BPF_LDX | BPF_MEM | (below(w, 4) << 3), to, reg, 0, 0));
	w->kinds[to] = SCALAR;
}

static void write_nested_lookup(struct writer *w)
{
	look_up_checked(w, MAP_OUTER);
	emit(w, MOV_X(1, 0));
	emit(w, MOV_X(2, 10));
	emit(w, ALU_K(BPF_ADD, 2, -4));
	emit(w, HELPER(BPF_FUNC_map_lookup_elem));
	clobber(w);
	w->kinds[0] = VALUE;
	emit(w, JMP_K(BPF_JEQ, 0, 0, TO_EXIT));
}

static void write_locked(struct writer *w)
{
	int body = (int)below(w, 3);

	look_up_checked(w, MAP_LOCKED);
	w->kinds[0] = NONE;
	if (w->kinds[9] == CONTEXT || w->kinds[9] == TAKEN)
		return;
	emit(w, MOV_X(9, 0));
	emit(w, MOV_X(1, 0));
	w->kinds[9] = TAKEN;
	emit(w, HELPER(BPF_FUNC_spin_lock));
	while (body-- > 0)
		write_access(w, 9, 8, VALUE_BYTES);
	if (chance(w, 20))
		snippet(w);
	if (!chance(w, 30)) {
		emit(w, MOV_X(1, 9));
		emit(w, HELPER(BPF_FUNC_spin_unlock));
	}
	clobber(w);
	w->kinds[9] = NONE;
}

static void write_ringbuf(struct writer *w)
{
	int body = (int)below(w, 4);

	emit_map(w, 1, MAP_RINGBUF);
	emit(w, MOV_K(2, chance(w, 10) ? 24 : 32));
	emit(w, MOV_K(3, 0));
	emit(w, HELPER(BPF_FUNC_ringbuf_reserve));
	clobber(w);
	emit(w, JMP_K(BPF_JEQ, 0, 0, TO_EXIT));
	w->kinds[0] = TAKEN;
	/* What is in there comes from an earlier lap of the ring. */
	for (int off = 0; off < 32; off += 8)
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 0, scalar(w), (int16_t)off, 0));
	while (body-- > 0)
		write_access(w, 0, 0, 32);
	w->kinds[0] = NONE;
	emit(w, MOV_X(1, 0));
	emit(w, MOV_K(2, 0));
	if (!chance(w, 30))
		emit(w, HELPER(chance(w, 2) ? BPF_FUNC_ringbuf_submit : BPF_FUNC_ringbuf_discard));
	clobber(w);
}

static void write_queue(struct writer *w)
{
	static const int helpers[] = { BPF_FUNC_map_push_elem, BPF_FUNC_map_push_elem,
		BPF_FUNC_map_pop_elem, BPF_FUNC_map_peek_elem };

	emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w), -8, 0));
	emit_map(w, 1, chance(w, 2) ? MAP_QUEUE : MAP_STACK);
	emit(w, MOV_X(2, 10));
	emit(w, ALU_K(BPF_ADD, 2, chance(w, 40) ? -4 : -8));
	emit(w, MOV_K(3, (int32_t)below(w, 4)));
	emit(w, HELPER(helpers[below(w, sl_array_size(helpers))]));
	clobber(w);
	w->kinds[0] = SCALAR;
}

/* The key at fp-8: how many bits count, and they. */
static void write_trie(struct writer *w)
{
	emit(w, INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -8, (int32_t)below(w, 34)));
	emit(w, INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, (int32_t)random_value(w->random)));
	for (int slot = 0; slot < VALUE_BYTES / 8; slot++)
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w), (int16_t)(-64 + 8 * slot),
				0));
	emit_map(w, 1, MAP_TRIE);
	emit(w, MOV_X(2, 10));
	emit(w, ALU_K(BPF_ADD, 2, -8));
	if (chance(w, 2)) {
		emit(w, HELPER(BPF_FUNC_map_lookup_elem));
		clobber(w);
		emit(w, JMP_K(BPF_JEQ, 0, 0, TO_EXIT));
		w->kinds[0] = VALUE;
		return;
	}
	emit(w, MOV_X(3, 10));
	emit(w, ALU_K(BPF_ADD, 3, -64));
	emit(w, MOV_K(4, (int32_t)below(w, 4)));
	emit(w, HELPER(chance(w, 3) ? BPF_FUNC_map_delete_elem : BPF_FUNC_map_update_elem));
	clobber(w);
	w->kinds[0] = SCALAR;
}

#define MAPS(a) (1u << (a))

const struct production map_productions[] = {
	{ "lookup", write_lookup, 1, 0, MAPS(MAP_PERCPU) },
	{ "update", write_update, 1 },
	{ "value", write_value_access, 2 },
	{ "stack atomic", write_stack_atomic, 1 },
	{ "direct value", write_direct, 1, 0, MAPS(MAP_DATA) | MAPS(MAP_RODATA) },
	{ "map in map", write_nested_lookup, 1, 0, MAPS(MAP_OUTER) },
	{ "spin lock", write_locked, 1, 0, MAPS(MAP_LOCKED), BPF_FUNC_spin_lock },
	{ "ringbuf", write_ringbuf, 1, 0, MAPS(MAP_RINGBUF), BPF_FUNC_ringbuf_reserve },
	{ "queue", write_queue, 1, 0, MAPS(MAP_QUEUE) | MAPS(MAP_STACK), BPF_FUNC_map_push_elem },
	{ "trie", write_trie, 1, 0, MAPS(MAP_TRIE) },
};
const unsigned map_production_count = sl_array_size(map_productions);
