#include "mprog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fd.h"
#include "link.h"
#include "prog.h"

/*
 * The place of a change is asked of each rule by itself (what is replaced, before what, after what),
 * and all rules have to agree on it. As in the kernel a place for an insertion is the index of a
 * neighbour: -1 is before the first one, `count` behind the last one.
 */

enum { NOWHERE = -ERANGE };

static const struct sl_mprog_hooks *hooks; /* written at the start of the port layer */

void sl_mprog_set_hooks(const struct sl_mprog_hooks *mprog_hooks)
{
	sl_rcu_store(hooks, mprog_hooks);
}

int sl_mprog_lock(uint32_t ifindex, uint32_t attach_type, struct sl_mprog ***ret_slot)
{
	const struct sl_mprog_hooks *h = sl_rcu_load(hooks);

	return h ? h->lock(ifindex, attach_type, ret_slot) : -ENODEV;
}

void sl_mprog_unlock(void)
{
	hooks->unlock();
}

static int get_object(
	enum sl_object_type type, const struct sl_mprog_change *change, struct sl_object **ret_obj)
{
	if (change->flags & SL_MPROG_ID) {
		*ret_obj = sl_object_get_by_id(type, change->relative);
		return *ret_obj ? 0 : -ENOENT;
	}
	return change->relative ? sl_fd_get((int)change->relative, type, ret_obj) : -EINVAL;
}

static bool is_of_type(struct sl_mprog_change *change)
{
	bool same;

	/* A link elsewhere may get another program just now, and this one go. */
	sl_rcu_read_begin();
	if (change->near_link)
		change->near_prog = sl_rcu_load(change->near_link->prog);
	same = !change->prog || change->near_prog->type == change->prog->type;
	sl_rcu_read_end();
	return same;
}

static int get_relative(struct sl_mprog_change *change)
{
	bool link = change->flags & SL_MPROG_LINK;
	int err;

	if (!link && !(change->flags & SL_MPROG_ID) && !change->relative)
		return 0;
	err = get_object(link ? SL_OBJECT_LINK : SL_OBJECT_PROG, change, &change->held);
	if (err)
		return err;
	if (link)
		change->near_link = sl_link_of(change->held);
	else
		change->near_prog = sl_prog_of(change->held);
	return is_of_type(change) ? 0 : -EINVAL;
}

void sl_mprog_change_done(struct sl_mprog_change *change)
{
	sl_object_unref(change->held);
	change->held = NULL;
}

static int count_of(const struct sl_mprog *list)
{
	return list ? (int)list->count : 0;
}

static int find(const struct sl_mprog *list, const struct sl_prog *prog)
{
	for (int i = 0; i < count_of(list); i++) {
		if (list->entries[i].prog == prog)
			return i;
	}
	return -ENOENT;
}

/* The very entry: a link's only for the link. */
static int find_exact(
	const struct sl_mprog *list, const struct sl_prog *prog, const struct sl_link *link)
{
	int i = find(list, prog);

	return i < 0 || list->entries[i].link == link ? i : -EBUSY;
}

static int find_near(const struct sl_mprog *list, const struct sl_mprog_change *change)
{
	int i = find(list, change->near_prog);

	if (i >= 0 && change->near_link && list->entries[i].link != change->near_link)
		return -ENOENT;
	return i;
}

/* One more rule; `place` is what the ones before it agreed on. */
static int agree(int place, int found, int *ret_place)
{
	if (found < -1)
		return found;
	if (place >= -1 && found != place)
		return -ERANGE;
	*ret_place = found;
	return 0;
}

/* The rules that attaching and detaching share. `place`: NOWHERE, or where the program itself is. */
static int find_place(const struct sl_mprog *list, const struct sl_mprog_change *change, int place,
	int *ret_place)
{
	int at, err = 0;

	if (change->flags & SL_MPROG_BEFORE) {
		at = change->near_prog ? find_near(list, change) : 0;
		err = agree(place, at < 0 ? at : at - 1, &place);
	}
	if (!err && (change->flags & SL_MPROG_AFTER)) {
		at = change->near_prog ? find_near(list, change) : count_of(list) - 1;
		err = agree(place, at < -1 ? at : at + 1, &place);
	}
	if (err)
		return err;
	if (place < -1) {
		if (change->near_prog || change->flags)
			return -EINVAL;
		place = count_of(list);
	}
	if (place >= SL_MPROG_MAX)
		return -ERANGE;
	*ret_place = place;
	return 0;
}

static void free_list(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_mprog, rcu));
}

/* A copy of `from` without the entry at `skip` (-1: with all), and room at `gap` (-1: none). */
static struct sl_mprog *copy(const struct sl_mprog *from, int skip, int gap)
{
	uint32_t room = (uint32_t)count_of(from) + 1;
	struct sl_mprog *to = calloc(1, sizeof(*to) + room * sizeof(to->entries[0]));

	if (!to)
		return NULL;
	to->revision = (from ? from->revision : 1) + 1;
	for (int i = 0; i <= count_of(from); i++) {
		if (i == gap)
			to->count++;
		if (i < count_of(from) && i != skip)
			to->entries[to->count++] = from->entries[i];
	}
	return to;
}

static void publish(struct sl_mprog **slot, struct sl_mprog *list)
{
	struct sl_mprog *old = *slot;

	if (list && !list->count) {
		free(list);
		list = NULL;
	}
	sl_rcu_store(*slot, list);
	if (old)
		sl_rcu_call(&old->rcu, free_list);
}

/* An entry of ours is out of the list: the program outlives its last reference by a grace period. */
static void drop(const struct sl_mprog_entry *entry)
{
	if (!entry->link)
		sl_object_unref(&entry->prog->obj);
}

static int put(struct sl_mprog **slot, const struct sl_mprog_change *change, int place)
{
	const struct sl_mprog_entry entry = { .prog = change->prog, .link = change->link };
	bool replace = change->flags & BPF_F_REPLACE;
	struct sl_mprog_entry old = { .prog = NULL };
	struct sl_mprog *list;
	int at = place;

	if (!replace && place != count_of(*slot) && (change->flags & SL_MPROG_BEFORE))
		at++;
	list = copy(*slot, -1, replace ? -1 : at);
	if (!list)
		return -ENOMEM;
	if (replace)
		old = list->entries[at];
	list->entries[at] = entry;
	if (!entry.link)
		sl_object_ref(&entry.prog->obj);
	publish(slot, list);
	if (old.prog)
		drop(&old);
	return 0;
}

int sl_mprog_attach(struct sl_mprog **slot, struct sl_mprog_change *change)
{
	const struct sl_mprog *list = *slot;
	int place = NOWHERE, err;

	if (change->revision && change->revision != (list ? list->revision : 1))
		return -ESTALE;
	if (find(list, change->prog) >= 0)
		return -EEXIST;
	err = get_relative(change);
	if (err)
		return err;
	if (change->flags & BPF_F_REPLACE) {
		place = find_exact(list, change->old, change->link);
		err = place < 0 ? place : 0;
	} else if (count_of(list) == SL_MPROG_MAX) {
		err = -ERANGE;
	}
	if (!err)
		err = find_place(list, change, place, &place);
	if (!err)
		err = put(slot, change, place);
	return err;
}

/* The entry at a place, which may be an end of the list. */
static int take(struct sl_mprog **slot, const struct sl_mprog_change *change, int place)
{
	int count = count_of(*slot), at = sl_min(sl_max(place, 0), count - 1);
	struct sl_mprog_entry entry = (*slot)->entries[at];
	struct sl_mprog *list;

	if (entry.link && !change->link)
		return -EBUSY;
	list = copy(*slot, at, -1);
	if (!list)
		return -ENOMEM;
	publish(slot, list);
	drop(&entry);
	return 0;
}

int sl_mprog_detach(struct sl_mprog **slot, struct sl_mprog_change *change)
{
	const struct sl_mprog *list = *slot;
	int place = NOWHERE, err;

	if (!list)
		return -ENOENT;
	if (change->flags & BPF_F_REPLACE)
		return -EINVAL;
	if (change->revision && change->revision != list->revision)
		return -ESTALE;
	err = get_relative(change);
	if (err)
		return err;
	if (change->prog) {
		place = find_exact(list, change->prog, change->link);
		err = place < 0 ? place : 0;
	}
	if (!err)
		err = find_place(list, change, place, &place);
	if (!err)
		err = take(slot, change, place);
	return err;
}

void sl_mprog_clear(struct sl_mprog **slot)
{
	struct sl_mprog *list = *slot;

	if (!list)
		return;
	sl_rcu_store(*slot, NULL);
	for (uint32_t i = 0; i < list->count; i++) {
		if (list->entries[i].link)
			sl_link_forget_hook(list->entries[i].link);
		drop(&list->entries[i]);
	}
	sl_rcu_call(&list->rcu, free_list);
}
