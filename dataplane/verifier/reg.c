#include "reg.h"

#include <string.h>

#include "reg_range.h"

/*
 * A register's value is described five times over: known bits, and a signed and an unsigned range
 * of the whole and of its low half. Each description may exclude values that the others admit, so
 * after every change sl_reg_sync lets them learn from one another. How far that goes decides which
 * programs are accepted, and what the log shows; it follows the kernel's steps, in their order.
 */

static void clamp_u64(struct sl_reg *reg, uint64_t min, uint64_t max)
{
	reg->umin = sl_max(reg->umin, min);
	reg->umax = sl_min(reg->umax, max);
}

static void clamp_s64(struct sl_reg *reg, int64_t min, int64_t max)
{
	reg->smin = sl_max(reg->smin, min);
	reg->smax = sl_min(reg->smax, max);
}

static void clamp_u32(struct sl_reg *reg, uint32_t min, uint32_t max)
{
	reg->u32_min = sl_max(reg->u32_min, min);
	reg->u32_max = sl_min(reg->u32_max, max);
}

static void clamp_s32(struct sl_reg *reg, int32_t min, int32_t max)
{
	reg->s32_min = sl_max(reg->s32_min, min);
	reg->s32_max = sl_min(reg->s32_max, max);
}

void sl_reg_unbound(struct sl_reg *reg)
{
	sl_range_put(reg, false, sl_range_full(false));
	sl_range_put(reg, true, sl_range_full(true));
}

void sl_reg_set_unknown(struct sl_reg *reg)
{
	memset(reg, 0, sizeof(*reg));
	reg->type = SL_REG_SCALAR;
	reg->var_off = SL_TNUM_UNKNOWN;
	sl_reg_unbound(reg);
}

static void set_value(struct sl_reg *reg, uint64_t value)
{
	reg->var_off = sl_tnum_const(value);
	reg->smin = reg->smax = (int64_t)value;
	reg->umin = reg->umax = value;
	reg->s32_min = reg->s32_max = (int32_t)value;
	reg->u32_min = reg->u32_max = (uint32_t)value;
}

void sl_reg_set_const(struct sl_reg *reg, uint64_t value)
{
	memset(reg, 0, sizeof(*reg));
	reg->type = SL_REG_SCALAR;
	set_value(reg, value);
}

void sl_reg_set_const32(struct sl_reg *reg, uint32_t value)
{
	reg->var_off = sl_tnum_with_subreg(reg->var_off, sl_tnum_const(value));
	reg->s32_min = reg->s32_max = (int32_t)value;
	reg->u32_min = reg->u32_max = value;
}

void sl_reg_set_pointer(struct sl_reg *reg, enum sl_reg_type type)
{
	sl_reg_set_const(reg, 0);
	reg->type = type;
}

/* Bits and range may have a single number in common, which neither shows alone. */
static void find_single_value(struct sl_reg *reg)
{
	struct sl_tnum bits = reg->var_off;
	uint64_t next = sl_tnum_next(bits, reg->umin);

	if (((reg->umin ^ bits.value) & ~bits.mask) == 0) {
		if (next > reg->umax)
			set_value(reg, reg->umin);
	} else if (next == (bits.value | bits.mask)) {
		set_value(reg, next);
	} else if (next <= reg->umax && sl_tnum_next(bits, next) > reg->umax) {
		set_value(reg, next);
	}
}

void sl_reg_bounds_from_bits64(struct sl_reg *reg)
{
	struct sl_tnum bits = reg->var_off;
	uint64_t sign = 1ULL << 63;

	clamp_s64(reg, (int64_t)(bits.value | (bits.mask & sign)),
		(int64_t)(bits.value | (bits.mask & ~sign)));
	clamp_u64(reg, bits.value, bits.value | bits.mask);
	find_single_value(reg);
}

void sl_reg_bounds_from_bits32(struct sl_reg *reg)
{
	uint32_t value = (uint32_t)reg->var_off.value, mask = (uint32_t)reg->var_off.mask;
	uint32_t sign = 1U << 31;

	clamp_s32(reg, (int32_t)(value | (mask & sign)), (int32_t)(value | (mask & ~sign)));
	clamp_u32(reg, value, value | mask);
}

/*
 * The low halves of a 64-bit range's ends bound the low half where nothing between the ends wraps:
 * always when the upper halves are equal; for the signed half also when they are neighbours and the
 * low half goes from negative to positive on the way.
 */
static void low_half_from_u64(struct sl_reg *reg)
{
	uint32_t high_min = (uint32_t)(reg->umin >> 32), high_max = (uint32_t)(reg->umax >> 32);
	int32_t min = (int32_t)reg->umin, max = (int32_t)reg->umax;

	if (high_min != high_max)
		return;
	clamp_u32(reg, (uint32_t)min, (uint32_t)max);
	if (min <= max)
		clamp_s32(reg, min, max);
}

static void low_half_from_s64(struct sl_reg *reg)
{
	int32_t min = (int32_t)reg->smin, max = (int32_t)reg->smax;

	if (reg->smin >> 32 != reg->smax >> 32)
		return;
	if ((uint32_t)min <= (uint32_t)max)
		clamp_u32(reg, (uint32_t)min, (uint32_t)max);
	if (min <= max)
		clamp_s32(reg, min, max);
}

static void low_half_around_zero(struct sl_reg *reg, uint64_t min, uint64_t max)
{
	if ((uint32_t)(min >> 32) + 1 == (uint32_t)(max >> 32) && (int32_t)min < 0 &&
		(int32_t)max >= 0)
		clamp_s32(reg, (int32_t)min, (int32_t)max);
}

static void deduce32(struct sl_reg *reg)
{
	low_half_from_u64(reg);
	low_half_from_s64(reg);
	low_half_around_zero(reg, reg->umin, reg->umax);
	low_half_around_zero(reg, (uint64_t)reg->smin, (uint64_t)reg->smax);
	/* A range on one side of the sign boundary is a range of the other kind, too. */
	if ((int32_t)reg->u32_min <= (int32_t)reg->u32_max)
		clamp_s32(reg, (int32_t)reg->u32_min, (int32_t)reg->u32_max);
	if ((uint32_t)reg->s32_min <= (uint32_t)reg->s32_max) {
		clamp_u32(reg, (uint32_t)reg->s32_min, (uint32_t)reg->s32_max);
	} else if (reg->u32_max < (uint32_t)reg->s32_min) {
		/* The signed range is two unsigned ones; only the one of small numbers is left. */
		reg->s32_min = (int32_t)reg->u32_min;
		reg->u32_max = sl_min(reg->u32_max, (uint32_t)reg->s32_max);
	} else if ((uint32_t)reg->s32_max < reg->u32_min) {
		/* Only the one of negative numbers. */
		reg->s32_max = (int32_t)reg->u32_max;
		reg->u32_min = sl_max(reg->u32_min, (uint32_t)reg->s32_min);
	}
}

/* As at the end of deduce32. */
static void deduce64(struct sl_reg *reg)
{
	if ((int64_t)reg->umin <= (int64_t)reg->umax)
		clamp_s64(reg, (int64_t)reg->umin, (int64_t)reg->umax);
	if ((uint64_t)reg->smin <= (uint64_t)reg->smax) {
		clamp_u64(reg, (uint64_t)reg->smin, (uint64_t)reg->smax);
	} else if (reg->umax < (uint64_t)reg->smin) {
		reg->smin = (int64_t)reg->umin;
		reg->umax = sl_min(reg->umax, (uint64_t)reg->smax);
	} else if ((uint64_t)reg->smax < reg->umin) {
		reg->smax = (int64_t)reg->umax;
		reg->umin = sl_max(reg->umin, (uint64_t)reg->smin);
	}
}

static uint64_t with_low(uint64_t value, uint32_t low)
{
	return (value >> 32 << 32) | low;
}

static void deduce_whole_from_half(struct sl_reg *reg)
{
	clamp_u64(reg, with_low(reg->umin, reg->u32_min), with_low(reg->umax, reg->u32_max));
	clamp_s64(reg, (int64_t)with_low((uint64_t)reg->smin, reg->u32_min),
		(int64_t)with_low((uint64_t)reg->smax, reg->u32_max));
	/* A sign-extended half that is not negative is the whole. */
	if (reg->s32_min >= 0 && reg->smin >= INT32_MIN && reg->smax <= INT32_MAX) {
		reg->smin = reg->s32_min;
		reg->smax = reg->s32_max;
		reg->umin = (uint64_t)reg->s32_min;
		reg->umax = (uint64_t)reg->s32_max;
		reg->var_off = sl_tnum_intersect(reg->var_off, sl_tnum_range(reg->umin, reg->umax));
	}
}

static void bits_from_bounds(struct sl_reg *reg)
{
	struct sl_tnum whole = sl_tnum_intersect(reg->var_off, sl_tnum_range(reg->umin, reg->umax));
	struct sl_tnum half =
		sl_tnum_intersect(sl_tnum_subreg(whole), sl_tnum_range(reg->u32_min, reg->u32_max));

	reg->var_off = sl_tnum_with_subreg(whole, half);
}

void sl_reg_sync(struct sl_reg *reg)
{
	sl_reg_bounds_from_bits32(reg);
	sl_reg_bounds_from_bits64(reg);
	/* Three rounds reach a fixed point in all cases known to matter. */
	for (int i = 0; i < 3; i++) {
		deduce32(reg);
		deduce64(reg);
		deduce_whole_from_half(reg);
	}
	bits_from_bounds(reg);
	sl_reg_bounds_from_bits32(reg);
	sl_reg_bounds_from_bits64(reg);
}

void sl_reg_zext32(struct sl_reg *reg)
{
	reg->var_off = sl_tnum_subreg(reg->var_off);
	reg->umin = reg->u32_min;
	reg->umax = reg->u32_max;
	if (reg->s32_min >= 0) {
		reg->smin = reg->s32_min;
		reg->smax = reg->s32_max;
	} else {
		reg->smin = 0;
		reg->smax = UINT32_MAX;
	}
}

void sl_reg_coerce_zext(struct sl_reg *reg, unsigned size_bytes)
{
	uint64_t kept;

	if (size_bytes >= 8)
		return;
	kept = (1ULL << (8 * size_bytes)) - 1;
	reg->var_off = sl_tnum_cast(reg->var_off, (uint8_t)size_bytes);
	if ((reg->umin & ~kept) == (reg->umax & ~kept)) {
		reg->umin &= kept;
		reg->umax &= kept;
	} else {
		reg->umin = 0;
		reg->umax = kept;
	}
	reg->smin = (int64_t)reg->umin;
	reg->smax = (int64_t)reg->umax;
	if (size_bytes < 4)
		sl_range_put(reg, true, sl_range_full(true));
	sl_reg_sync(reg);
}

static int64_t sign_extend(uint64_t value, unsigned size_bytes)
{
	unsigned shift = 64 - 8 * size_bytes;

	return (int64_t)(value << shift) >> shift;
}

/* What is left when only the size is known: a signed range. */
static void set_sext_default(struct sl_reg *reg, unsigned size_bytes, bool to_32)
{
	int64_t max = (1LL << (8 * size_bytes - 1)) - 1;

	sl_range_put(reg, true, (struct sl_range){ -max - 1, max, 0, UINT32_MAX });
	if (to_32) {
		reg->var_off = sl_tnum_subreg(SL_TNUM_UNKNOWN);
		return;
	}
	sl_range_put(reg, false, (struct sl_range){ -max - 1, max, 0, UINT64_MAX });
	reg->var_off = SL_TNUM_UNKNOWN;
}

void sl_reg_coerce_sext(struct sl_reg *reg, unsigned size_bytes, bool to_32)
{
	struct sl_range range = sl_range_of(reg, to_32);
	unsigned bits = 8 * size_bytes;
	int64_t a, b, min, max;

	if (sl_tnum_is_const(reg->var_off)) {
		int64_t value = sign_extend(reg->var_off.value, size_bytes);

		if (to_32) {
			/* The upper half is the caller's to clear. */
			sl_reg_set_const32(reg, (uint32_t)value);
			reg->var_off = sl_tnum_const((uint64_t)value);
		} else {
			set_value(reg, (uint64_t)value);
		}
		return;
	}
	a = sign_extend((uint64_t)range.smin, size_bytes);
	b = sign_extend((uint64_t)range.smax, size_bytes);
	min = sl_min(a, b);
	max = sl_max(a, b);
	/* Only a range within one period of the small width, on one side of zero, survives. */
	if (range.smin >> bits != range.smax >> bits || (min < 0) != (max < 0)) {
		set_sext_default(reg, size_bytes, to_32);
		return;
	}
	range = (struct sl_range){ min, max, (uint64_t)min, (uint64_t)max };
	sl_range_put(reg, true, range);
	reg->var_off = sl_tnum_range((uint64_t)min, (uint64_t)max);
	if (to_32)
		reg->var_off = sl_tnum_subreg(reg->var_off);
	else
		sl_range_put(reg, false, range);
}

bool sl_reg_is_sane(const struct sl_reg *reg)
{
	if (reg->smin > reg->smax || reg->umin > reg->umax || reg->s32_min > reg->s32_max ||
		reg->u32_min > reg->u32_max)
		return false;
	if (sl_tnum_is_const(reg->var_off)) {
		uint64_t value = reg->var_off.value;

		if (reg->umin != value || reg->umax != value || reg->smin != (int64_t)value ||
			reg->smax != (int64_t)value)
			return false;
	}
	if (sl_tnum_is_const(sl_tnum_subreg(reg->var_off))) {
		uint32_t value = (uint32_t)reg->var_off.value;

		if (reg->u32_min != value || reg->u32_max != value ||
			reg->s32_min != (int32_t)value || reg->s32_max != (int32_t)value)
			return false;
	}
	return true;
}

void sl_reg_settle(struct sl_reg *reg)
{
	if (!sl_reg_is_sane(reg))
		sl_reg_unbound(reg);
}

bool sl_reg_range_within(const struct sl_reg *a, const struct sl_reg *b)
{
	return a->umin <= b->umin && a->umax >= b->umax && a->smin <= b->smin &&
	       a->smax >= b->smax && a->u32_min <= b->u32_min && a->u32_max >= b->u32_max &&
	       a->s32_min <= b->s32_min && a->s32_max >= b->s32_max &&
	       sl_tnum_in(a->var_off, b->var_off);
}
