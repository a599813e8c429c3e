#include "env.h"

#include <errno.h>
#include <string.h>

#include "btf_record.h"
#include "kfunc.h"
#include "map.h"
#include "local_type.h"
#include "prog.h"

/*
 * Spin locks: at most one is held, over instructions and static functions but not over helpers, and
 * what takes it gives it back before the program ends. Which lock it is: the map, and the id of the
 * pointer to the value, which is why ids of such pointers outlive the check for NULL. (Values that
 * are named by address have id 0: there is one of each.)
 */

int sl_check_lock_map(struct sl_env *env, const struct sl_map *map)
{
	if (!sl_btf_record_has(map->desc.record, SL_SPECIAL_SPIN_LOCK | SL_SPECIAL_RES_SPIN_LOCK) ||
		env->prog->rules_type != BPF_PROG_TYPE_SOCKET_FILTER)
		return 0;
	sl_say(env, "socket filter progs cannot use bpf_spin_lock yet\n");
	return -EINVAL;
}

bool sl_reg_may_lock(const struct sl_reg *reg)
{
	if (reg->type == SL_REG_OBJECT)
		return sl_btf_record_has(
			reg->object->record, SL_SPECIAL_SPIN_LOCK | SL_SPECIAL_RES_SPIN_LOCK);
	return reg->type == SL_REG_MAP_VALUE &&
	       sl_btf_record_has(
		       reg->map->desc.record, SL_SPECIAL_SPIN_LOCK | SL_SPECIAL_RES_SPIN_LOCK);
}

/* What the lock is in, beside the number of the value or object. */
static const void *owner_of(const struct sl_reg *reg)
{
	return reg->type == SL_REG_OBJECT ? (const void *)reg->object->btf : reg->map;
}

bool sl_lock_protects(const struct sl_env *env, const struct sl_reg *reg)
{
	return env->cur->lock_owner == owner_of(reg) && env->cur->lock_id == reg->id;
}

static int take(struct sl_env *env, const struct sl_reg *reg)
{
	if (env->cur->lock_owner) {
		sl_say(env, "Locking two bpf_spin_locks are not allowed\n");
		return -EINVAL;
	}
	env->cur->lock_owner = owner_of(reg);
	env->cur->lock_id = reg->id;
	return 0;
}

static int release(struct sl_env *env, const struct sl_reg *reg)
{
	if (!env->cur->lock_owner) {
		sl_say(env, "bpf_spin_unlock without taking a lock\n");
		return -EINVAL;
	}
	if (!sl_lock_protects(env, reg)) {
		sl_say(env, "bpf_spin_unlock of different lock\n");
		return -EINVAL;
	}
	env->cur->lock_owner = NULL;
	env->cur->lock_id = 0;
	/* What is in lists and trees is others' again. */
	sl_state_for_each_reg(env->cur, other, {
		if (other->flags & SL_REG_NON_OWNING)
			sl_reg_set_unknown(other);
	});
	return 0;
}

int sl_check_lock_arg(struct sl_env *env, unsigned regno, bool taken)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	const struct sl_map *map = reg->type == SL_REG_MAP_VALUE ? reg->map : NULL;
	const struct sl_btf_record *record = map ? map->desc.record : reg->object->record;
	int64_t off = reg->off + (int64_t)reg->var_off.value, at;

	if (sl_callback_is_less(env)) {
		sl_say(env, "can't spin_{lock,unlock} in rbtree cb\n");
		return -EACCES;
	}
	if (!sl_tnum_is_const(reg->var_off)) {
		sl_say(env,
			"R%u doesn't have constant offset. bpf_spin_lock has to be at the constant "
			"offset\n",
			regno);
		return -EINVAL;
	}
	if (map && !map->btf) {
		sl_say(env, "map '%s' has to have BTF in order to use bpf_spin_lock\n", map->name);
		return -EINVAL;
	}
	if (!sl_btf_record_has(record, SL_SPECIAL_SPIN_LOCK)) {
		sl_say(env, "%s '%s' has no valid bpf_spin_lock\n", map ? "map" : "local",
			map ? map->name : "kptr");
		return -EINVAL;
	}
	at = sl_btf_record_find(record, SL_SPECIAL_SPIN_LOCK)->offset;
	if (at != off) {
		sl_say(env, "off %lld doesn't point to 'struct bpf_spin_lock' that is at %d\n",
			(long long)off, (int)at);
		return -EINVAL;
	}
	return taken ? take(env, reg) : release(env, reg);
}

/* Loops over numbers are fine, and what the lock is for. */
static bool is_quick(const struct bpf_insn *insn)
{
	const struct sl_kfunc *kfunc =
		sl_insn_is_kfunc_call(insn) ? sl_kfunc_peek((uint32_t)insn->imm) : NULL;

	return kfunc && ((kfunc->iter && strcmp(kfunc->iter, "num") == 0) ||
				(kfunc->flags & SL_KFUNC_GRAPH));
}

int sl_check_call_locked(struct sl_env *env, const struct bpf_insn *insn)
{
	if (!env->cur->lock_owner || insn->src_reg == BPF_PSEUDO_CALL ||
		(insn->src_reg == 0 && insn->imm == BPF_FUNC_spin_unlock) || is_quick(insn))
		return 0;
	sl_say(env, "function calls are not allowed while holding a lock\n");
	return -EINVAL;
}

int sl_check_unlocked(struct sl_env *env, const char *what)
{
	if (!env->cur->lock_owner)
		return 0;
	sl_say(env, "%s cannot be used inside bpf_spin_lock-ed region\n", what);
	return -EINVAL;
}
