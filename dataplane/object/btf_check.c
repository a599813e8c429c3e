#include "btf_check.h"

#include <ctype.h>
#include <errno.h>
#include <linux/btf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * What the kernel asks of a BTF blob before it trusts it. Three rounds: the header and where the
 * sections lie; each type by itself (its kind's row in `kinds`); then what types say of one
 * another, when the place of each is known.
 */

enum {
	ENOTSUPP_KERNEL = 524, /* the kernel's own ENOTSUPP, which it lets out here */
	BTF_SIZE_MAX = 16 << 20,
	TYPE_ID_MAX = 0x000fffff,
	NAME_OFFSET_MAX = 0x00ffffff,
	NAME_LEN_MAX = 512, /* KSYM_NAME_LEN */
	RESOLVE_DEPTH_MAX = 32,
};

/* Newer than Debian 12's linux/btf.h knows nothing of these; values as in the uapi. */
#define INFO_MASK 0x9f00ffffU
#define INT_MASK 0x0fffffffU

struct checker {
	const struct btf_header *hdr;
	const char *types, *strings;
	const struct btf_type **by_id; /* [count + 1]; 0 is void */
	uint8_t *state; /* of the walk for cycles: enum walk_state */
	uint32_t count;
	char *reason;
};

static int refuse(struct checker *c, int err, const char *fmt, ...) sl_printf(3, 4);

static int refuse(struct checker *c, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(c->reason, SL_BTF_REASON_LEN, fmt, args);
	va_end(args);
	return err;
}

static uint32_t kind_of(const struct btf_type *t)
{
	return BTF_INFO_KIND(t->info);
}

static bool name_offset_valid(const struct checker *c, uint32_t off)
{
	return off <= NAME_OFFSET_MAX && off < c->hdr->str_len;
}

/* The kernel's ctype is that of Latin-1. */
static bool is_letter(unsigned char c)
{
	return isalpha(c) || (c >= 0xc0 && c != 0xd7 && c != 0xf7);
}

/* An identifier of C, in which dots count as letters. */
static bool is_name(const struct checker *c, uint32_t off)
{
	const char *s, *start;

	if (!name_offset_valid(c, off))
		return false;
	start = s = c->strings + off;
	if (!is_letter(*s) && *s != '_' && *s != '.')
		return false;
	for (s++; *s; s++) {
		if (s - start >= NAME_LEN_MAX)
			return false;
		if (!is_letter(*s) && !isdigit((unsigned char)*s) && *s != '_' && *s != '.')
			return false;
	}
	return true;
}

/* The name of a data section is any printable text. */
static bool is_section_name(const struct checker *c, uint32_t off)
{
	const char *s = c->strings + off;

	if (!off || !name_offset_valid(c, off) || !*s || strlen(s) >= NAME_LEN_MAX)
		return false;
	for (; *s; s++) {
		if (!isprint((unsigned char)*s) && (unsigned char)*s < 0xa0)
			return false;
	}
	return true;
}

enum name_rule { NAME_NONE, NAME_ANY, NAME_OPTIONAL, NAME_REQUIRED, NAME_SECTION, NAME_TEXT };

static bool name_fits(const struct checker *c, const struct btf_type *t, enum name_rule rule)
{
	switch (rule) {
	case NAME_NONE:
		return t->name_off == 0;
	case NAME_ANY: /* "unsigned int" has a blank */
		return true;
	case NAME_OPTIONAL:
		return t->name_off == 0 || is_name(c, t->name_off);
	case NAME_REQUIRED:
		return t->name_off && is_name(c, t->name_off);
	case NAME_SECTION:
		return is_section_name(c, t->name_off);
	case NAME_TEXT:
		return t->name_off && c->strings[t->name_off];
	}
	return false;
}

static int check_int(struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	uint32_t data = *(const uint32_t *)extra;
	uint32_t bits = BTF_INT_BITS(data) + BTF_INT_OFFSET(data);
	uint32_t encoding = BTF_INT_ENCODING(data);

	if (data & ~INT_MASK)
		return refuse(c, -EINVAL, "[%u] INT Invalid int_data:%x", id, data);
	if (bits > 128)
		return refuse(c, -EINVAL, "[%u] INT nr_bits exceeds %d", id, 128);
	if ((bits + 7) / 8 > t->size)
		return refuse(c, -EINVAL, "[%u] INT nr_bits exceeds type_size", id);
	if ((encoding & (encoding - 1)) || encoding > BTF_INT_BOOL)
		return refuse(c, -ENOTSUPP_KERNEL, "[%u] INT Unsupported encoding", id);
	return 0;
}

static int check_array(struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	const struct btf_array *a = extra;

	if (t->size)
		return refuse(c, -EINVAL, "[%u] ARRAY size != 0", id);
	if (!a->type || a->type > TYPE_ID_MAX)
		return refuse(c, -EINVAL, "[%u] ARRAY Invalid elem", id);
	if (!a->index_type || a->index_type > TYPE_ID_MAX)
		return refuse(c, -EINVAL, "[%u] ARRAY Invalid index", id);
	return 0;
}

static int check_members(
	struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	const struct btf_member *m = extra;
	bool is_union = kind_of(t) == BTF_KIND_UNION;
	uint32_t last = 0;

	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info); i++, m++) {
		uint32_t off =
			BTF_INFO_KFLAG(t->info) ? BTF_MEMBER_BIT_OFFSET(m->offset) : m->offset;

		if (m->name_off && !is_name(c, m->name_off))
			return refuse(
				c, -EINVAL, "[%u] Invalid member name_offset:%u", id, m->name_off);
		if (!m->type || m->type > TYPE_ID_MAX)
			return refuse(c, -EINVAL, "[%u] Invalid type_id", id);
		if (is_union ? off != 0 : off < last)
			return refuse(c, -EINVAL, "[%u] Invalid member bits_offset", id);
		if (((uint64_t)off + 7) / 8 > t->size)
			return refuse(
				c, -EINVAL, "[%u] Member bits_offset exceeds its struct size", id);
		last = off;
	}
	return 0;
}

static int check_enum(struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	size_t step =
		kind_of(t) == BTF_KIND_ENUM ? sizeof(struct btf_enum) : sizeof(struct btf_enum64);

	if (t->size > 8 || !t->size || (t->size & (t->size - 1)))
		return refuse(c, -EINVAL, "[%u] ENUM Unexpected size", id);
	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info); i++) {
		uint32_t name_off = *(const uint32_t *)((const char *)extra + i * step);

		if (!name_off || !is_name(c, name_off))
			return refuse(c, -EINVAL, "[%u] ENUM Invalid name", id);
	}
	return 0;
}

static int check_ref(struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	if (t->type > TYPE_ID_MAX)
		return refuse(c, -EINVAL, "[%u] Invalid type_id", id);
	return 0;
}

static int check_fwd(struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	if (t->type)
		return refuse(c, -EINVAL, "[%u] FWD type != 0", id);
	return 0;
}

static int check_func(struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	if (BTF_INFO_VLEN(t->info) > BTF_FUNC_GLOBAL)
		return refuse(c, -EINVAL, "[%u] FUNC Invalid func linkage", id);
	return 0;
}

static int check_var(struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	uint32_t linkage = ((const struct btf_var *)extra)->linkage;

	if (!t->type || t->type > TYPE_ID_MAX)
		return refuse(c, -EINVAL, "[%u] VAR Invalid type_id", id);
	if (linkage != BTF_VAR_STATIC && linkage != BTF_VAR_GLOBAL_ALLOCATED)
		return refuse(c, -EINVAL, "[%u] VAR Linkage not supported", id);
	return 0;
}

static int check_datasec(
	struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	const struct btf_var_secinfo *v = extra;
	uint64_t end = 0, sum = 0;

	if (!t->size)
		return refuse(c, -EINVAL, "[%u] DATASEC size == 0", id);
	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info); i++, v++) {
		if (!v->type || v->type > TYPE_ID_MAX)
			return refuse(c, -EINVAL, "[%u] DATASEC Invalid type_id", id);
		if (v->offset < end || v->offset >= t->size)
			return refuse(c, -EINVAL, "[%u] DATASEC Invalid offset", id);
		if (!v->size || v->size > t->size)
			return refuse(c, -EINVAL, "[%u] DATASEC Invalid size", id);
		end = (uint64_t)v->offset + v->size;
		if (end > t->size)
			return refuse(c, -EINVAL, "[%u] DATASEC Invalid offset+size", id);
		sum += v->size;
	}
	if (t->size < sum)
		return refuse(c, -EINVAL, "[%u] DATASEC Invalid btf_info size", id);
	return 0;
}

static int check_float(struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	if (t->size != 2 && t->size != 4 && t->size != 8 && t->size != 12 && t->size != 16)
		return refuse(c, -EINVAL, "[%u] FLOAT Invalid type_size", id);
	return 0;
}

static int check_decl_tag(
	struct checker *c, uint32_t id, const struct btf_type *t, const void *extra)
{
	if (((const struct btf_decl_tag *)extra)->component_idx < -1)
		return refuse(c, -EINVAL, "[%u] DECL_TAG Invalid component_idx", id);
	return check_ref(c, id, t, extra);
}

struct kind {
	const char *name;
	uint16_t extra, per_vlen; /* bytes after struct btf_type */
	bool vlen, kflag; /* may be non-zero */
	enum name_rule rule;
	int (*check)(struct checker *c, uint32_t id, const struct btf_type *t, const void *extra);
};

static const struct kind kinds[] = {
	[BTF_KIND_INT] = { "INT", 4, 0, false, false, NAME_ANY, check_int },
	[BTF_KIND_PTR] = { "PTR", 0, 0, false, false, NAME_NONE, check_ref },
	[BTF_KIND_ARRAY] = { "ARRAY", sizeof(struct btf_array), 0, false, false, NAME_NONE,
		check_array },
	[BTF_KIND_STRUCT] = { "STRUCT", 0, sizeof(struct btf_member), true, true, NAME_OPTIONAL,
		check_members },
	[BTF_KIND_UNION] = { "UNION", 0, sizeof(struct btf_member), true, true, NAME_OPTIONAL,
		check_members },
	[BTF_KIND_ENUM] = { "ENUM", 0, sizeof(struct btf_enum), true, true, NAME_OPTIONAL,
		check_enum },
	[BTF_KIND_FWD] = { "FWD", 0, 0, false, true, NAME_REQUIRED, check_fwd },
	[BTF_KIND_TYPEDEF] = { "TYPEDEF", 0, 0, false, false, NAME_REQUIRED, check_ref },
	[BTF_KIND_VOLATILE] = { "VOLATILE", 0, 0, false, false, NAME_NONE, check_ref },
	[BTF_KIND_CONST] = { "CONST", 0, 0, false, false, NAME_NONE, check_ref },
	[BTF_KIND_RESTRICT] = { "RESTRICT", 0, 0, false, false, NAME_NONE, check_ref },
	[BTF_KIND_FUNC] = { "FUNC", 0, 0, true, false, NAME_REQUIRED, check_func },
	[BTF_KIND_FUNC_PROTO] = { "FUNC_PROTO", 0, sizeof(struct btf_param), true, false, NAME_NONE,
		check_ref },
	[BTF_KIND_VAR] = { "VAR", sizeof(struct btf_var), 0, false, false, NAME_REQUIRED,
		check_var },
	[BTF_KIND_DATASEC] = { "DATASEC", 0, sizeof(struct btf_var_secinfo), true, false,
		NAME_SECTION, check_datasec },
	[BTF_KIND_FLOAT] = { "FLOAT", 0, 0, false, false, NAME_ANY, check_float },
	[BTF_KIND_DECL_TAG] = { "DECL_TAG", sizeof(struct btf_decl_tag), 0, false, true, NAME_TEXT,
		check_decl_tag },
	[BTF_KIND_TYPE_TAG] = { "TYPE_TAG", 0, 0, false, true, NAME_TEXT, check_ref },
	[BTF_KIND_ENUM64] = { "ENUM64", 0, sizeof(struct btf_enum64), true, true, NAME_OPTIONAL,
		check_enum },
};

/* One type by itself; *ret_len is how many bytes it takes. */
static int check_type(
	struct checker *c, uint32_t id, const char *at, uint32_t left, uint32_t *ret_len)
{
	const struct btf_type *t = (const struct btf_type *)at;
	const struct kind *k;
	uint32_t len;

	if (left < sizeof(*t))
		return refuse(
			c, -EINVAL, "[%u] meta_left:%u meta_needed:%zu", id, left, sizeof(*t));
	if (t->info & ~INFO_MASK)
		return refuse(c, -EINVAL, "[%u] Invalid btf_info:%x", id, t->info);
	if (kind_of(t) == BTF_KIND_UNKN || kind_of(t) >= sl_array_size(kinds))
		return refuse(c, -EINVAL, "[%u] Invalid kind:%u", id, kind_of(t));
	if (!name_offset_valid(c, t->name_off))
		return refuse(c, -EINVAL, "[%u] Invalid name_offset:%u", id, t->name_off);
	k = &kinds[kind_of(t)];
	len = sizeof(*t) + k->extra + BTF_INFO_VLEN(t->info) * k->per_vlen;
	if (left < len)
		return refuse(
			c, -EINVAL, "[%u] %s meta_left:%u meta_needed:%u", id, k->name, left, len);
	if (!k->vlen && BTF_INFO_VLEN(t->info))
		return refuse(c, -EINVAL, "[%u] %s vlen != 0", id, k->name);
	if (!k->kflag && BTF_INFO_KFLAG(t->info))
		return refuse(c, -EINVAL, "[%u] %s Invalid btf_info kind_flag", id, k->name);
	if (!name_fits(c, t, k->rule))
		return refuse(c, -EINVAL, "[%u] %s Invalid name", id, k->name);
	*ret_len = len;
	return k->check(c, id, t, t + 1);
}

/* Walks the type section: checks each and notes where it is. */
static int check_types(struct checker *c)
{
	const char *at = c->types, *end = c->types + c->hdr->type_len;
	uint32_t room = 0, len = 0;
	int err;

	while (at < end) {
		if (c->count + 1 >= room) {
			const struct btf_type **more;

			room = room ? room * 2 : 64;
			more = realloc(c->by_id, room * sizeof(*more));
			if (!more)
				return -ENOMEM;
			c->by_id = more;
			c->by_id[0] = NULL;
		}
		if (c->count == TYPE_ID_MAX)
			return refuse(c, -E2BIG, "BTF has too many types");
		err = check_type(c, c->count + 1, at, end - at, &len);
		if (err)
			return err;
		c->by_id[++c->count] = (const struct btf_type *)at;
		at += len;
	}
	return 0;
}

static const struct btf_type *type_at(const struct checker *c, uint32_t id)
{
	return id && id <= c->count ? c->by_id[id] : NULL;
}

static bool is_modifier(const struct btf_type *t)
{
	uint32_t kind = kind_of(t);

	return kind == BTF_KIND_TYPEDEF || kind == BTF_KIND_VOLATILE || kind == BTF_KIND_CONST ||
	       kind == BTF_KIND_RESTRICT || kind == BTF_KIND_TYPE_TAG;
}

/* Behind typedefs and qualifiers. NULL for void, and for an endless chain. */
static const struct btf_type *skip_modifiers(const struct checker *c, uint32_t id)
{
	const struct btf_type *t = type_at(c, id);

	for (int depth = 0; t && is_modifier(t); depth++) {
		if (depth >= RESOLVE_DEPTH_MAX)
			return NULL;
		t = type_at(c, t->type);
	}
	return t;
}

static bool has_size(const struct btf_type *t)
{
	static const uint32_t sized =
		1U << BTF_KIND_INT | 1U << BTF_KIND_PTR | 1U << BTF_KIND_ARRAY |
		1U << BTF_KIND_STRUCT | 1U << BTF_KIND_UNION | 1U << BTF_KIND_ENUM |
		1U << BTF_KIND_DATASEC | 1U << BTF_KIND_FLOAT | 1U << BTF_KIND_ENUM64;

	return t && sized >> kind_of(t) & 1;
}

enum walk_state { UNSEEN, IN_PROGRESS, DONE };

/*
 * A type must not contain itself. Follows containment (members, elements, modifiers; not through
 * pointers) to a limited depth, as the kernel's resolver does.
 */
static int check_containment(struct checker *c, uint32_t id, int depth)
{
	const struct btf_type *t = type_at(c, id);
	const struct btf_member *m;
	int err = 0;

	if (!t || c->state[id] == DONE)
		return 0;
	if (c->state[id] == IN_PROGRESS)
		return refuse(c, -EEXIST, "[%u] Loop detected", id);
	if (depth >= RESOLVE_DEPTH_MAX)
		return refuse(
			c, -E2BIG, "[%u] Exceeded max resolving depth:%d", id, RESOLVE_DEPTH_MAX);
	c->state[id] = IN_PROGRESS;
	if (is_modifier(t))
		err = check_containment(c, t->type, depth + 1);
	else if (kind_of(t) == BTF_KIND_ARRAY)
		err = check_containment(c, ((const struct btf_array *)(t + 1))->type, depth + 1);
	else if (kind_of(t) == BTF_KIND_STRUCT || kind_of(t) == BTF_KIND_UNION) {
		m = (const struct btf_member *)(t + 1);
		for (uint32_t i = 0; !err && i < BTF_INFO_VLEN(t->info); i++)
			err = check_containment(c, m[i].type, depth + 1);
	}
	c->state[id] = DONE;
	return err;
}

/*
 * A chain of pointers and qualifiers must end. Chains that lower ids have proved to end are not
 * followed again, which is how deep the kernel counts.
 */
static int check_pointers(struct checker *c, uint32_t id, int depth)
{
	const struct btf_type *t = type_at(c, id);
	int err;

	if (!t || c->state[id] == DONE || !(is_modifier(t) || kind_of(t) == BTF_KIND_PTR))
		return 0;
	if (c->state[id] == IN_PROGRESS)
		return refuse(c, -EEXIST, "[%u] Loop detected", id);
	if (depth >= RESOLVE_DEPTH_MAX)
		return refuse(
			c, -E2BIG, "[%u] Exceeded max resolving depth:%d", id, RESOLVE_DEPTH_MAX);
	c->state[id] = IN_PROGRESS;
	err = check_pointers(c, t->type, depth + 1);
	c->state[id] = DONE;
	return err;
}

/* Bytes of a type that has a size; UINT64_MAX when they are more than 32 bits can say. */
static uint64_t size_of(const struct checker *c, uint32_t id)
{
	const struct btf_type *t = skip_modifiers(c, id);
	const struct btf_array *a;
	uint64_t count = 1;

	while (t && kind_of(t) == BTF_KIND_ARRAY) {
		a = (const struct btf_array *)(t + 1);
		count *= a->nelems;
		if (count > UINT32_MAX)
			return UINT64_MAX;
		t = skip_modifiers(c, a->type);
	}
	if (!t)
		return UINT64_MAX;
	count *= kind_of(t) == BTF_KIND_PTR ? sizeof(uint64_t) : t->size;
	return count > UINT32_MAX ? UINT64_MAX : count;
}

/* A number of whole bytes, a power of two: what elements and bit fields are made of. */
static bool is_regular_int(const struct btf_type *t)
{
	uint32_t data = *(const uint32_t *)(t + 1), bits = BTF_INT_BITS(data);

	return !BTF_INT_OFFSET(data) && bits >= 8 && bits <= 128 && !(bits & (bits - 1));
}

static int check_sized(struct checker *c, uint32_t id, uint32_t type)
{
	const struct btf_type *t = skip_modifiers(c, type);

	if (!has_size(t) || kind_of(t) == BTF_KIND_DATASEC)
		return refuse(c, -EINVAL, "[%u] %s Invalid type_id=%u", id,
			kinds[kind_of(c->by_id[id])].name, type);
	return 0;
}

static int link_array(struct checker *c, uint32_t id, const struct btf_type *t)
{
	const struct btf_array *a = (const struct btf_array *)(t + 1);
	const struct btf_type *index = skip_modifiers(c, a->index_type);

	const struct btf_type *elem = skip_modifiers(c, a->type);

	if (!index || kind_of(index) != BTF_KIND_INT || !is_regular_int(index))
		return refuse(c, -EINVAL, "[%u] ARRAY Invalid index", id);
	if (elem && kind_of(elem) == BTF_KIND_INT && !is_regular_int(elem))
		return refuse(c, -EINVAL, "[%u] ARRAY Invalid array of int", id);
	if (has_size(elem) && size_of(c, id) == UINT64_MAX)
		return refuse(c, -EINVAL, "[%u] ARRAY Array size overflows U32_MAX", id);
	return check_sized(c, id, a->type);
}

/* A member at bit `off`, a bit field of `width` bits or (0) all of its type, lies in its struct. */
static int link_member(struct checker *c, uint32_t id, const struct btf_type *t, uint32_t type,
	uint32_t off, uint32_t width)
{
	const struct btf_type *m = skip_modifiers(c, type);
	uint32_t kind = kind_of(m);
	uint64_t bits = size_of(c, type) * 8;
	bool is_int = kind == BTF_KIND_INT;

	if (is_int) {
		uint32_t data = *(const uint32_t *)(m + 1);

		if (BTF_INFO_KFLAG(t->info) && !is_regular_int(m))
			return refuse(c, -EINVAL, "[%u] Invalid member base type", id);
		if (off > UINT32_MAX - BTF_INT_OFFSET(data))
			return refuse(c, -EINVAL, "[%u] bits_offset exceeds U32_MAX", id);
		off += BTF_INT_OFFSET(data);
		bits = BTF_INT_BITS(data);
	} else if ((kind == BTF_KIND_ENUM || kind == BTF_KIND_ENUM64) && BTF_INFO_KFLAG(t->info)) {
		bits = 32;
	}
	if (width && !is_int && kind != BTF_KIND_ENUM && kind != BTF_KIND_ENUM64)
		return refuse(c, -EINVAL, "[%u] Invalid member bitfield_size", id);
	if (width > bits)
		return refuse(c, -EINVAL, "[%u] Invalid member bitfield_size", id);
	if (off % 8 && !width && (!is_int || BTF_INFO_KFLAG(t->info)))
		return refuse(c, -EINVAL, "[%u] Invalid member offset", id);
	if (kind == BTF_KIND_FLOAT && off / 8 % sl_min(m->size, 8u))
		return refuse(c, -EINVAL, "[%u] Member is not properly aligned", id);
	bits = (width ? width : bits) + off % 8;
	if (is_int && bits > 128)
		return refuse(c, -EINVAL, "[%u] nr_copy_bits exceeds 128", id);
	if (off / 8 + (bits + 7) / 8 > t->size)
		return refuse(c, -EINVAL, "[%u] Member exceeds struct_size", id);
	return 0;
}

static int link_members(struct checker *c, uint32_t id, const struct btf_type *t)
{
	const struct btf_member *m = (const struct btf_member *)(t + 1);
	bool kflag = BTF_INFO_KFLAG(t->info);
	int err = 0;

	for (uint32_t i = 0; !err && i < BTF_INFO_VLEN(t->info); i++) {
		err = check_sized(c, id, m[i].type);
		if (!err)
			err = link_member(c, id, t, m[i].type,
				kflag ? BTF_MEMBER_BIT_OFFSET(m[i].offset) : m[i].offset,
				kflag ? BTF_MEMBER_BITFIELD_SIZE(m[i].offset) : 0);
	}
	return err;
}

static int link_func(struct checker *c, uint32_t id, const struct btf_type *t)
{
	const struct btf_type *proto = type_at(c, t->type);
	const struct btf_param *p;

	if (!proto || kind_of(proto) != BTF_KIND_FUNC_PROTO)
		return refuse(c, -EINVAL, "[%u] FUNC Invalid type_id", id);
	p = (const struct btf_param *)(proto + 1);
	for (uint32_t i = 0; i < BTF_INFO_VLEN(proto->info); i++) {
		if (!p[i].name_off && p[i].type)
			return refuse(c, -EINVAL, "[%u] FUNC Invalid arg#%u", id, i + 1);
	}
	return 0;
}

static int link_proto(struct checker *c, uint32_t id, const struct btf_type *t)
{
	const struct btf_param *p = (const struct btf_param *)(t + 1);
	uint32_t count = BTF_INFO_VLEN(t->info);

	if (t->type && !has_size(skip_modifiers(c, t->type)))
		return refuse(c, -EINVAL, "[%u] FUNC_PROTO Invalid return type", id);
	for (uint32_t i = 0; i < count; i++) {
		/* "..." is a last parameter without type and name. */
		if (!p[i].type && i + 1 == count && !p[i].name_off)
			return 0;
		if (p[i].name_off && !is_name(c, p[i].name_off))
			return refuse(c, -EINVAL, "[%u] FUNC_PROTO Invalid arg#%u", id, i + 1);
		if (!has_size(skip_modifiers(c, p[i].type)))
			return refuse(c, -EINVAL, "[%u] FUNC_PROTO Invalid arg#%u", id, i + 1);
	}
	return 0;
}

static int link_datasec(struct checker *c, uint32_t id, const struct btf_type *t)
{
	const struct btf_var_secinfo *v = (const struct btf_var_secinfo *)(t + 1);

	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info); i++) {
		const struct btf_type *var = type_at(c, v[i].type);

		if (!var || kind_of(var) != BTF_KIND_VAR)
			return refuse(c, -EINVAL, "[%u] DATASEC Not a VAR kind member", id);
		if (has_size(skip_modifiers(c, var->type)) && v[i].size < size_of(c, var->type))
			return refuse(c, -EINVAL, "[%u] DATASEC Invalid size", id);
	}
	return 0;
}

static int link_decl_tag(struct checker *c, uint32_t id, const struct btf_type *t)
{
	static const uint32_t targets = 1U << BTF_KIND_STRUCT | 1U << BTF_KIND_UNION |
					1U << BTF_KIND_FUNC | 1U << BTF_KIND_VAR |
					1U << BTF_KIND_TYPEDEF;
	int32_t index = ((const struct btf_decl_tag *)(t + 1))->component_idx;
	const struct btf_type *target = type_at(c, t->type), *parts = target;

	if (!target || !(targets >> kind_of(target) & 1))
		return refuse(c, -EINVAL, "[%u] DECL_TAG Invalid type", id);
	if (index < 0)
		return 0;
	if (kind_of(target) == BTF_KIND_FUNC)
		parts = type_at(c, target->type);
	if (kind_of(target) == BTF_KIND_VAR || kind_of(target) == BTF_KIND_TYPEDEF || !parts ||
		(uint32_t)index >= BTF_INFO_VLEN(parts->info))
		return refuse(c, -EINVAL, "[%u] DECL_TAG Invalid component_idx", id);
	return 0;
}

/* Nothing refers to a variable, a section or a tag. */
static int link_ref(struct checker *c, uint32_t id, const struct btf_type *t)
{
	static const uint32_t never =
		1U << BTF_KIND_VAR | 1U << BTF_KIND_DATASEC | 1U << BTF_KIND_DECL_TAG;
	const struct btf_type *target = type_at(c, t->type);

	if (!t->type || (target && !(never >> kind_of(target) & 1)))
		return 0;
	return refuse(c, -EINVAL, "[%u] %s Invalid type_id", id, kinds[kind_of(t)].name);
}

/* What one type says of others. */
static int check_links(struct checker *c, uint32_t id)
{
	const struct btf_type *t = c->by_id[id];

	switch (kind_of(t)) {
	case BTF_KIND_PTR:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_TYPE_TAG:
		return link_ref(c, id, t);
	case BTF_KIND_ARRAY:
		return link_array(c, id, t);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return link_members(c, id, t);
	case BTF_KIND_FUNC:
		return link_func(c, id, t);
	case BTF_KIND_FUNC_PROTO:
		return link_proto(c, id, t);
	case BTF_KIND_VAR:
		return check_sized(c, id, t->type);
	case BTF_KIND_DATASEC:
		return link_datasec(c, id, t);
	case BTF_KIND_DECL_TAG:
		return link_decl_tag(c, id, t);
	default:
		return 0;
	}
}

/* In a chain of qualifiers the type tags come first. */
static int check_type_tags(struct checker *c, uint32_t id)
{
	const struct btf_type *t = type_at(c, id);
	bool in_tags = kind_of(t) == BTF_KIND_TYPE_TAG;

	for (int left = RESOLVE_DEPTH_MAX; t && is_modifier(t); t = type_at(c, t->type)) {
		bool is_tag = kind_of(t) == BTF_KIND_TYPE_TAG;

		if (!left--)
			return refuse(c, -ELOOP, "Max chain length or cycle detected");
		if (is_tag && !in_tags)
			return refuse(c, -EINVAL, "Type tags don't precede modifiers");
		in_tags = is_tag;
	}
	return 0;
}

/* The two sections lie after the header, without overlap or gap, to the very end. */
static int check_sections(struct checker *c, uint32_t size)
{
	const struct btf_header *h = c->hdr;
	uint64_t room = size - h->hdr_len;
	bool types_first = h->type_off <= h->str_off;
	uint64_t first_off = types_first ? h->type_off : h->str_off;
	uint64_t first_len = types_first ? h->type_len : h->str_len;
	uint64_t second_off = types_first ? h->str_off : h->type_off;
	uint64_t second_len = types_first ? h->str_len : h->type_len;

	if (first_off > 0)
		return refuse(c, -EINVAL, "Unsupported section found");
	if (first_len > room || second_off + second_len > room)
		return refuse(c, -EINVAL, "Total section length too long");
	if (second_off < first_len)
		return refuse(c, -EINVAL, "Section overlap found");
	if (second_off > first_len || second_off + second_len != room)
		return refuse(c, -EINVAL, "Unsupported section found");
	if (h->type_off & 3)
		return refuse(c, -EINVAL, "Unaligned type_off");
	if (!h->type_len)
		return refuse(c, -EINVAL, "No type found");
	if (!types_first || h->str_off + h->str_len != room)
		return refuse(c, -EINVAL, "String section is not at the end");
	return 0;
}

static int check_header(struct checker *c, const char *data, uint32_t size)
{
	const struct btf_header *h = c->hdr;
	int err;

	if (size < offsetof(struct btf_header, hdr_len) + sizeof(h->hdr_len))
		return refuse(c, -EINVAL, "hdr_len not found");
	if (h->hdr_len > size)
		return refuse(c, -EINVAL, "btf_header not found");
	for (uint32_t i = sizeof(*h); i < h->hdr_len; i++) {
		if (data[i])
			return refuse(c, -E2BIG, "Unsupported btf_header");
	}
	if (h->magic != BTF_MAGIC || h->hdr_len < sizeof(h->magic))
		return refuse(c, -EINVAL, "Invalid magic");
	/* Of a header that ends before it, a field is zero. */
	if (h->version != BTF_VERSION || h->hdr_len <= offsetof(struct btf_header, version))
		return refuse(c, -ENOTSUPP_KERNEL, "Unsupported version");
	if (h->flags)
		return refuse(c, -ENOTSUPP_KERNEL, "Unsupported flags");
	if (h->hdr_len == size || h->hdr_len < sizeof(*h))
		return refuse(c, -EINVAL, "No data");
	err = check_sections(c, size);
	if (err)
		return err;
	c->types = data + h->hdr_len + h->type_off;
	c->strings = data + h->hdr_len + h->str_off;
	if (!h->str_len || h->str_len - 1 > NAME_OFFSET_MAX || c->strings[0] ||
		c->strings[h->str_len - 1])
		return refuse(c, -EINVAL, "Invalid string section");
	return 0;
}

int sl_btf_check(const void *data, uint32_t size, char reason[SL_BTF_REASON_LEN])
{
	struct checker c = { .hdr = data, .reason = reason };
	int err;

	if (size > BTF_SIZE_MAX)
		return -E2BIG;
	err = check_header(&c, data, size);
	if (!err)
		err = check_types(&c);
	if (!err) {
		c.state = calloc(c.count + 1, 1);
		if (!c.state)
			err = -ENOMEM;
	}
	for (uint32_t id = 1; !err && id <= c.count; id++)
		err = check_containment(&c, id, 0);
	if (!err)
		memset(c.state, UNSEEN, c.count + 1);
	for (uint32_t id = 1; !err && id <= c.count; id++)
		err = check_pointers(&c, id, 0);
	for (uint32_t id = 1; !err && id <= c.count; id++)
		err = check_links(&c, id);
	for (uint32_t id = 1; !err && id <= c.count; id++)
		err = check_type_tags(&c, id);
	free(c.by_id);
	free(c.state);
	return err;
}
