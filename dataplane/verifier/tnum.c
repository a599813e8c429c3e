#include "tnum.h"

static struct sl_tnum tnum(uint64_t value, uint64_t mask)
{
	return (struct sl_tnum){ value, mask };
}

struct sl_tnum sl_tnum_const(uint64_t value)
{
	return tnum(value, 0);
}

struct sl_tnum sl_tnum_range(uint64_t min, uint64_t max)
{
	uint64_t differ = min ^ max;
	uint64_t unknown;

	if (!differ)
		return tnum(min, 0);
	/* Everything from the highest bit in which the ends differ may take any value. */
	unknown = UINT64_MAX >> __builtin_clzll(differ);
	return tnum(min & ~unknown, unknown);
}

struct sl_tnum sl_tnum_lshift(struct sl_tnum a, uint8_t shift)
{
	return tnum(a.value << shift, a.mask << shift);
}

struct sl_tnum sl_tnum_rshift(struct sl_tnum a, uint8_t shift)
{
	return tnum(a.value >> shift, a.mask >> shift);
}

struct sl_tnum sl_tnum_arshift(struct sl_tnum a, uint8_t shift, uint8_t width_bits)
{
	/* An unknown sign bit is copied downwards as unknown, a known one as itself. */
	if (width_bits == 32)
		return tnum((uint32_t)((int32_t)a.value >> shift),
			(uint32_t)((int32_t)a.mask >> shift));
	return tnum((uint64_t)((int64_t)a.value >> shift), (uint64_t)((int64_t)a.mask >> shift));
}

struct sl_tnum sl_tnum_add(struct sl_tnum a, struct sl_tnum b)
{
	uint64_t low = a.value + b.value; /* all unknown bits 0 */
	uint64_t high = low + a.mask + b.mask; /* all unknown bits 1 */
	uint64_t unknown = (low ^ high) | a.mask | b.mask;

	return tnum(low & ~unknown, unknown);
}

struct sl_tnum sl_tnum_sub(struct sl_tnum a, struct sl_tnum b)
{
	uint64_t value = a.value - b.value;
	uint64_t high = value + a.mask;
	uint64_t low = value - b.mask;
	uint64_t unknown = (low ^ high) | a.mask | b.mask;

	return tnum(value & ~unknown, unknown);
}

struct sl_tnum sl_tnum_neg(struct sl_tnum a)
{
	return sl_tnum_sub(tnum(0, 0), a);
}

struct sl_tnum sl_tnum_and(struct sl_tnum a, struct sl_tnum b)
{
	uint64_t ones = a.value & b.value;

	return tnum(ones, (a.value | a.mask) & (b.value | b.mask) & ~ones);
}

struct sl_tnum sl_tnum_or(struct sl_tnum a, struct sl_tnum b)
{
	uint64_t ones = a.value | b.value;

	return tnum(ones, (a.mask | b.mask) & ~ones);
}

struct sl_tnum sl_tnum_xor(struct sl_tnum a, struct sl_tnum b)
{
	uint64_t unknown = a.mask | b.mask;

	return tnum((a.value ^ b.value) & ~unknown, unknown);
}

struct sl_tnum sl_tnum_mul(struct sl_tnum a, struct sl_tnum b)
{
	struct sl_tnum sum = tnum(0, 0);

	/* Long multiplication; an unknown digit of a leaves both sums possible. */
	for (; a.value | a.mask; a = sl_tnum_rshift(a, 1), b = sl_tnum_lshift(b, 1)) {
		if (a.value & 1)
			sum = sl_tnum_add(sum, b);
		else if (a.mask & 1)
			sum = sl_tnum_union(sum, sl_tnum_add(sum, b));
	}
	return sum;
}

bool sl_tnum_overlap(struct sl_tnum a, struct sl_tnum b)
{
	return ((a.value ^ b.value) & ~(a.mask | b.mask)) == 0;
}

struct sl_tnum sl_tnum_intersect(struct sl_tnum a, struct sl_tnum b)
{
	uint64_t unknown = a.mask & b.mask;

	return tnum((a.value | b.value) & ~unknown, unknown);
}

struct sl_tnum sl_tnum_union(struct sl_tnum a, struct sl_tnum b)
{
	uint64_t unknown = (a.value ^ b.value) | a.mask | b.mask;

	return tnum(a.value & ~unknown, unknown);
}

uint64_t sl_tnum_next(struct sl_tnum a, uint64_t x)
{
	uint64_t wrong = (x ^ a.value) & ~a.mask, below;

	if (x >= (a.value | a.mask))
		return a.value | a.mask;
	if (x < a.value)
		return a.value;
	/* From the highest known bit in which x differs downwards, x can be anything. */
	below = wrong ? UINT64_MAX >> __builtin_clzll(wrong) : 0;
	if (a.value & wrong & ~(below >> 1))
		return (x & ~below) | (a.value & below);
	/* Count up in the unknown bits: set all others, so that the carry passes them. */
	return (((x | ~a.mask | below) + 1) & a.mask) | a.value;
}

struct sl_tnum sl_tnum_cast(struct sl_tnum a, uint8_t size_bytes)
{
	uint64_t kept = size_bytes >= 8 ? UINT64_MAX : (1ULL << (8 * size_bytes)) - 1;

	return tnum(a.value & kept, a.mask & kept);
}

bool sl_tnum_is_aligned(struct sl_tnum a, uint64_t size)
{
	return size == 0 || ((a.value | a.mask) & (size - 1)) == 0;
}

bool sl_tnum_in(struct sl_tnum a, struct sl_tnum b)
{
	return (b.mask & ~a.mask) == 0 && ((a.value ^ b.value) & ~a.mask) == 0;
}

struct sl_tnum sl_tnum_subreg(struct sl_tnum a)
{
	return sl_tnum_cast(a, 4);
}

struct sl_tnum sl_tnum_clear_subreg(struct sl_tnum a)
{
	return tnum(a.value >> 32 << 32, a.mask >> 32 << 32);
}

struct sl_tnum sl_tnum_with_subreg(struct sl_tnum reg, struct sl_tnum subreg)
{
	return sl_tnum_or(sl_tnum_clear_subreg(reg), sl_tnum_subreg(subreg));
}
