#include "env.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include <bpf/btf.h>

#include "btf.h"
#include "callback.h"
#include "helper.h"
#include "map.h"
#include "local_type.h"
#include "prog.h"
#include "row.h"

/*
 * Helpers that call a function of the program. The call goes two ways: over it, with the callback
 * done or never called, and into the callback, whose end leads back to the call. So it is called
 * once more from whatever it left behind, until a round adds nothing (loops.c).
 *
 * A helper is a row: which arguments its callback gets, and what it may return.
 */

struct sl_callback {
	uint32_t helper;
	struct sl_return_range returns;
	int (*set_arguments)(struct sl_env *env, const struct sl_call_meta *meta,
		const struct sl_frame *caller, struct sl_frame *callee);
	/* 1 when it may be called once more, 0 when not. NULL: always. */
	int (*again)(struct sl_env *env);
	bool async; /* called later, on its own */
};

static int set_loop_arguments(struct sl_env *env, const struct sl_call_meta *meta,
	const struct sl_frame *caller, struct sl_frame *callee)
{
	sl_reg_set_unknown(&callee->regs[BPF_REG_1]);
	callee->regs[BPF_REG_2] = caller->regs[BPF_REG_3];
	return 0;
}

/* The number of rounds is known: more than that are not explored. */
static int loop_again(struct sl_env *env)
{
	const struct sl_reg *rounds = sl_env_reg(env, BPF_REG_1);
	struct sl_frame *frame = sl_env_frame(env);
	int err = 0;

	if (sl_reg_is_zero(sl_env_reg(env, BPF_REG_4)))
		err = sl_mark_precise(env, BPF_REG_4);
	if (!err)
		err = sl_mark_precise(env, BPF_REG_1);
	if (err)
		return err;
	if (frame->callback_depth < rounds->umax)
		return 1;
	frame->callback_depth = 0;
	if (env->log_level & 2)
		sl_say(env, "frame%u bpf_loop iteration limit reached\n", env->cur->cur_frame);
	return 0;
}

static void set_element(
	struct sl_env *env, struct sl_reg *reg, enum sl_reg_type type, const struct sl_reg *map)
{
	sl_reg_set_pointer(reg, type);
	reg->map = map->map;
	reg->map_uid = map->map_uid;
	/* Two walks of one map, one in the other, hold two locks. */
	if (sl_reg_may_lock(reg))
		reg->id = ++env->next_id;
}

static int set_element_arguments(struct sl_env *env, const struct sl_call_meta *meta,
	const struct sl_frame *caller, struct sl_frame *callee)
{
	const struct sl_reg *map = &caller->regs[BPF_REG_1];

	if (!map->map->ops->for_each) {
		sl_say(env, "callback function not allowed for map\n");
		return -SL_ENOTSUPP;
	}
	callee->regs[BPF_REG_1] = *map;
	set_element(env, &callee->regs[BPF_REG_2], SL_REG_MAP_KEY, map);
	set_element(env, &callee->regs[BPF_REG_3], SL_REG_MAP_VALUE, map);
	callee->regs[BPF_REG_4] = caller->regs[BPF_REG_3];
	return 0;
}

static int set_timer_arguments(struct sl_env *env, const struct sl_call_meta *meta,
	const struct sl_frame *caller, struct sl_frame *callee)
{
	struct sl_reg *map = &callee->regs[BPF_REG_1];

	sl_reg_set_pointer(map, SL_REG_CONST_MAP);
	map->map = meta->map;
	set_element(env, &callee->regs[BPF_REG_2], SL_REG_MAP_KEY, map);
	set_element(env, &callee->regs[BPF_REG_3], SL_REG_MAP_VALUE, map);
	return 0;
}

static int set_sample_arguments(struct sl_env *env, const struct sl_call_meta *meta,
	const struct sl_frame *caller, struct sl_frame *callee)
{
	struct sl_reg *sample = &callee->regs[BPF_REG_1];

	sl_reg_set_pointer(sample, SL_REG_DYNPTR);
	sample->dynptr = SL_DYNPTR_LOCAL;
	sample->id = sample->dynptr_id = ++env->next_id;
	callee->regs[BPF_REG_2] = caller->regs[BPF_REG_3];
	return 0;
}

/* The program's declaration of the tree says what is in it, and where the node is. */
static int set_less_arguments(struct sl_env *env, const struct sl_call_meta *meta,
	const struct sl_frame *caller, struct sl_frame *callee)
{
	int err = sl_object_set_node(env, &callee->regs[BPF_REG_1], meta->root_btf, meta->root);

	if (err)
		return err;
	sl_object_set_non_owning(&callee->regs[BPF_REG_1]);
	callee->regs[BPF_REG_2] = callee->regs[BPF_REG_1];
	return 0;
}

static const struct sl_callback less = { 0, { 0, 1 }, set_less_arguments };

static const struct sl_callback callbacks[] = {
	{ BPF_FUNC_loop, { 0, 1 }, set_loop_arguments, loop_again },
	{ BPF_FUNC_for_each_map_elem, { 0, 1 }, set_element_arguments },
	{ BPF_FUNC_user_ringbuf_drain, { 0, 1 }, set_sample_arguments },
	{ BPF_FUNC_timer_set_callback, { 0, 0 }, set_timer_arguments, .async = true },
};

static const struct sl_callback *callback_of(uint32_t helper)
{
	for (unsigned i = 0; i < sl_array_size(callbacks); i++)
		if (callbacks[i].helper == helper)
			return &callbacks[i];
	return NULL;
}

bool sl_helper_calls_back(uint32_t helper)
{
	const struct sl_callback *callback = callback_of(helper);

	return callback && !callback->async;
}

static int enter(struct sl_env *env, const struct sl_callback *callback,
	const struct sl_call_meta *meta, struct sl_state *state)
{
	struct sl_frame *caller = sl_state_frame(state), *callee;

	if (state->cur_frame + 1 >= SL_MAX_FRAMES) {
		sl_say(env, "the call stack of %u frames is too deep\n", state->cur_frame + 2);
		return -E2BIG;
	}
	callee = sl_state_enter(state, meta->func, env->insn, ++env->next_instance);
	if (!callee)
		return -ENOMEM;
	env->is_callback[meta->func] = true;
	sl_print_touch_all(env);
	callee->in_callback = true;
	callee->returns = callback->returns;
	caller->callback_depth++;
	state->callback_rounds++;
	return callback->set_arguments(env, meta, caller, callee);
}

/* Explored from its beginning with nothing but its arguments: nobody knows what ran before. */
static int enter_async(
	struct sl_env *env, const struct sl_callback *callback, const struct sl_call_meta *meta)
{
	const struct sl_frame *caller = sl_env_frame(env);
	struct sl_state *state = sl_state_new();
	struct sl_frame *callee;

	if (!state)
		return -ENOMEM;
	state->branches = 1;
	state->first_insn = env->cfg->funcs[meta->func].start;
	callee = sl_state_enter(state, meta->func, SL_MAIN_CALLSITE, ++env->next_instance);
	if (!callee) {
		sl_state_free(state);
		return -ENOMEM;
	}
	env->is_async[meta->func] = true;
	sl_print_touch_all(env);
	callee->in_async = true;
	callee->async_entry = caller->async_entry + 1;
	callee->returns = callback->returns;
	callback->set_arguments(env, meta, caller, callee);
	return sl_explore_push_async(env, state);
}

static int call(
	struct sl_env *env, const struct sl_callback *callback, const struct sl_call_meta *meta)
{
	struct sl_state *state;
	int err = callback->again ? callback->again(env) : 1;

	if (err <= 0)
		return err;
	err = sl_explore_push(env, env->cfg->funcs[meta->func].start, &state);
	if (!err)
		err = enter(env, callback, meta, state);
	if (!err)
		sl_env_frame(env)->callback_depth = 0;
	return err;
}

int sl_callback_call(struct sl_env *env, const struct sl_call_meta *meta)
{
	const struct sl_callback *callback = callback_of(meta->helper->id);

	if (!callback)
		return 0;
	return callback->async ? enter_async(env, callback, meta) : call(env, callback, meta);
}

int sl_callback_call_less(struct sl_env *env, const struct sl_call_meta *meta)
{
	return call(env, &less, meta);
}

bool sl_callback_is_less(const struct sl_env *env)
{
	const struct sl_frame *frame = sl_env_frame(env);

	return frame->in_callback && sl_insn_is_kfunc_call(&env->prog->insns[frame->callsite]);
}

static int check_range(struct sl_env *env, const char *what, unsigned regno,
	const struct sl_reg *r0, const struct sl_return_range *range)
{
	if (r0->smin >= range->min && r0->smax <= range->max)
		return 0;
	sl_say(env, "At %s return the register R%u has", what, regno);
	if (r0->smin > INT64_MIN)
		sl_say(env, " smin=%" PRId64, r0->smin);
	if (r0->smax < INT64_MAX)
		sl_say(env, " smax=%" PRId64, r0->smax);
	if (r0->smin == INT64_MIN && r0->smax == INT64_MAX)
		sl_say(env, " unknown scalar value");
	sl_say(env, " should have been in [%d, %d]\n", range->min, range->max);
	return -EINVAL;
}

int sl_callback_return(struct sl_env *env, const struct sl_frame *callee)
{
	const struct sl_reg *r0 = &callee->regs[BPF_REG_0];
	int err;

	if (r0->type != SL_REG_SCALAR) {
		sl_say(env, "R0 not a scalar value\n");
		return -EACCES;
	}
	err = sl_mark_precise(env, BPF_REG_0);
	if (err)
		return err;
	return check_range(env, "callback", BPF_REG_0, r0, &callee->returns);
}

int sl_callback_check_async_result(struct sl_env *env, unsigned regno)
{
	const struct sl_reg *reg = sl_env_reg(env, regno);
	int err;

	if (reg->type != SL_REG_SCALAR) {
		sl_say(env, "At async callback return the register R%u is not a known value (%s)\n",
			regno, sl_reg_type_name(reg));
		return -EINVAL;
	}
	err = sl_mark_precise(env, regno);
	return err ? err
		   : check_range(env, "async callback", regno, reg, &env->cur->frames[0]->returns);
}

int sl_callback_check_address(struct sl_env *env, uint32_t func)
{
	const struct btf_type *type;

	if (!env->prog->func_info_count) {
		sl_say(env, "missing btf func_info\n");
		return -EINVAL;
	}
	type = btf__type_by_id(env->prog->btf->btf, env->prog->func_info[func].type_id);
	if (!type || btf_vlen(type) != BTF_FUNC_STATIC) {
		sl_say(env, "callback function not static\n");
		return -EINVAL;
	}
	return 0;
}
