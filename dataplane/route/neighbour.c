#include "interface.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "import.h"

/* Neighbours: a hash table whose chains readers walk without a lock. */

enum { BUCKETS = 1 << 16 };

/* Written with the lock held, read through sl_rcu_load. */
static struct sl_neighbour *buckets[BUCKETS];
static uint32_t count;

/* Drawn once, before the first neighbour is there; a reader without it finds nothing, rightly. */
static uint64_t seed = 1;

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static struct sl_neighbour **bucket_of(uint32_t ifindex, const struct sluice_ip *ip)
{
	uint64_t low, high, key = __atomic_load_n(&seed, __ATOMIC_RELAXED);

	memcpy(&low, ip->bytes, sizeof(low));
	memcpy(&high, ip->bytes + sizeof(low), sizeof(high));
	key = mix(key ^ low, 0x9e3779b97f4a7c15);
	key = mix(key ^ high, 0xbf58476d1ce4e5b9);
	return &buckets[mix(key ^ ifindex, 0x94d049bb133111eb) % BUCKETS];
}

static bool is(const struct sl_neighbour *n, uint32_t ifindex, const struct sluice_ip *ip)
{
	return n->info.ifindex == ifindex && n->info.address.family == ip->family &&
	       memcmp(n->info.address.bytes, ip->bytes, sizeof(ip->bytes)) == 0;
}

static const struct sl_neighbour *find(uint32_t ifindex, const struct sluice_ip *ip)
{
	const struct sl_neighbour *n = sl_rcu_load(*bucket_of(ifindex, ip));

	while (n && !is(n, ifindex, ip))
		n = sl_rcu_load(n->next);
	return n;
}

const struct sl_neighbour *sl_neighbour_peek(
	const struct sl_interface *interface, uint16_t family, const void *address)
{
	struct sluice_ip ip = { .family = family };

	/* Behind such an interface there is only one. */
	if (family == AF_INET6 || !interface->info.one_peer)
		memcpy(ip.bytes, address, sl_ip_bytes(family));
	return find(interface->info.ifindex, &ip);
}

const struct sl_neighbour *sl_neighbour_resolve(
	const struct sl_interface *interface, uint16_t family, const void *address)
{
	const struct sl_neighbour *n = sl_neighbour_peek(interface, family, address);
	const unsigned valid =
		NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

	return n && (n->info.state & valid) ? n : NULL;
}

static void free_rcu(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_neighbour, rcu));
}

static void unlink_at(struct sl_neighbour **link)
{
	struct sl_neighbour *old = *link;

	sl_rcu_store(*link, old->next);
	count--;
	sl_rcu_call(&old->rcu, free_rcu);
}

static struct sl_neighbour **find_link(uint32_t ifindex, const struct sluice_ip *ip)
{
	struct sl_neighbour **link = bucket_of(ifindex, ip);

	while (*link && !is(*link, ifindex, ip))
		link = &(*link)->next;
	return link;
}

/* The bytes that belong to the address; false for one that is none. */
static bool clean(const struct sluice_ip *ip, struct sluice_ip *ret_ip)
{
	if (ip->family != AF_INET && ip->family != AF_INET6)
		return false;
	*ret_ip = (struct sluice_ip){ .family = ip->family };
	memcpy(ret_ip->bytes, ip->bytes, sl_ip_bytes(ip->family));
	return true;
}

/* With the lock held. */
static int set(const struct sluice_neighbour *info)
{
	struct sl_neighbour *n, *old, **link;

	if (!sl_interface_peek(info->ifindex))
		return -ENODEV;
	if (count == 0 && seed == 1) {
		uint64_t drawn = 0;

		if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) == sizeof(drawn))
			__atomic_store_n(&seed, drawn | 2, __ATOMIC_RELAXED);
	}
	link = find_link(info->ifindex, &info->address);
	if (!*link && count == SLUICE_NEIGHBOURS)
		return -ENOBUFS;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->info = *info;
	if (!n->info.state)
		n->info.state = NUD_PERMANENT;
	n->next = *link ? (*link)->next : NULL;
	old = *link;
	sl_rcu_store(*link, n);
	if (old)
		sl_rcu_call(&old->rcu, free_rcu);
	else
		count++;
	return 0;
}

int sl_neighbour_put(const struct sluice_neighbour *neighbour)
{
	struct sluice_neighbour info = *neighbour;
	int err = -EINVAL;

	sl_rcu_read_begin();
	if (clean(&neighbour->address, &info.address))
		err = set(&info);
	sl_rcu_read_end();
	return err;
}

int sluice_neighbour_set(const struct sluice_neighbour *neighbour)
{
	int err;

	sl_route_claim();
	sl_route_lock();
	err = sl_neighbour_put(neighbour);
	sl_route_unlock();
	return err;
}

int sluice_neighbour_get(
	uint32_t ifindex, const struct sluice_ip *address, struct sluice_neighbour *ret_neighbour)
{
	const struct sl_neighbour *n = NULL;
	struct sluice_ip ip;

	sl_rcu_read_begin();
	if (clean(address, &ip))
		n = find(ifindex, &ip);
	if (n)
		*ret_neighbour = n->info;
	sl_rcu_read_end();
	return n ? 0 : -ENOENT;
}

int sluice_neighbour_del(uint32_t ifindex, const struct sluice_ip *address)
{
	struct sl_neighbour **link;
	struct sluice_ip ip;
	int err = -ENOENT;

	if (!clean(address, &ip))
		return err;
	sl_route_claim();
	sl_route_lock();
	link = find_link(ifindex, &ip);
	if (*link) {
		unlink_at(link);
		err = 0;
	}
	sl_route_unlock();
	return err;
}

void sl_neighbour_flush(uint32_t ifindex)
{
	for (unsigned i = 0; i < BUCKETS && count > 0; i++) {
		struct sl_neighbour **link = &buckets[i];

		while (*link) {
			if ((*link)->info.ifindex == ifindex)
				unlink_at(link);
			else
				link = &(*link)->next;
		}
	}
}
