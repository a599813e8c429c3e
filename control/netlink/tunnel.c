#include "tunnel.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

/* Links that are tunnels: which requests are theirs, and from request to options and back. */

enum { DATA_MAX = 64, LINKINFO_MAX = IFLA_INFO_DATA, ALT_IFNAME = 53, MAC_BYTES = 6 };
enum { MTU_MIN = 68 };

static const struct sl_nl_tunnel_kind *find_kind(
	const struct nlattr *name, enum sluice_tunnel_kind *ret_kind)
{
	const struct sl_nl_tunnel_kind *kind;

	for (unsigned i = 0; (kind = sl_nl_tunnel_kind((enum sluice_tunnel_kind)i)); i++) {
		if (sl_nl_is(name, kind->name)) {
			*ret_kind = (enum sluice_tunnel_kind)i;
			return kind;
		}
	}
	return NULL;
}

static bool is_external(const struct sl_nl_tunnel_kind *kind, const struct nlattr **data)
{
	const struct nlattr *attr = data[kind->external];

	if (!attr || !kind->external_is_number)
		return attr;
	return mnl_attr_get_payload_len(attr) > 0 && *(const uint8_t *)mnl_attr_get_payload(attr);
}

/*
 * Over a port with a twin the kernel's own device does all but run Sluice's programs, and has
 * addresses and routes besides: only an external one, which is there for programs, is ours.
 */
static bool is_ours(const struct sl_nl_call *call, const struct sl_nl_tunnel_kind *kind,
	const struct nlattr **attrs, const struct nlattr **data, struct sluice_port_info *ret_below)
{
	const struct nlattr *link = kind->link ? data[kind->link] : attrs[IFLA_LINK];

	return sl_nl_port(call, sl_nl_u32(link, 0), ret_below) &&
	       (!ret_below->has_twin || is_external(kind, data));
}

/* What a new link can be told besides what its kind has. */
static int check_attrs(struct sl_nl_call *call, const struct ifinfomsg *head)
{
	static const uint16_t known[] = { IFLA_IFNAME, IFLA_ADDRESS, IFLA_MTU, IFLA_LINK,
		IFLA_LINKINFO, IFLA_TXQLEN, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_EXT_MASK };
	const struct nlattr *attr;

	mnl_attr_for_each(attr, call->request, sizeof(*head))
	{
		size_t i = 0;

		while (i < sizeof(known) / sizeof(known[0]) && known[i] != mnl_attr_get_type(attr))
			i++;
		if (i == sizeof(known) / sizeof(known[0]))
			return sl_nl_refuse(
				call, -EOPNOTSUPP, "Sluice tunnel has no such attribute");
	}
	if (head->ifi_index || head->ifi_change & ~(unsigned)IFF_UP)
		return sl_nl_refuse(
			call, -EOPNOTSUPP, "Sluice tunnel has a number of its own, and is up");
	return 0;
}

/* As dev_valid_name of the kernel's. */
static int get_name(struct sl_nl_call *call, const struct nlattr *attr, char ret_name[IFNAMSIZ])
{
	if (!attr)
		return sl_nl_refuse(call, -EINVAL, "Sluice tunnel needs a name");
	if (!sl_nl_string(attr, ret_name, IFNAMSIZ))
		return -ERANGE;
	if (!*ret_name || strpbrk(ret_name, "/:% \t\r\n\v\f") || strcmp(ret_name, ".") == 0 ||
		strcmp(ret_name, "..") == 0)
		return -EINVAL;
	return 0;
}

static int get_device(
	struct sl_nl_tunnel *t, const struct nlattr **attrs, const struct sl_nl_tunnel_kind *kind)
{
	const struct nlattr *address = attrs[IFLA_ADDRESS];
	uint32_t mtu = sl_nl_u32(attrs[IFLA_MTU], 0);
	static const uint8_t zeros[MAC_BYTES];

	if (attrs[IFLA_MTU] && (mtu < MTU_MIN || mtu > UINT16_MAX))
		return sl_nl_refuse(t->call, -EINVAL,
			mtu < MTU_MIN ? "mtu less than device minimum"
				      : "mtu greater than device maximum");
	t->options.mtu = (uint16_t)mtu;
	if (!address)
		return 0;
	if (kind->device_type != ARPHRD_ETHER || mnl_attr_get_payload_len(address) != MAC_BYTES)
		return -EINVAL;
	memcpy(t->options.mac, mnl_attr_get_payload(address), MAC_BYTES);
	if (t->options.mac[0] & 1 || memcmp(t->options.mac, zeros, MAC_BYTES) == 0)
		return -EADDRNOTAVAIL;
	t->options.flags |= SLUICE_TUNNEL_ADDRESS;
	return 0;
}

static const struct sl_nl_tunnel_attr *find_attr(
	const struct sl_nl_tunnel_kind *kind, uint16_t type)
{
	for (const struct sl_nl_tunnel_attr *row = kind->attrs; row->type; row++) {
		if (row->type == type)
			return row;
	}
	return NULL;
}

/* As the kernel's policy: what is said without a value has none. */
static int check_attr(
	struct sl_nl_call *call, const struct sl_nl_tunnel_kind *kind, const struct nlattr *attr)
{
	const struct sl_nl_tunnel_attr *row = find_attr(kind, mnl_attr_get_type(attr));
	size_t len = mnl_attr_get_payload_len(attr);

	if (!row)
		return sl_nl_refuse(call, -EOPNOTSUPP, "Sluice tunnel has no such option");
	if (row->len ? len < row->len : len != 0)
		return sl_nl_refuse(call, -ERANGE, "Attribute failed policy validation");
	return 0;
}

/* The lengths of all of them come first, as in the kernel; then what they say, by the table. */
static int get_options(struct sl_nl_tunnel *t, const struct sl_nl_tunnel_kind *kind,
	const struct nlattr *nest, const struct nlattr **data)
{
	const struct sl_nl_tunnel_attr *row;
	const struct nlattr *attr;
	int err = 0;

	mnl_attr_for_each_nested(attr, nest)
	{
		err = check_attr(t->call, kind, attr);
		if (err)
			return err;
	}
	if (is_external(kind, data))
		t->options.flags |= SLUICE_TUNNEL_EXTERNAL;
	if (kind->begin)
		kind->begin(t);
	for (row = kind->attrs; !err && row->type; row++) {
		if (data[row->type])
			err = row->get(t, data[row->type]);
	}
	if (!err && kind->check)
		err = kind->check(t);
	return err;
}

/* What its packets' keys say an external one is not told, though ip(8) fills some of it in. */
static void leave_to_keys(struct sluice_tunnel_options *o)
{
	if (!(o->flags & SLUICE_TUNNEL_EXTERNAL))
		return;
	o->flags &= ~(uint32_t)(SLUICE_TUNNEL_KEY | SLUICE_TUNNEL_TTL_INHERIT |
				SLUICE_TUNNEL_TOS_INHERIT);
	o->remote = (struct sluice_tunnel_address){ 0 };
	o->id = o->label = 0;
	o->ttl = o->tos = 0;
	o->df = SLUICE_TUNNEL_DF_UNSET;
}

/* Whether the kernel, asked for a link of the name, has one. */
static bool kernel_has(const struct sl_nl_call *call)
{
	size_t cursor = 0, len;
	const void *data;

	while (sl_netlink_list_next(call->kernel, &cursor, &data, &len)) {
		if (len >= sizeof(struct nlmsghdr) &&
			((const struct nlmsghdr *)data)->nlmsg_type == RTM_NEWLINK)
			return true;
	}
	return false;
}

static int ask_for_name(struct sl_nl_call *call, const char *name)
{
	sl_nl_begin(call, RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(&call->message, IFLA_IFNAME, name);
	return sl_nl_ask(call, &call->message);
}

static int new_tunnel(struct sl_nl_call *call, const struct nlattr **attrs,
	const struct sl_nl_tunnel_kind *kind, const struct nlattr *nest, const struct nlattr **data,
	struct sl_nl_tunnel *t)
{
	char name[IFNAMSIZ];
	uint32_t ifindex;
	int err = sl_nl_check_caller(call);

	if (!err)
		err = check_attrs(call, mnl_nlmsg_get_payload(call->request));
	if (!err)
		err = get_device(t, attrs, kind);
	if (!err)
		err = get_options(t, kind, nest, data);
	if (!err)
		err = get_name(call, attrs[IFLA_IFNAME], name);
	if (err)
		return err;
	if (!call->kernel)
		return ask_for_name(call, name);
	if (kernel_has(call))
		return call->request->nlmsg_flags & NLM_F_EXCL ? -EEXIST : -EOPNOTSUPP;
	leave_to_keys(&t->options);
	t->options.name = name;
	return sl_nl_logged(call, sluice_tunnel_add(&t->options, &ifindex));
}

int sl_nl_new_tunnel(struct sl_nl_call *call, const struct nlattr **attrs)
{
	const struct nlattr *info[LINKINFO_MAX + 1], *data[DATA_MAX + 1];
	const struct sl_nl_tunnel_kind *kind = NULL;
	struct sl_nl_tunnel t = { .call = call };
	struct sluice_port_info below;

	if (call->request->nlmsg_type != RTM_NEWLINK ||
		!(call->request->nlmsg_flags & NLM_F_CREATE) || !attrs[IFLA_LINKINFO])
		return sl_nl_pass(call);
	sl_nl_parse_nested(attrs[IFLA_LINKINFO], info, LINKINFO_MAX);
	if (info[IFLA_INFO_KIND] && info[IFLA_INFO_DATA])
		kind = find_kind(info[IFLA_INFO_KIND], &t.options.kind);
	if (!kind)
		return sl_nl_pass(call);
	sl_nl_parse_nested(info[IFLA_INFO_DATA], data, DATA_MAX);
	if (!is_ours(call, kind, attrs, data, &below))
		return sl_nl_pass(call);
	t.options.underlay = below.ifindex;
	return new_tunnel(call, attrs, kind, info[IFLA_INFO_DATA], data, &t);
}

int sl_nl_del_link(struct sl_nl_call *call)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(call->request);
	const struct nlattr *attrs[ALT_IFNAME + 1];
	struct sluice_port_info port;
	int err;

	sl_nl_parse(call->request, sizeof(*head), attrs, ALT_IFNAME);
	if (!sl_nl_find_link(call, attrs, &port) || port.has_twin)
		return sl_nl_pass(call);
	err = sl_nl_check_caller(call);
	if (err)
		return err;
	if (!port.is_tunnel)
		return sl_nl_refuse(call, -EOPNOTSUPP,
			"Sluice port has no kernel interface that could be removed");
	return sl_nl_logged(call, sluice_port_remove(port.ifindex));
}

void sl_nl_put_tunnel(struct nlmsghdr *message, const struct sluice_port_info *port)
{
	struct ifinfomsg *head = mnl_nlmsg_get_payload(message);
	const struct sl_nl_tunnel_kind *kind;
	struct sluice_tunnel_options options;
	struct nlattr *info, *data;

	if (sluice_tunnel_get(port->ifindex, &options) != 0)
		return;
	kind = sl_nl_tunnel_kind(options.kind);
	head->ifi_type = kind->device_type;
	if (kind->device_type != ARPHRD_ETHER) {
		head->ifi_flags &= ~(unsigned)(IFF_BROADCAST | IFF_MULTICAST);
		head->ifi_flags |= IFF_NOARP;
	}
	/* The kernel's VXLAN device has it among its own attributes only. */
	if (options.kind != SLUICE_TUNNEL_VXLAN)
		mnl_attr_put_u32(message, IFLA_LINK, options.underlay);
	info = mnl_attr_nest_start(message, IFLA_LINKINFO);
	info->nla_type &= NLA_TYPE_MASK;
	mnl_attr_put_strz(message, IFLA_INFO_KIND, kind->name);
	data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
	data->nla_type &= NLA_TYPE_MASK;
	for (const struct sl_nl_tunnel_attr *row = kind->attrs; row->type; row++) {
		if (row->put)
			row->put(message, row->type, &options);
	}
	mnl_attr_nest_end(message, data);
	mnl_attr_nest_end(message, info);
}
