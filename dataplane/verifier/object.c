#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>

#include "local_type.h"

/*
 * Memory of a type of the program's BTF that it allocated: owned, with a reference that it has to
 * give back; or in a list or tree, for as long as the lock is held that protects that. Its special
 * fields are not the program's. Of the rest it may read and write what its members are.
 */

const struct sl_local_type *sl_local_type_get(
	struct sl_env *env, const struct sl_btf *btf, uint32_t type_id)
{
	const struct btf_type *type = btf__type_by_id(btf->btf, type_id);
	const char *name = btf__name_by_offset(btf->btf, type->name_off);
	struct sl_local_type *object;

	for (object = env->objects; object; object = object->next)
		if (object->btf == btf && object->type_id == type_id)
			return object;
	object = malloc(sizeof(*object));
	if (!object)
		return NULL;
	*object = (struct sl_local_type){
		.next = env->objects,
		.btf = btf,
		.type_id = type_id,
		.size = type->size,
		.name = name ? name : "",
		.record = sl_btf_record_of(btf, type_id),
	};
	env->objects = object;
	return object;
}

void sl_local_types_free(struct sl_env *env)
{
	while (env->objects) {
		struct sl_local_type *object = env->objects;

		env->objects = object->next;
		free(object);
	}
}

int sl_object_set_node(struct sl_env *env, struct sl_reg *reg, const struct sl_btf *btf,
	const struct sl_special_field *root)
{
	const struct sl_local_type *object = sl_local_type_get(env, btf, root->type_id);

	if (!object)
		return -ENOMEM;
	sl_reg_set_pointer(reg, SL_REG_OBJECT);
	reg->object = object;
	reg->off = (int32_t)root->node_offset;
	return 0;
}

void sl_object_set_non_owning(struct sl_reg *reg)
{
	reg->flags |= SL_REG_NON_OWNING;
	if (sl_btf_record_has(reg->object->record, SL_SPECIAL_REFCOUNT))
		reg->flags |= SL_REG_RCU;
}

int sl_object_check_offset(struct sl_env *env, unsigned regno)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	char tnum[64];

	if (reg->off < 0) {
		sl_say(env, "negative offset %s ptr R%u off=%d disallowed\n", sl_reg_type_name(reg),
			regno, reg->off);
		return -EACCES;
	}
	if (!sl_tnum_is_const(reg->var_off) || reg->var_off.value) {
		sl_print_tnum(tnum, sizeof(tnum), reg->var_off);
		sl_say(env, "variable %s access var_off=%s disallowed\n", sl_reg_type_name(reg),
			tnum);
		return -EACCES;
	}
	return 0;
}

/* ---- what members there are ---- */

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

struct walk {
	struct sl_env *env;
	const struct btf *btf;
	uint32_t off, size; /* of the access, from the beginning of the struct */
};

enum found { FOUND = 0, INSIDE = 1, NEXT = 2 };

static bool is_bitfield(struct walk *w, const struct btf_type *type, unsigned i, bool *ret_whole)
{
	uint32_t bits = btf_member_bitfield_size(type, i), at = btf_member_bit_offset(type, i);

	*ret_whole = bits && w->off <= at / 8 && (at + bits + 7) / 8 <= w->off + w->size;
	return bits;
}

/* A member that the access begins in: FOUND, INSIDE when it is a struct in turn, or an error. */
static int check_member(
	struct walk *w, const struct btf_type **type, unsigned i, uint32_t member_off)
{
	const struct btf_member *m = &btf_members(*type)[i];
	const struct btf_type *inner = skip_modifiers(w->btf, m->type);
	int64_t bytes = btf__resolve_size(w->btf, m->type);
	const char *name = name_of(w->btf, m->name_off);
	const char *of = name_of(w->btf, (*type)->name_off);
	uint64_t end = member_off + (uint64_t)(bytes < 0 ? 0 : bytes);

	if (bytes < 0) {
		sl_say(w->env, "field %s doesn't have size\n", name);
		return -EFAULT;
	}
	if (w->off >= end)
		return NEXT;
	while (btf_is_array(inner)) {
		const struct btf_type *elem = skip_modifiers(w->btf, btf_array(inner)->type);
		int64_t elem_bytes = btf__resolve_size(w->btf, btf_array(inner)->type);

		if (elem_bytes <= 0)
			break;
		member_off += (uint32_t)((w->off - member_off) / elem_bytes * elem_bytes);
		inner = elem;
		bytes = elem_bytes;
	}
	if (btf_is_composite(inner)) {
		w->off -= member_off;
		*type = inner;
		return INSIDE;
	}
	if (btf_is_ptr(inner) && (bytes != w->size || w->off != member_off)) {
		sl_say(w->env,
			"cannot access ptr member %s with moff %u in struct %s with off %u size "
			"%u\n",
			name, member_off, of, w->off, w->size);
		return -EACCES;
	}
	if ((uint64_t)w->off + w->size <= end)
		return FOUND;
	sl_say(w->env,
		"access beyond the end of member %s (mend:%u) in struct %s with off %u size %u\n",
		name, (uint32_t)end, of, w->off, w->size);
	return -EACCES;
}

/* One struct on the way in. */
static int check_struct(struct walk *w, const struct btf_type **type)
{
	const char *name = name_of(w->btf, (*type)->name_off);

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
				return FOUND;
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

static int check_members(
	struct sl_env *env, const struct sl_local_type *object, uint32_t off, uint32_t size)
{
	struct walk w = { env, object->btf->btf, off, size };
	const struct btf_type *type = btf__type_by_id(w.btf, object->type_id);
	int found;

	do {
		found = check_struct(&w, &type);
	} while (found == INSIDE);
	return found;
}

int sl_object_check_access(struct sl_env *env, unsigned regno, int32_t off, uint32_t size)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	const struct sl_local_type *object = reg->object;
	char tnum[64];

	if (off < 0) {
		sl_say(env, "R%u is ptr_%s invalid negative access: off=%d\n", regno, object->name,
			off);
		return -EACCES;
	}
	if (!sl_tnum_is_const(reg->var_off) || reg->var_off.value) {
		sl_print_tnum(tnum, sizeof(tnum), reg->var_off);
		sl_say(env, "R%u is ptr_%s invalid variable offset: off=%d, var_off=%s\n", regno,
			object->name, off, tnum);
		return -EACCES;
	}
	for (uint32_t i = 0; object->record && i < object->record->count; i++) {
		const struct sl_special_field *field = &object->record->fields[i];

		if ((uint32_t)off >= field->offset + field->size ||
			field->offset >= (uint64_t)(uint32_t)off + size)
			continue;
		sl_say(env, "direct access to %s is disallowed\n", sl_special_name(field->type));
		return -EACCES;
	}
	/* The walk below may end in less: nothing outside of the object, whatever it says. */
	if ((uint64_t)(uint32_t)off + size > object->size) {
		sl_say(env, "access beyond struct %s at off %u size %u\n", object->name,
			(uint32_t)off, size);
		return -EACCES;
	}
	return check_members(env, object, (uint32_t)off, size);
}
