#include <string.h>

#include "reg_range.h"

/*
 * Arithmetic on abstract values. Each operation is computed three times, on the known bits and on
 * the ranges of both widths, and sl_reg_sync joins the results. Ranges are computed exactly in 128
 * bits, and kept only where no value between the ends wraps around at the operation's width.
 */

typedef __int128 wide;

static unsigned width_of(bool is32)
{
	return is32 ? 32 : 64;
}

static void set_signed(struct sl_range *range, bool is32, wide min, wide max)
{
	struct sl_range full = sl_range_full(is32);
	bool fits = min >= full.smin && max <= full.smax;

	range->smin = fits ? (int64_t)min : full.smin;
	range->smax = fits ? (int64_t)max : full.smax;
}

/* The ends may both have wrapped equally often: then so has everything between. */
static void set_unsigned(struct sl_range *range, bool is32, wide min, wide max)
{
	struct sl_range full = sl_range_full(is32);
	bool same_turn = min >> width_of(is32) == max >> width_of(is32);

	range->umin = same_turn ? (uint64_t)min & full.umax : 0;
	range->umax = same_turn ? (uint64_t)max & full.umax : full.umax;
}

static void range_add(struct sl_range *a, const struct sl_range *b, bool is32)
{
	set_signed(a, is32, (wide)a->smin + b->smin, (wide)a->smax + b->smax);
	set_unsigned(a, is32, (wide)a->umin + b->umin, (wide)a->umax + b->umax);
}

static void range_sub(struct sl_range *a, const struct sl_range *b, bool is32)
{
	set_signed(a, is32, (wide)a->smin - b->smax, (wide)a->smax - b->smin);
	set_unsigned(a, is32, (wide)a->umin - b->umax, (wide)a->umax - b->umin);
}

static void range_mul(struct sl_range *a, const struct sl_range *b, bool is32)
{
	struct sl_range full = sl_range_full(is32);
	wide corners[4] = { (wide)a->smin * b->smin, (wide)a->smin * b->smax,
		(wide)a->smax * b->smin, (wide)a->smax * b->smax };
	wide min = corners[0], max = corners[0];
	unsigned __int128 high = (unsigned __int128)a->umax * b->umax;

	for (int i = 1; i < 4; i++) {
		min = sl_min(min, corners[i]);
		max = sl_max(max, corners[i]);
	}
	set_signed(a, is32, min, max);
	if (high > full.umax) {
		a->umin = 0;
		a->umax = full.umax;
	} else {
		a->umin *= b->umin;
		a->umax = (uint64_t)high;
	}
}

/* A result known as unsigned is one as signed when it stays on one side of the sign boundary. */
static void signed_from_unsigned(struct sl_range *range, bool is32)
{
	uint64_t sign = 1ULL << (width_of(is32) - 1);
	struct sl_range full = sl_range_full(is32);

	if ((range->umin & sign) <= (range->umax & sign) && !((range->umin ^ range->umax) & sign)) {
		range->smin = is32 ? (int32_t)range->umin : (int64_t)range->umin;
		range->smax = is32 ? (int32_t)range->umax : (int64_t)range->umax;
	} else {
		range->smin = full.smin;
		range->smax = full.smax;
	}
}

/* For AND, OR, XOR: `bits` is the result's known bits at this width. */
static void range_bitwise(
	struct sl_range *a, const struct sl_range *b, uint8_t op, struct sl_tnum bits, bool is32)
{
	switch (op) {
	case BPF_AND:
		a->umin = bits.value;
		a->umax = sl_min(a->umax, b->umax);
		break;
	case BPF_OR:
		a->umin = sl_max(a->umin, b->umin);
		a->umax = bits.value | bits.mask;
		break;
	default:
		a->umin = bits.value;
		a->umax = bits.value | bits.mask;
	}
	signed_from_unsigned(a, is32);
}

static void apply_ranges(struct sl_reg *dst, const struct sl_reg *src,
	void (*fn)(struct sl_range *a, const struct sl_range *b, bool is32))
{
	for (int is32 = 0; is32 < 2; is32++) {
		struct sl_range a = sl_range_of(dst, is32), b = sl_range_of(src, is32);

		fn(&a, &b, is32);
		sl_range_put(dst, is32, a);
	}
}

static void alu_add(struct sl_reg *dst, const struct sl_reg *src)
{
	apply_ranges(dst, src, range_add);
	dst->var_off = sl_tnum_add(dst->var_off, src->var_off);
}

static void alu_sub(struct sl_reg *dst, const struct sl_reg *src)
{
	apply_ranges(dst, src, range_sub);
	dst->var_off = sl_tnum_sub(dst->var_off, src->var_off);
}

static void alu_mul(struct sl_reg *dst, const struct sl_reg *src)
{
	apply_ranges(dst, src, range_mul);
	dst->var_off = sl_tnum_mul(dst->var_off, src->var_off);
}

static void alu_bitwise(struct sl_reg *dst, const struct sl_reg *src, uint8_t op)
{
	struct sl_tnum result = op == BPF_AND  ? sl_tnum_and(dst->var_off, src->var_off)
				: op == BPF_OR ? sl_tnum_or(dst->var_off, src->var_off)
					       : sl_tnum_xor(dst->var_off, src->var_off);

	dst->var_off = result;
	for (int is32 = 0; is32 < 2; is32++) {
		struct sl_range a = sl_range_of(dst, is32), b = sl_range_of(src, is32);
		struct sl_tnum bits = is32 ? sl_tnum_subreg(result) : result;

		if (sl_tnum_is_const(bits)) {
			a.umin = a.umax = bits.value;
			signed_from_unsigned(&a, is32);
		} else {
			range_bitwise(&a, &b, op, bits, is32);
		}
		sl_range_put(dst, is32, a);
	}
	sl_reg_bounds_from_bits64(dst);
}

static void alu_neg(struct sl_reg *dst)
{
	struct sl_reg zero;

	sl_reg_set_const(&zero, 0);
	for (int is32 = 0; is32 < 2; is32++) {
		struct sl_range a = sl_range_of(&zero, is32), b = sl_range_of(dst, is32);

		range_sub(&a, &b, is32);
		sl_range_put(dst, is32, a);
	}
	dst->var_off = sl_tnum_neg(dst->var_off);
}

static void shift_left_unsigned(struct sl_reg *dst, uint8_t shift, bool is32)
{
	struct sl_range range = sl_range_of(dst, is32), full = sl_range_full(is32);

	/* Beyond this the top bit might be shifted out. */
	if (range.umax > 1ULL << (width_of(is32) - 1 - shift)) {
		range.umin = 0;
		range.umax = full.umax;
	} else {
		range.umin <<= shift;
		range.umax <<= shift;
	}
	range.smin = full.smin;
	range.smax = full.smax;
	sl_range_put(dst, is32, range);
}

static void shift_left(struct sl_reg *dst, uint8_t shift, bool is32)
{
	if (is32) {
		shift_left_unsigned(dst, shift, true);
		dst->var_off = sl_tnum_subreg(sl_tnum_lshift(dst->var_off, shift));
		return;
	}
	shift_left_unsigned(dst, shift, false);
	/* First half of a sign extension by two shifts: the low half's range moves up whole. */
	if (shift == 32) {
		dst->smin = (int64_t)((uint64_t)(int64_t)dst->s32_min << 32);
		dst->smax = (int64_t)((uint64_t)(int64_t)dst->s32_max << 32);
	}
	if (shift < 32)
		shift_left_unsigned(dst, shift, true);
	else
		sl_range_put(dst, true, sl_range_full(true));
	dst->var_off = sl_tnum_lshift(dst->var_off, shift);
}

static void shift_right(struct sl_reg *dst, uint8_t shift, bool is32)
{
	struct sl_range range = sl_range_of(dst, is32), full = sl_range_full(is32);
	struct sl_tnum bits = is32 ? sl_tnum_subreg(dst->var_off) : dst->var_off;

	dst->var_off = sl_tnum_rshift(bits, shift);
	range.smin = full.smin;
	range.smax = full.smax;
	range.umin >>= shift;
	range.umax >>= shift;
	sl_range_put(dst, is32, range);
	sl_range_put(dst, !is32, sl_range_full(!is32));
}

static void shift_right_signed(struct sl_reg *dst, uint8_t shift, bool is32)
{
	struct sl_range range = sl_range_of(dst, is32), full = sl_range_full(is32);

	range.smin >>= shift;
	range.smax >>= shift;
	range.umin = full.umin;
	range.umax = full.umax;
	dst->var_off = sl_tnum_arshift(
		is32 ? sl_tnum_subreg(dst->var_off) : dst->var_off, shift, (uint8_t)width_of(is32));
	sl_range_put(dst, is32, range);
	sl_range_put(dst, !is32, sl_range_full(!is32));
}

static void alu_shift(struct sl_reg *dst, uint8_t shift, uint8_t op, bool is32)
{
	switch (op) {
	case BPF_LSH:
		shift_left(dst, shift, is32);
		break;
	case BPF_RSH:
		shift_right(dst, shift, is32);
		break;
	default:
		shift_right_signed(dst, shift, is32);
	}
	/* A 32-bit result's upper half comes with the zero extension. */
	if (is32) {
		sl_range_put(dst, false, sl_range_full(false));
		sl_reg_bounds_from_bits32(dst);
	} else {
		sl_reg_bounds_from_bits32(dst);
		sl_reg_bounds_from_bits64(dst);
	}
}

static bool known_shift(const struct sl_reg *src, bool is32, uint8_t *ret_shift)
{
	struct sl_tnum bits = is32 ? sl_tnum_subreg(src->var_off) : src->var_off;
	struct sl_range range = sl_range_of(src, is32);

	if (!sl_tnum_is_const(bits) || range.umin != range.umax || range.smin != range.smax ||
		src->umax >= width_of(is32))
		return false;
	*ret_shift = (uint8_t)bits.value;
	return true;
}

static void alu_scalars(struct sl_reg *dst, const struct sl_reg *src, uint8_t op, bool is32)
{
	uint8_t shift;

	switch (op) {
	case BPF_ADD:
		alu_add(dst, src);
		break;
	case BPF_SUB:
		alu_sub(dst, src);
		break;
	case BPF_MUL:
		alu_mul(dst, src);
		break;
	case BPF_NEG:
		alu_neg(dst);
		break;
	case BPF_AND:
	case BPF_OR:
	case BPF_XOR:
		alu_bitwise(dst, src, op);
		break;
	case BPF_LSH:
	case BPF_RSH:
	case BPF_ARSH:
		if (!known_shift(src, is32, &shift)) {
			sl_reg_set_unknown(dst);
			return;
		}
		alu_shift(dst, shift, op, is32);
		break;
	default:
		/* Division and remainder are not followed, not even their width. */
		sl_reg_set_unknown(dst);
		return;
	}
	if (is32)
		sl_reg_zext32(dst);
	sl_reg_sync(dst);
}

static void alu_mov(struct sl_reg *dst, const struct sl_reg *src, unsigned sext_bits, bool is32)
{
	bool same_value =
		sext_bits ? src->umax < 1ULL << (sext_bits - 1) : !is32 || src->umax <= UINT32_MAX;

	if (dst != src)
		*dst = *src;
	if (!same_value) {
		dst->id = 0;
		dst->off = 0;
	}
	if (sext_bits)
		sl_reg_coerce_sext(dst, sext_bits / 8, is32);
	if (is32) {
		sl_reg_zext32(dst);
		sl_reg_sync(dst);
	}
}

static void alu_swap(struct sl_reg *dst, const struct bpf_insn *insn)
{
	bool to_big = BPF_SRC(insn->code) == BPF_TO_BE;
	bool host_is_big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
	unsigned unused_bits = 64 - (unsigned)insn->imm;

	dst->id = 0;
	dst->off = 0;
	/* The byte order of the host leaves the value as it is, but for its width. */
	if (BPF_CLASS(insn->code) == BPF_ALU64 || to_big != host_is_big) {
		dst->var_off.value = __builtin_bswap64(dst->var_off.value) >> unused_bits;
		dst->var_off.mask = __builtin_bswap64(dst->var_off.mask) >> unused_bits;
		sl_reg_unbound(dst);
	}
	sl_reg_coerce_zext(dst, (unsigned)insn->imm / 8);
	sl_reg_sync(dst);
}

void sl_reg_alu(struct sl_reg *dst, const struct sl_reg *src, const struct bpf_insn *insn)
{
	bool is32 = BPF_CLASS(insn->code) == BPF_ALU;
	uint8_t op = BPF_OP(insn->code);
	struct sl_reg imm;

	if (op == BPF_END) {
		alu_swap(dst, insn);
		sl_reg_settle(dst);
		return;
	}
	if (BPF_SRC(insn->code) == BPF_K) {
		sl_reg_set_const(&imm,
			op == BPF_MOV && is32 ? (uint32_t)insn->imm : (uint64_t)(int64_t)insn->imm);
		src = &imm;
	}
	if (op == BPF_MOV)
		alu_mov(dst, src, BPF_SRC(insn->code) == BPF_X ? (unsigned)insn->off : 0, is32);
	else
		alu_scalars(dst, src, op, is32);
	if (dst->type == SL_REG_SCALAR)
		sl_reg_settle(dst);
}

static void set_pointer_kind(struct sl_reg *dst, const struct sl_reg *ptr)
{
	struct sl_reg result = *ptr;

	/* Pointers carry no 32-bit bounds; sl_reg_sync finds what follows from the others. */
	sl_range_put(&result, true, sl_range_full(true));
	*dst = result;
}

void sl_reg_pointer_add(struct sl_reg *dst, const struct sl_reg *ptr, const struct sl_reg *scalar)
{
	struct sl_reg offset = *scalar;
	int64_t sum;

	set_pointer_kind(dst, ptr);
	if (sl_tnum_is_const(offset.var_off) &&
		!__builtin_add_overflow(dst->off, (int64_t)offset.var_off.value, &sum) &&
		sum == (int32_t)sum) {
		dst->off = (int32_t)sum;
	} else {
		struct sl_range a = sl_range_of(dst, false), b = sl_range_of(&offset, false);

		range_add(&a, &b, false);
		/* Unlike between scalars, a sum that may wrap is not kept even if all of it does. */
		if (__builtin_add_overflow(dst->umax, offset.umax, &(uint64_t){ 0 })) {
			a.umin = 0;
			a.umax = UINT64_MAX;
		}
		sl_range_put(dst, false, a);
		dst->var_off = sl_tnum_add(dst->var_off, offset.var_off);
		if (sl_reg_is_packet(dst))
			dst->range = 0;
	}
	sl_reg_sync(dst);
}

void sl_reg_pointer_sub(struct sl_reg *dst, const struct sl_reg *ptr, const struct sl_reg *scalar)
{
	struct sl_reg offset = *scalar;
	int64_t difference;

	set_pointer_kind(dst, ptr);
	if (sl_tnum_is_const(offset.var_off) &&
		!__builtin_sub_overflow(dst->off, (int64_t)offset.var_off.value, &difference) &&
		difference == (int32_t)difference) {
		dst->off = (int32_t)difference;
	} else {
		struct sl_range a = sl_range_of(dst, false), b = sl_range_of(&offset, false);

		range_sub(&a, &b, false);
		if (dst->umin < offset.umax) {
			a.umin = 0;
			a.umax = UINT64_MAX;
		}
		sl_range_put(dst, false, a);
		dst->var_off = sl_tnum_sub(dst->var_off, offset.var_off);
		/* What was proven readable stays so only when the pointer moved down. */
		if (sl_reg_is_packet(dst) && offset.smin < 0)
			dst->range = 0;
	}
	sl_reg_sync(dst);
}
