#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sluice/port.h>

#include "call.h"
#include "tunnel.h"

/*
 * Links: IFLA_XDP, and what lists of links say of ports. The rest of a port's link is its kernel
 * interface's, and the kernel answers for it. A port without one is shown as a link of its own.
 */

enum { XDP_EXPECTED_FD = 8, XDP_MAX = XDP_EXPECTED_FD };
enum { ALT_IFNAME = 53, LINK_MAX = ALT_IFNAME };
enum { OPERSTATE_UNKNOWN = 0, OPERSTATE_UP = 6, TXQLEN = 1000, MTU_MIN = 68 };

bool sl_nl_find_link(const struct sl_nl_call *call, const struct nlattr **attrs,
	struct sluice_port_info *ret_port)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(call->request);
	char name[sizeof(ret_port->name)];
	const struct nlattr *attr = attrs[IFLA_IFNAME] ? attrs[IFLA_IFNAME] : attrs[ALT_IFNAME];

	if (head->ifi_index > 0)
		return sl_nl_port(call, (uint32_t)head->ifi_index, ret_port);
	return attr && sl_nl_string(attr, name, sizeof(name)) &&
	       sl_nl_port_by_name(call, name, ret_port);
}

/* ---- to set ---- */

static int check_xdp(const struct nlattr **xdp)
{
	if (sl_nl_check_len(xdp[IFLA_XDP_FD], 4) || sl_nl_check_len(xdp[IFLA_XDP_FLAGS], 4) ||
		sl_nl_check_len(xdp[IFLA_XDP_ATTACHED], 1) ||
		sl_nl_check_len(xdp[IFLA_XDP_PROG_ID], 4))
		return -ERANGE;
	if (xdp[XDP_EXPECTED_FD] && mnl_attr_get_payload_len(xdp[XDP_EXPECTED_FD]) != 4)
		return -EINVAL;
	return xdp[IFLA_XDP_ATTACHED] || xdp[IFLA_XDP_PROG_ID] ? -EINVAL : 0;
}

static int change_xdp(struct sl_nl_call *call, uint32_t ifindex, const struct nlattr *nest)
{
	const struct nlattr *xdp[XDP_MAX + 1];
	uint32_t flags, modes;
	int expected = -1, err;

	sl_nl_parse_nested(nest, xdp, XDP_MAX);
	err = check_xdp(xdp);
	if (err)
		return err;
	flags = sl_nl_u32(xdp[IFLA_XDP_FLAGS], 0);
	modes = flags & XDP_FLAGS_MODES;
	if (flags & ~(uint32_t)XDP_FLAGS_MASK || modes & (modes - 1))
		return -EINVAL;
	if (!xdp[IFLA_XDP_FD])
		return 0;
	if (flags & XDP_FLAGS_REPLACE) {
		if (!xdp[XDP_EXPECTED_FD])
			return -EINVAL;
		expected = (int)sl_nl_u32(xdp[XDP_EXPECTED_FD], 0);
	}
	return sluice_xdp_change(
		ifindex, (int)sl_nl_u32(xdp[IFLA_XDP_FD], 0), expected, flags, &call->reason);
}

/* The request without IFLA_XDP, with an acknowledgement to be had. */
static int ask_for_rest(struct sl_nl_call *call)
{
	const struct nlmsghdr *request = call->request;
	struct nlmsghdr *copy;
	const struct nlattr *attr;
	struct ifinfomsg *head;

	if (request->nlmsg_len > SL_NL_MESSAGE_MAX)
		return -EMSGSIZE;
	head = sl_nl_begin(
		call, request->nlmsg_type, request->nlmsg_flags | NLM_F_ACK, sizeof(*head));
	*head = *(const struct ifinfomsg *)mnl_nlmsg_get_payload(request);
	copy = &call->message;
	copy->nlmsg_pid = request->nlmsg_pid;
	mnl_attr_for_each(attr, request, sizeof(*head))
	{
		if (mnl_attr_get_type(attr) != IFLA_XDP)
			mnl_attr_put(copy, attr->nla_type, mnl_attr_get_payload_len(attr),
				mnl_attr_get_payload(attr));
	}
	return sl_nl_ask(call, copy);
}

/* Whether the kernel took the rest; its refusal is the answer. */
static bool took_rest(struct sl_nl_call *call)
{
	const struct nlmsghdr *answer;
	const void *data;
	size_t cursor = 0, len;

	while (sl_netlink_list_next(call->kernel, &cursor, &data, &len)) {
		answer = data;
		if (len < NLMSG_LENGTH(sizeof(int)) || answer->nlmsg_type != NLMSG_ERROR)
			continue;
		if (*(const int *)mnl_nlmsg_get_payload(answer) == 0)
			return true;
		sl_netlink_list_add(call->out, data, len);
		call->complete = true;
		return false;
	}
	return true;
}

static int change_mtu(struct sl_nl_call *call, uint32_t ifindex, uint32_t mtu)
{
	if (mtu < MTU_MIN || mtu > UINT16_MAX)
		return sl_nl_refuse(call, -EINVAL,
			mtu < MTU_MIN ? "mtu less than device minimum"
				      : "mtu greater than device maximum");
	return sl_nl_logged(call, sluice_port_set_mtu(ifindex, (uint16_t)mtu));
}

/* What a port without a kernel interface can be told, apart from its program: to be up, its MTU. */
static int change_rest(
	struct sl_nl_call *call, const struct ifinfomsg *head, const struct sluice_port_info *port)
{
	const struct nlattr *mtu = NULL;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, call->request, sizeof(*head))
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFLA_MTU)
			mtu = attr;
		else if (type != IFLA_XDP && type != IFLA_IFNAME && type != ALT_IFNAME &&
			 type != IFLA_EXT_MASK)
			return sl_nl_refuse(call, -EOPNOTSUPP,
				"Sluice port has no kernel interface that could be changed");
	}
	if (head->ifi_change & ~(unsigned)IFF_UP ||
		(head->ifi_change & IFF_UP && !(head->ifi_flags & IFF_UP)))
		return sl_nl_refuse(call, -EOPNOTSUPP,
			"Sluice port has no kernel interface that could be changed");
	return mtu ? change_mtu(call, port->ifindex, sl_nl_u32(mtu, 0)) : 0;
}

static bool has_rest(const struct sl_nl_call *call, const struct ifinfomsg *head)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, call->request, sizeof(*head))
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type != IFLA_XDP && type != IFLA_EXT_MASK &&
			!(type == IFLA_IFNAME && head->ifi_index == 0) && type != ALT_IFNAME)
			return true;
	}
	return head->ifi_change || head->ifi_flags;
}

static int check_new(const struct sl_nl_call *call)
{
	if (call->request->nlmsg_type != RTM_NEWLINK)
		return 0;
	if (call->request->nlmsg_flags & NLM_F_EXCL)
		return -EEXIST;
	return call->request->nlmsg_flags & NLM_F_REPLACE ? -EOPNOTSUPP : 0;
}

int sl_nl_set_link(struct sl_nl_call *call)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(call->request);
	const struct nlattr *attrs[LINK_MAX + 1];
	struct sluice_port_info port;
	bool twin;
	int err;

	sl_nl_parse(call->request, sizeof(*head), attrs, LINK_MAX);
	if (!sl_nl_find_link(call, attrs, &port))
		return sl_nl_new_tunnel(call, attrs);
	twin = port.has_twin;
	if (!attrs[IFLA_XDP] && twin)
		return sl_nl_pass(call);
	err = sl_nl_check_caller(call);
	if (!err)
		err = check_new(call);
	/* A nest may be empty. */
	if (!err && attrs[IFLA_XDP] && mnl_attr_get_payload_len(attrs[IFLA_XDP]))
		err = sl_nl_check_len(attrs[IFLA_XDP], sizeof(struct nlattr));
	if (err)
		return err;
	if (!twin) {
		err = change_rest(call, head, &port);
	} else if (has_rest(call, head)) {
		if (!call->kernel)
			return ask_for_rest(call);
		if (!took_rest(call))
			return 0;
	}
	return err || !attrs[IFLA_XDP] ? err : change_xdp(call, port.ifindex, attrs[IFLA_XDP]);
}

/* ---- to show ---- */

static void put_xdp(struct nlmsghdr *message, const struct sluice_port_info *port)
{
	struct nlattr *nest = mnl_attr_nest_start(message, IFLA_XDP);

	nest->nla_type &= NLA_TYPE_MASK; /* as the kernel's, which has no flag */
	if (port->xdp_prog_id)
		mnl_attr_put_u32(message,
			port->xdp_generic ? IFLA_XDP_SKB_PROG_ID : IFLA_XDP_DRV_PROG_ID,
			port->xdp_prog_id);
	mnl_attr_put_u8(message, IFLA_XDP_ATTACHED,
		!port->xdp_prog_id  ? XDP_ATTACHED_NONE
		: port->xdp_generic ? XDP_ATTACHED_SKB
				    : XDP_ATTACHED_DRV);
	if (port->xdp_prog_id)
		mnl_attr_put_u32(message, IFLA_XDP_PROG_ID, port->xdp_prog_id);
	mnl_attr_nest_end(message, nest);
}

/* The kernel's message with the port's IFLA_XDP in place of its own. */
static void put_patched(
	struct sl_nl_call *call, const struct nlmsghdr *from, const struct sluice_port_info *port)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(from);
	struct ifinfomsg *copy;
	const struct nlattr *attr;
	bool put = false;

	if (from->nlmsg_len > SL_NL_MESSAGE_MAX / 2) {
		sl_nl_put(call, from);
		return;
	}
	copy = sl_nl_begin(call, from->nlmsg_type, from->nlmsg_flags, sizeof(*head));
	*copy = *head;
	mnl_attr_for_each(attr, from, sizeof(*head))
	{
		if (mnl_attr_get_type(attr) == IFLA_XDP) {
			put_xdp(&call->message, port);
			put = true;
			continue;
		}
		mnl_attr_put(&call->message, attr->nla_type, mnl_attr_get_payload_len(attr),
			mnl_attr_get_payload(attr));
	}
	if (!put)
		put_xdp(&call->message, port);
	sl_nl_put(call, &call->message);
}

static void put_kind(struct nlmsghdr *message)
{
	struct nlattr *nest = mnl_attr_nest_start(message, IFLA_LINKINFO);

	nest->nla_type &= NLA_TYPE_MASK;
	mnl_attr_put_strz(message, IFLA_INFO_KIND, "sluice");
	mnl_attr_nest_end(message, nest);
}

static void put_port(struct sl_nl_call *call, const struct sluice_port_info *port, uint16_t flags)
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct ifinfomsg *head = sl_nl_begin(call, RTM_NEWLINK, flags, sizeof(*head));
	struct nlmsghdr *message = &call->message;

	head->ifi_type = ARPHRD_ETHER;
	head->ifi_index = (int)port->ifindex;
	head->ifi_flags =
		IFF_UP | IFF_BROADCAST | IFF_RUNNING | IFF_MULTICAST | (1 << 16); /* LOWER_UP */
	mnl_attr_put_strz(message, IFLA_IFNAME, port->name);
	mnl_attr_put_u32(message, IFLA_TXQLEN, TXQLEN);
	mnl_attr_put_u8(
		message, IFLA_OPERSTATE, port->is_tunnel ? OPERSTATE_UNKNOWN : OPERSTATE_UP);
	mnl_attr_put_u8(message, IFLA_LINKMODE, 0);
	mnl_attr_put_u32(message, IFLA_MTU, port->mtu);
	mnl_attr_put_u32(message, IFLA_GROUP, 0);
	mnl_attr_put_u32(message, IFLA_PROMISCUITY, 0);
	mnl_attr_put_u32(message, IFLA_NUM_TX_QUEUES, port->is_tunnel ? 1 : port->tx_queues);
	mnl_attr_put_u32(message, IFLA_NUM_RX_QUEUES, port->is_tunnel ? 1 : port->rx_queues);
	mnl_attr_put_u8(message, IFLA_CARRIER, 1);
	mnl_attr_put_strz(message, IFLA_QDISC, "noqueue");
	put_xdp(message, port);
	if (port->is_tunnel)
		sl_nl_put_tunnel(message, port);
	if (head->ifi_type == ARPHRD_ETHER) {
		mnl_attr_put(message, IFLA_ADDRESS, sizeof(port->mac), port->mac);
		mnl_attr_put(message, IFLA_BROADCAST, sizeof(broadcast), broadcast);
	}
	if (!port->is_tunnel)
		put_kind(message);
	sl_nl_put(call, message);
}

/* Ports that the kernel has not shown, unless the list is of some links only. */
static void put_others(struct sl_nl_call *call)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(call->request);
	const struct nlattr *attrs[LINK_MAX + 1];
	struct sluice_port_info port = { 0 };

	sl_nl_parse(call->request, sizeof(*head), attrs, LINK_MAX);
	if (attrs[IFLA_MASTER] || attrs[IFLA_LINKINFO] ||
		(head->ifi_family != AF_UNSPEC && head->ifi_family != AF_PACKET))
		return;
	while (sl_nl_next_port(call, port.ifindex, &port)) {
		if (!port.has_twin)
			put_port(call, &port, NLM_F_MULTI);
	}
}

/* One message of the kernel's answer. */
static void put_kernel(struct sl_nl_call *call, const struct nlmsghdr *message)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(message);
	struct sluice_port_info port;

	if (message->nlmsg_type == NLMSG_DONE)
		put_others(call);
	if (message->nlmsg_type == RTM_NEWLINK &&
		message->nlmsg_len >= NLMSG_LENGTH(sizeof(*head)) && head->ifi_index > 0 &&
		sl_nl_port(call, (uint32_t)head->ifi_index, &port) && port.has_twin)
		put_patched(call, message, &port);
	else
		sl_nl_put(call, message);
}

static void put_kernel_all(struct sl_nl_call *call)
{
	size_t cursor = 0, len;
	const void *data;

	while (sl_netlink_list_next(call->kernel, &cursor, &data, &len)) {
		const struct nlmsghdr *message = data;
		int left = (int)len;

		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
			put_kernel(call, message);
		/* What the kernel sends as datagrams of their own stays so: an ack after a link. */
		if (!sl_nl_is_dump(call))
			sl_nl_flush(call);
	}
	call->complete = true;
}

int sl_nl_get_link(struct sl_nl_call *call)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(call->request);
	const struct nlattr *attrs[LINK_MAX + 1];
	struct sluice_port_info port;

	if (!sl_nl_is_dump(call)) {
		sl_nl_parse(call->request, sizeof(*head), attrs, LINK_MAX);
		if (!sl_nl_find_link(call, attrs, &port))
			return sl_nl_pass(call);
		if (!port.has_twin) {
			put_port(call, &port, 0);
			sl_nl_flush(call);
			return 0;
		}
	} else if (!sl_nl_next_port(call, 0, &port)) {
		return sl_nl_pass(call);
	}
	if (!call->kernel)
		return sl_nl_ask(call, call->request);
	put_kernel_all(call);
	return 0;
}
