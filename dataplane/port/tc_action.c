#include "tc_action.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/if_ether.h>

#include "caller.h"
#include "clock.h"
#include "cpu.h"
#include "fd.h"
#include "logging.h"
#include "port.h"
#include "run_stats.h"

/* The actions of a kind by index, ascending. Under the ports' lock. */
struct table {
	struct sl_tc_action **actions;
	uint32_t count, room;
};

static struct table tables[SLUICE_TC_BPF + 1];

int sl_tc_run_prog(const struct sl_prog *prog, struct sl_ctx *ctx)
{
	return (int)(uint32_t)sl_run_one(prog, ctx);
}

static void add_relaxed(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* The kernel counts a packet on its way in without its Ethernet header. */
static void count(struct sl_tc_action_count *count, const struct sl_ctx *ctx)
{
	uint64_t now_ns = sl_clock_ns();

	add_relaxed(&count->packets, 1);
	add_relaxed(
		&count->bytes, ctx->at_ingress ? ctx->len - sl_min(ctx->len, ETH_HLEN) : ctx->len);
	if (sl_unlikely(!count->first_ns))
		__atomic_store_n(&count->first_ns, now_ns, __ATOMIC_RELAXED);
	__atomic_store_n(&count->last_ns, now_ns, __ATOMIC_RELAXED);
}

static inline __attribute__((always_inline)) int action_run(const struct sl_tc_action *action,
	struct sl_ctx *ctx, int (*run)(const struct sl_prog *prog, struct sl_ctx *ctx))
{
	const struct sl_tc_step *step = sl_rcu_load(action->step);
	struct sl_tc_action_count *counter = &action->counts[ctx->cpu];
	int result;

	count(counter, ctx);
	result = step->prog ? run(step->prog, ctx) : TC_ACT_UNSPEC;
	switch (result) {
	case TC_ACT_SHOT:
		add_relaxed(&counter->drops, 1);
		return result;
	case TC_ACT_PIPE:
	case TC_ACT_RECLASSIFY:
	case TC_ACT_OK:
	case TC_ACT_REDIRECT:
		return result;
	case TC_ACT_UNSPEC:
		if (!step->prog && step->verdict == TC_ACT_SHOT)
			add_relaxed(&counter->drops, 1);
		return step->verdict;
	default:
		return TC_ACT_UNSPEC;
	}
}

int sl_tc_action_run(const struct sl_tc_action *action, struct sl_ctx *ctx)
{
	return action_run(action, ctx, sl_tc_run_prog);
}

int sl_tc_action_run_watched(const struct sl_tc_action *action, struct sl_ctx *ctx)
{
	return action_run(action, ctx, sl_tc_run_prog_watched);
}

int sl_tc_get_prog(int fd, enum bpf_prog_type type, struct sl_prog **ret_prog)
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

/* ---- what an action does ---- */

static void step_free(struct sl_tc_step *step)
{
	if (step && step->prog)
		sl_object_unref(&step->prog->obj);
	free(step);
}

static void step_free_rcu(struct sl_rcu_head *head)
{
	step_free(sl_container_of(head, struct sl_tc_step, rcu));
}

static int step_new(
	enum sluice_tc_kind kind, const struct sluice_tc_action *spec, struct sl_tc_step **ret_step)
{
	struct sl_tc_step *step;
	int err = 0;

	if (spec->verdict < TC_ACT_UNSPEC || spec->verdict > TC_ACT_TRAP)
		return -EINVAL;
	if (kind == SLUICE_TC_BPF && spec->prog_fd < 0)
		return -EINVAL;
	step = calloc(1, sizeof(*step));
	if (!step)
		return -ENOMEM;
	step->verdict = spec->verdict;
	if (kind == SLUICE_TC_BPF)
		err = sl_tc_get_prog(spec->prog_fd, BPF_PROG_TYPE_SCHED_ACT, &step->prog);
	if (err) {
		step_free(step);
		return err;
	}
	*ret_step = step;
	return 0;
}

/* ---- the tables ---- */

/* Where an index is, or would be. */
static uint32_t position(const struct table *table, uint32_t index)
{
	uint32_t low = 0, high = table->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (table->actions[middle]->index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct sl_tc_action *find(const struct table *table, uint32_t index)
{
	uint32_t at = position(table, index);

	return at < table->count && table->actions[at]->index == index ? table->actions[at] : NULL;
}

/* The smallest one from 1 on: before it the one at i has index i + 1. */
static uint32_t free_index(const struct table *table)
{
	uint32_t low = 0, high = table->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (table->actions[middle]->index == middle + 1)
			low = middle + 1;
		else
			high = middle;
	}
	return low + 1;
}

static int insert(struct table *table, struct sl_tc_action *action)
{
	uint32_t at = position(table, action->index);

	if (table->count == SLUICE_TC_ACTION_OBJECTS)
		return -ENOSPC;
	if (table->count == table->room) {
		uint32_t room = table->room ? table->room * 2 : 16;
		struct sl_tc_action **actions =
			realloc(table->actions, room * sizeof(struct sl_tc_action *));

		if (!actions)
			return -ENOMEM;
		table->actions = actions;
		table->room = room;
	}
	memmove(&table->actions[at + 1], &table->actions[at],
		(table->count - at) * sizeof(struct sl_tc_action *));
	table->actions[at] = action;
	table->count++;
	return 0;
}

static void action_free(struct sl_tc_action *action)
{
	if (!action)
		return;
	step_free(action->step);
	free(action->counts);
	free(action);
}

static void action_free_rcu(struct sl_rcu_head *head)
{
	action_free(sl_container_of(head, struct sl_tc_action, rcu));
}

static void put(struct sl_tc_action *action)
{
	struct table *table = &tables[action->kind];
	uint32_t at = position(table, action->index);

	if (--action->references > 0)
		return;
	memmove(&table->actions[at], &table->actions[at + 1],
		(--table->count - at) * sizeof(struct sl_tc_action *));
	if (table->count == 0) {
		free(table->actions);
		*table = (struct table){ 0 };
	}
	sl_rcu_call(&action->rcu, action_free_rcu);
}

static void set_texts(struct sl_tc_action *action, const struct sluice_tc_action *spec)
{
	action->named = spec->name != NULL;
	snprintf(action->name, sizeof(action->name), "%s", spec->name ? spec->name : "");
	if (!spec->cookie)
		return;
	action->cookie_len = sl_min(spec->cookie_len, (uint8_t)SLUICE_TC_COOKIE_LEN);
	memcpy(action->cookie, spec->cookie, action->cookie_len);
}

static int action_new(enum sluice_tc_kind kind, const struct sluice_tc_action *spec,
	struct sl_tc_action **ret_action)
{
	struct sl_tc_action *action = calloc(1, sizeof(*action));
	size_t size = sl_cpu_count() * sizeof(struct sl_tc_action_count);
	int err = -ENOMEM;

	if (!action)
		return err;
	action->counts = aligned_alloc(SL_CACHE_LINE, size);
	if (!action->counts)
		goto fail;
	memset(action->counts, 0, size);
	err = step_new(kind, spec, &action->step);
	if (err)
		goto fail;
	action->kind = kind;
	action->index = spec->index ? spec->index : free_index(&tables[kind]);
	action->references = 1;
	action->added_ns = sl_clock_ns();
	set_texts(action, spec);
	err = insert(&tables[kind], action);
	if (err)
		goto fail;
	*ret_action = action;
	return 0;
fail:
	action_free(action);
	return err;
}

static enum sluice_tc_kind kind_of(const struct sluice_tc_action *spec)
{
	if (spec->kind != SLUICE_TC_BY_FD)
		return spec->kind;
	return spec->prog_fd < 0 ? SLUICE_TC_GACT : SLUICE_TC_BPF;
}

int sl_tc_action_bind(const struct sluice_tc_action *spec, struct sl_tc_action **ret_action)
{
	enum sluice_tc_kind kind = kind_of(spec);
	struct sl_tc_action *action = spec->index ? find(&tables[kind], spec->index) : NULL;
	int err;

	if (action) {
		action->references++;
	} else {
		err = action_new(kind, spec, &action);
		if (err)
			return err;
	}
	action->bindings++;
	*ret_action = action;
	return 0;
}

void sl_tc_action_unbind(struct sl_tc_action *action)
{
	action->bindings--;
	put(action);
}

static int replace(struct sl_tc_action *action, const struct sluice_tc_action *spec)
{
	struct sl_tc_step *step, *old = action->step;
	int err = step_new(action->kind, spec, &step);

	if (err)
		return err;
	set_texts(action, spec);
	sl_rcu_store(action->step, step);
	sl_rcu_call(&old->rcu, step_free_rcu);
	return 0;
}

static int add(struct sluice_tc_action *spec, unsigned flags)
{
	enum sluice_tc_kind kind = kind_of(spec);
	struct sl_tc_action *action = spec->index ? find(&tables[kind], spec->index) : NULL;
	int err;

	if (action)
		return flags & SLUICE_TC_REPLACE ? replace(action, spec) : -EEXIST;
	err = action_new(kind, spec, &action);
	if (!err)
		spec->index = action->index;
	return err;
}

int sluice_tc_action_add(struct sluice_tc_action *action, unsigned flags)
{
	int err;

	/* Fetched before the lock is taken; whether it is good is said when it is used. */
	sl_caller_fd(action->prog_fd);
	sl_port_lock();
	err = add(action, flags);
	sl_port_unlock();
	return err;
}

int sluice_tc_action_del(enum sluice_tc_kind kind, uint32_t index)
{
	struct sl_tc_action *action;
	int err = 0;

	sl_port_lock();
	action = find(&tables[kind], index);
	if (!action)
		err = -ENOENT;
	else if (action->bindings)
		err = -EPERM;
	else
		put(action);
	sl_port_unlock();
	return err;
}

static void sum(const struct sl_tc_action *action, struct sluice_tc_action_info *info)
{
	uint64_t first_ns = 0, last_ns = action->added_ns, now_ns = sl_clock_ns();

	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		const struct sl_tc_action_count *count = &action->counts[cpu];
		uint64_t first = __atomic_load_n(&count->first_ns, __ATOMIC_RELAXED);
		uint64_t last = __atomic_load_n(&count->last_ns, __ATOMIC_RELAXED);

		info->packets += __atomic_load_n(&count->packets, __ATOMIC_RELAXED);
		info->bytes += __atomic_load_n(&count->bytes, __ATOMIC_RELAXED);
		info->drops += __atomic_load_n(&count->drops, __ATOMIC_RELAXED);
		if (first && (!first_ns || first < first_ns))
			first_ns = first;
		last_ns = sl_max(last_ns, last);
	}
	info->age_ns = now_ns - action->added_ns;
	info->idle_ns = now_ns > last_ns ? now_ns - last_ns : 0;
	info->first_ns = first_ns && now_ns > first_ns ? now_ns - first_ns : 0;
}

static void describe(const struct sl_tc_action *action, struct sluice_tc_action_info *info)
{
	const struct sl_prog *prog = action->step->prog;

	*info = (struct sluice_tc_action_info){
		.kind = action->kind,
		.index = action->index,
		.references = action->references,
		.bindings = action->bindings,
		.verdict = action->step->verdict,
		.prog_id = prog ? prog->obj.id : 0,
		.named = action->named,
		.cookie_len = action->cookie_len,
	};
	memcpy(info->name, action->name, sizeof(info->name));
	memcpy(info->cookie, action->cookie, sizeof(info->cookie));
	if (prog)
		memcpy(info->prog_tag, prog->tag, sizeof(info->prog_tag));
	sum(action, info);
}

int sluice_tc_action_next(
	enum sluice_tc_kind kind, uint32_t index, struct sluice_tc_action_info *ret_info)
{
	const struct table *table = &tables[kind];
	int err = -ENOENT;
	uint32_t at;

	sl_port_lock();
	at = position(table, index);
	if (at < table->count) {
		describe(table->actions[at], ret_info);
		err = 0;
	}
	sl_port_unlock();
	return err;
}
