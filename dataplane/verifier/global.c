#include <errno.h>
#include <stdlib.h>

#include "env.h"
#include "prog.h"
#include "sig.h"

/*
 * Global functions. A call of one is checked against its declaration and not followed: its result
 * is any number, and whatever it may write is unknown afterwards. The function itself is explored
 * once, with arguments of which only the declaration is known, if some path calls it. So what is
 * noted of its instructions holds for every caller, also for those that another program brings.
 */

static int check_memory(struct sl_env *env, unsigned regno, const struct sl_sig_arg *arg)
{
	struct sl_reg *reg = sl_env_reg(env, regno), saved = *reg;
	bool maybe_null = sl_reg_maybe_null(reg);
	int err;

	if (sl_reg_is_zero(reg)) {
		/* No other number may stand in for it. */
		err = sl_mark_precise(env, regno);
		maybe_null = true;
	} else {
		reg->flags &= (uint16_t)~SL_REG_OR_NULL;
		err = sl_check_helper_mem(env, regno, arg->size_bytes, SL_READ, true, NULL);
		if (!err)
			err = sl_check_helper_mem(
				env, regno, arg->size_bytes, SL_WRITE, true, NULL);
		*reg = saved;
	}
	if (err)
		return err == -ENOMEM ? err : -EINVAL;
	if (arg->or_null || !maybe_null)
		return 0;
	sl_say(env, "arg#%u is expected to be non-NULL\n", regno - BPF_REG_1);
	return -EINVAL;
}

static int check_dynptr(struct sl_env *env, unsigned regno)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	struct sl_call_meta meta = { 0 };
	struct sl_helper none = { 0 };

	meta.helper = &none;
	if (reg->type == SL_REG_STACK || reg->type == SL_REG_DYNPTR)
		return sl_dynptr_check_arg(env, regno, SL_ARG_DYNPTR, &meta);
	sl_say(env, "arg#%u expected pointer to stack or const struct bpf_dynptr\n",
		regno - BPF_REG_1);
	return -EINVAL;
}

static int check_arg(struct sl_env *env, unsigned regno, const struct sl_sig_arg *arg)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err;

	if (arg->kind == SL_SIG_SCALAR) {
		if (reg->type == SL_REG_SCALAR)
			return 0;
		sl_say(env, "R%u is not a scalar\n", regno);
		return -EINVAL;
	}
	err = sl_check_argument_offset(env, regno);
	if (err)
		return err;
	if (arg->kind == SL_SIG_DYNPTR)
		return check_dynptr(env, regno);
	if (arg->kind == SL_SIG_MEM)
		return check_memory(env, regno, arg);
	if (reg->type == SL_REG_CTX && !sl_reg_maybe_null(reg))
		return 0;
	sl_say(env, "arg#%u expects pointer to ctx\n", regno - BPF_REG_1);
	return -EINVAL;
}

/* The registers go with the declaration. What does not is not asked again. */
static int check_args(struct sl_env *env, uint32_t func)
{
	struct sl_sig *sig = &env->sigs[func];
	int err;

	if (!env->prog->func_info_count || sig->unreliable)
		return -EINVAL;
	err = sl_sig_resolve(env, func);
	for (unsigned i = 0; !err && i < sig->arg_count; i++)
		err = check_arg(env, BPF_REG_1 + i, &sig->args[i]);
	if (err)
		sig->unreliable = true;
	return err;
}

/*
 * Memory of the packet that the callee may move: the callee knows only that it is memory, so
 * nothing would take the pointer away from it.
 */
static int check_packet_args(struct sl_env *env, uint32_t func)
{
	const struct sl_sig *sig = &env->sigs[func];

	if (!env->cfg->funcs[func].changes_packet)
		return 0;
	for (unsigned i = 0; i < sig->arg_count; i++) {
		const struct sl_reg *reg = sl_env_reg(env, BPF_REG_1 + i);

		if (!sl_reg_is_packet(reg) && !(reg->flags & SL_REG_PACKET_SLICE))
			continue;
		sl_say(env, "arg#%u points into the packet, which func#%u ('%s') may move\n", i,
			func, sl_sig_name(env, func));
		return -EINVAL;
	}
	return 0;
}

/* It is verified as one that no lock is held for, and might take the same. */
static int refuse_locked(struct sl_env *env)
{
	sl_say(env, "global function calls are not allowed while holding a lock,\n"
		    "use static function instead\n");
	return -EINVAL;
}

static int refuse_sleep(struct sl_env *env)
{
	sl_say(env, "global functions that may sleep are not allowed in non-sleepable context,\n"
		    "i.e., in a RCU/IRQ/preempt-disabled section, or in\n"
		    "a non-sleepable BPF program context\n");
	return -EINVAL;
}

int sl_global_check_call(struct sl_env *env, uint32_t func, bool *ret_done)
{
	struct sl_sig *sig = &env->sigs[func];
	int err = check_args(env, func);

	*ret_done = sig->global;
	if (!sig->global)
		return err == -EFAULT || err == -ENOMEM ? err : 0;
	if (env->cur->lock_owner)
		return refuse_locked(env);
	if (!err && env->cfg->funcs[func].might_sleep)
		err = refuse_sleep(env);
	else if (err)
		sl_say(env, "Caller passes invalid args into func#%u ('%s')\n", func,
			sl_sig_name(env, func));
	if (!err)
		err = check_packet_args(env, func);
	if (err)
		return err;
	sl_say(env, "Func#%u ('%s') is global and assumed valid.\n", func, sl_sig_name(env, func));
	if (env->cfg->funcs[func].changes_packet)
		sl_state_forget_packet(env->cur);
	sig->called = true;
	return 0;
}

static void set_argument(struct sl_env *env, struct sl_reg *reg, const struct sl_sig_arg *arg)
{
	switch (arg->kind) {
	case SL_SIG_CTX:
		sl_reg_set_pointer(reg, SL_REG_CTX);
		break;
	case SL_SIG_DYNPTR:
		sl_reg_set_pointer(reg, SL_REG_DYNPTR);
		reg->dynptr = SL_DYNPTR_ANY;
		reg->id = reg->dynptr_id = ++env->next_id;
		break;
	case SL_SIG_MEM:
		sl_reg_set_pointer(reg, SL_REG_MEM);
		reg->mem_size = arg->size_bytes;
		reg->flags = arg->or_null ? SL_REG_OR_NULL : 0;
		reg->id = ++env->next_id;
		break;
	default:
		sl_reg_set_unknown(reg);
	}
}

int sl_global_set_arguments(struct sl_env *env, uint32_t func, struct sl_frame *frame)
{
	const struct sl_sig *sig = &env->sigs[func];
	int err;

	sl_say(env, "Validating %s() func#%u...\n", sl_sig_name(env, func), func);
	err = sl_sig_resolve(env, func);
	if (!err && (int)func == env->cfg->exception_func &&
		(sig->arg_count != 1 || sig->args[0].kind != SL_SIG_SCALAR)) {
		sl_say(env, "exception cb only supports single integer argument\n");
		err = -EINVAL;
	}
	for (unsigned i = 0; !err && i < sig->arg_count; i++)
		set_argument(env, &frame->regs[BPF_REG_1 + i], &sig->args[i]);
	return err;
}

int sl_global_check_result(struct sl_env *env)
{
	const struct sl_reg *r0 = sl_env_reg(env, BPF_REG_0);

	if (!sl_env_frame(env)->func || (int)sl_env_frame(env)->func == env->cfg->exception_func ||
		r0->type == SL_REG_SCALAR)
		return 0;
	sl_say(env, "At subprogram exit the register R0 is not a scalar value (%s)\n",
		sl_reg_type_name(r0));
	return -EINVAL;
}

void sl_global_check_main(struct sl_env *env)
{
	struct sl_sig *sig = &env->sigs[0];

	if (!env->prog->func_info_count)
		return;
	if (sl_sig_resolve(env, 0) || sig->arg_count != 1 || sig->args[0].kind != SL_SIG_CTX)
		sig->unreliable = true;
}

/* One call may lead to more: until none is left that was called and not verified. */
int sl_global_verify_called(struct sl_env *env)
{
	bool more = true;

	while (more) {
		more = false;
		for (uint32_t i = 1; i < env->cfg->func_count; i++) {
			struct sl_sig *sig = &env->sigs[i];
			int err;

			if (!sig->called || sig->verified)
				continue;
			err = sl_explore_function(env, i);
			if (err)
				return err;
			sl_say(env,
				"Func#%u ('%s') is safe for any args that match its prototype\n", i,
				sl_sig_name(env, i));
			sig->verified = more = true;
		}
	}
	return 0;
}
