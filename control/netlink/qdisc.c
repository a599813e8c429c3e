#include <errno.h>
#include <string.h>
#include <linux/if.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "call.h"

/*
 * clsact and ingress of ports. Other qdiscs are of the way that packets of the kernel take to the
 * port's kernel interface, and are the kernel's.
 */

enum { HANDLE = 0xffff0000 };
enum { INGRESS_BLOCK = 13, EGRESS_BLOCK = 14, QDISC_MAX = EGRESS_BLOCK };

static const char no_classful[] = "Sluice ports have no qdiscs but clsact and ingress";
static const char wrong_name[] = "Invalid qdisc name: must match existing qdisc";

static const char *kind_name(enum sluice_tc_qdisc qdisc)
{
	return qdisc == SLUICE_TC_QDISC_INGRESS ? "ingress" : "clsact";
}

/* Where the request goes: true with the port's qdisc, else *ret_err says what to return. */
static bool find(struct sl_nl_call *call, enum sluice_tc_qdisc *ret_qdisc, int *ret_err)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);
	struct sluice_port_info port;
	bool ours = head->tcm_parent == TC_H_INGRESS;

	if (!head->tcm_parent)
		ours = TC_H_MAJ(head->tcm_handle) == HANDLE;
	else if (call->request->nlmsg_type != RTM_NEWQDISC && head->tcm_parent != TC_H_ROOT)
		ours = TC_H_MAJ(head->tcm_parent) == HANDLE;
	if (head->tcm_ifindex <= 0 || !sl_nl_port(call, (uint32_t)head->tcm_ifindex, &port) ||
		(!ours && port.has_twin)) {
		*ret_err = sl_nl_pass(call);
		return false;
	}
	*ret_err = sl_nl_check_caller(call);
	if (*ret_err)
		return false;
	*ret_err = ours ? sluice_tc_qdisc_get(port.ifindex, ret_qdisc)
			: sl_nl_refuse(call, -EOPNOTSUPP, no_classful);
	return *ret_err == 0;
}

static void put_stats(struct nlmsghdr *message)
{
	static const struct {
		uint64_t bytes;
		uint32_t packets, pad;
	} basic;
	static const struct gnet_stats_queue {
		uint32_t qlen, backlog, drops, requeues, overlimits;
	} queue;
	static const uint64_t compat[5]; /* struct tc_stats */
	struct nlattr *nest = mnl_attr_nest_start(message, TCA_STATS2);

	nest->nla_type &= NLA_TYPE_MASK;
	mnl_attr_put(message, 1 /* TCA_STATS_BASIC */, sizeof(basic), &basic);
	mnl_attr_put(message, 3 /* TCA_STATS_QUEUE */, sizeof(queue), &queue);
	mnl_attr_nest_end(message, nest);
	mnl_attr_put(message, TCA_STATS, sizeof(compat), compat);
}

static void put_qdisc(struct sl_nl_call *call, uint32_t ifindex, enum sluice_tc_qdisc qdisc,
	uint16_t type, uint16_t flags)
{
	struct tcmsg *head = sl_nl_begin(call, type, flags, sizeof(*head));
	struct nlmsghdr *message = &call->message;

	head->tcm_ifindex = (int)ifindex;
	head->tcm_parent = TC_H_INGRESS;
	head->tcm_handle = HANDLE;
	head->tcm_info = type != RTM_DELQDISC; /* references */
	mnl_attr_put_strz(message, TCA_KIND, kind_name(qdisc));
	mnl_attr_put(message, TCA_OPTIONS, 0, NULL);
	mnl_attr_put_u8(message, TCA_HW_OFFLOAD, 0);
	put_stats(message);
	sl_nl_put(call, message);
}

/* With NLM_F_ECHO whoever changes something is told as those are who listen. */
static void echo(struct sl_nl_call *call, enum sluice_tc_qdisc qdisc, uint16_t type, uint16_t flags)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);

	if (call->request->nlmsg_flags & NLM_F_ECHO)
		put_qdisc(call, (uint32_t)head->tcm_ifindex, qdisc, type, flags);
}

static int create(struct sl_nl_call *call, const struct nlattr **attrs, enum sluice_tc_qdisc old)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);
	enum sluice_tc_qdisc qdisc;
	int err;

	if (!attrs[TCA_KIND])
		return sl_nl_refuse(call, -ENOENT, "Specified qdisc kind is unknown");
	if (sl_nl_is(attrs[TCA_KIND], "clsact"))
		qdisc = SLUICE_TC_QDISC_CLSACT;
	else if (sl_nl_is(attrs[TCA_KIND], "ingress"))
		qdisc = SLUICE_TC_QDISC_INGRESS;
	else
		return sl_nl_refuse(call, -ENOENT, "Specified qdisc kind is unknown");
	if (attrs[INGRESS_BLOCK] || attrs[EGRESS_BLOCK])
		return sl_nl_refuse(
			call, -EOPNOTSUPP, "Sluice ports do not share blocks of filters");
	if (old != SLUICE_TC_NO_QDISC) {
		sluice_tc_qdisc_set((uint32_t)head->tcm_ifindex, SLUICE_TC_NO_QDISC);
		echo(call, old, RTM_DELQDISC, 0);
	}
	err = sluice_tc_qdisc_set((uint32_t)head->tcm_ifindex, qdisc);
	/* It replaces at least the one that does nothing. */
	if (!err)
		echo(call, qdisc, RTM_NEWQDISC, NLM_F_REPLACE);
	return err;
}

static int change(struct sl_nl_call *call, const struct nlattr **attrs, enum sluice_tc_qdisc qdisc)
{
	if (qdisc == SLUICE_TC_NO_QDISC)
		return sl_nl_refuse(call, -ENOENT, "Specified qdisc not found");
	if (call->request->nlmsg_flags & NLM_F_EXCL)
		return sl_nl_refuse(call, -EEXIST, "Exclusivity flag on, cannot modify");
	if (attrs[TCA_KIND] && !sl_nl_is(attrs[TCA_KIND], kind_name(qdisc)))
		return sl_nl_refuse(call, -EINVAL, wrong_name);
	if (attrs[TCA_OPTIONS])
		return sl_nl_refuse(
			call, -EINVAL, "Change operation not supported by specified qdisc");
	echo(call, qdisc, RTM_NEWQDISC, 0);
	return 0;
}

/* What a request without a handle does about a qdisc of another kind. */
static bool overrides(uint16_t flags)
{
	return (flags & NLM_F_CREATE && flags & (NLM_F_REPLACE | NLM_F_EXCL)) ||
	       !(flags & (NLM_F_CREATE | NLM_F_REPLACE | NLM_F_EXCL));
}

int sl_nl_new_qdisc(struct sl_nl_call *call)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);
	const struct nlattr *attrs[QDISC_MAX + 1];
	uint16_t flags = call->request->nlmsg_flags;
	enum sluice_tc_qdisc qdisc;
	int err;

	if (!find(call, &qdisc, &err))
		return err;
	sl_nl_parse(call->request, sizeof(*head), attrs, QDISC_MAX);
	if (!head->tcm_parent || (qdisc != SLUICE_TC_NO_QDISC && head->tcm_handle == HANDLE))
		return change(call, attrs, qdisc);
	if (head->tcm_handle) {
		if (qdisc != SLUICE_TC_NO_QDISC && !(flags & NLM_F_REPLACE))
			return sl_nl_refuse(call, -EEXIST, "NLM_F_REPLACE needed to override");
		if (TC_H_MIN(head->tcm_handle))
			return sl_nl_refuse(call, -EINVAL, "Invalid minor handle");
	} else if (qdisc != SLUICE_TC_NO_QDISC) {
		if (!attrs[TCA_KIND] || sl_nl_is(attrs[TCA_KIND], kind_name(qdisc)) ||
			!overrides(flags))
			return change(call, attrs, qdisc);
		return create(call, attrs, qdisc);
	}
	if (!(flags & NLM_F_CREATE))
		return sl_nl_refuse(
			call, -ENOENT, "Qdisc not found. To create specify NLM_F_CREATE flag");
	return create(call, attrs, qdisc);
}

static int check_named(struct sl_nl_call *call, enum sluice_tc_qdisc qdisc)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);
	const struct nlattr *attrs[QDISC_MAX + 1];

	if (qdisc == SLUICE_TC_NO_QDISC)
		return sl_nl_refuse(call, -ENOENT,
			head->tcm_parent ? "Cannot find specified qdisc on specified device"
					 : "Failed to find qdisc with specified handle");
	if (head->tcm_parent && head->tcm_handle && head->tcm_handle != HANDLE)
		return sl_nl_refuse(call, -EINVAL, "Invalid handle");
	sl_nl_parse(call->request, sizeof(*head), attrs, QDISC_MAX);
	if (attrs[TCA_KIND] && !sl_nl_is(attrs[TCA_KIND], kind_name(qdisc)))
		return sl_nl_refuse(call, -EINVAL, wrong_name);
	return 0;
}

int sl_nl_del_qdisc(struct sl_nl_call *call)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(call->request);
	enum sluice_tc_qdisc qdisc;
	int err;

	if (!find(call, &qdisc, &err))
		return err;
	err = check_named(call, qdisc);
	if (err)
		return err;
	if (!head->tcm_parent)
		return sl_nl_refuse(call, -EINVAL, "Classid cannot be zero");
	err = sluice_tc_qdisc_set((uint32_t)head->tcm_ifindex, SLUICE_TC_NO_QDISC);
	if (!err)
		echo(call, qdisc, RTM_DELQDISC, 0);
	return err;
}

/* ---- lists ---- */

/* The ports' come last: behind the other qdiscs of the same links. */
static void put_ports(struct sl_nl_call *call)
{
	struct sluice_port_info port = { 0 };
	enum sluice_tc_qdisc qdisc;

	while (sl_nl_next_port(call, port.ifindex, &port)) {
		if (sluice_tc_qdisc_get(port.ifindex, &qdisc) == 0 && qdisc != SLUICE_TC_NO_QDISC)
			put_qdisc(call, port.ifindex, qdisc, RTM_NEWQDISC, NLM_F_MULTI);
	}
}

/* The kernel's own at the place of ours sees no packet of the port. */
static bool hidden(const struct sl_nl_call *call, const struct nlmsghdr *message)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(message);
	struct sluice_port_info port;

	return message->nlmsg_type == RTM_NEWQDISC &&
	       message->nlmsg_len >= NLMSG_LENGTH(sizeof(*head)) &&
	       head->tcm_parent == TC_H_INGRESS && head->tcm_ifindex > 0 &&
	       sl_nl_port(call, (uint32_t)head->tcm_ifindex, &port) && port.has_twin;
}

static int merge(struct sl_nl_call *call)
{
	size_t cursor = 0, len;
	const void *data;

	while (sl_netlink_list_next(call->kernel, &cursor, &data, &len)) {
		const struct nlmsghdr *message = data;
		int left = (int)len;

		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
			if (message->nlmsg_type == NLMSG_DONE)
				put_ports(call);
			if (!hidden(call, message))
				sl_nl_put(call, message);
		}
	}
	call->complete = true;
	return 0;
}

int sl_nl_get_qdisc(struct sl_nl_call *call)
{
	struct sluice_port_info port;
	enum sluice_tc_qdisc qdisc;
	int err;

	if (sl_nl_is_dump(call)) {
		if (!sl_nl_next_port(call, 0, &port))
			return sl_nl_pass(call);
		return call->kernel ? merge(call) : sl_nl_ask(call, call->request);
	}
	if (!find(call, &qdisc, &err))
		return err;
	err = check_named(call, qdisc);
	if (!err)
		echo(call, qdisc, RTM_NEWQDISC, 0);
	return err;
}
