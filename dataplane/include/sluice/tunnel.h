#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Tunnel ports: ports without a device of their own, over one that has. What arrives at the port
 * below (the underlay), passes its XDP program and TC ingress filters and is for the tunnel, comes
 * in at the tunnel's port without its outer headers; what leaves by the tunnel's port gets them and
 * leaves by the underlay, past its TC egress filters. As in the kernel, an external tunnel takes and
 * gives the outer header's fields by bpf_skb_{set,get}_tunnel_key and _opt; others have them fixed.
 */
enum sluice_tunnel_kind {
	SLUICE_TUNNEL_VXLAN, /* RFC 7348 */
	SLUICE_TUNNEL_GENEVE, /* RFC 8926 */
	SLUICE_TUNNEL_GRE, /* RFC 2784, 2890: network packets over IPv4 */
	SLUICE_TUNNEL_GRETAP, /* Ethernet frames over IPv4 */
	SLUICE_TUNNEL_IP6GRE,
	SLUICE_TUNNEL_IP6GRETAP,
	SLUICE_TUNNEL_IPIP, /* RFC 2003 */
	SLUICE_TUNNEL_SIT, /* RFC 4213; never external */
	SLUICE_TUNNEL_IP6TNL, /* RFC 2473: IPv4 and IPv6 over IPv6 */
	SLUICE_TUNNEL_KINDS
};

/* The name that ip-link(8) has for it, NULL past the last. */
const char *sluice_tunnel_kind_name(enum sluice_tunnel_kind kind);

struct sluice_tunnel_address {
	uint8_t family; /* 4 or 6; 0: none */
	uint8_t bytes[16]; /* network byte order; of IPv4 the first four */
};

enum sluice_tunnel_df { SLUICE_TUNNEL_DF_UNSET, SLUICE_TUNNEL_DF_SET, SLUICE_TUNNEL_DF_INHERIT };

enum sluice_tunnel_flags {
	SLUICE_TUNNEL_EXTERNAL = 1 << 0,
	SLUICE_TUNNEL_GBP = 1 << 1, /* VXLAN: group policy, the option of a key */
	SLUICE_TUNNEL_CSUM = 1 << 2, /* of UDP over IPv4 and GRE; GRE then wants one as well */
	SLUICE_TUNNEL_NO_CSUM6_TX = 1 << 3, /* UDP over IPv6 without a checksum: sent */
	SLUICE_TUNNEL_NO_CSUM6_RX = 1 << 4, /* accepted */
	SLUICE_TUNNEL_KEY = 1 << 5, /* GRE: `id` is a key */
	SLUICE_TUNNEL_SEQ = 1 << 6, /* GRE: sequence numbers, sent and wanted in order */
	SLUICE_TUNNEL_TTL_INHERIT = 1 << 7,
	SLUICE_TUNNEL_TOS_INHERIT = 1 << 8,
	SLUICE_TUNNEL_ADDRESS = 1 << 9, /* `mac` is given; otherwise a random one */
	SLUICE_TUNNEL_NEXTHOP = 1 << 10, /* `nexthop` is given */
};

#define SLUICE_TUNNEL_LOCALS 8

/* Zero means the default where there is one. */
struct sluice_tunnel_options {
	const char *name;
	enum sluice_tunnel_kind kind;
	uint32_t flags;
	uint32_t underlay; /* a device's port */
	/*
	 * The addresses that packets for it are sent to, none: any; of each family the first is the
	 * source of those that it sends when their key has none.
	 */
	struct sluice_tunnel_address local[SLUICE_TUNNEL_LOCALS];
	struct sluice_tunnel_address remote; /* needed unless external */
	uint8_t nexthop[6]; /* of outer packets; not given: as route.h says */
	uint8_t mac[6]; /* of a tunnel for frames */
	uint32_t id; /* VNI, or key of GRE */
	uint16_t dst_port; /* UDP; 4789 or 6081 */
	uint16_t src_port_min, src_port_max; /* 32768 to 60999; of Geneve 1 to 65535 */
	uint8_t ttl; /* 0: 64; GRE and IP: the inner one's */
	uint8_t tos;
	uint32_t label; /* of IPv6 flows */
	enum sluice_tunnel_df df;
	uint16_t mtu; /* of inner packets; the underlay's without the outer headers */
};

/*
 * Adds a tunnel's port; sluice_port_remove takes it away, and so does the removal of its underlay.
 * Any thread but a worker. -EINVAL for options that do not fit each other, -EEXIST when another tunnel
 * would take the same packets or has the name, -ENOSPC when there are 32, -ENODEV without underlay;
 * each after one line in the log.
 */
int sluice_tunnel_add(const struct sluice_tunnel_options *options, uint32_t *ret_ifindex);

/*
 * The options of a tunnel, with what was chosen for those that were not given: MAC, MTU, UDP port. Its
 * name is NULL: struct sluice_port_info has it. Any thread but a worker. -ENODEV when the port is not
 * there or is no tunnel.
 */
int sluice_tunnel_get(uint32_t ifindex, struct sluice_tunnel_options *ret_options);

#ifdef __cplusplus
}
#endif
