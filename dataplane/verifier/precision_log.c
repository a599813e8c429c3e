#include "env.h"

#include "log.h"

/*
 * The walk back in the log, at level 2, in the kernel's words: tests and people read from it why a
 * value had to be precise.
 */

/* As numbers of an instruction read there: -1 for none. */
#define NUMBER(insn) ((int)(insn))

/* "r0,r2": members of a set, each as `scale` makes it from its index. */
static void say_members(struct sl_env *env, const char *prefix, int scale, uint64_t set)
{
	const char *separator = "";

	for (; set; set &= set - 1) {
		int index = __builtin_ctzll(set);

		sl_say(env, "%s%s%d", separator, prefix, scale > 0 ? index : (index + 1) * scale);
		separator = ",";
	}
}

static void say_wanted(struct sl_env *env, unsigned frame)
{
	sl_say(env, "regs=");
	say_members(env, "r", 1, env->back.regs[frame]);
	sl_say(env, " stack=");
	say_members(env, "", -8, env->back.slots[frame]);
}

void sl_precision_say_state(
	struct sl_env *env, const struct sl_state *state, uint32_t from, int64_t next)
{
	if (env->log_level & 2)
		sl_say(env, "mark_precise: frame%u: last_idx %d first_idx %d subseq_idx %d \n",
			env->back.frame, NUMBER(from), NUMBER(state->first_insn), NUMBER(next));
}

void sl_precision_say_insn(struct sl_env *env, uint32_t index)
{
	if (!(env->log_level & 2))
		return;
	sl_say(env, "mark_precise: frame%u: ", env->back.frame);
	say_wanted(env, env->back.frame);
	sl_say(env, " before %u: ", index);
	sl_vlog_insn(&env->log, env->prog, index);
}

void sl_precision_say_parent(struct sl_env *env, const struct sl_state *state, uint32_t frame)
{
	if (!(env->log_level & 2))
		return;
	sl_say(env, "mark_precise: frame%u: parent state ", frame);
	say_wanted(env, frame);
	sl_say(env, ": ");
	sl_print_state(env, state, frame, true);
}

void sl_precision_say_propagated(struct sl_env *env, uint32_t frame)
{
	bool regs = env->back.regs[frame], slots = env->back.slots[frame];

	if (!(env->log_level & 2) || (!regs && !slots))
		return;
	sl_say(env, "frame %u: propagating ", frame);
	say_members(env, "r", 1, env->back.regs[frame]);
	sl_say(env, regs && slots ? "," : "");
	say_members(env, "fp", -8, env->back.slots[frame]);
	sl_say(env, "\n");
}

void sl_precision_say_give_up(struct sl_env *env, const struct sl_state *state)
{
	if (env->log_level & 2)
		sl_say(env, "mark_precise: frame%u: falling back to forcing all scalars precise\n",
			state->cur_frame);
}

void sl_precision_say_forced(struct sl_env *env, uint32_t frame, const char *kind, int number)
{
	if (env->log_level & 2)
		sl_say(env, "force_precise: frame%u: forcing %s%d to be precise\n", frame, kind,
			number);
}
