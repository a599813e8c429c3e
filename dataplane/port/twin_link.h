#pragma once

#include <net/if.h>
#include <stdint.h>
#include <sys/types.h>

#include <rte_ether.h>

#include "defs.h"

struct mnl_socket;

/*
 * The kernel's interfaces behind twins, by rtnetlink and ethtool's ioctl. A socket acts in the
 * namespace in which it was opened, whoever uses it; one user at a time.
 */
SL_CONTROL int sl_twin_link_open(unsigned groups, struct mnl_socket **ret_socket);

struct sl_twin_pair {
	const char *name; /* of both ends */
	uint32_t ifindex; /* of the outer one; 0: the kernel chooses */
	struct rte_ether_addr mac; /* invalid: the kernel chooses */
	uint16_t mtu;
	pid_t thread; /* in whose namespace the inner end is to be */
};

/* A veth pair, down. -EEXIST: there is an interface of the name or number. */
SL_CONTROL int sl_twin_link_add(struct mnl_socket *home, const struct sl_twin_pair *pair);
SL_CONTROL int sl_twin_link_del(struct mnl_socket *home, uint32_t ifindex);

/* What the kernel tells about an interface. */
struct sl_twin_state {
	uint32_t ifindex, mtu;
	struct rte_ether_addr mac;
	bool up, gone;
	bool ours; /* a twin, of this process or of another */
};
SL_CONTROL int sl_twin_link_get(
	struct mnl_socket *socket, const char *name, struct sl_twin_state *ret_state);
/* Calls fn for what has been told since, on a socket of RTMGRP_LINK; -ENOBUFS: some is missing. */
SL_CONTROL int sl_twin_link_events(struct mnl_socket *socket,
	void (*fn)(const struct sl_twin_state *state, void *arg), void *arg);

SL_CONTROL int sl_twin_link_set_up(struct mnl_socket *socket, uint32_t ifindex, bool up);
SL_CONTROL int sl_twin_link_set_mtu(struct mnl_socket *socket, uint32_t ifindex, uint16_t mtu);
SL_CONTROL int sl_twin_link_set_mac(
	struct mnl_socket *socket, uint32_t ifindex, const struct rte_ether_addr *mac);
/* As if the kernel had a packet for the neighbour; for how that ends it does not wait. */
SL_CONTROL void sl_twin_link_use_neighbour(
	struct mnl_socket *home, uint32_t ifindex, uint16_t family, const void *address);
/* The inner end is no member of any network: no ARP, no IPv6 address of its own. */
SL_CONTROL void sl_twin_link_mute(struct mnl_socket *inner, uint32_t ifindex);
/* The kernel does itself what a packet socket's header has no words for. */
SL_CONTROL void sl_twin_link_restrain(struct mnl_socket *home, const char *name, uint32_t ifindex);
