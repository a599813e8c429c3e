
#include "reg_range.h"

/*
 * Comparisons. All of them are reduced to a few: an operator is mirrored by exchanging its operands
 * (a > b is b < a) and negated for the branch that is not taken.
 */

/* Not an opcode of the instruction set: the negation of BPF_JSET. */
#define JSET_NOT (BPF_JSET | 0x08)

static uint8_t mirrored(uint8_t op)
{
	switch (op) {
	case BPF_JGT:
		return BPF_JLT;
	case BPF_JGE:
		return BPF_JLE;
	case BPF_JLT:
		return BPF_JGT;
	case BPF_JLE:
		return BPF_JGE;
	case BPF_JSGT:
		return BPF_JSLT;
	case BPF_JSGE:
		return BPF_JSLE;
	case BPF_JSLT:
		return BPF_JSGT;
	case BPF_JSLE:
		return BPF_JSGE;
	}
	return op;
}

static uint8_t negated(uint8_t op)
{
	switch (op) {
	case BPF_JEQ:
		return BPF_JNE;
	case BPF_JNE:
		return BPF_JEQ;
	case BPF_JGT:
		return BPF_JLE;
	case BPF_JGE:
		return BPF_JLT;
	case BPF_JLT:
		return BPF_JGE;
	case BPF_JLE:
		return BPF_JGT;
	case BPF_JSGT:
		return BPF_JSLE;
	case BPF_JSGE:
		return BPF_JSLT;
	case BPF_JSLT:
		return BPF_JSGE;
	case BPF_JSLE:
		return BPF_JSGT;
	case BPF_JSET:
		return JSET_NOT;
	}
	return BPF_JSET;
}

static struct sl_tnum bits_of(const struct sl_reg *reg, bool is32)
{
	return is32 ? sl_tnum_subreg(reg->var_off) : reg->var_off;
}

static bool is_const(const struct sl_reg *reg, bool is32)
{
	return reg->type == SL_REG_SCALAR && sl_tnum_is_const(bits_of(reg, is32));
}

static bool ranges_disjoint(const struct sl_range *a, const struct sl_range *b)
{
	return a->umin > b->umax || a->umax < b->umin || a->smin > b->smax || a->smax < b->smin;
}

static int branch_equal(const struct sl_reg *dst, const struct sl_reg *src, bool is32)
{
	struct sl_tnum a = bits_of(dst, is32), b = bits_of(src, is32);
	struct sl_range dst_range = sl_range_of(dst, is32), src_range = sl_range_of(src, is32);

	if (sl_tnum_is_const(a) && sl_tnum_is_const(b))
		return a.value == b.value;
	if (!sl_tnum_overlap(a, b) || ranges_disjoint(&dst_range, &src_range))
		return 0;
	if (!is32) {
		dst_range = sl_range_of(dst, true);
		src_range = sl_range_of(src, true);
		if (ranges_disjoint(&dst_range, &src_range))
			return 0;
	}
	return -1;
}

static int branch_set(const struct sl_reg *dst, const struct sl_reg *src, bool is32)
{
	const struct sl_reg *value = is_const(src, is32) ? dst : src;
	const struct sl_reg *mask = is_const(src, is32) ? src : dst;
	struct sl_tnum bits = bits_of(value, is32);
	uint64_t wanted = bits_of(mask, is32).value;

	if (!is_const(mask, is32))
		return -1;
	if (bits.value & wanted)
		return 1;
	if (!((bits.value | bits.mask) & wanted))
		return 0;
	return -1;
}

/* less than, or less or equal, of the two ends of each range */
static int branch_less(int64_t a_min, int64_t a_max, int64_t b_min, int64_t b_max, bool or_equal)
{
	if (or_equal)
		return a_max <= b_min ? 1 : a_min > b_max ? 0 : -1;
	return a_max < b_min ? 1 : a_min >= b_max ? 0 : -1;
}

static int branch_scalar(const struct sl_reg *dst, const struct sl_reg *src, uint8_t op, bool is32)
{
	struct sl_range a, b;
	const int64_t flip = INT64_MIN; /* turns unsigned order into signed */
	int equal;

	switch (op) {
	case BPF_JEQ:
		return branch_equal(dst, src, is32);
	case BPF_JNE:
		equal = branch_equal(dst, src, is32);
		return equal < 0 ? -1 : !equal;
	case BPF_JSET:
		return branch_set(dst, src, is32);
	case BPF_JGT:
	case BPF_JGE:
	case BPF_JSGT:
	case BPF_JSGE:
		return branch_scalar(src, dst, mirrored(op), is32);
	}
	a = sl_range_of(dst, is32);
	b = sl_range_of(src, is32);
	if (op == BPF_JSLT || op == BPF_JSLE)
		return branch_less(a.smin, a.smax, b.smin, b.smax, op == BPF_JSLE);
	return branch_less((int64_t)a.umin ^ flip, (int64_t)a.umax ^ flip, (int64_t)b.umin ^ flip,
		(int64_t)b.umax ^ flip, op == BPF_JLE);
}

static bool never_null(const struct sl_reg *reg)
{
	if (reg->flags & SL_REG_OR_NULL)
		return false;
	switch (reg->type) {
	case SL_REG_SOCKET:
	case SL_REG_SOCK_COMMON:
	case SL_REG_TCP_SOCK:
	case SL_REG_XDP_SOCK:
	case SL_REG_MAP_VALUE:
	case SL_REG_MAP_KEY:
	case SL_REG_MEM:
	case SL_REG_CONST_MAP:
	case SL_REG_CONN:
		return true;
	}
	return false;
}

int sl_reg_branch(const struct sl_reg *dst, const struct sl_reg *src, uint8_t op, bool is32)
{
	const struct sl_reg *pointer, *other;

	if (!sl_reg_is_pointer(dst) && !sl_reg_is_pointer(src))
		return branch_scalar(dst, src, op, is32);
	/* Of a pointer only its being NULL can be decided. */
	pointer = is_const(src, is32) ? dst : src;
	other = is_const(src, is32) ? src : dst;
	if (!is_const(other, is32) || bits_of(other, is32).value != 0 || !never_null(pointer))
		return -1;
	return op == BPF_JEQ ? 0 : op == BPF_JNE ? 1 : -1;
}

static void refine_equal(struct sl_reg *a, struct sl_reg *b, bool is32)
{
	struct sl_range ra = sl_range_of(a, is32), rb = sl_range_of(b, is32);
	struct sl_tnum bits = sl_tnum_intersect(bits_of(a, is32), bits_of(b, is32));
	struct sl_range both = { sl_max(ra.smin, rb.smin), sl_min(ra.smax, rb.smax),
		sl_max(ra.umin, rb.umin), sl_min(ra.umax, rb.umax) };

	sl_range_put(a, is32, both);
	sl_range_put(b, is32, both);
	a->var_off = is32 ? sl_tnum_with_subreg(a->var_off, bits) : bits;
	b->var_off = is32 ? sl_tnum_with_subreg(b->var_off, bits) : bits;
}

/* An end of a range that is the excluded constant moves inwards by one. */
static void refine_not_equal(struct sl_reg *a, struct sl_reg *b, bool is32)
{
	struct sl_reg *reg = is_const(b, is32) ? a : b;
	const struct sl_reg *constant = is_const(b, is32) ? b : a;
	struct sl_range range = sl_range_of(reg, is32);
	struct sl_range full = sl_range_full(is32);
	uint64_t value = bits_of(constant, is32).value;
	int64_t signed_value = is32 ? (int32_t)value : (int64_t)value;

	if (!is_const(constant, is32))
		return;
	if (range.umin == value && value != full.umax)
		range.umin++;
	if (range.umax == value && value != full.umin)
		range.umax--;
	if (range.smin == signed_value && signed_value != full.smax)
		range.smin++;
	if (range.smax == signed_value && signed_value != full.smin)
		range.smax--;
	sl_range_put(reg, is32, range);
}

static void refine_set(struct sl_reg *a, struct sl_reg *b, bool is32, bool is_set)
{
	struct sl_reg *reg = is_const(b, is32) ? a : b;
	const struct sl_reg *mask = is_const(b, is32) ? b : a;
	uint64_t wanted = bits_of(mask, is32).value;
	struct sl_tnum bits = bits_of(reg, is32);

	if (!is_const(mask, is32))
		return;
	if (is_set) {
		/* Some of several bits is set: which one is not known. */
		if (__builtin_popcountll(wanted) != 1)
			return;
		bits = sl_tnum_or(bits, sl_tnum_const(wanted));
	} else {
		/* Bounds that contradict the bits would make a dead branch look alive. */
		sl_reg_unbound(reg);
		bits = sl_tnum_and(bits, sl_tnum_const(~wanted));
	}
	reg->var_off = is32 ? sl_tnum_with_subreg(reg->var_off, bits) : bits;
}

/*
 * a < b, or a <= b. When no values satisfy it, the result contradicts itself and the branch is dead;
 * so, too, when a register is compared with itself: hence one after the other.
 */
static void refine_less(struct sl_reg *a, struct sl_reg *b, uint8_t op, bool is32)
{
	struct sl_range ra = sl_range_of(a, is32), rb = sl_range_of(b, is32);
	struct sl_range full = sl_range_full(is32);
	uint64_t umin = ra.umin;
	int64_t smin = ra.smin;

	if (op == BPF_JLE)
		ra.umax = sl_min(ra.umax, rb.umax);
	else if (op == BPF_JLT)
		ra.umax = sl_min(ra.umax, rb.umax == 0 ? 0 : rb.umax - 1);
	else if (op == BPF_JSLE)
		ra.smax = sl_min(ra.smax, rb.smax);
	else
		ra.smax = sl_min(ra.smax, rb.smax == full.smin ? full.smin : rb.smax - 1);
	sl_range_put(a, is32, ra);

	rb = sl_range_of(b, is32);
	if (op == BPF_JLE)
		rb.umin = sl_max(umin, rb.umin);
	else if (op == BPF_JLT)
		rb.umin = sl_max(umin == full.umax ? umin : umin + 1, rb.umin);
	else if (op == BPF_JSLE)
		rb.smin = sl_max(smin, rb.smin);
	else
		rb.smin = sl_max(smin == full.smax ? smin : smin + 1, rb.smin);
	sl_range_put(b, is32, rb);
}

static void refine(struct sl_reg *a, struct sl_reg *b, uint8_t op, bool is32)
{
	switch (op) {
	case BPF_JEQ:
		refine_equal(a, b, is32);
		break;
	case BPF_JNE:
		refine_not_equal(a, b, is32);
		break;
	case BPF_JSET:
	case JSET_NOT:
		refine_set(a, b, is32, op == BPF_JSET);
		break;
	case BPF_JGT:
	case BPF_JGE:
	case BPF_JSGT:
	case BPF_JSGE:
		refine_less(b, a, mirrored(op), is32);
		break;
	default:
		refine_less(a, b, op, is32);
	}
	sl_reg_sync(a);
	sl_reg_sync(b);
	sl_reg_settle(a);
	sl_reg_settle(b);
}

void sl_reg_refine(struct sl_reg *taken_dst, struct sl_reg *taken_src, struct sl_reg *not_dst,
	struct sl_reg *not_src, uint8_t op, bool is32)
{
	/* What a pointer compares to says nothing of its offset. */
	if (sl_reg_is_pointer(taken_dst) || sl_reg_is_pointer(taken_src))
		return;
	refine(taken_dst, taken_src, op, is32);
	refine(not_dst, not_src, negated(op), is32);
}
