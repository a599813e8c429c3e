#pragma once

#include "map.h"

struct sl_prog;
struct sl_prog_owner;

/*
 * Changes of many slots of several jump tables that every packet sees as one: what a batch on one
 * PROG_ARRAY is made of, and a generation of several.
 *
 * The order of calls: new, lock, check; then apply, switch on every CPU by sl_cpu_run_all, and
 * done. Or done right after any of the first three, and nothing has happened.
 */
struct sl_slot_change {
	struct sl_map *map; /* a PROG_ARRAY; the caller holds it */
	uint32_t index; /* below max_entries */
	/*
	 * What comes, NULL to empty the slot; after sl_prog_step_apply what was there. A reference
	 * comes and goes with it.
	 */
	struct sl_prog *prog;
};

struct sl_prog_step;

/* -ENOMEM. The changes are the caller's and must stay; a slot may occur again, the last one counts. */
SL_CONTROL int sl_prog_step_new(
	struct sl_slot_change *changes, uint32_t count, struct sl_prog_step **ret_step);
/* No other change of these tables until sl_prog_step_done. */
SL_CONTROL void sl_prog_step_lock(struct sl_prog_step *step);
/* What the slot of change `i` has now, borrowed; while locked. */
SL_CONTROL struct sl_prog *sl_prog_step_peek(const struct sl_prog_step *step, uint32_t i);
/* What the programs of its table have in common; while locked. */
SL_CONTROL const struct sl_prog_owner *sl_prog_step_owner(
	const struct sl_prog_step *step, uint32_t i);
/*
 * Whether all programs may be in these tables: -EINVAL for one that does not go with the others of
 * its table, -EBUSY for one with an extension. *ret_at is the change that it was about.
 */
SL_CONTROL int sl_prog_step_check(struct sl_prog_step *step, uint32_t *ret_at);
/* After a check. From here on there is only forward. */
SL_CONTROL void sl_prog_step_apply(struct sl_prog_step *step);
/* On a CPU, as its only user: it sees all of the changes from now on. */
SL_ANY void sl_prog_step_switch(struct sl_prog_step *step, unsigned cpu);
/* Unlocks and frees; NULL is fine. When it was applied, after the switches. */
SL_CONTROL void sl_prog_step_done(struct sl_prog_step *step);

/* Called when user space has let go of a jump table and its slots are empty. One for the process. */
SL_CONTROL void sl_prog_array_set_release_hook(void (*fn)(struct sl_map *map));
