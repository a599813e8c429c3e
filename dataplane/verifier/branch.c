#include "env.h"

#include <errno.h>
#include <string.h>

/*
 * Conditional jumps: which ways they can go, and what each way teaches: scalars get narrower,
 * packet pointers get a range, pointers that may be NULL are or are not.
 */

struct linked_set {
	struct sl_linked entries[SL_MAX_LINKED];
	unsigned count;
};

static void collect_one(struct linked_set *set, struct sl_reg *reg, uint32_t id, unsigned frame,
	unsigned i, bool is_reg)
{
	if (reg->type != SL_REG_SCALAR || (reg->id & ~SL_ID_ADD_CONST) != id)
		return;
	if (set->count == SL_MAX_LINKED) {
		/* More relatives than the history can name: this one leaves the family. */
		sl_reg_unlink(reg);
		return;
	}
	for (unsigned k = 0; k < set->count; k++)
		if (set->entries[k].frame == frame && set->entries[k].index == i &&
			set->entries[k].is_reg == is_reg)
			return;
	set->entries[set->count++] =
		(struct sl_linked){ .frame = frame, .index = i, .is_reg = is_reg };
}

static void collect_linked(struct sl_env *env, uint32_t id, struct linked_set *set)
{
	struct sl_state *state = env->cur;

	id &= ~SL_ID_ADD_CONST;
	for (int f = state->cur_frame; f >= 0; f--) {
		struct sl_frame *frame = state->frames[f];
		uint16_t live = sl_state_live(env, state, f);

		for (unsigned i = 0; i < BPF_REG_10; i++)
			if (live & 1u << i)
				collect_one(set, &frame->regs[i], id, f, i, true);
		for (unsigned i = 0; i < frame->slot_count; i++)
			if (sl_slot_is_spill(&frame->slots[i]))
				collect_one(set, &frame->slots[i].reg, id, f, i, false);
	}
}

/* reg is `known` plus a constant distance: carries over what is known. */
static void follow(struct sl_reg *reg, const struct sl_reg *known)
{
	static const struct bpf_insn add = { .code = BPF_ALU64 | BPF_ADD | BPF_X };
	int32_t off = reg->off, known_off = known->id & SL_ID_ADD_CONST ? known->off : 0;
	uint32_t id = reg->id;
	struct sl_reg delta;

	sl_reg_set_const(
		&delta, (uint64_t)((int64_t)(id & SL_ID_ADD_CONST ? off : 0) - (int64_t)known_off));
	*reg = *known;
	sl_reg_alu(reg, &delta, &add);
	if ((id | known->id) & SL_ID_ADD_CONST32) {
		sl_reg_zext32(reg);
		sl_reg_sync(reg);
	}
	reg->off = off;
	reg->id = id;
}

static void sync_linked(
	struct sl_state *state, const struct sl_reg *known_reg, const struct linked_set *set)
{
	struct sl_reg known = *known_reg;

	for (unsigned i = 0; i < set->count; i++) {
		const struct sl_linked *entry = &set->entries[i];
		struct sl_frame *frame = state->frames[entry->frame];
		struct sl_reg *reg = entry->is_reg ? &frame->regs[entry->index]
						   : &frame->slots[entry->index].reg;
		uint32_t sums = (reg->id ^ known.id) & SL_ID_ADD_CONST;

		if (reg->type != SL_REG_SCALAR || reg == known_reg ||
			(reg->id & ~SL_ID_ADD_CONST) != (known.id & ~SL_ID_ADD_CONST))
			continue;
		/* A sum of 32 bits and one of 64 do not keep their distance. */
		if (sums == SL_ID_ADD_CONST)
			continue;
		if (!sums && (!(reg->id & SL_ID_ADD_CONST) || reg->off == known.off))
			*reg = known;
		else
			follow(reg, &known);
	}
}

/* Pointers of the same origin as `reg` can be read up to its offset in this state. */
static void good_packet_pointers(struct sl_state *state, const struct sl_reg *reg, bool right_open)
{
	uint8_t type = reg->type;
	uint32_t id = reg->id, range = (uint32_t)reg->off + right_open;

	if (reg->off < 0 || (reg->off == 0 && right_open))
		return;
	if (reg->umax > SL_MAX_PACKET_OFF || reg->umax + (uint64_t)reg->off > SL_MAX_PACKET_OFF)
		return;
	sl_state_for_each_reg(state, other, {
		if (other->type == type && other->id == id &&
			(int32_t)other->range < (int32_t)range)
			other->range = range;
	});
}

static void mark_packet_end(struct sl_state *state, unsigned regno, bool beyond)
{
	struct sl_reg *reg = &sl_state_frame(state)->regs[regno];

	if (reg->type == SL_REG_PACKET)
		reg->range = beyond ? SL_BEYOND_PACKET_END : SL_AT_PACKET_END;
}

static bool is_packet_start(const struct sl_reg *reg)
{
	return reg->type == SL_REG_PACKET && !reg->id && !reg->off &&
	       sl_tnum_is_const(reg->var_off) && !reg->var_off.value;
}

/* pointer `p` and the limit it is compared with. */
static bool is_limit(const struct sl_reg *p, const struct sl_reg *limit)
{
	return (p->type == SL_REG_PACKET && limit->type == SL_REG_PACKET_END) ||
	       (p->type == SL_REG_PACKET_META && is_packet_start(limit));
}

/*
 * A packet pointer compared with its limit. `below` is the state in which pointer < limit (open)
 * or pointer <= limit; `above` the other one.
 */
static bool match_packet(const struct bpf_insn *insn, struct sl_state *fall, struct sl_state *taken)
{
	static const uint8_t mirrored[16] = {
		[BPF_JGT >> 4] = BPF_JLT,
		[BPF_JLT >> 4] = BPF_JGT,
		[BPF_JGE >> 4] = BPF_JLE,
		[BPF_JLE >> 4] = BPF_JGE,
	};
	const struct sl_reg *dst = &sl_state_frame(fall)->regs[insn->dst_reg];
	const struct sl_reg *src = &sl_state_frame(fall)->regs[insn->src_reg];
	uint8_t op = BPF_OP(insn->code);
	unsigned regno = insn->dst_reg;
	struct sl_state *below;
	struct sl_reg pointer;
	bool open;

	if (BPF_SRC(insn->code) != BPF_X || BPF_CLASS(insn->code) == BPF_JMP32 ||
		!mirrored[op >> 4])
		return false;
	if (is_limit(src, dst)) {
		op = mirrored[op >> 4];
		regno = insn->src_reg;
	} else if (!is_limit(dst, src)) {
		return false;
	}
	pointer = sl_state_frame(fall)->regs[regno];
	/* p > end and p >= end fall through below it, p < end and p <= end jump there. */
	below = op == BPF_JGT || op == BPF_JGE ? fall : taken;
	open = op == BPF_JGE || op == BPF_JLT;
	good_packet_pointers(below, &pointer, open);
	mark_packet_end(below == fall ? taken : fall, regno, !open);
	return true;
}

static int packet_branch(const struct sl_reg *dst, const struct sl_reg *src, uint8_t op)
{
	const struct sl_reg *pointer = dst;
	bool swapped = false;

	if (dst->type == SL_REG_PACKET_END) {
		pointer = src;
		swapped = true;
	} else if (src->type != SL_REG_PACKET_END) {
		return -1;
	}
	if (!sl_reg_is_packet(pointer) || (int32_t)pointer->range >= 0)
		return -1;
	if (swapped)
		op = op == BPF_JGT   ? BPF_JLT
		     : op == BPF_JLT ? BPF_JGT
		     : op == BPF_JGE ? BPF_JLE
		     : op == BPF_JLE ? BPF_JGE
				     : op;
	if ((op == BPF_JLE || op == BPF_JGT) && pointer->range == SL_BEYOND_PACKET_END)
		return op == BPF_JGT;
	if (op == BPF_JLT || op == BPF_JGE)
		return op == BPF_JGE;
	return -1;
}

static bool never_null(const struct sl_reg *reg)
{
	if (reg->type == SL_REG_OBJECT)
		return !sl_reg_maybe_null(reg) && !(reg->flags & SL_REG_RCU);
	return !sl_reg_maybe_null(reg) &&
	       (reg->type == SL_REG_MAP_VALUE || reg->type == SL_REG_MAP_KEY ||
		       reg->type == SL_REG_MEM || sl_reg_is_sock(reg) || reg->type == SL_REG_CONN ||
		       reg->type == SL_REG_CONST_MAP);
}

static bool is_const(const struct sl_reg *reg, bool is32)
{
	return reg->type == SL_REG_SCALAR &&
	       sl_tnum_is_const(is32 ? sl_tnum_subreg(reg->var_off) : reg->var_off);
}

static int predict(const struct sl_reg *dst, const struct sl_reg *src, uint8_t op, bool is32)
{
	const struct sl_reg *pointer = dst, *other = src;

	if (dst->type == SL_REG_SCALAR && src->type == SL_REG_SCALAR)
		return sl_reg_branch(dst, src, op, is32);
	if ((sl_reg_is_packet(dst) || dst->type == SL_REG_PACKET_END) &&
		(sl_reg_is_packet(src) || src->type == SL_REG_PACKET_END) && !is32)
		return packet_branch(dst, src, op);
	if (dst->type == SL_REG_SCALAR) {
		pointer = src;
		other = dst;
	}
	/* A pointer is not 0; its low half may be. */
	if (!is_const(other, is32) || is32 || other->var_off.value || !never_null(pointer))
		return -1;
	return op == BPF_JEQ ? 0 : op == BPF_JNE ? 1 : -1;
}

/* All copies of a pointer that may be NULL learn whether it is. */
static void settle_null(struct sl_env *env, struct sl_state *state, unsigned regno, bool is_null)
{
	struct sl_reg *checked = &sl_state_frame(state)->regs[regno];
	uint32_t id = checked->id, ref_id = checked->ref_id;

	/*
	 * A cast pointer may be NULL where the one it came from, which holds the reference, is not; and
	 * a slice of what is referenced has an id of its own.
	 */
	if (ref_id && ref_id == id && is_null)
		sl_state_del_ref(state, ref_id);
	sl_state_for_each_reg(state, reg, {
		if (!sl_reg_maybe_null(reg) || reg->id != id)
			continue;
		if (is_null) {
			sl_reg_set_const(reg, 0);
			continue;
		}
		sl_reg_not_null(reg);
		/* It has told all it can, but for a lock's; what names a reference is ref_id. */
		if (!sl_reg_may_lock(reg))
			reg->id = 0;
	});
	(void)env;
}

static void refine(struct sl_env *env, const struct bpf_insn *insn, struct sl_state *taken,
	struct linked_set *set)
{
	struct sl_state *fall = env->cur;
	struct sl_reg *fall_dst = &sl_state_frame(fall)->regs[insn->dst_reg];
	struct sl_reg *taken_dst = &sl_state_frame(taken)->regs[insn->dst_reg];
	bool is32 = BPF_CLASS(insn->code) == BPF_JMP32, with_reg = BPF_SRC(insn->code) == BPF_X;
	struct sl_reg *fall_src =
		with_reg ? &sl_state_frame(fall)->regs[insn->src_reg] : &env->fake[0];
	struct sl_reg *taken_src =
		with_reg ? &sl_state_frame(taken)->regs[insn->src_reg] : &env->fake[1];

	if (fall_dst->type != SL_REG_SCALAR || fall_src->type != SL_REG_SCALAR)
		return;
	/* A register compared with itself learns like any other: on one way that is never gone. */
	sl_reg_refine(taken_dst, taken_src, fall_dst, fall_src, BPF_OP(insn->code), is32);
	if (with_reg && fall_src->id) {
		sync_linked(fall, fall_src, set);
		sync_linked(taken, taken_src, set);
	}
	if (fall_dst->id) {
		sync_linked(fall, fall_dst, set);
		sync_linked(taken, taken_dst, set);
	}
}

/* Equal to a pointer that is not NULL: not NULL either. */
static void lift_null(const struct bpf_insn *insn, struct sl_state *fall, struct sl_state *taken)
{
	uint8_t op = BPF_OP(insn->code);
	struct sl_state *equal = op == BPF_JEQ ? taken : op == BPF_JNE ? fall : NULL;
	struct sl_reg *dst, *src;

	if (!equal || BPF_SRC(insn->code) != BPF_X || BPF_CLASS(insn->code) == BPF_JMP32)
		return;
	dst = &sl_state_frame(equal)->regs[insn->dst_reg];
	src = &sl_state_frame(equal)->regs[insn->src_reg];
	if (!sl_reg_is_pointer(dst) || !sl_reg_is_pointer(src) ||
		sl_reg_maybe_null(dst) == sl_reg_maybe_null(src))
		return;
	sl_reg_not_null(sl_reg_maybe_null(dst) ? dst : src);
}

/* With a constant only: a register that is 0 here need not be where this state covers another. */
static bool is_null_check(const struct bpf_insn *insn)
{
	uint8_t op = BPF_OP(insn->code);

	return BPF_CLASS(insn->code) == BPF_JMP && (op == BPF_JEQ || op == BPF_JNE) &&
	       BPF_SRC(insn->code) == BPF_K && !insn->imm;
}

static int go_both_ways(
	struct sl_env *env, const struct bpf_insn *insn, struct sl_reg *dst, struct sl_reg *src)
{
	bool is_jeq = BPF_OP(insn->code) == BPF_JEQ, null_check, with_reg = src != &env->fake[0];
	struct linked_set set = { .count = 0 };
	struct sl_state *taken;
	int err;

	if (with_reg && src->type == SL_REG_SCALAR && src->id)
		collect_linked(env, src->id, &set);
	if (dst->type == SL_REG_SCALAR && dst->id)
		collect_linked(env, dst->id, &set);
	if (set.count > 1) {
		err = sl_jump_push(env, 0, 0, 0, set.entries, set.count);
		if (err)
			return err;
	}
	null_check = is_null_check(insn) && sl_reg_maybe_null(dst);
	err = sl_explore_push(env, env->insn + insn->off + 1, &taken);
	if (err)
		return err;
	env->fake[1] = env->fake[0];
	refine(env, insn, taken, &set);
	lift_null(insn, env->cur, taken);
	if (null_check) {
		settle_null(env, taken, insn->dst_reg, is_jeq);
		settle_null(env, env->cur, insn->dst_reg, !is_jeq);
	} else {
		match_packet(insn, env->cur, taken);
	}
	return 0;
}

int sl_check_branch(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_next)
{
	struct sl_insn_fact *fact = &env->facts->insns[env->insn];
	struct sl_reg *dst = sl_env_reg(env, insn->dst_reg), *src = &env->fake[0];
	bool is32 = BPF_CLASS(insn->code) == BPF_JMP32;
	uint8_t flags = 0;
	int err, taken;

	err = sl_check_read(env, insn->dst_reg);
	if (err)
		return err;
	if (dst->type == SL_REG_STACK)
		flags |= SL_JUMP_DST_STACK;
	if (BPF_SRC(insn->code) == BPF_X) {
		err = sl_check_read(env, insn->src_reg);
		if (err)
			return err;
		src = sl_env_reg(env, insn->src_reg);
		if (src->type == SL_REG_STACK)
			flags |= SL_JUMP_SRC_STACK;
	} else {
		memset(src, 0, sizeof(*src));
		sl_reg_set_const(src, (uint64_t)(int64_t)insn->imm);
	}
	if (flags) {
		err = sl_jump_push(env, flags, 0, 0, NULL, 0);
		if (err)
			return err;
	}
	taken = predict(dst, src, BPF_OP(insn->code), is32);
	if (taken >= 0) {
		if (dst->type == SL_REG_SCALAR)
			err = sl_mark_precise(env, insn->dst_reg);
		if (!err && src != &env->fake[0] && src->type == SL_REG_SCALAR)
			err = sl_mark_precise(env, insn->src_reg);
		if (err)
			return err;
		fact->flags |= taken ? SL_INSN_TAKEN : SL_INSN_NOT_TAKEN;
		if (taken)
			*ret_next = env->insn + insn->off + 1;
	} else {
		fact->flags |= SL_INSN_TAKEN | SL_INSN_NOT_TAKEN;
		err = go_both_ways(env, insn, dst, src);
		if (err)
			return err;
	}
	sl_print_changes(env);
	return 0;
}
