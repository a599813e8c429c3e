#include "writer.h"

/*
 * What is held and given back: iterators, dynptrs, sockets, timers; and loops that end by a budget.
 * Their places on the stack are below those of the other productions.
 */

enum { ITER_SLOT = -(STACK_SLOTS + 1) * 8, DYNPTR_SLOT = ITER_SLOT - 48, RECORD_BYTES = 32 };

static void address(struct writer *w, int reg, int off)
{
	emit(w, MOV_X(reg, 10));
	emit(w, ALU_K(BPF_ADD, reg, off));
}

static void kfunc(struct writer *w, enum standard_kfunc kfunc)
{
	emit(w, INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, standard_kfunc(kfunc)));
	clobber(w);
	w->kinds[0] = SCALAR;
}

/* Pointers are the same in every round: out of the body's reach. */
static void hide_pointers(struct writer *w)
{
	clobber(w);
	for (int reg = 6; reg < REGS; reg++)
		if (w->kinds[reg] != SCALAR && w->kinds[reg] != CONTEXT && w->kinds[reg] != NONE)
			w->kinds[reg] = TAKEN;
}

/* The body of a loop from `top` on, and the jump back; what would leave the function leaves it. */
static void write_rounds(struct writer *w, uint32_t top)
{
	int body = 1 + (int)below(w, 3);
	bool still = w->still;
	enum kind before[REGS], after[REGS];

	memcpy(before, w->kinds, sizeof(before));
	w->still = true;
	w->nested += 2;
	while (body-- > 0)
		if (chance(w, 2))
			write_alu(w);
		else
			snippet(w);
	w->nested -= 2;
	w->still = still;
	memcpy(after, w->kinds, sizeof(after));
	for (int reg = 6; reg < REGS; reg++)
		if (before[reg] == SCALAR && after[reg] != SCALAR)
			emit(w, MOV_K(reg, 0));
	emit(w, JA((int16_t)(top - w->program->count - 1)));
	for (uint32_t i = top; i < w->program->count; i++) {
		struct bpf_insn *insn = &w->program->insns[i];

		if ((BPF_CLASS(insn->code) == BPF_JMP || BPF_CLASS(insn->code) == BPF_JMP32) &&
			insn->off == TO_EXIT)
			insn->off = (int16_t)(w->program->count - i - 1);
	}
	for (int reg = 0; reg < REGS; reg++)
		w->kinds[reg] = reg > 5 && before[reg] == after[reg] ? before[reg] : NONE;
}

static void restore_pointers(struct writer *w, const enum kind before[REGS])
{
	for (int reg = 6; reg < REGS; reg++)
		if (w->kinds[reg] == TAKEN)
			w->kinds[reg] = before[reg];
}

static void write_iterator(struct writer *w)
{
	int slot = ITER_SLOT - 8 * (int)w->nested;
	enum kind before[REGS];
	uint32_t top;

	if (w->nested > 2)
		return;
	if (chance(w, 3)) {
		int count = bounded(w, 7);

		emit(w, MOV_X(3, count));
	} else {
		emit(w, MOV_K(3, 1 + (int32_t)below(w, 7)));
	}
	emit(w, MOV_K(2, (int32_t)below(w, 3)));
	address(w, 1, slot);
	hide_pointers(w);
	memcpy(before, w->kinds, sizeof(before));
	kfunc(w, KFUNC_ITER_NUM_NEW);
	w->kinds[0] = NONE;
	top = w->program->count;
	address(w, 1, slot);
	kfunc(w, KFUNC_ITER_NUM_NEXT);
	emit(w, JMP_K(BPF_JEQ, 0, 0, TO_EXIT));
	emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, 1, 0, 0, 0));
	w->kinds[0] = NONE;
	w->kinds[1] = SCALAR;
	write_rounds(w, top);
	restore_pointers(w, before);
	if (chance(w, 40))
		return;
	address(w, 1, slot);
	kfunc(w, KFUNC_ITER_NUM_DESTROY);
	w->kinds[0] = NONE;
}

/* It may go round 8 million times: the counter ends it earlier. */
static void write_may_goto(struct writer *w)
{
	int counter = 7 + (int)below(w, 3);
	uint32_t top;

	if (w->nested > 1 || w->kinds[counter] == TAKEN || w->kinds[counter] == CONTEXT)
		return;
	hide_pointers(w);
	for (int reg = 6; reg < REGS; reg++)
		if (w->kinds[reg] == TAKEN)
			return;
	emit(w, MOV_K(counter, 0));
	w->kinds[counter] = TAKEN;
	top = emit(w, INSN(BPF_JMP | 0xe0, 0, 0, TO_EXIT, 0));
	emit(w, ALU_K(BPF_ADD, counter, 1));
	emit(w, JMP_K(BPF_JGT, counter, 2 + (int32_t)below(w, 30), TO_EXIT));
	write_rounds(w, top);
	w->kinds[counter] = SCALAR;
}

static void write_filled(struct writer *w)
{
	for (int slot = 1; slot <= RECORD_BYTES / 8; slot++)
		emit(w, INSN(BPF_STX | BPF_MEM | BPF_DW, 10, scalar(w), (int16_t)(-8 * slot), 0));
}

static void write_dynptr_read(struct writer *w)
{
	emit(w, MOV_K(4, (int32_t)below(w, 40)));
	address(w, 1, -RECORD_BYTES);
	emit(w, MOV_K(2, (int32_t)below(w, RECORD_BYTES + (chance(w, 20) ? 8 : 1))));
	address(w, 3, DYNPTR_SLOT);
	emit(w, MOV_K(5, 0));
	emit(w, HELPER(BPF_FUNC_dynptr_read));
	clobber(w);
	w->kinds[0] = SCALAR;
}

static void write_dynptr_write(struct writer *w, bool whole)
{
	write_filled(w);
	emit(w, MOV_K(2, whole ? 0 : (int32_t)below(w, 40)));
	address(w, 1, DYNPTR_SLOT);
	address(w, 3, -RECORD_BYTES);
	emit(w, MOV_K(4, whole ? RECORD_BYTES : (int32_t)below(w, RECORD_BYTES + 1)));
	emit(w, MOV_K(5, chance(w, 20)));
	emit(w, HELPER(BPF_FUNC_dynptr_write));
	clobber(w);
	w->kinds[0] = SCALAR;
}

static void write_dynptr_data(struct writer *w)
{
	int len = 1 + (int)below(w, 16);
	uint32_t at;

	address(w, 1, DYNPTR_SLOT);
	emit(w, MOV_K(2, (int32_t)below(w, 24)));
	emit(w, MOV_K(3, len));
	emit(w, HELPER(BPF_FUNC_dynptr_data));
	clobber(w);
	at = emit(w, JMP_K(BPF_JEQ, 0, 0, 0));
	w->kinds[0] = TAKEN;
	emit(w, MOV_K(1, (int32_t)below(w, 99)));
	w->kinds[1] = SCALAR;
	write_access(w, 0, 0, len);
	w->program->insns[at].off = (int16_t)(w->program->count - at - 1);
	clobber(w);
	w->kinds[0] = NONE;
	for (int reg = 0; reg < 6; reg++)
		w->kinds[reg] = NONE;
}

static void use_dynptr(struct writer *w)
{
	/* What an access may be loaded to is not there on the way around it. */
	enum kind before[REGS];

	memcpy(before, w->kinds, sizeof(before));
	for (int uses = 1 + (int)below(w, 3); uses > 0; uses--) {
		switch (below(w, 3)) {
		case 0:
			write_dynptr_read(w);
			break;
		case 1:
			write_dynptr_write(w, false);
			break;
		default:
			write_dynptr_data(w);
		}
		for (int reg = 6; reg < REGS; reg++)
			if (before[reg] != w->kinds[reg])
				w->kinds[reg] = NONE;
	}
}

static void write_value_dynptr(struct writer *w)
{
	look_up(w, MAP_ARRAY);
	emit(w, JMP_K(BPF_JEQ, 0, 0, TO_EXIT));
	w->kinds[0] = NONE;
	emit(w, MOV_X(1, 0));
	emit(w, MOV_K(2, VALUE_BYTES - (int32_t)below(w, 8) + (chance(w, 30) ? 8 : 0)));
	emit(w, MOV_K(3, 0));
	address(w, 4, DYNPTR_SLOT);
	emit(w, HELPER(BPF_FUNC_dynptr_from_mem));
	clobber(w);
	w->kinds[0] = SCALAR;
	use_dynptr(w);
}

static void write_record_dynptr(struct writer *w)
{
	if (w->nested > 2)
		return;
	emit_map(w, 1, MAP_RINGBUF);
	emit(w, MOV_K(2, RECORD_BYTES));
	emit(w, MOV_K(3, 0));
	address(w, 4, DYNPTR_SLOT);
	emit(w, HELPER(BPF_FUNC_ringbuf_reserve_dynptr));
	clobber(w);
	w->kinds[0] = SCALAR;
	write_dynptr_write(w, true);
	use_dynptr(w);
	if (chance(w, 40))
		return;
	address(w, 1, DYNPTR_SLOT);
	emit(w, MOV_K(2, 0));
	emit(w, HELPER(chance(w, 2) ? BPF_FUNC_ringbuf_submit_dynptr
				    : BPF_FUNC_ringbuf_discard_dynptr));
	clobber(w);
}

static void write_socket(struct writer *w)
{
	static const int lookups[] = { BPF_FUNC_sk_lookup_tcp, BPF_FUNC_sk_lookup_udp,
		BPF_FUNC_skc_lookup_tcp };
	static const int16_t fields[] = { 4, 8, 24, 28, 44, 72 };
	int ctx = find(w, CONTEXT);
	uint32_t at;

	if (ctx < 6)
		return;
	for (int off = -48; off < -32; off += 8)
		emit(w, INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, (int16_t)off, 0));
	emit(w, MOV_X(1, ctx));
	address(w, 2, -48);
	emit(w, MOV_K(3, chance(w, 20) ? 36 : 12));
	emit(w, MOV_K(4, -1));
	emit(w, MOV_K(5, 0));
	emit(w, HELPER(lookups[below(w, sl_array_size(lookups))]));
	clobber(w);
	at = emit(w, JMP_K(BPF_JEQ, 0, 0, 0));
	emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, 2, 0, fields[below(w, sl_array_size(fields))], 0));
	emit(w, MOV_X(1, 0));
	if (!chance(w, 30))
		emit(w, HELPER(BPF_FUNC_sk_release));
	w->program->insns[at].off = (int16_t)(w->program->count - at - 1);
}

/* A test run's packet has a socket in the kernel. */
static void write_own_socket(struct writer *w)
{
	int ctx = find(w, CONTEXT);

	if (ctx < 6)
		return;
	w->program->comparable = false;
	emit(w, INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, ctx, 168, 0));
	emit(w, JMP_K(BPF_JEQ, 1, 0, TO_EXIT));
	if (chance(w, 2))
		emit(w, INSN(BPF_LDX | BPF_MEM | BPF_W, 0, 1, (int16_t)(4 * below(w, 6)), 0));
	else
		emit(w, HELPER(chance(w, 2) ? BPF_FUNC_sk_fullsock : BPF_FUNC_tcp_sock));
	clobber(w);
}

/* A timer that does not fire while the program is looked at: an hour. */
static void write_timer(struct writer *w)
{
	if (w->call_count >= MAX_CALLS || w->nested > 2 || !w->program->func_count ||
		w->kinds[9] == CONTEXT || w->kinds[9] == TAKEN)
		return;
	w->kinds[9] = TAKEN;
	look_up(w, MAP_TIMED);
	emit(w, JMP_K(BPF_JEQ, 0, 0, TO_EXIT));
	emit(w, MOV_X(9, 0));
	w->kinds[0] = NONE;
	if (!chance(w, 3)) {
		emit(w, MOV_X(1, 9));
		emit_map(w, 2, chance(w, 30) ? MAP_ARRAY : MAP_TIMED);
		emit(w, MOV_K(3, chance(w, 2)));
		emit(w, HELPER(BPF_FUNC_timer_init));
		clobber(w);
	}
	emit(w, MOV_X(1, 9));
	take_address(w, 2, FUNCTION_TIMER);
	emit(w, HELPER(BPF_FUNC_timer_set_callback));
	clobber(w);
	emit(w, MOV_X(1, 9));
	emit(w, INSN(BPF_LD | BPF_IMM | BPF_DW, 2, 0, 0, 0));
	emit(w, INSN(0, 0, 0, 0, 838));
	emit(w, MOV_K(3, chance(w, 20)));
	emit(w, HELPER(BPF_FUNC_timer_start));
	if (chance(w, 2)) {
		emit(w, MOV_X(1, 9));
		emit(w, HELPER(BPF_FUNC_timer_cancel));
	}
	clobber(w);
	w->kinds[0] = SCALAR;
	w->kinds[9] = chance(w, 4) ? VALUE : NONE;
	if (w->kinds[9] == VALUE) {
		write_access(w, 9, chance(w, 20) ? 8 : 16, VALUE_BYTES);
		w->kinds[9] = NONE;
	}
}

static void write_check_mtu(struct writer *w)
{
	int ctx = find(w, CONTEXT);

	if (ctx < 6)
		return;
	w->program->comparable = false;
	emit(w, INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, (int32_t)below(w, 2000)));
	emit(w, MOV_X(1, ctx));
	emit(w, MOV_K(2, (int32_t)below(w, 3)));
	address(w, 3, chance(w, 20) ? -4 : -8);
	emit(w, MOV_K(4, (int32_t)below(w, 64) - 32));
	emit(w, MOV_K(5, (int32_t)below(w, 2)));
	emit(w, HELPER(BPF_FUNC_check_mtu));
	clobber(w);
	w->kinds[0] = SCALAR;
}

static void write_tunnel_key(struct writer *w)
{
	int ctx = find(w, CONTEXT);

	if (ctx < 6)
		return;
	w->program->comparable = false;
	write_filled(w);
	emit(w, MOV_X(1, ctx));
	address(w, 2, -RECORD_BYTES);
	emit(w, MOV_K(3, 28));
	emit(w, MOV_K(4, 0));
	emit(w, HELPER(chance(w, 2) ? BPF_FUNC_skb_get_tunnel_key : BPF_FUNC_skb_set_tunnel_key));
	clobber(w);
	w->kinds[0] = SCALAR;
}

static bool has_kfuncs(const struct fuzz_world *world)
{
	(void)world;
	for (unsigned i = 0; i < KFUNCS; i++)
		if (!standard_kfunc(i))
			return false;
	return true;
}

const struct production object_productions[] = {
	{ "iterator", write_iterator, 2, .possible = has_kfuncs },
	{ "may_goto", write_may_goto, 1 },
	{ "dynptr of a value", write_value_dynptr, 1, .helper = BPF_FUNC_dynptr_from_mem },
	{ "dynptr of a record", write_record_dynptr, 1, 0, 1u << MAP_RINGBUF,
		BPF_FUNC_ringbuf_reserve_dynptr },
	{ "socket", write_socket, 1, DIRECT_TYPES, .helper = BPF_FUNC_sk_lookup_tcp },
	{ "packet's socket", write_own_socket, 1, TC_TYPES },
	{ "timer", write_timer, 1, 0, 1u << MAP_TIMED, BPF_FUNC_timer_init },
	{ "check_mtu", write_check_mtu, 1, DIRECT_TYPES, .helper = BPF_FUNC_check_mtu },
	{ "tunnel key", write_tunnel_key, 1, TC_TYPES, .helper = BPF_FUNC_skb_get_tunnel_key },
};
const unsigned object_production_count = sl_array_size(object_productions);
