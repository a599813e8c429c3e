#include "env.h"

#include <errno.h>

/* Registers as operands of the instruction that is executed. */

int sl_check_read(struct sl_env *env, unsigned regno)
{
	env->dirty_regs |= 1u << regno;
	if (sl_env_reg(env, regno)->type != SL_REG_NOT_INIT)
		return 0;
	sl_say(env, "R%u !read_ok\n", regno);
	return -EACCES;
}

int sl_check_write(struct sl_env *env, unsigned regno)
{
	env->dirty_regs |= 1u << regno;
	if (regno != BPF_REG_10)
		return 0;
	sl_say(env, "frame pointer is read only\n");
	return -EACCES;
}

void sl_mark_unknown(struct sl_env *env, unsigned regno)
{
	sl_reg_set_unknown(sl_env_reg(env, regno));
}

/*
 * Before a scalar is copied: both copies carry one id, so that what a comparison teaches about one
 * holds for the other. A scalar that is itself "another plus a constant" starts a new family.
 */
void sl_assign_id(struct sl_env *env, struct sl_reg *reg)
{
	if (reg->type != SL_REG_SCALAR)
		return;
	if (reg->id & SL_ID_ADD_CONST) {
		reg->id = 0;
		reg->off = 0;
	}
	if (!reg->id && !sl_tnum_is_const(reg->var_off))
		reg->id = ++env->next_id;
}
