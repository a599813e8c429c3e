#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What bpf_fib_lookup and bpf_redirect_neigh know of the network: interfaces with their addresses,
 * routes, policy rules and neighbours, with the meaning that rtnetlink(7) gives them. They belong to
 * the process. A port is an interface from the moment it is added, with forwarding on; test runs
 * may name other interfaces, those of the kernel for example. In a process without ports that has
 * changed nothing here test runs find the kernel's own network.
 *
 * All functions may be called from any thread but a worker, and need no EAL. They return 0 or a
 * negative errno, as the kernel does for the like request. Workers see a change as a whole.
 */

/*
 * From now on all this is what the kernel has in the network namespace of the caller: interfaces,
 * addresses, routes, rules and neighbours, as they come and go, learnt by rtnetlink. Interfaces whose
 * numbers the kernel does not have stay, with their routes, and may still be changed here; rules do not.
 * Ports with kernel twins begin this and end it by themselves. -EBUSY when it has begun.
 */
int sluice_route_follow(void);
/* What was the kernel's is forgotten. */
void sluice_route_unfollow(void);

/* An address or the start of a prefix; an IPv4 one in the first four bytes, network byte order. */
struct sluice_ip {
	uint16_t family; /* AF_INET, AF_INET6; AF_UNSPEC: none */
	uint8_t bytes[16];
};

/* Interfaces. */
struct sluice_interface {
	uint32_t ifindex;
	uint32_t mtu; /* bytes behind the link-layer header; below 1280 there is no IPv6 */
	uint8_t mac[6];
	uint8_t header_bytes; /* of the link layer: 14 for Ethernet */
	bool no_forward_ipv4, no_forward_ipv6;
	bool one_peer; /* loopback or point-to-point: all IPv4 neighbours are the one of 0.0.0.0 */
};

/* Adds an interface or changes it; its addresses stay. -EINVAL for ifindex 0. */
int sluice_interface_set(const struct sluice_interface *interface);
int sluice_interface_get(uint32_t ifindex, struct sluice_interface *ret_interface);
/* With its addresses, its neighbours and the routes that lead out of it alone. -ENODEV. */
int sluice_interface_del(uint32_t ifindex);

/*
 * Gives an interface an address. As in the kernel this adds routes: that the address is local, and
 * to the prefix. -EEXIST when the interface has it, -ENODEV.
 */
int sluice_address_add(uint32_t ifindex, const struct sluice_ip *address, uint8_t prefix_len);
/* With the routes that came with it. -EADDRNOTAVAIL. */
int sluice_address_del(uint32_t ifindex, const struct sluice_ip *address, uint8_t prefix_len);

/* Routes. */
#define SLUICE_NEXTHOPS 256 /* of one route */

struct sluice_nexthop {
	uint32_t ifindex; /* 0: the one whose prefix the gateway is in */
	struct sluice_ip gateway; /* AF_UNSPEC: the destination is on the link */
	uint8_t weight; /* among several: its share, 0 being 1 */
	bool encapsulated; /* as a light-weight tunnel: found, but not to be used */
};

struct sluice_route {
	struct sluice_ip prefix;
	uint8_t prefix_len;
	uint8_t type; /* RTN_*; 0: unicast */
	uint8_t tos; /* IPv4 only; 0: any */
	bool mtu_locked; /* where it is not, an MTU does not bound what is forwarded */
	uint32_t table; /* RT_TABLE_*; 0: main, for local routes local */
	uint32_t metric; /* 0: of IPv6 1024 */
	uint32_t mtu; /* 0: the interface's */
	struct sluice_ip source; /* preferred; AF_UNSPEC: as addresses are chosen */
	unsigned nexthop_count; /* 0 for a type that leads nowhere */
	const struct sluice_nexthop *nexthops;
};

enum sluice_route_flags {
	SLUICE_ROUTE_REPLACE = 1 << 0, /* the first of the same prefix, tos and metric, if there */
	SLUICE_ROUTE_APPEND = 1 << 1, /* behind those of the same prefix, tos and metric */
};

/*
 * -EEXIST when there is one of this table, prefix, tos and metric and no flag; -ENETUNREACH for a
 * gateway that cannot be reached; -ENODEV for an interface that is not there; -EINVAL.
 */
int sluice_route_add(const struct sluice_route *route, unsigned flags);
/*
 * The first of the table and prefix, and where they are not zero of the type, tos and metric, and
 * where it is given through the first nexthop. -ESRCH.
 */
int sluice_route_del(const struct sluice_route *route);

/*
 * Calls fn for each route of a family (AF_UNSPEC: all) and table (0: all) until it does not return
 * 0, and returns that. What it gets is valid in the call only; fn must not change anything here.
 */
int sluice_route_walk(uint16_t family, uint32_t table,
	int (*fn)(const struct sluice_route *route, void *arg), void *arg);

/* Policy rules: in the order of their priority, until a table has an answer. */
#define SLUICE_RULES 1024 /* of a family */

struct sluice_rule {
	uint16_t family;
	uint8_t action; /* FR_ACT_*; 0: FR_ACT_TO_TBL */
	uint8_t tos; /* 0: any */
	uint8_t from_len, to_len;
	uint8_t protocol; /* IPPROTO_*; 0: any */
	bool invert; /* applies to what it does not match */
	uint32_t priority; /* 0: before the second one, as the kernel chooses */
	uint32_t table;
	uint32_t mark, mark_mask; /* the mask 0: any */
	uint32_t iif, oif; /* 0: any */
	struct sluice_ip from, to; /* with length 0: any */
	uint16_t sport[2], dport[2]; /* from, to; 0: any */
};

/*
 * Adds a rule to those that are there from the start (0: local, 32766: main, 32767: default), behind
 * those of its priority. -EEXIST for one like it, -ENOSPC.
 */
int sluice_rule_add(const struct sluice_rule *rule);
/* The one like it. -ENOENT. */
int sluice_rule_del(const struct sluice_rule *rule);

/* Neighbours. */
#define SLUICE_NEIGHBOURS (1u << 20)

struct sluice_neighbour {
	uint32_t ifindex;
	struct sluice_ip address;
	uint8_t lladdr[6];
	uint16_t state; /* NUD_*; 0: NUD_PERMANENT */
};

/* Adds a neighbour or changes it. -ENODEV, -EINVAL, -ENOBUFS when there are too many. */
int sluice_neighbour_set(const struct sluice_neighbour *neighbour);
int sluice_neighbour_get(
	uint32_t ifindex, const struct sluice_ip *address, struct sluice_neighbour *ret_neighbour);
/* -ENOENT. */
int sluice_neighbour_del(uint32_t ifindex, const struct sluice_ip *address);

#ifdef __cplusplus
}
#endif
