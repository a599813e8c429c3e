#include "lpm.h"

/* In `internal`, the prefixes of one to five bits that the six bits i begin with. */
static const uint64_t shorter[64] = {
#define SHORTER(i)                                                                        \
	(1ull << (0 + ((i) >> 5)) | 1ull << (2 + ((i) >> 4)) | 1ull << (6 + ((i) >> 3)) | \
		1ull << (14 + ((i) >> 2)) | 1ull << (30 + ((i) >> 1)))
#define SHORTER8(i)                                                                 \
	SHORTER(i), SHORTER(i + 1), SHORTER(i + 2), SHORTER(i + 3), SHORTER(i + 4), \
		SHORTER(i + 5), SHORTER(i + 6), SHORTER(i + 7)
	SHORTER8(0), SHORTER8(8), SHORTER8(16), SHORTER8(24), SHORTER8(32), SHORTER8(40),
	SHORTER8(48), SHORTER8(56)
};

/* A key's bits, in registers where they fit. */
struct bits {
	uint64_t high, low;
	const uint8_t *bytes; /* of a longer key: with eight readable bytes behind the last */
};

static inline __attribute__((always_inline)) uint64_t load(const uint8_t *from, uint32_t len)
{
	uint64_t value = 0;

	__builtin_memcpy(&value, from, len);
	return __builtin_bswap64(value);
}

/* At least SL_LPM_SKIP_MAX bits from bit `at` on, at the top. */
static inline __attribute__((always_inline)) uint64_t from_bit(
	const struct bits *key, uint32_t data_size, uint32_t at)
{
	uint64_t word;

	if (data_size <= 8)
		return key->high << at;
	if (data_size <= 16)
		return (uint64_t)(((unsigned __int128)key->high << 64 | key->low) << at >> 64);
	__builtin_memcpy(&word, key->bytes + at / 8, sizeof(word));
	return __builtin_bswap64(word) << at % 8;
}

static inline __attribute__((always_inline)) uint64_t below(uint64_t bit)
{
	return bit - 1;
}

/* Which of the node's slots has the longest prefix for the six bits i; NULL when none has. */
static inline __attribute__((always_inline)) const uint64_t *longest(
	const struct sl_lpm_node *node, uint64_t i, const uint64_t *otherwise)
{
	uint64_t inner = node->internal & shorter[i], bit = 1ull << i;
	uint64_t top = 1ull << (63 - __builtin_clzll(inner | 1));
	bool full = node->full & bit;
	uint32_t rank = full ? __builtin_popcountll(node->full & below(bit))
			     : __builtin_popcountll(node->full) +
					__builtin_popcountll(node->internal & below(top));
	const uint64_t *slot = &node->slots[__builtin_popcountll(node->external) + rank];

	return (full | (inner != 0)) ? slot : otherwise;
}

/* The deepest match below `node`, or what `best` points to. */
static inline __attribute__((always_inline)) uint64_t descend(const struct sl_lpm_node *node,
	const struct bits *key, uint32_t data_size, const uint64_t *best)
{
	while (node) {
		uint32_t skipped = node->depth - node->start;
		uint64_t wrong = from_bit(key, data_size, node->start) ^ node->skip, i, bit;

		if (wrong & ~(~0ull >> skipped))
			break;
		i = from_bit(key, data_size, node->depth) >> (64 - SL_LPM_STRIDE);
		bit = 1ull << i;
		best = longest(node, i, best);
		if (!(node->external & bit))
			break;
		/* Pairs with the release that published the child. */
		node = (const struct sl_lpm_node *)__atomic_load_n(
			&node->slots[__builtin_popcountll(node->external & below(bit))],
			__ATOMIC_ACQUIRE);
	}
	return __atomic_load_n(best, __ATOMIC_ACQUIRE);
}

static inline __attribute__((always_inline)) const void *piece(
	const struct sl_lpm_desc *lpm, uint32_t leaf)
{
	return lpm->area + (uint64_t)(leaf & ~SL_LPM_DEEP) * SL_LPM_PIECE_BYTES;
}

/* The address of the entry, or 0. */
static inline __attribute__((always_inline)) uint64_t search(
	const struct sl_lpm_desc *lpm, const struct bits *key)
{
	const struct sl_lpm_node *node;
	const struct sl_lpm_run *run;
	uint64_t word, upto;
	uint32_t leaf;

	if (lpm->table_bits == 0)
		return descend(
			(const struct sl_lpm_node *)__atomic_load_n(lpm->root, __ATOMIC_ACQUIRE),
			key, lpm->data_size, lpm->shortest);
	word = from_bit(key, lpm->data_size, 0);
	run = piece(lpm,
		__atomic_load_n(&lpm->table[word >> (64 - lpm->table_bits)], __ATOMIC_ACQUIRE));
	upto = (2ull << (word << lpm->table_bits >> (64 - SL_LPM_STRIDE))) - 1;
	leaf = __atomic_load_n(
		&run->leaves[__builtin_popcountll(run->starts & upto) - 1], __ATOMIC_ACQUIRE);
	if (!(leaf & SL_LPM_DEEP))
		return leaf ? (uint64_t)piece(lpm, leaf) : 0;
	node = piece(lpm, leaf);
	return descend(node, key, lpm->data_size, &node->best);
}

SL_FAST_INLINE
void *sl_lpm_lookup(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	const struct sl_lpm_desc *lpm = (const struct sl_lpm_desc *)desc;
	const uint8_t *data = (const uint8_t *)key + 4;
	struct bits bits = { 0 };
	uint8_t padded[256 + 8];
	uint32_t prefixlen;
	uint64_t entry;

	__builtin_memcpy(&prefixlen, key, sizeof(prefixlen));
	if (sl_unlikely(prefixlen != lpm->max_prefixlen))
		return sl_lpm_lookup_short(desc, key);
	if (lpm->data_size <= 8) {
		bits.high = load(data, lpm->data_size);
	} else if (lpm->data_size <= 16) {
		bits.high = load(data, 8);
		bits.low = load(data + 8, lpm->data_size - 8);
	} else {
		__builtin_memcpy(padded, data, lpm->data_size);
		__builtin_memset(padded + lpm->data_size, 0, 8);
		bits.bytes = padded;
	}
	entry = search(lpm, &bits);
	if (!entry)
		entry = __atomic_load_n(lpm->shortest, __ATOMIC_ACQUIRE);
	return sl_likely(entry != 0) ? (uint8_t *)entry + lpm->value_offset : NULL;
}
