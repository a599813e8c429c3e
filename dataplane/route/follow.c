#include "follow.h"

#include <net/if.h> /* before linux/if.h, which gives way to it */

#include <errno.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fib.h"
#include "import.h"
#include "item.h"
#include "logging.h"

/*
 * The kernel's network, live. A socket is told of every change from before the first dump on, and its
 * messages are applied one by one; what the kernel does not tell (IPv4 routes that go with a link or
 * an address, and what there was no room for) is found by a dump that is compared with what is here.
 * Links without a kernel interface, and routes over them, are somebody else's and stay.
 *
 * Who holds `mutex` reads the socket: the thread of this file, or one that wants to know the present.
 */

enum {
	BUFFER = 1 << 16,
	SOCKET_BYTES = 1 << 24,
	TRIES = 3, /* of a dump that changes meanwhile */
};

enum stale { LINKS = 1, ADDRESSES = 2, RULES = 4, ROUTES4 = 8, ROUTES6 = 16, NEIGHBOURS = 32 };

struct link_state {
	uint32_t ifindex;
	bool up, seen;
};

static struct {
	pthread_mutex_t mutex;
	pthread_t thread;
	bool running; /* read without the mutex by who would catch up */
	int events_fd, dump_fd, stop_fd;
	unsigned stale; /* to be dumped */
	struct link_state *links; /* the kernel's */
	uint32_t link_count, link_size;
	char *buffer;
} st = { .mutex = PTHREAD_MUTEX_INITIALIZER, .events_fd = -1, .dump_fd = -1, .stop_fd = -1 };

static struct link_state *find_link(uint32_t ifindex)
{
	for (uint32_t i = 0; i < st.link_count; i++)
		if (st.links[i].ifindex == ifindex)
			return &st.links[i];
	return NULL;
}

static struct link_state *get_link(uint32_t ifindex)
{
	struct link_state *link = find_link(ifindex);

	if (link)
		return link;
	if (st.link_count == st.link_size) {
		uint32_t size = st.link_size ? st.link_size * 2 : 16;
		struct link_state *more = realloc(st.links, size * sizeof(*more));

		if (!more)
			return NULL;
		st.links = more;
		st.link_size = size;
	}
	link = &st.links[st.link_count++];
	*link = (struct link_state){ .ifindex = ifindex };
	return link;
}

static void drop_link(struct link_state *link)
{
	sluice_interface_del(link->ifindex);
	*link = st.links[--st.link_count];
}

/* The kernel tells of IPv6 routes that go with a link, and of no IPv4 routes that do. */
static void note_up(struct link_state *link, bool up)
{
	if (link->up && !up) {
		sl_route_lock();
		sl_route_flush(link->ifindex);
		sl_route_unlock();
	}
	if (!link->up && up)
		st.stale |= ROUTES4;
	link->up = up;
}

static void put_link(const struct nlmsghdr *message, const struct sl_item *item)
{
	const struct ifinfomsg *info = NLMSG_DATA(message);
	struct link_state *link = get_link(item->link.ifindex);
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

static uint64_t hash_route(const struct sluice_route *r)
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
	unsigned paths; /* of the one that overlaps */
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

	b->same |= hash_route(r) == b->hash;
	if (r->metric != b->route->metric || r->tos != b->route->tos)
		return 0;
	for (unsigned i = 0; i < b->route->nexthop_count; i++) {
		if (!is_over(r, &b->route->nexthops[i]))
			continue;
		b->overlaps = true;
		b->paths = r->nexthop_count;
	}
	return 0;
}

static struct beside find_beside(const struct sluice_route *route)
{
	struct beside b = { .route = route, .hash = hash_route(route) };

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
		st.stale |= ROUTES6;
	if (!b.same)
		sl_route_add(route, replace ? SLUICE_ROUTE_REPLACE : SLUICE_ROUTE_APPEND);
	sl_route_unlock();
}

static void drop_route(const struct sl_item *item)
{
	const struct sluice_route *route = &item->route;
	struct beside b;

	sl_route_lock();
	b = find_beside(route);
	/* One path leaves a group that stays. */
	if (route->prefix.family == AF_INET6 && !b.same && b.overlaps &&
		b.paths > route->nexthop_count)
		st.stale |= ROUTES6;
	else
		sl_route_del(route);
	sl_route_unlock();
}

static void apply(const struct nlmsghdr *message, struct sl_item *item)
{
	struct link_state *link;

	item->route.nexthops = item->kind == SL_ITEM_ROUTE ? item->hops : item->route.nexthops;
	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
		put_link(message, item);
		break;
	case RTM_DELLINK:
		link = find_link(item->link.ifindex);
		if (link)
			drop_link(link);
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
static void hear(struct nlmsghdr *message)
{
	const struct ifinfomsg *link = NLMSG_DATA(message);
	struct sl_item item;

	switch (message->nlmsg_type) {
	case RTM_NEWADDR:
		st.stale |= ADDRESSES;
		return;
	case RTM_DELADDR:
		/* Routes that prefer the address go without a word. */
		st.stale |= ADDRESSES | ROUTES4;
		return;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		st.stale |= RULES;
		return;
	case RTM_NEWNETCONF:
		st.stale |= LINKS;
		return;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		/* Others tell of what an interface is to a bridge, or to IPv6. */
		if (link->ifi_family != AF_UNSPEC)
			return;
		break;
	}
	if (sl_item_read(message, &item))
		apply(message, &item);
}

typedef void (*item_fn)(const struct nlmsghdr *message, struct sl_item *item, void *arg);

static int request_dump(uint16_t type, uint8_t family)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg body; /* the longest that a dump takes; its first is the family */
		uint32_t rest;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
			.nlmsg_type = type,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body.rtm_family = family,
	};

	return send(st.dump_fd, &request, sizeof(request), 0) == (ssize_t)sizeof(request) ? 0
											  : -errno;
}

/* -EAGAIN: it has changed meanwhile. */
static int dump_once(uint16_t type, uint8_t family, item_fn fn, void *arg)
{
	bool interrupted = false;
	int err = request_dump(type, family);

	while (!err) {
		ssize_t n = recv(st.dump_fd, st.buffer, BUFFER, 0);
		struct nlmsghdr *m = (struct nlmsghdr *)st.buffer;
		int len = (int)n;

		if (n <= 0)
			return n ? -errno : -EIO;
		for (; NLMSG_OK(m, len); m = NLMSG_NEXT(m, len)) {
			struct sl_item item;

			interrupted |= m->nlmsg_flags & NLM_F_DUMP_INTR;
			/* A kernel without the family has none of its own. */
			if (m->nlmsg_type == NLMSG_DONE || m->nlmsg_type == NLMSG_ERROR)
				return interrupted ? -EAGAIN : 0;
			if (sl_item_read(m, &item))
				fn(m, &item, arg);
		}
	}
	return err;
}

static void dump_item(const struct nlmsghdr *message, struct sl_item *item, void *arg)
{
	(void)arg;
	apply(message, item);
}

static int dump_links(void)
{
	int err;

	for (uint32_t i = 0; i < st.link_count; i++)
		st.links[i].seen = false;
	err = dump_once(RTM_GETLINK, AF_UNSPEC, dump_item, NULL);
	for (uint32_t i = 0; !err && i < st.link_count;) {
		if (st.links[i].seen)
			i++;
		else
			drop_link(&st.links[i]);
	}
	return err;
}

/* Everything of one kind that a dump tells; grows. */
struct pile {
	size_t count, size, each;
	char *bytes;
	bool failed;
};

static void *add_to(struct pile *p, const void *what)
{
	if (p->count == p->size) {
		size_t size = p->size ? p->size * 2 : 64;
		char *more = realloc(p->bytes, size * p->each);

		if (!more) {
			p->failed = true;
			return NULL;
		}
		p->bytes = more;
		p->size = size;
	}
	return memcpy(p->bytes + p->each * p->count++, what, p->each);
}

struct held_address {
	uint32_t ifindex;
	struct sl_address address;
};

static void pile_address(const struct nlmsghdr *message, struct sl_item *item, void *arg)
{
	struct held_address a = { item->ifindex, item->address };

	(void)message;
	add_to(arg, &a);
}

static void put_addresses(uint32_t ifindex, const struct pile *all)
{
	const struct held_address *held = (const struct held_address *)all->bytes;
	struct sl_address *addresses = calloc(all->count + 1, sizeof(*addresses));
	const struct sl_interface *old;
	uint32_t count = 0;

	for (size_t i = 0; addresses && i < all->count; i++)
		if (held[i].ifindex == ifindex)
			addresses[count++] = held[i].address;
	sl_route_lock();
	old = sl_interface_peek(ifindex);
	if (old && addresses) {
		struct sluice_interface info = old->info;

		sl_interface_put(&info, addresses, count);
	}
	sl_route_unlock();
	free(addresses);
}

static int dump_addresses(void)
{
	struct pile p = { .each = sizeof(struct held_address) };
	int err = dump_once(RTM_GETADDR, AF_UNSPEC, pile_address, &p);

	if (p.failed)
		err = -ENOMEM;
	for (uint32_t i = 0; !err && i < st.link_count; i++)
		put_addresses(st.links[i].ifindex, &p);
	free(p.bytes);
	return err;
}

static void pile_rule(const struct nlmsghdr *message, struct sl_item *item, void *arg)
{
	(void)message;
	add_to(arg, &item->rule);
}

static int dump_rules(void)
{
	struct pile p = { .each = sizeof(struct sluice_rule) };
	int err = dump_once(RTM_GETRULE, AF_INET, pile_rule, &p);

	if (!err)
		err = dump_once(RTM_GETRULE, AF_INET6, pile_rule, &p);
	if (p.failed)
		err = -ENOMEM;
	if (!err) {
		sl_route_lock();
		sl_rule_clear();
		for (size_t i = 0; i < p.count; i++)
			sl_rule_put((const struct sluice_rule *)p.bytes + i);
		sl_route_unlock();
	}
	free(p.bytes);
	return err;
}

/* Routes by their hashes: those that are here, and which of them the kernel has. */
struct known {
	uint64_t hash;
	bool seen;
};

struct compared {
	struct pile known;
	struct pile gone; /* struct gone */
};

struct gone {
	struct sluice_route route;
	struct sluice_nexthop hop; /* the first */
};

static int by_hash(const void *a, const void *b)
{
	uint64_t x = ((const struct known *)a)->hash, y = ((const struct known *)b)->hash;

	return x < y ? -1 : x > y;
}

static struct known *find_known(const struct compared *c, uint64_t hash)
{
	struct known key = { .hash = hash };

	return c->known.count ? bsearch(&key, c->known.bytes, c->known.count, sizeof(key), by_hash)
			      : NULL;
}

/* Somebody else's: over interfaces that the kernel does not have. */
static bool is_foreign(const struct sluice_route *route)
{
	for (unsigned i = 0; i < route->nexthop_count; i++)
		if (find_link(route->nexthops[i].ifindex))
			return false;
	return route->nexthop_count > 0;
}

static int note_known(const struct sluice_route *route, void *arg)
{
	struct compared *c = arg;
	struct known k = { .hash = hash_route(route) };

	if (!is_foreign(route))
		add_to(&c->known, &k);
	return 0;
}

static void compare_route(const struct nlmsghdr *message, struct sl_item *item, void *arg)
{
	struct known *k;

	(void)message;
	item->route.nexthops = item->hops;
	k = find_known(arg, hash_route(&item->route));
	if (k) {
		k->seen = true;
		return;
	}
	sl_route_lock();
	sl_route_add(&item->route, SLUICE_ROUTE_APPEND);
	sl_route_unlock();
}

static int note_gone(const struct sluice_route *route, void *arg)
{
	struct compared *c = arg;
	const struct known *k = find_known(c, hash_route(route));
	struct gone g = { .route = *route };

	if (!k || k->seen)
		return 0;
	if (route->nexthop_count)
		g.hop = route->nexthops[0];
	g.route.nexthop_count = route->nexthop_count ? 1 : 0;
	add_to(&c->gone, &g);
	return 0;
}

static int dump_routes(uint16_t family)
{
	struct compared c = { .known.each = sizeof(struct known),
		.gone.each = sizeof(struct gone) };
	int err;

	sluice_route_walk(family, 0, note_known, &c);
	if (c.known.count)
		qsort(c.known.bytes, c.known.count, sizeof(struct known), by_hash);
	err = c.known.failed ? -ENOMEM
			     : dump_once(RTM_GETROUTE, (uint8_t)family, compare_route, &c);
	if (!err && c.known.count)
		sluice_route_walk(family, 0, note_gone, &c);
	for (size_t i = 0; !err && i < c.gone.count; i++) {
		struct gone *g = (struct gone *)c.gone.bytes + i;

		g->route.nexthops = &g->hop;
		sl_route_lock();
		sl_route_del(&g->route);
		sl_route_unlock();
	}
	free(c.known.bytes);
	free(c.gone.bytes);
	return err;
}

static int dump_neighbours(void)
{
	return dump_once(RTM_GETNEIGH, AF_UNSPEC, dump_item, NULL);
}

static int dump_routes4(void)
{
	return dump_routes(AF_INET);
}

static int dump_routes6(void)
{
	return dump_routes(AF_INET6);
}

/* In the order in which one needs another. */
static const struct {
	enum stale what;
	int (*dump)(void);
} dumps[] = {
	{ LINKS, dump_links },
	{ ADDRESSES, dump_addresses },
	{ RULES, dump_rules },
	{ ROUTES4, dump_routes4 },
	{ ROUTES6, dump_routes6 },
	{ NEIGHBOURS, dump_neighbours },
};

static int refresh(void)
{
	int err = 0;

	for (unsigned try = 0; try < TRIES && st.stale; try++) {
		for (unsigned i = 0; i < sl_array_size(dumps); i++) {
			if (!(st.stale & dumps[i].what))
				continue;
			st.stale &= ~(unsigned)dumps[i].what;
			err = dumps[i].dump();
			if (err)
				st.stale |= dumps[i].what;
		}
	}
	return err == -EAGAIN ? 0 : err;
}

/* All that the kernel has told until now. With the mutex. */
static void pump(void)
{
	for (;;) {
		ssize_t n = recv(st.events_fd, st.buffer, BUFFER, MSG_DONTWAIT);
		struct nlmsghdr *m = (struct nlmsghdr *)st.buffer;
		int len = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		/* Some was lost. */
		if (n < 0 && errno == ENOBUFS) {
			st.stale = ~0u;
			continue;
		}
		if (n <= 0)
			break;
		for (; NLMSG_OK(m, len); m = NLMSG_NEXT(m, len))
			hear(m);
	}
	refresh();
}

void sl_follow_catch_up(void)
{
	if (!__atomic_load_n(&st.running, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&st.mutex);
	if (st.running)
		pump();
	pthread_mutex_unlock(&st.mutex);
}

static void *thread_main(void *arg)
{
	struct pollfd fds[] = { { st.stop_fd, POLLIN, 0 }, { st.events_fd, POLLIN, 0 } };

	(void)arg;
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			break;
		sl_follow_catch_up();
	}
	return NULL;
}

static int open_events(void)
{
	static const int groups[] = { RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR,
		RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE,
		RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF };
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	int size = SOCKET_BYTES;

	st.events_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (st.events_fd < 0)
		return -errno;
	if (setsockopt(st.events_fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
		setsockopt(st.events_fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	/* Without a name of its own it would be taken for the kernel, who does not tell itself. */
	if (bind(st.events_fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return -errno;
	for (unsigned i = 0; i < sl_array_size(groups); i++)
		if (setsockopt(st.events_fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
			    sizeof(groups[i])) != 0)
			return -errno;
	return 0;
}

static int open_all(void)
{
	int err = open_events();

	st.dump_fd = err ? -1 : socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	st.stop_fd = err ? -1 : eventfd(0, EFD_CLOEXEC);
	st.buffer = malloc(BUFFER);
	if (!err && (st.dump_fd < 0 || st.stop_fd < 0))
		err = -errno;
	return !err && !st.buffer ? -ENOMEM : err;
}

static void close_all(void)
{
	int *const fds[] = { &st.events_fd, &st.dump_fd, &st.stop_fd };

	for (unsigned i = 0; i < sl_array_size(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	free(st.buffer);
	free(st.links);
	st.buffer = NULL;
	st.links = NULL;
	st.link_count = st.link_size = 0;
}

static int drop_pathless(const struct sluice_route *route, void *arg)
{
	struct compared *c = arg;
	struct gone g = { .route = *route };

	g.route.nexthops = NULL;
	if (!route->nexthop_count)
		add_to(&c->gone, &g);
	return 0;
}

/* What the kernel has said is forgotten. */
static void forget(void)
{
	struct compared c = { .gone.each = sizeof(struct gone) };

	while (st.link_count)
		drop_link(&st.links[0]);
	sluice_route_walk(AF_UNSPEC, 0, drop_pathless, &c);
	sl_route_lock();
	for (size_t i = 0; i < c.gone.count; i++)
		sl_route_del(&((struct gone *)c.gone.bytes)[i].route);
	sl_rule_clear();
	sl_route_unlock();
	free(c.gone.bytes);
}

static int start_thread(void)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&st.thread, NULL, thread_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		pthread_setname_np(st.thread, "sluice-route");
	return err;
}

int sluice_route_follow(void)
{
	int err;

	sl_route_claim();
	pthread_mutex_lock(&st.mutex);
	if (st.running) {
		pthread_mutex_unlock(&st.mutex);
		return -EBUSY;
	}
	err = open_all();
	st.stale = ~0u;
	if (!err)
		err = refresh();
	if (!err)
		err = start_thread();
	if (err) {
		forget();
		close_all();
	}
	__atomic_store_n(&st.running, !err, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&st.mutex);
	return err;
}

void sluice_route_unfollow(void)
{
	if (!__atomic_load_n(&st.running, __ATOMIC_ACQUIRE))
		return;
	eventfd_write(st.stop_fd, 1);
	pthread_join(st.thread, NULL);
	pthread_mutex_lock(&st.mutex);
	__atomic_store_n(&st.running, false, __ATOMIC_RELEASE);
	forget();
	close_all();
	pthread_mutex_unlock(&st.mutex);
}
