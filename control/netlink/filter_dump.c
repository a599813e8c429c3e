#include <arpa/inet.h>
#include <string.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "filter.h"

/* Filters as the kernel shows them. */

static void put_actions(struct nlmsghdr *message, const struct sluice_tc_info *info)
{
	struct sluice_tc_action_info action;
	struct nlattr *nest;

	if (!info->action_count)
		return;
	nest = mnl_attr_nest_start(message, TCA_BPF_ACT);
	nest->nla_type &= NLA_TYPE_MASK; /* as the kernel's, which has no flag */
	for (unsigned i = 0; i < info->action_count; i++) {
		/* One that has just gone with its filter is left out. */
		if (sluice_tc_action_next(info->actions[i].kind, info->actions[i].index, &action) ==
				0 &&
			action.index == info->actions[i].index)
			sl_nl_put_action(message, (uint16_t)(i + 1), &action);
	}
	mnl_attr_nest_end(message, nest);
}

static void put_options(struct nlmsghdr *message, const struct sluice_tc_info *info)
{
	struct nlattr *nest = mnl_attr_nest_start(message, TCA_OPTIONS);

	nest->nla_type &= NLA_TYPE_MASK;
	if (info->classid)
		mnl_attr_put_u32(message, TCA_BPF_CLASSID, info->classid);
	if (info->named)
		mnl_attr_put_strz(message, TCA_BPF_NAME, info->name);
	mnl_attr_put_u32(message, TCA_BPF_ID, info->prog_id);
	mnl_attr_put(message, TCA_BPF_TAG, sizeof(info->prog_tag), info->prog_tag);
	put_actions(message, info);
	if (info->direct_action)
		mnl_attr_put_u32(message, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
	mnl_attr_put_u32(message, TCA_BPF_FLAGS_GEN, info->offload_flags | TCA_CLS_FLAGS_NOT_IN_HW);
	mnl_attr_nest_end(message, nest);
}

void sl_nl_put_filter(struct sl_nl_call *call, const struct sl_nl_place *place,
	const struct sluice_tc_info *info, bool whole, uint16_t type, uint16_t flags)
{
	struct tcmsg *head = sl_nl_begin(call, type, flags, sizeof(*head));
	struct nlmsghdr *message = &call->message;

	head->tcm_ifindex = (int)place->ifindex;
	head->tcm_parent = place->parent;
	head->tcm_info = TC_H_MAKE(info->priority << 16, htons(info->protocol));
	head->tcm_handle = whole ? info->handle : 0;
	mnl_attr_put_strz(message, TCA_KIND, "bpf");
	mnl_attr_put_u32(message, TCA_CHAIN, 0);
	if (whole)
		put_options(message, info);
	sl_nl_put(call, message);
}

static bool wanted(const struct sl_nl_place *place, const struct sluice_tc_info *info)
{
	return (!place->priority || place->priority == info->priority) &&
	       (!place->protocol || place->protocol == htons(info->protocol));
}

int sl_nl_dump_filters(struct sl_nl_call *call)
{
	const struct nlattr *attrs[TCA_MAX + 1];
	struct sluice_tc_info info;
	struct sl_nl_place place;
	uint32_t priority = 0;
	int err = sl_nl_find_place(call, &place);

	if (err || call->verdict == SL_NETLINK_PASS)
		return err;
	call->reason = NULL;
	if (!place.err)
		place.parent = place.qdisc == SLUICE_TC_QDISC_INGRESS
				       ? sluice_tc_parent_get(place.ifindex)
				       : TC_H_MAKE(TC_H_CLSACT, TC_H_MIN(place.parent));
	sl_nl_parse(call->request, sizeof(struct tcmsg), attrs, TCA_MAX);
	/* What is not there has no filters. */
	for (unsigned i = 0; !place.err && !sl_nl_u32(attrs[TCA_CHAIN], 0) &&
			     sluice_tc_get(place.ifindex, place.hook, i, &info) == 0;
		i++) {
		if (!wanted(&place, &info))
			continue;
		if (info.priority != priority)
			sl_nl_put_filter(call, &place, &info, false, RTM_NEWTFILTER, NLM_F_MULTI);
		priority = info.priority;
		sl_nl_put_filter(call, &place, &info, true, RTM_NEWTFILTER, NLM_F_MULTI);
	}
	sl_nl_put_done(call, 0);
	return 0;
}
