#include "env.h"

#include <errno.h>
#include <string.h>

#include "map.h"

/*
 * Dynptrs on the stack: two slots that helpers fill and that the program may pass on, but neither
 * read nor, while it holds a reference, overwrite. slots[n] with SL_REG_FIRST_SLOT is the one that
 * pointers name, slots[n - 1] the other half. What a program gets of its memory, its slices, ends
 * with the dynptr.
 */

#define HALVES 2

static const char *const type_names[] = {
	[SL_DYNPTR_NONE] = "none",
	[SL_DYNPTR_LOCAL] = "local",
	[SL_DYNPTR_RINGBUF] = "ringbuf",
	[SL_DYNPTR_SKB] = "skb",
	[SL_DYNPTR_XDP] = "xdp",
	[SL_DYNPTR_SKB_META] = "skb_meta",
	[SL_DYNPTR_ANY] = "local",
};

const char *sl_dynptr_type_name(enum sl_dynptr_type type)
{
	return (unsigned)type < sl_array_size(type_names) ? type_names[type] : "unknown";
}

static bool is_refcounted(uint32_t type)
{
	return type == SL_DYNPTR_RINGBUF;
}

/* The slot that the register names. *ret_outside: it is not among those that there are. */
static int find_slot(
	struct sl_env *env, const struct sl_reg *reg, uint32_t *ret_index, bool *ret_outside)
{
	int64_t off = reg->off + (int64_t)reg->var_off.value;
	int64_t index = (-off - 1) / 8;

	*ret_outside = false;
	if (!sl_tnum_is_const(reg->var_off)) {
		sl_say(env, "dynptr has to be at a constant offset\n");
		return -EINVAL;
	}
	if (off >= 0 || off % 8 || index + 1 < HALVES) {
		sl_say(env, "cannot pass in dynptr at an offset=%d\n", (int)off);
		return -EINVAL;
	}
	*ret_outside = index >= sl_env_stack_of(env, reg)->slot_count;
	*ret_index = (uint32_t)index;
	return 0;
}

static void invalidate(struct sl_env *env, struct sl_frame *frame, uint32_t index)
{
	for (uint32_t i = 0; i < HALVES; i++) {
		struct sl_slot *slot = &frame->slots[index - i];

		memset(&slot->reg, 0, sizeof(slot->reg));
		memset(slot->type, SL_SLOT_INVALID, sizeof(slot->type));
		slot->written = true;
		env->dirty_slots |= 1ULL << (index - i);
	}
}

/* Bytes of the packet last as long as that stays where it is, and a reader may keep others. */
static void end_slices(struct sl_env *env, uint32_t dynptr_id)
{
	sl_state_for_each_reg(env->cur, reg, {
		if (reg->type == SL_REG_MEM && reg->dynptr_id == dynptr_id &&
			!(reg->flags & (SL_REG_RDONLY | SL_REG_PACKET_SLICE)))
			sl_reg_set_unknown(reg);
	});
}

int sl_dynptr_overwrite(struct sl_env *env, struct sl_frame *frame, uint32_t index)
{
	const struct sl_reg *reg;
	uint32_t id;

	if (index >= frame->slot_count || frame->slots[index].type[0] != SL_SLOT_DYNPTR)
		return 0;
	if (!(frame->slots[index].reg.flags & SL_REG_FIRST_SLOT))
		index++;
	reg = &frame->slots[index].reg;
	if (is_refcounted(reg->dynptr)) {
		sl_say(env, "cannot overwrite referenced dynptr\n");
		return -EINVAL;
	}
	id = reg->id;
	invalidate(env, frame, index);
	end_slices(env, id);
	return 0;
}

int sl_dynptr_make(struct sl_env *env, unsigned regno, uint32_t type, uint32_t ref_id)
{
	const struct sl_reg pointer = *sl_env_reg(env, regno);
	struct sl_reg value = { .type = SL_REG_DYNPTR, .dynptr = type };
	struct sl_frame *frame;
	uint32_t index;
	bool outside;
	int err = 0;

	if (pointer.type != SL_REG_STACK || find_slot(env, &pointer, &index, &outside)) {
		sl_say(env, "Dynptr has to be an uninitialized dynptr\n");
		return -EINVAL;
	}
	for (int32_t i = 0; i < HALVES && !err; i++)
		err = sl_check_mem(env, regno, i * 8, 8, SL_WRITE, -1, false, false);
	if (err)
		return err;
	frame = sl_env_stack_of(env, &pointer);
	value.id = value.dynptr_id = ++env->next_id;
	value.ref_id = ref_id;
	if (is_refcounted(type) && !ref_id) {
		value.ref_id = ++env->next_id;
		err = sl_state_add_ref(env->cur, value.ref_id, env->insn);
		if (err)
			return err;
	}
	for (uint32_t i = 0; i < HALVES; i++) {
		struct sl_slot *slot = &frame->slots[index - i];

		slot->reg = value;
		slot->reg.flags = i ? 0 : SL_REG_FIRST_SLOT;
		memset(slot->type, SL_SLOT_DYNPTR, sizeof(slot->type));
		env->dirty_slots |= 1ULL << (index - i);
	}
	return 0;
}

/* The dynptr that the register names, constant or on the stack; NULL and a reason otherwise. */
static const struct sl_reg *find(struct sl_env *env, unsigned regno)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	const struct sl_frame *frame;
	uint32_t index;
	bool outside;

	if (reg->type == SL_REG_DYNPTR)
		return reg;
	if (find_slot(env, reg, &index, &outside) || outside)
		return NULL;
	frame = sl_env_stack_of(env, reg);
	for (uint32_t i = 0; i < HALVES; i++)
		if (frame->slots[index - i].type[0] != SL_SLOT_DYNPTR)
			return NULL;
	if (!(frame->slots[index].reg.flags & SL_REG_FIRST_SLOT))
		return NULL;
	for (uint32_t i = 0; i < HALVES; i++)
		sl_state_mark_read(env->cur, reg->frame, index - i);
	return &frame->slots[index].reg;
}

static int check_releasable(struct sl_env *env, unsigned regno)
{
	const struct sl_reg *reg = sl_env_reg(env, regno), *dynptr;

	if (reg->type == SL_REG_DYNPTR) {
		sl_say(env, "cannot release unowned const bpf_dynptr\n");
		return -EINVAL;
	}
	dynptr = find(env, regno);
	if (dynptr && dynptr->ref_id)
		return 0;
	sl_say(env, "arg %u is an unacquired reference\n", regno);
	return -EINVAL;
}

int sl_dynptr_check_arg(
	struct sl_env *env, unsigned regno, enum sl_arg arg, struct sl_call_meta *meta)
{
	uint32_t wanted = meta->helper->dynptr;
	const struct sl_reg *dynptr;
	int err;

	if (sl_env_reg(env, regno)->type == SL_REG_DYNPTR) {
		err = sl_check_plain_pointer(env, sl_env_reg(env, regno), regno);
		if (err)
			return err;
	}
	if (arg == SL_ARG_DYNPTR_UNINIT)
		return sl_dynptr_make(env, regno, wanted, 0);
	if (arg == SL_ARG_DYNPTR_RELEASE) {
		err = check_releasable(env, regno);
		if (err)
			return err;
		meta->release_reg = (int)regno;
	}
	dynptr = find(env, regno);
	if (!dynptr) {
		sl_say(env, "Expected an initialized dynptr as arg #%u\n", regno - 1);
		return -EINVAL;
	}
	if (arg == SL_ARG_DYNPTR_RELEASE && dynptr->dynptr != wanted) {
		sl_say(env, "Expected a dynptr of type %s as arg #%u\n",
			sl_dynptr_type_name(wanted), regno - 1);
		return -EINVAL;
	}
	meta->dynptr_id = dynptr->id;
	meta->dynptr_ref = dynptr->ref_id;
	meta->dynptr_type = dynptr->dynptr;
	return 0;
}

int sl_dynptr_check_call(struct sl_env *env, const struct sl_call_meta *meta)
{
	const struct sl_reg *r1 = sl_env_reg(env, BPF_REG_1);

	/* Of what else could be written to, nothing is certain to last as long as the dynptr. */
	if (meta->helper->id == BPF_FUNC_dynptr_from_mem && r1->type != SL_REG_MAP_VALUE) {
		sl_say(env, "Unsupported reg type %s for bpf_dynptr_from_mem data\n",
			sl_reg_type_name(r1));
		return -EACCES;
	}
	if (meta->helper->id == BPF_FUNC_dynptr_write &&
		(meta->dynptr_type == SL_DYNPTR_SKB || meta->dynptr_type == SL_DYNPTR_SKB_META)) {
		sl_state_forget_packet(env->cur);
		env->facts->changes_packet = true;
	}
	return 0;
}

int sl_dynptr_release(struct sl_env *env, unsigned regno)
{
	struct sl_reg pointer = *sl_env_reg(env, regno);
	const struct sl_reg *dynptr = find(env, regno);
	struct sl_frame *frame;
	uint32_t ref_id;
	int err;

	if (!dynptr || !dynptr->ref_id)
		return -EINVAL;
	ref_id = dynptr->ref_id;
	frame = sl_env_stack_of(env, &pointer);
	err = sl_release(env, ref_id);
	/* The dynptr itself, and those that were made of it. */
	for (uint32_t i = 1; !err && i < frame->slot_count; i++) {
		const struct sl_slot *slot = &frame->slots[i];

		if (slot->type[0] == SL_SLOT_DYNPTR && slot->reg.ref_id == ref_id &&
			(slot->reg.flags & SL_REG_FIRST_SLOT))
			invalidate(env, frame, i);
	}
	return err;
}
