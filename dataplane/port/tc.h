#pragma once

#include <sluice/dataplane.h>

#include "context.h"
#include "prog.h"
#include "rcu.h"
#include "tc_action.h"

/*
 * cls_bpf filters and their actions, as the kernel's traffic control runs them. Needs no EAL.
 *
 * A list is immutable once published: a change makes a copy, publishes it, and frees the old one
 * after a grace period, so that a packet meets the old list or the new one. Only a filter's program is
 * changed where it is, by a generation.
 */
struct sl_tc_filter {
	/* Read by workers, in this order. */
	struct sl_prog *prog; /* reference; read through sl_rcu_load (hook_swap.h) */
	uint32_t classid;
	uint16_t protocol; /* big endian, 0 for all */
	bool direct_action;
	uint32_t action_count;

	/* Control threads only. */
	uint32_t priority, handle, offload_flags;
	bool named; /* its name was given, and is not the program's */
	char name[SLUICE_TC_NAME_LEN];
	struct sl_rcu_head rcu;

	struct sl_tc_action *actions[]; /* bound; read by workers */
};

struct sl_tc_list {
	uint32_t count;
	struct sl_rcu_head rcu;
	struct sl_tc_filter *filters[]; /* in the order in which packets meet them */
};

struct sl_mprog;

/*
 * The tcx programs of a hook, which come before its filters: TC_ACT_OK, TC_ACT_SHOT or
 * TC_ACT_REDIRECT, or TC_ACT_UNSPEC to go on with the filters.
 */
SL_WORKER int sl_tcx_run(const struct sl_mprog *list, struct sl_ctx *ctx);
/* The same, noting the steps of a packet's path (watch.h). */
SL_WORKER int sl_tcx_run_watched(const struct sl_mprog *list, struct sl_ctx *ctx);

/*
 * What the kernel's tcf_classify returns: a TC_ACT_*, TC_ACT_UNSPEC when no filter decided.
 * *ret_classid is the class of the filter that did, untouched without one.
 */
SL_WORKER int sl_tc_classify(
	const struct sl_tc_list *list, struct sl_ctx *ctx, uint32_t *ret_classid);
SL_WORKER int sl_tc_classify_watched(
	const struct sl_tc_list *list, struct sl_ctx *ctx, uint32_t *ret_classid);

/*
 * The three changes of a hook's list. Callers hold the ports' lock. sl_tc_list_add writes the
 * priority and handle that it chose back to `spec`. An empty list is NULL.
 */
SL_CONTROL int sl_tc_list_add(
	struct sl_tc_list **slot, struct sluice_tc_filter *spec, unsigned flags);
SL_CONTROL int sl_tc_list_del(struct sl_tc_list **slot, uint32_t priority, uint32_t handle);
/* NULL when there is none. */
SL_CONTROL struct sl_tc_filter *sl_tc_list_find(
	const struct sl_tc_list *list, uint32_t priority, uint32_t handle);
SL_CONTROL void sl_tc_list_clear(struct sl_tc_list **slot);
