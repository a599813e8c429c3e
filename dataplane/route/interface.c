#include "interface.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fib.h"
#include "fork.h"
#include "import.h"

/* Interfaces and their addresses. What an address brings along are ordinary routes. */

enum { BUCKETS = 4096, INTERFACES_MAX = 1 << 16, ADDRESSES_MAX = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Written with the lock held, read through sl_rcu_load. */
static struct sl_interface *buckets[BUCKETS];
static struct sl_interface_list *all;

void sl_route_lock(void)
{
	sl_fork_enter(SL_INSIDE_CALLER);
	pthread_mutex_lock(&lock);
}

bool sl_route_trylock(void)
{
	return pthread_mutex_trylock(&lock) == 0;
}

void sl_route_unlock(void)
{
	pthread_mutex_unlock(&lock);
	sl_fork_leave();
}

const struct sl_interface *sl_interface_peek(uint32_t ifindex)
{
	const struct sl_interface *i = sl_rcu_load(buckets[ifindex % BUCKETS]);

	while (i && i->info.ifindex != ifindex)
		i = sl_rcu_load(i->next);
	return i;
}

const struct sl_interface_list *sl_interface_peek_all(void)
{
	return sl_rcu_load(all);
}

/* Where the interface hangs, or would. With the lock held. */
static struct sl_interface **find(uint32_t ifindex)
{
	struct sl_interface **link = &buckets[ifindex % BUCKETS];

	while (*link && (*link)->info.ifindex != ifindex)
		link = &(*link)->next;
	return link;
}

static void free_rcu(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_interface, rcu));
}

static void free_list_rcu(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_interface_list, rcu));
}

static struct sl_interface_list *list_new(uint32_t count)
{
	return calloc(1, sizeof(struct sl_interface_list) + count * sizeof(struct sl_interface *));
}

/* The list with `i` in the place of the one with its number, or without that one (NULL). */
static void fill(struct sl_interface_list *list, uint32_t ifindex, const struct sl_interface *i)
{
	for (uint32_t n = 0; all && n < all->count; n++) {
		const struct sl_interface *other = all->interfaces[n];

		if (other->info.ifindex > ifindex && i) {
			list->interfaces[list->count++] = i;
			i = NULL;
		}
		if (other->info.ifindex != ifindex)
			list->interfaces[list->count++] = other;
	}
	if (i)
		list->interfaces[list->count++] = i;
}

/* Publishes `i` in the place of what has its number; NULL: takes that away. With the lock held. */
static int publish(uint32_t ifindex, struct sl_interface *i)
{
	struct sl_interface **link = find(ifindex), *old = *link;
	struct sl_interface_list *old_list = all, *list = list_new((all ? all->count : 0) + 1);

	if (!list)
		return -ENOMEM;
	fill(list, ifindex, i);
	if (i) {
		i->next = old ? old->next : NULL;
		sl_rcu_store(*link, i);
	} else {
		sl_rcu_store(*link, old->next);
	}
	sl_rcu_store(all, list);
	if (old)
		sl_rcu_call(&old->rcu, free_rcu);
	if (old_list)
		sl_rcu_call(&old_list->rcu, free_list_rcu);
	return 0;
}

/* A copy of an interface, with room for `count` addresses; NULL: an empty one. */
static struct sl_interface *copy(const struct sl_interface *old, uint32_t count)
{
	struct sl_interface *i = calloc(1, sizeof(*i) + count * sizeof(i->addresses[0]));

	if (!i || !old)
		return i;
	i->info = old->info;
	i->address_count = sl_min(old->address_count, count);
	memcpy(i->addresses, old->addresses, i->address_count * sizeof(i->addresses[0]));
	return i;
}

int sl_interface_put(
	const struct sluice_interface *info, const struct sl_address *addresses, uint32_t count)
{
	const struct sl_interface *old = *find(info->ifindex);
	struct sl_interface *i;
	int err;

	if (!old && all && all->count == INTERFACES_MAX)
		return -ENOBUFS;
	i = copy(NULL, count);
	if (!i)
		return -ENOMEM;
	i->info = *info;
	i->address_count = count;
	if (count)
		memcpy(i->addresses, addresses, count * sizeof(i->addresses[0]));
	err = publish(info->ifindex, i);
	if (err)
		free(i);
	return err;
}

void sl_interface_clear(void)
{
	while (all && all->count) {
		uint32_t ifindex = all->interfaces[0]->info.ifindex;

		if (publish(ifindex, NULL) != 0)
			return;
		sl_neighbour_flush(ifindex);
	}
}

int sluice_interface_set(const struct sluice_interface *interface)
{
	const struct sl_interface *old;
	int err;

	if (!interface->ifindex)
		return -EINVAL;
	sl_route_claim();
	sl_route_lock();
	old = *find(interface->ifindex);
	err = sl_interface_put(
		interface, old ? old->addresses : NULL, old ? old->address_count : 0);
	sl_route_unlock();
	return err;
}

int sluice_interface_get(uint32_t ifindex, struct sluice_interface *ret_interface)
{
	const struct sl_interface *i;

	sl_rcu_read_begin();
	i = sl_interface_peek(ifindex);
	if (i)
		*ret_interface = i->info;
	sl_rcu_read_end();
	return i ? 0 : -ENODEV;
}

int sluice_interface_del(uint32_t ifindex)
{
	int err = -ENODEV;

	sl_route_claim();
	sl_route_lock();
	if (*find(ifindex))
		err = publish(ifindex, NULL);
	if (!err) {
		sl_neighbour_flush(ifindex);
		sl_route_flush(ifindex);
	}
	sl_route_unlock();
	return err;
}

static bool in_prefix(const uint8_t *a, const uint8_t *b, unsigned len)
{
	unsigned rest = len % 8;

	return memcmp(a, b, len / 8) == 0 &&
	       (!rest || ((a[len / 8] ^ b[len / 8]) >> (8 - rest)) == 0);
}

static uint8_t scope_of(const struct sluice_ip *ip)
{
	if (ip->family == AF_INET)
		return ip->bytes[0] == 127 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
	return ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80 ? RT_SCOPE_LINK
								     : RT_SCOPE_UNIVERSE;
}

static bool same_ip(const struct sluice_ip *a, const struct sluice_ip *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sl_ip_bytes(a->family)) == 0;
}

static struct sl_address *find_address(
	struct sl_interface *i, const struct sluice_ip *ip, uint8_t prefix_len)
{
	for (uint32_t n = 0; n < i->address_count; n++) {
		struct sl_address *a = &i->addresses[n];

		if (same_ip(&a->ip, ip) && (ip->family == AF_INET6 || a->prefix_len == prefix_len))
			return a;
	}
	return NULL;
}

/*
 * IPv4 addresses stand in the order in which they came; of IPv6 the newest comes first of those of
 * its scope, and narrower scopes last.
 */
static void insert_address(struct sl_interface *i, const struct sl_address *a)
{
	uint32_t at = i->address_count;

	for (uint32_t n = 0; a->ip.family == AF_INET6 && n < i->address_count; n++) {
		if (i->addresses[n].ip.family == AF_INET6 && i->addresses[n].scope >= a->scope) {
			at = n;
			break;
		}
	}
	memmove(&i->addresses[at + 1], &i->addresses[at],
		(i->address_count - at) * sizeof(i->addresses[0]));
	i->addresses[at] = *a;
	i->address_count++;
}

static bool is_secondary(const struct sl_interface *i, const struct sl_address *a)
{
	for (uint32_t n = 0; n < i->address_count; n++) {
		const struct sl_address *other = &i->addresses[n];

		if (a->ip.family == AF_INET && other->ip.family == AF_INET && !other->secondary &&
			other->prefix_len == a->prefix_len &&
			in_prefix(other->ip.bytes, a->ip.bytes, a->prefix_len))
			return true;
	}
	return false;
}

enum { ADDRESS_ROUTES = 4, METRIC_ADDRCONF = 256 };

/* The address with the bits behind `len` all 0 or all 1. */
static void fill_host(struct sluice_ip *ip, unsigned len, bool ones)
{
	for (unsigned bit = len; bit < sl_ip_bytes(ip->family) * 8; bit++) {
		uint8_t mask = 0x80 >> bit % 8;

		ip->bytes[bit / 8] = ones ? ip->bytes[bit / 8] | mask : ip->bytes[bit / 8] & ~mask;
	}
}

/* The routes that an address brings along; returns how many. */
static unsigned routes_of(const struct sl_address *a, bool router, struct sluice_nexthop *nexthop,
	struct sluice_route routes[ADDRESS_ROUTES])
{
	bool v4 = a->ip.family == AF_INET;
	uint8_t bits = v4 ? 32 : 128;
	struct sluice_route local = { .prefix = a->ip,
		.prefix_len = bits,
		.type = RTN_LOCAL,
		.nexthop_count = 1,
		.nexthops = nexthop };
	unsigned count = 0;

	if (v4)
		local.source = a->ip;
	routes[count++] = local;
	if (a->secondary)
		return count;
	local.prefix_len = a->prefix_len;
	local.metric = v4 ? 0 : METRIC_ADDRCONF;
	fill_host(&local.prefix, a->prefix_len, false);
	/* 127.0.0.0/8 is local altogether. */
	if (a->prefix_len < bits) {
		routes[count] = local;
		routes[count++].type = a->scope == RT_SCOPE_HOST ? RTN_LOCAL : RTN_UNICAST;
	} else if (!v4) {
		routes[count] = local;
		routes[count++].type = RTN_UNICAST;
	}
	if (v4 && a->prefix_len < 31) {
		local.type = RTN_BROADCAST;
		local.prefix_len = 32;
		fill_host(&local.prefix, a->prefix_len, true);
		routes[count++] = local;
	}
	/* The routers' own address. */
	if (!v4 && router && a->prefix_len < 127) {
		local.type = RTN_ANYCAST;
		local.prefix_len = 128;
		local.metric = 0;
		routes[count++] = local;
	}
	return count;
}

/* What comes with an address may be there already, or be gone by somebody's wish. */
static int change_routes(const struct sl_interface *i, const struct sl_address *a, bool add)
{
	struct sluice_nexthop nexthop = { .ifindex = i->info.ifindex };
	struct sluice_route routes[ADDRESS_ROUTES];
	unsigned count = routes_of(a, !add || !i->info.no_forward_ipv6, &nexthop, routes);
	int err = 0;

	for (unsigned n = 0; n < count && !err; n++) {
		if (!add)
			sl_route_del(&routes[n]);
		else
			err = sl_route_add(&routes[n], SLUICE_ROUTE_APPEND);
	}
	return err;
}

int sluice_address_add(uint32_t ifindex, const struct sluice_ip *address, uint8_t prefix_len)
{
	struct sl_address a = { .ip = *address, .prefix_len = prefix_len };
	struct sl_interface *old, *i = NULL;
	int err = -ENODEV;

	if ((address->family != AF_INET && address->family != AF_INET6) ||
		prefix_len > sl_ip_bytes(address->family) * 8)
		return -EINVAL;
	a.scope = scope_of(address);
	sl_route_claim();
	sl_route_lock();
	old = *find(ifindex);
	if (old) {
		a.secondary = is_secondary(old, &a);
		err = find_address(old, address, prefix_len) ? -EEXIST
		      : old->address_count == ADDRESSES_MAX  ? -ENOBUFS
							     : 0;
	}
	if (!err) {
		i = copy(old, old->address_count + 1);
		err = i ? 0 : -ENOMEM;
	}
	if (!err) {
		insert_address(i, &a);
		err = publish(ifindex, i);
		if (err)
			free(i);
	}
	if (!err)
		err = change_routes(i, &a, true);
	sl_route_unlock();
	return err;
}

/* Without an address that was the first in its prefix, another one there becomes that. */
static void promote(struct sl_interface *i, const struct sl_address *gone)
{
	for (uint32_t n = 0; n < i->address_count; n++) {
		struct sl_address *a = &i->addresses[n];

		if (!gone->secondary && a->secondary && a->prefix_len == gone->prefix_len &&
			in_prefix(a->ip.bytes, gone->ip.bytes, gone->prefix_len)) {
			a->secondary = false;
			change_routes(i, a, true);
			return;
		}
	}
}

int sluice_address_del(uint32_t ifindex, const struct sluice_ip *address, uint8_t prefix_len)
{
	struct sl_interface *old, *i;
	struct sl_address *at, gone;
	int err = -EADDRNOTAVAIL;

	sl_route_claim();
	sl_route_lock();
	old = *find(ifindex);
	if (old && find_address(old, address, prefix_len)) {
		i = copy(old, old->address_count);
		err = -ENOMEM;
		if (i) {
			at = find_address(i, address, prefix_len);
			gone = *at;
			i->address_count--;
			memmove(at, at + 1,
				(size_t)(&i->addresses[i->address_count] - at) * sizeof(*at));
			err = publish(ifindex, i);
		}
		if (err) {
			free(i);
		} else {
			change_routes(i, &gone, false);
			promote(i, &gone);
		}
	}
	sl_route_unlock();
	return err;
}
