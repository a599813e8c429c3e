#pragma once

#include <sluice/tunnel.h>

#include "port.h"
#include "tunnel.h"

struct sl_ctx;
struct sl_worker;

/* How a kind's header is made and read. */
enum sl_tunnel_header {
	SL_TUNNEL_IN_VXLAN,
	SL_TUNNEL_IN_GENEVE,
	SL_TUNNEL_IN_GRE,
	SL_TUNNEL_IN_IP, /* none: IP in IP */
};

enum { SL_TUNNEL_OVER_IPV4 = 1 << 0, SL_TUNNEL_OVER_IPV6 = 1 << 1 };

struct sl_tunnel_kind {
	const char *name;
	enum sl_tunnel_header header;
	uint8_t over; /* SL_TUNNEL_OVER_* */
	bool ethernet; /* carries frames, not network packets */
	bool inner_ipv4, inner_ipv6; /* SL_TUNNEL_IN_IP: what it carries */
	bool never_external;
	uint16_t udp_port; /* 0: not over UDP */
	uint16_t src_port_min, src_port_max;
};

/*
 * What a worker needs of a tunnel; immutable while its port is published but for the sequence
 * numbers, which all workers share as the kernel's CPUs do.
 */
struct sl_tunnel_port {
	const struct sl_tunnel_kind *kind;
	struct sl_port *underlay; /* removed after this one */
	uint32_t flags; /* enum sluice_tunnel_flags */
	uint16_t udp_port, src_port_min, src_port_span; /* host byte order */
	uint8_t local_count;
	uint8_t df; /* enum sluice_tunnel_df */
	struct sluice_tunnel_address local[SLUICE_TUNNEL_LOCALS], remote;
	const struct sluice_tunnel_address *source[2]; /* of IPv4, IPv6; NULL: none */
	uint8_t link[2][RTE_ETHER_HDR_LEN]; /* outer link-layer headers, for IPv4 and IPv6 */
	struct sl_tunnel fixed; /* the key of all packets unless external */
	uint32_t next_seq sl_cache_aligned; /* atomic: to be sent */
	uint32_t wanted_seq; /* atomic: of the next to be received, 0 before the first */
	struct sluice_tunnel_options options; /* as it was added, for control threads; no name */
};

/* The tunnels over a port; immutable once published. */
struct sl_tunnel_list {
	struct sl_rcu_head rcu;
	uint32_t count;
	struct sl_port *ports[];
};

/*
 * A packet that has passed the ingress hooks of `port`: when it is for a tunnel over it, takes the
 * outer headers off, sets ctx->tunnel, and returns the tunnel's port. NULL when it is for none
 * (*ret_ended false), or was dropped and counted (true).
 */
SL_WORKER struct sl_port *sl_tunnel_receive(
	struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx, bool *ret_ended);

/*
 * A packet that has passed the egress hook of a tunnel's port, its VLAN tag in the data: puts the
 * outer headers in front, and returns the port below. NULL when it was dropped and counted.
 */
SL_WORKER struct sl_port *sl_tunnel_transmit(
	struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx);

/* With the lock held. Removes the tunnels over a port. */
SL_CONTROL int sl_tunnel_remove_over(struct sl_port *underlay);
/* Takes a tunnel's port out of the list of its underlay. -ENOMEM: it is still there. */
SL_CONTROL int sl_tunnel_unlink(struct sl_port *port);
/* Takes a tunnel's port apart that no worker can reach. */
SL_CONTROL void sl_tunnel_destroy(struct sl_port *port);
