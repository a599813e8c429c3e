#include "env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Loops that are not unrolled: a helper's callback, may_goto. They end some time whatever the
 * program does, so it is enough to see that a round adds nothing to what an earlier one admitted.
 * The state that a round ends with is compared with those that were kept on the same path, and
 * since these have not been explored to their end it is not known yet what of them is read and which
 * scalars decide: everything counts.
 *
 * Nor is it known what to mark on the way to the state that was dropped. Such a state is set aside
 * as a back edge. When all paths through the loop are explored, marks travel along the back edges
 * until none is new. Until then states of the loop prune only what lies within them altogether.
 *
 * A loop is entered by a chain of calls; the same instructions called from elsewhere are another
 * visit. The visit ends with the state that was kept first in it.
 */

/* Rounds along the back edges before everything becomes precise. */
#define MAX_ROUNDS 64

struct sl_backedge {
	struct sl_backedge *next;
	struct sl_state *state;
	const struct sl_state *within;
};

struct sl_loop_visit {
	struct sl_loop_visit *next;
	uint32_t callsites[SL_MAX_FRAMES]; /* of the frames above the one in the loop */
	uint32_t frame; /* the one in the loop */
	const struct sl_state *entry; /* NULL when no path is in the loop */
	struct sl_backedge *backedges;
	uint32_t counted; /* the statistics know only those of loops made of jumps */
};

int sl_loops_new(struct sl_env *env)
{
	env->loops = calloc(env->cfg->scc_count + 1, sizeof(*env->loops));
	return env->loops ? 0 : -ENOMEM;
}

static void free_backedges(struct sl_env *env, struct sl_loop_visit *visit)
{
	while (visit->backedges) {
		struct sl_backedge *edge = visit->backedges;

		visit->backedges = edge->next;
		sl_state_free(edge->state);
		free(edge);
	}
	env->backedge_count -= visit->counted;
	visit->counted = 0;
}

void sl_loops_clear(struct sl_env *env)
{
	if (!env->loops)
		return;
	for (uint32_t i = 0; i <= env->cfg->scc_count; i++) {
		while (env->loops[i]) {
			struct sl_loop_visit *visit = env->loops[i];

			env->loops[i] = visit->next;
			free_backedges(env, visit);
			free(visit);
		}
	}
}

void sl_loops_free(struct sl_env *env)
{
	sl_loops_clear(env);
	free(env->loops);
	env->loops = NULL;
}

/* Where a state's frame stands. */
static uint32_t frame_insn(const struct sl_state *state, uint32_t frame)
{
	return frame == state->cur_frame ? state->insn : state->frames[frame + 1]->callsite;
}

/* The outermost loop that the state is in: its number and the frame; 0 for none. */
static uint32_t loop_of(const struct sl_env *env, const struct sl_state *state, uint32_t *ret_frame)
{
	for (uint32_t f = 0; f <= state->cur_frame; f++) {
		uint32_t loop = env->cfg->insns[frame_insn(state, f)].scc;

		if (!loop)
			continue;
		*ret_frame = f;
		return loop;
	}
	return 0;
}

/* NULL when the state is in no loop, or in one that was not visited by this chain of calls. */
static struct sl_loop_visit *find_visit(const struct sl_env *env, const struct sl_state *state)
{
	struct sl_loop_visit *visit = NULL;
	uint32_t frame = 0, loop = loop_of(env, state, &frame), f;

	for (visit = loop ? env->loops[loop] : NULL; visit; visit = visit->next) {
		if (visit->frame != frame)
			continue;
		for (f = 0; f < frame && visit->callsites[f] == frame_insn(state, f); f++)
			;
		if (f == frame)
			break;
	}
	return visit;
}

static bool is_jump_loop(const struct sl_env *env, const struct sl_state *state)
{
	uint32_t frame = 0;

	return loop_of(env, state, &frame) <= env->cfg->jump_scc_count;
}

static void print_visit(struct sl_env *env, const struct sl_state *state, const char *what)
{
	uint32_t frame = 0, loop = loop_of(env, state, &frame);

	if (!(env->log_level & 2) || !is_jump_loop(env, state))
		return;
	sl_say(env, "SCC %s (", what);
	for (uint32_t f = 0; f < frame; f++)
		sl_say(env, "%u,", frame_insn(state, f));
	sl_say(env, "%u)\n", loop);
}

int sl_loops_enter(struct sl_env *env, const struct sl_state *state)
{
	struct sl_loop_visit *visit = find_visit(env, state);
	uint32_t frame = 0, loop = loop_of(env, state, &frame);

	if (!loop)
		return 0;
	if (!visit) {
		visit = calloc(1, sizeof(*visit));
		if (!visit)
			return -ENOMEM;
		visit->frame = frame;
		for (uint32_t f = 0; f < frame; f++)
			visit->callsites[f] = frame_insn(state, f);
		visit->next = env->loops[loop];
		env->loops[loop] = visit;
	}
	if (!visit->entry) {
		visit->entry = state;
		print_visit(env, state, "enter");
	}
	return 0;
}

/* Slots that the paths from `within` read, the way to `state` needs too. */
static bool propagate_reads(const struct sl_state *within, struct sl_state *state)
{
	bool changed = false;

	for (uint32_t f = 0; f <= within->cur_frame; f++) {
		uint32_t count =
			sl_min(within->frames[f]->slot_count, state->frames[f]->slot_count);

		for (uint32_t i = 0; i < count; i++)
			if (within->frames[f]->slots[i].read)
				changed |= sl_state_mark_read(state, f, i);
	}
	return changed;
}

static int propagate(struct sl_env *env, struct sl_loop_visit *visit)
{
	bool changed = true;

	for (unsigned round = 0; changed; round++) {
		bool give_up = round > MAX_ROUNDS;

		changed = false;
		for (struct sl_backedge *edge = visit->backedges; edge; edge = edge->next) {
			int err;

			changed |= propagate_reads(edge->within, edge->state);
			if (give_up) {
				sl_precision_give_up(env, edge->state);
				continue;
			}
			err = sl_precision_propagate(env, edge->within, edge->state, &changed);
			if (err)
				return err;
		}
	}
	return 0;
}

int sl_loops_leave(struct sl_env *env, const struct sl_state *state)
{
	struct sl_loop_visit *visit = find_visit(env, state);
	int err;

	if (!visit || visit->entry != state)
		return 0;
	print_visit(env, state, "exit");
	visit->entry = NULL;
	err = propagate(env, visit);
	free_backedges(env, visit);
	return err;
}

int sl_loops_close(struct sl_env *env, const struct sl_state *old_state)
{
	struct sl_loop_visit *visit = find_visit(env, old_state);
	struct sl_backedge *edge;

	if (!visit)
		return -EFAULT;
	edge = calloc(1, sizeof(*edge));
	if (!edge)
		return -ENOMEM;
	edge->state = sl_state_copy(env->cur, true);
	if (!edge->state) {
		free(edge);
		return -ENOMEM;
	}
	edge->within = old_state;
	print_visit(env, old_state, "backedge");
	edge->next = visit->backedges;
	visit->backedges = edge;
	if (is_jump_loop(env, old_state)) {
		visit->counted++;
		env->backedge_count++;
		sl_prune_count(env);
	}
	return 0;
}

bool sl_loops_open(const struct sl_env *env, const struct sl_state *state)
{
	const struct sl_loop_visit *visit = find_visit(env, state);

	return visit && visit->backedges;
}

static void widen(struct sl_env *env, const struct sl_reg *before, struct sl_reg *reg)
{
	if (before->type != SL_REG_SCALAR || reg->type != SL_REG_SCALAR || before->precise ||
		reg->precise || sl_regs_same(env, before, reg))
		return;
	sl_reg_set_unknown(reg);
}

void sl_loops_widen(struct sl_env *env, const struct sl_state *before, struct sl_state *state)
{
	sl_compare_begin(env);
	for (int f = (int)before->cur_frame; f >= 0; f--) {
		const struct sl_frame *old_frame = before->frames[f];
		struct sl_frame *frame = state->frames[f];
		uint32_t count = sl_min(old_frame->slot_count, frame->slot_count);

		for (unsigned i = 0; i < MAX_BPF_REG; i++)
			widen(env, &old_frame->regs[i], &frame->regs[i]);
		for (uint32_t i = 0; i < count; i++)
			if (sl_slot_is_spill(&old_frame->slots[i]) &&
				sl_slot_is_spill(&frame->slots[i]))
				widen(env, &old_frame->slots[i].reg, &frame->slots[i].reg);
	}
}

int sl_check_may_goto(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_next)
{
	const struct sl_state *parent = env->cur->parent, *before;
	struct sl_state *round;
	int err;

	before = parent ? sl_prune_previous(env, env->insn, parent->depth) : NULL;
	err = sl_explore_push(env, env->insn + 1, &round);
	if (err)
		return err == -EFAULT ? -ENOMEM : err; /* as the kernel has it here */
	round->may_gotos++;
	if (before)
		sl_loops_widen(env, before, round);
	env->facts->insns[env->insn].flags |= SL_INSN_TAKEN | SL_INSN_NOT_TAKEN;
	*ret_next = env->insn + insn->off + 1;
	return 0;
}
