#include "exceptions.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "btf.h"
#include "env.h"
#include "kfunc.h"
#include "prog.h"

/*
 * bpf_throw ends the program from wherever it is: all frames go at once, up to the main program's
 * (which a tail call or a replaced function has of its own), and what the program returns is the
 * number that was thrown, or what the function makes of it that a declaration tag of the program
 * names. So nothing may be held in any frame. A callback does not throw, nor does what it calls: the
 * helper above it would not know.
 */

#define KEY "exception_callback:"

/* The function's name behind the tag; -ENOENT without one. */
static int find_tag(const struct btf *btf, uint32_t main_id, const char **ret_name)
{
	uint32_t count = btf__type_cnt(btf);
	int err = -ENOENT;

	for (uint32_t id = 1; id < count; id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);
		const char *name;

		if (!btf_is_decl_tag(type) || type->type != main_id ||
			btf_decl_tag(type)->component_idx != -1)
			continue;
		name = btf__name_by_offset(btf, type->name_off);
		if (!name || strncmp(name, KEY, strlen(KEY)) != 0)
			continue;
		if (!err)
			return -EEXIST;
		*ret_name = name + strlen(KEY);
		err = 0;
	}
	return err;
}

/* Where in the program the function of a type begins; 0 when it is not in func_info. */
static uint32_t start_of(const struct sl_prog *prog, uint32_t type_id)
{
	for (uint32_t i = 1; i < prog->func_info_count; i++)
		if (prog->func_info[i].type_id == type_id)
			return prog->func_info[i].insn_off;
	return 0;
}

int sl_exceptions_find(
	const struct sl_prog *prog, char reason[SL_EXCEPTION_REASON_LEN], uint32_t *ret_insn)
{
	const struct btf *btf = prog->btf->btf;
	const char *name = NULL, *why = NULL;
	int err = find_tag(btf, prog->func_info[0].type_id, &name), id;

	*ret_insn = 0;
	if (err == -ENOENT)
		return 0;
	if (err) {
		snprintf(reason, SL_EXCEPTION_REASON_LEN,
			"multiple exception callback tags for main subprog");
		return err;
	}
	id = btf__find_by_name_kind(btf, name, BTF_KIND_FUNC);
	if (id < 0) {
		snprintf(reason, SL_EXCEPTION_REASON_LEN,
			"exception callback '%s' could not be found in BTF", name);
		return -ENOENT;
	}
	if (btf_vlen(btf__type_by_id(btf, (uint32_t)id)) != BTF_FUNC_GLOBAL) {
		snprintf(reason, SL_EXCEPTION_REASON_LEN,
			"exception callback '%s' must have global linkage", name);
		return -EINVAL;
	}
	*ret_insn = start_of(prog, (uint32_t)id);
	if ((uint32_t)id == prog->func_info[0].type_id)
		why = "invalid exception callback insn_off in func_info: 0";
	else if (!*ret_insn)
		why = "exception callback type id not found in func_info";
	if (why)
		snprintf(reason, SL_EXCEPTION_REASON_LEN, "%s", why);
	return why ? -EINVAL : 0;
}

int sl_exceptions_check_call(struct sl_env *env, uint32_t insn, uint32_t func)
{
	if (env->cfg->exception_func < 0 || (uint32_t)env->cfg->exception_func != func ||
		!sl_insn_is_local_call(&env->prog->insns[insn]))
		return 0;
	sl_say(env, "insn %u cannot call exception cb directly\n", insn);
	return -EINVAL;
}

int sl_exceptions_check_throw(struct sl_env *env)
{
	/* Without a function of its own the program returns what is thrown. */
	if (env->cfg->exception_func >= 0 || !env->cur->frames[0]->in_async)
		return 0;
	return sl_callback_check_async_result(env, BPF_REG_1);
}

/* The search for a call of bpf_throw below a callback. */
struct search {
	struct sl_env *env;
	bool seen[SL_CFG_MAX_FUNCS + 1][2]; /* from outside of callbacks, from within */
};

static bool throws(const struct bpf_insn *insn)
{
	const struct sl_kfunc *kfunc = sl_insn_is_kfunc_call(insn) && !insn->off
					       ? sl_kfunc_peek((uint32_t)insn->imm)
					       : NULL;

	return kfunc && (kfunc->flags & SL_KFUNC_THROWS);
}

/* As deep as there are functions, twice. */
static int search(struct search *s, uint32_t func, bool in_callback)
{
	struct sl_env *env = s->env;
	int err = 0;

	in_callback |= env->is_async[func] || env->is_callback[func] ||
		       (int)func == env->cfg->exception_func;
	if (s->seen[func][in_callback])
		return 0;
	s->seen[func][in_callback] = true;
	for (uint32_t i = env->cfg->funcs[func].start; !err && i < env->cfg->funcs[func].end; i++) {
		const struct bpf_insn *insn = &env->prog->insns[i];
		int callee = -1;

		if (throws(insn) && in_callback) {
			sl_say(env,
				"bpf_throw kfunc (insn %u) cannot be called from callback subprog "
				"%u\n",
				i, func);
			return -EINVAL;
		}
		if (sl_insn_is_local_call(insn) || sl_insn_is_func_address(insn))
			callee = sl_cfg_func_at(env->cfg, i + (uint32_t)insn->imm + 1);
		if (callee < 0 || (env->is_async[callee] && !env->is_callback[callee] &&
					  !sl_insn_is_local_call(insn)))
			continue;
		err = search(s, (uint32_t)callee, in_callback);
	}
	return err;
}

int sl_exceptions_check_callbacks(struct sl_env *env)
{
	struct search *s = calloc(1, sizeof(*s));
	int err = 0;

	if (!s)
		return -ENOMEM;
	s->env = env;
	for (uint32_t i = env->cfg->func_count; !err && i-- > 0;)
		if (!i || env->is_async[i] || (int)i == env->cfg->exception_func)
			err = search(s, i, false);
	free(s);
	return err;
}
