#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <linux/if.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "filter.h"

/*
 * Filters of kind bpf at ports' clsact and ingress. The kernel keeps filters of one priority in an
 * object of its own, which has a protocol and a kind; here that is what the first filter of a
 * priority says.
 */

enum { HANDLE = 0xffff0000, CHAIN_INDEX_MAX = 0x0fffffff };

static const char mismatch[] = "Protocol mismatch for filter with specified priority";
static const char no_create[] = "Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter";

/* The hook that a parent names; with the kernel's refusals, which are in two steps. */
static int find_hook(struct sl_nl_call *call, struct sl_nl_place *place)
{
	uint32_t minor = TC_H_MIN(place->parent);

	place->hook = SLUICE_TC_INGRESS;
	if (place->qdisc == SLUICE_TC_QDISC_INGRESS)
		return 0;
	if (minor == TC_H_MIN_EGRESS)
		place->hook = SLUICE_TC_EGRESS;
	else if (minor == 0)
		return -EINVAL;
	else if (minor != TC_H_MIN_INGRESS)
		return sl_nl_refuse(call, -ENOENT, "Specified class doesn't exist");
	return 0;
}

int sl_nl_find_place(struct sl_nl_call *call, struct sl_nl_place *place)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);
	struct sluice_port_info port;
	bool ours = TC_H_MAJ(head->tcm_parent) == HANDLE;
	int err;

	*place = (struct sl_nl_place){
		.ifindex = (uint32_t)head->tcm_ifindex,
		.parent = head->tcm_parent,
		.priority = TC_H_MAJ(head->tcm_info) >> 16,
		.protocol = TC_H_MIN(head->tcm_info),
		.handle = head->tcm_handle,
	};
	if (head->tcm_ifindex <= 0 || !sl_nl_port(call, place->ifindex, &port) ||
		(!ours && port.has_twin)) {
		sl_nl_pass(call);
		return 0;
	}
	err = sl_nl_check_caller(call);
	if (err)
		return err;
	place->err = sluice_tc_qdisc_get(place->ifindex, &place->qdisc);
	if (!head->tcm_parent)
		place->err = sl_nl_refuse(call, -EINVAL, "Qdisc not classful");
	else if (!ours || place->qdisc == SLUICE_TC_NO_QDISC)
		place->err = sl_nl_refuse(call, -EINVAL, "Parent Qdisc doesn't exists");
	else if (!place->err)
		place->err = find_hook(call, place);
	return 0;
}

/* The filters of a place's priority: the first one, and that of the handle, if they are there. */
struct found {
	bool any; /* the hook has filters */
	bool priority, handle;
	struct sluice_tc_info first, filter;
};

static void look(const struct sl_nl_place *place, struct found *ret)
{
	struct sluice_tc_info info;

	*ret = (struct found){ 0 };
	for (unsigned i = 0; sluice_tc_get(place->ifindex, place->hook, i, &info) == 0; i++) {
		ret->any = true;
		if (info.priority != place->priority)
			continue;
		if (!ret->priority)
			ret->first = info;
		ret->priority = true;
		if (info.handle != place->handle)
			continue;
		ret->handle = true;
		ret->filter = info;
	}
}

static bool same_protocol(const struct sl_nl_place *place, const struct found *found)
{
	return !place->protocol || place->protocol == htons(found->first.protocol);
}

/* ---- what a new filter says ---- */

/* Names and cookies point into the request. */
struct spec {
	struct sluice_tc_filter filter;
	struct sluice_tc_action actions[SLUICE_TC_ACTIONS];
};

static int check_options(const struct nlattr **bpf)
{
	const struct nlattr *name = bpf[TCA_BPF_NAME];

	if (sl_nl_check_len(bpf[TCA_BPF_CLASSID], 4) || sl_nl_check_len(bpf[TCA_BPF_FD], 4) ||
		sl_nl_check_len(bpf[TCA_BPF_FLAGS], 4) ||
		sl_nl_check_len(bpf[TCA_BPF_FLAGS_GEN], 4) ||
		sl_nl_check_len(bpf[TCA_BPF_OPS_LEN], 2))
		return -ERANGE;
	/* A name has to end within its attribute. */
	if (name && !memchr(mnl_attr_get_payload(name), '\0', mnl_attr_get_payload_len(name)))
		return -EINVAL;
	if (name && strlen(mnl_attr_get_payload(name)) >= SLUICE_TC_NAME_LEN)
		return -ERANGE;
	return 0;
}

static int parse_flags(const struct nlattr **bpf, struct sluice_tc_filter *filter)
{
	uint32_t flags = sl_nl_u32(bpf[TCA_BPF_FLAGS], 0);
	uint32_t generic = sl_nl_u32(bpf[TCA_BPF_FLAGS_GEN], 0);
	uint32_t both = TCA_CLS_FLAGS_SKIP_HW | TCA_CLS_FLAGS_SKIP_SW;

	if (flags & ~(uint32_t)TCA_BPF_FLAG_ACT_DIRECT)
		return -EINVAL;
	if (generic & ~both || generic == both)
		return -EINVAL;
	filter->direct_action = flags & TCA_BPF_FLAG_ACT_DIRECT;
	filter->offload_flags = generic;
	return 0;
}

static int parse_spec(struct sl_nl_call *call, const struct nlattr *options, struct spec *spec)
{
	const struct nlattr *bpf[TCA_BPF_MAX + 1];
	struct sluice_tc_filter *filter = &spec->filter;
	bool classic;
	int err;

	if (!options)
		return -EINVAL;
	sl_nl_parse_nested(options, bpf, TCA_BPF_MAX);
	err = check_options(bpf);
	if (err)
		return err;
	classic = bpf[TCA_BPF_OPS] && bpf[TCA_BPF_OPS_LEN];
	if (classic == (bpf[TCA_BPF_FD] != NULL))
		return -EINVAL;
	if (classic)
		return sl_nl_refuse(
			call, -EOPNOTSUPP, "Sluice ports take filters of eBPF programs only");
	if (bpf[TCA_BPF_POLICE])
		return sl_nl_refuse(call, -ENOENT, "Failed to load TC action module");
	filter->actions = spec->actions;
	if (bpf[TCA_BPF_ACT])
		err = sl_nl_parse_actions(
			call, bpf[TCA_BPF_ACT], true, spec->actions, &filter->action_count);
	if (!err)
		err = parse_flags(bpf, filter);
	if (err)
		return err;
	/* Negative numbers are open nowhere. */
	filter->prog_fd = (int)sl_nl_u32(bpf[TCA_BPF_FD], 0);
	if (bpf[TCA_BPF_NAME])
		filter->name = mnl_attr_get_payload(bpf[TCA_BPF_NAME]);
	filter->classid = sl_nl_u32(bpf[TCA_BPF_CLASSID], 0);
	return 0;
}

/* ---- to add ---- */

static void echo(struct sl_nl_call *call, const struct sl_nl_place *place,
	const struct sluice_tc_info *info, uint16_t type)
{
	if (!(call->request->nlmsg_flags & NLM_F_ECHO))
		return;
	sl_nl_put_filter(call, place, info, info->handle != 0, type, call->request->nlmsg_flags);
	sl_nl_flush(call);
}

static int check_kind(struct sl_nl_call *call, const struct nlattr *kind)
{
	char name[IFNAMSIZ];

	return kind && !sl_nl_string(kind, name, sizeof(name))
		       ? sl_nl_refuse(call, -EINVAL, "Specified TC filter name too long")
		       : 0;
}

static int check_chain(struct sl_nl_call *call, const struct nlattr *chain, int err)
{
	if (sl_nl_check_len(chain, 4))
		return -ERANGE;
	if (sl_nl_u32(chain, 0) > CHAIN_INDEX_MAX)
		return sl_nl_refuse(call, -EINVAL, "Specified chain index exceeds upper limit");
	if (sl_nl_u32(chain, 0) == 0)
		return 0;
	return sl_nl_refuse(call, err,
		err == -EOPNOTSUPP ? "Sluice ports have chain 0 only"
				   : "Cannot find specified filter chain");
}

/* What is there already, against what the request says of it. */
static int check_new(struct sl_nl_call *call, const struct sl_nl_place *place,
	const struct nlattr *kind, const struct found *found)
{
	uint16_t flags = call->request->nlmsg_flags;

	if (found->priority && !same_protocol(place, found))
		return sl_nl_refuse(call, -EINVAL, mismatch);
	if (!found->priority) {
		if (!kind || !place->protocol)
			return sl_nl_refuse(
				call, -EINVAL, "Filter kind and protocol must be specified");
		if (!(flags & NLM_F_CREATE))
			return sl_nl_refuse(call, -ENOENT, no_create);
		if (!sl_nl_is(kind, "bpf"))
			return sl_nl_refuse(call, -ENOENT, "TC classifier not found");
	} else if (kind && !sl_nl_is(kind, "bpf")) {
		return sl_nl_refuse(
			call, -EINVAL, "Specified filter kind does not match existing one");
	}
	if (!found->handle && !(flags & NLM_F_CREATE))
		return sl_nl_refuse(call, -ENOENT, no_create);
	if (found->handle && flags & NLM_F_EXCL)
		return sl_nl_refuse(call, -EEXIST, "Filter already exists");
	return 0;
}

static int add(struct sl_nl_call *call, struct sl_nl_place *place, const struct nlattr *options,
	const struct found *found)
{
	struct spec spec = { 0 };
	struct found added;
	int err = parse_spec(call, options, &spec);

	if (err)
		return err;
	spec.filter.priority = place->priority;
	spec.filter.protocol = found->priority ? found->first.protocol : ntohs(place->protocol);
	spec.filter.handle = place->handle;
	err = sluice_tc_add(place->ifindex, place->hook, &spec.filter, SLUICE_TC_REPLACE);
	if (err)
		return err;
	place->priority = spec.filter.priority;
	place->handle = spec.filter.handle;
	look(place, &added);
	if (added.handle)
		echo(call, place, &added.filter, RTM_NEWTFILTER);
	return 0;
}

int sl_nl_new_filter(struct sl_nl_call *call)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);
	const struct nlattr *attrs[TCA_MAX + 1];
	struct sl_nl_place place;
	struct found found;
	int err = sl_nl_find_place(call, &place);

	if (err || call->verdict == SL_NETLINK_PASS)
		return err;
	if (!place.priority && !(call->request->nlmsg_flags & NLM_F_CREATE))
		return sl_nl_refuse(call, -ENOENT, "Invalid filter command with priority of zero");
	sl_nl_parse(call->request, sizeof(*head), attrs, TCA_MAX);
	err = place.err ? place.err : check_kind(call, attrs[TCA_KIND]);
	if (err)
		return err;
	sluice_tc_parent_set(place.ifindex, place.parent);
	err = check_chain(call, attrs[TCA_CHAIN], -EOPNOTSUPP);
	if (err)
		return err;
	look(&place, &found);
	err = check_new(call, &place, attrs[TCA_KIND], &found);
	return err ? err : add(call, &place, attrs[TCA_OPTIONS], &found);
}

/* ---- to delete, and to show one ---- */

/* The filters of a priority that has to be there. */
static int find_priority(struct sl_nl_call *call, const struct sl_nl_place *place,
	const struct nlattr **attrs, const struct found *found, int no_chain)
{
	if (!found->any)
		return sl_nl_refuse(call, no_chain, "Cannot find specified filter chain");
	if (!found->priority)
		return sl_nl_refuse(
			call, -ENOENT, "Filter with specified priority/protocol not found");
	if (!same_protocol(place, found))
		return sl_nl_refuse(call, -EINVAL, mismatch);
	if (attrs[TCA_KIND] && !sl_nl_is(attrs[TCA_KIND], "bpf"))
		return sl_nl_refuse(
			call, -EINVAL, "Specified filter kind does not match existing one");
	return 0;
}

/* The head of each priority, as the kernel says when all of it goes. */
static void echo_heads(struct sl_nl_call *call, const struct sl_nl_place *place)
{
	struct sluice_tc_info info;
	uint32_t priority = 0;

	for (unsigned i = 0; sluice_tc_get(place->ifindex, place->hook, i, &info) == 0; i++) {
		if (info.priority == priority ||
			(place->priority && info.priority != place->priority))
			continue;
		priority = info.priority;
		info.handle = 0;
		echo(call, place, &info, RTM_DELTFILTER);
	}
}

static int delete(struct sl_nl_call *call, const struct sl_nl_place *place)
{
	echo_heads(call, place);
	sluice_tc_del(place->ifindex, place->hook, place->priority, 0);
	return 0;
}

static int delete_of_priority(
	struct sl_nl_call *call, const struct sl_nl_place *place, const struct nlattr **attrs)
{
	struct found found;
	int err;

	look(place, &found);
	err = find_priority(call, place, attrs, &found, -ENOENT);
	if (err)
		return err;
	if (!place->handle)
		return delete (call, place);
	if (!found.handle)
		return sl_nl_refuse(call, -ENOENT, "Specified filter handle not found");
	echo(call, place, &found.filter, RTM_DELTFILTER);
	return sluice_tc_del(place->ifindex, place->hook, place->priority, place->handle);
}

int sl_nl_del_filter(struct sl_nl_call *call)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);
	const struct nlattr *attrs[TCA_MAX + 1];
	struct sluice_tc_info info;
	struct sl_nl_place place;
	int err = sl_nl_find_place(call, &place);

	if (err || call->verdict == SL_NETLINK_PASS)
		return err;
	sl_nl_parse(call->request, sizeof(*head), attrs, TCA_MAX);
	if (!place.priority && (place.protocol || place.handle || attrs[TCA_KIND]))
		return sl_nl_refuse(
			call, -ENOENT, "Cannot flush filters with protocol, handle or kind set");
	err = place.err ? place.err : check_kind(call, attrs[TCA_KIND]);
	if (err)
		return err;
	if (!place.priority && sl_nl_u32(attrs[TCA_CHAIN], 0))
		return 0;
	err = check_chain(call, attrs[TCA_CHAIN], -ENOENT);
	if (err)
		return err;
	if (place.priority)
		return delete_of_priority(call, &place, attrs);
	return sluice_tc_get(place.ifindex, place.hook, 0, &info) == 0 ? delete (call, &place) : 0;
}

static int get_one(struct sl_nl_call *call)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);
	const struct nlattr *attrs[TCA_MAX + 1];
	struct sl_nl_place place;
	struct found found;
	int err = sl_nl_find_place(call, &place);

	if (err || call->verdict == SL_NETLINK_PASS)
		return err;
	if (!place.priority)
		return sl_nl_refuse(call, -ENOENT, "Invalid filter command with priority of zero");
	sl_nl_parse(call->request, sizeof(*head), attrs, TCA_MAX);
	err = place.err ? place.err : check_kind(call, attrs[TCA_KIND]);
	if (!err)
		err = check_chain(call, attrs[TCA_CHAIN], -EINVAL);
	if (err)
		return err;
	look(&place, &found);
	err = find_priority(call, &place, attrs, &found, -EINVAL);
	if (err)
		return err;
	if (!found.handle)
		return sl_nl_refuse(call, -ENOENT, "Specified filter handle not found");
	sl_nl_put_filter(
		call, &place, &found.filter, true, RTM_NEWTFILTER, call->request->nlmsg_flags);
	sl_nl_flush(call);
	return 0;
}

int sl_nl_get_filter(struct sl_nl_call *call)
{
	return sl_nl_is_dump(call) ? sl_nl_dump_filters(call) : get_one(call);
}
