#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>

#include "btf_walk.h"
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

int sl_object_check_access(struct sl_env *env, unsigned regno, int32_t off, uint32_t size)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	const struct sl_local_type *object = reg->object;
	struct sl_btf_walk walk = { env, object->btf->btf, (uint32_t)off, size };
	char tnum[64];
	int err;

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
	err = sl_btf_walk(&walk, object->type_id);
	return err < 0 ? err : 0;
}
