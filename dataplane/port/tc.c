#include "tc.h"

#include <linux/pkt_sched.h>

#include "mprog.h"

/*
 * The kernel's bounds (net/sched): how often a list starts again for TC_ACT_RECLASSIFY before the
 * packet is dropped, and how often an action runs for TC_ACT_REPEAT before the packet passes.
 */
enum { RECLASSIFY_MAX = 16, REPEAT_MAX = 32 };

int sl_tcx_run(const struct sl_mprog *list, struct sl_ctx *ctx)
{
	const struct sl_mprog_entry *entry = list->entries, *end = entry + list->count;
	int result = TC_ACT_UNSPEC;

	ctx->tc_classid = 0;
	for (; entry < end && result == TC_ACT_UNSPEC; entry++)
		result = sl_tc_run_prog(sl_rcu_load(entry->prog), ctx);
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

static int run_actions(const struct sl_tc_filter *filter, struct sl_ctx *ctx)
{
	int verdict = TC_ACT_OK;

	for (uint32_t i = 0; i < filter->action_count; i++) {
		unsigned left = REPEAT_MAX;

		do {
			verdict = sl_tc_action_run(filter->actions[i], ctx);
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
	result = sl_tc_run_prog(sl_rcu_load(filter->prog), ctx);
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
