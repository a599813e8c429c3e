#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "map_open.h"

/*
 * Elements as they are read from texts, and written all together: first every line is checked,
 * then they go to the map.
 */
enum { SL_ALL_CPUS = -1 };

struct sl_map_elements {
	const struct sl_map_handle *map;
	bool with_values;
	uint8_t *keys, *values; /* key_size and value_bytes each */
	int *cpus; /* whose value it is, or SL_ALL_CPUS */
	size_t *lines; /* where it was read, from 1; 0: the command line */
	size_t count, capacity;
	/* What is kept open until it is written: programs and maps, by the text that named them. */
	struct sl_map_object {
		char *text;
		int fd;
	} *objects;
	size_t object_count;
};

void sl_map_elements_init(
	struct sl_map_elements *elements, const struct sl_map_handle *map, bool with_values);
void sl_map_elements_done(struct sl_map_elements *elements);

/*
 * Adds one element. `key` is NULL for a map without keys, `value` without values; `cpu` is "@N" or
 * NULL. 0, or negative errno with the reason in words.
 */
int sl_map_elements_add(struct sl_map_elements *elements, const char *key, const char *value,
	const char *cpu, size_t line, char *ret_reason, size_t reason_size);

/*
 * Adds the elements of a file, one on each line: "KEY [VALUE] [@CPU]", in words as
 * sl_value_parse() reads them. Empty lines, and what follows a # in front of a word, say nothing.
 */
int sl_map_elements_read(
	struct sl_map_elements *elements, FILE *in, char *ret_reason, size_t reason_size);

/*
 * Writes all, in order. 0, or negative errno when one is refused: *ret_done are then in the map. The
 * slots of a PROG_ARRAY are replaced as one generation where the map can do that.
 */
int sl_map_elements_write(struct sl_map_elements *elements, uint64_t flags, size_t *ret_done);

/* Calls `fn` for each element until it returns other than 0, which is then the result. */
typedef int (*sl_map_element_fn)(void *ctx, const uint8_t *key, const uint8_t *value);
int sl_map_for_each(const struct sl_map_handle *map, sl_map_element_fn fn, void *ctx);
