#pragma once

#include <sluice/route.h>

#include "rcu.h"

/*
 * Interfaces and neighbours: immutable nodes in chains of hash tables of a fixed size. A change puts
 * a new node in the place of the old one, which is freed a grace period later, so that a reader
 * takes no lock and sees no half of anything.
 */
struct sl_address {
	struct sluice_ip ip;
	uint8_t prefix_len;
	uint8_t scope; /* RT_SCOPE_* */
	bool secondary; /* another of the interface has the same prefix and was first: IPv4 */
};

struct sl_interface {
	struct sluice_interface info;
	struct sl_interface *next; /* read through sl_rcu_load */
	struct sl_rcu_head rcu;
	uint32_t address_count;
	struct sl_address addresses[]; /* in the order in which the kernel would look at them */
};

/* All of them, by ifindex; replaced as a whole. */
struct sl_interface_list {
	struct sl_rcu_head rcu;
	uint32_t count;
	const struct sl_interface *interfaces[];
};

struct sl_neighbour {
	struct sluice_neighbour info;
	struct sl_neighbour *next; /* read through sl_rcu_load */
	struct sl_rcu_head rcu;
};

/* One lock for all that control threads change here: interfaces, routes, rules, neighbours. */
SL_CONTROL void sl_route_lock(void);
SL_CONTROL bool sl_route_trylock(void);
SL_CONTROL void sl_route_unlock(void);

/* The rest in a read section. */
SL_ANY const struct sl_interface *sl_interface_peek(uint32_t ifindex);
SL_ANY const struct sl_interface_list *sl_interface_peek_all(void);

/* Whatever its state is; an `address` is 4 or 16 bytes. */
SL_ANY const struct sl_neighbour *sl_neighbour_peek(
	const struct sl_interface *interface, uint16_t family, const void *address);
/* The same, NULL where its link-layer address is not known to be right. */
SL_ANY const struct sl_neighbour *sl_neighbour_resolve(
	const struct sl_interface *interface, uint16_t family, const void *address);
/* Those of an interface that goes. With the lock held. */
SL_CONTROL void sl_neighbour_flush(uint32_t ifindex);

/*
 * Source addresses as the kernel chooses them. IPv4: for a gateway or destination (0: any) in a
 * scope, 0 for none. IPv6: RFC 6724; false for none.
 */
SL_ANY uint32_t sl_source_ipv4(const struct sl_interface *interface, uint32_t dst, uint8_t scope);
SL_ANY bool sl_source_ipv6(
	const struct sl_interface *interface, const uint8_t dst[16], uint8_t ret_source[16]);

static inline unsigned sl_ip_bytes(uint16_t family)
{
	return family == 2 /* AF_INET */ ? 4 : 16;
}
