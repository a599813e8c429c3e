#include "env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "btf_record.h"
#include "helper.h"
#include "kernel_sock.h"
#include "map.h"
#include "prog.h"
#include "sig.h"

/*
 * Facts: the states that reached an instruction, merged. They have to hold on the paths that were
 * pruned too. Pruning compares pointers' kinds, maps and offsets, so what is merged of pointers
 * holds for every state that a visited one covers. Scalars are another matter: one that is not
 * precise covers any number. So of a scalar nothing is noted but where its value was marked precise
 * for being used, and then a covered state lies within the range that is noted.
 */

int sl_facts_new(struct sl_env *env)
{
	struct sl_facts *facts = calloc(1, sizeof(*facts));
	const struct sl_cfg *cfg = env->cfg;

	env->facts = facts;
	if (!facts)
		return -ENOMEM;
	facts->insns = calloc(env->prog->insn_count, sizeof(*facts->insns));
	facts->funcs = calloc(cfg->func_count, sizeof(*facts->funcs));
	if (!facts->insns || !facts->funcs)
		return -ENOMEM;
	for (uint32_t i = 0; i < env->prog->insn_count; i++) {
		facts->insns[i].call = SL_NO_CALL;
		facts->insns[i].map = SL_MAP_MIXED;
		if (cfg->insns[i].flags & SL_CFG_JUMP_TARGET)
			facts->insns[i].flags |= SL_INSN_JUMP_TARGET;
	}
	facts->func_count = cfg->func_count;
	for (uint32_t i = 0; i < cfg->func_count; i++) {
		facts->funcs[i].start = cfg->funcs[i].start;
		facts->funcs[i].end = cfg->funcs[i].end;
		facts->insns[cfg->funcs[i].start].flags |= SL_INSN_FUNC_START;
	}
	return 0;
}

void sl_facts_free(struct sl_facts *facts)
{
	if (!facts)
		return;
	if (facts->finds_sockets)
		sl_sock_unwant();
	free(facts->insns);
	free(facts->calls);
	free(facts->funcs);
	free(facts);
}

static uint32_t map_index(const struct sl_env *env, const struct sl_map *map)
{
	for (uint32_t i = 0; i < env->prog->used_map_count; i++)
		if (env->prog->used_maps[i] == map)
			return i;
	for (uint32_t i = 0; map->is_template && i < env->prog->used_map_count; i++)
		if (env->prog->used_maps[i]->inner == map)
			return i | SL_MAP_INNER;
	return SL_MAP_MIXED;
}

static uint8_t kind_of(const struct sl_reg *reg)
{
	static const uint8_t kinds[SL_REG_TYPES] = {
		[SL_REG_SCALAR] = SL_MEM_SCALAR,
		[SL_REG_CTX] = SL_MEM_CTX,
		[SL_REG_CONST_MAP] = SL_MEM_MAP,
		[SL_REG_MAP_VALUE] = SL_MEM_MAP_VALUE,
		[SL_REG_MAP_KEY] = SL_MEM_OBJECT,
		[SL_REG_STACK] = SL_MEM_STACK,
		[SL_REG_PACKET_META] = SL_MEM_PACKET,
		[SL_REG_PACKET] = SL_MEM_PACKET,
		[SL_REG_PACKET_END] = SL_MEM_PACKET_END,
		[SL_REG_MEM] = SL_MEM_OBJECT,
		[SL_REG_SOCKET] = SL_MEM_OBJECT,
		[SL_REG_SOCK_COMMON] = SL_MEM_OBJECT,
		[SL_REG_TCP_SOCK] = SL_MEM_OBJECT,
		[SL_REG_XDP_SOCK] = SL_MEM_OBJECT,
		[SL_REG_CONN] = SL_MEM_OBJECT,
		[SL_REG_FUNC] = SL_MEM_FUNC,
		[SL_REG_OBJECT] = SL_MEM_OBJECT,
		[SL_REG_DYNPTR] = SL_MEM_OBJECT,
	};

	return sl_reg_maybe_null(reg) ? SL_MEM_MIXED : kinds[reg->type];
}

/* `exact`: the register, if a scalar, is precise in all ancestors. */
static struct sl_reg_fact fact_of(const struct sl_env *env, const struct sl_reg *reg, bool exact)
{
	struct sl_reg_fact fact = { .kind = kind_of(reg), .map = SL_MAP_MIXED, .umax = UINT64_MAX };

	if (reg->type == SL_REG_SCALAR) {
		if (!exact)
			return fact;
		fact.umin = reg->umin;
		fact.umax = reg->umax;
		fact.const_off = sl_tnum_is_const(reg->var_off);
		fact.off = (int64_t)reg->var_off.value;
		return fact;
	}
	/* data_meta is another base than data. */
	fact.const_off = sl_tnum_is_const(reg->var_off) && reg->type != SL_REG_PACKET_META;
	if (fact.const_off)
		fact.off = reg->off + (int64_t)reg->var_off.value;
	if (reg->type == SL_REG_STACK)
		fact.own_frame = reg->frame == env->cur->cur_frame;
	if (reg->map)
		fact.map = map_index(env, reg->map);
	return fact;
}

static void merge(struct sl_reg_fact *into, const struct sl_reg_fact *fact)
{
	if (into->kind == SL_MEM_NONE) {
		*into = *fact;
		return;
	}
	if (into->kind != fact->kind) {
		*into = (struct sl_reg_fact){
			.kind = SL_MEM_MIXED, .map = SL_MAP_MIXED, .umax = UINT64_MAX
		};
		return;
	}
	into->const_off = into->const_off && fact->const_off && into->off == fact->off;
	if (!into->const_off)
		into->off = 0;
	into->own_frame &= fact->own_frame;
	if (into->map != fact->map)
		into->map = SL_MAP_MIXED;
	into->umin = sl_min(into->umin, fact->umin);
	into->umax = sl_max(into->umax, fact->umax);
}

void sl_facts_note_base(struct sl_env *env, unsigned regno)
{
	struct sl_reg_fact fact = fact_of(env, sl_env_reg(env, regno), false);

	merge(&env->facts->insns[env->insn].base, &fact);
}

static int new_call(struct sl_env *env, uint32_t *ret_index)
{
	struct sl_facts *facts = env->facts;

	if (facts->call_count == env->call_capacity) {
		uint32_t capacity = env->call_capacity ? env->call_capacity * 2 : 16;
		struct sl_call_fact *calls = realloc(facts->calls, capacity * sizeof(*calls));

		if (!calls)
			return -ENOMEM;
		facts->calls = calls;
		env->call_capacity = capacity;
	}
	memset(&facts->calls[facts->call_count], 0, sizeof(*facts->calls));
	*ret_index = facts->call_count++;
	return 0;
}

int sl_facts_note_call(
	struct sl_env *env, const struct sl_helper *helper, unsigned arg_count, unsigned exact_args)
{
	struct sl_insn_fact *insn = &env->facts->insns[env->insn];
	struct sl_call_fact *call;

	if (insn->call == SL_NO_CALL) {
		int err = new_call(env, &insn->call);

		if (err)
			return err;
	}
	call = &env->facts->calls[insn->call];
	call->helper = helper;
	for (unsigned i = 0; i < arg_count; i++) {
		const struct sl_reg *reg = sl_env_reg(env, BPF_REG_1 + i);
		struct sl_reg_fact fact;

		if (reg->type == SL_REG_NOT_INIT)
			continue;
		fact = fact_of(env, reg, exact_args & (1u << i));
		merge(&call->args[i], &fact);
	}
	return 0;
}

/* A function throws when one that it calls does. */
static void spread_throws(struct sl_env *env)
{
	struct sl_facts *facts = env->facts;
	bool changed = true;

	while (changed) {
		changed = false;
		for (uint32_t i = 0; i < env->prog->insn_count; i++) {
			const struct bpf_insn *insn = &env->prog->insns[i];
			const struct sl_insn_fact *fact = &facts->insns[i];
			struct sl_func_fact *func = &facts->funcs[env->cfg->insns[i].func];
			bool throws = false;

			if (!(fact->flags & SL_INSN_SEEN) || func->may_throw)
				continue;
			if (sl_insn_is_local_call(insn))
				throws = facts->funcs[sl_cfg_func_at(env->cfg,
							      i + (uint32_t)insn->imm + 1)]
						 .may_throw;
			else if (fact->call != SL_NO_CALL)
				throws = facts->calls[fact->call].throws;
			func->may_throw = throws;
			changed |= throws;
		}
	}
}

static void note_signature(struct sl_env *env, uint32_t func)
{
	const struct sl_sig *sig = &env->sigs[func];
	struct sl_func_fact *fact = &env->facts->funcs[func];

	fact->unreliable = sig->unreliable;
	fact->changes_packet = env->cfg->funcs[func].changes_packet;
	fact->might_sleep = env->cfg->funcs[func].might_sleep;
	fact->arg_count = sig->arg_count;
	memcpy(fact->args, sig->args, sizeof(fact->args));
}

void sl_facts_finish(struct sl_env *env)
{
	struct sl_facts *facts = env->facts;
	struct sl_prog *prog = env->prog;

	for (uint32_t i = 0; i < facts->func_count; i++) {
		const struct sl_cfg_func *func = &env->cfg->funcs[i];

		facts->funcs[i].stack_bytes = env->stack_bytes[i];
		facts->funcs[i].stack_uninit_read = env->uninit_read[i];
		facts->funcs[i].has_tail_call = func->has_tail_call;
		prog->takes_locks |= func->has_tail_call;
		facts->funcs[i].has_ld_abs = func->has_ld_abs;
		facts->funcs[i].is_callback = func->is_callback;
		note_signature(env, i);
	}
	facts->map_count = prog->used_map_count;
	for (uint32_t i = 0; i < facts->call_count; i++) {
		const struct sl_helper *helper = facts->calls[i].helper;

		if (!helper)
			continue;
		facts->changes_packet |= !!(helper->flags & SL_HELPER_CHANGES_PACKET);
		facts->finds_sockets |= !!(helper->flags & SL_HELPER_FINDS_SOCKETS);
		prog->takes_locks |= helper->id == BPF_FUNC_spin_lock;
		facts->may_redirect |= helper->id == BPF_FUNC_redirect ||
				       helper->id == BPF_FUNC_redirect_map ||
				       helper->id == BPF_FUNC_redirect_neigh ||
				       helper->id == BPF_FUNC_redirect_peer;
	}
	for (uint32_t i = 0; i < prog->used_map_count; i++) {
		const struct sl_map *map = prog->used_maps[i];

		if (map->inner)
			map = map->inner;
		prog->takes_locks |=
			map->ops->pop || sl_btf_record_has(map->desc.record, SL_SPECIAL_SPIN_LOCK);
	}
	facts->exception_func = env->cfg->exception_func;
	spread_throws(env);
	if (facts->finds_sockets)
		sl_sock_want();
	prog->facts = facts;
	env->facts = NULL;
}
