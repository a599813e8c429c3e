#include "env.h"

#include <errno.h>
#include <stdlib.h>

#include "fastcall.h"
#include "prog.h"

/*
 * How deep calls can go: at most eight frames, 512 bytes of stack over all of them, and 256 in the
 * frames above one that makes a tail call, since a chain of 33 such programs piles up.
 */

#define TAIL_CALL_STACK_BYTES 256

static uint32_t rounded(uint32_t bytes)
{
	return sl_round_up(bytes, 16u);
}

struct walk {
	uint32_t func[SL_MAX_FRAMES]; /* on the way down */
	uint32_t insn[SL_MAX_FRAMES]; /* where the search goes on in each */
	uint32_t frame;
	uint32_t bytes;
	/*
	 * Most bytes above a function, plus one, with which it was searched in each frame. A search
	 * with fewer, no deeper, finds nothing new: without this the ways down a call graph of 256
	 * functions would not end.
	 */
	uint32_t searched[SL_CFG_MAX_FUNCS + 1][SL_MAX_FRAMES];
};

/* It replaces the frames of the program that threw, and begins a chain of its own. */
static bool is_exception_func(const struct sl_env *env, uint32_t func)
{
	return (int)func == env->cfg->exception_func;
}

/* The next local call in the function on top; the callee's number, or -1 when there is none. */
static int next_call(struct sl_env *env, struct walk *walk)
{
	const struct sl_cfg_func *func = &env->cfg->funcs[walk->func[walk->frame]];
	uint32_t *insn = &walk->insn[walk->frame];

	for (; *insn < func->end; ++*insn) {
		const struct bpf_insn *at = &env->prog->insns[*insn];

		if (sl_insn_is_local_call(at) || sl_insn_is_func_address(at)) {
			int callee = sl_cfg_func_at(env->cfg, *insn + at->imm + 1);

			if (callee < 0)
				continue;
			/* A stack of its own, unless a helper calls it right away, too. */
			if ((env->is_async[callee] || is_exception_func(env, (uint32_t)callee)) &&
				!env->is_callback[callee] && !sl_insn_is_local_call(at))
				continue;
			++*insn;
			return callee;
		}
	}
	return -1;
}

static bool is_known(const struct walk *walk, uint32_t func)
{
	for (uint32_t i = walk->frame; i < SL_MAX_FRAMES; i++)
		if (walk->searched[func][i] > walk->bytes)
			return true;
	return false;
}

static int enter(struct sl_env *env, struct walk *walk, uint32_t func)
{
	bool known = is_known(walk, func);

	walk->searched[func][walk->frame] =
		sl_max(walk->searched[func][walk->frame], walk->bytes + 1);
	walk->func[walk->frame] = func;
	walk->insn[walk->frame] = known ? env->cfg->funcs[func].end : env->cfg->funcs[func].start;
	if (walk->frame && env->cfg->funcs[func].has_tail_call &&
		walk->bytes >= TAIL_CALL_STACK_BYTES) {
		sl_say(env,
			"tail_calls are not allowed when call stack of previous frames is %u bytes. "
			"Too large\n",
			walk->bytes);
		return -EACCES;
	}
	walk->bytes += rounded(sl_fastcall_stack_bytes(env, func));
	if (walk->bytes <= SL_STACK_BYTES)
		return 0;
	sl_say(env, "combined stack size of %u calls is %u. Too large\n", walk->frame + 1,
		walk->bytes);
	return -EACCES;
}

static int search(struct sl_env *env, struct walk *walk, uint32_t func)
{
	int err = enter(env, walk, func), callee;

	while (!err) {
		callee = next_call(env, walk);
		if (callee >= 0) {
			err = sl_exceptions_check_call(
				env, walk->insn[walk->frame] - 1, (uint32_t)callee);
			if (err)
				return err;
			if (++walk->frame >= SL_MAX_FRAMES) {
				sl_say(env, "the call stack of %u frames is too deep !\n",
					walk->frame);
				return -E2BIG;
			}
			err = enter(env, walk, (uint32_t)callee);
			continue;
		}
		walk->bytes -= rounded(sl_fastcall_stack_bytes(env, walk->func[walk->frame]));
		if (!walk->frame)
			return 0;
		walk->frame--;
	}
	return err;
}

static int search_from(struct sl_env *env, uint32_t func)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	int err;

	if (!walk)
		return -ENOMEM;
	err = search(env, walk, func);
	free(walk);
	return err;
}

int sl_check_stack_depth(struct sl_env *env)
{
	int err = 0;

	for (uint32_t i = env->cfg->func_count; !err && i-- > 0;) {
		if (env->is_async[i] && env->cfg->funcs[i].has_tail_call) {
			sl_say(env, "verifier bug: subprog has tail_call and async cb\n");
			return -EFAULT;
		}
		if (!i || env->is_async[i] || is_exception_func(env, i))
			err = search_from(env, i);
	}
	return err ? err : sl_exceptions_check_callbacks(env);
}
