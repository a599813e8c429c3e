#pragma once

#include "defs.h"

/*
 * A tristate number: each bit known 0, known 1, or unknown (mask bit set). value & mask == 0.
 * Vishwanathan et al., "Sound, precise, and fast abstract interpretation with tristate numbers".
 */
struct sl_tnum {
	uint64_t value, mask;
};

#define SL_TNUM_UNKNOWN ((struct sl_tnum){ 0, UINT64_MAX })

struct sl_tnum sl_tnum_const(uint64_t value);
struct sl_tnum sl_tnum_range(uint64_t min, uint64_t max);
struct sl_tnum sl_tnum_lshift(struct sl_tnum a, uint8_t shift);
struct sl_tnum sl_tnum_rshift(struct sl_tnum a, uint8_t shift);
struct sl_tnum sl_tnum_arshift(struct sl_tnum a, uint8_t shift, uint8_t width_bits);
struct sl_tnum sl_tnum_add(struct sl_tnum a, struct sl_tnum b);
struct sl_tnum sl_tnum_sub(struct sl_tnum a, struct sl_tnum b);
struct sl_tnum sl_tnum_neg(struct sl_tnum a);
struct sl_tnum sl_tnum_and(struct sl_tnum a, struct sl_tnum b);
struct sl_tnum sl_tnum_or(struct sl_tnum a, struct sl_tnum b);
struct sl_tnum sl_tnum_xor(struct sl_tnum a, struct sl_tnum b);
struct sl_tnum sl_tnum_mul(struct sl_tnum a, struct sl_tnum b);
/* Both may be the number: the set is not empty. */
bool sl_tnum_overlap(struct sl_tnum a, struct sl_tnum b);
struct sl_tnum sl_tnum_intersect(struct sl_tnum a, struct sl_tnum b);
struct sl_tnum sl_tnum_union(struct sl_tnum a, struct sl_tnum b);
/* The smallest number of a that is greater than x; the largest one when none is. */
uint64_t sl_tnum_next(struct sl_tnum a, uint64_t x);
/* The low size bytes, zero-extended. */
struct sl_tnum sl_tnum_cast(struct sl_tnum a, uint8_t size_bytes);
bool sl_tnum_is_aligned(struct sl_tnum a, uint64_t size);
/* Every number of b is one of a. */
bool sl_tnum_in(struct sl_tnum a, struct sl_tnum b);
struct sl_tnum sl_tnum_subreg(struct sl_tnum a);
struct sl_tnum sl_tnum_clear_subreg(struct sl_tnum a);
struct sl_tnum sl_tnum_with_subreg(struct sl_tnum reg, struct sl_tnum subreg);

static inline bool sl_tnum_is_const(struct sl_tnum a)
{
	return a.mask == 0;
}

static inline bool sl_tnum_is_unknown(struct sl_tnum a)
{
	return a.mask == UINT64_MAX;
}
