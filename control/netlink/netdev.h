#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stdint.h>

#include "route.h"

/*
 * Messages on a program's NETLINK_GENERIC socket: which interface's XDP features one asks for, 0 where it
 * asks for something else; and whether that is a port that the kernel has no interface for, with the
 * answer in `out` then, which the caller frees.
 */
uint32_t sl_netdev_asked(const struct nlmsghdr *message);
bool sl_netdev_serve(struct sl_route_socket *socket, const struct nlmsghdr *message,
	struct sl_netlink_list *out);
