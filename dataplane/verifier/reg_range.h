#pragma once

#include "reg.h"

/*
 * The bounds of one width of a register, widened to 64 bits, so that arithmetic and comparisons
 * are written once for both widths. Private to reg_*.c.
 */
struct sl_range {
	int64_t smin, smax;
	uint64_t umin, umax;
};

static inline struct sl_range sl_range_of(const struct sl_reg *reg, bool is32)
{
	if (is32)
		return (struct sl_range){ reg->s32_min, reg->s32_max, reg->u32_min, reg->u32_max };
	return (struct sl_range){ reg->smin, reg->smax, reg->umin, reg->umax };
}

static inline void sl_range_put(struct sl_reg *reg, bool is32, struct sl_range range)
{
	if (is32) {
		reg->s32_min = (int32_t)range.smin;
		reg->s32_max = (int32_t)range.smax;
		reg->u32_min = (uint32_t)range.umin;
		reg->u32_max = (uint32_t)range.umax;
	} else {
		reg->smin = range.smin;
		reg->smax = range.smax;
		reg->umin = range.umin;
		reg->umax = range.umax;
	}
}

static inline struct sl_range sl_range_full(bool is32)
{
	if (is32)
		return (struct sl_range){ INT32_MIN, INT32_MAX, 0, UINT32_MAX };
	return (struct sl_range){ INT64_MIN, INT64_MAX, 0, UINT64_MAX };
}

/* Part of sl_reg_sync: what the known bits say about the bounds of each width. */
void sl_reg_bounds_from_bits64(struct sl_reg *reg);
void sl_reg_bounds_from_bits32(struct sl_reg *reg);
