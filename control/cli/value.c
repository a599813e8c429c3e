#include "value.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "scalar.h"
#include "value_btf.h"

/* What a text says of the types itself, or the user did before. */
struct items {
	unsigned count;
	struct sl_value_item item[SL_VALUE_ITEMS];
};

static bool has_int_size(uint32_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

/* The type in front of a colon; *ret_rest is behind that. NULL when there is none. */
static const struct sl_scalar_ops *type_prefix(const char *text, const char **ret_rest)
{
	size_t len = strcspn(text, ":,");
	const struct sl_scalar_ops *ops;

	if (text[len] != ':')
		return NULL;
	ops = sl_scalar_find(text, len);
	if (ops)
		*ret_rest = text + len + 1;
	return ops;
}

/* "u32", or "str8" and "hex4" for those that have no size of their own. */
static int find_item(const char *name, size_t len, struct sl_value_item *ret_item)
{
	size_t digits = 0;
	char *end;

	ret_item->ops = sl_scalar_find(name, len);
	ret_item->size = ret_item->ops ? ret_item->ops->size : 0;
	if (ret_item->ops)
		return 0;
	while (digits < len && isdigit((unsigned char)name[len - digits - 1]))
		digits++;
	ret_item->ops = sl_scalar_find(name, len - digits);
	if (!ret_item->ops || ret_item->ops->size || digits == 0 || digits > 6)
		return -EINVAL;
	ret_item->size = (uint32_t)strtoul(name + len - digits, &end, 10);
	return ret_item->size && end == name + len ? 0 : -EINVAL;
}

int sl_value_set_items(
	struct sl_value_type *type, const char *list, char *ret_reason, size_t reason_size)
{
	struct items items = { 0 };
	uint64_t total = 0;

	while (*list) {
		size_t len = strcspn(list, ",");
		struct sl_value_item *item = &items.item[items.count];

		if (items.count == SL_VALUE_ITEMS) {
			snprintf(ret_reason, reason_size, "more than %u types", SL_VALUE_ITEMS);
			return -EINVAL;
		}
		if (find_item(list, len, item) != 0) {
			snprintf(ret_reason, reason_size, "unknown type '%.*s'", (int)len, list);
			return -EINVAL;
		}
		list += len;
		if (*list == ',')
			list++;
		/* The last one takes what is left. */
		if (!item->size && !*list && total < type->size)
			item->size = type->size - (uint32_t)total;
		if (!item->size) {
			snprintf(ret_reason, reason_size, "'%s' here needs a size: %s8",
				item->ops->name, item->ops->name);
			return -EINVAL;
		}
		total += item->size;
		items.count++;
	}
	if (total != type->size) {
		snprintf(ret_reason, reason_size, "the types have %llu bytes, the map's %u",
			(unsigned long long)total, type->size);
		return -EINVAL;
	}
	type->item_count = items.count;
	memcpy(type->items, items.item, sizeof(items.item));
	return 0;
}

static int parse_item(const struct sl_value_item *item, const char *text, uint8_t *bytes,
	char *ret_reason, size_t reason_size)
{
	const char *rest = text;
	const struct sl_scalar_ops *own = type_prefix(text, &rest);
	int err;

	/* A type that is written again, or bytes where there is no other way to say them. */
	if (own && (own == item->ops || (strcmp(own->name, "hex") == 0 && !strchr(text, '/'))))
		err = own->parse(rest, bytes, item->size);
	else
		err = item->ops->parse(text, bytes, item->size);
	if (err)
		snprintf(ret_reason, reason_size,
			err == -ERANGE ? "'%s' does not fit %s of %u bytes"
				       : "'%s' is no %s of %u bytes",
			text, item->ops->name, item->size);
	return err;
}

/* How many bytes the last type of a text takes that has no size of its own. */
static uint32_t own_size(
	const struct sl_scalar_ops *ops, const char *rest, size_t len, bool last, uint32_t left)
{
	if (ops->size)
		return ops->size;
	if (strcmp(ops->name, "hex") == 0)
		return (uint32_t)(len / 2);
	(void)rest;
	return last ? left : (uint32_t)len;
}

/* "u32:5,be16:80": each word with its type. */
static int parse_typed(const struct sl_value_type *type, char *text, uint8_t *bytes,
	char *ret_reason, size_t reason_size)
{
	uint32_t done = 0;
	char *saved = NULL;

	for (char *word = strtok_r(text, ",", &saved); word; word = strtok_r(NULL, ",", &saved)) {
		const char *rest = NULL;
		const struct sl_scalar_ops *ops = type_prefix(word, &rest);
		struct sl_value_item item = { .ops = ops };
		int err;

		if (!ops) {
			snprintf(ret_reason, reason_size, "'%s' has no type (TYPE:VALUE)", word);
			return -EINVAL;
		}
		item.size = own_size(ops, rest, strlen(rest), !saved || !*saved, type->size - done);
		if (item.size > type->size - done) {
			snprintf(ret_reason, reason_size, "more than %u bytes", type->size);
			return -ERANGE;
		}
		err = parse_item(&item, word, bytes + done, ret_reason, reason_size);
		if (err)
			return err;
		done += item.size;
	}
	if (done == type->size)
		return 0;
	snprintf(ret_reason, reason_size, "%u bytes where the map has %u", done, type->size);
	return -EINVAL;
}

/* As many words as types. */
static int parse_items(const struct sl_value_type *type, char *text, uint8_t *bytes,
	char *ret_reason, size_t reason_size)
{
	unsigned n = type->item_count;

	for (unsigned i = 0; i < n; i++) {
		/* The last one may have commas: it may be a string. */
		char *comma = i + 1 < n ? strchr(text, ',') : NULL;
		int err;

		if (i + 1 < n && !comma) {
			snprintf(ret_reason, reason_size, "%u words where %u are wanted", i + 1, n);
			return -EINVAL;
		}
		if (comma)
			*comma = 0;
		err = parse_item(&type->items[i], text, bytes, ret_reason, reason_size);
		if (err)
			return err;
		bytes += type->items[i].size;
		text = comma ? comma + 1 : text;
	}
	return 0;
}

static int parse_by_size(const struct sl_value_type *type, const char *text, uint8_t *bytes,
	char *ret_reason, size_t reason_size)
{
	int err = -EINVAL;

	if (sl_scalar_parse_address(text, bytes, type->size) == 0)
		return 0;
	if (has_int_size(type->size)) {
		err = *text == '-' ? sl_scalar_parse_signed(text, bytes, type->size)
				   : sl_scalar_parse_unsigned(text, bytes, type->size);
		if (err)
			snprintf(ret_reason, reason_size,
				err == -ERANGE ? "'%s' does not fit into %u bytes"
					       : "'%s' is no number of %u bytes",
				text, type->size);
		return err;
	}
	snprintf(ret_reason, reason_size,
		"'%s' says no %u bytes (use hex:, TYPE:VALUE,... or name the types)", text,
		type->size);
	return err;
}

static int parse_json(const struct sl_value_type *type, struct json_object *json, uint8_t *bytes,
	char *ret_reason, size_t reason_size)
{
	size_t count;

	if (type->btf && !type->item_count) {
		const struct sl_value_btf types = { type->btf, type->raw };

		return sl_value_btf_from_json(
			&types, type->btf_id, json, bytes, ret_reason, reason_size);
	}
	if (!json_object_is_type(json, json_type_array)) {
		snprintf(ret_reason, reason_size, "names of members need a map with BTF");
		return -EINVAL;
	}
	count = json_object_array_length(json);
	if (count != (type->item_count ? type->item_count : type->size)) {
		snprintf(ret_reason, reason_size, "%zu elements where %u are wanted", count,
			type->item_count ? type->item_count : type->size);
		return -EINVAL;
	}
	for (size_t i = 0; i < count; i++) {
		const struct sl_value_item byte = { sl_scalar_find("u8", 2), 1 };
		const struct sl_value_item *item = type->item_count ? &type->items[i] : &byte;
		const char *word = json_object_get_string(json_object_array_get_idx(json, i));
		int err = parse_item(item, word ? word : "null", bytes, ret_reason, reason_size);

		if (err)
			return err;
		bytes += item->size;
	}
	return 0;
}

static int parse_json_text(const struct sl_value_type *type, const char *text, uint8_t *bytes,
	char *ret_reason, size_t reason_size)
{
	struct json_object *json = json_tokener_parse(text);
	int err;

	if (!json) {
		snprintf(ret_reason, reason_size, "'%s' is no JSON", text);
		return -EINVAL;
	}
	err = parse_json(type, json, bytes, ret_reason, reason_size);
	json_object_put(json);
	return err;
}

/* A string in quotes is the value itself, whatever it looks like. */
static int parse_quoted(const struct sl_value_type *type, const char *text, uint8_t *bytes,
	char *ret_reason, size_t reason_size)
{
	const struct sl_value_item string = { sl_scalar_find("str", 3), type->size };
	struct json_object *json = json_tokener_parse(text);
	int err;

	if (!json || !json_object_is_type(json, json_type_string)) {
		snprintf(ret_reason, reason_size, "'%s' has no closing quote", text);
		json_object_put(json);
		return -EINVAL;
	}
	if (type->btf && !type->item_count)
		err = parse_json(type, json, bytes, ret_reason, reason_size);
	else
		err = parse_item(type->item_count == 1 ? &type->items[0] : &string,
			json_object_get_string(json), bytes, ret_reason, reason_size);
	json_object_put(json);
	return err;
}

static bool is_address(const struct sl_value_type *type, const char *text, uint8_t *bytes)
{
	return type->size == 16 && strchr(text, ':') &&
	       sl_scalar_find("ip6", 3)->parse(text, bytes, type->size) == 0;
}

int sl_value_parse(const struct sl_value_type *type, const char *text, void *ret_bytes,
	char *ret_reason, size_t reason_size)
{
	const struct sl_value_item prefix = { sl_scalar_find("cidr", 4), type->size };
	const char *rest;
	char *copy;
	int err;

	memset(ret_bytes, 0, type->size);
	if (*text == '"')
		return parse_quoted(type, text, ret_bytes, ret_reason, reason_size);
	if (*text == '{' || *text == '[')
		return parse_json_text(type, text, ret_bytes, ret_reason, reason_size);
	if (!type->item_count && is_address(type, text, ret_bytes))
		return 0;
	if (!type->item_count && type->is_prefix && !strchr(text, '=')) {
		if (strchr(text, '/'))
			return parse_item(&prefix, text, ret_bytes, ret_reason, reason_size);
		if (prefix.ops->parse(text, ret_bytes, type->size) == 0)
			return 0;
	}
	if (!type->item_count && !type_prefix(text, &rest)) {
		const struct sl_value_btf types = { type->btf, type->raw };

		return type->btf ? sl_value_btf_from_text(&types, type->btf_id, text, ret_bytes,
					   ret_reason, reason_size)
				 : parse_by_size(type, text, ret_bytes, ret_reason, reason_size);
	}
	copy = strdup(text);
	if (!copy) {
		snprintf(ret_reason, reason_size, "no memory");
		return -ENOMEM;
	}
	err = type->item_count ? parse_items(type, copy, ret_bytes, ret_reason, reason_size)
			       : parse_typed(type, copy, ret_bytes, ret_reason, reason_size);
	free(copy);
	return err;
}

static struct json_object *show_items(const struct sl_value_type *type, const uint8_t *bytes)
{
	struct json_object *array;

	if (type->item_count == 1)
		return type->items[0].ops->show(bytes, type->items[0].size);
	array = json_object_new_array();
	for (unsigned i = 0; array && i < type->item_count; i++) {
		json_object_array_add(array, type->items[i].ops->show(bytes, type->items[i].size));
		bytes += type->items[i].size;
	}
	return array;
}

struct json_object *sl_value_show(const struct sl_value_type *type, const void *bytes)
{
	const char *name = type->is_prefix ? "cidr" : has_int_size(type->size) ? NULL : "hex";

	if (type->item_count)
		return show_items(type, bytes);
	if (type->btf) {
		const struct sl_value_btf types = { type->btf, type->raw };
		struct json_object *shown = sl_value_btf_show(&types, type->btf_id, bytes);

		if (shown)
			return shown;
	}
	if (name)
		return sl_scalar_find(name, strlen(name))->show(bytes, type->size);
	return json_object_new_uint64(sl_scalar_load(bytes, type->size));
}

/* Whether a string needs quotes to be read back as one word and as what it is. */
static bool needs_quotes(const char *text)
{
	return !*text || strpbrk(text, " \t,\"'{}[]=#\\") || *text == '@' || strcmp(text, "-") == 0;
}

static void print_word(struct json_object *shown, FILE *out)
{
	const char *text = json_object_get_string(shown);

	if (json_object_is_type(shown, json_type_string) && !needs_quotes(text))
		fputs(text, out);
	else
		fputs(json_object_to_json_string_ext(
			      shown, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
			out);
}

void sl_value_print(const struct sl_value_type *type, struct json_object *shown, FILE *out)
{
	bool words = type->item_count > 1 && json_object_is_type(shown, json_type_array);

	/* A list of words has no way to quote one of them; JSON does. */
	for (size_t i = 0; words && i < json_object_array_length(shown); i++) {
		struct json_object *word = json_object_array_get_idx(shown, i);

		words = !json_object_is_type(word, json_type_string) ||
			!needs_quotes(json_object_get_string(word));
	}
	if (!words) {
		print_word(shown, out);
		return;
	}
	for (size_t i = 0; i < json_object_array_length(shown); i++) {
		if (i)
			fputc(',', out);
		print_word(json_object_array_get_idx(shown, i), out);
	}
}
