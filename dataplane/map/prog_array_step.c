#include "prog_array_step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "prog.h"
#include "prog_array_table.h"

/*
 * Two threads may change the same tables: each locks them in the order of their addresses. The
 * locks stay taken until every CPU has switched, so that there are never more than two generations
 * of a table, and a change of a single slot never has to choose.
 */
struct part {
	struct sl_prog_array *array;
	struct sl_jump_table *table; /* the next one; after the change the one before */
	struct sl_prog_owner owner; /* before the check */
};

struct sl_prog_step {
	struct sl_slot_change *changes;
	uint32_t count;
	uint32_t used; /* changes whose programs count as being in a table */
	uint32_t part_count;
	bool locked, applied;
	struct part parts[];
};

static struct sl_prog_array *array_of(const struct sl_slot_change *change)
{
	return sl_prog_array_of(change->map);
}

static int compare_parts(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct part *)a)->array;
	uintptr_t y = (uintptr_t)((const struct part *)b)->array;

	return (x > y) - (x < y);
}

/* Each array once, in the order of addresses. */
static void find_parts(struct sl_prog_step *step)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < step->count; i++)
		step->parts[i].array = array_of(&step->changes[i]);
	qsort(step->parts, step->count, sizeof(step->parts[0]), compare_parts);
	for (uint32_t i = 0; i < step->count; i++) {
		if (n == 0 || step->parts[n - 1].array != step->parts[i].array)
			step->parts[n++].array = step->parts[i].array;
	}
	step->part_count = n;
}

int sl_prog_step_new(struct sl_slot_change *changes, uint32_t count, struct sl_prog_step **ret_step)
{
	struct sl_prog_step *step = calloc(1, sizeof(*step) + count * sizeof(step->parts[0]));

	if (!step)
		return -ENOMEM;
	step->changes = changes;
	step->count = count;
	find_parts(step);
	for (uint32_t i = 0; i < step->part_count; i++) {
		struct part *part = &step->parts[i];

		part->table = sl_jump_table_new(part->array->map.desc.max_entries);
		if (part->table)
			continue;
		sl_prog_step_done(step);
		return -ENOMEM;
	}
	*ret_step = step;
	return 0;
}

void sl_prog_step_lock(struct sl_prog_step *step)
{
	for (uint32_t i = 0; i < step->part_count; i++) {
		pthread_mutex_lock(&step->parts[i].array->lock);
		step->parts[i].owner = step->parts[i].array->owner;
	}
	step->locked = true;
}

struct sl_prog *sl_prog_step_peek(const struct sl_prog_step *step, uint32_t i)
{
	return array_of(&step->changes[i])->progs[step->changes[i].index];
}

const struct sl_prog_owner *sl_prog_step_owner(const struct sl_prog_step *step, uint32_t i)
{
	return &array_of(&step->changes[i])->owner;
}

int sl_prog_step_check(struct sl_prog_step *step, uint32_t *ret_at)
{
	for (; step->used < step->count; step->used++) {
		struct sl_slot_change *change = &step->changes[step->used];
		int err = change->prog ? sl_prog_array_check_entry(array_of(change), change->prog)
				       : 0;

		*ret_at = step->used;
		if (err)
			return err;
	}
	return 0;
}

void sl_prog_step_apply(struct sl_prog_step *step)
{
	for (uint32_t i = 0; i < step->part_count; i++) {
		struct part *part = &step->parts[i];
		struct sl_jump_table *old = part->array->table;

		memcpy(part->table->slots.entries, old->slots.entries,
			(size_t)part->array->map.desc.max_entries * sizeof(sl_prog_fn));
		part->array->table = part->table;
		part->table = old;
	}
	for (uint32_t i = 0; i < step->count; i++) {
		struct sl_slot_change *change = &step->changes[i];
		struct sl_prog_array *a = array_of(change);
		struct sl_prog *old = a->progs[change->index];

		sl_rcu_store(a->progs[change->index], change->prog);
		a->table->slots.entries[change->index] =
			change->prog ? change->prog->own_code->run : NULL;
		change->prog = old;
	}
	step->applied = true;
}

void sl_prog_step_switch(struct sl_prog_step *step, unsigned cpu)
{
	for (uint32_t i = 0; i < step->part_count; i++) {
		struct sl_prog_array *a = step->parts[i].array;

		a->views[cpu] = &a->table->slots;
	}
}

static void free_table(struct sl_rcu_head *head)
{
	sl_jump_table_free(sl_container_of(head, struct sl_jump_table, rcu));
}

/* What the check has left behind. */
static void undo(struct sl_prog_step *step)
{
	for (uint32_t i = 0; i < step->part_count; i++) {
		if (step->locked)
			step->parts[i].array->owner = step->parts[i].owner;
		sl_jump_table_free(step->parts[i].table);
	}
	for (uint32_t i = 0; i < step->used; i++) {
		if (step->changes[i].prog)
			sl_prog_unuse(step->changes[i].prog, SL_PROG_IN_TABLE);
	}
}

/* The programs that were replaced are in no table any more. */
static void retire(struct sl_prog_step *step)
{
	for (uint32_t i = 0; i < step->part_count; i++)
		sl_rcu_call(&step->parts[i].table->rcu, free_table);
	for (uint32_t i = 0; i < step->count; i++) {
		if (step->changes[i].prog)
			sl_prog_unuse(step->changes[i].prog, SL_PROG_IN_TABLE);
	}
}

void sl_prog_step_done(struct sl_prog_step *step)
{
	if (!step)
		return;
	if (step->applied)
		retire(step);
	else
		undo(step);
	for (uint32_t i = 0; step->locked && i < step->part_count; i++)
		pthread_mutex_unlock(&step->parts[i].array->lock);
	free(step);
}
