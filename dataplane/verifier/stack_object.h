#pragma once

#include "env.h"

/* stack_object.c: iterators, which may be of several slots, and saved interrupt flags. */

/*
 * The slot that a stack pointer names, the object's others being those right above it. -EINVAL with
 * a message, -ERANGE (none) past the frame's.
 */
int sl_stack_object_slot(struct sl_env *env, const struct sl_reg *reg, const char *what,
	uint32_t slots, uint32_t *ret_slot);
bool sl_stack_object_is(const struct sl_slot *slot, enum sl_slot_type type);
/* False for a slot that prints as bytes. */
bool sl_stack_object_print(struct sl_env *env, const struct sl_slot *slot, unsigned index);
/* The same object but for the number of its reference. */
bool sl_stack_object_same(const struct sl_slot *old_slot, const struct sl_slot *slot);

/* Whether the slot is not the program's to look into. */
static inline bool sl_slot_is_object(const struct sl_slot *slot)
{
	return slot->type[7] >= SL_SLOT_ITER;
}

int sl_iter_begin(struct sl_env *env, unsigned regno, const char *kind, uint32_t slots);
/* An iterator of this kind; its slot. */
int sl_iter_check(
	struct sl_env *env, unsigned regno, const char *kind, uint32_t slots, uint32_t *ret_slot);
int sl_iter_end(struct sl_env *env, unsigned regno, uint32_t slot, uint32_t slots);
/* One more round, R0 pointing to its element, is explored later; here the iterator is drained. */
int sl_iter_next(struct sl_env *env, uint32_t frame, uint32_t slot);
/* An iterator of the old state made another number of rounds since: this is no endless loop. */
bool sl_iter_depths_differ(const struct sl_state *old_state, const struct sl_state *state);
/* The iterator in R1 is not drained. */
bool sl_iter_is_active(const struct sl_env *env);

int sl_irq_save(struct sl_env *env, unsigned regno);
int sl_irq_restore(struct sl_env *env, unsigned regno);
