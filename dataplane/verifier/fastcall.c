#include "fastcall.h"

#include <errno.h>
#include <stdlib.h>

#include "env.h"
#include "helper.h"
#include "prog.h"

/*
 * Spills around calls that compilers declare to keep R1 to R5: to a kernel that knows better than
 * the declaration the stores and loads are dead, and their slots do not count as stack. Compiled
 * code here keeps slots with constant offsets in registers anyway, so nothing is removed: only what
 * a program may use of the 512 bytes, and the log, follow from it.
 *
 *	*(u64 *)(r10 - Y) = rX
 *	call
 *	rX = *(u64 *)(r10 - Y)
 *
 * The slots are the lowest of the function, and used by nothing else. Whether something jumps in
 * between does not matter to the kernel.
 */

#define CALLER_SAVED 6
#define NEVER INT16_MIN

struct sl_fastcall {
	int16_t low[SL_CFG_MAX_FUNCS + 1]; /* the spills are below this offset; NEVER: given up */
	bool keep[SL_CFG_MAX_FUNCS + 1]; /* a call with spills that do matter */
	bool removes[SL_CFG_MAX_FUNCS + 1];
	bool *in_pattern; /* by instruction */
};

/* The registers that a call changes; all of them when that is not known. */
static uint32_t clobbered(const struct sl_env *env, const struct bpf_insn *call)
{
	const struct sl_helper *helper = sl_insn_is_helper_call(call) && call->imm >= 0
						 ? sl_helper_by_id((uint32_t)call->imm)
						 : NULL;
	uint32_t mask;

	if (!helper || helper->unavailable || !sl_helper_allowed(helper, env->prog->rules_type))
		return (1u << CALLER_SAVED) - 1;
	mask = helper->ret != SL_RET_VOID;
	for (unsigned i = 0; i < 5 && helper->args[i] != SL_ARG_NONE; i++)
		mask |= 2u << i;
	return mask;
}

static bool is_pair(const struct bpf_insn *store, const struct bpf_insn *load, int16_t off)
{
	return store->code == (BPF_STX | BPF_MEM | BPF_DW) &&
	       load->code == (BPF_LDX | BPF_MEM | BPF_DW) && store->dst_reg == BPF_REG_10 &&
	       load->src_reg == BPF_REG_10 && store->src_reg == load->dst_reg &&
	       store->off == off && load->off == off;
}

static void mark_call(struct sl_env *env, uint32_t func, uint32_t call, int16_t lowest)
{
	const struct bpf_insn *insns = env->prog->insns;
	struct sl_fastcall *fast = env->fastcall;
	uint32_t kept = ~clobbered(env, &insns[call]) & ((1u << CALLER_SAVED) - 1), i;
	int16_t off = lowest;

	if (!kept)
		return;
	for (i = 1; i <= CALLER_SAVED && i <= call && call + i < env->prog->insn_count; i++) {
		const struct bpf_insn *store = &insns[call - i], *load = &insns[call + i];

		if (!is_pair(store, load, off) || !(kept & 1u << store->src_reg))
			break;
		kept &= ~(1u << store->src_reg);
		fast->in_pattern[call - i] = fast->in_pattern[call + i] = true;
		off += 8;
	}
	if (i == 1)
		return;
	if (insns[call].imm == BPF_FUNC_get_smp_processor_id)
		fast->removes[func] = true;
	else
		fast->keep[func] = true;
	fast->low[func] = sl_min(fast->low[func], off);
}

static void mark_function(struct sl_env *env, uint32_t func)
{
	const struct sl_cfg_func *range = &env->cfg->funcs[func];
	const struct bpf_insn *insns = env->prog->insns;
	int16_t lowest = 0;

	for (uint32_t i = range->start; i < range->end; i++)
		if (insns[i].code == (BPF_STX | BPF_MEM | BPF_DW) && insns[i].dst_reg == BPF_REG_10)
			lowest = sl_min(lowest, insns[i].off);
	for (uint32_t i = range->start; i < range->end; i++)
		if (insns[i].code == (BPF_JMP | BPF_CALL))
			mark_call(env, func, i, lowest);
}

int sl_fastcall_find(struct sl_env *env)
{
	env->fastcall = calloc(1, sizeof(*env->fastcall));
	if (!env->fastcall)
		return -ENOMEM;
	env->fastcall->in_pattern = calloc(env->prog->insn_count, sizeof(bool));
	if (!env->fastcall->in_pattern)
		return -ENOMEM;
	for (uint32_t f = 0; f < env->cfg->func_count; f++)
		mark_function(env, f);
	return 0;
}

void sl_fastcall_access(struct sl_env *env, uint32_t func, int32_t off)
{
	struct sl_fastcall *fast = env->fastcall;

	if (off >= fast->low[func] || fast->in_pattern[env->insn])
		return;
	fast->low[func] = NEVER;
	fast->removes[func] = false;
	for (uint32_t i = env->cfg->funcs[func].start; i < env->cfg->funcs[func].end; i++)
		fast->in_pattern[i] = false;
}

uint32_t sl_fastcall_stack_bytes(const struct sl_env *env, uint32_t func)
{
	const struct sl_fastcall *fast = env->fastcall;

	if (!fast || !fast->removes[func] || fast->keep[func])
		return env->stack_bytes[func];
	return (uint32_t)-fast->low[func];
}

void sl_fastcall_free(struct sl_env *env)
{
	if (env->fastcall)
		free(env->fastcall->in_pattern);
	free(env->fastcall);
	env->fastcall = NULL;
}
