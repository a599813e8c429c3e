#include "stack_object.h"

#include <errno.h>
#include <string.h>

/*
 * Objects on the stack that are not the program's to look into: a slot that is one has a type of
 * its own, so a load of it is refused, a store makes data of it, and what it held is then never
 * given back. Pruning compares them by what they are and by their reference.
 */

static const char *const state_names[] = { "active", "drained" };

int sl_stack_object_slot(struct sl_env *env, const struct sl_reg *reg, const char *what,
	uint32_t slots, uint32_t *ret_slot)
{
	int64_t off = reg->off + (int64_t)reg->var_off.value;

	if (!sl_tnum_is_const(reg->var_off)) {
		sl_say(env, "%s has to be at a constant offset\n", what);
		return -EINVAL;
	}
	if (off % 8 || off > -8 * (int64_t)slots) {
		sl_say(env, "cannot pass in %s at an offset=%d\n", what, (int)off);
		return -EINVAL;
	}
	*ret_slot = (uint32_t)(-off - 1) / 8;
	/* Below what the frame holds so far, or beyond what it may. */
	return *ret_slot < sl_env_stack_of(env, reg)->slot_count ? 0 : -ERANGE;
}

bool sl_stack_object_is(const struct sl_slot *slot, enum sl_slot_type type)
{
	for (unsigned i = 0; i < sizeof(slot->type); i++)
		if (slot->type[i] != type)
			return false;
	return true;
}

/* A new object may not replace one of its own kind; whatever else is there is overwritten. */
static bool may_begin(struct sl_env *env, const struct sl_reg *reg, const char *what,
	uint32_t slots, enum sl_slot_type type)
{
	uint32_t slot = 0;
	int err = sl_stack_object_slot(env, reg, what, slots, &slot);

	if (err)
		return err == -ERANGE;
	for (unsigned i = 0; i < 8 * slots; i++)
		if (sl_env_stack_of(env, reg)->slots[slot - i / 8].type[i % 8] == type)
			return false;
	return true;
}

/* The reference is that of the slot that pointers name, the one with the lowest address. */
static int begin(struct sl_env *env, unsigned regno, const char *what, uint32_t slots,
	enum sl_slot_type type, struct sl_slot **ret_slot)
{
	struct sl_reg reg = *sl_env_reg(env, regno);
	uint32_t index = 0, id;
	struct sl_slot *slot;
	int err = 0;

	for (uint32_t i = 0; !err && i < slots; i++)
		err = sl_check_mem(env, regno, (int32_t)i * 8, 8, SL_WRITE, -1, false, false);
	if (!err)
		err = sl_stack_object_slot(env, &reg, what, slots, &index);
	if (err)
		return err;
	id = ++env->next_id;
	err = sl_state_add_ref(env->cur, id, env->insn);
	if (err)
		return err;
	env->cur->refs[env->cur->ref_count - 1].irq = type == SL_SLOT_IRQ_FLAG;
	for (uint32_t i = 0; i < slots; i++) {
		slot = &sl_env_stack_of(env, &reg)->slots[index - i];
		memset(slot->type, type, sizeof(slot->type));
		sl_reg_set_const(&slot->reg, 0);
		slot->reg.type = SL_REG_STACK;
		slot->reg.ref_id = i ? 0 : id;
		slot->iter = (struct sl_iter_state){ 0 };
		slot->written = true;
		env->dirty_slots |= 1ULL << (index - i);
	}
	*ret_slot = &sl_env_stack_of(env, &reg)->slots[index];
	return 0;
}

static void end(struct sl_env *env, const struct sl_reg *reg, uint32_t index, uint32_t slots)
{
	for (uint32_t i = 0; i < slots; i++) {
		struct sl_slot *slot = &sl_env_stack_of(env, reg)->slots[index - i];

		memset(slot, 0, sizeof(*slot));
		slot->written = true;
		env->dirty_slots |= 1ULL << (index - i);
	}
}

/* ---- iterators ---- */

int sl_iter_begin(struct sl_env *env, unsigned regno, const char *kind, uint32_t slots)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	struct sl_slot *slot = NULL;
	int err;

	if (!may_begin(env, reg, "iter", slots, SL_SLOT_ITER)) {
		sl_say(env, "expected uninitialized iter_%s as arg #%u\n", kind, regno - 1);
		return -EINVAL;
	}
	err = begin(env, regno, "iter", slots, SL_SLOT_ITER, &slot);
	if (err)
		return err;
	for (uint32_t i = 0; i < slots; i++)
		slot[-(int32_t)i].iter = (struct sl_iter_state){ .kind = kind };
	return 0;
}

/* All of one: its first slot has the reference, the others have none. */
static bool is_iter(const struct sl_slot *first, const char *kind, uint32_t slots)
{
	for (uint32_t i = 0; i < slots; i++) {
		const struct sl_slot *slot = first - i;

		if (!sl_stack_object_is(slot, SL_SLOT_ITER) || strcmp(slot->iter.kind, kind) != 0 ||
			(slot->reg.ref_id != 0) != (i == 0))
			return false;
	}
	return true;
}

int sl_iter_check(
	struct sl_env *env, unsigned regno, const char *kind, uint32_t slots, uint32_t *ret_slot)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err = sl_stack_object_slot(env, reg, "iter", slots, ret_slot);

	if (!err && !is_iter(&sl_env_stack_of(env, reg)->slots[*ret_slot], kind, slots))
		err = -EINVAL;
	if (err) {
		sl_say(env, "expected an initialized iter_%s as arg #%u\n", kind, regno - 1);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < slots; i++)
		sl_state_mark_read(env->cur, reg->frame, *ret_slot - i);
	return 0;
}

int sl_iter_end(struct sl_env *env, unsigned regno, uint32_t index, uint32_t slots)
{
	struct sl_reg reg = *sl_env_reg(env, regno);
	uint32_t id = sl_env_stack_of(env, &reg)->slots[index].reg.ref_id;

	end(env, &reg, index, slots);
	return sl_release(env, id);
}

/* The iterator that R1 points to, in another state than the current one perhaps. */
static struct sl_slot *iter_of(struct sl_state *state, uint32_t frame, uint32_t slot)
{
	return &state->frames[frame]->slots[slot];
}

int sl_iter_next(struct sl_env *env, uint32_t frame, uint32_t index)
{
	const struct sl_state *parent = env->cur->parent, *before;
	struct sl_slot *slot = iter_of(env->cur, frame, index);
	struct sl_state *round;
	int err;

	if (!slot->iter.drained) {
		before = parent ? sl_prune_previous(env, env->insn, parent->depth) : NULL;
		err = sl_explore_push(env, env->insn + 1, &round);
		if (err)
			return err == -EFAULT ? -ENOMEM : err; /* as the kernel has it here */
		iter_of(round, frame, index)->iter.depth++;
		if (before)
			sl_loops_widen(env, before, round);
		sl_state_frame(round)->regs[BPF_REG_0].flags &= ~SL_REG_OR_NULL;
		slot->iter.drained = true;
	}
	env->dirty_slots |= 1ULL << index;
	sl_reg_set_const(sl_env_reg(env, BPF_REG_0), 0);
	return 0;
}

bool sl_iter_depths_differ(const struct sl_state *old_state, const struct sl_state *state)
{
	for (uint32_t f = 0; f <= old_state->cur_frame; f++)
		for (uint32_t i = 0; i < old_state->frames[f]->slot_count; i++) {
			const struct sl_slot *old_slot = &old_state->frames[f]->slots[i], *slot;

			if (old_slot->type[0] != SL_SLOT_ITER || i >= state->frames[f]->slot_count)
				continue;
			slot = &state->frames[f]->slots[i];
			if (!old_slot->iter.drained && old_slot->iter.depth != slot->iter.depth)
				return true;
		}
	return false;
}

bool sl_iter_is_active(const struct sl_env *env)
{
	const struct sl_reg *reg = sl_env_reg(env, BPF_REG_1);
	const struct sl_frame *frame;
	uint32_t slot;

	if (reg->type != SL_REG_STACK || !sl_tnum_is_const(reg->var_off))
		return false;
	frame = sl_env_stack_of(env, reg);
	slot = (uint32_t)(-(reg->off + (int64_t)reg->var_off.value) - 1) / 8;
	return slot < frame->slot_count && frame->slots[slot].type[0] == SL_SLOT_ITER &&
	       !frame->slots[slot].iter.drained;
}

/* ---- interrupt flags ---- */

int sl_irq_save(struct sl_env *env, unsigned regno)
{
	struct sl_slot *slot = NULL;
	int err;

	if (!may_begin(env, sl_env_reg(env, regno), "irq_flag", 1, SL_SLOT_IRQ_FLAG)) {
		sl_say(env, "expected uninitialized irq flag as arg#%u\n", regno - 1);
		return -EINVAL;
	}
	err = begin(env, regno, "irq_flag", 1, SL_SLOT_IRQ_FLAG, &slot);
	if (err)
		return err;
	env->cur->irq_id = slot->reg.ref_id;
	return 0;
}

/* Sections end in the order opposite to that in which they began. */
static int release_irq(struct sl_env *env, uint32_t id)
{
	struct sl_state *state = env->cur;
	uint32_t insn = 0;

	if (state->irq_id == id) {
		sl_state_del_ref(state, id);
		state->irq_id = 0;
		for (uint32_t i = 0; i < state->ref_count; i++)
			if (state->refs[i].irq)
				state->irq_id = state->refs[i].id;
		return 0;
	}
	for (uint32_t i = 0; i < state->ref_count; i++)
		if (state->refs[i].id == state->irq_id)
			insn = state->refs[i].insn;
	sl_say(env,
		"cannot restore irq state out of order, expected id=%u acquired at insn_idx=%u\n",
		state->irq_id, insn);
	return -EACCES;
}

int sl_irq_restore(struct sl_env *env, unsigned regno)
{
	struct sl_reg reg = *sl_env_reg(env, regno);
	uint32_t index = 0;
	int err = sl_stack_object_slot(env, &reg, "irq_flag", 1, &index);
	const struct sl_slot *slot;

	if (!err) {
		slot = &sl_env_stack_of(env, &reg)->slots[index];
		if (!sl_stack_object_is(slot, SL_SLOT_IRQ_FLAG))
			err = -EINVAL;
	}
	if (err) {
		sl_say(env, "expected an initialized irq flag as arg#%u\n", regno - 1);
		return err;
	}
	sl_state_mark_read(env->cur, reg.frame, index);
	err = release_irq(env, slot->reg.ref_id);
	if (!err)
		end(env, &reg, index, 1);
	return err;
}

/* ---- for the rest of the verifier ---- */

bool sl_stack_object_print(struct sl_env *env, const struct sl_slot *slot, unsigned index)
{
	if (slot->type[7] != SL_SLOT_ITER)
		return false;
	if (!slot->reg.ref_id)
		return true;
	sl_say(env, " fp%d=iter_%s(ref_id=%u,state=%s,depth=%u)", -(int)(index + 1) * 8,
		slot->iter.kind, slot->reg.ref_id, state_names[slot->iter.drained],
		slot->iter.depth);
	return true;
}

bool sl_stack_object_same(const struct sl_slot *old_slot, const struct sl_slot *slot)
{
	if (memcmp(old_slot->type, slot->type, sizeof(slot->type)) != 0)
		return false;
	/* How many rounds were made does not matter for what the next one may do. */
	return slot->type[7] != SL_SLOT_ITER ||
	       (old_slot->iter.kind == slot->iter.kind &&
		       old_slot->iter.drained == slot->iter.drained);
}
