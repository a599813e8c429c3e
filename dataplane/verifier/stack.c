#include "env.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "helper.h"
#include "fastcall.h"
#include "prog.h"
#include "stack_object.h"

/*
 * The stack. A slot of eight bytes is a spilled register, or bytes that are data, zero, or never
 * written. Programs that may load network programs here are privileged: reading what was never
 * written is allowed and gives an unknown number, as in the kernel; the function is then noted as
 * needing a zeroed frame, so that nothing of the host's memory shows.
 */

static unsigned slot_of(int32_t off)
{
	return (unsigned)(-off - 1) / 8;
}

static unsigned byte_of(int32_t off)
{
	return (unsigned)(-off - 1) % 8;
}

static void touch(struct sl_env *env, unsigned slot)
{
	env->dirty_slots |= 1ULL << slot;
}

static void note_uninit(struct sl_env *env, const struct sl_frame *frame)
{
	env->uninit_read[frame->func] = true;
}

static void mark_read(struct sl_env *env, uint32_t frame, uint32_t slot)
{
	sl_state_mark_read(env->cur, frame, slot);
}

/* Makes the frame as deep as the access, and refuses what is outside of the 512 bytes. */
static int check_bounds(
	struct sl_env *env, unsigned regno, int32_t off, uint32_t size, enum sl_access access)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	struct sl_frame *frame = sl_env_stack_of(env, reg);
	const char *what = access == SL_READ ? " read from" : " write to";
	bool is_const = sl_tnum_is_const(reg->var_off);
	int64_t min, max;
	char tnum[64];
	uint32_t bytes;

	if (is_const) {
		min = (int64_t)reg->var_off.value + off;
		max = min + size;
	} else {
		if (reg->smax >= SL_MAX_VAR_OFF || reg->smin <= -SL_MAX_VAR_OFF) {
			sl_say(env, "invalid unbounded variable-offset%s stack R%u\n", what, regno);
			return -EACCES;
		}
		min = reg->smin + off;
		max = reg->smax + off + size;
	}
	if (min < -SL_STACK_BYTES || min > -1 || max > 0 || (int32_t)size < 0) {
		if (is_const) {
			sl_say(env, "invalid%s stack R%u off=%" PRId64 " size=%d\n", what, regno,
				min, (int)size);
		} else {
			sl_print_tnum(tnum, sizeof(tnum), reg->var_off);
			sl_say(env,
				"invalid variable-offset%s stack R%u var_off=%s off=%d size=%d\n",
				what, regno, tnum, off, (int)size);
		}
		return min < -SL_STACK_BYTES || min > -1 ? -EACCES : -EINVAL;
	}
	bytes = sl_round_up((uint32_t)-min, 8);
	env->stack_bytes[frame->func] = sl_max(env->stack_bytes[frame->func], bytes);
	return sl_frame_grow(frame, bytes);
}

/* ---- stores ---- */

static void to_misc(uint8_t *type)
{
	/* What reads as unknown anyway stays as it is, and so does zero beside a narrow spill. */
	if (*type != SL_SLOT_ZERO && *type != SL_SLOT_INVALID)
		*type = SL_SLOT_MISC;
}

static void scrub(struct sl_slot *slot)
{
	if (sl_slot_is_spill(slot) || slot->type[0] == SL_SLOT_SPILL || sl_slot_is_object(slot))
		for (unsigned i = 0; i < 8; i++)
			if (slot->type[i] != SL_SLOT_INVALID)
				slot->type[i] = SL_SLOT_MISC;
	memset(&slot->reg, 0, sizeof(slot->reg));
}

static int spill(struct sl_env *env, const struct sl_reg *pointer, unsigned index,
	const struct sl_reg *reg, unsigned size)
{
	struct sl_slot *slot = &sl_env_stack_of(env, pointer)->slots[index];

	slot->reg = *reg;
	for (unsigned i = 0; i < 8; i++) {
		if (i >= 8 - size)
			slot->type[i] = SL_SLOT_SPILL;
		else
			to_misc(&slot->type[i]);
	}
	if (size == 8)
		slot->written = true;
	return sl_jump_push(env, SL_JUMP_STACK, pointer->frame, index, NULL, 0);
}

static unsigned width_of(const struct sl_reg *reg)
{
	return reg->umax ? 64 - __builtin_clzll(reg->umax) : 0;
}

static int spill_scalar(struct sl_env *env, const struct sl_reg *pointer, unsigned index,
	struct sl_reg *reg, unsigned size)
{
	bool fits = width_of(reg) <= 8 * size;
	int err;

	if (fits)
		sl_assign_id(env, reg);
	err = spill(env, pointer, index, reg, size);
	if (!fits)
		sl_reg_unlink(&sl_env_stack_of(env, pointer)->slots[index].reg);
	return err;
}

static int store_data(struct sl_env *env, const struct sl_reg *pointer, int32_t off, unsigned size,
	int value_regno, bool zero)
{
	struct sl_slot *slot = &sl_env_stack_of(env, pointer)->slots[slot_of(off)];
	int err;

	scrub(slot);
	if (zero && value_regno >= 0) {
		err = sl_mark_precise(env, value_regno);
		if (err)
			return err;
	}
	for (unsigned i = 0; i < size; i++)
		slot->type[byte_of(off) - i] = zero ? SL_SLOT_ZERO : SL_SLOT_MISC;
	if (size == 8)
		slot->written = true;
	return 0;
}

static bool is_store_imm(const struct sl_env *env)
{
	uint8_t code = env->prog->insns[env->insn].code;

	return BPF_CLASS(code) == BPF_ST && BPF_MODE(code) == BPF_MEM;
}

static int store_fixed(struct sl_env *env, const struct sl_reg *pointer, int32_t off, unsigned size,
	int value_regno)
{
	const struct bpf_insn *insn = &env->prog->insns[env->insn];
	struct sl_reg *reg = value_regno >= 0 ? sl_env_reg(env, value_regno) : NULL;
	bool imm = !reg && is_store_imm(env);
	unsigned index = slot_of(off);
	int err = sl_dynptr_overwrite(env, sl_env_stack_of(env, pointer), index);

	if (err)
		return err;
	touch(env, index);
	sl_fastcall_access(env, sl_env_stack_of(env, pointer)->func, off);
	if (reg && off % 8 == 0 && reg->type == SL_REG_SCALAR)
		return spill_scalar(env, pointer, index, reg, size);
	if (imm && off % 8 == 0) {
		sl_reg_set_const(&env->fake[0], (uint64_t)(int64_t)insn->imm);
		return spill(env, pointer, index, &env->fake[0], size);
	}
	/* A dynptr's address is not kept, as the dynptr may go before the stack does. */
	if (reg && sl_reg_is_pointer(reg) && reg->type != SL_REG_DYNPTR) {
		if (size != 8) {
			sl_say(env, "invalid size of register spill\n");
			return -EACCES;
		}
		if (pointer->frame != env->cur->cur_frame && reg->type == SL_REG_STACK) {
			sl_say(env,
				"cannot spill pointers to stack into stack frame of the caller\n");
			return -EINVAL;
		}
		return spill(env, pointer, index, reg, size);
	}
	return store_data(env, pointer, off, size, value_regno,
		reg ? sl_reg_is_zero(reg) : imm && !insn->imm);
}

/* Some of these bytes become `value_regno`, which ones is not known. */
static int store_variable(struct sl_env *env, const struct sl_reg *pointer, int32_t off,
	unsigned size, int value_regno)
{
	struct sl_frame *frame = sl_env_stack_of(env, pointer);
	const struct sl_reg *reg = value_regno >= 0 ? sl_env_reg(env, value_regno) : NULL;
	bool zero =
		reg ? sl_reg_is_zero(reg) : is_store_imm(env) && !env->prog->insns[env->insn].imm;
	int32_t end = (int32_t)pointer->smax + off + (int32_t)size;
	bool relied = false;
	int err;

	sl_fastcall_access(env, frame->func, (int32_t)pointer->smin + off);
	for (int32_t i = (int32_t)pointer->smin + off; i < end; i++) {
		struct sl_slot *slot = &frame->slots[slot_of(i)];
		uint8_t *type = &slot->type[byte_of(i)];

		err = sl_dynptr_overwrite(env, frame, slot_of(i));
		if (err)
			return err;
		touch(env, slot_of(i));
		if (zero && *type == SL_SLOT_SPILL && sl_slot_is_spill(slot) &&
			sl_reg_is_zero(&slot->reg)) {
			err = sl_mark_precise_slot(env, pointer->frame, slot_of(i));
			if (err)
				return err;
			relied = true;
			continue;
		}
		if (*type == SL_SLOT_SPILL || sl_slot_is_spill(slot) || sl_slot_is_object(slot))
			scrub(slot);
		/* Data from now on, but the store may have gone elsewhere. */
		if (*type == SL_SLOT_INVALID)
			note_uninit(env, frame);
		if (zero && *type == SL_SLOT_ZERO)
			relied = true;
		else
			*type = SL_SLOT_MISC;
	}
	return relied && value_regno >= 0 ? sl_mark_precise(env, value_regno) : 0;
}

int sl_stack_store(struct sl_env *env, unsigned regno, int32_t off, unsigned size, int value_regno)
{
	struct sl_reg pointer = *sl_env_reg(env, regno);
	int err = check_bounds(env, regno, off, size, SL_WRITE);

	if (err)
		return err;
	if (sl_tnum_is_const(pointer.var_off))
		return store_fixed(
			env, &pointer, off + (int32_t)pointer.var_off.value, size, value_regno);
	return store_variable(env, &pointer, off, size, value_regno);
}

void sl_stack_clobber(struct sl_env *env, struct sl_frame *frame, uint32_t frame_number,
	int32_t off, uint32_t size)
{
	(void)frame_number;
	sl_fastcall_access(env, frame->func, off);
	for (int32_t i = off; i < off + (int32_t)size; i++) {
		struct sl_slot *slot = &frame->slots[slot_of(i)];

		touch(env, slot_of(i));
		if (i % 8 == 0 && i + 8 <= off + (int32_t)size)
			slot->written = true;
		scrub(slot);
		slot->type[byte_of(i)] = SL_SLOT_MISC;
	}
}

/* ---- loads ---- */

/* Bytes that are not a register: zero if all are, else unknown. */
static void load_data(struct sl_env *env, struct sl_frame *frame, uint32_t frame_number,
	int32_t min, int32_t end, int value_regno)
{
	bool zero = true;

	for (int32_t i = min; i < end; i++) {
		uint8_t type = frame->slots[slot_of(i)].type[byte_of(i)];

		zero &= type == SL_SLOT_ZERO;
		if (type == SL_SLOT_INVALID)
			note_uninit(env, frame);
		mark_read(env, frame_number, slot_of(i));
	}
	if (value_regno < 0)
		return;
	if (zero)
		sl_reg_set_const(sl_env_reg(env, value_regno), 0);
	else
		sl_mark_unknown(env, value_regno);
}

/* A part of a slot that holds a narrower or wider spill than is read. */
static int load_part(struct sl_env *env, const struct sl_reg *pointer, int32_t off, unsigned size,
	unsigned spill_size, int value_regno)
{
	struct sl_frame *frame = sl_env_stack_of(env, pointer);
	struct sl_slot *slot = &frame->slots[slot_of(off)];
	struct sl_reg *value = value_regno >= 0 ? sl_env_reg(env, value_regno) : NULL;
	unsigned spilled = 0;

	if (slot->reg.type != SL_REG_SCALAR) {
		sl_say(env, "invalid size of register fill\n");
		return -EACCES;
	}
	if (size <= spill_size && off % 8 == 0) {
		if (!value)
			return 0;
		if (size == 4 && spill_size == 4 && width_of(&slot->reg) <= 32)
			sl_assign_id(env, &slot->reg);
		*value = slot->reg;
		if (width_of(value) > size * 8)
			sl_reg_unlink(value);
		return sl_jump_push(env, SL_JUMP_STACK, pointer->frame, slot_of(off), NULL, 0);
	}
	for (unsigned i = 0; i < size; i++)
		spilled += slot->type[byte_of(off) - i] == SL_SLOT_SPILL;
	if (value && spilled == size && sl_reg_is_zero(&slot->reg)) {
		sl_reg_set_const(value, 0);
		return sl_jump_push(env, SL_JUMP_STACK, pointer->frame, slot_of(off), NULL, 0);
	}
	load_data(env, frame, pointer->frame, off, off + (int32_t)size, value_regno);
	return 0;
}

static int load_fixed(struct sl_env *env, const struct sl_reg *pointer, int32_t off, unsigned size,
	int value_regno)
{
	struct sl_frame *frame = sl_env_stack_of(env, pointer);
	struct sl_slot *slot = &frame->slots[slot_of(off)];
	unsigned spill_size = 1;

	touch(env, slot_of(off));
	sl_fastcall_access(env, frame->func, off);
	mark_read(env, pointer->frame, slot_of(off));
	if (sl_slot_is_object(slot) || slot->type[0] == SL_SLOT_DYNPTR) {
		sl_say(env, "invalid read from stack off %d+0 size %u\n", off, size);
		return -EACCES;
	}
	if (!sl_slot_is_spill(slot)) {
		load_data(env, frame, pointer->frame, off, off + (int32_t)size, value_regno);
		return 0;
	}
	while (spill_size < 8 && slot->type[7 - spill_size] == SL_SLOT_SPILL)
		spill_size++;
	if (size != 8 || spill_size != 8)
		return load_part(env, pointer, off, size, spill_size, value_regno);
	if (value_regno < 0)
		return 0;
	sl_assign_id(env, &slot->reg);
	*sl_env_reg(env, value_regno) = slot->reg;
	return sl_jump_push(env, SL_JUMP_STACK, pointer->frame, slot_of(off), NULL, 0);
}

static int refuse_byte(struct sl_env *env, const struct sl_reg *reg, unsigned regno, int32_t off,
	int32_t i, uint32_t size)
{
	char tnum[64];

	if (sl_tnum_is_const(reg->var_off)) {
		sl_say(env, "invalid read from stack R%u off %d+%d size %u\n", regno, off, i, size);
	} else {
		sl_print_tnum(tnum, sizeof(tnum), reg->var_off);
		sl_say(env, "invalid read from stack R%u var_off %s+%d size %u\n", regno, tnum, i,
			size);
	}
	return -EACCES;
}

/* Every byte that an access of `size` bytes could reach is readable, and clobbered if asked. */
static int check_initialised(struct sl_env *env, unsigned regno, const struct sl_reg *reg,
	int32_t min, int32_t max, uint32_t size, bool clobber)
{
	struct sl_frame *frame = sl_env_stack_of(env, reg);

	for (int32_t i = min; i < max + (int32_t)size; i++) {
		struct sl_slot *slot = &frame->slots[slot_of(i)];
		uint8_t *type = &slot->type[byte_of(i)];

		if (*type == SL_SLOT_INVALID)
			note_uninit(env, frame);
		else if ((*type == SL_SLOT_SPILL && !sl_slot_is_spill(slot)) ||
			 sl_slot_is_object(slot) || *type == SL_SLOT_DYNPTR)
			return refuse_byte(env, reg, regno, min, i - min, size);
		mark_read(env, reg->frame, slot_of(i));
		if (!clobber)
			continue;
		touch(env, slot_of(i));
		scrub(slot);
		*type = SL_SLOT_MISC;
	}
	return 0;
}

int sl_stack_load(struct sl_env *env, unsigned regno, int32_t off, unsigned size, int value_regno)
{
	struct sl_reg pointer = *sl_env_reg(env, regno);
	int32_t min, max;
	char tnum[64];
	int err;

	err = check_bounds(env, regno, off, size, SL_READ);
	if (err)
		return err;
	if (sl_tnum_is_const(pointer.var_off))
		return load_fixed(
			env, &pointer, off + (int32_t)pointer.var_off.value, size, value_regno);
	if (value_regno < 0) {
		sl_print_tnum(tnum, sizeof(tnum), pointer.var_off);
		sl_say(env,
			"variable offset stack pointer cannot be passed into helper function; "
			"var_off=%s off=%d size=%u\n",
			tnum, off, size);
		return -EACCES;
	}
	min = (int32_t)pointer.smin + off;
	max = (int32_t)pointer.smax + off;
	err = check_initialised(env, regno, &pointer, min, max, size, false);
	if (err)
		return err;
	sl_fastcall_access(env, sl_env_stack_of(env, &pointer)->func, min);
	load_data(env, sl_env_stack_of(env, &pointer), pointer.frame, min, max + (int32_t)size,
		value_regno);
	return 0;
}

/* What a helper may leave as it was counts as read: it is data from then on. */
static void note_unwritten(struct sl_env *env, struct sl_frame *frame, int32_t min, int32_t end)
{
	for (int32_t i = min; i < end; i++)
		if (frame->slots[slot_of(i)].type[byte_of(i)] == SL_SLOT_INVALID)
			note_uninit(env, frame);
}

/* What a helper fills is taken for data afterwards: it may not be what the run time relies on. */
static int refuse_dynptr(struct sl_env *env, const struct sl_frame *frame, int32_t min, int32_t end)
{
	for (int32_t i = min; i < end; i++) {
		if (frame->slots[slot_of(i)].type[byte_of(i)] != SL_SLOT_DYNPTR)
			continue;
		sl_say(env, "potential write to dynptr at off=%d disallowed\n", i);
		return -EACCES;
	}
	return 0;
}

int sl_stack_helper(struct sl_env *env, unsigned regno, int32_t off, uint32_t size,
	enum sl_access access, bool zero_allowed, struct sl_call_meta *meta)
{
	struct sl_reg pointer = *sl_env_reg(env, regno);
	bool is_const = sl_tnum_is_const(pointer.var_off);
	int32_t min = off + (int32_t)(is_const ? (int64_t)pointer.var_off.value : pointer.smin);
	int32_t max = is_const ? min : off + (int32_t)pointer.smax;
	int err;

	if (!size && !zero_allowed) {
		sl_say(env, "invalid zero-sized read\n");
		return -EACCES;
	}
	err = check_bounds(env, regno, off, size, access);
	if (err)
		return err;
	if (meta && meta->raw && is_const) {
		err = refuse_dynptr(env, sl_env_stack_of(env, &pointer), min, min + (int32_t)size);
		if (err)
			return err;
		if (meta->helper->flags & SL_HELPER_LEAVES_MEMORY)
			note_unwritten(
				env, sl_env_stack_of(env, &pointer), min, min + (int32_t)size);
		meta->raw_reg = (int)regno;
		meta->raw_off = min;
		meta->raw_size = size;
		return 0;
	}
	return check_initialised(env, regno, &pointer, min, max, size, access == SL_WRITE);
}

int sl_stack_may_change(struct sl_env *env, const struct sl_reg *stack, int32_t off, uint32_t size)
{
	struct sl_frame *frame = sl_env_stack_of(env, stack);

	for (int32_t i = off; i < off + (int32_t)size; i++) {
		struct sl_slot *slot = &frame->slots[slot_of(i)];

		if (slot->type[byte_of(i)] == SL_SLOT_DYNPTR || sl_slot_is_object(slot)) {
			sl_say(env, "potential write to dynptr at off=%d disallowed\n", i);
			return -EACCES;
		}
		touch(env, slot_of(i));
		mark_read(env, stack->frame, slot_of(i));
		sl_fastcall_access(env, frame->func, i);
		if (slot->type[byte_of(i)] == SL_SLOT_INVALID)
			continue;
		scrub(slot);
		slot->type[byte_of(i)] = SL_SLOT_MISC;
	}
	return 0;
}

int sl_stack_const_key(
	struct sl_env *env, const struct sl_reg *key, uint32_t key_size, int64_t *ret_value)
{
	struct sl_frame *frame;
	const struct sl_slot *slot;
	int32_t off, byte;
	uint32_t count = 0;

	*ret_value = -1;
	if (key->type != SL_REG_STACK || !sl_tnum_is_const(key->var_off))
		return 0;
	frame = sl_env_stack_of(env, key);
	off = key->off + (int32_t)key->var_off.value;
	slot = &frame->slots[slot_of(off)];
	byte = (int32_t)byte_of(off);
	for (int32_t i = byte; i >= 0 && slot->type[i] == SL_SLOT_ZERO; i--)
		count++;
	if (count >= key_size) {
		*ret_value = 0;
		return 0;
	}
	count = 0;
	if (!sl_slot_is_scalar_spill(slot) || !sl_reg_is_const(&slot->reg))
		return 0;
	for (int32_t i = byte; i >= 0 && slot->type[i] == SL_SLOT_SPILL; i--)
		count++;
	/* Only the beginning of a spill is the register's low part. */
	if (count != key_size || byte != 7)
		return 0;
	*ret_value = (int64_t)sl_tnum_cast(slot->reg.var_off, (uint8_t)key_size).value;
	return sl_mark_precise_slot(env, key->frame, slot_of(off));
}
