#include "env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "prog.h"
#include "stack_object.h"

/*
 * Pruning. At prune points states are kept, and a path that arrives in a state which a finished
 * kept one covers need not be followed. When to keep one, and when to give one up that does not
 * help, are the kernel's heuristics: they decide which programs stay inside the budget.
 *
 * A kept state is the parent of the path that goes on from it, so it lives until all its branches
 * are done. Then it is cleaned: registers and slots that nobody read cover everything.
 */

/* Misses that a state may have before it goes, beyond what its hits earned. */
#define EVICT_AFTER 3
#define EVICT_CHECKPOINT_AFTER 64
/* Longest history between two kept states. */
#define MAX_JUMPS 40

static struct sl_kept **list_of(const struct sl_env *env, uint32_t insn)
{
	uint32_t callsite = sl_env_frame(env)->callsite;

	return &env->kept[(insn ^ callsite) % env->prog->insn_count];
}

static void clean_frame(struct sl_frame *frame, uint16_t live)
{
	uint32_t used = 0;

	for (unsigned i = 0; i < BPF_REG_10; i++)
		if (!(live & 1u << i))
			memset(&frame->regs[i], 0, sizeof(frame->regs[i]));
	for (uint32_t i = 0; i < frame->slot_count; i++) {
		if (frame->slots[i].read)
			used = i + 1;
		else
			memset(&frame->slots[i], 0, sizeof(frame->slots[i]));
	}
	if (used == frame->slot_count)
		return;
	/* Dead slots at the far end need not be stored. */
	frame->slot_count = used;
	if (!used) {
		sl_memory_free(frame->slots);
		frame->slots = NULL;
		frame->slot_capacity = 0;
	}
}

static void clean(struct sl_env *env, struct sl_kept *kept)
{
	struct sl_state *state = kept->state;

	if (kept->cleaned)
		return;
	kept->cleaned = true;
	for (uint32_t f = 0; f <= state->cur_frame; f++) {
		uint32_t insn =
			f == state->cur_frame ? state->insn : state->frames[f + 1]->callsite;

		clean_frame(state->frames[f], env->cfg->insns[insn].live_in);
	}
	/* Nobody walks back through a finished state. */
	sl_memory_free(state->jumps);
	state->jumps = NULL;
	state->jump_count = state->jump_capacity = 0;
}

static void drop_evicted(struct sl_env *env, struct sl_kept *kept)
{
	*kept->link = kept->next;
	if (kept->next)
		kept->next->link = kept->link;
	env->evicted_count--;
	sl_state_free(kept->state);
	free(kept);
}

/* In an open loop the marks still travel through the state. */
static void drop_if_unused(struct sl_env *env, struct sl_state *state)
{
	if (state->evicted && !state->branches && !sl_loops_open(env, state))
		drop_evicted(env, state->evicted);
}

int sl_prune_path_done(struct sl_env *env, struct sl_state *state)
{
	struct sl_state *below = NULL;

	while (state) {
		int err;

		if (--state->branches)
			break;
		err = sl_loops_leave(env, state);
		if (err)
			return err;
		if (below)
			drop_if_unused(env, below);
		below = state == env->cur ? NULL : state;
		state = state->parent;
	}
	if (below)
		drop_if_unused(env, below);
	return 0;
}

static void free_list(struct sl_kept **list)
{
	while (*list) {
		struct sl_kept *kept = *list;

		*list = kept->next;
		sl_state_free(kept->state);
		free(kept);
	}
}

void sl_prune_clear(struct sl_env *env)
{
	sl_state_free(env->cur);
	env->cur = NULL;
	while (env->pending) {
		struct sl_pending *p = env->pending;

		env->pending = p->next;
		sl_state_free(p->state);
		free(p);
	}
	sl_loops_clear(env);
	free_list(&env->evicted);
	if (!env->kept)
		return;
	for (uint32_t i = 0; i < env->prog->insn_count; i++)
		free_list(&env->kept[i]);
	env->pending_count = 0;
	env->kept_count = 0;
	env->evicted_count = 0;
}

void sl_prune_free(struct sl_env *env)
{
	sl_prune_clear(env);
	sl_loops_free(env);
	free(env->kept);
	env->kept = NULL;
}

void sl_prune_count(struct sl_env *env)
{
	env->peak_states = sl_max(
		env->peak_states, env->kept_count + env->evicted_count + env->backedge_count);
}

static bool same_callsites(const struct sl_state *a, const struct sl_state *b)
{
	if (a->cur_frame != b->cur_frame)
		return false;
	for (uint32_t f = 0; f <= a->cur_frame; f++)
		if (a->frames[f]->callsite != b->frames[f]->callsite)
			return false;
	return true;
}

const struct sl_state *sl_prune_previous(const struct sl_env *env, uint32_t insn, uint32_t below)
{
	for (const struct sl_kept *kept = *list_of(env, insn); kept; kept = kept->next) {
		const struct sl_state *state = kept->state;

		if (state->insn == insn && state->branches && same_callsites(state, env->cur) &&
			state->depth < below)
			return state;
	}
	return NULL;
}

/* Slots that the covering state's paths read, this path reads as well. */
static void propagate_reads(struct sl_env *env, const struct sl_state *old_state)
{
	for (uint32_t f = 0; f <= old_state->cur_frame; f++) {
		const struct sl_frame *frame = old_state->frames[f];
		uint32_t count = sl_min(frame->slot_count, env->cur->frames[f]->slot_count);

		for (uint32_t i = 0; i < count; i++)
			if (frame->slots[i].read)
				sl_state_mark_read(env->cur, f, i);
	}
}

/*
 * The same registers, down to the numbers of their ids, in the same frame: worth comparing
 * everything. A loop that draws a fresh unknown each time goes on until the budget ends it.
 */
static bool maybe_looping(const struct sl_state *old_state, const struct sl_state *state)
{
	const struct sl_frame *a = sl_state_frame(old_state), *b = sl_state_frame(state);

	if (old_state->cur_frame != state->cur_frame)
		return false;
	for (unsigned i = 0; i < MAX_BPF_REG; i++)
		if (!sl_regs_identical(&a->regs[i], &b->regs[i]))
			return false;
	return true;
}

static int refuse_loop(struct sl_env *env, const struct sl_state *old_state)
{
	sl_say(env, "infinite loop detected at insn %u\n", env->insn);
	sl_say(env, "cur state:");
	sl_print_state(env, env->cur, env->cur->cur_frame, true);
	sl_say(env, "old state:");
	sl_print_state(env, old_state, old_state->cur_frame, true);
	return -EINVAL;
}

static int hit(struct sl_env *env, struct sl_kept *kept, bool loop)
{
	bool changed;
	int err = 0;

	kept->hits++;
	propagate_reads(env, kept->state);
	if (env->cfg->insns[env->insn].flags & SL_CFG_JUMP_POINT)
		err = sl_jump_push(env, 0, 0, 0, NULL, 0);
	if (!err)
		err = sl_precision_propagate(env, kept->state, env->cur, &changed);
	if (!err && loop)
		err = sl_loops_close(env, kept->state);
	return err ? err : 1;
}

static void evict(struct sl_env *env, struct sl_kept **link)
{
	struct sl_kept *kept = *link;

	*link = kept->next;
	env->kept_count--;
	kept->next = env->evicted;
	if (kept->next)
		kept->next->link = &kept->next;
	kept->link = &env->evicted;
	env->evicted = kept;
	env->evicted_count++;
	kept->state->evicted = kept;
	drop_if_unused(env, kept->state);
}

static int keep(struct sl_env *env, struct sl_kept **list)
{
	struct sl_kept *kept = calloc(1, sizeof(*kept));
	struct sl_state *state = env->cur;
	int err;

	if (!kept)
		return -ENOMEM;
	/* What earlier parts of the path needed precise is marked in their states. */
	sl_state_for_each_reg(state, reg, { reg->precise = false; });
	kept->state = sl_state_copy(state, false);
	if (!kept->state) {
		free(kept);
		return -ENOMEM;
	}
	/* The history so far belongs to the kept state; the path begins a new one. */
	kept->state->jumps = state->jumps;
	kept->state->jump_count = state->jump_count;
	kept->state->jump_capacity = state->jump_capacity;
	state->jumps = NULL;
	state->jump_count = state->jump_capacity = 0;
	env->jump_entry = -1;
	for (uint32_t f = 0; f <= state->cur_frame; f++)
		for (uint32_t i = 0; i < state->frames[f]->slot_count; i++) {
			kept->state->frames[f]->slots[i].read = false;
			state->frames[f]->slots[i].written = false;
		}
	err = sl_loops_enter(env, kept->state);
	state->parent = kept->state;
	state->depth++;
	state->first_insn = env->insn;
	state->branches = 1;
	kept->state->branches = 1;
	kept->next = *list;
	*list = kept;
	env->total_states++;
	env->kept_count++;
	sl_prune_count(env);
	env->prev_jumps_processed = env->jumps_processed;
	env->prev_processed = env->processed;
	return err;
}

/* One more round of a loop that need not be unrolled: it adds nothing to an earlier one. */
static bool converges(struct sl_env *env, const struct sl_state *old_state)
{
	uint8_t flags = env->cfg->insns[env->insn].flags;

	if (sl_insn_is_may_goto(&env->prog->insns[env->insn])) {
		if (old_state->may_gotos == env->cur->may_gotos)
			return false;
	} else if (flags & SL_CFG_ITER_NEXT) {
		if (!sl_iter_is_active(env))
			return false;
	} else if (!(flags & SL_CFG_CALLS_CALLBACK)) {
		return false;
	}
	return sl_states_equal(env, old_state, env->cur, SL_COMPARE_WITHIN);
}

static bool is_endless(struct sl_env *env, const struct sl_state *old_state)
{
	const struct sl_frame *frame = sl_state_frame(old_state);

	/* A timer's callback that sets itself anew begins again, which is no loop. */
	if (frame->in_async && frame->async_entry != sl_env_frame(env)->async_entry)
		return false;
	return !(env->cfg->insns[env->insn].flags & (SL_CFG_CALLS_CALLBACK | SL_CFG_ITER_NEXT)) &&
	       maybe_looping(old_state, env->cur) &&
	       sl_states_equal(env, old_state, env->cur, SL_COMPARE_EXACT) &&
	       old_state->may_gotos == env->cur->may_gotos &&
	       old_state->callback_rounds == env->cur->callback_rounds &&
	       !sl_iter_depths_differ(old_state, env->cur);
}

int sl_prune_visit(struct sl_env *env)
{
	bool checkpoint = env->cfg->insns[env->insn].flags & SL_CFG_CHECKPOINT;
	bool force = env->keep_all || checkpoint || env->cur->jump_count > MAX_JUMPS;
	uint32_t jumps = env->jumps_processed - env->prev_jumps_processed;
	uint32_t insns = env->processed - env->prev_processed;
	bool add = force || (jumps >= 2 && insns >= 8);
	struct sl_kept **list = list_of(env, env->insn), **link = list;
	uint32_t count = 0;

	while (*link) {
		struct sl_kept *kept = *link;
		const struct sl_state *old_state = kept->state;
		uint32_t allowed;

		count++;
		if (old_state->insn != env->insn) {
			link = &kept->next;
			continue;
		}
		if (old_state->branches) {
			if (converges(env, old_state))
				return hit(env, kept, true);
			if (is_endless(env, old_state))
				return refuse_loop(env, old_state);
			/* Inside a loop every round differs: few of its states are of use. */
			if (!force && jumps < 20 && insns < 100)
				add = false;
		} else {
			bool open = sl_loops_open(env, old_state);

			if (!open)
				clean(env, kept);
			if (sl_states_equal(env, old_state, env->cur,
				    open ? SL_COMPARE_WITHIN : SL_COMPARE_COVERS))
				return hit(env, kept, open);
		}
		if (add)
			kept->misses++;
		allowed = checkpoint && old_state->branches ? EVICT_CHECKPOINT_AFTER : EVICT_AFTER;
		if (kept->misses > kept->hits * allowed + allowed)
			evict(env, link);
		else
			link = &kept->next;
	}
	env->states_per_insn = sl_max(env->states_per_insn, count);
	return add ? keep(env, list) : 0;
}
