#include "env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "prog.h"

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

static struct sl_kept **list_of(struct sl_env *env)
{
	uint32_t callsite = sl_env_frame(env)->callsite;

	return &env->kept[(env->insn ^ callsite) % env->prog->insn_count];
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
		free(frame->slots);
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
	free(state->jumps);
	state->jumps = NULL;
	state->jump_count = state->jump_capacity = 0;
}

void sl_prune_path_done(struct sl_env *env, struct sl_state *state)
{
	(void)env;
	for (;;) {
		struct sl_state *parent = state->parent;
		bool free_it = state != env->cur && state->evicted;

		if (--state->branches)
			return;
		if (free_it)
			sl_state_free(state);
		if (!parent)
			return;
		state = parent;
	}
}

void sl_prune_clear(struct sl_env *env)
{
	/* Evicted states are reached only through the paths that still need them. */
	for (struct sl_pending *p = env->pending; p; p = p->next)
		sl_prune_path_done(env, p->state);
	if (env->cur)
		sl_prune_path_done(env, env->cur);
	sl_state_free(env->cur);
	env->cur = NULL;
	while (env->pending) {
		struct sl_pending *p = env->pending;

		env->pending = p->next;
		sl_state_free(p->state);
		free(p);
	}
	if (!env->kept)
		return;
	for (uint32_t i = 0; i < env->prog->insn_count; i++) {
		while (env->kept[i]) {
			struct sl_kept *kept = env->kept[i];

			env->kept[i] = kept->next;
			sl_state_free(kept->state);
			free(kept);
		}
	}
	env->pending_count = 0;
	env->kept_count = 0;
}

void sl_prune_free(struct sl_env *env)
{
	sl_prune_clear(env);
	free(env->kept);
	env->kept = NULL;
}

/* Slots that the covering state's paths read, this path reads as well. */
static void propagate_reads(struct sl_env *env, const struct sl_state *old_state)
{
	for (uint32_t f = 0; f <= old_state->cur_frame; f++) {
		const struct sl_frame *frame = old_state->frames[f];
		uint32_t count = sl_min(frame->slot_count, env->cur->frames[f]->slot_count);

		for (uint32_t i = 0; i < count; i++)
			if (frame->slots[i].read)
				sl_stack_mark_read(env, f, i);
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

static int hit(struct sl_env *env, struct sl_kept *kept)
{
	int err = 0;

	kept->hits++;
	propagate_reads(env, kept->state);
	if (env->cfg->insns[env->insn].flags & SL_CFG_JUMP_POINT)
		err = sl_jump_push(env, 0, 0, 0, NULL, 0);
	if (!err)
		err = sl_precision_propagate(env, kept->state);
	return err ? err : 1;
}

static void evict(struct sl_env *env, struct sl_kept **link)
{
	struct sl_kept *kept = *link;

	*link = kept->next;
	env->kept_count--;
	if (kept->state->branches)
		kept->state->evicted = true;
	else
		sl_state_free(kept->state);
	free(kept);
}

static int keep(struct sl_env *env, struct sl_kept **list)
{
	struct sl_kept *kept = calloc(1, sizeof(*kept));
	struct sl_state *state = env->cur;

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
	state->parent = kept->state;
	state->first_insn = env->insn;
	state->branches = 1;
	kept->state->branches = 1;
	kept->next = *list;
	*list = kept;
	env->total_states++;
	env->kept_count++;
	env->peak_states = sl_max(env->peak_states, env->kept_count);
	env->prev_jumps_processed = env->jumps_processed;
	env->prev_processed = env->processed;
	return 0;
}

int sl_prune_visit(struct sl_env *env)
{
	bool checkpoint = env->cfg->insns[env->insn].flags & SL_CFG_CHECKPOINT;
	bool force = checkpoint || env->cur->jump_count > MAX_JUMPS;
	uint32_t jumps = env->jumps_processed - env->prev_jumps_processed;
	uint32_t insns = env->processed - env->prev_processed;
	bool add = force || (jumps >= 2 && insns >= 8);
	struct sl_kept **list = list_of(env), **link = list;
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
			if (maybe_looping(old_state, env->cur) &&
				sl_states_equal(env, old_state, env->cur, SL_COMPARE_EXACT))
				return refuse_loop(env, old_state);
			/* Inside a loop every round differs: few of its states are of use. */
			if (!force && jumps < 20 && insns < 100)
				add = false;
		} else {
			clean(env, kept);
			if (sl_states_equal(env, old_state, env->cur, SL_COMPARE_COVERS))
				return hit(env, kept);
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
