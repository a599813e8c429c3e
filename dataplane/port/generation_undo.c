#include "generation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "prog.h"

/*
 * The last generations, newest first, with what was before and after each of their changes. A
 * rollback over several is one generation: per slot and hook, what was before the first of them is
 * put where what the last of them has put must still be. Where one of them found something else
 * than the one before it had left, somebody has changed it in between, and it is not ours to undo.
 */
struct undo_slot {
	struct sl_map *map; /* reference */
	uint32_t index;
	struct sl_prog *before, *after; /* references, NULL for an empty slot */
};

struct sl_generation_record {
	struct sl_generation_record *older;
	struct sluice_generation_info info;
	unsigned hook_count;
	struct sl_hook_change hooks[SL_HOOK_SWAPS]; /* references */
	uint32_t slot_count;
	struct undo_slot slots[];
};

/* Under the generations' lock. */
static struct sl_generation_record *newest;

static void ref(struct sl_prog *prog)
{
	if (prog)
		sl_object_ref(&prog->obj);
}

static void unref(struct sl_prog *prog)
{
	if (prog)
		sl_object_unref(&prog->obj);
}

struct sl_generation_record *sl_generation_record_new(const struct sluice_generation *g)
{
	struct sl_generation_record *r =
		calloc(1, sizeof(*r) + g->slot_count * sizeof(r->slots[0]));

	if (!r)
		return NULL;
	r->slot_count = g->slot_count;
	r->hook_count = g->hook_count;
	for (uint32_t i = 0; i < g->slot_count; i++) {
		r->slots[i] = (struct undo_slot){
			.map = sl_map_ref(g->slots[i].map),
			.index = g->slots[i].index,
			.after = g->slots[i].prog,
		};
		ref(r->slots[i].after);
	}
	for (unsigned i = 0; i < g->hook_count; i++) {
		r->hooks[i] = g->hooks[i];
		r->hooks[i].old = NULL;
		ref(r->hooks[i].prog);
	}
	return r;
}

void sl_generation_record_free(struct sl_generation_record *record)
{
	if (!record)
		return;
	for (uint32_t i = 0; i < record->slot_count; i++) {
		unref(record->slots[i].before);
		unref(record->slots[i].after);
		sl_map_unref(record->slots[i].map);
	}
	for (unsigned i = 0; i < record->hook_count; i++) {
		unref(record->hooks[i].prog);
		unref(record->hooks[i].old);
	}
	free(record);
}

/* Frees what is behind a link of the chain. */
static void cut(struct sl_generation_record **link)
{
	while (*link) {
		struct sl_generation_record *r = *link;

		*link = r->older;
		sl_generation_record_free(r);
	}
}

void sl_generation_keep(struct sl_generation_record *record, struct sluice_generation *g,
	const struct sluice_generation_info *info)
{
	struct sl_generation_record **link = &newest;

	record->info = *info;
	for (uint32_t i = 0; i < g->slot_count; i++) {
		record->slots[i].before = g->slots[i].prog;
		g->slots[i].prog = NULL;
	}
	for (unsigned i = 0; i < g->hook_count; i++) {
		record->hooks[i].old = g->hooks[i].old;
		g->hooks[i].old = NULL;
	}
	record->older = newest;
	newest = record;
	for (unsigned kept = 0; *link && kept < SLUICE_GENERATIONS_KEPT; kept++)
		link = &(*link)->older;
	cut(link);
}

static bool names(const struct sl_generation_record *r, const struct sl_map *map)
{
	for (uint32_t i = 0; i < r->slot_count; i++) {
		if (r->slots[i].map == map)
			return true;
	}
	return false;
}

void sl_generation_map_gone(struct sl_map *map)
{
	struct sl_generation_record **link = &newest;

	while (*link && !names(*link, map))
		link = &(*link)->older;
	cut(link);
}

void sluice_generation_forget(void)
{
	sl_generation_lock();
	cut(&newest);
	sl_generation_unlock();
}

int sluice_generation_next(uint64_t number, struct sluice_generation_info *ret_info)
{
	const struct sl_generation_record *found = NULL;

	sl_generation_lock();
	for (const struct sl_generation_record *r = newest; r && r->info.number > number;
		r = r->older)
		found = r;
	if (found)
		*ret_info = found->info;
	sl_generation_unlock();
	return found ? 0 : -ENOENT;
}

/* ---- rollback, with the lock held ---- */

/* A slot's changes, oldest first, slots of a map together as sl_generation_publish wants them. */
struct step {
	const struct undo_slot *slot;
	uint64_t number;
};

static int compare_steps(const void *a, const void *b)
{
	const struct step *x = a, *y = b;

	if (x->slot->map != y->slot->map)
		return (uintptr_t)x->slot->map < (uintptr_t)y->slot->map ? -1 : 1;
	if (x->slot->index != y->slot->index)
		return x->slot->index < y->slot->index ? -1 : 1;
	return (x->number > y->number) - (x->number < y->number);
}

static int changed_between(struct sluice_generation *g, const struct step *s)
{
	return sl_generation_refuse(g, -ESTALE,
		"slot %u of map %u '%s' was changed between generations %" PRIu64 " and %" PRIu64,
		s->slot->index, s->slot->map->obj.id, s->slot->map->name, s[-1].number, s->number);
}

/* The net change of one slot: from what the last one has left to what the first one found. */
static int stage_slot(
	struct sluice_generation *g, const struct step *first, const struct step *last)
{
	int err = sl_generation_reserve(g);

	for (const struct step *s = first + 1; !err && s <= last; s++)
		err = s->slot->before == s[-1].slot->after ? 0 : changed_between(g, s);
	if (err)
		return err;
	ref(first->slot->before);
	g->expected[g->slot_count] = last->slot->after;
	g->slots[g->slot_count++] = (struct sl_slot_change){
		.map = sl_map_ref(first->slot->map),
		.index = first->slot->index,
		.prog = first->slot->before,
	};
	return 0;
}

static int stage_slots(struct sluice_generation *g, uint64_t to)
{
	struct step *steps;
	size_t count = 0, n = 0;
	int err = 0;

	for (const struct sl_generation_record *r = newest; r && r->info.number > to; r = r->older)
		count += r->slot_count;
	steps = calloc(count + 1, sizeof(*steps));
	g->expected = calloc(count + 1, sizeof(*g->expected));
	if (!steps || !g->expected) {
		free(steps);
		return sl_generation_refuse(g, -ENOMEM, "out of memory");
	}
	for (const struct sl_generation_record *r = newest; r && r->info.number > to; r = r->older)
		for (uint32_t i = 0; i < r->slot_count; i++)
			steps[n++] = (struct step){ &r->slots[i], r->info.number };
	qsort(steps, count, sizeof(*steps), compare_steps);
	for (size_t first = 0, end; first < count && !err; first = end) {
		for (end = first + 1; end < count &&
				      steps[end].slot->map == steps[first].slot->map &&
				      steps[end].slot->index == steps[first].slot->index;)
			end++;
		err = stage_slot(g, &steps[first], &steps[end - 1]);
	}
	free(steps);
	return err;
}

static bool same_place(const struct sl_hook_change *a, const struct sl_hook_change *b)
{
	return a->kind == b->kind && a->ifindex == b->ifindex && a->hook == b->hook &&
	       a->priority == b->priority && a->handle == b->handle;
}

/*
 * One change of a hook, later ones being staged already. Of a hook with several programs a place is
 * what its program is.
 */
static int stage_hook(
	struct sluice_generation *g, const struct sl_hook_change *change, uint64_t number)
{
	for (unsigned i = 0; i < g->hook_count; i++) {
		struct sl_hook_change *staged = &g->hooks[i];

		if (!same_place(staged, change))
			continue;
		if (staged->prog != change->prog && change->kind == SL_HOOK_TCX)
			continue;
		if (staged->prog != change->prog)
			return sl_generation_refuse(g, -ESTALE,
				"a hook of port %u was changed after generation %" PRIu64,
				change->ifindex, number);
		ref(change->old);
		unref(staged->prog);
		staged->prog = change->old;
		return 0;
	}
	if (g->hook_count == SL_HOOK_SWAPS)
		return sl_generation_refuse(g, -ENOSPC, "more than %d hooks in one generation",
			SLUICE_GENERATION_HOOKS);
	ref(change->old);
	ref(change->prog);
	g->hooks[g->hook_count] = *change;
	g->hooks[g->hook_count].prog = change->old;
	g->hooks[g->hook_count++].old = change->prog;
	return 0;
}

static int stage_hooks(struct sluice_generation *g, uint64_t to)
{
	int err = 0;

	for (const struct sl_generation_record *r = newest; r && r->info.number > to; r = r->older)
		for (unsigned i = 0; !err && i < r->hook_count; i++)
			err = stage_hook(g, &r->hooks[i], r->info.number);
	return err;
}

/* Names the generation to go back to; whether everything after it is kept. */
static int check_kept(struct sluice_generation *g, uint64_t *to)
{
	const struct sl_generation_record *oldest = newest;

	if (!newest)
		return sl_generation_refuse(g, -ENOENT, "there is no generation to roll back");
	while (oldest->older)
		oldest = oldest->older;
	if (*to == UINT64_MAX)
		*to = newest->info.number - 1;
	else if (*to == 0)
		*to = oldest->info.number - 1;
	if (*to >= newest->info.number)
		return sl_generation_refuse(g, -ENOENT,
			"generation %" PRIu64 " is not before the last one, %" PRIu64, *to,
			newest->info.number);
	if (*to + 1 < oldest->info.number)
		return sl_generation_refuse(g, -ENOENT,
			"generation %" PRIu64 " is not kept any more; the oldest to go back to is "
			"%" PRIu64,
			*to, oldest->info.number - 1);
	return 0;
}

static int roll_back(struct sluice_generation *g, uint64_t to, unsigned flags,
	struct sluice_generation_info *ret_info)
{
	uint64_t start_ns = sl_clock_ns();
	int err;

	sl_generation_lock();
	err = check_kept(g, &to);
	if (!err)
		err = stage_slots(g, to);
	if (!err)
		err = stage_hooks(g, to);
	if (!err)
		err = sl_generation_publish(g, flags, &to, start_ns, ret_info);
	sl_generation_unlock();
	return err;
}

int sluice_generation_rollback(uint64_t to, unsigned flags, struct sluice_generation_info *ret_info,
	char *reason, size_t reason_size)
{
	struct sluice_generation *g;
	int err = sluice_generation_new(&g);

	if (!err)
		err = roll_back(g, to, flags, ret_info);
	else
		g = NULL;
	if (err && reason && reason_size)
		snprintf(reason, reason_size, "%s", g ? g->reason : "out of memory");
	sluice_generation_free(g);
	return err;
}
