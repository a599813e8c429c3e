#pragma once

#include <rte_ethdev.h>
#include <sluice/dataplane.h>

#include "defs.h"
#include "rcu.h"

struct rte_mempool;
struct rte_ring;
struct sl_link;
struct sl_mprog;
struct sl_prog;
struct sl_tap_list;
struct sl_tc_list;
struct sl_tunnel_list;
struct sl_tunnel_port;
struct sl_twin;
struct sl_xsk_list;

/* Ports that are no ethdevs have the ids above theirs. */
enum { SL_TUNNELS_MAX = 32, SL_PORTS_MAX = RTE_MAX_ETHPORTS + SL_TUNNELS_MAX };

/*
 * A port as the workers see it. Control threads change it under the ports' lock; a worker finds it
 * through sl_port_peek and keeps it until its next quiescent state.
 */
struct sl_port {
	/* Immutable while the port is published. */
	uint16_t id; /* the ethdev's, or of a tunnel one from RTE_MAX_ETHPORTS on */
	uint16_t rx_queues, tx_queues;
	uint32_t ifindex; /* its number: the twin's, or one of its own */
	uint16_t mtu; /* bytes behind the Ethernet header */
	uint8_t link_header; /* bytes of it; 0: its packets begin with the network header */
	struct rte_ether_addr mac;
	bool may_scatter; /* mbufs of several segments can arrive */
	bool sends_segments; /* its driver takes mbufs of several segments */
	uint64_t tx_offloads; /* of SL_OFFLOADS, what its device does */
	struct sl_tunnel_port *tunnel; /* what it sends its packets in; NULL for an ethdev's port */
	uint64_t serial; /* of no other port that there was or will be; 0: a tunnel */
	uint32_t rx_hints; /* enum sl_rx_hint: what it notes of packets */
	/*
	 * With fewer TX queues than workers: one ring per queue, from the workers without a queue (any
	 * of them enqueues) to the queue's owner. NULL otherwise.
	 */
	struct rte_ring **handover;
	struct sl_twin *twin; /* NULL: without one */

	/* Written by control threads, read by workers through sl_rcu_load. */
	struct sl_prog *xdp; /* reference */
	struct sl_mprog *tcx[2]; /* by enum sluice_tc_hook: what comes before the filters */
	struct sl_tc_list *tc[2]; /* by enum sluice_tc_hook */
	struct sl_tap_list *taps; /* NULL without any */
	struct sl_port *pass_to; /* NULL: the kernel */
	struct sl_tunnel_list *tunnels; /* that take what arrives here for them; NULL without */
	struct sl_xsk_list *xsks; /* NULL: no AF_XDP sockets */
	struct sl_port *next; /* in its bucket */

	/* Control threads only. */
	struct sl_link *xdp_link; /* that holds the XDP hook */
	bool spreads; /* by RSS */
	bool xdp_generic; /* its program was attached for the generic mode, which is the same here */
	enum sluice_tc_qdisc qdisc;
	uint32_t tc_parent; /* sluice_tc_parent_set */
	bool probed; /* by us: removed with the port */
	unsigned poller; /* 1 + index of the worker that polls an only RX queue; 0: none yet */
	uint16_t rx_descriptors, tx_descriptors;
	struct rte_mempool *pool;
	struct rte_device *device;
	char name[RTE_ETH_NAME_MAX_LEN];
	char device_name[RTE_ETH_NAME_MAX_LEN]; /* the EAL's; empty: a tunnel */
	char driver[32];
};

/* By id, and by number; written under the ports' lock, read through sl_rcu_load. */
enum { SL_PORT_BUCKETS = 256 };
extern struct sl_port *sl_ports[SL_PORTS_MAX];
extern struct sl_port *sl_port_buckets[SL_PORT_BUCKETS];

static inline struct sl_port *sl_port_peek(uint32_t ifindex)
{
	struct sl_port *port = sl_rcu_load(sl_port_buckets[ifindex % SL_PORT_BUCKETS]);

	while (port && port->ifindex != ifindex)
		port = sl_rcu_load(port->next);
	return port;
}

/* A number that no port has, nor with beside_kernel an interface of the kernel's. */
SL_CONTROL uint32_t sl_port_number(uint16_t id, bool beside_kernel);
/* With the lock held: workers find the port from now on, or no more. */
SL_CONTROL void sl_port_publish(struct sl_port *port);
SL_CONTROL void sl_port_withdraw(struct sl_port *port);

/* One lock for everything that control threads change: ports, hooks, plans of the workers. */
SL_CONTROL void sl_port_lock(void);
SL_CONTROL bool sl_port_trylock(void);
SL_CONTROL void sl_port_unlock(void);
/* With the lock held: the port, or NULL after one line in the log. */
SL_CONTROL struct sl_port *sl_port_of(uint32_t ifindex);

/* With the lock held: unlink, grace period, destroy. */
SL_CONTROL int sl_port_remove(struct sl_port *port);
/* Makes the port an interface that routes can name; it goes with the port. */
SL_CONTROL int sl_port_add_interface(const struct sl_port *port);
SL_CONTROL void sl_port_remove_all(void);

/* Whether packets meet programs or filters of TC there. */
static inline bool sl_port_has_tc(const struct sl_port *port, enum sluice_tc_hook hook)
{
	return sl_rcu_load(port->tcx[hook]) || sl_rcu_load(port->tc[hook]);
}

/* Drops what is at the hooks. With the lock held. */
SL_CONTROL void sl_hook_clear(struct sl_port *port);
/* Whether a program may be at the port's XDP hook, attached with these XDP_FLAGS_*; -EINVAL. */
SL_CONTROL int sl_hook_check_xdp(
	const struct sl_port *port, const struct sl_prog *prog, uint32_t flags);
/* 0 without a program. With the lock held. */
SL_CONTROL uint32_t sl_hook_xdp_id(const struct sl_port *port);
/* Makes the ports known to the layers below: links, bpf_clone_redirect. */
SL_CONTROL void sl_hook_start(void);
