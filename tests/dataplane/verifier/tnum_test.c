#include "tnum.h"

#include "test.h"

/* Every tristate number of BITS bits against every other, against all numbers they stand for. */
#define BITS 4
#define ALL (1u << BITS)

typedef struct sl_tnum (*binary)(struct sl_tnum a, struct sl_tnum b);

static bool holds(struct sl_tnum t, uint64_t value)
{
	return ((value ^ t.value) & ~t.mask) == 0;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	return a + b;
}

static uint64_t sub(uint64_t a, uint64_t b)
{
	return a - b;
}

static uint64_t and (uint64_t a, uint64_t b)
{
	return a & b;
}

static uint64_t or (uint64_t a, uint64_t b)
{
	return a | b;
}

static uint64_t xor (uint64_t a, uint64_t b) { return a ^ b; }

	static uint64_t mul(uint64_t a, uint64_t b)
{
	return a * b;
}

static const struct {
	const char *name;
	binary abstract;
	uint64_t (*concrete)(uint64_t a, uint64_t b);
	bool exact; /* the smallest tristate number that holds all results */
} ops[] = {
	{ "add", sl_tnum_add, add, true },
	{ "sub", sl_tnum_sub, sub, true },
	{ "and", sl_tnum_and, and, true },
	{ "or", sl_tnum_or, or, true },
	{ "xor", sl_tnum_xor, xor, true },
	{ "mul", sl_tnum_mul, mul, false },
};

static void check_pair(unsigned op, struct sl_tnum a, struct sl_tnum b)
{
	struct sl_tnum result = ops[op].abstract(a, b);
	uint64_t ones = UINT64_MAX, zeros = UINT64_MAX;

	if (result.value & result.mask)
		FAIL_NOW("%s: a bit is both known and unknown", ops[op].name);
	for (unsigned x = 0; x < ALL; x++) {
		for (unsigned y = 0; holds(a, x) && y < ALL; y++) {
			uint64_t value = ops[op].concrete(x, y);

			if (!holds(b, y))
				continue;
			ones &= value;
			zeros &= ~value;
			if (!holds(result, value))
				FAIL_NOW("%s: %u, %u of (%#lx; %#lx), (%#lx; %#lx)", ops[op].name,
					x, y, a.value, a.mask, b.value, b.mask);
		}
	}
	if (ops[op].exact && (result.value != ones || ~result.mask != (ones | zeros)))
		FAIL_NOW("%s: not exact for (%#lx; %#lx), (%#lx; %#lx)", ops[op].name, a.value,
			a.mask, b.value, b.mask);
}

TEST(tnum, binary_operations_hold_every_result)
{
	for (unsigned op = 0; op < sl_array_size(ops); op++)
		for (unsigned av = 0; av < ALL; av++)
			for (unsigned am = 0; am < ALL; am++)
				for (unsigned bv = 0; !(av & am) && bv < ALL; bv++)
					for (unsigned bm = 0; bm < ALL; bm++)
						if (!(bv & bm) && !sl_test_has_failed())
							check_pair(op, (struct sl_tnum){ av, am },
								(struct sl_tnum){ bv, bm });
}

TEST(tnum, range_holds_every_number_between)
{
	for (uint64_t min = 0; min < 64; min++)
		for (uint64_t max = min; max < 64; max++)
			for (uint64_t value = min; value <= max; value++)
				EXPECT_TRUE(holds(sl_tnum_range(min, max), value));
	EXPECT_TRUE(sl_tnum_is_unknown(sl_tnum_range(0, UINT64_MAX)));
	EXPECT_TRUE(sl_tnum_is_const(sl_tnum_range(7, 7)));
}

TEST(tnum, next_is_the_smallest_above)
{
	for (unsigned value = 0; value < 64; value++) {
		for (unsigned mask = 0; mask < 64; mask++) {
			struct sl_tnum t = { value, mask };

			for (unsigned x = 0; !(value & mask) && x < 80; x++) {
				unsigned next = x + 1;

				while (next < 64 && !holds(t, next))
					next++;
				EXPECT_EQ(sl_tnum_next(t, x), next < 64 ? next : value | mask);
			}
		}
	}
}

TEST(tnum, sets)
{
	struct sl_tnum odd_below_8 = { 1, 6 }, even = { 0, ~1ULL }, below_8 = { 0, 7 };

	EXPECT_FALSE(sl_tnum_overlap(odd_below_8, even));
	EXPECT_TRUE(sl_tnum_overlap(odd_below_8, below_8));
	EXPECT_TRUE(sl_tnum_in(below_8, odd_below_8));
	EXPECT_FALSE(sl_tnum_in(odd_below_8, below_8));
	EXPECT_EQ(sl_tnum_intersect(below_8, even).mask, 6);
	EXPECT_EQ(sl_tnum_union(sl_tnum_const(4), sl_tnum_const(5)).mask, 1);
	EXPECT_TRUE(sl_tnum_is_aligned(even, 2));
	EXPECT_FALSE(sl_tnum_is_aligned(even, 4));
}

TEST(tnum, shifts_copy_the_sign)
{
	struct sl_tnum sign_unknown = { 0, 0x80 }, negative = { 1ULL << 63, 0 };

	EXPECT_EQ(sl_tnum_lshift(sign_unknown, 4).mask, 0x800);
	EXPECT_EQ(sl_tnum_rshift(sign_unknown, 4).mask, 0x8);
	EXPECT_EQ(sl_tnum_arshift(negative, 4, 64).value, 0xf8ULL << 56);
	EXPECT_EQ(sl_tnum_arshift((struct sl_tnum){ 0, 1U << 31 }, 4, 32).mask, 0xf8000000);
	EXPECT_EQ(sl_tnum_neg(sl_tnum_const(5)).value, (uint64_t)-5);
}

TEST(tnum, halves)
{
	struct sl_tnum t = { 0x1111111100000000, 0x22222222 };

	EXPECT_EQ(sl_tnum_subreg(t).value, 0);
	EXPECT_EQ(sl_tnum_clear_subreg(t).mask, 0);
	EXPECT_EQ(sl_tnum_with_subreg(t, sl_tnum_const(5)).value, 0x1111111100000005);
	EXPECT_EQ(sl_tnum_cast(SL_TNUM_UNKNOWN, 2).mask, 0xffff);
	EXPECT_TRUE(sl_tnum_is_unknown(sl_tnum_cast(SL_TNUM_UNKNOWN, 8)));
}
