#include "neighbour.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <string.h>

#include "context.h"
#include "fib.h"
#include "packet.h"
#include "port.h"
#include "redirect.h"
#include "twin.h"

/*
 * bpf_redirect_neigh: the link-layer header is filled in for the next hop, as the kernel's IP output
 * does it, with the difference that packets do not wait for a neighbour that is not known: behind a
 * kernel twin it is asked for, for those that come after.
 */

struct hop {
	uint16_t family;
	uint8_t address[16];
};

/* The part of struct bpf_redir_neigh's union that the family says. */
static bool given_hop(const struct sl_run *run, uint16_t packet_family, struct hop *ret_hop)
{
	struct bpf_redir_neigh nexthop;

	memcpy(&nexthop, run->redirect_nexthop, sizeof(nexthop));
	if (nexthop.nh_family != AF_INET6 &&
		(nexthop.nh_family != AF_INET || packet_family != AF_INET))
		return false;
	ret_hop->family = (uint16_t)nexthop.nh_family;
	memcpy(ret_hop->address, nexthop.ipv6_nh, sizeof(ret_hop->address));
	return true;
}

static struct sl_fib_flow flow_of(
	const struct sl_ctx *ctx, const struct sl_port *port, uint16_t family)
{
	const uint8_t *header = ctx->data + SL_ETH_HEADER;
	struct sl_fib_flow flow = {
		.family = family,
		.mark = ctx->mark,
		.iif = 1,
		.oif = port->ifindex,
	};

	if (family == AF_INET) {
		flow.tos = header[offsetof(struct iphdr, tos)] & 0xfc;
		flow.protocol = header[offsetof(struct iphdr, protocol)];
		memcpy(flow.src, header + offsetof(struct iphdr, saddr), 4);
		memcpy(flow.dst, header + offsetof(struct iphdr, daddr), 4);
	} else {
		memcpy(&flow.flow_label, header, sizeof(flow.flow_label));
		flow.protocol = header[offsetof(struct ip6_hdr, ip6_nxt)];
		memcpy(flow.src, header + offsetof(struct ip6_hdr, ip6_src), 16);
		memcpy(flow.dst, header + offsetof(struct ip6_hdr, ip6_dst), 16);
	}
	return flow;
}

/*
 * The next hop of the packet's own destination, out of this port. Where IPv4 has no route out of it
 * the destination is taken to be on its link, as the kernel does when it is told the interface.
 */
static bool routed_hop(
	const struct sl_ctx *ctx, const struct sl_port *port, uint16_t family, struct hop *ret_hop)
{
	struct sl_fib_flow flow = flow_of(ctx, port, family);
	struct sl_fib_result result = { 0 };
	bool link_local = family == AF_INET6 && flow.dst[0] == 0xfe && (flow.dst[1] & 0xc0) == 0x80;
	int err = sl_fib_lookup(&flow, &result);
	uint8_t type = err ? (uint8_t)RTN_UNSPEC : result.route->type;

	ret_hop->family = family;
	memcpy(ret_hop->address, flow.dst, sizeof(ret_hop->address));
	if (err)
		return family == AF_INET || link_local;
	if (family == AF_INET && type != RTN_UNICAST && type != RTN_LOCAL)
		return false;
	if (!result.path)
		return false;
	if (result.path->gateway_family) {
		ret_hop->family = result.path->gateway_family;
		memcpy(ret_hop->address, result.path->gateway, sizeof(ret_hop->address));
	}
	return true;
}

/* Groups have link-layer addresses of their own (RFC 1112, 6.4; RFC 2464, 7). */
static bool group_address(const struct hop *hop, uint8_t ret_mac[ETH_ALEN])
{
	const uint8_t *a = hop->address;

	if (hop->family == AF_INET6 && a[0] == 0xff) {
		memcpy(ret_mac, (const uint8_t[]){ 0x33, 0x33, a[12], a[13], a[14], a[15] },
			ETH_ALEN);
		return true;
	}
	if (hop->family == AF_INET && (a[0] & 0xf0) == 0xe0) {
		memcpy(ret_mac, (const uint8_t[]){ 0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3] },
			ETH_ALEN);
		return true;
	}
	return false;
}

/* AF_UNSPEC for what is no IP packet with its header in the first segment. */
static uint16_t family_of(const struct sl_ctx *ctx)
{
	size_t room = (size_t)(ctx->data_end - ctx->data);

	if (ctx->protocol == htons(ETH_P_IP) && room >= SL_ETH_HEADER + sizeof(struct iphdr))
		return AF_INET;
	if (ctx->protocol == htons(ETH_P_IPV6) && room >= SL_ETH_HEADER + sizeof(struct ip6_hdr))
		return AF_INET6;
	return AF_UNSPEC;
}

int sl_neighbour_fill(struct sl_ctx *ctx, const struct sl_port *port)
{
	const struct sl_interface *interface = sl_interface_peek(port->ifindex);
	uint16_t family = family_of(ctx), type = (uint16_t)ctx->protocol;
	const struct sl_neighbour *neighbour;
	uint8_t mac[ETH_ALEN];
	struct hop hop;

	/* Without a header before there is none to change: as in the kernel. */
	if (family == AF_UNSPEC || ctx->mac_offset == ctx->network_offset || (ctx->data[0] & 1))
		return SLUICE_REDIRECT_DROP;
	if (ctx->run->redirect_flags & SL_REDIRECT_NEXTHOP) {
		if (!given_hop(ctx->run, family, &hop))
			return SLUICE_REDIRECT_DROP;
	} else if (!routed_hop(ctx, port, family, &hop)) {
		return SLUICE_NO_ROUTE;
	}
	/* A tunnel without link-layer headers has no neighbours to tell apart. */
	if (!port->link_header)
		return 0;
	if (!interface)
		return SLUICE_NO_NEIGHBOUR;
	if (!group_address(&hop, mac)) {
		neighbour = sl_neighbour_resolve(interface, hop.family, hop.address);
		if (port->twin && (!neighbour || neighbour->info.state & NUD_STALE))
			sl_twin_want(port->twin, hop.family, hop.address);
		if (!neighbour)
			return SLUICE_NO_NEIGHBOUR;
		memcpy(mac, neighbour->info.lladdr, sizeof(mac));
	}
	memcpy(ctx->data, mac, sizeof(mac));
	memcpy(ctx->data + ETH_ALEN, interface->info.mac, ETH_ALEN);
	memcpy(ctx->data + 2 * ETH_ALEN, &type, sizeof(type));
	return 0;
}
