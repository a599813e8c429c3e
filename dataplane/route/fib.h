#pragma once

#include <sluice/route.h>

#include "interface.h"

/*
 * Routes. A table is a trie (map/lpm_trie.c) from prefixes to the list of their routes; lists and
 * routes are immutable and replaced as a whole, so readers need neither locks nor retries.
 *
 * A look-up that finds no route for it in the longest prefix (another TOS, another interface) goes
 * on with the next shorter one, as in the kernel. IPv4's tables main and local are one, as they
 * are in the kernel until there are rules; a route says which it belongs to.
 *
 * Not rte_fib: in DPDK 22.11 it needs an initialised EAL, which test runs do without, takes 64 MiB
 * and more for every table of a family, and gives a deleted route's groups out again at once, under
 * the eyes of its readers.
 */
struct sl_path {
	uint32_t ifindex;
	uint8_t gateway_family; /* AF_*; 0: none */
	bool encapsulated;
	uint8_t weight;
	uint32_t bound; /* of a flow's hash: the first path whose bound is not below it */
	uint8_t gateway[16];
};

struct sl_route {
	uint32_t table;
	uint32_t metric;
	uint32_t mtu;
	uint8_t type, tos, prefix_len, scope;
	bool mtu_locked;
	uint16_t source_family;
	uint8_t source[16];
	struct sl_rcu_head rcu;
	uint32_t path_count;
	struct sl_path paths[];
};

struct sl_fib_flow {
	uint16_t family;
	uint8_t tos; /* IPv4 */
	uint8_t protocol;
	uint8_t src[16], dst[16]; /* IPv4: four bytes */
	uint32_t flow_label; /* IPv6, big endian */
	uint16_t sport, dport; /* host byte order */
	uint32_t mark;
	uint32_t iif, oif; /* oif 0: any */
	uint32_t table; /* this one alone; 0: as the rules say */
};

struct sl_fib_result {
	const struct sl_route *route;
	const struct sl_path *path; /* NULL where the route has none */
	const struct sl_interface *interface; /* the path's */
};

/*
 * The route of a flow, and of several paths the one that the flow's hash chooses. In a read section.
 * IPv4: -EINVAL, -EHOSTUNREACH and -EACCES for routes and rules that say so, -ENETUNREACH for
 * none. IPv6: -ENETUNREACH for none; the route's type says the rest.
 */
SL_ANY int sl_fib_lookup(const struct sl_fib_flow *flow, struct sl_fib_result *ret_result);

/* The same in one table, -EAGAIN where it has none and for RTN_THROW (IPv4). Chooses no path. */
SL_ANY int sl_fib_table_lookup(
	const struct sl_fib_flow *flow, uint32_t table, struct sl_fib_result *ret_result);

/* Whether the family has rules of its own; then IPv4's main and local are apart. */
SL_ANY bool sl_fib_has_rules(uint16_t family);

/* sluice_route_add and _del with the lock held. */
SL_CONTROL int sl_route_add(const struct sluice_route *spec, unsigned flags);
SL_CONTROL int sl_route_del(const struct sluice_route *spec);
/* Calls fn for the routes of the table and prefix of `spec`, with the lock held; fn must not change them. */
SL_CONTROL void sl_route_walk_prefix(const struct sluice_route *spec,
	int (*fn)(const struct sluice_route *route, void *arg), void *arg);
/* Deletes the first of them for which fn is true; false for none. With the lock held. */
SL_CONTROL bool sl_route_del_if(const struct sluice_route *spec,
	bool (*fn)(const struct sluice_route *route, void *arg), void *arg);
/* An interface goes: the routes with no path left go too; 0: all routes. With the lock held. */
SL_CONTROL void sl_route_flush(uint32_t ifindex);
