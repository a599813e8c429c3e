#include "verifier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "btf.h"
#include "kfunc_call.h"
#include "env.h"
#include "extension.h"
#include "fastcall.h"
#include "map.h"
#include "memory.h"
#include "local_type.h"
#include "prog.h"
#include "prog_array.h"
#include "prog_type.h"
#include "sig.h"

/*
 * The order of the passes: structure first, then every path from the first instruction, then those of
 * the global functions that are called, then what can be said only of the whole program. Messages and errno are the kernel's.
 */

#define LOG_STATS 4 /* BPF_LOG_STATS of the kernel */

static int check_extension(struct sl_env *env)
{
	const struct sl_func_fact first = {
		.changes_packet = env->cfg->funcs[0].changes_packet,
		.might_sleep = env->cfg->funcs[0].might_sleep,
	};
	const struct sl_prog *prog = env->prog;

	return sl_extension_check(
		&env->log, prog, &first, prog->target, prog->target_btf_id, &env->extended_func);
}

static int check_structure(struct sl_env *env)
{
	int err = sl_kfuncs_check(env->prog, &env->log);

	if (!err)
		err = sl_cfg_find_funcs(env->cfg, &env->log);

	if (!err)
		err = sl_cfg_check_returns(env->cfg, &env->log);
	if (!err)
		err = sl_facts_new(env);
	if (!err)
		err = sl_sigs_new(env);
	/* It is verified whether something calls it or not. */
	if (!err && env->cfg->exception_func >= 0)
		env->sigs[env->cfg->exception_func].called = true;
	if (!err)
		err = sl_cfg_check_insns(env->cfg, &env->log, sl_maps_resolve, env);
	if (!err)
		err = sl_cfg_walk(env->cfg, &env->log);
	if (!err && env->prog->type == BPF_PROG_TYPE_EXT)
		err = check_extension(env);
	if (!err)
		err = sl_cfg_analyse(env->cfg, &env->log);
	if (!err)
		err = sl_fastcall_find(env);
	return err;
}

/* Its first function is called as the one is that it replaces. */
static int begin_extension(struct sl_env *env, struct sl_frame *frame)
{
	const struct sl_sig *sig = &env->sigs[0];
	int err = sl_global_set_arguments(env, 0, frame);

	return err ? err
		   : sl_extension_check_args(&env->log, sig->args, sig->arg_count,
			     env->prog->target, env->extended_func);
}

static int begin(struct sl_env *env, uint32_t func)
{
	struct sl_frame *frame;

	env->cur = sl_state_new();
	if (!env->cur)
		return -ENOMEM;
	env->cur->branches = 1;
	env->cur->first_insn = env->insn = env->cfg->funcs[func].start;
	env->prev_insn = SL_NO_INSN;
	env->prev_line = NULL;
	frame = sl_state_enter(env->cur, func, SL_MAIN_CALLSITE, ++env->next_instance);
	if (!frame)
		return -ENOMEM;
	if (func)
		return sl_global_set_arguments(env, func, frame);
	if (env->prog->type == BPF_PROG_TYPE_EXT)
		return begin_extension(env, frame);
	sl_global_check_main(env);
	sl_reg_set_pointer(&frame->regs[BPF_REG_1], SL_REG_CTX);
	return 0;
}

int sl_explore_function(struct sl_env *env, uint32_t func)
{
	int err = begin(env, func);

	if (!err)
		err = sl_explore(env);
	sl_prune_clear(env);
	if (!err && !(env->log_level & 2))
		sl_vlog_reset(&env->log, 0);
	return err;
}

static int explore_all(struct sl_env *env)
{
	int err;

	env->kept = calloc(env->prog->insn_count, sizeof(struct sl_kept *));
	env->pointer_kinds = calloc(env->prog->insn_count, 1);
	if (!env->kept || !env->pointer_kinds || sl_loops_new(env))
		return -ENOMEM;
	err = sl_explore_function(env, 0);
	if (!err)
		err = sl_global_verify_called(env);
	return err;
}

static int check_program_maps(struct sl_env *env)
{
	for (uint32_t i = 0; i < env->prog->used_map_count; i++) {
		struct sl_map *map = env->prog->used_maps[i];
		int err;

		if (!map->ops->admit)
			continue;
		err = map->ops->admit(map, env->prog);
		if (err)
			return err;
	}
	return 0;
}

static void print_stats(struct sl_env *env, uint64_t time_ns, bool explored)
{
	if (env->log.user->level & LOG_STATS) {
		sl_say(env, "verification time %llu usec\n", (unsigned long long)time_ns / 1000);
		sl_say(env, "peak memory of states %zu KiB\n", sl_memory_peak() >> 10);
		sl_say(env, "stack depth ");
		for (uint32_t i = 0; i < env->cfg->func_count; i++)
			sl_say(env, "%s%u", i ? "+" : "",
				explored ? sl_fastcall_stack_bytes(env, i) : env->stack_bytes[i]);
		sl_say(env, "\n");
	}
	sl_say(env,
		"processed %u insns (limit %u) max_states_per_insn %u total_states %u "
		"peak_states %u mark_read 0\n",
		env->processed, SL_MAX_INSNS_PROCESSED, env->states_per_insn, env->total_states,
		env->peak_states);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int verify(struct sl_env *env)
{
	uint64_t start_ns = now_ns();
	int err = check_structure(env);
	bool explored;

	if (!err)
		err = explore_all(env);
	explored = !err;
	if (!err)
		err = sl_check_stack_depth(env);
	if (!err)
		err = sl_kfuncs_check_reached(env);
	if (!err)
		err = check_program_maps(env);
	if (err == -ENOMEM && sl_memory_exhausted())
		sl_say(env, "The states to keep need more than %u MiB\n",
			SL_STATE_MEMORY_MAX >> 20);
	env->prog->verified_insns = env->processed;
	env->prog->peak_states = env->peak_states;
	env->prog->peak_state_bytes = sl_memory_peak();
	print_stats(env, now_ns() - start_ns, explored);
	return err;
}

int sl_verify(struct sl_prog *prog, struct sl_log_buf *log)
{
	struct sl_log_buf none = { .buf = NULL };
	struct sl_env *env = calloc(1, sizeof(*env));
	int err, log_err;

	if (!env)
		return -ENOMEM;
	env->prog = prog;
	env->type = sl_prog_type_of(prog->rules_type);
	env->log_level = log ? log->level & 3 : 0;
	sl_memory_begin(SL_STATE_MEMORY_MAX);
	env->strict_alignment =
		(prog->flags & BPF_F_STRICT_ALIGNMENT) && !(prog->flags & BPF_F_ANY_ALIGNMENT);
	env->keep_all = prog->flags & BPF_F_TEST_STATE_FREQ;
	err = sl_vlog_init(&env->log, log ? log : &none);
	if (err) {
		free(env);
		return err;
	}
	err = env->type ? sl_cfg_new(prog, &env->cfg) : -EINVAL;
	if (!err)
		err = verify(env);
	/* A log that does not fit is the error, whatever else is. */
	log_err = sl_vlog_finish(&env->log);
	if (log_err)
		err = log_err;
	if (!err)
		sl_facts_finish(env);
	sl_prune_free(env);
	sl_facts_free(env->facts);
	sl_cfg_free(env->cfg);
	sl_fastcall_free(env);
	free(env->pointer_kinds);
	sl_local_types_free(env);
	free(env->sigs);
	free(env);
	return err;
}
