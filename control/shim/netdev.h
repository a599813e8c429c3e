#pragma once

#include <linux/netlink.h>
#include <stdint.h>

#include "datagrams.h"

/*
 * Messages on the program's NETLINK_GENERIC sockets: which interface's XDP features one asks for, 0 where
 * it asks for something else; and the answer for a port that the kernel has no interface for.
 */
uint32_t sl_netdev_asked(const struct nlmsghdr *message);
void sl_netdev_answer(const struct nlmsghdr *message, uint32_t portid, struct sl_netlink_list *out);
