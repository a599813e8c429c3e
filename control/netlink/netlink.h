#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <linux/netlink.h>

#include "datagrams.h"

/*
 * rtnetlink for interfaces that are ports: one request in, the datagrams of its answer out, as the
 * kernel would send them. What concerns no port is the kernel's. Where an answer is made from the
 * kernel's own (lists of links and qdiscs), the caller is told to ask the kernel and to come back
 * with what it said: the kernel is asked by the client, in the client's network namespace.
 *
 * Control threads. Descriptors in a request are the caller's numbers.
 */

/* Of the socket that the request came from. */
struct sl_netlink_socket {
	uint32_t portid; /* its address, which answers carry */
	bool ext_ack, cap_ack; /* NETLINK_EXT_ACK, NETLINK_CAP_ACK */
	bool privileged; /* the caller has CAP_NET_ADMIN over the ports */
	/* Where the data plane's words about a failure go while this is served; NULL: elsewhere. */
	const char *logged;
	bool with_twins; /* it is in the network namespace where ports have their twins */
};

enum sl_netlink_verdict {
	SL_NETLINK_PASS, /* the kernel's */
	SL_NETLINK_ASK, /* `out` holds one message to send to the kernel; then call again */
	SL_NETLINK_ANSWER, /* `out` holds the answer */
};

/*
 * `request` is one whole message, 4-aligned and padded to a multiple of 4. `kernel` is NULL, or after
 * SL_NETLINK_ASK the datagrams that the kernel answered. The caller frees `out`. 0 or -ENOMEM.
 */
int sl_netlink_serve(const struct nlmsghdr *request, const struct sl_netlink_socket *socket,
	const struct sl_netlink_list *kernel, enum sl_netlink_verdict *ret_verdict,
	struct sl_netlink_list *out);
