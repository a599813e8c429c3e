#include "value_btf.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <json-c/json.h>

#include "scalar.h"

/* Deeper than any program's types; BTF from elsewhere may go round in circles. */
enum { DEPTH_MAX = 32 };

/* What a place in a value holds, with the names of the typedefs that led there looked at. */
struct place {
	const struct btf_type *type; /* neither a typedef nor const, volatile, ... */
	uint32_t size; /* bytes */
	uint8_t *bytes;
	unsigned bit_offset, bits; /* of a bit field; bits 0: none */
	bool network; /* __be16, __be32, __be64 */
};

struct reason {
	char *text;
	size_t size;
};

static int refuse(const struct reason *why, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int refuse(const struct reason *why, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why->text, why->size, fmt, args);
	va_end(args);
	return err;
}

static const char *type_name(const struct btf *btf, const struct btf_type *t)
{
	const char *name = btf__name_by_offset(btf, t->name_off);

	return name ? name : "";
}

static bool is_network_name(const char *name)
{
	return strcmp(name, "__be16") == 0 || strcmp(name, "__be32") == 0 ||
	       strcmp(name, "__be64") == 0;
}

/* False for a type that holds no data. */
static bool place_init(const struct sl_value_btf *types, uint32_t id, uint8_t *bytes,
	unsigned bit_offset, unsigned bits, struct place *p)
{
	const struct btf_type *t = btf__type_by_id(types->btf, id);
	bool network = false;
	int64_t size;

	for (unsigned i = 0; t && i < DEPTH_MAX && (btf_is_mod(t) || btf_is_typedef(t)); i++) {
		network |= btf_is_typedef(t) && is_network_name(type_name(types->btf, t));
		t = btf__type_by_id(types->btf, t->type);
	}
	size = btf__resolve_size(types->btf, id);
	if (!t || size < 0 || size > INT32_MAX)
		return false;
	*p = (struct place){ .type = t,
		.size = (uint32_t)size,
		.bytes = bytes,
		.bit_offset = bit_offset,
		.bits = bits,
		.network = network && !types->raw };
	return true;
}

/* Bit fields lie as little-endian machines lay them out, one bit after the other. */
static uint64_t load_bits(const struct place *p)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < p->bits; i++) {
		unsigned bit = p->bit_offset + i;

		value |= (uint64_t)(p->bytes[bit / 8] >> (bit % 8) & 1) << i;
	}
	return value;
}

static void store_bits(const struct place *p, uint64_t value)
{
	for (unsigned i = 0; i < p->bits; i++) {
		unsigned bit = p->bit_offset + i;

		p->bytes[bit / 8] = (uint8_t)((p->bytes[bit / 8] & ~(1u << (bit % 8))) |
					      (unsigned)(value >> i & 1) << (bit % 8));
	}
}

static bool is_signed(const struct btf_type *t)
{
	if (btf_is_any_enum(t))
		return btf_kflag(t);
	return btf_is_int(t) && btf_int_encoding(t) & BTF_INT_SIGNED;
}

static bool is_plain_int(const struct btf_type *t)
{
	return btf_is_int(t) || btf_is_any_enum(t) || btf_is_ptr(t);
}

static bool has_int_size(uint32_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

/* Sign-extended to 64 bits where the type is signed. */
static uint64_t load_int(const struct place *p)
{
	unsigned width = p->bits ? p->bits : 8 * p->size;
	uint64_t value = p->bits ? load_bits(p) : sl_scalar_load(p->bytes, p->size);

	if (p->network && !p->bits)
		value = sl_scalar_swap(value, p->size);
	if (is_signed(p->type) && width < 64)
		value = (uint64_t)((int64_t)(value << (64 - width)) >> (64 - width));
	return value;
}

static void store_int(const struct place *p, uint64_t value)
{
	if (p->bits)
		store_bits(p, value);
	else
		sl_scalar_store(
			p->bytes, p->size, p->network ? sl_scalar_swap(value, p->size) : value);
}

/* A whole array or struct of this size is one address. */
static bool is_char_array(const struct sl_value_btf *types, const struct place *p, bool *ret_char)
{
	struct place element;

	if (!btf_is_array(p->type) ||
		!place_init(types, btf_array(p->type)->type, p->bytes, 0, 0, &element))
		return false;
	*ret_char = strcmp(type_name(types->btf, element.type), "char") == 0;
	return btf_is_int(element.type) && element.size == 1 &&
	       !(btf_int_encoding(element.type) & BTF_INT_BOOL);
}

static uint64_t enum_member(const struct btf_type *t, unsigned i, uint32_t *ret_name)
{
	if (btf_is_enum(t)) {
		*ret_name = btf_enum(t)[i].name_off;
		return (uint64_t)(int64_t)btf_enum(t)[i].val;
	}
	*ret_name = btf_enum64(t)[i].name_off;
	return btf_enum64_value(&btf_enum64(t)[i]);
}

/* By as many bits as the place has: not all compilers say whether an enum is signed. */
static const char *enum_name(
	const struct sl_value_btf *types, const struct place *p, uint64_t value)
{
	unsigned width = p->bits ? p->bits : 8 * p->size;
	uint32_t name;

	for (unsigned i = 0; i < btf_vlen(p->type); i++) {
		uint64_t member = enum_member(p->type, i, &name);

		if ((member ^ value) << (64 - width) == 0)
			return btf__name_by_offset(types->btf, name);
	}
	return NULL;
}

static struct json_object *show_place(
	const struct sl_value_btf *types, const struct place *p, unsigned depth);

static struct json_object *show_int(const struct sl_value_btf *types, const struct place *p)
{
	uint64_t value = load_int(p);
	const char *name;
	char address[INET_ADDRSTRLEN];

	if (btf_is_any_enum(p->type)) {
		name = enum_name(types, p, value);
		if (name)
			return json_object_new_string(name);
	}
	if (btf_is_int(p->type) && btf_int_encoding(p->type) & BTF_INT_BOOL && value <= 1)
		return json_object_new_boolean((json_bool)value);
	if (p->network && p->size == 4 && !p->bits)
		return json_object_new_string(
			inet_ntop(AF_INET, p->bytes, address, sizeof(address)));
	return is_signed(p->type) ? json_object_new_int64((int64_t)value)
				  : json_object_new_uint64(value);
}

static struct json_object *show_float(const struct place *p)
{
	char text[64];
	double number;
	float single;

	if (p->size == sizeof(single)) {
		memcpy(&single, p->bytes, sizeof(single));
		number = (double)single;
	} else {
		memcpy(&number, p->bytes, sizeof(number));
	}
	snprintf(text, sizeof(text), "%.17g", number);
	/* JSON knows neither infinity nor NaN. */
	return strpbrk(text, "in") ? json_object_new_string(text)
				   : json_object_new_double_s(number, text);
}

static struct json_object *show_array(
	const struct sl_value_btf *types, const struct place *p, unsigned depth)
{
	const struct btf_array *array = btf_array(p->type);
	uint32_t size = array->nelems ? p->size / array->nelems : 0;
	struct json_object *ret;
	bool is_char;

	if (is_char_array(types, p, &is_char) && (is_char || (array->nelems == 6 && !types->raw))) {
		if (!is_char)
			return sl_scalar_find("mac", 3)->show(p->bytes, p->size);
		if (sl_scalar_is_text(p->bytes, p->size))
			return json_object_new_string_len((const char *)p->bytes,
				(int)strnlen((const char *)p->bytes, p->size));
	}
	ret = json_object_new_array();
	for (uint32_t i = 0; ret && i < array->nelems; i++) {
		struct place element;
		struct json_object *value = NULL;

		if (place_init(types, array->type, p->bytes + (size_t)i * size, 0, 0, &element))
			value = show_place(types, &element, depth + 1);
		if (!value) {
			json_object_put(ret);
			return NULL;
		}
		json_object_array_add(ret, value);
	}
	return ret;
}

/* The place of member `i` of a struct or union. */
static bool member_place(const struct sl_value_btf *types, const struct place *p, unsigned i,
	struct place *ret_member)
{
	const struct btf_member *m = &btf_members(p->type)[i];
	unsigned offset = btf_member_bit_offset(p->type, i);
	unsigned bits = btf_member_bitfield_size(p->type, i);

	if (bits > 64)
		return false;
	/* An offset that is no whole byte without a size: bit fields of old compilers. */
	if (!bits && offset % 8)
		return false;
	return place_init(types, m->type, p->bytes + offset / 8, offset % 8, bits, ret_member) &&
	       offset / 8 + (bits ? (offset % 8 + bits + 7) / 8 : ret_member->size) <= p->size;
}

static bool is_struct_named(
	const struct sl_value_btf *types, const struct place *p, const char *name)
{
	return btf_is_struct(p->type) && !types->raw &&
	       strcmp(type_name(types->btf, p->type), name) == 0;
}

static bool add_members(const struct sl_value_btf *types, const struct place *p, unsigned depth,
	struct json_object *object)
{
	if (depth > DEPTH_MAX)
		return false;
	for (unsigned i = 0; i < btf_vlen(p->type); i++) {
		const char *name =
			btf__name_by_offset(types->btf, btf_members(p->type)[i].name_off);
		struct json_object *value;
		struct place member;

		if (!member_place(types, p, i, &member))
			return false;
		if ((!name || !*name) && btf_is_composite(member.type)) {
			if (!add_members(types, &member, depth + 1, object))
				return false;
			continue;
		}
		value = show_place(types, &member, depth + 1);
		if (!value)
			return false;
		json_object_object_add(object, name ? name : "", value);
	}
	return true;
}

static bool add_variables(const struct sl_value_btf *types, const struct place *p, unsigned depth,
	struct json_object *object)
{
	for (unsigned i = 0; i < btf_vlen(p->type); i++) {
		const struct btf_var_secinfo *info = &btf_var_secinfos(p->type)[i];
		const struct btf_type *var = btf__type_by_id(types->btf, info->type);
		struct json_object *value = NULL;
		struct place place;

		if (!var || !btf_is_var(var))
			return false;
		if (place_init(types, var->type, p->bytes + info->offset, 0, 0, &place) &&
			(uint64_t)info->offset + place.size <= p->size)
			value = show_place(types, &place, depth + 1);
		if (!value)
			return false;
		json_object_object_add(object, type_name(types->btf, var), value);
	}
	return true;
}

static struct json_object *show_members(
	const struct sl_value_btf *types, const struct place *p, unsigned depth)
{
	struct json_object *object;
	bool ok;

	if (is_struct_named(types, p, "in_addr") && p->size == 4)
		return sl_scalar_find("ip", 2)->show(p->bytes, p->size);
	if (is_struct_named(types, p, "in6_addr") && p->size == 16)
		return sl_scalar_find("ip6", 3)->show(p->bytes, p->size);
	object = json_object_new_object();
	ok = object && (btf_is_datasec(p->type) ? add_variables(types, p, depth, object)
						: add_members(types, p, depth, object));
	if (ok)
		return object;
	json_object_put(object);
	return NULL;
}

static struct json_object *show_place(
	const struct sl_value_btf *types, const struct place *p, unsigned depth)
{
	if (depth > DEPTH_MAX)
		return NULL;
	if (is_plain_int(p->type) && (p->bits || has_int_size(p->size)))
		return show_int(types, p);
	if (btf_is_int(p->type))
		return sl_scalar_find("hex", 3)->show(p->bytes, p->size);
	if (btf_is_float(p->type) && (p->size == 4 || p->size == 8))
		return show_float(p);
	if (btf_is_array(p->type))
		return show_array(types, p, depth);
	if (btf_is_composite(p->type) || btf_is_datasec(p->type))
		return show_members(types, p, depth);
	return NULL;
}

struct json_object *sl_value_btf_show(
	const struct sl_value_btf *types, uint32_t id, const uint8_t *bytes)
{
	struct place p;

	if (!place_init(types, id, (uint8_t *)bytes, 0, 0, &p))
		return NULL;
	return show_place(types, &p, 0);
}

/* The other way. */

static bool find_enum(const struct sl_value_btf *types, const struct place *p, const char *name,
	uint64_t *ret_value)
{
	uint32_t name_off;

	for (unsigned i = 0; i < btf_vlen(p->type); i++) {
		*ret_value = enum_member(p->type, i, &name_off);
		if (strcmp(btf__name_by_offset(types->btf, name_off), name) == 0)
			return true;
	}
	return false;
}

/* Whether a number of 64 bits that the text gave is one of the place's. */
static bool fits(const struct place *p, uint64_t value, bool negative)
{
	unsigned width = p->bits ? p->bits : 8 * p->size;

	bool either = btf_is_any_enum(p->type);

	/* An enum's members say nothing of the sign for sure: both ranges will do. */
	if (negative)
		return (either || is_signed(p->type)) &&
		       (int64_t)value >= INT64_MIN >> (64 - width);
	if (is_signed(p->type) && !either)
		width--;
	return width == 64 || value >> width == 0;
}

static int parse_int(const struct sl_value_btf *types, const struct place *p, const char *text,
	const struct reason *why)
{
	bool is_bool = btf_is_int(p->type) && btf_int_encoding(p->type) & BTF_INT_BOOL;
	uint8_t number[8];
	uint64_t value;
	int err;

	if (btf_is_any_enum(p->type) && find_enum(types, p, text, &value)) {
		store_int(p, value);
		return 0;
	}
	if (is_bool && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)) {
		store_int(p, *text == 't');
		return 0;
	}
	if (p->size == 4 && !p->bits && btf_is_int(p->type) && strchr(text, '.') &&
		sl_scalar_parse_address(text, p->bytes, 4) == 0)
		return 0;
	err = *text == '-' ? sl_scalar_parse_signed(text, number, 8)
			   : sl_scalar_parse_unsigned(text, number, 8);
	if (err == -EINVAL)
		return refuse(why, err, "'%s' is no %s", text,
			btf_is_any_enum(p->type) ? "member of the enum, nor a number" : "number");
	memcpy(&value, number, sizeof(value));
	if (err || !fits(p, value, *text == '-'))
		return refuse(why, -ERANGE, "'%s' does not fit into %u %s", text,
			p->bits ? p->bits : p->size, p->bits ? "bits" : "bytes");
	store_int(p, value);
	return 0;
}

static int parse_float(const struct place *p, const char *text, const struct reason *why)
{
	char *end;
	double number = strtod(text, &end);
	float single = (float)number;

	if (end == text || *end)
		return refuse(why, -EINVAL, "'%s' is no number", text);
	if (p->size == sizeof(single))
		memcpy(p->bytes, &single, sizeof(single));
	else
		memcpy(p->bytes, &number, sizeof(number));
	return 0;
}

/* An array or struct as one word: a string, or an address. */
static int parse_word(const struct sl_value_btf *types, const struct place *p, const char *text,
	const struct reason *why)
{
	bool is_char = false;

	if (is_char_array(types, p, &is_char) && is_char) {
		if (sl_scalar_find("str", 3)->parse(text, p->bytes, p->size) == 0)
			return 0;
		return refuse(why, -ERANGE, "'%s' has more than %u characters", text, p->size);
	}
	if (sl_scalar_parse_address(text, p->bytes, p->size) == 0)
		return 0;
	return refuse(why, -EINVAL, "'%s' is no %s of %u bytes (use JSON, NAME=VALUE, or hex:)",
		text, btf_is_array(p->type) ? "array" : "struct", p->size);
}

static int parse_leaf(const struct sl_value_btf *types, const struct place *p, const char *text,
	const struct reason *why)
{
	if (is_plain_int(p->type) && (p->bits || has_int_size(p->size)))
		return parse_int(types, p, text, why);
	if (btf_is_float(p->type) && (p->size == 4 || p->size == 8))
		return parse_float(p, text, why);
	if (btf_is_int(p->type) || btf_is_array(p->type) || btf_is_composite(p->type) ||
		btf_is_datasec(p->type))
		return parse_word(types, p, text, why);
	return refuse(why, -EINVAL, "the type cannot be written");
}

/* The place of the member of that name, which may be in an unnamed struct or union. */
static bool find_member(const struct sl_value_btf *types, const struct place *p, const char *name,
	unsigned depth, struct place *ret_member)
{
	if (depth > DEPTH_MAX || !(btf_is_composite(p->type) || btf_is_datasec(p->type)))
		return false;
	for (unsigned i = 0; i < btf_vlen(p->type); i++) {
		const char *member_name;

		if (btf_is_datasec(p->type)) {
			const struct btf_var_secinfo *info = &btf_var_secinfos(p->type)[i];
			const struct btf_type *var = btf__type_by_id(types->btf, info->type);

			if (var && strcmp(type_name(types->btf, var), name) == 0)
				return place_init(types, var->type, p->bytes + info->offset, 0, 0,
					       ret_member) &&
				       (uint64_t)info->offset + ret_member->size <= p->size;
			continue;
		}
		member_name = btf__name_by_offset(types->btf, btf_members(p->type)[i].name_off);
		if (!member_place(types, p, i, ret_member))
			continue;
		if (member_name && *member_name) {
			if (strcmp(member_name, name) == 0)
				return true;
			continue;
		}
		if (btf_is_composite(ret_member->type)) {
			struct place inner = *ret_member;

			if (find_member(types, &inner, name, depth + 1, ret_member))
				return true;
		}
	}
	return false;
}

static bool find_element(const struct sl_value_btf *types, const struct place *p, uint64_t index,
	struct place *ret_element)
{
	const struct btf_array *array = btf_array(p->type);

	if (!btf_is_array(p->type) || index >= array->nelems)
		return false;
	return place_init(types, array->type, p->bytes + index * (p->size / array->nelems), 0, 0,
		ret_element);
}

static int from_json(const struct sl_value_btf *types, const struct place *p,
	struct json_object *json, unsigned depth, const struct reason *why);

static int from_json_object(const struct sl_value_btf *types, const struct place *p,
	struct json_object *json, unsigned depth, const struct reason *why)
{
	json_object_object_foreach(json, name, value)
	{
		struct place member;
		int err;

		if (!find_member(types, p, name, 0, &member))
			return refuse(why, -EINVAL, "there is no member '%s'", name);
		err = from_json(types, &member, value, depth + 1, why);
		if (err)
			return err;
	}
	return 0;
}

static int from_json_array(const struct sl_value_btf *types, const struct place *p,
	struct json_object *json, unsigned depth, const struct reason *why)
{
	size_t count = json_object_array_length(json);

	if (!btf_is_array(p->type))
		return refuse(why, -EINVAL, "an array is given for what is none");
	if (count > btf_array(p->type)->nelems)
		return refuse(why, -ERANGE, "%zu elements are given for an array of %u", count,
			btf_array(p->type)->nelems);
	for (size_t i = 0; i < count; i++) {
		struct place element;
		int err = -EINVAL;

		if (find_element(types, p, i, &element))
			err = from_json(types, &element, json_object_array_get_idx(json, i),
				depth + 1, why);
		if (err)
			return err;
	}
	return 0;
}

static int from_json(const struct sl_value_btf *types, const struct place *p,
	struct json_object *json, unsigned depth, const struct reason *why)
{
	if (depth > DEPTH_MAX)
		return refuse(why, -E2BIG, "it nests too deeply");
	switch (json_object_get_type(json)) {
	case json_type_object:
		if (!btf_is_composite(p->type) && !btf_is_datasec(p->type))
			return refuse(why, -EINVAL, "an object is given for what is no struct");
		return from_json_object(types, p, json, depth, why);
	case json_type_array:
		return from_json_array(types, p, json, depth, why);
	case json_type_null:
		return refuse(why, -EINVAL, "null is no value");
	default:
		return parse_leaf(types, p, json_object_get_string(json), why);
	}
}

int sl_value_btf_from_json(const struct sl_value_btf *types, uint32_t id, struct json_object *json,
	uint8_t *bytes, char *ret_reason, size_t reason_size)
{
	const struct reason why = { ret_reason, reason_size };
	struct place p;

	if (!place_init(types, id, bytes, 0, 0, &p))
		return refuse(&why, -EINVAL, "the type cannot be written");
	return from_json(types, &p, json, 0, &why);
}

static int from_word(const struct sl_value_btf *types, const struct place *p, const char *text,
	const struct reason *why)
{
	struct json_object *json;
	int err;

	if (*text != '{' && *text != '[' && *text != '"')
		return parse_leaf(types, p, text, why);
	json = json_tokener_parse(text);
	if (!json)
		return refuse(why, -EINVAL, "'%s' is no JSON", text);
	err = from_json(types, p, json, 0, why);
	json_object_put(json);
	return err;
}

/* One step of a path: ".name" or "[index]". Moves *path on and *p inward. */
static int walk(
	const struct sl_value_btf *types, char **path, struct place *p, const struct reason *why)
{
	struct place outer = *p;
	char *name = *path, saved;

	if (*name == '[') {
		char *end;
		uint64_t index = strtoull(name + 1, &end, 10);

		if (end == name + 1 || *end != ']' || !find_element(types, &outer, index, p))
			return refuse(why, -EINVAL, "there is no element '%s'", name);
		*path = end + 1;
		return 0;
	}
	if (*name == '.')
		name++;
	*path = name + strcspn(name, ".[");
	saved = **path;
	**path = 0;
	if (!find_member(types, &outer, name, 0, p))
		return refuse(why, -EINVAL, "there is no member '%s'", name);
	**path = saved;
	return 0;
}

/* Where the value that begins at `text` ends: at a comma outside of brackets and quotes. */
static char *end_of_value(char *text)
{
	int depth = 0;
	bool quoted = false;

	for (; *text; text++) {
		if (*text == '"')
			quoted = !quoted;
		else if (*text == '\\' && quoted && text[1])
			text++;
		else if (!quoted && (*text == '{' || *text == '['))
			depth++;
		else if (!quoted && (*text == '}' || *text == ']'))
			depth--;
		else if (!quoted && depth == 0 && *text == ',')
			break;
	}
	return text;
}

static int assign(const struct sl_value_btf *types, const struct place *whole, char *text,
	const struct reason *why)
{
	char *equals = strchr(text, '='), *path = text;
	struct place p = *whole;

	if (!equals)
		return refuse(why, -EINVAL, "'%s' is no NAME=VALUE", text);
	*equals = 0;
	while (*path) {
		int err = walk(types, &path, &p, why);

		if (err)
			return err;
	}
	return from_word(types, &p, equals + 1, why);
}

static int from_assignments(const struct sl_value_btf *types, const struct place *p, char *text,
	const struct reason *why)
{
	int err = 0;

	while (err == 0 && *text) {
		char *end = end_of_value(text);
		bool last = !*end;

		*end = 0;
		err = assign(types, p, text, why);
		text = end + !last;
	}
	return err;
}

int sl_value_btf_from_text(const struct sl_value_btf *types, uint32_t id, const char *text,
	uint8_t *bytes, char *ret_reason, size_t reason_size)
{
	const struct reason why = { ret_reason, reason_size };
	struct place p;
	char *copy;
	int err;

	if (!place_init(types, id, bytes, 0, 0, &p))
		return refuse(&why, -EINVAL, "the type cannot be written");
	if (!(btf_is_composite(p.type) || btf_is_datasec(p.type)) || strchr("{[\"", *text) ||
		!strchr(text, '='))
		return from_word(types, &p, text, &why);
	copy = strdup(text);
	if (!copy)
		return refuse(&why, -ENOMEM, "no memory");
	err = from_assignments(types, &p, copy, &why);
	free(copy);
	return err;
}
