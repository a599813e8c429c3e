#pragma once

#include <sluice/generation.h>

#include "hook_swap.h"
#include "prog_array_step.h"

/* What generation.c, which publishes, and generation_undo.c, which remembers, share. */

struct sluice_generation {
	struct sl_slot_change *slots; /* references to maps and programs */
	/* By slot: what must be there, borrowed. NULL as a whole: whatever is. */
	struct sl_prog **expected;
	uint32_t slot_count, slot_room;
	unsigned hook_count;
	struct sl_hook_change hooks[SL_HOOK_SWAPS];
	char reason[SLUICE_GENERATION_REASON];
};

/* Notes the reason; returns err. */
SL_CONTROL int sl_generation_refuse(struct sluice_generation *g, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Room for one more slot, or -ENOMEM, -ENOSPC. */
SL_CONTROL int sl_generation_reserve(struct sluice_generation *g);
/* Drops what is staged. */
SL_CONTROL void sl_generation_clear(struct sluice_generation *g);

/* One thread at a time is in either, and publishes. */
SL_CONTROL void sl_generation_lock(void);
SL_CONTROL void sl_generation_unlock(void);
/*
 * With the lock held: what is staged, in order, becomes the next one. `back_to`: the one that a
 * rollback leads back to, NULL for none.
 */
SL_CONTROL int sl_generation_publish(struct sluice_generation *g, unsigned flags,
	const uint64_t *back_to, uint64_t start_ns, struct sluice_generation_info *ret_info);

/* ---- what is kept; with the lock held ---- */

struct sl_generation_record;
/* Room for what is staged, with references to all that comes. NULL when out of memory. */
SL_CONTROL struct sl_generation_record *sl_generation_record_new(const struct sluice_generation *g);
/* After the publication: takes over the references that `g` has, to all that was replaced. */
SL_CONTROL void sl_generation_keep(struct sl_generation_record *record, struct sluice_generation *g,
	const struct sluice_generation_info *info);
SL_CONTROL void sl_generation_record_free(struct sl_generation_record *record); /* NULL is fine */
/* Nothing can be rolled back that `map` is in, nor what was before. */
SL_CONTROL void sl_generation_map_gone(struct sl_map *map);
