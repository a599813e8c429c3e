#include "btf_walk.h"

#include <bpf/btf.h>
#include <errno.h>

#include "env.h"

/* Beside enum sl_btf_found. */
enum { INSIDE = SL_BTF_POINTER + 1, NEXT };

static const struct btf_type *skip_modifiers(const struct btf *btf, uint32_t id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	while (type && (btf_is_mod(type) || btf_is_typedef(type)))
		type = btf__type_by_id(btf, type->type);
	return type;
}

static const char *name_of(const struct btf *btf, uint32_t off)
{
	const char *name = btf__name_by_offset(btf, off);

	return name && name[0] ? name : "(anon)";
}

static bool is_bitfield(
	const struct sl_btf_walk *w, const struct btf_type *type, unsigned i, bool *ret_whole)
{
	uint32_t bits = btf_member_bitfield_size(type, i), at = btf_member_bit_offset(type, i);

	*ret_whole = bits && w->off <= at / 8 && (at + bits + 7) / 8 <= w->off + w->size;
	return bits;
}

/* The element of an array that the access begins in; arrays of arrays are one long array. */
static const struct btf_type *element(
	const struct sl_btf_walk *w, const struct btf_type *type, uint32_t *off, int64_t *bytes)
{
	while (btf_is_array(type)) {
		int64_t elem_bytes = btf__resolve_size(w->btf, btf_array(type)->type);

		if (elem_bytes <= 0)
			break;
		*off += (uint32_t)((w->off - *off) / elem_bytes * elem_bytes);
		*bytes = elem_bytes;
		type = skip_modifiers(w->btf, btf_array(type)->type);
	}
	return type;
}

static int check_pointer(struct sl_btf_walk *w, const struct btf_type *of,
	const struct btf_member *m, const struct btf_type *pointer, uint32_t member_off)
{
	const struct btf_type *to;

	if (w->size != sizeof(uint64_t) || w->off != member_off) {
		sl_say(w->env,
			"cannot access ptr member %s with moff %u in struct %s with off %u size "
			"%u\n",
			name_of(w->btf, m->name_off), member_off, name_of(w->btf, of->name_off),
			w->off, w->size);
		return -EACCES;
	}
	to = skip_modifiers(w->btf, pointer->type);
	return to && btf_is_composite(to) ? SL_BTF_POINTER : SL_BTF_NUMBER;
}

/* A member that the access begins in: what was found, INSIDE when it is a struct in turn. */
static int check_member(
	struct sl_btf_walk *w, const struct btf_type **type, unsigned i, uint32_t member_off)
{
	const struct btf_type *of = *type, *inner;
	const struct btf_member *m = &btf_members(of)[i];
	int64_t bytes = btf__resolve_size(w->btf, m->type);
	uint64_t end = member_off + (uint64_t)(bytes < 0 ? 0 : bytes);
	int found;

	if (bytes < 0) {
		sl_say(w->env, "field %s doesn't have size\n", name_of(w->btf, m->name_off));
		return -EFAULT;
	}
	if (w->off >= end)
		return NEXT;
	if (w->passes)
		w->passes(w, of, i, member_off);
	inner = element(w, skip_modifiers(w->btf, m->type), &member_off, &bytes);
	if (btf_is_composite(inner)) {
		w->off -= member_off;
		*type = inner;
		return INSIDE;
	}
	if (btf_is_ptr(inner)) {
		found = check_pointer(w, of, m, inner, member_off);
		if (found != SL_BTF_NUMBER)
			return found;
	}
	if ((uint64_t)w->off + w->size <= end || w->in_union)
		return SL_BTF_NUMBER;
	sl_say(w->env,
		"access beyond the end of member %s (mend:%u) in struct %s with off %u size %u\n",
		name_of(w->btf, m->name_off), (uint32_t)end, name_of(w->btf, of->name_off), w->off,
		w->size);
	return -EACCES;
}

/* One struct on the way in. */
static int check_struct(struct sl_btf_walk *w, const struct btf_type **type)
{
	const char *name = name_of(w->btf, (*type)->name_off);

	w->in_union |= btf_is_union(*type) && btf_vlen(*type) != 1;
	if ((uint64_t)w->off + w->size > (*type)->size) {
		sl_say(w->env, "access beyond struct %s at off %u size %u\n", name, w->off,
			w->size);
		return -EACCES;
	}
	for (unsigned i = 0; i < btf_vlen(*type); i++) {
		uint32_t member_off = btf_member_bit_offset(*type, i) / 8;
		bool whole;
		int found;

		if (w->off + w->size <= member_off)
			break;
		if (is_bitfield(w, *type, i, &whole)) {
			if (whole)
				return SL_BTF_NUMBER;
			continue;
		}
		if (w->off < member_off)
			break;
		found = check_member(w, type, i, member_off);
		if (found != NEXT)
			return found;
	}
	sl_say(w->env, "struct %s doesn't have field at offset %d\n", name, (int)w->off);
	return -EINVAL;
}

int sl_btf_walk(struct sl_btf_walk *walk, uint32_t type_id)
{
	const struct btf_type *type = btf__type_by_id(walk->btf, type_id);
	int found;

	do {
		found = check_struct(walk, &type);
	} while (found == INSIDE);
	return found;
}
