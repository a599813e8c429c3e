#pragma once

#include <string.h>

#include "defs.h"

/*
 * Values are read and written in place while others do the same: word by word, so that what is
 * aligned to 8 bytes and no larger (a counter, an address) is never seen half-written, which is what
 * programs count on. The map's side is aligned to 8 bytes, the other side need not be.
 */
static inline void sl_value_write(void *value, const void *from, uint32_t len_bytes)
{
	uint8_t *to = value;
	const uint8_t *p = from;
	uint64_t word;
	uint32_t i;

	for (i = 0; i + 8 <= len_bytes; i += 8) {
		memcpy(&word, p + i, 8);
		__atomic_store_n((uint64_t *)(to + i), word, __ATOMIC_RELAXED);
	}
	if (len_bytes - i >= 4) {
		uint32_t half;

		memcpy(&half, p + i, 4);
		__atomic_store_n((uint32_t *)(to + i), half, __ATOMIC_RELAXED);
		i += 4;
	}
	for (; i < len_bytes; i++)
		__atomic_store_n(to + i, p[i], __ATOMIC_RELAXED);
}

static inline void sl_value_read(void *to, const void *value, uint32_t len_bytes)
{
	const uint8_t *from = value;
	uint8_t *p = to;
	uint64_t word;
	uint32_t i;

	for (i = 0; i + 8 <= len_bytes; i += 8) {
		word = __atomic_load_n((const uint64_t *)(from + i), __ATOMIC_RELAXED);
		memcpy(p + i, &word, 8);
	}
	if (len_bytes - i >= 4) {
		uint32_t half = __atomic_load_n((const uint32_t *)(from + i), __ATOMIC_RELAXED);

		memcpy(p + i, &half, 4);
		i += 4;
	}
	for (; i < len_bytes; i++)
		p[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
}

static inline void sl_value_zero(void *value, uint32_t len_bytes)
{
	uint8_t *to = value;

	for (uint32_t i = 0; i < sl_round_up(len_bytes, 8u); i += 8)
		__atomic_store_n((uint64_t *)(to + i), 0, __ATOMIC_RELAXED);
}
