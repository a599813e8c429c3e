#include "env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kfunc_call.h"
#include "prog.h"
#include "prog_type.h"

/*
 * The main loop: executes one path to its end, then takes up the branch that was left open last.
 * A path ends at the main program's exit, or where a kept state covers it. The number of
 * instructions over all paths is bounded, which is what bounds loops.
 */

int sl_explore_push(struct sl_env *env, uint32_t insn, struct sl_state **ret_state)
{
	struct sl_pending *pending;

	if (env->pending_count == SL_MAX_PENDING) {
		sl_say(env, "The sequence of %u jumps is too complex.\n", env->pending_count + 1);
		return -EFAULT;
	}
	pending = malloc(sizeof(*pending));
	if (!pending)
		return -ENOMEM;
	pending->state = sl_state_copy(env->cur, true);
	if (!pending->state) {
		free(pending);
		return -ENOMEM;
	}
	pending->insn = insn;
	pending->prev_insn = env->insn;
	pending->async = false;
	pending->log_pos = env->log.end_pos;
	pending->next = env->pending;
	env->pending = pending;
	env->pending_count++;
	if (pending->state->parent)
		pending->state->parent->branches++;
	*ret_state = pending->state;
	return 0;
}

int sl_explore_push_async(struct sl_env *env, struct sl_state *state)
{
	struct sl_pending *pending;

	if (env->pending_count > SL_MAX_PENDING) {
		sl_say(env, "The sequence of %u jumps is too complex for async cb.\n",
			env->pending_count);
		sl_state_free(state);
		return -E2BIG;
	}
	pending = calloc(1, sizeof(*pending));
	if (!pending) {
		sl_state_free(state);
		return -ENOMEM;
	}
	pending->state = state;
	pending->insn = state->first_insn;
	pending->prev_insn = env->insn;
	pending->async = true;
	pending->log_pos = env->log.end_pos;
	pending->next = env->pending;
	env->pending = pending;
	env->pending_count++;
	return 0;
}

/* False when nothing is left to explore. */
static bool pop(struct sl_env *env)
{
	struct sl_pending *pending = env->pending;

	sl_state_free(env->cur);
	env->cur = NULL;
	if (!pending)
		return false;
	env->cur = pending->state;
	env->insn = pending->insn;
	env->from_insn = pending->prev_insn;
	env->prev_insn = pending->async ? SL_NO_INSN : pending->prev_insn;
	/* At level 1 the log shows the path that fails, not those that went well. */
	if (!(env->log_level & 2))
		sl_vlog_reset(&env->log, pending->log_pos);
	env->pending = pending->next;
	env->pending_count--;
	free(pending);
	return true;
}

static int check_leaks(struct sl_env *env, const char *what, bool held_by_any)
{
	bool leaks = false;

	for (uint32_t i = 0; held_by_any && i < env->cur->ref_count; i++) {
		if (env->cur->refs[i].irq)
			continue;
		sl_say(env, "Unreleased reference id=%u alloc_insn=%u\n", env->cur->refs[i].id,
			env->cur->refs[i].insn);
		leaks = true;
	}
	if (!leaks) {
		int err = sl_check_unlocked(env, what);

		return err ? err : sl_check_sections(env, what);
	}
	sl_say(env, "%s would lead to reference leak\n", what);
	return -EINVAL;
}

int sl_explore_check_leaks(struct sl_env *env, const char *what)
{
	/* A function that ends early returns to its caller, which may still give back what is held. */
	return check_leaks(env, what, !env->cur->cur_frame);
}

int sl_explore_check_all_leaks(struct sl_env *env, const char *what)
{
	return check_leaks(env, what, true);
}

int sl_explore_return(struct sl_env *env)
{
	struct sl_frame *callee = sl_env_frame(env), *caller;
	const struct sl_state *before;
	const struct sl_reg *r0 = &callee->regs[BPF_REG_0];
	bool again;
	int err;

	if (r0->type == SL_REG_STACK) {
		sl_say(env, "cannot return stack pointer to the caller\n");
		return -EINVAL;
	}
	caller = env->cur->frames[env->cur->cur_frame - 1];
	again = callee->in_callback;
	if (again) {
		err = sl_callback_return(env, callee);
		if (err)
			return err;
	} else {
		caller->regs[BPF_REG_0] = *r0;
	}
	env->insn = again ? callee->callsite : callee->callsite + 1;
	if (env->log_level) {
		sl_say(env, "returning from callee:\n");
		sl_print_state(env, env->cur, env->cur->cur_frame, true);
		sl_say(env, "to caller at %u:\n", env->insn);
		sl_print_state(env, env->cur, env->cur->cur_frame - 1, true);
	}
	sl_slice_leave_frame(env);
	sl_state_leave(env->cur);
	before = again ? sl_prune_previous(env, env->insn, env->cur->depth) : NULL;
	if (before)
		sl_loops_widen(env, before, env->cur);
	return 0;
}

int sl_explore_early_return(struct sl_env *env, bool zero, uint32_t *ret_next)
{
	struct sl_state *goes_on;
	int err;

	if (!env->cur->cur_frame)
		return 0;
	err = sl_explore_push(env, env->insn + 1, &goes_on);
	if (err)
		return err;
	if (zero) {
		sl_reg_set_const(sl_env_reg(env, BPF_REG_0), 0);
	} else {
		/* Another program ran in between. */
		sl_state_forget_packet(env->cur);
		sl_mark_unknown(env, BPF_REG_0);
	}
	env->dirty_regs |= 1u << BPF_REG_0;
	err = sl_explore_return(env);
	*ret_next = env->insn;
	return err;
}

static bool is_packet_load(const struct bpf_insn *insn)
{
	return BPF_CLASS(insn->code) == BPF_LD &&
	       (BPF_MODE(insn->code) == BPF_ABS || BPF_MODE(insn->code) == BPF_IND);
}

static int check_packet_load(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_next)
{
	const struct sl_reg *r6 = sl_env_reg(env, BPF_REG_6);
	int err;

	err = sl_check_read(env, BPF_REG_6);
	if (!err)
		err = sl_explore_check_leaks(env, "BPF_LD_[ABS|IND]");
	if (err)
		return err;
	if (r6->type != SL_REG_CTX) {
		sl_say(env, "at the time of BPF_LD_ABS|IND R6 != pointer to skb\n");
		return -EINVAL;
	}
	if (BPF_MODE(insn->code) == BPF_IND) {
		err = sl_check_read(env, insn->src_reg);
		if (err)
			return err;
	}
	err = sl_check_plain_pointer(env, r6, BPF_REG_6);
	if (err)
		return err;
	for (unsigned i = BPF_REG_0; i <= BPF_REG_5; i++) {
		memset(sl_env_reg(env, i), 0, sizeof(struct sl_reg));
		env->dirty_regs |= 1u << i;
	}
	sl_mark_unknown(env, BPF_REG_0);
	return sl_explore_early_return(env, true, ret_next);
}

/* 1: the path is at its end. */
static int check_exit(struct sl_env *env, bool *ret_show)
{
	int err;

	if (env->cur->cur_frame) {
		*ret_show = true;
		return sl_explore_return(env);
	}
	err = sl_explore_check_leaks(env, "BPF_EXIT instruction in main prog");
	if (!err)
		err = sl_check_read(env, BPF_REG_0);
	if (!err)
		err = sl_env_frame(env)->in_async ? sl_callback_check_async_result(env, BPF_REG_0)
						  : sl_global_check_result(env);
	return err ? err : 1;
}

static bool is_comparison(const struct bpf_insn *insn)
{
	uint8_t class = BPF_CLASS(insn->code), op = BPF_OP(insn->code);

	return (class == BPF_JMP || class == BPF_JMP32) && op != BPF_JA && op != BPF_CALL &&
	       op != BPF_EXIT && op <= BPF_JSLE;
}

static int execute(struct sl_env *env, const struct bpf_insn *insn, bool *ret_show)
{
	uint32_t next = env->insn + 1;
	int err;

	/* Said before anything else that may be wrong with it. */
	if (is_packet_load(insn) && !env->type->ld_abs) {
		sl_say(env, "BPF_LD_[ABS|IND] instructions not allowed for this program type\n");
		return -EINVAL;
	}
	/* Nor does it come to the rest of a comparison when the first operand is not there. */
	err = is_comparison(insn) ? sl_check_read(env, insn->dst_reg) : 0;
	if (!err)
		err = sl_insn_check(&env->log, insn);
	if (err)
		return err;
	switch (BPF_CLASS(insn->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		err = sl_check_alu(env, insn);
		break;
	case BPF_LDX:
	case BPF_STX:
	case BPF_ST:
		err = sl_check_load_store(env, insn);
		break;
	case BPF_LD:
		if (sl_insn_is_ld_imm64(insn)) {
			err = sl_maps_check_ld_imm64(env, insn);
			next = env->insn + 2;
		} else {
			err = check_packet_load(env, insn, &next);
		}
		break;
	default:
		env->jumps_processed++;
		if (BPF_OP(insn->code) == BPF_EXIT)
			return check_exit(env, ret_show);
		if (sl_insn_is_may_goto(insn))
			err = sl_check_may_goto(env, insn, &next);
		else if (BPF_OP(insn->code) == BPF_CALL)
			err = sl_check_call(env, insn, &next);
		else if (BPF_OP(insn->code) == BPF_JA)
			next += BPF_CLASS(insn->code) == BPF_JMP32 ? insn->imm : insn->off;
		else
			err = sl_check_branch(env, insn, &next);
	}
	if (!err)
		env->insn = next;
	return err;
}

static void print_insn(struct sl_env *env)
{
	uint64_t begin;

	if (!env->log_level)
		return;
	if (env->dirty_regs || env->dirty_slots)
		sl_print_changes(env);
	sl_print_source(env, env->insn);
	begin = env->log.end_pos;
	sl_say(env, "%u: ", env->insn);
	sl_vlog_insn(&env->log, env->prog, env->insn);
	env->prev_insn_chars = (uint32_t)(env->log.end_pos - begin);
	env->prev_log_pos = env->log.end_pos;
}

static uint32_t from_insn(const struct sl_env *env)
{
	return env->prev_insn == SL_NO_INSN ? env->from_insn : env->prev_insn;
}

static void print_safe(struct sl_env *env, bool show)
{
	if (!env->log_level)
		return;
	if (show)
		sl_say(env, "\nfrom %u to %u: safe\n", from_insn(env), env->insn);
	else
		sl_say(env, "%u: safe\n", env->insn);
}

/* 1: the path is at its end. */
static int step(struct sl_env *env, bool *show)
{
	uint8_t flags = env->cfg->insns[env->insn].flags;
	uint32_t this_insn = env->insn;
	int err;

	env->jump_entry = -1;
	if (++env->processed > SL_MAX_INSNS_PROCESSED) {
		sl_say(env, "BPF program is too large. Processed %u insn\n", env->processed);
		return -E2BIG;
	}
	env->cur->last_insn = env->prev_insn;
	env->cur->insn = env->insn;
	if (flags & SL_CFG_PRUNE_POINT) {
		err = sl_prune_visit(env);
		if (err == 1)
			print_safe(env, *show);
		if (err)
			return err;
	}
	if (flags & SL_CFG_JUMP_POINT) {
		err = sl_jump_push(env, 0, 0, 0, NULL, 0);
		if (err)
			return err;
	}
	if ((env->log_level & 2) && *show) {
		sl_say(env, "\nfrom %u to %u:", from_insn(env), env->insn);
		sl_print_state(env, env->cur, env->cur->cur_frame, true);
	}
	*show = false;
	print_insn(env);
	env->facts->insns[this_insn].flags |= SL_INSN_SEEN;
	err = execute(env, &env->prog->insns[this_insn], show);
	env->prev_insn = this_insn;
	return err;
}

int sl_explore(struct sl_env *env)
{
	bool show = false;
	int err;

	sl_print_touch_all(env);
	for (;;) {
		err = step(env, &show);
		if (err < 0)
			return err;
		if (!err)
			continue;
		sl_print_touch_all(env);
		err = sl_prune_path_done(env, env->cur);
		if (err)
			return err;
		if (!pop(env))
			return 0;
		show = true;
	}
}
