#include <errno.h>

#include "dynptr.h"
#include "kfunc_call.h"
#include "prog_type.h"

/* Arguments of the kernel functions that work on dynptrs, and the slices that some give. */

int sl_kfunc_check_dynptr(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_helper *call = &args->kfunc->call;
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err = sl_check_argument_offset(env, regno);

	if (err)
		return err;
	if (reg->type != SL_REG_STACK && reg->type != SL_REG_DYNPTR) {
		sl_say(env, "arg#%u expected pointer to stack or const struct bpf_dynptr\n",
			regno - 1);
		return -EINVAL;
	}
	if (call->args[regno - BPF_REG_1] == SL_ARG_DYNPTR)
		return sl_dynptr_check_arg(env, regno, SL_ARG_DYNPTR, &args->meta);
	/* A copy is of the type that the first argument has, and keeps what that does. */
	return sl_dynptr_make(env, regno, call->dynptr ? call->dynptr : args->meta.dynptr_type,
		args->meta.dynptr_ref);
}

int sl_kfunc_check_buffer(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	args->buffer = *sl_env_reg(env, regno);
	return sl_check_argument_offset(env, regno);
}

/* The buffer is read and written, as far as the range of its size goes. */
static int check_buffer_size(struct sl_env *env, unsigned regno)
{
	const struct sl_reg *size = sl_env_reg(env, regno);
	struct sl_reg *buffer = sl_env_reg(env, regno - 1);
	uint16_t flags = buffer->flags;
	int err;

	if (size->smin < 0) {
		sl_say(env, "R%u min value is negative, either use unsigned or 'var &= const'\n",
			regno);
		return -EACCES;
	}
	if (size->umax >= SL_MAX_VAR_SIZE) {
		sl_say(env,
			"R%u unbounded memory access, use 'var &= const' or 'if (var < const)'\n",
			regno);
		return -EACCES;
	}
	buffer->flags &= (uint16_t)~SL_REG_OR_NULL;
	err = sl_check_helper_mem(env, regno - 1, (uint32_t)size->umax, SL_READ, true, NULL);
	if (!err)
		err = sl_check_helper_mem(
			env, regno - 1, (uint32_t)size->umax, SL_WRITE, true, NULL);
	buffer->flags = flags;
	return err;
}

static int check_pair(struct sl_env *env, unsigned regno)
{
	int err = check_buffer_size(env, regno);

	if (err && err != -ENOMEM)
		sl_say(env, "arg#%u arg#%u memory, len pair leads to invalid memory access\n",
			regno - 2, regno - 1);
	return err;
}

int sl_kfunc_check_pair_size(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	int err;

	(void)args;
	if (sl_env_reg(env, regno)->type != SL_REG_SCALAR) {
		sl_say(env, "R%u is not a scalar\n", regno);
		return -EINVAL;
	}
	err = check_pair(env, regno);
	return err ? err : sl_mark_precise(env, regno);
}

int sl_kfunc_check_slice_size(struct sl_env *env, unsigned regno, struct sl_kfunc_args *args)
{
	const struct sl_reg *size = sl_env_reg(env, regno);
	int err;

	/* The kernel takes the two for one argument, and asks for a number only as part of it. */
	if (sl_reg_is_zero(&args->buffer)) {
		err = sl_mark_precise(env, regno - 1);
	} else {
		err = check_pair(env, regno);
	}
	if (err)
		return err;
	if (!sl_reg_is_const(size)) {
		sl_say(env, "R%u must be a known constant\n", regno);
		return -EINVAL;
	}
	args->size = (uint32_t)size->var_off.value;
	return sl_mark_precise(env, regno);
}

int sl_kfunc_set_slice(struct sl_env *env, const struct sl_kfunc_args *args)
{
	struct sl_reg *r0 = sl_env_reg(env, BPF_REG_0);
	uint32_t type = args->meta.dynptr_type;

	sl_reg_set_pointer(r0, SL_REG_MEM);
	r0->flags = SL_REG_OR_NULL;
	r0->mem_size = args->size;
	r0->id = ++env->next_id;
	r0->dynptr_id = args->meta.dynptr_id;
	r0->ref_id = args->meta.dynptr_ref ? args->meta.dynptr_ref : args->buffer.ref_id;
	sl_slice_set_buffer(r0, &args->buffer, args->size);
	if (type == SL_DYNPTR_SKB || type == SL_DYNPTR_XDP || type == SL_DYNPTR_SKB_META ||
		type == SL_DYNPTR_ANY)
		r0->flags |= SL_REG_PACKET_SLICE;
	if (!(args->kfunc->flags & SL_KFUNC_WRITES_PACKET)) {
		r0->flags |= SL_REG_RDONLY;
		return 0;
	}
	if (!env->type->packet_writable) {
		sl_say(env, "the prog does not allow writes to packet data\n");
		return -EINVAL;
	}
	return 0;
}
