#include <bpf/btf.h>
#include <errno.h>
#include <string.h>

#include "map.h"
#include "local_type.h"
#include "objects.h"
#include "prog.h"

/* Arguments and results of the kernel functions that make objects and put them into lists and trees. */

static bool is_owned(const struct sl_reg *reg)
{
	return reg->type == SL_REG_OBJECT && !sl_reg_maybe_null(reg) &&
	       !(reg->flags & (SL_REG_NON_OWNING | SL_REG_RCU));
}

int sl_kfunc_check_type_id(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	const struct btf_type *type;
	int err;

	if (reg->type != SL_REG_SCALAR) {
		sl_say(env, "R%u is not a scalar\n", regno);
		return -EINVAL;
	}
	if (!sl_tnum_is_const(reg->var_off)) {
		sl_say(env, "R%u must be a known constant\n", regno);
		return -EINVAL;
	}
	err = sl_mark_precise(env, regno);
	if (err)
		return err;
	if (reg->var_off.value > UINT32_MAX) {
		sl_say(env, "local type ID argument must be in range [0, U32_MAX]\n");
		return -EINVAL;
	}
	if (!env->prog->btf) {
		sl_say(env, "bpf_obj_new/bpf_percpu_obj_new requires prog BTF\n");
		return -EINVAL;
	}
	type = btf__type_by_id(env->prog->btf->btf, (uint32_t)reg->var_off.value);
	if (!reg->var_off.value || !type || !btf_is_struct(type)) {
		sl_say(env,
			"bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct\n");
		return -EINVAL;
	}
	args->object = sl_local_type_get(env, env->prog->btf, (uint32_t)reg->var_off.value);
	return args->object ? 0 : -ENOMEM;
}

static int check_not_null(struct sl_env *env, unsigned regno)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	if (!sl_reg_is_zero(reg) && !sl_reg_maybe_null(reg))
		return 0;
	sl_say(env, "Possibly NULL pointer passed to trusted arg%u\n", regno - 1);
	return -EACCES;
}

int sl_kfunc_check_object(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err = check_not_null(env, regno);

	if (err)
		return err;
	if (reg->type != SL_REG_OBJECT || (!reg->ref_id && (reg->flags & SL_REG_RCU))) {
		sl_say(env, "R%u must be referenced or trusted\n", regno);
		return -EINVAL;
	}
	if (reg->ref_id && reg->off) {
		sl_say(env,
			"R%u must have zero offset when passed to release func or trusted arg to "
			"kfunc\n",
			regno);
		return -EINVAL;
	}
	err = sl_check_argument_offset(env, regno);
	if (err)
		return err;
	if (!is_owned(reg)) {
		sl_say(env, "arg#%u expected pointer to allocated object\n", regno - 1);
		return -EINVAL;
	}
	if (!reg->ref_id) {
		sl_say(env, "allocated object must be referenced\n");
		return -EINVAL;
	}
	args->release_id = reg->ref_id;
	return 0;
}

int sl_kfunc_check_refcounted(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err = check_not_null(env, regno);

	if (!err)
		err = sl_check_argument_offset(env, regno);
	if (err)
		return err;
	if (reg->type != SL_REG_OBJECT) {
		sl_say(env, "arg#%u is neither owning or non-owning ref\n", regno - 1);
		return -EINVAL;
	}
	if (!sl_btf_record_has(reg->object->record, SL_SPECIAL_REFCOUNT)) {
		sl_say(env, "arg#%u doesn't point to a type with bpf_refcount field\n", regno - 1);
		return -EINVAL;
	}
	/* What comes back is the beginning of an object. */
	if (reg->off) {
		sl_say(env, "arg#%u has to point to the beginning of an object\n", regno - 1);
		return -EINVAL;
	}
	args->object = reg->object;
	args->owning = !(reg->flags & SL_REG_NON_OWNING) && reg->ref_id;
	return 0;
}

static const struct sl_special_field *find_field(
	const struct sl_btf_record *record, uint32_t off, enum sl_special type)
{
	for (uint32_t i = 0; record && i < record->count; i++)
		if (record->fields[i].type == type && record->fields[i].offset == off)
			return &record->fields[i];
	return NULL;
}

static int check_constant_offset(struct sl_env *env, unsigned regno, enum sl_special type)
{
	if (sl_tnum_is_const(sl_env_reg(env, regno)->var_off))
		return 0;
	sl_say(env, "R%u doesn't have constant offset. %s has to be at the constant offset\n",
		regno, sl_special_name(type));
	return -EINVAL;
}

static int check_root_locked(struct sl_env *env, const struct sl_reg *reg,
	const struct sl_btf_record *record, enum sl_special type)
{
	uint32_t locks = record->types & SL_SPECIAL_SPIN_LOCK;

	if (env->cur->lock_owner && sl_lock_protects(env, reg))
		return 0;
	if (env->cur->lock_owner)
		sl_say(env, "held lock and object are not in the same allocation\n");
	sl_say(env, "bpf_spin_lock at off=%d must be held for %s\n",
		locks ? (int)sl_btf_record_find(record, SL_SPECIAL_SPIN_LOCK)->offset : -EINVAL,
		sl_special_name(type));
	return -EINVAL;
}

int sl_kfunc_check_root(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	enum sl_special type = args->kfunc->call.args[regno - 1] == SL_ARG_LIST_HEAD
				       ? SL_SPECIAL_LIST_HEAD
				       : SL_SPECIAL_RB_ROOT;
	const struct sl_btf_record *record;
	uint32_t off;
	int err = sl_check_argument_offset(env, regno);

	if (err)
		return err;
	if (!is_owned(reg) && (reg->type != SL_REG_MAP_VALUE || sl_reg_maybe_null(reg))) {
		sl_say(env, "arg#%u expected pointer to map value or allocated object\n",
			regno - 1);
		return -EINVAL;
	}
	if (reg->type == SL_REG_OBJECT && !reg->ref_id) {
		sl_say(env, "allocated object must be referenced\n");
		return -EINVAL;
	}
	err = check_constant_offset(env, regno, type);
	if (err)
		return err;
	record = reg->type == SL_REG_OBJECT ? reg->object->record : reg->map->desc.record;
	off = (uint32_t)(reg->off + (int64_t)reg->var_off.value);
	args->meta.root = find_field(record, off, type);
	if (!args->meta.root) {
		sl_say(env, "%s not found at offset=%u\n", sl_special_name(type), off);
		return -EINVAL;
	}
	args->meta.root_btf = reg->type == SL_REG_OBJECT ? reg->object->btf : reg->map->objects_btf;
	return check_root_locked(env, reg, record, type);
}

/* The node is of the type, and in the place, that the root is declared for. */
static int check_same_node(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args,
	enum sl_special root_type, enum sl_special node_type)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	const struct sl_special_field *root = args->meta.root;
	uint32_t off = (uint32_t)(reg->off + (int64_t)reg->var_off.value);
	const struct sl_local_type *wanted;

	if (!find_field(reg->object->record, off, node_type)) {
		sl_say(env, "%s not found at offset=%u\n", sl_special_name(node_type), off);
		return -EINVAL;
	}
	wanted = sl_local_type_get(env, args->meta.root_btf, root->type_id);
	if (!wanted)
		return -ENOMEM;
	if (wanted != reg->object) {
		sl_say(env,
			"operation on %s expects arg#1 %s at offset=%u in struct %s, but arg is at "
			"offset=%u in struct %s\n",
			sl_special_name(root_type), sl_special_name(node_type), root->node_offset,
			wanted->name, off, reg->object->name);
		return -EINVAL;
	}
	if (off == root->node_offset)
		return 0;
	sl_say(env, "arg#1 offset=%u, but expected %s at offset=%u in struct %s\n", off,
		sl_special_name(node_type), root->node_offset, wanted->name);
	return -EINVAL;
}

int sl_kfunc_check_node(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	enum sl_arg arg = args->kfunc->call.args[regno - 1];
	enum sl_special node = arg == SL_ARG_LIST_NODE ? SL_SPECIAL_LIST_NODE : SL_SPECIAL_RB_NODE;
	int err = sl_check_argument_offset(env, regno);

	if (err)
		return err;
	if (arg != SL_ARG_RB_NODE) {
		if (!is_owned(reg)) {
			sl_say(env, "arg#%u expected pointer to allocated object\n", regno - 1);
			return -EINVAL;
		}
		if (!reg->ref_id) {
			sl_say(env, "allocated object must be referenced\n");
			return -EINVAL;
		}
	} else {
		if (reg->type != SL_REG_OBJECT || sl_reg_maybe_null(reg) ||
			(!(reg->flags & SL_REG_NON_OWNING) && !reg->ref_id)) {
			sl_say(env,
				"%s can only take non-owning or refcounted bpf_rb_node pointer\n",
				args->kfunc->call.name);
			return -EINVAL;
		}
		if (sl_callback_is_less(env)) {
			sl_say(env, "%s not allowed in rbtree cb\n", args->kfunc->call.name);
			return -EINVAL;
		}
	}
	err = check_constant_offset(env, regno, node);
	return err ? err
		   : check_same_node(env, regno, args,
			     node == SL_SPECIAL_LIST_NODE ? SL_SPECIAL_LIST_HEAD
							  : SL_SPECIAL_RB_ROOT,
			     node);
}

int sl_kfunc_check_less(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err = sl_check_argument_offset(env, regno);

	if (err)
		return err;
	if (reg->type != SL_REG_FUNC) {
		sl_say(env, "arg%u expected pointer to func\n", regno - 1);
		return -EINVAL;
	}
	args->meta.func = reg->func;
	return 0;
}

/* The object is the root's now. Who put it there may still look at it while the lock is held. */
static int give_away(struct sl_env *env, uint32_t ref_id)
{
	sl_state_for_each_reg(env->cur, reg, {
		if (reg->type == SL_REG_OBJECT && reg->ref_id == ref_id) {
			reg->ref_id = 0;
			sl_object_set_non_owning(reg);
		}
	});
	return sl_release(env, ref_id);
}

int sl_kfunc_object_call(struct sl_env *env, const struct sl_kfunc_args *args)
{
	uint32_t flags = args->kfunc->flags;
	int err = 0;

	if (flags & SL_KFUNC_CALLS_BACK) {
		err = sl_callback_call_less(env, &args->meta);
		if (err) {
			sl_say(env, "kfunc %s failed callback verification\n",
				args->kfunc->call.name);
			return err;
		}
	}
	if (flags & SL_KFUNC_INSERTS)
		return give_away(env, sl_env_reg(env, BPF_REG_2)->ref_id);
	return args->release_id ? sl_release(env, args->release_id) : 0;
}

/* Size and record are constants of the call: two paths with different types do not share it. */
static int note_type(struct sl_env *env, const struct sl_local_type *object)
{
	struct sl_call_fact *call = &env->facts->calls[env->facts->insns[env->insn].call];

	if (call->given &&
		(call->given_size != object->size || call->given_record != object->record)) {
		sl_say(env, "one call of bpf_obj_new for objects of two types\n");
		return -EINVAL;
	}
	call->given = true;
	call->given_size = object->size;
	call->given_record = object->record;
	return sl_objects_prepare(object->size);
}

int sl_kfunc_set_object(struct sl_env *env, const struct sl_kfunc_args *args)
{
	struct sl_reg *r0 = sl_env_reg(env, BPF_REG_0);
	uint32_t flags = args->kfunc->flags;
	bool or_null = !args->owning, acquires = args->kfunc->call.flags & SL_HELPER_ACQUIRES;
	int err = 0;

	if (flags & SL_KFUNC_GIVES_NODE) {
		err = sl_object_set_node(env, r0, args->meta.root_btf, args->meta.root);
	} else {
		sl_reg_set_pointer(r0, SL_REG_OBJECT);
		r0->object = args->object;
		if (flags & SL_KFUNC_NEW_OBJECT)
			err = note_type(env, args->object);
	}
	if (err)
		return err;
	if (or_null) {
		r0->flags |= SL_REG_OR_NULL;
		r0->id = ++env->next_id;
	}
	if (acquires) {
		r0->ref_id = ++env->next_id;
		if (or_null)
			r0->id = r0->ref_id;
		err = sl_state_add_ref(env->cur, r0->ref_id, env->insn);
	} else {
		sl_object_set_non_owning(r0);
	}
	if (sl_reg_may_lock(r0) && !r0->id)
		r0->id = ++env->next_id;
	return err;
}
