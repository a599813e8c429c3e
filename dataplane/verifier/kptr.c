#include <errno.h>

#include "local_type.h"
#include "map.h"
#include "prog.h"

/*
 * Pointers that own an object of the program's. bpf_kptr_xchg puts one in and takes out what was
 * there. A load gives a pointer to somebody else's object, who may take it out and drop it: it stays
 * readable for the rest of the run, but is nothing to give back.
 */

static const struct sl_special_field *find_kptr(const struct sl_btf_record *record, int64_t off)
{
	for (uint32_t i = 0; record && i < record->count; i++)
		if ((record->fields[i].type & SL_SPECIAL_KPTR) && record->fields[i].offset == off)
			return &record->fields[i];
	return NULL;
}

int sl_kptr_check_field(struct sl_env *env, unsigned regno, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	const struct sl_map *map = reg->type == SL_REG_MAP_VALUE ? reg->map : NULL;
	const struct sl_btf_record *record = map ? map->desc.record : reg->object->record;
	int64_t off = reg->off + (int64_t)reg->var_off.value;
	const struct sl_special_field *field;

	if (map && !map->btf) {
		sl_say(env, "map '%s' has to have BTF in order to use bpf_kptr_xchg\n", map->name);
		return -EINVAL;
	}
	if (!sl_tnum_is_const(reg->var_off)) {
		sl_say(env,
			"R%u doesn't have constant offset. kptr has to be at the constant offset\n",
			regno);
		return -EINVAL;
	}
	if (!sl_btf_record_has(record, SL_SPECIAL_KPTR)) {
		sl_say(env, "R%u has no valid kptr\n", regno);
		return -EINVAL;
	}
	field = find_kptr(record, off);
	if (!field) {
		sl_say(env, "off=%d doesn't point to kptr\n", (int)off);
		return -EACCES;
	}
	if (field->type == SL_SPECIAL_KPTR_UNREF) {
		sl_say(env, "off=%d kptr isn't referenced kptr\n", (int)off);
		return -EACCES;
	}
	if (field->type != SL_SPECIAL_KPTR_REF || field->is_kernel) {
		sl_say(env, "%s is not available: the data plane has %s\n",
			sl_special_name(field->type),
			field->is_kernel ? "no kernel objects" : "no objects per CPU");
		return -EACCES;
	}
	meta->root = field;
	meta->root_btf = map ? map->objects_btf : reg->object->btf;
	return 0;
}

static int refuse_type(struct sl_env *env, unsigned regno, const struct sl_local_type *wanted)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	sl_say(env, "invalid kptr access, R%u type=%s%s expected=ptr_%s\n", regno,
		sl_reg_type_name(reg), reg->object->name, wanted->name);
	return -EACCES;
}

int sl_kptr_check_value(struct sl_env *env, unsigned regno, struct sl_call_meta *meta)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	const struct sl_local_type *wanted =
		sl_local_type_get(env, meta->root_btf, meta->root->type_id);

	if (!wanted)
		return -ENOMEM;
	if (reg->type == SL_REG_SCALAR) {
		meta->releases_null = true;
		return 0;
	}
	if (reg->object != wanted)
		return refuse_type(env, regno, wanted);
	if (reg->off) {
		sl_say(env,
			"R%u must have zero offset when passed to release func or trusted arg to "
			"kfunc\n",
			regno);
		return -EINVAL;
	}
	if (!sl_tnum_is_const(reg->var_off) || reg->var_off.value)
		return sl_object_check_offset(env, regno);
	if (!reg->ref_id) {
		sl_say(env, "R%u must be referenced when passed to release function\n", regno);
		return -EINVAL;
	}
	meta->ref_id = reg->ref_id;
	return 0;
}

int sl_kptr_check_access(struct sl_env *env, const struct sl_reg *pointer,
	const struct sl_special_field *field, int value_regno)
{
	const struct bpf_insn *insn = &env->prog->insns[env->insn];
	const struct sl_local_type *type;
	struct sl_reg *value;

	if (BPF_MODE(insn->code) != BPF_MEM) {
		sl_say(env, "kptr in map can only be accessed using BPF_MEM instruction mode\n");
		return -EACCES;
	}
	if (BPF_CLASS(insn->code) != BPF_LDX || value_regno < 0) {
		sl_say(env, "store to referenced kptr disallowed\n");
		return -EACCES;
	}
	type = sl_local_type_get(env, pointer->map->objects_btf, field->type_id);
	if (!type)
		return -ENOMEM;
	value = sl_env_reg(env, (unsigned)value_regno);
	sl_reg_set_pointer(value, SL_REG_OBJECT);
	value->object = type;
	value->flags = SL_REG_OR_NULL | SL_REG_RCU;
	value->id = ++env->next_id;
	/* What may be in a list or tree belongs to that while its lock is held. */
	if (sl_btf_record_has(type->record, SL_SPECIAL_NODE))
		value->flags |= SL_REG_NON_OWNING;
	return 0;
}
