#include "kfunc_call.h"

#include <errno.h>
#include <string.h>

#include "conn.h"
#include "local_type.h"
#include "prog.h"
#include "prog_type.h"
#include "row.h"
#include "stack_object.h"

/*
 * Calls of kernel functions. Whether the numbers name functions at all is a question of structure;
 * whether this program may call one, and with what, is asked where a path does.
 */

#define SL_MAX_KFUNC_OFF INT16_MAX

static int refuse(struct sl_log *log, int err, const char *text)
{
	sl_vlog(log, "%s", text);
	return err;
}

/* Modules have their own BTF, and none of them is in this process. */
static int refuse_module(
	const struct sl_prog *prog, struct sl_log *log, const struct bpf_insn *insn)
{
	if (insn->off < 0)
		sl_vlog(log, "negative offset disallowed for kernel module function call\n");
	else if (!prog->fd_array)
		sl_vlog(log, "kfunc offset > 0 without fd_array is invalid\n");
	else
		sl_vlog(log, "BTF fd for kfunc is not a module BTF\n");
	sl_vlog(log, "failed to find BTF for kernel function\n");
	return insn->off > 0 && !prog->fd_array ? -EPROTO : -EINVAL;
}

static int check_number(const struct sl_prog *prog, struct sl_log *log, uint32_t btf_id)
{
	const struct sl_kfunc *kfunc;

	switch (sl_kfunc_find(btf_id, &kfunc)) {
	case SL_KFUNC_NO_BTF:
		return refuse(log, -SL_ENOTSUPP,
			"calling kernel function is not available: the kernel's BTF cannot be "
			"read\n");
	case SL_KFUNC_NOT_A_FUNCTION:
		sl_vlog(log, "kernel btf_id %u is not a function\n", btf_id);
		return -EINVAL;
	case SL_KFUNC_FOUND:
		if (kfunc->flags & SL_KFUNC_DEV_BOUND && !prog->bound_device)
			return refuse(
				log, -EINVAL, "metadata kfuncs require device-bound program\n");
		return 0;
	default:
		return 0;
	}
}

static bool is_known(const uint32_t *ids, unsigned count, uint32_t id)
{
	for (unsigned i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

int sl_kfuncs_check(const struct sl_prog *prog, struct sl_log *log)
{
	uint32_t ids[SL_MAX_KFUNCS];
	unsigned count = 0;

	for (uint32_t i = 0; i < prog->insn_count; i++) {
		const struct bpf_insn *insn = &prog->insns[i];
		int err;

		if (!sl_insn_is_kfunc_call(insn))
			continue;
		if (!prog->gpl_compatible)
			return refuse(log, -EINVAL,
				"cannot call kernel function from non-GPL compatible program\n");
		if (insn->off)
			return refuse_module(prog, log, insn);
		if (!insn->imm || is_known(ids, count, (uint32_t)insn->imm))
			continue;
		if (count == SL_MAX_KFUNCS)
			return refuse(log, -E2BIG, "too many different kernel function calls\n");
		err = check_number(prog, log, (uint32_t)insn->imm);
		if (err)
			return err;
		ids[count++] = (uint32_t)insn->imm;
	}
	return 0;
}

int sl_kfuncs_check_reached(struct sl_env *env)
{
	for (uint32_t i = 0; i < env->prog->insn_count; i++) {
		const struct bpf_insn *insn = &env->prog->insns[i];

		if (!sl_insn_is_kfunc_call(insn) || insn->imm ||
			!(env->facts->insns[i].flags & SL_INSN_SEEN))
			continue;
		return refuse(&env->log, -EINVAL,
			"invalid kernel function call not eliminated in verifier pass\n");
	}
	return 0;
}

static int find(struct sl_env *env, const struct bpf_insn *insn, const struct sl_kfunc **ret_kfunc)
{
	const struct sl_kfunc *kfunc = sl_kfunc_peek((uint32_t)insn->imm);
	char name[128];

	if (!kfunc || !sl_call_permitted(&kfunc->call, env->prog)) {
		sl_kfunc_name((uint32_t)insn->imm, name, sizeof(name));
		sl_say(env, "calling kernel function %s is not allowed\n", name);
		return -EACCES;
	}
	if (kfunc->flags & SL_KFUNC_SLEEPABLE) {
		sl_say(env, "program must be sleepable to call sleepable kfunc %s\n",
			kfunc->call.name);
		return -EACCES;
	}
	if (kfunc->call.unavailable) {
		sl_say(env, "kernel function %s is not available: %s\n", kfunc->call.name,
			kfunc->call.unavailable);
		return -EINVAL;
	}
	*ret_kfunc = kfunc;
	return 0;
}

/* ---- arguments, by kind ---- */

static int check_scalar(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	(void)args;
	if (sl_env_reg(env, regno)->type == SL_REG_SCALAR)
		return 0;
	sl_say(env, "R%u is not a scalar\n", regno);
	return -EINVAL;
}

static int check_iter(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_kfunc *kfunc = args->kfunc;
	const struct sl_reg *reg = sl_env_reg(env, regno);
	uint32_t slots = kfunc->iter_bytes / 8;
	int err = sl_check_argument_offset(env, regno);

	if (err)
		return err;
	if (reg->type != SL_REG_STACK) {
		sl_say(env, "arg#%u expected pointer to an iterator on stack\n", regno - 1);
		return -EINVAL;
	}
	if (kfunc->flags & SL_KFUNC_ITER_NEW)
		return sl_iter_begin(env, regno, kfunc->iter, slots);
	args->frame = reg->frame;
	err = sl_iter_check(env, regno, kfunc->iter, slots, &args->slot);
	if (err)
		return err;
	args->ref_id = sl_env_stack_of(env, reg)->slots[args->slot].reg.ref_id;
	return kfunc->flags & SL_KFUNC_ITER_DESTROY ? sl_iter_end(env, regno, args->slot, slots)
						    : 0;
}

static int check_irq_flag(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	int err = sl_check_argument_offset(env, regno);

	if (err)
		return err;
	if (sl_env_reg(env, regno)->type != SL_REG_STACK) {
		sl_say(env, "arg#%u doesn't point to an irq flag on stack\n", regno - 1);
		return -EINVAL;
	}
	return args->kfunc->flags & SL_KFUNC_IRQ_SAVE ? sl_irq_save(env, regno)
						      : sl_irq_restore(env, regno);
}

static int check_ctx(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	uint32_t types = args->kfunc->ctx_types;
	int err = sl_check_argument_offset(env, regno);

	/* Another kind's context is memory to the kernel, but not to be passed on. */
	if (!err && types && !(types & SL_PROG_BIT(env->prog->rules_type))) {
		sl_say(env, "R%u type=%s expected=fp\n", regno, sl_reg_type_name(reg));
		return -EACCES;
	}
	if (err || (reg->type == SL_REG_CTX && !sl_reg_maybe_null(reg)))
		return err;
	sl_say(env, "arg#%u expected pointer to ctx, but got %s\n", regno - 1,
		sl_reg_type_name(reg));
	return -EINVAL;
}

/* Memory of a known size, for the function to read and write. */
static int check_fixed(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	uint32_t size = args->kfunc->call.fixed_size[regno - BPF_REG_1];
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err;

	if (sl_reg_is_zero(reg) || sl_reg_maybe_null(reg)) {
		sl_say(env, "Possibly NULL pointer passed to trusted arg%u\n", regno - BPF_REG_1);
		return -EACCES;
	}
	err = sl_check_argument_offset(env, regno);
	if (!err)
		err = sl_check_helper_mem(env, regno, size, SL_READ, true, NULL);
	return err ? err : sl_check_helper_mem(env, regno, size, SL_WRITE, true, NULL);
}

/* The memory, or NULL, is looked at with its size, the argument after. */
static int check_pair_memory(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	(void)args;
	if (sl_reg_maybe_null(sl_env_reg(env, regno)))
		return 0;
	return sl_check_argument_offset(env, regno);
}

static int check_map(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);

	(void)args;
	if (reg->type == SL_REG_CONST_MAP && !sl_reg_maybe_null(reg))
		return sl_check_plain_pointer(env, reg, regno);
	if (reg->type == SL_REG_SCALAR || sl_reg_maybe_null(reg))
		sl_say(env, "Possibly NULL pointer passed to trusted arg%u\n", regno - 1);
	else
		sl_say(env, "R%u must be referenced or trusted\n", regno);
	return -EINVAL;
}

static int (*const rules[])(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args) = {
	[SL_ARG_CTX] = check_ctx,
	[SL_ARG_SCALAR] = check_scalar,
	[SL_ARG_MEM_FIXED] = check_fixed,
	[SL_ARG_MAP] = check_map,
	[SL_ARG_DYNPTR] = sl_kfunc_check_dynptr,
	[SL_ARG_DYNPTR_UNINIT] = sl_kfunc_check_dynptr,
	[SL_ARG_ITER] = check_iter,
	[SL_ARG_IRQ_FLAG] = check_irq_flag,
	[SL_ARG_TYPE_ID] = sl_kfunc_check_type_id,
	[SL_ARG_OBJECT] = sl_kfunc_check_object,
	[SL_ARG_REFCOUNTED] = sl_kfunc_check_refcounted,
	[SL_ARG_LIST_HEAD] = sl_kfunc_check_root,
	[SL_ARG_RB_ROOT] = sl_kfunc_check_root,
	[SL_ARG_LIST_NODE] = sl_kfunc_check_node,
	[SL_ARG_RB_NODE] = sl_kfunc_check_node,
	[SL_ARG_RB_NODE_NEW] = sl_kfunc_check_node,
	[SL_ARG_LESS] = sl_kfunc_check_less,
	[SL_ARG_MEM_WRITE] = check_pair_memory,
	[SL_ARG_SIZE_OR_ZERO] = sl_kfunc_check_pair_size,
	[SL_ARG_CONN] = sl_kfunc_check_conn,
	[SL_ARG_CONN_INIT] = sl_kfunc_check_conn,
	[SL_ARG_SLICE_BUFFER] = sl_kfunc_check_buffer,
	[SL_ARG_SLICE_SIZE] = sl_kfunc_check_slice_size,
};

static int check_args(struct sl_env *env, const struct sl_kfunc *kfunc, struct sl_kfunc_args *args)
{
	const struct sl_helper *call = &kfunc->call;
	unsigned count = 0;
	int err;

	*args = (struct sl_kfunc_args){ .kfunc = kfunc, .meta = { .helper = call } };
	if (kfunc->rdonly && !env->type->packet_writable)
		call = kfunc->rdonly;
	while (count < 5 && kfunc->call.args[count] != SL_ARG_NONE)
		count++;
	err = sl_facts_note_call(env, call, count, 0);
	if (!err && (kfunc->flags & SL_KFUNC_THROWS))
		env->facts->calls[env->facts->insns[env->insn].call].throws = true;
	for (unsigned i = 0; !err && i < count; i++)
		if (kfunc->call.args[i] != SL_ARG_ANYTHING)
			err = rules[kfunc->call.args[i]](env, BPF_REG_1 + i, args);
	return err;
}

/* ---- sections ---- */

static int check_rcu(struct sl_env *env, const struct sl_kfunc *kfunc)
{
	struct sl_state *state = env->cur;

	if (kfunc->flags & SL_KFUNC_RCU_LOCK) {
		if (state->rcu_lock) {
			sl_say(env, "nested rcu read lock (kernel function %s)\n",
				kfunc->call.name);
			return -EINVAL;
		}
		state->rcu_lock = true;
	} else if (kfunc->flags & SL_KFUNC_RCU_UNLOCK) {
		if (!state->rcu_lock) {
			sl_say(env, "unmatched rcu read unlock (kernel function %s)\n",
				kfunc->call.name);
			return -EINVAL;
		}
		state->rcu_lock = false;
		sl_state_for_each_reg(state, reg, {
			if (reg->flags & SL_REG_RCU)
				sl_reg_set_unknown(reg);
		});
	}
	return 0;
}

static int check_preempt(struct sl_env *env, const struct sl_kfunc *kfunc)
{
	if (kfunc->flags & SL_KFUNC_PREEMPT_DISABLE) {
		env->cur->preempt_locks++;
	} else if (kfunc->flags & SL_KFUNC_PREEMPT_ENABLE) {
		if (!env->cur->preempt_locks) {
			sl_say(env, "unmatched attempt to enable preemption (kernel function %s)\n",
				kfunc->call.name);
			return -EINVAL;
		}
		env->cur->preempt_locks--;
	}
	return 0;
}

int sl_check_sections(struct sl_env *env, const char *what)
{
	const struct sl_state *state = env->cur;
	const char *section = state->irq_id          ? "bpf_local_irq_save"
			      : state->rcu_lock      ? "bpf_rcu_read_lock"
			      : state->preempt_locks ? "bpf_preempt_disable"
						     : NULL;

	if (!section)
		return 0;
	sl_say(env, "%s cannot be used inside %s-ed region\n", what, section);
	return -EINVAL;
}

static int set_result(struct sl_env *env, const struct sl_kfunc_args *args)
{
	struct sl_reg *r0 = sl_env_reg(env, BPF_REG_0);
	const struct sl_kfunc *kfunc = args->kfunc;

	memset(r0, 0, 6 * sizeof(*r0));
	env->dirty_regs |= 0x3f;
	if (kfunc->call.ret == SL_RET_DYNPTR_MEM_OR_NULL)
		return sl_kfunc_set_slice(env, args);
	if (kfunc->flags & (SL_KFUNC_NEW_OBJECT | SL_KFUNC_SHARES | SL_KFUNC_GIVES_NODE))
		return sl_kfunc_set_object(env, args);
	if (sl_kfunc_gives_conn(kfunc))
		return sl_kfunc_set_conn(env, args);
	if (kfunc->result_size) {
		sl_reg_set_pointer(r0, SL_REG_MEM);
		r0->flags = SL_REG_RDONLY | SL_REG_OR_NULL;
		r0->mem_size = kfunc->result_size;
		r0->ref_id = args->ref_id;
		r0->id = ++env->next_id;
	} else if (kfunc->call.ret != SL_RET_VOID) {
		sl_reg_set_unknown(r0);
	}
	return 0;
}

int sl_check_kfunc_call(struct sl_env *env, const struct bpf_insn *insn)
{
	const struct sl_kfunc *kfunc = NULL;
	struct sl_kfunc_args args;
	int err;

	if (!insn->imm)
		return 0;
	err = find(env, insn, &kfunc);
	if (!err)
		err = check_args(env, kfunc, &args);
	if (!err)
		err = sl_kfunc_object_call(env, &args);
	if (!err)
		err = sl_kfunc_conn_call(env, &args);
	if (!err)
		err = check_rcu(env, kfunc);
	if (!err)
		err = check_preempt(env, kfunc);
	if (!err && (kfunc->flags & SL_KFUNC_THROWS))
		err = sl_exceptions_check_throw(env);
	if (!err)
		err = set_result(env, &args);
	if (err)
		return err;
	if (kfunc->call.flags & SL_HELPER_CHANGES_PACKET)
		sl_state_forget_packet(env->cur);
	if (kfunc->flags & SL_KFUNC_THROWS) {
		err = sl_explore_check_all_leaks(env, "bpf_throw");
		return err ? err : 1;
	}
	return kfunc->flags & SL_KFUNC_ITER_NEXT ? sl_iter_next(env, args.frame, args.slot) : 0;
}
