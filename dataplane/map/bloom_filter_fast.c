#include "bloom_filter.h"

#include <errno.h>

#include "hash_key.h"

/*
 * A value's bits are chosen by two halves of one hash, the second one added time and again, and each
 * time a little more: as few values are found that were not pushed as with as many hashes of their
 * own (Dillinger and Manolios, Bloom Filters in Probabilistic Verification, FMCAD 2004), for the
 * price of reading the value once.
 */

/* The key's hash has good bits only at its upper end; here all are wanted. */
static inline uint64_t hash(const struct sl_bloom_filter_desc *bloom, const void *value)
{
	uint64_t h = sl_hash_key(value, bloom->map.value_size, bloom->seed);

	return sl_hash_mix(h ^ bloom->seed[0] ^ h >> 32, bloom->seed[2]);
}

/* The next of a value's bits, before masking. */
#define NEXT_BIT(bit, step, i) ((bit) += (step), (step) += (i))

static inline uint64_t *word_of(const struct sl_bloom_filter_desc *bloom, uint64_t bit)
{
	return (uint64_t *)bloom->map.data + (bit & bloom->mask) / 64;
}

SL_FAST_INLINE
long sl_bloom_filter_push(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *value, uint64_t flags)
{
	const struct sl_bloom_filter_desc *bloom = (const struct sl_bloom_filter_desc *)desc;
	uint64_t bit, step;

	if (sl_unlikely(flags != BPF_ANY))
		return -EINVAL;
	bit = hash(bloom, value);
	step = bit >> 32;
	for (uint32_t i = 0; i < bloom->hash_count; i++) {
		uint64_t *word = word_of(bloom, bit), one = 1ull << bit % 64;

		/* What is set stays set: a line that all have is not taken from them. */
		if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & one))
			__atomic_fetch_or(word, one, __ATOMIC_RELAXED);
		NEXT_BIT(bit, step, i);
	}
	return 0;
}

SL_FAST_INLINE
long sl_bloom_filter_peek(const struct sl_map_desc *desc, const struct sl_ctx *ctx, void *value)
{
	const struct sl_bloom_filter_desc *bloom = (const struct sl_bloom_filter_desc *)desc;
	uint64_t bit = hash(bloom, value), step = bit >> 32;

	for (uint32_t i = 0; i < bloom->hash_count; i++) {
		if (!(__atomic_load_n(word_of(bloom, bit), __ATOMIC_RELAXED) >> bit % 64 & 1))
			return -ENOENT;
		NEXT_BIT(bit, step, i);
	}
	return 0;
}
