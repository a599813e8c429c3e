#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stdint.h>

#include "datagrams.h"
#include "space.h"

/*
 * A program's rtnetlink, message by message: what is about ports is answered by the daemon, where
 * needed with what the kernel says of its own interfaces. For a preload library as for a supervisor:
 * both bring the answers to the program in ways of their own.
 */

/* The program's socket, and who it is. */
struct sl_route_socket {
	struct sl_space *space; /* whose descriptors the requests name */
	uint32_t portid; /* the socket's address */
	bool ext_ack, cap_ack, strict; /* NETLINK_EXT_ACK, _CAP_ACK, _GET_STRICT_CHK */
	uint64_t namespace_dev,
		namespace_ino; /* of the program's network namespace, as stat says */
	/* A NETLINK_ROUTE socket in the program's network namespace, to be closed; negative errno. */
	int (*open)(struct sl_route_socket *socket);
};

/* Whether a message could be about a port at all; if not, it is the kernel's. */
bool sl_route_wants(const struct nlmsghdr *message);

/*
 * Whether the message, padded to a multiple of 4, is answered here: then `out`, which the caller
 * frees, has the answer's datagrams, in their order. Else it is the kernel's, as it is also when
 * there is no daemon.
 */
bool sl_route_serve(struct sl_route_socket *socket, const struct nlmsghdr *message,
	struct sl_netlink_list *out);

/* An interface that the kernel has not: a port without a twin, by name or (name "") by number. */
struct sl_route_interface {
	char name[16];
	uint32_t ifindex, flags, mtu;
	uint8_t mac[6];
};
bool sl_route_find(struct sl_route_socket *socket, const char *name, uint32_t ifindex,
	struct sl_route_interface *ret);

/* Every interface of the program's namespace, the kernel's and those that it has not; false: unknown. */
bool sl_route_each(struct sl_route_socket *socket,
	void (*use)(void *data, const struct sl_route_interface *interface), void *data);
