#pragma once

#include <sluice/dataplane.h>

#include "context.h"
#include "rcu.h"

struct sl_port;
struct sl_tap_ring;
struct sl_worker;

/*
 * Socket filters on the packets of a port, each with a copy of what it accepts: what a packet socket
 * (AF_PACKET, ETH_P_ALL) is on an interface of the kernel, at the same two places. It sees what XDP
 * has passed, before the TC ingress filters, and what TC sends, after the egress filters. What XDP
 * sends or redirects itself it does not see.
 */
struct sl_tap {
	/* Read by workers; immutable while the tap is on a port. */
	struct sl_prog *prog; /* reference */
	bool ignore_outgoing;

	/* Control threads only. */
	uint32_t id;
	struct sl_port *port; /* NULL: it is gone */
	int64_t realtime_ns; /* from CLOCK_MONOTONIC to CLOCK_REALTIME */
	bool reading;

	struct sl_tap_worker *workers; /* by index; each of one writer */
};

/* On cache lines of its own per worker. */
struct sl_tap_worker {
	uint64_t seen, accepted, lost, bytes; /* writer: the worker; readers: any */
	struct sl_tap_ring *ring; /* NULL: only counted */
} sl_cache_aligned;

/* Immutable once published on a port; replaced as a whole. */
struct sl_tap_list {
	struct sl_rcu_head rcu;
	uint32_t count;
	struct sl_tap *taps[];
};

/* Shows a packet to all taps of a port. The context is not changed. */
SL_WORKER void sl_tap_show(struct sl_worker *worker, const struct sl_tap_list *list,
	const struct sl_ctx *ctx, bool outgoing);

/* The port goes, and no worker can reach it any more. With the ports' lock held. */
SL_CONTROL void sl_tap_forget_port(struct sl_port *port);
