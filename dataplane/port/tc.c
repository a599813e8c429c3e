#include "tc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_sched.h>

#include "fd.h"
#include "mprog.h"
#include "run_stats.h"

/*
 * The kernel's bounds (net/sched): how often a list starts again for TC_ACT_RECLASSIFY before the
 * packet is dropped, and how often an action runs for TC_ACT_REPEAT before the packet passes.
 */
enum { RECLASSIFY_MAX = 16, REPEAT_MAX = 32 };

/* Priorities that the kernel chooses count down from here and stay above PRIORITY_MANUAL. */
enum { PRIORITY_FIRST = 0xc000, PRIORITY_MANUAL = 0x8000, PRIORITY_MAX = 0xffff };

static int run(const struct sl_prog *prog, struct sl_ctx *ctx)
{
	return (int)(uint32_t)sl_run_one(prog, ctx);
}

int sl_tcx_run(const struct sl_mprog *list, struct sl_ctx *ctx)
{
	const struct sl_mprog_entry *entry = list->entries, *end = entry + list->count;
	int result = TC_ACT_UNSPEC;

	ctx->tc_classid = 0;
	for (; entry < end && result == TC_ACT_UNSPEC; entry++)
		result = run(sl_rcu_load(entry->prog), ctx);
	switch (result) {
	case TC_ACT_OK:
		ctx->tc_index = ctx->tc_classid & 0xffff;
		return result;
	case TC_ACT_SHOT:
	case TC_ACT_REDIRECT:
		return result;
	default:
		/* Ends the list as well, and decides nothing. */
		return TC_ACT_UNSPEC;
	}
}

/* What a direct-action program may decide; the rest means "go on". */
static int direct_verdict(int result)
{
	switch (result) {
	case TC_ACT_OK:
	case TC_ACT_SHOT:
	case TC_ACT_STOLEN:
	case TC_ACT_TRAP:
	case TC_ACT_REDIRECT:
		return result;
	default:
		return TC_ACT_UNSPEC;
	}
}

/* A bpf action may say less than the configured verdict of an action can. */
static int run_action(const struct sl_tc_action *action, struct sl_ctx *ctx)
{
	int result = action->prog ? run(action->prog, ctx) : TC_ACT_UNSPEC;

	switch (result) {
	case TC_ACT_PIPE:
	case TC_ACT_RECLASSIFY:
	case TC_ACT_OK:
	case TC_ACT_REDIRECT:
	case TC_ACT_SHOT:
		return result;
	case TC_ACT_UNSPEC:
		return action->verdict;
	default:
		return TC_ACT_UNSPEC;
	}
}

static int run_actions(const struct sl_tc_filter *filter, struct sl_ctx *ctx)
{
	int verdict = TC_ACT_OK;

	for (uint32_t i = 0; i < filter->action_count; i++) {
		unsigned left = REPEAT_MAX;

		do {
			verdict = run_action(&filter->actions[i], ctx);
		} while (verdict == TC_ACT_REPEAT && --left > 0);
		if (verdict == TC_ACT_REPEAT)
			return TC_ACT_OK;
		if (verdict != TC_ACT_PIPE)
			return verdict;
	}
	return verdict;
}

/* One filter; TC_ACT_UNSPEC: go on with the next one. */
static int run_filter(const struct sl_tc_filter *filter, struct sl_ctx *ctx, uint32_t *ret_classid)
{
	int result, verdict;
	uint32_t classid;

	ctx->tc_classid = filter->classid & 0xffff;
	result = run(sl_rcu_load(filter->prog), ctx);
	if (filter->direct_action) {
		verdict = direct_verdict(result);
		classid = TC_H_MAJ(filter->classid) | (ctx->tc_classid & 0xffff);
	} else if (result == 0) {
		return TC_ACT_UNSPEC;
	} else {
		classid = result == -1 ? filter->classid : (uint32_t)result;
		verdict = run_actions(filter, ctx);
	}
	if (verdict != TC_ACT_UNSPEC)
		*ret_classid = classid;
	return verdict;
}

int sl_tc_classify(const struct sl_tc_list *list, struct sl_ctx *ctx, uint32_t *ret_classid)
{
	uint32_t i = 0;

	for (unsigned again = 0; i < list->count; i++) {
		const struct sl_tc_filter *filter = list->filters[i];
		uint32_t protocol = ctx->vlan_present ? ctx->vlan_proto : ctx->protocol;
		int verdict;

		if (filter->protocol && filter->protocol != protocol)
			continue;
		verdict = run_filter(filter, ctx, ret_classid);
		if (verdict == TC_ACT_RECLASSIFY) {
			if (again++ == RECLASSIFY_MAX)
				return TC_ACT_SHOT;
			i = UINT32_MAX; /* the first one is next */
		} else if (verdict != TC_ACT_UNSPEC) {
			return verdict;
		}
	}
	return TC_ACT_UNSPEC;
}

static void unref_prog(struct sl_prog *prog)
{
	if (prog)
		sl_object_unref(&prog->obj);
}

static void filter_free(struct sl_tc_filter *filter)
{
	if (!filter)
		return;
	unref_prog(filter->prog);
	for (uint32_t i = 0; i < filter->action_count; i++)
		unref_prog(filter->actions[i].prog);
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

static int get_prog(int fd, enum bpf_prog_type type, struct sl_prog **ret_prog)
{
	struct sl_object *obj;
	int err = sl_fd_get(fd, SL_OBJECT_PROG, &obj);

	if (err)
		return err;
	if (sl_prog_of(obj)->type != type) {
		sl_object_unref(obj);
		return -EINVAL;
	}
	*ret_prog = sl_prog_of(obj);
	return 0;
}

static int get_actions(struct sl_tc_filter *filter, const struct sluice_tc_filter *spec)
{
	if (spec->action_count > SLUICE_TC_ACTIONS)
		return -EINVAL;
	for (unsigned i = 0; i < spec->action_count; i++) {
		const struct sluice_tc_action *from = &spec->actions[i];
		struct sl_tc_action *to = &filter->actions[i];
		int err;

		if (from->verdict < TC_ACT_UNSPEC || from->verdict > TC_ACT_TRAP)
			return -EINVAL;
		to->verdict = from->verdict;
		filter->action_count = i + 1;
		if (from->prog_fd < 0)
			continue;
		err = get_prog(from->prog_fd, BPF_PROG_TYPE_SCHED_ACT, &to->prog);
		if (err)
			return err;
	}
	return 0;
}

static int filter_new(const struct sluice_tc_filter *spec, struct sl_tc_filter **ret_filter)
{
	struct sl_tc_filter *filter = calloc(1, sizeof(*filter));
	int err = -ENOMEM;

	if (!filter)
		return err;
	err = get_prog(spec->prog_fd, BPF_PROG_TYPE_SCHED_CLS, &filter->prog);
	if (!err)
		err = get_actions(filter, spec);
	if (err)
		goto fail;
	filter->priority = spec->priority;
	filter->handle = spec->handle;
	filter->classid = spec->classid;
	filter->protocol = spec->protocol == ETH_P_ALL ? 0 : htons(spec->protocol);
	filter->direct_action = spec->direct_action;
	snprintf(filter->name, sizeof(filter->name), "%s",
		spec->name ? spec->name : filter->prog->name);
	*ret_filter = filter;
	return 0;
fail:
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
			return -ENOSPC;
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
			sl_rcu_call(&from->filters[i]->rcu, filter_free_rcu);
	}
	if (from)
		sl_rcu_call(&from->rcu, list_free_rcu);
	return 0;
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
	err = -EEXIST;
	if (change.old && !(flags & SLUICE_TC_REPLACE))
		goto fail;
	err = publish(slot, &change);
	if (err)
		goto fail;
	spec->priority = filter->priority;
	spec->handle = filter->handle;
	return 0;
fail:
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
		sl_rcu_call(&list->filters[i]->rcu, filter_free_rcu);
	sl_rcu_call(&list->rcu, list_free_rcu);
}
