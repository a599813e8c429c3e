#pragma once

#include "defs.h"

/*
 * One's complement sums (RFC 1071) as the kernel represents them: 32 bits with end-around carry, so
 * that a sum is 0 only when everything summed is. Which of the two zeros comes out is visible to
 * programs.
 */

static inline uint32_t sl_csum_add(uint32_t a, uint32_t b)
{
	uint32_t sum = a + b;

	return sum + (sum < b);
}

static inline uint32_t sl_csum_sub(uint32_t a, uint32_t b)
{
	return sl_csum_add(a, ~b);
}

/* To 16 bits, not complemented. */
static inline uint16_t sl_csum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

/* The sum over memory in its own byte order, starting from `sum`. */
static inline uint32_t sl_csum_partial(const void *bytes, uint32_t len, uint32_t sum)
{
	const uint8_t *at = (const uint8_t *)bytes;
	uint64_t total = sum, word;

	for (; len >= sizeof(word); len -= sizeof(word), at += sizeof(word)) {
		__builtin_memcpy(&word, at, sizeof(word));
		total += word;
		total += total < word;
	}
	if (len) {
		word = 0;
		__builtin_memcpy(&word, at, len);
		total += word;
		total += total < word;
	}
	return sl_csum_add((uint32_t)total, (uint32_t)(total >> 32));
}
