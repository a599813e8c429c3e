#include <bpf/btf.h>
#include <errno.h>
#include <string.h>

#include "btf.h"
#include "env.h"
#include "prog.h"
#include "sig.h"

/*
 * A program may name, in a declaration tag, the function that bpf_throw would go to. Nothing here
 * throws, so the function never runs by itself; what the kernel asks of it is asked all the same.
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

int sl_exceptions_find(struct sl_env *env)
{
	const struct sl_prog *prog = env->prog;
	const struct btf *btf;
	const char *name = NULL;
	int id, err;

	env->exception_func = -1;
	if (!prog->func_info_count)
		return 0;
	btf = prog->btf->btf;
	err = find_tag(btf, prog->func_info[0].type_id, &name);
	if (err == -ENOENT)
		return 0;
	if (err) {
		sl_say(env, "multiple exception callback tags for main subprog\n");
		return err;
	}
	id = btf__find_by_name_kind(btf, name, BTF_KIND_FUNC);
	if (id < 0) {
		sl_say(env, "exception callback '%s' could not be found in BTF\n", name);
		return -ENOENT;
	}
	if (btf_vlen(btf__type_by_id(btf, (uint32_t)id)) != BTF_FUNC_GLOBAL) {
		sl_say(env, "exception callback '%s' must have global linkage\n", name);
		return -EINVAL;
	}
	if ((uint32_t)id == prog->func_info[0].type_id) {
		sl_say(env, "invalid exception callback insn_off in func_info: 0\n");
		return -EINVAL;
	}
	if (!start_of(prog, (uint32_t)id)) {
		sl_say(env, "exception callback type id not found in func_info\n");
		return -EINVAL;
	}
	env->exception_func = sl_cfg_func_at(env->cfg, start_of(prog, (uint32_t)id));
	/* It is verified whether something calls it or not. */
	env->sigs[env->exception_func].called = true;
	return 0;
}

int sl_exceptions_check_call(struct sl_env *env, uint32_t insn, uint32_t func)
{
	if (env->exception_func < 0 || (uint32_t)env->exception_func != func ||
		!sl_insn_is_local_call(&env->prog->insns[insn]))
		return 0;
	sl_say(env, "insn %u cannot call exception cb directly\n", insn);
	return -EINVAL;
}
