#include <errno.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fib.h"
#include "follow_state.h"
#include "import.h"

/* What the kernel has, compared with what is here; routes by their hashes, of which there may be many. */

enum { TRIES = 3 /* of a dump that changes meanwhile */ };

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

	return send(sl_follow.dump_fd, &request, sizeof(request), 0) == (ssize_t)sizeof(request)
		       ? 0
		       : -errno;
}

/* -EAGAIN: it has changed meanwhile. */
static int dump_once(uint16_t type, uint8_t family, item_fn fn, void *arg)
{
	bool interrupted = false;
	int err = request_dump(type, family);

	while (!err) {
		ssize_t n = recv(sl_follow.dump_fd, sl_follow.buffer, SL_FOLLOW_BUFFER, 0);
		struct nlmsghdr *m = (struct nlmsghdr *)sl_follow.buffer;
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
	sl_follow_apply(message, item);
}

static int dump_links(void)
{
	int err;

	for (uint32_t i = 0; i < sl_follow.link_count; i++)
		sl_follow.links[i].seen = false;
	err = dump_once(RTM_GETLINK, AF_UNSPEC, dump_item, NULL);
	for (uint32_t i = 0; !err && i < sl_follow.link_count;) {
		if (sl_follow.links[i].seen)
			i++;
		else
			sl_follow_drop_link(&sl_follow.links[i]);
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
	for (uint32_t i = 0; !err && i < sl_follow.link_count; i++)
		put_addresses(sl_follow.links[i].ifindex, &p);
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
	struct sluice_route where; /* its table and prefix */
	uint64_t hash;
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
		if (sl_follow_find_link(route->nexthops[i].ifindex))
			return false;
	return route->nexthop_count > 0;
}

static int note_known(const struct sluice_route *route, void *arg)
{
	struct compared *c = arg;
	struct known k = { .hash = sl_follow_hash(route) };

	if (!is_foreign(route))
		add_to(&c->known, &k);
	return 0;
}

static void compare_route(const struct nlmsghdr *message, struct sl_item *item, void *arg)
{
	struct known *k;

	item->route.nexthops = item->hops;
	k = find_known(arg, sl_follow_hash(&item->route));
	if (k) {
		sl_follow.doubles |= k->seen;
		k->seen = true;
		return;
	}
	sl_follow_apply(message, item);
}

static void add_gone(struct compared *c, const struct sluice_route *route)
{
	struct gone g = { .hash = sl_follow_hash(route) };

	g.where.prefix = route->prefix;
	g.where.prefix_len = route->prefix_len;
	g.where.table = route->table;
	add_to(&c->gone, &g);
}

static int note_gone(const struct sluice_route *route, void *arg)
{
	struct compared *c = arg;
	const struct known *k = find_known(c, sl_follow_hash(route));

	if (k && !k->seen)
		add_gone(c, route);
	return 0;
}

static void delete_gone(const struct compared *c)
{
	sl_route_lock();
	for (size_t i = 0; i < c->gone.count; i++) {
		const struct gone *g = (const struct gone *)c->gone.bytes + i;

		sl_follow_del(&g->where, g->hash);
	}
	sl_route_unlock();
}

static int dump_routes(uint16_t family)
{
	struct compared c = { .known.each = sizeof(struct known),
		.gone.each = sizeof(struct gone) };
	int err;

	if (family == AF_INET)
		sl_follow.doubles = false;
	sluice_route_walk(family, 0, note_known, &c);
	if (c.known.count)
		qsort(c.known.bytes, c.known.count, sizeof(struct known), by_hash);
	err = c.known.failed ? -ENOMEM
			     : dump_once(RTM_GETROUTE, (uint8_t)family, compare_route, &c);
	if (!err && c.known.count)
		sluice_route_walk(family, 0, note_gone, &c);
	if (!err)
		delete_gone(&c);
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
	enum sl_follow_stale what;
	int (*dump)(void);
} dumps[] = {
	{ SL_STALE_LINKS, dump_links },
	{ SL_STALE_ADDRESSES, dump_addresses },
	{ SL_STALE_RULES, dump_rules },
	{ SL_STALE_ROUTES4, dump_routes4 },
	{ SL_STALE_ROUTES6, dump_routes6 },
	{ SL_STALE_NEIGHBOURS, dump_neighbours },
};

int sl_follow_refresh(void)
{
	int err = 0;

	for (unsigned try = 0; try < TRIES && sl_follow.stale; try++) {
		for (unsigned i = 0; i < sl_array_size(dumps); i++) {
			if (!(sl_follow.stale & dumps[i].what))
				continue;
			sl_follow.stale &= ~(unsigned)dumps[i].what;
			err = dumps[i].dump();
			if (err)
				sl_follow.stale |= dumps[i].what;
		}
	}
	return err == -EAGAIN ? 0 : err;
}

static int note_pathless(const struct sluice_route *route, void *arg)
{
	if (!route->nexthop_count)
		add_gone(arg, route);
	return 0;
}

/* What the kernel has said is forgotten. */
void sl_follow_forget(void)
{
	struct compared c = { .gone.each = sizeof(struct gone) };

	while (sl_follow.link_count)
		sl_follow_drop_link(&sl_follow.links[0]);
	sluice_route_walk(AF_UNSPEC, 0, note_pathless, &c);
	delete_gone(&c);
	sl_route_lock();
	sl_rule_clear();
	sl_route_unlock();
	free(c.gone.bytes);
}
