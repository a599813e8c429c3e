#include "tc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>

/* A hook's filters, as control threads change them. */

/* Priorities that the kernel chooses count down from here and stay above PRIORITY_MANUAL. */
enum { PRIORITY_FIRST = 0xc000, PRIORITY_MANUAL = 0x8000, PRIORITY_MAX = 0xffff };

/* The actions have been given back already: a filter that goes does so before the grace period. */
static void filter_free(struct sl_tc_filter *filter)
{
	if (filter && filter->prog)
		sl_object_unref(&filter->prog->obj);
	free(filter);
}

static void filter_free_rcu(struct sl_rcu_head *head)
{
	filter_free(sl_container_of(head, struct sl_tc_filter, rcu));
}

static void list_free_rcu(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_tc_list, rcu));
}

/* Workers may still run the filter. */
static void put_actions(const struct sl_tc_filter *filter)
{
	for (uint32_t i = 0; i < filter->action_count; i++)
		sl_tc_action_unbind(filter->actions[i]);
}

/* Of one that no packet meets any more but those under way. */
static void filter_end(struct sl_tc_filter *filter)
{
	put_actions(filter);
	sl_rcu_call(&filter->rcu, filter_free_rcu);
}

static int get_actions(struct sl_tc_filter *filter, const struct sluice_tc_filter *spec)
{
	for (unsigned i = 0; i < spec->action_count; i++) {
		int err = sl_tc_action_bind(&spec->actions[i], &filter->actions[i]);

		if (err)
			return err;
		filter->action_count = i + 1;
	}
	return 0;
}

static int filter_new(const struct sluice_tc_filter *spec, struct sl_tc_filter **ret_filter)
{
	struct sl_tc_filter *filter;
	int err;

	if (spec->action_count > SLUICE_TC_ACTIONS)
		return -EINVAL;
	filter = calloc(1, sizeof(*filter) + spec->action_count * sizeof(filter->actions[0]));
	if (!filter)
		return -ENOMEM;
	err = sl_tc_get_prog(spec->prog_fd, BPF_PROG_TYPE_SCHED_CLS, &filter->prog);
	if (!err)
		err = get_actions(filter, spec);
	if (err)
		goto fail;
	filter->priority = spec->priority;
	filter->handle = spec->handle;
	filter->classid = spec->classid;
	filter->protocol = spec->protocol == ETH_P_ALL ? 0 : htons(spec->protocol);
	filter->direct_action = spec->direct_action;
	filter->offload_flags = spec->offload_flags;
	filter->named = spec->name != NULL;
	snprintf(filter->name, sizeof(filter->name), "%s",
		spec->name ? spec->name : filter->prog->name);
	*ret_filter = filter;
	return 0;
fail:
	put_actions(filter);
	filter_free(filter);
	return err;
}

/* The kernel's choice: one before the first that is at or above the range of its choices. */
static int choose_priority(const struct sl_tc_list *list, uint32_t *ret_priority)
{
	uint32_t priority = PRIORITY_FIRST;

	for (uint32_t i = 0; list && i < list->count; i++) {
		if (list->filters[i]->priority < PRIORITY_MANUAL)
			continue;
		priority = list->filters[i]->priority - 1;
		break;
	}
	if (priority < PRIORITY_MANUAL)
		return -ENOSPC;
	*ret_priority = priority;
	return 0;
}

struct sl_tc_filter *sl_tc_list_find(
	const struct sl_tc_list *list, uint32_t priority, uint32_t handle)
{
	for (uint32_t i = 0; list && i < list->count; i++) {
		if (list->filters[i]->priority == priority && list->filters[i]->handle == handle)
			return list->filters[i];
	}
	return NULL;
}

/* Fills in what the caller left to us and checks the rest against what is there. */
static int place(const struct sl_tc_list *list, struct sl_tc_filter *filter)
{
	if (filter->priority > PRIORITY_MAX)
		return -EINVAL;
	if (filter->priority == 0) {
		int err = choose_priority(list, &filter->priority);

		if (err)
			return err;
	}
	for (uint32_t i = 0; list && i < list->count; i++) {
		const struct sl_tc_filter *other = list->filters[i];

		if (other->priority == filter->priority && other->protocol != filter->protocol)
			return -EINVAL;
	}
	if (filter->handle == 0) {
		do
			filter->handle++;
		while (sl_tc_list_find(list, filter->priority, filter->handle));
	}
	return 0;
}

/* A new filter, in the place of `old` if there is one; or, without, those that go. */
struct change {
	struct sl_tc_filter *add, *old;
	uint32_t priority, handle; /* of those that go; 0 for any */
};

static bool goes(const struct change *change, const struct sl_tc_filter *filter)
{
	if (change->add)
		return filter == change->old;
	return (!change->priority || filter->priority == change->priority) &&
	       (!change->handle || filter->handle == change->handle);
}

/* A new filter comes before those of its own priority, as in the kernel. */
static bool precedes(const struct change *change, const struct sl_tc_filter *filter)
{
	if (change->old)
		return filter == change->old;
	return change->add && filter->priority >= change->add->priority;
}

static int publish(struct sl_tc_list **slot, const struct change *change)
{
	struct sl_tc_list *from = *slot, *to;
	uint32_t count = from ? from->count : 0;
	bool added = !change->add;

	to = calloc(1, sizeof(*to) + (count + 1) * sizeof(to->filters[0]));
	if (!to)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		if (!added && precedes(change, from->filters[i])) {
			to->filters[to->count++] = change->add;
			added = true;
		}
		if (!goes(change, from->filters[i]))
			to->filters[to->count++] = from->filters[i];
	}
	if (!added)
		to->filters[to->count++] = change->add;
	if (to->count == 0) {
		free(to);
		to = NULL;
	}
	sl_rcu_store(*slot, to);
	for (uint32_t i = 0; i < count; i++) {
		if (goes(change, from->filters[i]))
			filter_end(from->filters[i]);
	}
	if (from)
		sl_rcu_call(&from->rcu, list_free_rcu);
	return 0;
}

static int check_change(const struct change *change, unsigned flags)
{
	if (change->old && !(flags & SLUICE_TC_REPLACE))
		return -EEXIST;
	if (change->old && change->old->offload_flags != change->add->offload_flags)
		return -EINVAL;
	/* No port runs filters in its device. */
	return change->add->offload_flags & TCA_CLS_FLAGS_SKIP_SW ? -EOPNOTSUPP : 0;
}

int sl_tc_list_add(struct sl_tc_list **slot, struct sluice_tc_filter *spec, unsigned flags)
{
	struct sl_tc_filter *filter;
	struct change change;
	int err = filter_new(spec, &filter);

	if (err)
		return err;
	err = *slot && (*slot)->count >= SLUICE_TC_FILTERS ? -ENOSPC : place(*slot, filter);
	if (err)
		goto fail;
	change = (struct change){
		.add = filter,
		.old = sl_tc_list_find(*slot, filter->priority, filter->handle),
	};
	err = check_change(&change, flags);
	if (err)
		goto fail;
	err = publish(slot, &change);
	if (err)
		goto fail;
	spec->priority = filter->priority;
	spec->handle = filter->handle;
	return 0;
fail:
	put_actions(filter);
	filter_free(filter);
	return err;
}

int sl_tc_list_del(struct sl_tc_list **slot, uint32_t priority, uint32_t handle)
{
	struct change change = { .priority = priority, .handle = handle };

	if (!priority && handle)
		return -EINVAL;
	for (uint32_t i = 0; *slot && i < (*slot)->count; i++) {
		if (goes(&change, (*slot)->filters[i]))
			return publish(slot, &change);
	}
	return -ENOENT;
}

void sl_tc_list_clear(struct sl_tc_list **slot)
{
	struct sl_tc_list *list = *slot;

	if (!list)
		return;
	sl_rcu_store(*slot, NULL);
	for (uint32_t i = 0; i < list->count; i++)
		filter_end(list->filters[i]);
	sl_rcu_call(&list->rcu, list_free_rcu);
}
