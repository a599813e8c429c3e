#include "request.h"

#include <string.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_bpf.h>

bool sl_netlink_type_is_ours(uint16_t type)
{
	switch (type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
	case RTM_GETLINK:
	case RTM_SETLINK:
	case RTM_NEWQDISC:
	case RTM_DELQDISC:
	case RTM_GETQDISC:
	case RTM_NEWTFILTER:
	case RTM_DELTFILTER:
	case RTM_GETTFILTER:
	case RTM_NEWACTION:
	case RTM_DELACTION:
	case RTM_GETACTION:
		return true;
	default:
		return false;
	}
}

struct found {
	int *fds;
	unsigned count;
};

static void note(struct found *found, const struct nlattr *attr)
{
	int fd;

	if (mnl_attr_get_payload_len(attr) < sizeof(fd) || found->count == SL_NETLINK_FDS)
		return;
	memcpy(&fd, mnl_attr_get_payload(attr), sizeof(fd));
	if (fd < 0)
		return;
	for (unsigned i = 0; i < found->count; i++) {
		if (found->fds[i] == fd)
			return;
	}
	found->fds[found->count++] = fd;
}

static void of_xdp(struct found *found, const struct nlattr *nest)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest)
	{
		uint16_t type = mnl_attr_get_type(attr);

		if (type == IFLA_XDP_FD || type == IFLA_XDP_EXPECTED_FD)
			note(found, attr);
	}
}

/* The options of actions of other kinds may look as if they held descriptors: no harm. */
static void of_actions(struct found *found, const struct nlattr *table)
{
	const struct nlattr *action, *attr, *option;

	mnl_attr_for_each_nested(action, table)
	{
		mnl_attr_for_each_nested(attr, action)
		{
			if (mnl_attr_get_type(attr) != TCA_ACT_OPTIONS)
				continue;
			mnl_attr_for_each_nested(option, attr)
			{
				if (mnl_attr_get_type(option) == TCA_ACT_BPF_FD)
					note(found, option);
			}
		}
	}
}

static void of_filter(struct found *found, const struct nlattr *options)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, options)
	{
		if (mnl_attr_get_type(attr) == TCA_BPF_FD)
			note(found, attr);
		else if (mnl_attr_get_type(attr) == TCA_BPF_ACT)
			of_actions(found, attr);
	}
}

/* By message type: its header, the attribute to look into, and how. */
static const struct row {
	uint16_t type, attr;
	uint32_t head;
	void (*find)(struct found *found, const struct nlattr *nest);
} rows[] = {
	{ RTM_NEWLINK, IFLA_XDP, sizeof(struct ifinfomsg), of_xdp },
	{ RTM_SETLINK, IFLA_XDP, sizeof(struct ifinfomsg), of_xdp },
	{ RTM_NEWTFILTER, TCA_OPTIONS, sizeof(struct tcmsg), of_filter },
	{ RTM_NEWACTION, TCA_ACT_TAB, sizeof(struct tcamsg), of_actions },
};

unsigned sl_netlink_fds(const struct nlmsghdr *request, int fds[static SL_NETLINK_FDS])
{
	struct found found = { fds, 0 };
	const struct nlattr *attr;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].type != request->nlmsg_type ||
			request->nlmsg_len < NLMSG_LENGTH(rows[i].head))
			continue;
		mnl_attr_for_each(attr, request, rows[i].head)
		{
			if (mnl_attr_get_type(attr) == rows[i].attr)
				rows[i].find(&found, attr);
		}
	}
	return found.count;
}
