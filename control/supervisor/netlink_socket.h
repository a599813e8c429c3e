#pragma once

#include "notified.h"
#include "route.h"

/* A program's netlink socket, for what the daemon has to know of it to answer. */
struct sl_netlink_asked {
	struct sl_route_socket route;
	struct sl_notified *notified;
	const struct nlmsghdr *message; /* that is under way; NULL: one of ours, which only looks */
	char ns[64]; /* its network namespace */
	int fd; /* a socket in that */
};

/* `fd` is a descriptor of ours of the socket, or -1. */
void sl_netlink_describe(struct sl_netlink_asked *asked, struct sl_notified *notified, int fd);
