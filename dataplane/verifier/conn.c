#include "conn.h"

#include <errno.h>

#include "btf_walk.h"
#include "conntrack.h"
#include "conntrack_start.h"

/*
 * Pointers to connections: with a reference always, since nothing gives one without. One that is not
 * in the table yet is of a type of its own, so that what may be done to it only then, and what only
 * later, are told apart.
 */

static const char *const names[] = {
	[SL_CONN_INSERTED] = "nf_conn",
	[SL_CONN_INIT] = "nf_conn___init",
};

const char *sl_conn_type_name(const struct sl_reg *reg)
{
	return names[reg->conn];
}

static int refuse_write(struct sl_env *env, int32_t off, uint32_t size)
{
	uint32_t mark = sl_conntrack_mark_offset(), end = mark + sizeof(uint32_t);

	if ((uint32_t)off != mark) {
		sl_say(env, "no write support to nf_conn at off %d\n", off);
		return -EACCES;
	}
	if ((uint32_t)off + size <= end)
		return 0;
	sl_say(env,
		"write access at off %d with size %u beyond the member of nf_conn ended at %u\n",
		off, size, end);
	return -EACCES;
}

int sl_conn_check_access(
	struct sl_env *env, unsigned regno, int32_t off, uint32_t size, enum sl_access access)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	struct sl_btf_walk walk = { .env = env, .off = (uint32_t)off, .size = size };
	uint32_t type_id;
	char tnum[64];
	int found;

	if (off < 0) {
		sl_say(env, "R%u is ptr_%s invalid negative access: off=%d\n", regno,
			sl_conn_type_name(reg), off);
		return -EACCES;
	}
	if (!sl_tnum_is_const(reg->var_off) || reg->var_off.value) {
		sl_print_tnum(tnum, sizeof(tnum), reg->var_off);
		sl_say(env, "R%u is ptr_%s invalid variable offset: off=%d, var_off=%s\n", regno,
			sl_conn_type_name(reg), off, tnum);
		return -EACCES;
	}
	if (access == SL_WRITE)
		return refuse_write(env, off, size);
	/* Whatever the members say, nothing outside of the object. */
	if ((uint64_t)(uint32_t)off + size > sl_conntrack_size()) {
		sl_say(env, "access beyond struct %s at off %u size %u\n", sl_conn_type_name(reg),
			(uint32_t)off, size);
		return -EACCES;
	}
	walk.btf = sl_conntrack_btf(&type_id);
	found = sl_btf_walk(&walk, type_id);
	/* What it points to is not there, so that a pointer is a number like others. */
	return found < 0 ? found : 0;
}

static int check_offset(struct sl_env *env, unsigned regno)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	if (!reg->off)
		return sl_check_plain_pointer(env, reg, regno);
	sl_say(env,
		"R%u must have zero offset when passed to release func or trusted arg to kfunc\n",
		regno);
	return -EINVAL;
}

int sl_kfunc_check_conn(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_helper *call = &args->kfunc->call;
	const struct sl_reg *reg = sl_env_reg(env, regno);
	uint32_t wanted =
		call->args[regno - 1] == SL_ARG_CONN_INIT ? SL_CONN_INIT : SL_CONN_INSERTED;
	int err;

	if (sl_reg_is_zero(reg) || sl_reg_maybe_null(reg)) {
		sl_say(env, "Possibly NULL pointer passed to trusted arg%u\n", regno - 1);
		return -EACCES;
	}
	if (reg->type != SL_REG_CONN) {
		sl_say(env,
			"arg#%u pointer type STRUCT %s must point to scalar, or struct with "
			"scalar\n",
			regno - 1, names[wanted]);
		return -EINVAL;
	}
	err = check_offset(env, regno);
	if (err)
		return err;
	if (reg->conn != wanted) {
		sl_say(env,
			"kernel function %s args#%u expected pointer to STRUCT %s but R%u has a "
			"pointer to STRUCT %s\n",
			call->name, regno - 1, names[wanted], regno, names[reg->conn]);
		return -EINVAL;
	}
	args->conn_ref = reg->ref_id;
	return 0;
}

int sl_kfunc_conn_call(struct sl_env *env, const struct sl_kfunc_args *args)
{
	if (!args->conn_ref || !(args->kfunc->call.flags & SL_HELPER_RELEASES))
		return 0;
	return sl_release(env, args->conn_ref);
}

bool sl_kfunc_gives_conn(const struct sl_kfunc *kfunc)
{
	return kfunc->call.ret == SL_RET_CONN_OR_NULL ||
	       kfunc->call.ret == SL_RET_CONN_INIT_OR_NULL;
}

int sl_kfunc_set_conn(struct sl_env *env, const struct sl_kfunc_args *args)
{
	struct sl_reg *r0 = sl_env_reg(env, BPF_REG_0);
	int err = sl_conntrack_prepare();

	if (err) {
		sl_say(env,
			"kernel function %s is not available: the kernel's struct nf_conn is "
			"not as known\n",
			args->kfunc->call.name);
		return err == -ENOMEM ? err : -EINVAL;
	}
	sl_reg_set_pointer(r0, SL_REG_CONN);
	r0->flags = SL_REG_OR_NULL;
	r0->conn =
		args->kfunc->call.ret == SL_RET_CONN_INIT_OR_NULL ? SL_CONN_INIT : SL_CONN_INSERTED;
	r0->id = r0->ref_id = ++env->next_id;
	return sl_state_add_ref(env->cur, r0->ref_id, env->insn);
}
