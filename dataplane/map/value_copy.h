#pragma once

#include <string.h>

#include "btf_record.h"
#include "map_layout.h"

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

/* Bytes from one special field to the next, which begin anywhere. */
static inline void sl_value_write_span(uint8_t *to, const uint8_t *p, uint32_t len_bytes)
{
	while (len_bytes && ((uintptr_t)to & 7)) {
		uint32_t half, step = ((uintptr_t)to & 3) == 0 && len_bytes >= 4 ? 4 : 1;

		if (step == 4) {
			memcpy(&half, p, 4);
			__atomic_store_n((uint32_t *)to, half, __ATOMIC_RELAXED);
		} else {
			__atomic_store_n(to, *p, __ATOMIC_RELAXED);
		}
		to += step;
		p += step;
		len_bytes -= step;
	}
	sl_value_write(to, p, len_bytes);
}

static inline void sl_value_read_span(uint8_t *to, const uint8_t *from, uint32_t len_bytes)
{
	while (len_bytes && ((uintptr_t)from & 7)) {
		uint32_t half, step = ((uintptr_t)from & 3) == 0 && len_bytes >= 4 ? 4 : 1;

		if (step == 4) {
			half = __atomic_load_n((const uint32_t *)from, __ATOMIC_RELAXED);
			memcpy(to, &half, 4);
		} else {
			*to = __atomic_load_n(from, __ATOMIC_RELAXED);
		}
		to += step;
		from += step;
		len_bytes -= step;
	}
	sl_value_read(to, from, len_bytes);
}

/*
 * A value of the map: the special fields stay as they are. The bytes between them, which the record
 * of a map without special fields makes one piece, may be more than value_size: the rounding of
 * per-CPU values.
 */
static inline void sl_map_value_write(
	const struct sl_map_desc *desc, void *value, const void *from, uint32_t len_bytes)
{
	const struct sl_btf_record *record = desc->record;
	uint32_t done = 0;

	if (sl_likely(!record)) {
		sl_value_write(value, from, len_bytes);
		return;
	}
	for (uint32_t i = 0; i < record->count; i++) {
		const struct sl_special_field *field = &record->fields[i];

		sl_value_write_span((uint8_t *)value + done, (const uint8_t *)from + done,
			field->offset - done);
		done = field->offset + field->size;
	}
	sl_value_write_span(
		(uint8_t *)value + done, (const uint8_t *)from + done, len_bytes - done);
}

/* For user space, which sees special fields as they are in a new value: zero, and one reference. */
static inline void sl_map_value_read(
	const struct sl_map_desc *desc, void *to, const void *value, uint32_t len_bytes)
{
	const struct sl_btf_record *record = desc->record;
	uint32_t done = 0;

	if (sl_likely(!record)) {
		sl_value_read(to, value, len_bytes);
		return;
	}
	for (uint32_t i = 0; i < record->count; i++) {
		const struct sl_special_field *field = &record->fields[i];
		uint32_t one = 1;

		sl_value_read_span(
			(uint8_t *)to + done, (const uint8_t *)value + done, field->offset - done);
		memset((uint8_t *)to + field->offset, 0, field->size);
		if (field->type == SL_SPECIAL_REFCOUNT)
			memcpy((uint8_t *)to + field->offset, &one, sizeof(one));
		done = field->offset + field->size;
	}
	sl_value_read_span((uint8_t *)to + done, (const uint8_t *)value + done, len_bytes - done);
}

/* The special fields of a value that has not been published yet. */
static inline void sl_map_value_init(const struct sl_map_desc *desc, void *value)
{
	const struct sl_btf_record *record = desc->record;

	for (uint32_t i = 0; sl_unlikely(record != NULL) && i < record->count; i++)
		memset((uint8_t *)value + record->fields[i].offset, 0, record->fields[i].size);
}
