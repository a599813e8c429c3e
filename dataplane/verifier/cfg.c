#include "cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "callback.h"
#include "helper.h"
#include "kfunc.h"
#include "log.h"
#include "prog.h"

int sl_cfg_new(const struct sl_prog *prog, struct sl_cfg **ret_cfg)
{
	struct sl_cfg *cfg = calloc(1, sizeof(*cfg));

	if (!cfg)
		return -ENOMEM;
	cfg->prog = prog;
	cfg->exception_func = -1;
	cfg->insns = calloc(prog->insn_count, sizeof(*cfg->insns));
	cfg->postorder = calloc(prog->insn_count, sizeof(*cfg->postorder));
	if (!cfg->insns || !cfg->postorder) {
		sl_cfg_free(cfg);
		return -ENOMEM;
	}
	*ret_cfg = cfg;
	return 0;
}

void sl_cfg_free(struct sl_cfg *cfg)
{
	if (!cfg)
		return;
	free(cfg->insns);
	free(cfg->postorder);
	free(cfg);
}

static bool is_jump(const struct bpf_insn *insn)
{
	uint8_t class = BPF_CLASS(insn->code), op = BPF_OP(insn->code);

	return (class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT;
}

static bool is_goto(const struct bpf_insn *insn)
{
	return is_jump(insn) && BPF_OP(insn->code) == BPF_JA;
}

/* May lie outside of the program until sl_cfg_find_funcs has checked it. */
static int64_t jump_target(const struct bpf_insn *insn, uint32_t index)
{
	bool wide = insn->code == (BPF_JMP32 | BPF_JA);

	return (int64_t)index + 1 + (wide ? insn->imm : insn->off);
}

static uint32_t next_insn(const struct bpf_insn *insn, uint32_t index)
{
	return index + (sl_insn_is_ld_imm64(insn) ? 2 : 1);
}

static bool names_func(const struct bpf_insn *insn)
{
	return sl_insn_is_local_call(insn) || sl_insn_is_func_address(insn);
}

int sl_cfg_func_at(const struct sl_cfg *cfg, uint32_t index)
{
	uint32_t low = 0, high = cfg->func_count;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (cfg->funcs[middle].start == index)
			return (int)middle;
		if (cfg->funcs[middle].start < index)
			low = middle + 1;
		else
			high = middle;
	}
	return -ENOENT;
}

static int add_func(struct sl_cfg *cfg, struct sl_log *log, int64_t start)
{
	uint32_t at = cfg->func_count;

	if (start < 0 || start >= cfg->prog->insn_count) {
		sl_vlog(log, "call to invalid destination\n");
		return -EINVAL;
	}
	if (sl_cfg_func_at(cfg, (uint32_t)start) >= 0)
		return 0;
	if (cfg->func_count >= SL_CFG_MAX_FUNCS) {
		sl_vlog(log, "too many subprograms\n");
		return -E2BIG;
	}
	while (at > 0 && cfg->funcs[at - 1].start > (uint32_t)start) {
		cfg->funcs[at] = cfg->funcs[at - 1];
		at--;
	}
	cfg->funcs[at] = (struct sl_cfg_func){ .start = (uint32_t)start };
	cfg->func_count++;
	return 0;
}

/* What is known of functions once all of them are. */
static void describe_funcs(struct sl_cfg *cfg, struct sl_log *log)
{
	const struct bpf_insn *insns = cfg->prog->insns;

	for (uint32_t f = 0; f < cfg->func_count; f++) {
		struct sl_cfg_func *func = &cfg->funcs[f];

		func->end = f + 1 < cfg->func_count ? func[1].start : cfg->prog->insn_count;
		for (uint32_t i = func->start; i < func->end; i++)
			cfg->insns[i].func = (uint16_t)f;
		if (log->user && log->user->level & 2)
			sl_vlog(log, "func#%u @%u\n", f, func->start);
	}
	for (uint32_t i = 0; i < cfg->prog->insn_count; i++) {
		struct sl_cfg_func *callee;

		if (!names_func(&insns[i]))
			continue;
		callee = &cfg->funcs[sl_cfg_func_at(cfg, i + (uint32_t)insns[i].imm + 1)];
		if (sl_insn_is_func_address(&insns[i]))
			callee->is_callback = true;
		else
			callee->is_called = true;
	}
}

static int check_func(struct sl_cfg *cfg, struct sl_log *log, struct sl_cfg_func *func)
{
	const struct bpf_insn *insns = cfg->prog->insns, *last = &insns[func->end - 1];

	for (uint32_t i = func->start; i < func->end; i++) {
		uint8_t mode = BPF_MODE(insns[i].code);
		int64_t target;

		if (sl_insn_is_helper_call(&insns[i]) && insns[i].imm == BPF_FUNC_tail_call)
			func->has_tail_call = true;
		if (BPF_CLASS(insns[i].code) == BPF_LD && (mode == BPF_ABS || mode == BPF_IND))
			func->has_ld_abs = true;
		if (!is_jump(&insns[i]))
			continue;
		target = jump_target(&insns[i], i);
		if (target < func->start || target >= func->end) {
			sl_vlog(log, "jump out of range from insn %u to %d\n", i, (int)target);
			return -EINVAL;
		}
	}
	/* Nothing may run on into the next function. */
	if (last->code != (BPF_JMP | BPF_EXIT) && !is_goto(last)) {
		sl_vlog(log, "last insn is not an exit or jmp\n");
		return -EINVAL;
	}
	return 0;
}

int sl_cfg_find_funcs(struct sl_cfg *cfg, struct sl_log *log)
{
	const struct bpf_insn *insns = cfg->prog->insns;
	int err = add_func(cfg, log, 0);

	for (uint32_t i = 0; !err && i < cfg->prog->insn_count; i++)
		if (names_func(&insns[i]))
			err = add_func(cfg, log, (int64_t)i + insns[i].imm + 1);
	if (!err && cfg->prog->exception_insn)
		err = add_func(cfg, log, cfg->prog->exception_insn);
	if (err)
		return err;
	if (cfg->prog->exception_insn)
		cfg->exception_func = sl_cfg_func_at(cfg, cfg->prog->exception_insn);
	describe_funcs(cfg, log);
	for (uint32_t f = 0; !err && f < cfg->func_count; f++)
		err = check_func(cfg, log, &cfg->funcs[f]);
	return err;
}

unsigned sl_cfg_successors(const struct sl_cfg *cfg, uint32_t index, uint32_t ret[2])
{
	const struct bpf_insn *insn = &cfg->prog->insns[index];
	unsigned count = 0;

	if (insn->code == (BPF_JMP | BPF_EXIT))
		return 0;
	if (!is_goto(insn))
		ret[count++] = next_insn(insn, index);
	if (is_jump(insn))
		ret[count++] = (uint32_t)jump_target(insn, index);
	return count;
}

static void mark(struct sl_cfg *cfg, uint32_t index, uint8_t flags)
{
	cfg->insns[index].flags |= flags;
}

/* A loop over an iterator is followed until its states repeat. */
static void mark_kfunc_call(struct sl_cfg *cfg, uint32_t index)
{
	const struct sl_kfunc *kfunc = sl_kfunc_peek((uint32_t)cfg->prog->insns[index].imm);
	struct sl_cfg_func *func = &cfg->funcs[cfg->insns[index].func];

	if (!kfunc || !sl_helper_allowed(&kfunc->call, cfg->prog->rules_type))
		return;
	if (kfunc->flags & SL_KFUNC_ITER_NEXT)
		mark(cfg, index, SL_CFG_ITER_NEXT | SL_CFG_CHECKPOINT | SL_CFG_PRUNE_POINT);
	if (kfunc->flags & SL_KFUNC_CALLS_BACK)
		mark(cfg, index,
			SL_CFG_CALLS_CALLBACK | SL_CFG_CHECKPOINT | SL_CFG_PRUNE_POINT |
				SL_CFG_JUMP_POINT);
	func->might_sleep |= !!(kfunc->flags & SL_KFUNC_SLEEPABLE);
	func->changes_packet |= !!(kfunc->call.flags & SL_HELPER_CHANGES_PACKET);
}

static void mark_call(struct sl_cfg *cfg, uint32_t index)
{
	const struct bpf_insn *insn = &cfg->prog->insns[index];
	const struct sl_helper *helper;
	struct sl_cfg_func *func = &cfg->funcs[cfg->insns[index].func];

	mark(cfg, next_insn(insn, index), SL_CFG_PRUNE_POINT | SL_CFG_JUMP_POINT);
	if (names_func(insn)) {
		mark(cfg, index, SL_CFG_PRUNE_POINT);
		mark(cfg, index + (uint32_t)insn->imm + 1, SL_CFG_PRUNE_POINT | SL_CFG_JUMP_POINT);
		return;
	}
	if (sl_insn_is_kfunc_call(insn))
		mark_kfunc_call(cfg, index);
	if (!sl_insn_is_helper_call(insn))
		return;
	if (insn->imm == BPF_FUNC_timer_set_callback)
		mark(cfg, index, SL_CFG_PRUNE_POINT);
	/* The callback is followed until its states repeat, so they are kept here. */
	if (sl_helper_calls_back((uint32_t)insn->imm))
		mark(cfg, index,
			SL_CFG_CALLS_CALLBACK | SL_CFG_CHECKPOINT | SL_CFG_PRUNE_POINT |
				SL_CFG_JUMP_POINT);
	helper = sl_helper_by_id((uint32_t)insn->imm);
	if (!helper)
		return;
	/* Who knows what the program does that a tail call goes to. */
	func->changes_packet |=
		(helper->flags & SL_HELPER_CHANGES_PACKET) || helper->id == BPF_FUNC_tail_call;
	func->might_sleep |= !!(helper->flags & SL_HELPER_MIGHT_SLEEP);
}

static void mark_points(struct sl_cfg *cfg, uint32_t index)
{
	const struct bpf_insn *insn = &cfg->prog->insns[index];
	uint8_t class = BPF_CLASS(insn->code);

	if (sl_insn_is_func_address(insn) ||
		((class == BPF_JMP || class == BPF_JMP32) && BPF_OP(insn->code) == BPF_CALL)) {
		mark_call(cfg, index);
	} else if (is_jump(insn)) {
		mark(cfg, (uint32_t)jump_target(insn, index),
			SL_CFG_PRUNE_POINT | SL_CFG_JUMP_POINT | SL_CFG_JUMP_TARGET);
		if (!is_goto(insn))
			mark(cfg, index, SL_CFG_PRUNE_POINT);
		if (sl_insn_is_may_goto(insn))
			mark(cfg, index, SL_CFG_CHECKPOINT);
	}
}

/* A function does what the functions do that it calls or hands on as callbacks. */
static void spread_effects(struct sl_cfg *cfg)
{
	const struct bpf_insn *insns = cfg->prog->insns;
	bool changed = true;

	while (changed) {
		changed = false;
		for (uint32_t i = 0; i < cfg->prog->insn_count; i++) {
			struct sl_cfg_func *caller = &cfg->funcs[cfg->insns[i].func], *callee;

			if (!names_func(&insns[i]))
				continue;
			callee = &cfg->funcs[sl_cfg_func_at(cfg, i + (uint32_t)insns[i].imm + 1)];
			changed |= (callee->changes_packet && !caller->changes_packet) ||
				   (callee->might_sleep && !caller->might_sleep);
			caller->changes_packet |= callee->changes_packet;
			caller->might_sleep |= callee->might_sleep;
		}
	}
}

static int check_reached(struct sl_cfg *cfg, struct sl_log *log, const bool *reached)
{
	for (uint32_t i = 0; i < cfg->prog->insn_count; i++) {
		if (!reached[i]) {
			sl_vlog(log, "unreachable insn %u\n", i);
			return -EINVAL;
		}
		if (!sl_insn_is_ld_imm64(&cfg->prog->insns[i]))
			continue;
		if (reached[i + 1]) {
			sl_vlog(log, "jump into the middle of ldimm64 insn %u\n", i);
			return -EINVAL;
		}
		mark(cfg, ++i, SL_CFG_SECOND_HALF);
	}
	return 0;
}

/* Everything that can be reached from `start`; `stack` has room for all instructions. */
static void walk_from(struct sl_cfg *cfg, uint32_t start, bool *reached, uint32_t *stack)
{
	uint32_t depth = 0;

	stack[depth++] = start;
	reached[start] = true;
	while (depth > 0) {
		uint32_t index = stack[--depth], next[3];
		const struct bpf_insn *insn = &cfg->prog->insns[index];
		unsigned n = sl_cfg_successors(cfg, index, next);

		mark_points(cfg, index);
		if (names_func(insn))
			next[n++] = index + (uint32_t)insn->imm + 1;
		while (n-- > 0) {
			if (!reached[next[n]]) {
				reached[next[n]] = true;
				stack[depth++] = next[n];
			}
		}
	}
}

int sl_cfg_walk(struct sl_cfg *cfg, struct sl_log *log)
{
	uint32_t count = cfg->prog->insn_count, exception = cfg->prog->exception_insn;
	bool *reached = calloc(count, sizeof(*reached));
	uint32_t *stack = calloc(count, sizeof(*stack));
	int err = -ENOMEM;

	if (!reached || !stack)
		goto out;
	walk_from(cfg, 0, reached, stack);
	if (exception && !reached[exception])
		walk_from(cfg, exception, reached, stack);
	spread_effects(cfg);
	err = check_reached(cfg, log, reached);
out:
	free(reached);
	free(stack);
	return err;
}
