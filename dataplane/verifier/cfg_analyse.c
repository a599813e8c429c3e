#include "cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"
#include "kfunc.h"
#include "log.h"
#include "prog.h"

/*
 * Order, loops and live registers: passes over the finished graph. None of them fails but for want
 * of memory. Calls are single instructions here; every function is a graph of its own.
 */

#define ALL_REGS 0xffff
#define CALLER_SAVED 0x3f /* R0-R5 */
#define ARGUMENTS 0x3e /* R1-R5 */

static uint16_t bit(unsigned reg)
{
	return (uint16_t)(1u << reg);
}

static uint16_t call_arguments(const struct bpf_insn *insn, enum bpf_prog_type type)
{
	const struct sl_kfunc *kfunc = NULL;
	const struct sl_helper *helper = NULL;
	uint16_t use = 0;

	if (sl_insn_is_helper_call(insn))
		helper = sl_helper_by_id((uint32_t)insn->imm);
	else if (sl_insn_is_kfunc_call(insn) && (kfunc = sl_kfunc_peek((uint32_t)insn->imm)))
		helper = &kfunc->call;
	if (!helper || !sl_helper_allowed(helper, type))
		return ARGUMENTS;
	for (unsigned i = 0; i < 5 && helper->args[i] != SL_ARG_NONE; i++)
		use |= bit(i + 1);
	return use;
}

static void atomic_regs(const struct bpf_insn *insn, uint16_t *ret_use, uint16_t *ret_def)
{
	uint16_t src = bit(insn->src_reg), dst = bit(insn->dst_reg);

	*ret_use = dst | src;
	*ret_def = 0;
	switch (insn->imm) {
	case BPF_CMPXCHG:
		*ret_use |= bit(0);
		*ret_def = bit(0);
		break;
	case SL_BPF_LOAD_ACQ:
		*ret_use = src;
		*ret_def = dst;
		break;
	case SL_BPF_STORE_REL:
		break;
	default:
		if (insn->imm & BPF_FETCH)
			*ret_def = src;
	}
}

static void jump_regs(
	const struct bpf_insn *insn, enum bpf_prog_type type, uint16_t *ret_use, uint16_t *ret_def)
{
	*ret_def = 0;
	switch (BPF_OP(insn->code)) {
	case BPF_JA:
	case SL_BPF_JCOND:
		*ret_use = 0;
		break;
	case BPF_EXIT:
		*ret_use = bit(0);
		break;
	case BPF_CALL:
		*ret_def = CALLER_SAVED;
		*ret_use = call_arguments(insn, type);
		break;
	default:
		*ret_use = bit(insn->dst_reg);
		if (BPF_SRC(insn->code) == BPF_X)
			*ret_use |= bit(insn->src_reg);
	}
}

static void alu_regs(const struct bpf_insn *insn, uint16_t *ret_use, uint16_t *ret_def)
{
	uint8_t op = BPF_OP(insn->code);

	*ret_def = bit(insn->dst_reg);
	*ret_use = op == BPF_MOV ? 0 : bit(insn->dst_reg);
	if (BPF_SRC(insn->code) == BPF_X && op != BPF_END)
		*ret_use |= bit(insn->src_reg);
}

void sl_insn_regs(
	const struct bpf_insn *insn, enum bpf_prog_type type, uint16_t *ret_use, uint16_t *ret_def)
{
	uint16_t src = bit(insn->src_reg), dst = bit(insn->dst_reg);

	switch (BPF_CLASS(insn->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		alu_regs(insn, ret_use, ret_def);
		break;
	case BPF_JMP:
	case BPF_JMP32:
		jump_regs(insn, type, ret_use, ret_def);
		break;
	case BPF_LDX:
		*ret_use = src;
		*ret_def = dst;
		break;
	case BPF_ST:
		*ret_use = dst;
		*ret_def = 0;
		break;
	case BPF_STX:
		if (BPF_MODE(insn->code) == BPF_ATOMIC) {
			atomic_regs(insn, ret_use, ret_def);
			break;
		}
		*ret_use = dst | src;
		*ret_def = 0;
		break;
	default:
		/* LD_ABS and LD_IND can end the program, so all that a caller holds stays alive. */
		*ret_use = sl_insn_is_ld_imm64(insn) ? 0 : ALL_REGS;
		*ret_def = sl_insn_is_ld_imm64(insn) ? dst : 0;
	}
}

/* Depth first from `start`; an instruction follows all those that can follow it. */
static void order_func(struct sl_cfg *cfg, uint32_t start, uint8_t *state, uint32_t *stack)
{
	enum { SEEN = 1, DONE = 2 };
	uint32_t depth = 0;

	stack[depth++] = start;
	state[start] = SEEN;
	while (depth > 0) {
		uint32_t index = stack[depth - 1], next[2];
		unsigned n;

		if (state[index] & DONE) {
			cfg->postorder[cfg->postorder_count++] = index;
			depth--;
			continue;
		}
		n = sl_cfg_successors(cfg, index, next);
		for (unsigned i = 0; i < n; i++) {
			if (!state[next[i]]) {
				state[next[i]] = SEEN;
				stack[depth++] = next[i];
			}
		}
		state[index] = SEEN | DONE;
	}
}

static int find_order(struct sl_cfg *cfg)
{
	uint8_t *state = calloc(cfg->prog->insn_count, sizeof(*state));
	uint32_t *stack = calloc(cfg->prog->insn_count + 1, sizeof(*stack));
	int err = state && stack ? 0 : -ENOMEM;

	for (uint32_t f = 0; !err && f < cfg->func_count; f++) {
		cfg->funcs[f].postorder_start = cfg->postorder_count;
		order_func(cfg, cfg->funcs[f].start, state, stack);
		cfg->funcs[f].postorder_end = cfg->postorder_count;
	}
	free(state);
	free(stack);
	return err;
}

/* Tarjan's strongly connected components, with an explicit stack for the recursion. */
struct scc_search {
	uint32_t *order, *low; /* order of discovery from 1; the lowest that is reachable */
	uint32_t *open, *path;
	uint32_t open_count, depth, next_order;
};

static const uint32_t closed = UINT32_MAX;

static bool is_loop(const struct sl_cfg *cfg, const struct scc_search *search, uint32_t index)
{
	uint32_t next[2];
	unsigned n = sl_cfg_successors(cfg, index, next);

	if (search->open[search->open_count - 1] != index)
		return true;
	for (unsigned i = 0; i < n; i++)
		if (next[i] == index)
			return true;
	return false;
}

static void close_component(struct sl_cfg *cfg, struct scc_search *search, uint32_t index)
{
	uint32_t number = is_loop(cfg, search, index) ? ++cfg->scc_count : 0, member;

	do {
		member = search->open[--search->open_count];
		search->low[member] = closed;
		cfg->insns[member].scc = number;
	} while (member != index);
}

/* Returns whether a successor of `index` has still to be visited; it is on the path then. */
static bool visit_successors(struct sl_cfg *cfg, struct scc_search *search, uint32_t index)
{
	uint32_t next[2];
	unsigned n = sl_cfg_successors(cfg, index, next);

	for (unsigned i = 0; i < n; i++) {
		if (!search->order[next[i]]) {
			search->path[search->depth++] = next[i];
			return true;
		}
		search->low[index] = sl_min(search->low[index], search->low[next[i]]);
	}
	return false;
}

static void search_from(struct sl_cfg *cfg, struct scc_search *search, uint32_t start)
{
	search->path[search->depth++] = start;
	while (search->depth > 0) {
		uint32_t index = search->path[search->depth - 1];

		if (!search->order[index]) {
			search->order[index] = search->low[index] = ++search->next_order;
			search->open[search->open_count++] = index;
		}
		if (visit_successors(cfg, search, index))
			continue;
		if (search->low[index] == search->order[index])
			close_component(cfg, search, index);
		search->depth--;
	}
}

static int find_loops(struct sl_cfg *cfg)
{
	uint32_t count = cfg->prog->insn_count;
	uint32_t *memory = calloc(4 * (size_t)count, sizeof(*memory));
	struct scc_search search = { memory, memory + count, memory + 2 * count,
		memory + 3 * count };

	if (!memory)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		if (!search.order[i] && !(cfg->insns[i].flags & SL_CFG_SECOND_HALF))
			search_from(cfg, &search, i);
	free(memory);
	cfg->jump_scc_count = cfg->scc_count;
	/* The callback leads back to the call. */
	for (uint32_t i = 0; i < count; i++)
		if (!cfg->insns[i].scc && (cfg->insns[i].flags & SL_CFG_CALLS_CALLBACK))
			cfg->insns[i].scc = ++cfg->scc_count;
	return 0;
}

static int find_live_registers(struct sl_cfg *cfg)
{
	struct effect {
		uint16_t use, def;
	} *effects = calloc(cfg->prog->insn_count, sizeof(*effects));
	bool changed = true;

	if (!effects)
		return -ENOMEM;
	for (uint32_t i = 0; i < cfg->prog->insn_count; i++)
		sl_insn_regs(&cfg->prog->insns[i], cfg->prog->rules_type, &effects[i].use,
			&effects[i].def);
	while (changed) {
		changed = false;
		for (uint32_t o = 0; o < cfg->postorder_count; o++) {
			uint32_t index = cfg->postorder[o], next[2];
			unsigned n = sl_cfg_successors(cfg, index, next);
			uint16_t live = 0;

			for (unsigned i = 0; i < n; i++)
				live |= cfg->insns[next[i]].live_in;
			live = (uint16_t)((live & ~effects[index].def) | effects[index].use);
			changed |= live != cfg->insns[index].live_in;
			cfg->insns[index].live_in = live;
		}
	}
	free(effects);
	return 0;
}

static void log_live_registers(const struct sl_cfg *cfg, struct sl_log *log)
{
	sl_vlog(log, "Live regs before insn:\n");
	for (uint32_t i = 0; i < cfg->prog->insn_count; i++) {
		const struct sl_cfg_insn *insn = &cfg->insns[i];
		char live[11] = "..........";

		if (insn->flags & SL_CFG_SECOND_HALF)
			continue;
		for (unsigned reg = 0; reg < 10; reg++)
			if (insn->live_in & bit(reg))
				live[reg] = (char)('0' + reg);
		if (insn->scc && insn->scc <= cfg->jump_scc_count)
			sl_vlog(log, "%3u ", insn->scc);
		else
			sl_vlog(log, "    ");
		sl_vlog(log, "%3u: %s ", i, live);
		sl_vlog_insn(log, cfg->prog, i);
	}
}

int sl_cfg_analyse(struct sl_cfg *cfg, struct sl_log *log)
{
	int err = find_order(cfg);

	if (!err)
		err = find_loops(cfg);
	if (!err)
		err = find_live_registers(cfg);
	if (!err && log->user && log->user->level & 2)
		log_live_registers(cfg, log);
	return err;
}
