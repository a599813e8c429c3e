#include "import.h"

#include <net/if.h> /* before linux/if.h, which gives way to it */

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "follow.h"
#include "item.h"
#include "table.h"

/*
 * The kernel's network through rtnetlink dumps. What has been read is kept as a list of items, so
 * that a run that finds the same list changes nothing.
 */

enum { BUFFER = 1 << 16, ITEMS_MAX = 1 << 14 };

struct items {
	struct sl_item *item;
	uint32_t count, size;
	bool failed;
};

static struct items imported; /* with the lock held */
static bool claimed, current;

static void clear(void)
{
	sl_rule_clear();
	sl_route_flush(0);
	sl_interface_clear();
}

void sl_route_claim(void)
{
	if (__atomic_load_n(&claimed, __ATOMIC_RELAXED))
		return;
	sl_route_lock();
	__atomic_store_n(&claimed, true, __ATOMIC_RELAXED);
	if (imported.count)
		clear();
	free(imported.item);
	imported = (struct items){ 0 };
	sl_route_unlock();
}

static struct sl_item *append(struct items *items, enum sl_item_kind kind)
{
	if (items->count == items->size) {
		uint32_t size = items->size ? items->size * 2 : 64;
		struct sl_item *more =
			size > ITEMS_MAX ? NULL : realloc(items->item, size * sizeof(*more));

		if (!more) {
			items->failed = true;
			return NULL;
		}
		items->item = more;
		items->size = size;
	}
	/* Compared as bytes. */
	memset(&items->item[items->count], 0, sizeof(struct sl_item));
	items->item[items->count].kind = kind;
	return &items->item[items->count++];
}

/* Attributes by their type; those above `max` are left out. */
static void index_attributes(
	struct rtattr *from, int len, unsigned max, const struct rtattr **ret_attributes)
{
	memset(ret_attributes, 0, (max + 1) * sizeof(*ret_attributes));
	for (; RTA_OK(from, len); from = RTA_NEXT(from, len)) {
		unsigned type = from->rta_type & NLA_TYPE_MASK;

		if (type <= max)
			ret_attributes[type] = from;
	}
}

static uint32_t get_u32(const struct rtattr *a)
{
	uint32_t value = 0;

	if (a)
		memcpy(&value, RTA_DATA(a), sl_min(RTA_PAYLOAD(a), sizeof(value)));
	return value;
}

static void get_ip(const struct rtattr *a, uint16_t family, struct sluice_ip *ret_ip)
{
	if (!a || RTA_PAYLOAD(a) < sl_ip_bytes(family))
		return;
	ret_ip->family = family;
	memcpy(ret_ip->bytes, RTA_DATA(a), sl_ip_bytes(family));
}

/* The forwarding switch among an interface's settings of a family. */
static bool forwards(const struct rtattr *settings, uint16_t family)
{
	const struct rtattr *families[AF_INET6 + 1], *conf[IFLA_INET6_MAX + 1];
	unsigned array = family == AF_INET ? IFLA_INET_CONF : IFLA_INET6_CONF;
	unsigned at = family == AF_INET ? IPV4_DEVCONF_FORWARDING - 1 : DEVCONF_FORWARDING;
	int32_t value;

	if (!settings)
		return false;
	index_attributes(RTA_DATA(settings), (int)RTA_PAYLOAD(settings), AF_INET6, families);
	if (!families[family])
		return false;
	index_attributes(RTA_DATA(families[family]), (int)RTA_PAYLOAD(families[family]),
		IFLA_INET6_MAX, conf);
	if (!conf[array] || RTA_PAYLOAD(conf[array]) < (at + 1) * sizeof(value))
		return false;
	memcpy(&value, (const uint8_t *)RTA_DATA(conf[array]) + at * sizeof(value), sizeof(value));
	return value != 0;
}

static void read_link(struct items *items, struct nlmsghdr *message)
{
	struct ifinfomsg *info = NLMSG_DATA(message);
	const struct rtattr *a[IFLA_AF_SPEC + 1];
	struct sl_item *item = append(items, SL_ITEM_LINK);
	bool framed = info->ifi_type == ARPHRD_ETHER || info->ifi_type == ARPHRD_LOOPBACK;

	if (!item)
		return;
	index_attributes(IFLA_RTA(info), (int)IFLA_PAYLOAD(message), IFLA_AF_SPEC, a);
	item->link = (struct sluice_interface){
		.ifindex = (uint32_t)info->ifi_index,
		.mtu = get_u32(a[IFLA_MTU]),
		.header_bytes = framed ? 14 : 0,
		.no_forward_ipv4 = !forwards(a[IFLA_AF_SPEC], AF_INET),
		.no_forward_ipv6 = !forwards(a[IFLA_AF_SPEC], AF_INET6),
		.one_peer = info->ifi_flags & (IFF_LOOPBACK | IFF_POINTOPOINT),
	};
	if (a[IFLA_ADDRESS])
		memcpy(item->link.mac, RTA_DATA(a[IFLA_ADDRESS]),
			sl_min(RTA_PAYLOAD(a[IFLA_ADDRESS]), sizeof(item->link.mac)));
}

static void read_address(struct items *items, struct nlmsghdr *message)
{
	struct ifaddrmsg *info = NLMSG_DATA(message);
	const struct rtattr *a[IFA_FLAGS + 1];
	struct sl_item *item;
	uint32_t flags;

	if (info->ifa_family != AF_INET && info->ifa_family != AF_INET6)
		return;
	index_attributes(IFA_RTA(info), (int)IFA_PAYLOAD(message), IFA_FLAGS, a);
	flags = a[IFA_FLAGS] ? get_u32(a[IFA_FLAGS]) : info->ifa_flags;
	/* Not usable yet, or never. */
	if (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED))
		return;
	item = append(items, SL_ITEM_ADDRESS);
	if (!item)
		return;
	item->ifindex = info->ifa_index;
	item->address.prefix_len = info->ifa_prefixlen;
	item->address.scope = info->ifa_scope;
	item->address.secondary = info->ifa_family == AF_INET && (flags & IFA_F_SECONDARY);
	get_ip(a[IFA_LOCAL] ? a[IFA_LOCAL] : a[IFA_ADDRESS], info->ifa_family, &item->address.ip);
}

static void read_gateway(const struct rtattr **a, uint16_t family, struct sluice_nexthop *ret_hop)
{
	const struct rtvia *via;

	get_ip(a[RTA_GATEWAY], family, &ret_hop->gateway);
	if (a[RTA_VIA] && RTA_PAYLOAD(a[RTA_VIA]) >= sizeof(*via) + 16) {
		via = RTA_DATA(a[RTA_VIA]);
		ret_hop->gateway.family = via->rtvia_family;
		memcpy(ret_hop->gateway.bytes, via->rtvia_addr, 16);
	}
	ret_hop->encapsulated = a[RTA_ENCAP_TYPE] != NULL;
}

static void read_nexthops(const struct rtattr *list, uint16_t family, struct sl_item *item)
{
	const struct rtattr *a[RTA_ENCAP_TYPE + 1];
	struct rtnexthop *hop = RTA_DATA(list);
	int left = (int)RTA_PAYLOAD(list);

	while (RTNH_OK(hop, left) && item->route.nexthop_count < SL_ITEM_HOPS) {
		struct sluice_nexthop *to = &item->hops[item->route.nexthop_count];

		index_attributes(
			RTNH_DATA(hop), (int)hop->rtnh_len - (int)sizeof(*hop), RTA_ENCAP_TYPE, a);
		left -= (int)NLMSG_ALIGN(hop->rtnh_len);
		if (!(hop->rtnh_flags & RTNH_F_DEAD)) {
			to->ifindex = (uint32_t)hop->rtnh_ifindex;
			to->weight = hop->rtnh_hops + 1 > 255 ? 255 : hop->rtnh_hops + 1;
			read_gateway(a, family, to);
			item->route.nexthop_count++;
		}
		hop = RTNH_NEXT(hop);
	}
}

static void read_metrics(const struct rtattr *metrics, struct sluice_route *route)
{
	const struct rtattr *a[RTAX_MTU + 1];

	if (!metrics)
		return;
	index_attributes(RTA_DATA(metrics), (int)RTA_PAYLOAD(metrics), RTAX_MTU, a);
	route->mtu = get_u32(a[RTAX_MTU]);
	route->mtu_locked = get_u32(a[RTAX_LOCK]) & 1u << RTAX_MTU;
}

static void read_route(struct items *items, struct nlmsghdr *message)
{
	struct rtmsg *info = NLMSG_DATA(message);
	const struct rtattr *a[RTA_ENCAP_TYPE + 1];
	uint16_t family = info->rtm_family;
	struct sl_item *item;

	if ((family != AF_INET && family != AF_INET6) || info->rtm_src_len ||
		(info->rtm_flags & (RTM_F_CLONED | RTNH_F_DEAD)))
		return;
	item = append(items, SL_ITEM_ROUTE);
	if (!item)
		return;
	index_attributes(RTM_RTA(info), (int)RTM_PAYLOAD(message), RTA_ENCAP_TYPE, a);
	item->route.prefix.family = family;
	get_ip(a[RTA_DST], family, &item->route.prefix);
	item->route.prefix_len = info->rtm_dst_len;
	item->route.type = info->rtm_type;
	item->route.tos = family == AF_INET ? info->rtm_tos & 0x1c : 0;
	item->route.table = a[RTA_TABLE] ? get_u32(a[RTA_TABLE]) : info->rtm_table;
	item->route.metric = get_u32(a[RTA_PRIORITY]);
	get_ip(a[RTA_PREFSRC], family, &item->route.source);
	read_metrics(a[RTA_METRICS], &item->route);
	if (info->rtm_type >= RTN_BLACKHOLE)
		return;
	if (a[RTA_MULTIPATH]) {
		read_nexthops(a[RTA_MULTIPATH], family, item);
	} else {
		item->hops[0].ifindex = get_u32(a[RTA_OIF]);
		read_gateway(a, family, &item->hops[0]);
		item->route.nexthop_count = 1;
	}
}

static bool is_initial(const struct sluice_rule *rule)
{
	return rule->table && !rule->from_len && !rule->to_len && !rule->mark_mask && !rule->iif &&
	       !rule->oif &&
	       ((rule->priority == 0 && rule->table == RT_TABLE_LOCAL) ||
		       (rule->priority == 32766 && rule->table == RT_TABLE_MAIN) ||
		       (rule->priority == 32767 && rule->table == RT_TABLE_DEFAULT));
}

static void get_ports(const struct rtattr *a, uint16_t ret_ports[2])
{
	if (a && RTA_PAYLOAD(a) >= 2 * sizeof(uint16_t))
		memcpy(ret_ports, RTA_DATA(a), 2 * sizeof(uint16_t));
}

static void read_rule(struct items *items, struct nlmsghdr *message)
{
	struct fib_rule_hdr *info = NLMSG_DATA(message);
	const struct rtattr *a[FRA_DPORT_RANGE + 1];
	struct sluice_rule rule = { .family = info->family };
	struct sl_item *item;

	if (info->family != AF_INET && info->family != AF_INET6)
		return;
	index_attributes((struct rtattr *)((char *)info + NLMSG_ALIGN(sizeof(*info))),
		(int)NLMSG_PAYLOAD(message, sizeof(*info)), FRA_DPORT_RANGE, a);
	rule.action = info->action;
	rule.tos = info->tos;
	rule.from_len = info->src_len;
	rule.to_len = info->dst_len;
	get_ip(a[FRA_SRC], info->family, &rule.from);
	get_ip(a[FRA_DST], info->family, &rule.to);
	rule.protocol = (uint8_t)get_u32(a[FRA_IP_PROTO]);
	rule.invert = info->flags & FIB_RULE_INVERT;
	rule.priority = get_u32(a[FRA_PRIORITY]);
	rule.table = a[FRA_TABLE] ? get_u32(a[FRA_TABLE]) : info->table;
	rule.mark = get_u32(a[FRA_FWMARK]);
	rule.mark_mask = a[FRA_FWMASK] ? get_u32(a[FRA_FWMASK]) : 0;
	if (a[FRA_IIFNAME])
		rule.iif = if_nametoindex(RTA_DATA(a[FRA_IIFNAME])) ?: UINT32_MAX;
	if (a[FRA_OIFNAME])
		rule.oif = if_nametoindex(RTA_DATA(a[FRA_OIFNAME])) ?: UINT32_MAX;
	get_ports(a[FRA_SPORT_RANGE], rule.sport);
	get_ports(a[FRA_DPORT_RANGE], rule.dport);
	/* What goes by tunnels, users or VRFs cannot be told here. */
	if (a[FRA_TUN_ID] || a[FRA_L3MDEV] || a[FRA_UID_RANGE] || is_initial(&rule))
		return;
	item = append(items, SL_ITEM_RULE);
	if (item)
		item->rule = rule;
}

static void read_neighbour(struct items *items, struct nlmsghdr *message)
{
	struct ndmsg *info = NLMSG_DATA(message);
	const struct rtattr *a[NDA_LLADDR + 1];
	struct sl_item *item;

	if (info->ndm_family != AF_INET && info->ndm_family != AF_INET6)
		return;
	item = append(items, SL_ITEM_NEIGHBOUR);
	if (!item)
		return;
	index_attributes((struct rtattr *)((char *)info + NLMSG_ALIGN(sizeof(*info))),
		(int)NLMSG_PAYLOAD(message, sizeof(*info)), NDA_LLADDR, a);
	item->neighbour.ifindex = (uint32_t)info->ndm_ifindex;
	item->neighbour.state = info->ndm_state;
	get_ip(a[NDA_DST], info->ndm_family, &item->neighbour.address);
	if (a[NDA_LLADDR])
		memcpy(item->neighbour.lladdr, RTA_DATA(a[NDA_LLADDR]),
			sl_min(RTA_PAYLOAD(a[NDA_LLADDR]), sizeof(item->neighbour.lladdr)));
}

static const struct dump {
	uint16_t request, answer;
	uint8_t family;
	void (*read)(struct items *items, struct nlmsghdr *message);
} dumps[] = {
	{ RTM_GETLINK, RTM_NEWLINK, AF_UNSPEC, read_link },
	{ RTM_GETADDR, RTM_NEWADDR, AF_UNSPEC, read_address },
	{ RTM_GETRULE, RTM_NEWRULE, AF_INET, read_rule },
	{ RTM_GETRULE, RTM_NEWRULE, AF_INET6, read_rule },
	{ RTM_GETROUTE, RTM_NEWROUTE, AF_INET, read_route },
	{ RTM_GETROUTE, RTM_NEWROUTE, AF_INET6, read_route },
	{ RTM_GETNEIGH, RTM_NEWNEIGH, AF_UNSPEC, read_neighbour },
};

bool sl_item_read(struct nlmsghdr *message, struct sl_item *ret_item)
{
	/* Those that something is gone are numbered behind those that it is there. */
	uint16_t type = message->nlmsg_type & (uint16_t)~1u;
	struct items items = { .item = ret_item, .size = 1 };

	for (unsigned i = 0; i < sl_array_size(dumps); i++) {
		if (dumps[i].answer != type)
			continue;
		dumps[i].read(&items, message);
		break;
	}
	return items.count == 1;
}

/* One answer's messages; true when it was the last. */
static bool read_messages(
	struct items *items, const struct dump *dump, struct nlmsghdr *message, int len)
{
	for (; NLMSG_OK(message, len); message = NLMSG_NEXT(message, len)) {
		if (message->nlmsg_type == NLMSG_DONE)
			return true;
		if (message->nlmsg_type == NLMSG_ERROR) {
			/* A kernel without the family has none of its own. */
			return true;
		}
		if (message->nlmsg_type == dump->answer)
			dump->read(items, message);
	}
	return false;
}

static void read_dump(struct items *items, int fd, const struct dump *dump, char *buffer)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg
			body; /* the longest of those that a dump takes; its first is the family */
		uint32_t rest;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
			.nlmsg_type = dump->request,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body.rtm_family = dump->family,
	};
	bool done = false;

	if (send(fd, &request, sizeof(request), 0) != (ssize_t)sizeof(request))
		items->failed = true;
	while (!done && !items->failed) {
		ssize_t len = recv(fd, buffer, BUFFER, 0);

		if (len <= 0)
			items->failed = true;
		else
			done = read_messages(items, dump, (struct nlmsghdr *)buffer, (int)len);
	}
}

static void read_all(struct items *items)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	char *buffer = malloc(BUFFER);

	items->failed = fd < 0 || !buffer;
	for (unsigned i = 0; i < sl_array_size(dumps) && !items->failed; i++)
		read_dump(items, fd, &dumps[i], buffer);
	free(buffer);
	if (fd >= 0)
		close(fd);
}

/* An interface with the addresses that name it. */
static void put_link(const struct items *items, const struct sluice_interface *link)
{
	struct sl_address *addresses = calloc(items->count, sizeof(*addresses));
	uint32_t count = 0;

	for (uint32_t i = 0; addresses && i < items->count; i++) {
		const struct sl_item *item = &items->item[i];

		if (item->kind == SL_ITEM_ADDRESS && item->ifindex == link->ifindex)
			addresses[count++] = item->address;
	}
	sl_interface_put(link, addresses, count);
	free(addresses);
}

static void put(const struct items *items, struct sl_item *item)
{
	switch (item->kind) {
	case SL_ITEM_LINK:
		put_link(items, &item->link);
		break;
	case SL_ITEM_ROUTE:
		item->route.nexthops = item->hops;
		sl_route_add(&item->route, SLUICE_ROUTE_APPEND);
		item->route.nexthops = NULL; /* not to be compared */
		break;
	case SL_ITEM_RULE:
		sl_rule_put(&item->rule);
		break;
	case SL_ITEM_NEIGHBOUR:
		sl_neighbour_put(&item->neighbour);
		break;
	case SL_ITEM_ADDRESS:
		break;
	}
}

void sl_route_expire(void)
{
	sl_follow_catch_up();
	__atomic_store_n(&current, false, __ATOMIC_RELEASE);
}

/*
 * False when somebody has claimed the tables meanwhile, who may hold the lock and wait for the end of
 * the caller's read section.
 */
static bool lock_unclaimed(void)
{
	while (!__atomic_load_n(&claimed, __ATOMIC_RELAXED)) {
		if (!sl_route_trylock()) {
			sched_yield();
			continue;
		}
		if (!__atomic_load_n(&claimed, __ATOMIC_RELAXED))
			return true;
		sl_route_unlock();
	}
	return false;
}

void sl_route_import(void)
{
	struct items now = { 0 };

	if (__atomic_load_n(&claimed, __ATOMIC_RELAXED) ||
		__atomic_exchange_n(&current, true, __ATOMIC_ACQ_REL))
		return;
	read_all(&now);
	if (!lock_unclaimed()) {
		free(now.item);
		return;
	}
	/* Half of it would be worse than what there was. */
	if (now.failed ||
		(now.count == imported.count &&
			memcmp(now.item, imported.item, now.count * sizeof(*now.item)) == 0)) {
		sl_route_unlock();
		free(now.item);
		return;
	}
	/* The run that this is for is in one; so much fits without a grace period. */
	sl_fib_table_in_section(true);
	clear();
	for (uint32_t i = 0; i < now.count; i++)
		put(&now, &now.item[i]);
	sl_fib_table_in_section(false);
	free(imported.item);
	imported = now;
	sl_route_unlock();
}
