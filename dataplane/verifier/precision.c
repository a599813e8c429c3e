#include "env.h"

#include <errno.h>
#include <string.h>

#include "memory.h"
#include "prog.h"

/*
 * Precision. Most scalars never decide whether a program is safe, so pruning treats a scalar as
 * covering every other until its value turns out to matter. Then the instructions that led here are
 * walked backwards, through the kept states that the path passed, and every register and spill
 * that the value came from is marked precise in them. The history says where jumps came from and
 * which stack slots were involved; where the walk cannot tell, everything becomes precise.
 */

#define ARG_REGS 0x3e /* R1 to R5 */

int sl_jump_push(struct sl_env *env, uint8_t flags, uint32_t frame, uint32_t slot,
	const struct sl_linked *linked, unsigned linked_count)
{
	struct sl_state *state = env->cur;
	struct sl_jump *jump;

	if (env->jump_entry < 0) {
		if (state->jump_count == state->jump_capacity) {
			uint32_t capacity = state->jump_capacity ? state->jump_capacity * 2 : 8;
			struct sl_jump *jumps =
				sl_memory_realloc(state->jumps, capacity * sizeof(*jumps));

			if (!jumps)
				return -ENOMEM;
			state->jumps = jumps;
			state->jump_capacity = capacity;
		}
		env->jump_entry = (int)state->jump_count++;
		jump = &state->jumps[env->jump_entry];
		memset(jump, 0, sizeof(*jump));
		jump->index = env->insn;
		jump->prev = env->prev_insn;
	}
	jump = &state->jumps[env->jump_entry];
	jump->flags |= flags;
	if (flags & SL_JUMP_STACK) {
		jump->frame = (uint8_t)frame;
		jump->slot = (uint8_t)slot;
	}
	if (linked_count) {
		memcpy(jump->linked, linked, linked_count * sizeof(*linked));
		jump->linked_count = (uint8_t)linked_count;
	}
	return 0;
}

static const struct sl_jump *entry_of(const struct sl_state *state, uint32_t count, uint32_t insn)
{
	return count && state->jumps[count - 1].index == insn ? &state->jumps[count - 1] : NULL;
}

/* The instruction executed before `insn`; false at the beginning of the state's history. */
static bool step_back(const struct sl_state *state, uint32_t *insn, uint32_t *count)
{
	if (*insn == state->first_insn &&
		(!*count || (*count == 1 && state->jumps[0].index == *insn)))
		return false;
	if (entry_of(state, *count, *insn))
		*insn = state->jumps[--*count].prev;
	else
		--*insn;
	return true;
}

static bool is_empty(const struct sl_backtrack *back)
{
	for (unsigned i = 0; i < SL_MAX_FRAMES; i++)
		if (back->regs[i] || back->slots[i])
			return false;
	return true;
}

/* Of linked scalars one cannot be precise without the others. */
static void sync_linked(struct sl_backtrack *back, const struct sl_jump *jump)
{
	bool some = false;

	if (!jump || !jump->linked_count)
		return;
	for (unsigned i = 0; i < jump->linked_count; i++) {
		const struct sl_linked *l = &jump->linked[i];

		some |= l->is_reg ? back->regs[l->frame] >> l->index & 1
				  : back->slots[l->frame] >> l->index & 1;
	}
	if (!some)
		return;
	for (unsigned i = 0; i < jump->linked_count; i++) {
		const struct sl_linked *l = &jump->linked[i];

		if (l->is_reg)
			back->regs[l->frame] |= 1u << l->index;
		else
			back->slots[l->frame] |= 1ULL << l->index;
	}
}

static int leave_function(struct sl_backtrack *back)
{
	if (!back->frame)
		return -EFAULT;
	back->frame--;
	return 0;
}

static int enter_function(struct sl_backtrack *back)
{
	if (back->frame + 1 >= SL_MAX_FRAMES)
		return -EFAULT;
	back->frame++;
	return 0;
}

static void back_alu(const struct bpf_insn *insn, uint32_t *regs)
{
	uint32_t dst = 1u << insn->dst_reg, src = 1u << insn->src_reg;
	uint8_t op = BPF_OP(insn->code);

	if (!(*regs & dst) || op == BPF_END || op == BPF_NEG)
		return;
	if (op == BPF_MOV)
		*regs &= ~dst;
	if (BPF_SRC(insn->code) == BPF_X && insn->src_reg != BPF_REG_10)
		*regs |= src;
}

/* The register that a load, or an atomic operation, fills; -1 for none. */
static int loaded_reg(const struct bpf_insn *insn)
{
	if (BPF_CLASS(insn->code) == BPF_LDX)
		return insn->dst_reg;
	if (BPF_CLASS(insn->code) != BPF_STX || BPF_MODE(insn->code) != BPF_ATOMIC)
		return -1;
	if (insn->imm == SL_BPF_LOAD_ACQ)
		return insn->dst_reg;
	if (insn->imm == BPF_CMPXCHG)
		return BPF_REG_0;
	return insn->imm & BPF_FETCH && insn->imm != SL_BPF_STORE_REL ? insn->src_reg : -1;
}

static int back_memory(struct sl_backtrack *back, const struct bpf_insn *insn,
	const struct sl_jump *jump, uint32_t *regs)
{
	int loaded = loaded_reg(insn);
	bool on_stack = jump && (jump->flags & SL_JUMP_STACK);

	if (loaded >= 0) {
		if (!(*regs & 1u << loaded))
			return 0;
		*regs &= ~(1u << loaded);
		/* Whatever does not come from a spill is unknown, and needs no precision. */
		if (on_stack)
			back->slots[jump->frame] |= 1ULL << jump->slot;
		return 0;
	}
	if (*regs & 1u << insn->dst_reg)
		return -ENOTSUP;
	if (!on_stack || !(back->slots[jump->frame] >> jump->slot & 1))
		return 0;
	back->slots[jump->frame] &= ~(1ULL << jump->slot);
	if (BPF_CLASS(insn->code) == BPF_STX)
		*regs |= 1u << insn->src_reg;
	return 0;
}

/* Out of a function through its call instruction: arguments come from the caller's registers. */
static int back_into_caller(struct sl_backtrack *back)
{
	uint32_t args = back->regs[back->frame] & ARG_REGS;

	if ((back->regs[back->frame] & ~ARG_REGS) || back->slots[back->frame])
		return -ENOTSUP;
	back->regs[back->frame] = 0;
	if (leave_function(back))
		return -EFAULT;
	back->regs[back->frame] |= args;
	return 0;
}

/* Out of a callback through the helper that called it and set its arguments. */
static int back_into_helper(struct sl_backtrack *back)
{
	if ((back->regs[back->frame] & ~ARG_REGS) || back->slots[back->frame])
		return -ENOTSUP;
	back->regs[back->frame] = 0;
	return leave_function(back);
}

/* Into a function through its end: its R0 is the caller's. */
static int back_into_callee(struct sl_backtrack *back, bool r0_matters)
{
	uint32_t *regs = &back->regs[back->frame];
	bool wanted = *regs & 1;

	if (*regs & ARG_REGS)
		return -ENOTSUP;
	*regs &= ~1u;
	if (enter_function(back))
		return -EFAULT;
	if (wanted && r0_matters)
		back->regs[back->frame] |= 1;
	return 0;
}

static int back_jump(struct sl_env *env, const struct bpf_insn *insn, uint32_t index, int64_t next,
	const struct sl_jump *jump, uint32_t *regs)
{
	struct sl_backtrack *back = &env->back;
	uint8_t op = BPF_OP(insn->code);
	uint32_t both = 1u << insn->dst_reg | 1u << insn->src_reg;

	if (op == BPF_EXIT) {
		/* A callback's end is followed by its helper, a function's by what is behind. */
		if (next >= 0 && env->cfg->insns[next].flags & SL_CFG_CALLS_CALLBACK) {
			*regs &= ~ARG_REGS;
			return back_into_callee(back, false);
		}
		return back_into_callee(back, true);
	}
	if (op == BPF_CALL) {
		if (sl_insn_is_local_call(insn)) {
			/* A function that is verified apart leaves no trace in the history. */
			if (next == (int64_t)index + 1) {
				*regs &= ~1u;
				return *regs & ARG_REGS ? -ENOTSUP : 0;
			}
			return back_into_caller(back);
		}
		if (next != (int64_t)index + 1) {
			if (env->cfg->insns[index].flags & SL_CFG_CALLS_CALLBACK)
				return back_into_helper(back);
			return back_into_callee(back, false);
		}
		*regs &= ~1u;
		return *regs & ARG_REGS ? -ENOTSUP : 0;
	}
	if (op == BPF_JA || op == SL_BPF_JCOND || BPF_SRC(insn->code) != BPF_X || !(*regs & both))
		return 0;
	if (!jump || !(jump->flags & SL_JUMP_SRC_STACK))
		*regs |= 1u << insn->src_reg;
	if (!jump || !(jump->flags & SL_JUMP_DST_STACK))
		*regs |= 1u << insn->dst_reg;
	return 0;
}

/* What has to be precise before `index` for what is wanted to be precise after it. */
static int step_insn(struct sl_env *env, uint32_t index, int64_t next, const struct sl_jump *jump)
{
	const struct bpf_insn *insn = &env->prog->insns[index];
	struct sl_backtrack *back = &env->back;
	uint32_t *regs = &back->regs[back->frame];
	int err = 0;

	if (!insn->code)
		return 0;
	sl_precision_say_insn(env, index);
	sync_linked(back, jump);
	switch (BPF_CLASS(insn->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		back_alu(insn, regs);
		break;
	case BPF_LDX:
	case BPF_STX:
	case BPF_ST:
		err = back_memory(back, insn, jump, regs);
		break;
	case BPF_JMP:
	case BPF_JMP32:
		err = back_jump(env, insn, index, next, jump, regs);
		break;
	case BPF_LD:
		if (sl_insn_is_ld_imm64(insn)) {
			*regs &= ~(1u << insn->dst_reg);
			break;
		}
		/* The packet was too short and the function ended here. */
		if (next != (int64_t)index + 1)
			return back_into_callee(back, false);
		*regs &= ~1u;
		if (*regs & ARG_REGS)
			err = -ENOTSUP;
	}
	if (!err)
		sync_linked(back, jump);
	return err;
}

static bool force(struct sl_reg *reg)
{
	if (reg->type != SL_REG_SCALAR || reg->precise)
		return false;
	reg->precise = true;
	return true;
}

static bool all_precise_in(struct sl_env *env, struct sl_frame *frame, uint32_t number)
{
	bool changed = false;

	for (unsigned i = 0; i < BPF_REG_10; i++) {
		if (!force(&frame->regs[i]))
			continue;
		sl_precision_say_forced(env, number, "r", (int)i);
		changed = true;
	}
	for (unsigned i = 0; i < frame->slot_count; i++) {
		if (!sl_slot_is_spill(&frame->slots[i]) || !force(&frame->slots[i].reg))
			continue;
		sl_precision_say_forced(env, number, "fp", -8 * (int)(i + 1));
		changed = true;
	}
	return changed;
}

static bool all_precise(struct sl_env *env, struct sl_state *state)
{
	bool changed = false;

	sl_precision_say_give_up(env, state);
	for (state = state->parent; state; state = state->parent)
		for (uint32_t f = 0; f <= state->cur_frame; f++)
			changed |= all_precise_in(env, state->frames[f], f);
	return changed;
}

static void mark_reg(struct sl_reg *reg, bool *ret_known, bool *changed)
{
	*ret_known = reg->type != SL_REG_SCALAR || reg->precise;
	if (*ret_known)
		return;
	reg->precise = *changed = true;
}

static void mark_frame(struct sl_backtrack *back, struct sl_frame *frame, uint32_t f, bool *changed)
{
	bool known;

	for (uint32_t todo = back->regs[f]; todo; todo &= todo - 1) {
		unsigned i = (unsigned)__builtin_ctz(todo);

		mark_reg(&frame->regs[i], &known, changed);
		if (known)
			back->regs[f] &= ~(1u << i);
	}
	for (uint64_t todo = back->slots[f]; todo; todo &= todo - 1) {
		unsigned i = (unsigned)__builtin_ctzll(todo);

		known = true;
		if (i < frame->slot_count && sl_slot_is_scalar_spill(&frame->slots[i]))
			mark_reg(&frame->slots[i].reg, &known, changed);
		if (known)
			back->slots[f] &= ~(1ULL << i);
	}
}

/* Marks in a kept state what is wanted; what is marked already needs no further walk. */
static void mark_state(struct sl_env *env, struct sl_state *state, bool *changed)
{
	uint32_t last = sl_min(env->back.frame, state->cur_frame);

	for (uint32_t f = last + 1; f-- > 0;) {
		mark_frame(&env->back, state->frames[f], f, changed);
		sl_precision_say_parent(env, state, f);
	}
}

static int walk_state(
	struct sl_env *env, const struct sl_state *state, uint32_t from, int64_t *next, bool skip)
{
	uint32_t insn = from, count = state->jump_count;
	int err;

	do {
		if (!skip) {
			err = step_insn(env, insn, *next, entry_of(state, count, insn));
			if (err)
				return err;
			if (is_empty(&env->back))
				return 0;
		}
		skip = false;
		*next = insn;
	} while (step_back(state, &insn, &count));
	return 0;
}

/* env->back holds what is wanted in `start`, before its instruction. */
static int walk(struct sl_env *env, struct sl_state *start, bool *changed)
{
	struct sl_state *state = start;
	uint32_t from = state->insn;
	int64_t next = -1;
	bool skip = true;
	int err;

	while (!is_empty(&env->back)) {
		sl_precision_say_state(env, state, from, next);
		/* Before the first instruction there is nothing that a value could come from. */
		if (from == SL_NO_INSN)
			return 0;
		err = walk_state(env, state, from, &next, skip);
		if (err == -ENOTSUP || err == -EFAULT) {
			*changed |= all_precise(env, start);
			return 0;
		}
		skip = false;
		if (is_empty(&env->back))
			return 0;
		state = state->parent;
		if (!state) {
			*changed |= all_precise(env, start);
			return 0;
		}
		mark_state(env, state, changed);
		from = state->last_insn;
	}
	return 0;
}

int sl_mark_precise(struct sl_env *env, unsigned regno)
{
	bool changed = false;

	if (sl_env_reg(env, regno)->type != SL_REG_SCALAR)
		return 0;
	memset(&env->back, 0, sizeof(env->back));
	env->back.frame = env->cur->cur_frame;
	env->back.regs[env->back.frame] = 1u << regno;
	return walk(env, env->cur, &changed);
}

int sl_mark_precise_slot(struct sl_env *env, uint32_t frame, uint32_t slot)
{
	bool changed = false;

	memset(&env->back, 0, sizeof(env->back));
	env->back.frame = env->cur->cur_frame;
	env->back.slots[frame] = 1ULL << slot;
	return walk(env, env->cur, &changed);
}

void sl_precision_give_up(struct sl_env *env, struct sl_state *state)
{
	all_precise(env, state);
}

int sl_precision_propagate(struct sl_env *env, const struct sl_state *old_state,
	struct sl_state *state, bool *ret_changed)
{
	memset(&env->back, 0, sizeof(env->back));
	env->back.frame = state->cur_frame;
	for (uint32_t f = old_state->cur_frame + 1; f-- > 0;) {
		const struct sl_frame *frame = old_state->frames[f];

		for (unsigned i = 0; i < BPF_REG_10; i++)
			if (frame->regs[i].type == SL_REG_SCALAR && frame->regs[i].precise)
				env->back.regs[f] |= 1u << i;
		for (unsigned i = 0; i < frame->slot_count; i++)
			if (sl_slot_is_scalar_spill(&frame->slots[i]) &&
				frame->slots[i].reg.precise)
				env->back.slots[f] |= 1ULL << i;
		sl_precision_say_propagated(env, f);
	}
	return walk(env, state, ret_changed);
}
