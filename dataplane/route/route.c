#include "fib.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "import.h"
#include "table.h"

/* Adding, deleting and listing routes. Each change makes a new list for the prefix. */

enum { METRIC_IPV6 = 1024, LIST_MAX = 1024 };

static bool leads_somewhere(uint8_t type)
{
	return type == RTN_UNICAST || type == RTN_LOCAL || type == RTN_BROADCAST ||
	       type == RTN_ANYCAST || type == RTN_MULTICAST;
}

static uint8_t type_of(const struct sluice_route *spec)
{
	return spec->type ? spec->type : (uint8_t)RTN_UNICAST;
}

static uint32_t table_of(const struct sluice_route *spec)
{
	uint8_t type = type_of(spec);

	if (spec->table)
		return spec->table;
	return type == RTN_LOCAL || type == RTN_BROADCAST || type == RTN_ANYCAST ? RT_TABLE_LOCAL
										 : RT_TABLE_MAIN;
}

static uint32_t metric_of(const struct sluice_route *spec)
{
	uint8_t type = type_of(spec);

	if (spec->metric || spec->prefix.family == AF_INET || type == RTN_LOCAL ||
		type == RTN_ANYCAST)
		return spec->metric;
	return METRIC_IPV6;
}

/* What an address must be to be chosen for the route, as iproute2 sets it. */
static uint8_t scope_of(const struct sluice_route *spec)
{
	switch (type_of(spec)) {
	case RTN_LOCAL:
		return RT_SCOPE_HOST;
	case RTN_BROADCAST:
	case RTN_MULTICAST:
	case RTN_ANYCAST:
		return RT_SCOPE_LINK;
	case RTN_UNICAST:
		for (unsigned i = 0; i < spec->nexthop_count; i++) {
			if (spec->nexthops[i].gateway.family)
				return RT_SCOPE_UNIVERSE;
		}
		return RT_SCOPE_LINK;
	default:
		return RT_SCOPE_UNIVERSE;
	}
}

static int check(const struct sluice_route *spec)
{
	const struct sluice_ip *prefix = &spec->prefix;
	unsigned bits = sl_ip_bytes(prefix->family) * 8;

	if ((prefix->family != AF_INET && prefix->family != AF_INET6) || spec->prefix_len > bits)
		return -EINVAL;
	/* No bits behind the prefix. */
	for (unsigned bit = spec->prefix_len; bit < bits; bit++) {
		if (prefix->bytes[bit / 8] & 0x80 >> bit % 8)
			return -EINVAL;
	}
	if (type_of(spec) > RTN_THROW || (spec->tos & ~0x1c) ||
		(spec->tos && prefix->family == AF_INET6))
		return -EINVAL;
	if (spec->source.family && spec->source.family != prefix->family)
		return -EINVAL;
	if (spec->nexthop_count > SLUICE_NEXTHOPS)
		return -E2BIG;
	return leads_somewhere(type_of(spec)) == (spec->nexthop_count > 0) ? 0 : -EINVAL;
}

/* The interface that a gateway without one is reached by: its own route must be to the link. */
static int resolve_gateway(
	const struct sluice_ip *gateway, uint32_t table, struct sluice_nexthop *nexthop)
{
	struct sl_fib_flow flow = { .family = gateway->family };
	struct sl_fib_result result;
	int err;

	memcpy(flow.dst, gateway->bytes, sl_ip_bytes(gateway->family));
	err = table == RT_TABLE_MAIN ? -EAGAIN : sl_fib_table_lookup(&flow, table, &result);
	if (err)
		err = sl_fib_lookup(&flow, &result);
	if (err || result.route->type != RTN_UNICAST || result.path->gateway_family)
		return -ENETUNREACH;
	nexthop->ifindex = result.path->ifindex;
	return 0;
}

static int fill_path(
	struct sl_path *path, const struct sluice_nexthop *spec, const struct sluice_route *route)
{
	struct sluice_nexthop nexthop = *spec;
	const struct sluice_ip *gateway = &nexthop.gateway;
	int err = 0;

	if (gateway->family && gateway->family != AF_INET && gateway->family != AF_INET6)
		return -EINVAL;
	if (gateway->family == AF_INET && route->prefix.family == AF_INET6)
		return -EINVAL;
	if (!nexthop.ifindex)
		err = gateway->family ? resolve_gateway(gateway, table_of(route), &nexthop)
				      : -ENODEV;
	if (!err && !sl_interface_peek(nexthop.ifindex))
		err = -ENODEV;
	if (err)
		return err;
	path->ifindex = nexthop.ifindex;
	path->gateway_family = (uint8_t)gateway->family;
	path->encapsulated = nexthop.encapsulated;
	path->weight = nexthop.weight ? nexthop.weight : 1;
	if (gateway->family)
		memcpy(path->gateway, gateway->bytes, sl_ip_bytes(gateway->family));
	return 0;
}

/* Shares of the 31 bits of a flow's hash. */
static void set_bounds(struct sl_route *route)
{
	uint64_t total = 0, sum = 0;

	for (uint32_t i = 0; i < route->path_count; i++)
		total += route->paths[i].weight;
	for (uint32_t i = 0; i < route->path_count; i++) {
		sum += route->paths[i].weight;
		route->paths[i].bound = (uint32_t)(((sum << 31) + total / 2) / total - 1);
	}
}

static int route_new(const struct sluice_route *spec, struct sl_route **ret_route)
{
	struct sl_route *route;
	int err = check(spec);

	if (err)
		return err;
	route = calloc(1, sizeof(*route) + spec->nexthop_count * sizeof(route->paths[0]));
	if (!route)
		return -ENOMEM;
	route->table = table_of(spec);
	route->metric = metric_of(spec);
	route->mtu = spec->mtu;
	route->mtu_locked = spec->mtu_locked;
	route->type = type_of(spec);
	route->tos = spec->tos;
	route->prefix_len = spec->prefix_len;
	route->scope = scope_of(spec);
	route->source_family = spec->source.family;
	memcpy(route->source, spec->source.bytes, sizeof(route->source));
	route->path_count = spec->nexthop_count;
	for (unsigned i = 0; i < spec->nexthop_count && !err; i++)
		err = fill_path(&route->paths[i], &spec->nexthops[i], spec);
	if (err) {
		free(route);
		return err;
	}
	set_bounds(route);
	*ret_route = route;
	return 0;
}

static void free_route_rcu(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_route, rcu));
}

static void retire(const struct sl_route *route)
{
	if (route)
		sl_rcu_call(&((struct sl_route *)route)->rcu, free_route_rcu);
}

/* Local before main, which are one table; a TOS before none; then by metric. */
static int order(const struct sl_route *a, const struct sl_route *b)
{
	if (a->table != b->table)
		return a->table > b->table ? -1 : 1;
	if (a->tos != b->tos)
		return a->tos > b->tos ? -1 : 1;
	return a->metric < b->metric ? -1 : a->metric > b->metric;
}

/* A list with room for one more. */
static struct sl_fib_list *list_new(const struct sl_fib_list *old, uint32_t prefix_len)
{
	uint32_t count = old ? old->count : 0;
	struct sl_fib_list *list = calloc(1, sizeof(*list) + (count + 1) * sizeof(list->routes[0]));

	if (!list)
		return NULL;
	list->prefix_len = prefix_len;
	list->count = count;
	if (old)
		memcpy(list->routes, old->routes, count * sizeof(list->routes[0]));
	return list;
}

static struct sl_fib_key key_of(const struct sluice_route *spec)
{
	struct sl_fib_key key = { .prefix_len = spec->prefix_len };

	memcpy(key.bytes, spec->prefix.bytes, sl_ip_bytes(spec->prefix.family));
	return key;
}

/* Puts the route into the list; *ret_old is the one whose place it takes. */
static int insert(struct sl_fib_list *list, const struct sl_route *route, unsigned flags,
	const struct sl_route **ret_old)
{
	uint32_t at = 0;

	while (at < list->count && order(list->routes[at], route) < 0)
		at++;
	if (at < list->count && order(list->routes[at], route) == 0) {
		if (flags & SLUICE_ROUTE_REPLACE) {
			*ret_old = list->routes[at];
			list->routes[at] = route;
			return 0;
		}
		if (!(flags & SLUICE_ROUTE_APPEND))
			return -EEXIST;
		while (at < list->count && order(list->routes[at], route) == 0)
			at++;
	}
	if (list->count == LIST_MAX)
		return -ENOSPC;
	memmove(&list->routes[at + 1], &list->routes[at],
		(list->count - at) * sizeof(list->routes[0]));
	list->routes[at] = route;
	list->count++;
	return 0;
}

/* In a read section, which is left where the trie has to wait for one: with the lock held. */
int sl_route_add(const struct sluice_route *spec, unsigned flags)
{
	const struct sl_route *old_route = NULL;
	struct sl_fib_list *list = NULL;
	struct sl_fib_key key = key_of(spec);
	struct sl_fib_table *table;
	struct sl_route *route = NULL;
	int err;

	sl_rcu_read_begin();
	err = route_new(spec, &route);
	sl_rcu_read_end();
	if (err)
		return err;
	err = -ENOMEM;
	table = sl_fib_table_get(spec->prefix.family, route->table);
	if (table)
		list = list_new(sl_fib_table_exact(table, &key), spec->prefix_len);
	if (list)
		err = insert(list, route, flags, &old_route);
	if (!err)
		err = sl_fib_table_set(table, &key, list);
	if (err) {
		free(list);
		free(route);
		return err;
	}
	retire(old_route);
	return 0;
}

static bool same_gateway(const struct sl_path *path, const struct sluice_ip *gateway)
{
	return !gateway->family ||
	       (path->gateway_family == gateway->family &&
		       memcmp(path->gateway, gateway->bytes, sl_ip_bytes(gateway->family)) == 0);
}

/* Whether the route is one that the request to delete means. */
static bool is_meant(const struct sl_route *route, const struct sluice_route *spec)
{
	if (route->table != table_of(spec) || (spec->type && route->type != spec->type) ||
		(spec->metric && route->metric != spec->metric) ||
		(spec->tos && route->tos != spec->tos))
		return false;
	if (!spec->nexthop_count)
		return true;
	return route->path_count > 0 &&
	       same_gateway(&route->paths[0], &spec->nexthops[0].gateway) &&
	       (!spec->nexthops[0].ifindex || route->paths[0].ifindex == spec->nexthops[0].ifindex);
}

/* The prefix's list without route `at`. */
static int remove_at(struct sl_fib_table *table, const struct sl_fib_key *key,
	const struct sl_fib_list *old, uint32_t at)
{
	const struct sl_route *route = old->routes[at];
	struct sl_fib_list *list = NULL;
	int err;

	if (old->count > 1) {
		list = list_new(old, key->prefix_len);
		if (!list)
			return -ENOMEM;
		list->count--;
		memmove(&list->routes[at], &list->routes[at + 1],
			(list->count - at) * sizeof(list->routes[0]));
	}
	err = sl_fib_table_set(table, key, list);
	if (err)
		free(list);
	else
		retire(route);
	return err;
}

int sl_route_del(const struct sluice_route *spec)
{
	struct sl_fib_table *table = sl_fib_table_peek(spec->prefix.family, table_of(spec));
	struct sl_fib_key key = key_of(spec);
	const struct sl_fib_list *list = table ? sl_fib_table_exact(table, &key) : NULL;

	for (uint32_t i = 0; list && i < list->count; i++) {
		if (is_meant(list->routes[i], spec))
			return remove_at(table, &key, list, i);
	}
	return -ESRCH;
}

int sluice_route_add(const struct sluice_route *route, unsigned flags)
{
	int err;

	if (flags & ~(SLUICE_ROUTE_REPLACE | SLUICE_ROUTE_APPEND))
		return -EINVAL;
	err = check(route);
	if (err)
		return err;
	sl_route_claim();
	sl_route_lock();
	err = sl_route_add(route, flags);
	sl_route_unlock();
	return err;
}

int sluice_route_del(const struct sluice_route *route)
{
	unsigned bits = sl_ip_bytes(route->prefix.family) * 8;
	int err = -EINVAL;

	if ((route->prefix.family != AF_INET && route->prefix.family != AF_INET6) ||
		route->prefix_len > bits)
		return err;
	sl_route_claim();
	sl_route_lock();
	err = sl_route_del(route);
	sl_route_unlock();
	return err;
}

static void describe(const struct sl_route *route, const struct sl_fib_key *key, uint16_t family,
	struct sluice_route *ret_spec, struct sluice_nexthop *ret_nexthops)
{
	*ret_spec = (struct sluice_route){
		.prefix.family = family,
		.prefix_len = (uint8_t)key->prefix_len,
		.type = route->type,
		.tos = route->tos,
		.mtu_locked = route->mtu_locked,
		.table = route->table,
		.metric = route->metric,
		.mtu = route->mtu,
		.source.family = route->source_family,
		.nexthop_count = route->path_count,
		.nexthops = ret_nexthops,
	};
	memcpy(ret_spec->prefix.bytes, key->bytes, sizeof(key->bytes));
	memcpy(ret_spec->source.bytes, route->source, sizeof(route->source));
	for (uint32_t i = 0; i < route->path_count; i++) {
		ret_nexthops[i] = (struct sluice_nexthop){
			.ifindex = route->paths[i].ifindex,
			.gateway.family = route->paths[i].gateway_family,
			.weight = route->paths[i].weight,
			.encapsulated = route->paths[i].encapsulated,
		};
		memcpy(ret_nexthops[i].gateway.bytes, route->paths[i].gateway,
			sizeof(route->paths[i].gateway));
	}
}

/* With the lock held. */
static int walk_table(const struct sl_fib_table *t, uint32_t only,
	int (*fn)(const struct sluice_route *route, void *arg), void *arg)
{
	struct sluice_nexthop nexthops[SLUICE_NEXTHOPS];
	struct sl_fib_key key = { 0 };
	struct sluice_route spec;
	int result = 0;

	for (bool first = true; !result && sl_fib_table_next_key(t, first, &key); first = false) {
		const struct sl_fib_list *list = sl_fib_table_exact(t, &key);

		for (uint32_t i = 0; list && i < list->count && !result; i++) {
			if (only && list->routes[i]->table != only)
				continue;
			describe(list->routes[i], &key, t->family, &spec, nexthops);
			result = fn(&spec, arg);
		}
	}
	return result;
}

void sl_route_walk_prefix(const struct sluice_route *spec,
	int (*fn)(const struct sluice_route *route, void *arg), void *arg)
{
	struct sl_fib_table *table = sl_fib_table_peek(spec->prefix.family, table_of(spec));
	struct sl_fib_key key = key_of(spec);
	const struct sl_fib_list *list = table ? sl_fib_table_exact(table, &key) : NULL;
	struct sluice_nexthop nexthops[SLUICE_NEXTHOPS];
	struct sluice_route route;

	for (uint32_t i = 0; list && i < list->count; i++) {
		if (list->routes[i]->table != table_of(spec))
			continue;
		describe(list->routes[i], &key, spec->prefix.family, &route, nexthops);
		if (fn(&route, arg))
			return;
	}
}

bool sl_route_del_if(const struct sluice_route *spec,
	bool (*fn)(const struct sluice_route *route, void *arg), void *arg)
{
	struct sl_fib_table *table = sl_fib_table_peek(spec->prefix.family, table_of(spec));
	struct sl_fib_key key = key_of(spec);
	const struct sl_fib_list *list = table ? sl_fib_table_exact(table, &key) : NULL;
	struct sluice_nexthop nexthops[SLUICE_NEXTHOPS];
	struct sluice_route route;

	for (uint32_t i = 0; list && i < list->count; i++) {
		if (list->routes[i]->table != table_of(spec))
			continue;
		describe(list->routes[i], &key, spec->prefix.family, &route, nexthops);
		if (fn(&route, arg))
			return remove_at(table, &key, list, i) == 0;
	}
	return false;
}

int sluice_route_walk(uint16_t family, uint32_t table,
	int (*fn)(const struct sluice_route *route, void *arg), void *arg)
{
	struct sl_fib_table *t = NULL;
	int result = 0;

	sl_route_lock();
	sl_rcu_read_begin();
	while (!result && (t = sl_fib_table_next(t))) {
		if (family && t->family != family)
			continue;
		if (!table || sl_fib_table_peek(t->family, table) == t)
			result = walk_table(t, table, fn, arg);
	}
	sl_rcu_read_end();
	sl_route_unlock();
	return result;
}

/* Whether a route goes with an interface; 0: with all of them, whatever it is. */
static bool goes_with(const struct sl_route *route, uint32_t ifindex)
{
	for (uint32_t i = 0; ifindex && i < route->path_count; i++) {
		if (route->paths[i].ifindex != ifindex)
			return false;
	}
	return !ifindex || route->path_count > 0;
}

/* Takes one route of the list away, if there is one to take. */
static bool flush_one(
	struct sl_fib_table *t, const struct sl_fib_key *key, uint32_t ifindex, int *ret_err)
{
	const struct sl_fib_list *list = sl_fib_table_exact(t, key);

	for (uint32_t i = 0; list && i < list->count; i++) {
		if (goes_with(list->routes[i], ifindex)) {
			*ret_err = remove_at(t, key, list, i);
			return *ret_err == 0;
		}
	}
	return false;
}

void sl_route_flush(uint32_t ifindex)
{
	struct sl_fib_table *t = NULL;

	while ((t = sl_fib_table_next(t))) {
		struct sl_fib_key key = { 0 }, next;
		bool more = sl_fib_table_next_key(t, true, &key);
		int err = 0;

		/* A key that is gone has no next one: ask before. */
		while (more && !err) {
			next = key;
			more = sl_fib_table_next_key(t, false, &next);
			while (flush_one(t, &key, ifindex, &err))
				;
			key = next;
		}
	}
}
