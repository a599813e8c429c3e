#pragma once

#include <string.h>

#include "defs.h"

/*
 * Hashing and comparing keys, written so that a constant size leaves a few loads and one or two
 * multiplications. A key of up to 8 bytes is multiplied by a secret odd number of the map, and the
 * bucket is taken from the product's highest bits: two keys meet with at most twice the probability
 * of a random function (Dietzfelbinger et al., J. Algorithms 25, 1997). Longer keys are first folded
 * to 64 bits, 16 bytes at a time, by products of words mixed with more of the secret. Who does not
 * know the secret cannot choose keys that collide.
 */
enum { SL_HASH_SEEDS = 3 };

/* hash_table.c: a map's secret, or always the same with BPF_F_ZERO_SEED. */
void sl_hash_seed(uint64_t seed[SL_HASH_SEEDS], bool zero);

static inline uint64_t sl_hash_mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t sl_hash_read8(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, 8);
	return word;
}

/* All of 1 to 8 bytes. */
static inline uint64_t sl_hash_read_short(const uint8_t *p, uint32_t len)
{
	uint32_t first, last;

	if (len == 8)
		return sl_hash_read8(p);
	if (len < 4)
		return p[0] | (uint64_t)p[len >> 1] << 8 | (uint64_t)p[len - 1] << 16;
	memcpy(&first, p, 4);
	if (len == 4)
		return first;
	memcpy(&last, p + len - 4, 4);
	return first | (uint64_t)last << 32;
}

/* Its highest bits are the good ones. */
static inline uint64_t sl_hash_key(
	const void *key, uint32_t len, const uint64_t seed[SL_HASH_SEEDS])
{
	const uint8_t *p = key;
	uint64_t h = seed[1];

	if (len <= 8)
		return sl_hash_read_short(p, len) * seed[2];
	for (; len > 16; p += 16, len -= 16)
		h = sl_hash_mix(sl_hash_read8(p) ^ seed[0], sl_hash_read8(p + 8) ^ h);
	if (len > 8)
		h = sl_hash_mix(sl_hash_read8(p) ^ seed[0], sl_hash_read8(p + len - 8) ^ h);
	else
		h = sl_hash_mix(sl_hash_read_short(p, len) ^ seed[0], h);
	return h * seed[2];
}

/*
 * Up to 32 bytes without a loop and by the same loads as the hash: a key that the program has just
 * put together then stays in registers, where memcmp would send it through memory.
 */
static inline bool sl_hash_key_equal(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	uint64_t differ;

	if (len <= 8)
		return sl_hash_read_short(a, len) == sl_hash_read_short(b, len);
	if (len > 32)
		return memcmp(a, b, len) == 0;
	differ = (sl_hash_read8(a) ^ sl_hash_read8(b)) |
		 (sl_hash_read8(a + len - 8) ^ sl_hash_read8(b + len - 8));
	if (len > 16)
		differ |= (sl_hash_read8(a + 8) ^ sl_hash_read8(b + 8)) |
			  (sl_hash_read8(a + len - 16) ^ sl_hash_read8(b + len - 16));
	return differ == 0;
}
