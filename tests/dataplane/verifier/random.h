#pragma once

#include "reg.h"

/* Random abstract values that hold a given number, for the tests of the scalar analysis. */

struct sl_random {
	uint64_t state;
};

static inline uint64_t random_u64(struct sl_random *random)
{
	/* splitmix64 */
	uint64_t z = random->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static inline unsigned random_below(struct sl_random *random, unsigned limit)
{
	return (unsigned)(random_u64(random) % limit);
}

/* Small numbers, numbers near the ends of the ranges, and any. */
static inline uint64_t random_value(struct sl_random *random)
{
	static const uint64_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff,
		0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, INT64_MAX, 1ULL << 63, UINT64_MAX,
		0xffffffff80000000, 0xffffffff7fffffff };
	uint64_t value;

	switch (random_below(random, 4)) {
	case 0:
		value = edges[random_below(random, sl_array_size(edges))];
		return value + random_below(random, 5) - 2;
	case 1:
		return random_below(random, 300);
	case 2:
		return random_u64(random) >> random_below(random, 64);
	}
	return random_u64(random);
}

static inline bool reg_holds(const struct sl_reg *reg, uint64_t value)
{
	return reg->umin <= value && value <= reg->umax && reg->smin <= (int64_t)value &&
	       (int64_t)value <= reg->smax && reg->u32_min <= (uint32_t)value &&
	       (uint32_t)value <= reg->u32_max && reg->s32_min <= (int32_t)value &&
	       (int32_t)value <= reg->s32_max &&
	       ((value ^ reg->var_off.value) & ~reg->var_off.mask) == 0;
}

static inline uint64_t random_span(struct sl_random *random)
{
	return random_u64(random) >> random_below(random, 64);
}

static inline void random_reg(struct sl_random *random, uint64_t value, struct sl_reg *reg)
{
	uint64_t span;

	sl_reg_set_unknown(reg);
	if (random_below(random, 8) == 0) {
		sl_reg_set_const(reg, value);
		return;
	}
	if (random_below(random, 2)) {
		uint64_t mask = random_u64(random) & random_u64(random);

		if (random_below(random, 2))
			mask >>= random_below(random, 64);
		reg->var_off = (struct sl_tnum){ value & ~mask, mask };
	}
	if (random_below(random, 2)) {
		span = random_span(random);
		reg->umin = value > span ? value - span : 0;
		span = random_span(random);
		reg->umax = value < UINT64_MAX - span ? value + span : UINT64_MAX;
	}
	if (random_below(random, 2)) {
		if (__builtin_sub_overflow(
			    (int64_t)value, (int64_t)(random_span(random) >> 1), &reg->smin))
			reg->smin = INT64_MIN;
		if (__builtin_add_overflow(
			    (int64_t)value, (int64_t)(random_span(random) >> 1), &reg->smax))
			reg->smax = INT64_MAX;
	}
	if (random_below(random, 2)) {
		uint32_t low = (uint32_t)value;

		span = random_span(random) >> 32;
		reg->u32_min = low > span ? low - (uint32_t)span : 0;
		span = random_span(random) >> 32;
		reg->u32_max = low < UINT32_MAX - span ? low + (uint32_t)span : UINT32_MAX;
	}
	if (random_below(random, 2)) {
		int64_t min = (int32_t)value, max = min;

		min -= (int64_t)(random_span(random) >> 32);
		max += (int64_t)(random_span(random) >> 32);
		reg->s32_min = (int32_t)sl_max(min, (int64_t)INT32_MIN);
		reg->s32_max = (int32_t)sl_min(max, (int64_t)INT32_MAX);
	}
	sl_reg_sync(reg);
}
