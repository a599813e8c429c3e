#include <net/if.h> /* before linux/if.h, which gives way to it */

#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "fib.h"
#include "follow_state.h"
#include "import.h"

/* The kernel's messages, one by one. */

struct sl_follow_link *sl_follow_find_link(uint32_t ifindex)
{
	for (uint32_t i = 0; i < sl_follow.link_count; i++)
		if (sl_follow.links[i].ifindex == ifindex)
			return &sl_follow.links[i];
	return NULL;
}

static struct sl_follow_link *get_link(uint32_t ifindex)
{
	struct sl_follow_link *link = sl_follow_find_link(ifindex);

	if (link)
		return link;
	if (sl_follow.link_count == sl_follow.link_size) {
		uint32_t size = sl_follow.link_size ? sl_follow.link_size * 2 : 16;
		struct sl_follow_link *more = realloc(sl_follow.links, size * sizeof(*more));

		if (!more)
			return NULL;
		sl_follow.links = more;
		sl_follow.link_size = size;
	}
	link = &sl_follow.links[sl_follow.link_count++];
	*link = (struct sl_follow_link){ .ifindex = ifindex };
	return link;
}

void sl_follow_drop_link(struct sl_follow_link *link)
{
	sluice_interface_del(link->ifindex);
	*link = sl_follow.links[--sl_follow.link_count];
}

/* The kernel tells of IPv6 routes that go with a link, and of no IPv4 routes that do. */
static void note_up(struct sl_follow_link *link, bool up)
{
	if (link->up && !up) {
		sl_route_lock();
		sl_route_flush(link->ifindex);
		sl_route_unlock();
	}
	if (!link->up && up)
		sl_follow.stale |= SL_STALE_ROUTES4;
	link->up = up;
}

static void put_link(const struct nlmsghdr *message, const struct sl_item *item)
{
	const struct ifinfomsg *info = NLMSG_DATA(message);
	struct sl_follow_link *link = get_link(item->link.ifindex);
	const struct sl_interface *old;

	if (!link)
		return;
	sl_route_lock();
	old = sl_interface_peek(item->link.ifindex);
	sl_interface_put(&item->link, old ? old->addresses : NULL, old ? old->address_count : 0);
	sl_route_unlock();
	link->seen = true;
	note_up(link, info->ifi_flags & IFF_UP);
}

static void put_neighbour(const struct sl_item *item)
{
	/* No state is what an entry has before anybody has asked for it. */
	if (!item->neighbour.state) {
		sluice_neighbour_del(item->neighbour.ifindex, &item->neighbour.address);
		return;
	}
	sl_route_lock();
	sl_neighbour_put(&item->neighbour);
	sl_route_unlock();
}

/* What tells routes apart, and all that look-ups are told of one. */
static uint64_t mix(uint64_t hash, const void *bytes, size_t len)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ b[i]) * 0x100000001b3;
	return hash;
}

static uint64_t mix_ip(uint64_t hash, const struct sluice_ip *ip)
{
	hash = mix(hash, &ip->family, sizeof(ip->family));
	return mix(hash, ip->bytes, ip->family ? sl_ip_bytes(ip->family) : 0);
}

uint64_t sl_follow_hash(const struct sluice_route *r)
{
	uint8_t small[] = { r->prefix_len, r->type ?: RTN_UNICAST, r->tos, r->mtu_locked };
	uint32_t wide[] = { r->table, r->metric, r->mtu, r->nexthop_count };
	uint64_t hash = mix_ip(0xcbf29ce484222325, &r->prefix);

	hash = mix(hash, small, sizeof(small));
	hash = mix(hash, wide, sizeof(wide));
	hash = mix_ip(hash, &r->source);
	for (unsigned i = 0; i < r->nexthop_count; i++) {
		const struct sluice_nexthop *n = &r->nexthops[i];
		uint32_t words[] = { n->ifindex, n->weight ?: 1, n->encapsulated };

		hash = mix_ip(mix(hash, words, sizeof(words)), &n->gateway);
	}
	return hash;
}

/* What there is of a route's prefix, beside the route. */
struct beside {
	const struct sluice_route *route;
	uint64_t hash;
	bool same, overlaps; /* the very route; one over its first path */
	unsigned alike; /* of its metric and TOS */
};

static bool is_over(const struct sluice_route *r, const struct sluice_nexthop *hop)
{
	for (unsigned i = 0; i < r->nexthop_count; i++)
		if (r->nexthops[i].ifindex == hop->ifindex &&
			memcmp(&r->nexthops[i].gateway, &hop->gateway, sizeof(hop->gateway)) == 0)
			return true;
	return r->nexthop_count == 0;
}

static int look_beside(const struct sluice_route *r, void *arg)
{
	struct beside *b = arg;

	b->same |= sl_follow_hash(r) == b->hash;
	if (r->metric != b->route->metric || r->tos != b->route->tos)
		return 0;
	b->alike++;
	for (unsigned i = 0; i < b->route->nexthop_count; i++) {
		b->overlaps |= is_over(r, &b->route->nexthops[i]);
	}
	return 0;
}

static struct beside find_beside(const struct sluice_route *route)
{
	struct beside b = { .route = route, .hash = sl_follow_hash(route) };

	sl_route_walk_prefix(route, look_beside, &b);
	return b;
}

/*
 * IPv4's say whether they replace one. IPv6's tell a group of paths as a whole when one joins it, so
 * that what is there of the group goes.
 */
static void put_route(const struct nlmsghdr *message, const struct sl_item *item)
{
	const struct sluice_route *route = &item->route;
	bool replace = message->nlmsg_flags & NLM_F_REPLACE;
	struct beside b;

	sl_route_lock();
	b = find_beside(route);
	if (!b.same && route->prefix.family == AF_INET6 && b.overlaps && !replace)
		sl_follow.stale |= SL_STALE_ROUTES6;
	/* Of several it does not say which one it takes the place of: a dump tells. */
	if (replace && b.alike > 1) {
		sl_follow.stale |=
			route->prefix.family == AF_INET6 ? SL_STALE_ROUTES6 : SL_STALE_ROUTES4;
		replace = false;
	}
	sl_follow.doubles |= b.same && route->prefix.family == AF_INET;
	if (!b.same)
		sl_route_add(route, replace ? SLUICE_ROUTE_REPLACE : SLUICE_ROUTE_APPEND);
	sl_route_unlock();
}

static bool has_hash(const struct sluice_route *route, void *arg)
{
	return sl_follow_hash(route) == *(const uint64_t *)arg;
}

bool sl_follow_del(const struct sluice_route *where, uint64_t hash)
{
	return sl_route_del_if(where, has_hash, &hash);
}

/* Where it is not here as it was, as when one path leaves a group that stays, a dump tells. */
static void drop_route(const struct sl_item *item)
{
	const struct sluice_route *route = &item->route;

	sl_route_lock();
	if (!sl_follow_del(route, sl_follow_hash(route)) ||
		(sl_follow.doubles && route->prefix.family == AF_INET))
		sl_follow.stale |=
			route->prefix.family == AF_INET6 ? SL_STALE_ROUTES6 : SL_STALE_ROUTES4;
	sl_route_unlock();
}

void sl_follow_apply(const struct nlmsghdr *message, struct sl_item *item)
{
	struct sl_follow_link *link;

	item->route.nexthops = item->kind == SL_ITEM_ROUTE ? item->hops : item->route.nexthops;
	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
		put_link(message, item);
		break;
	case RTM_DELLINK:
		link = sl_follow_find_link(item->link.ifindex);
		if (link)
			sl_follow_drop_link(link);
		break;
	case RTM_NEWROUTE:
		put_route(message, item);
		break;
	case RTM_DELROUTE:
		drop_route(item);
		break;
	case RTM_NEWNEIGH:
		put_neighbour(item);
		break;
	case RTM_DELNEIGH:
		sluice_neighbour_del(item->neighbour.ifindex, &item->neighbour.address);
		break;
	}
}

/* A change that the kernel tells of. */
void sl_follow_hear(struct nlmsghdr *message)
{
	const struct ifinfomsg *link = NLMSG_DATA(message);
	struct sl_item item;

	switch (message->nlmsg_type) {
	case RTM_NEWADDR:
		sl_follow.stale |= SL_STALE_ADDRESSES;
		return;
	case RTM_DELADDR:
		/* Routes that prefer the address go without a word. */
		sl_follow.stale |= SL_STALE_ADDRESSES | SL_STALE_ROUTES4;
		return;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		sl_follow.stale |= SL_STALE_RULES;
		return;
	case RTM_NEWNETCONF:
		sl_follow.stale |= SL_STALE_LINKS;
		return;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		/* Others tell of what an interface is to a bridge, or to IPv6. */
		if (link->ifi_family != AF_UNSPEC)
			return;
		break;
	}
	if (sl_item_read(message, &item))
		sl_follow_apply(message, &item);
}
