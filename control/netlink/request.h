#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <linux/netlink.h>

/*
 * What a client has to know of requests before it sends them anywhere: which ones could concern a
 * port, and which descriptors are named in them. No state; needs nothing of the data plane.
 */

/* Requests of other types are the kernel's in any case. */
bool sl_netlink_type_is_ours(uint16_t type);

#define SL_NETLINK_FDS 40 /* more than a request needs: a filter's and its 32 actions' */

/* The descriptors that a request (padded to a multiple of 4) names, each once; returns how many. */
unsigned sl_netlink_fds(const struct nlmsghdr *request, int fds[static SL_NETLINK_FDS]);
