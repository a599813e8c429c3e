#include "env.h"

#include <string.h>

#include "stack_object.h"

/*
 * Whether one state covers another: every value that the new one admits, the old one admitted in
 * every register and slot that was read afterwards. The old one was found safe, so the new one is.
 *
 * Ids name unknowns that are the same; their numbers differ from path to path, so the comparison
 * builds a one-to-one mapping as it goes.
 */

static bool same_id(struct sl_env *env, uint32_t old_id, uint32_t id)
{
	if (!old_id != !id)
		return false;
	if (!old_id)
		return true;
	for (uint32_t i = 0; i < env->id_pair_count; i++) {
		if (env->id_pairs[i].old_id == old_id)
			return env->id_pairs[i].new_id == id;
		if (env->id_pairs[i].new_id == id)
			return false;
	}
	if (env->id_pair_count == SL_ID_PAIRS)
		return false;
	env->id_pairs[env->id_pair_count++] = (struct sl_id_pair){ .old_id = old_id, .new_id = id };
	return true;
}

/*
 * Of scalars only a relation that the old state had matters: one without an id was related to
 * nothing, and a new one that has none where the old one stood alone is matched by a fresh number.
 */
static bool same_scalar_id(struct sl_env *env, uint32_t old_id, uint32_t id)
{
	if (!old_id)
		return true;
	return same_id(env, old_id, id ? id : ++env->temporary_id);
}

static bool same_head(const struct sl_reg *old_reg, const struct sl_reg *reg)
{
	return old_reg->type == reg->type && old_reg->flags == reg->flags &&
	       old_reg->off == reg->off && old_reg->range == reg->range &&
	       old_reg->map == reg->map && old_reg->object == reg->object &&
	       old_reg->map_uid == reg->map_uid && old_reg->buffer == reg->buffer;
}

static bool same_bounds(const struct sl_reg *a, const struct sl_reg *b)
{
	return a->var_off.value == b->var_off.value && a->var_off.mask == b->var_off.mask &&
	       a->smin == b->smin && a->smax == b->smax && a->umin == b->umin &&
	       a->umax == b->umax && a->s32_min == b->s32_min && a->s32_max == b->s32_max &&
	       a->u32_min == b->u32_min && a->u32_max == b->u32_max;
}

static bool same_ids(struct sl_env *env, const struct sl_reg *old_reg, const struct sl_reg *reg)
{
	return same_id(env, old_reg->id, reg->id) && same_id(env, old_reg->ref_id, reg->ref_id) &&
	       same_id(env, old_reg->dynptr_id, reg->dynptr_id);
}

static bool same_reg(struct sl_env *env, const struct sl_reg *old_reg, const struct sl_reg *reg)
{
	return same_head(old_reg, reg) && same_bounds(old_reg, reg) && same_ids(env, old_reg, reg);
}

void sl_compare_begin(struct sl_env *env)
{
	env->id_pair_count = 0;
	env->temporary_id = env->next_id;
}

bool sl_regs_same(struct sl_env *env, const struct sl_reg *a, const struct sl_reg *b)
{
	return same_reg(env, a, b);
}

bool sl_regs_identical(const struct sl_reg *a, const struct sl_reg *b)
{
	return same_head(a, b) && same_bounds(a, b) && a->id == b->id && a->ref_id == b->ref_id &&
	       a->dynptr_id == b->dynptr_id;
}

static bool within(const struct sl_reg *old_reg, const struct sl_reg *reg)
{
	return sl_reg_range_within(old_reg, reg) && sl_tnum_in(old_reg->var_off, reg->var_off);
}

static bool covers_scalar(struct sl_env *env, const struct sl_reg *old_reg,
	const struct sl_reg *reg, enum sl_compare how)
{
	if (!old_reg->precise && how == SL_COMPARE_COVERS)
		return true;
	if (old_reg->id && ((old_reg->id ^ reg->id) & SL_ID_ADD_CONST))
		return false;
	if ((old_reg->id & SL_ID_ADD_CONST) && old_reg->off != reg->off)
		return false;
	return same_scalar_id(env, old_reg->id & ~SL_ID_ADD_CONST, reg->id & ~SL_ID_ADD_CONST) &&
	       within(old_reg, reg);
}

static bool covers_reg(struct sl_env *env, const struct sl_reg *old_reg, const struct sl_reg *reg,
	enum sl_compare how)
{
	if (how == SL_COMPARE_EXACT)
		return same_reg(env, old_reg, reg);
	if (old_reg->type == SL_REG_NOT_INIT &&
		(how == SL_COMPARE_COVERS || reg->type == SL_REG_NOT_INIT))
		return true;
	if (old_reg->type != reg->type || old_reg->flags != reg->flags)
		return false;
	switch (old_reg->type) {
	case SL_REG_SCALAR:
		return covers_scalar(env, old_reg, reg, how);
	case SL_REG_MAP_KEY:
	case SL_REG_MAP_VALUE:
	case SL_REG_MEM:
		return same_head(old_reg, reg) && within(old_reg, reg) &&
		       same_ids(env, old_reg, reg);
	case SL_REG_PACKET:
	case SL_REG_PACKET_META:
		if ((int32_t)old_reg->range < 0 || (int32_t)reg->range < 0) {
			if (old_reg->range != reg->range)
				return false;
		} else if (old_reg->range > reg->range) {
			return false;
		}
		return old_reg->off == reg->off && same_id(env, old_reg->id, reg->id) &&
		       within(old_reg, reg);
	default:
		return same_reg(env, old_reg, reg);
	}
}

/* What a load of the whole slot gives, if that is a scalar. */
static const struct sl_reg *scalar_of(const struct sl_slot *slot)
{
	static struct sl_reg unknown;

	if (sl_slot_is_scalar_spill(slot) && slot->type[0] == SL_SLOT_SPILL)
		return &slot->reg;
	for (unsigned i = 0; i < 8; i++)
		if (slot->type[i] != SL_SLOT_MISC && slot->type[i] != SL_SLOT_INVALID)
			return NULL;
	if (unknown.type != SL_REG_SCALAR)
		sl_reg_set_unknown(&unknown);
	return &unknown;
}

static bool has_reg(const struct sl_slot *slot)
{
	return sl_slot_is_spill(slot) || slot->type[7] == SL_SLOT_DYNPTR;
}

static bool covers_slot(struct sl_env *env, const struct sl_slot *old_slot,
	const struct sl_slot *slot, enum sl_compare how)
{
	const struct sl_reg *old_scalar = scalar_of(old_slot), *scalar = scalar_of(slot);
	bool any = false;

	if (sl_slot_is_object(old_slot))
		return sl_stack_object_same(old_slot, slot) &&
		       same_id(env, old_slot->reg.ref_id, slot->reg.ref_id);
	if (how == SL_COMPARE_EXACT) {
		if (memcmp(old_slot->type, slot->type, sizeof(slot->type)) != 0)
			return false;
		return !has_reg(slot) || same_reg(env, &old_slot->reg, &slot->reg);
	}
	for (unsigned i = 0; i < 8; i++)
		any |= old_slot->type[i] != SL_SLOT_INVALID && old_slot->type[i] != SL_SLOT_MISC;
	/* Nothing but data that was unknown anyway: it could have been anything. */
	if (!any)
		return true;
	if (old_scalar && scalar)
		return covers_reg(env, old_scalar, scalar, how);
	for (unsigned i = 0; i < 8; i++) {
		if (old_slot->type[i] == SL_SLOT_INVALID || old_slot->type[i] == SL_SLOT_MISC)
			continue;
		if (old_slot->type[i] != slot->type[i])
			return false;
	}
	return !has_reg(old_slot) || covers_reg(env, &old_slot->reg, &slot->reg, how);
}

static bool covers_stack(struct sl_env *env, const struct sl_frame *old_frame,
	const struct sl_frame *frame, enum sl_compare how)
{
	static const struct sl_slot nothing;

	if (how == SL_COMPARE_EXACT && old_frame->slot_count > frame->slot_count)
		return false;
	for (uint32_t i = 0; i < old_frame->slot_count; i++)
		if (!covers_slot(env, &old_frame->slots[i],
			    i < frame->slot_count ? &frame->slots[i] : &nothing, how))
			return false;
	return true;
}

static bool covers_refs(
	struct sl_env *env, const struct sl_state *old_state, const struct sl_state *state)
{
	if (old_state->ref_count != state->ref_count ||
		old_state->lock_owner != state->lock_owner ||
		!same_id(env, old_state->lock_id, state->lock_id) ||
		old_state->rcu_lock != state->rcu_lock ||
		old_state->preempt_locks != state->preempt_locks ||
		!same_id(env, old_state->irq_id, state->irq_id))
		return false;
	for (uint32_t i = 0; i < state->ref_count; i++)
		if (old_state->refs[i].irq != state->refs[i].irq ||
			!same_id(env, old_state->refs[i].id, state->refs[i].id))
			return false;
	return true;
}

/*
 * A path that ends at `old_state` reads what that read, but where that saw bytes written this one
 * may not have written them: its frames have to be zeroed too.
 */
static void note_uninit(
	struct sl_env *env, const struct sl_state *old_state, const struct sl_state *state)
{
	for (uint32_t f = 0; f <= state->cur_frame; f++) {
		const struct sl_frame *old_frame = old_state->frames[f], *frame = state->frames[f];

		for (uint32_t i = 0; i < old_frame->slot_count; i++)
			for (unsigned k = 0; k < 8; k++)
				if (old_frame->slots[i].type[k] != SL_SLOT_INVALID &&
					(i >= frame->slot_count ||
						frame->slots[i].type[k] == SL_SLOT_INVALID))
					env->uninit_read[frame->func] = true;
	}
}

bool sl_states_equal(struct sl_env *env, const struct sl_state *old_state,
	const struct sl_state *state, enum sl_compare how)
{
	if (old_state->cur_frame != state->cur_frame)
		return false;
	sl_compare_begin(env);
	if (!covers_refs(env, old_state, state))
		return false;
	for (uint32_t f = 0; f <= state->cur_frame; f++) {
		const struct sl_frame *old_frame = old_state->frames[f], *frame = state->frames[f];
		uint32_t insn =
			f == state->cur_frame ? state->insn : state->frames[f + 1]->callsite;
		uint16_t live = env->cfg->insns[insn].live_in;

		if (old_frame->callsite != frame->callsite || old_frame->func != frame->func ||
			old_frame->callback_depth > frame->callback_depth)
			return false;
		for (unsigned i = 0; i < MAX_BPF_REG; i++)
			if ((live & 1u << i) &&
				!covers_reg(env, &old_frame->regs[i], &frame->regs[i], how))
				return false;
		if (!covers_stack(env, old_frame, frame, how))
			return false;
	}
	if (how != SL_COMPARE_EXACT)
		note_uninit(env, old_state, state);
	return true;
}
