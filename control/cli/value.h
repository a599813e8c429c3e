#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct btf;
struct json_object;
struct sl_scalar_ops;

/*
 * How the bytes of a map's keys or values are written on a command line. In this order: by the types
 * that the user named, by BTF, or by their size alone: a whole number for 1, 2, 4 and 8 bytes, else
 * hex:. Whichever it is, a text may say its own types ("ip:10.0.0.1,be16:80"), and an address is
 * known by its look. What is shown reads back as the same bytes.
 */
enum { SL_VALUE_ITEMS = 16 };

struct sl_value_type {
	uint32_t size;
	const struct btf *btf; /* NULL: none; borrowed */
	uint32_t btf_id;
	bool raw; /* BTF's integers as they are in memory: see value_btf.h */
	bool is_prefix; /* the key of an LPM_TRIE */
	unsigned item_count; /* types that the user named; 0: none */
	struct sl_value_item {
		const struct sl_scalar_ops *ops;
		uint32_t size;
	} items[SL_VALUE_ITEMS];
};

/* Takes "u32,be16,str8": size is set before. 0, or -EINVAL with the reason in words. */
int sl_value_set_items(
	struct sl_value_type *type, const char *list, char *ret_reason, size_t reason_size);

/* Sets all `size` bytes. 0, or negative errno with the reason in words. */
int sl_value_parse(const struct sl_value_type *type, const char *text, void *ret_bytes,
	char *ret_reason, size_t reason_size);

/* The caller owns it; NULL when there is no memory. */
struct json_object *sl_value_show(const struct sl_value_type *type, const void *bytes);

/* As a word that sl_value_parse() reads, without blanks outside of quotes and brackets. */
void sl_value_print(const struct sl_value_type *type, struct json_object *shown, FILE *out);
