#include "tunnel_port.h"

#include <netinet/in.h>
#include <linux/rtnetlink.h>

#include <rte_mbuf.h>

#include "ctx_symbols.h"
#include "fib.h"
#include "transmit.h"
#include "tunnel_inner.h"
#include "worker.h"

/*
 * Encapsulation: what the kernel's devices make of the same key, but that a packet which does not fit
 * the underlay is dropped, where the kernel may send fragments.
 */

enum { FINE = SLUICE_COUNTER_COUNT }; /* otherwise the counter of the drop */

enum { TTL_DEFAULT = 64, UDP_HEADER = 8, TUNNEL_HEADER = 8 };

enum { TOS_INHERIT = 1 };

/* The outer headers' fields. */
struct outer {
	const struct sl_tunnel *key;
	uint32_t len; /* of IP, UDP and tunnel headers */
	uint32_t tunnel_len; /* behind the UDP header, or behind IP */
	uint32_t label;
	uint8_t ip_len, proto, tos, ttl;
	bool df;
	const uint8_t *src, *dst; /* network byte order */
	uint8_t chosen_src[16]; /* what src points to where the route says it */
	const uint8_t *nexthop; /* link-layer address */
};

static bool is_zero(const uint8_t *address, unsigned len)
{
	uint8_t any = 0;

	for (unsigned i = 0; i < len; i++)
		any |= address[i];
	return !any;
}

/* The source address that a route says, or that is chosen for it. */
static bool choose_source(const struct sl_fib_result *to, const uint8_t *via, struct outer *o)
{
	uint32_t source;

	o->src = o->chosen_src;
	if (to->route->source_family) {
		memcpy(o->chosen_src, to->route->source, sizeof(o->chosen_src));
		return true;
	}
	if (o->key->ipv6)
		return sl_source_ipv6(to->interface, o->dst, o->chosen_src);
	memcpy(&source, via, sizeof(source));
	source = sl_source_ipv4(to->interface, source, to->route->scope);
	memcpy(o->chosen_src, &source, sizeof(source));
	return source != 0;
}

/* Out of the underlay, as for a packet of this host. */
static bool find_route(const struct sl_tunnel_port *t, const struct sl_ctx *ctx, struct outer *o)
{
	bool ipv6 = o->key->ipv6;
	struct sl_fib_flow flow = {
		.family = ipv6 ? AF_INET6 : AF_INET,
		.tos = o->key->tos & 0xfc,
		.protocol = o->proto,
		.flow_label = rte_cpu_to_be_32(o->key->label),
		.dport = t->udp_port,
		.mark = ctx->mark,
		.iif = 1, /* the loopback interface */
		.oif = t->underlay->ifindex,
	};
	const struct sl_neighbour *neighbour;
	struct sl_fib_result to;
	const uint8_t *via = o->dst;

	memcpy(flow.dst, o->dst, ipv6 ? 16 : 4);
	if (o->src)
		memcpy(flow.src, o->src, ipv6 ? 16 : 4);
	if (sl_fib_lookup(&flow, &to) != 0 || !to.path || to.route->type != RTN_UNICAST)
		return false;
	if (to.path->gateway_family) {
		flow.family = to.path->gateway_family;
		via = to.path->gateway;
	}
	neighbour = sl_neighbour_resolve(to.interface, flow.family, via);
	if (!neighbour)
		return false;
	o->nexthop = neighbour->info.lladdr;
	return o->src || choose_source(&to, to.path->gateway_family == AF_INET ? via : o->dst, o);
}

/* Addresses of network and link layer. */
static bool address(const struct sl_tunnel_port *t, const struct sl_ctx *ctx, struct outer *o)
{
	bool ipv6 = o->key->ipv6;
	unsigned len = ipv6 ? 16 : 4;

	o->dst = o->key->dst;
	if (!is_zero(o->key->src, len))
		o->src = o->key->src;
	else if (t->source[ipv6])
		o->src = t->source[ipv6]->bytes;
	if (is_zero(o->dst, len))
		return false;
	if (!(t->flags & SLUICE_TUNNEL_NEXTHOP))
		return find_route(t, ctx, o);
	o->nexthop = t->link[ipv6];
	return o->src;
}

static uint32_t gre_len(const struct sl_tunnel *key)
{
	return 4 + (key->flags & SL_TUNNEL_CSUM ? 4 : 0) + (key->flags & SL_TUNNEL_KEY ? 4 : 0) +
	       (key->flags & SL_TUNNEL_SEQ ? 4 : 0);
}

/* What of the inner packet decides, and where. */
static void shape(const struct sl_tunnel_port *t, const struct sl_inner *inner, struct outer *o)
{
	const struct sl_tunnel *key = o->key;

	switch (t->kind->header) {
	case SL_TUNNEL_IN_VXLAN:
		o->tunnel_len = TUNNEL_HEADER;
		o->proto = IPPROTO_UDP;
		break;
	case SL_TUNNEL_IN_GENEVE:
		o->tunnel_len = TUNNEL_HEADER + key->options_len;
		o->proto = IPPROTO_UDP;
		break;
	case SL_TUNNEL_IN_GRE:
		o->tunnel_len = gre_len(key);
		o->proto = IPPROTO_GRE;
		break;
	case SL_TUNNEL_IN_IP:
		o->tunnel_len = 0;
		o->proto = inner->ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
		break;
	}
	o->ip_len = key->ipv6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr);
	o->len = o->ip_len + (t->udp_port ? UDP_HEADER : 0) + o->tunnel_len;
}

static uint8_t encapsulate_ecn(uint8_t tos, uint8_t inner)
{
	uint8_t ecn = inner & SL_ECN_MASK;

	return (uint8_t)((tos & ~SL_ECN_MASK) | (ecn == SL_ECN_CE ? SL_ECN_ECT0 : ecn));
}

static uint8_t choose_tos(
	const struct sl_tunnel_port *t, const struct sl_inner *inner, const struct sl_tunnel *key)
{
	bool external = t->flags & SLUICE_TUNNEL_EXTERNAL;
	uint8_t tos = key->tos;

	/* A key's 1 says "inherit" only to those that go over IPv4 without UDP. */
	if (external ? tos == TOS_INHERIT && !t->udp_port && !key->ipv6 && inner->ip
		     : t->flags & SLUICE_TUNNEL_TOS_INHERIT)
		tos = inner->dsfield;
	/* GRE over IPv6 leaves the marks as the key has them. */
	if (t->kind->header == SL_TUNNEL_IN_GRE && key->ipv6)
		return tos;
	return encapsulate_ecn(tos, inner->dsfield);
}

static uint8_t choose_ttl(
	const struct sl_tunnel_port *t, const struct sl_inner *inner, const struct sl_tunnel *key)
{
	bool inherit = t->udp_port ? t->flags & SLUICE_TUNNEL_TTL_INHERIT : true;

	/* Geneve takes the key's word, even 0. */
	if (key->ttl ||
		(t->kind->header == SL_TUNNEL_IN_GENEVE && (t->flags & SLUICE_TUNNEL_EXTERNAL)))
		return key->ttl;
	return inherit && inner->ip ? inner->ttl : TTL_DEFAULT;
}

static bool choose_df(
	const struct sl_tunnel_port *t, const struct sl_inner *inner, const struct sl_tunnel *key)
{
	if (t->flags & SLUICE_TUNNEL_EXTERNAL)
		return (key->flags & SL_TUNNEL_DONT_FRAGMENT) || (!t->udp_port && inner->df);
	if (!t->udp_port)
		return t->df == SLUICE_TUNNEL_DF_SET || inner->df;
	if (t->df == SLUICE_TUNNEL_DF_INHERIT)
		return inner->ip && (inner->ipv6 || inner->df);
	return t->df == SLUICE_TUNNEL_DF_SET;
}

static uint32_t flow_hash(struct sl_ctx *ctx)
{
	if (ctx->hash_state != SL_HASH_L4 && ctx->hash_state != SL_HASH_SET)
		sl_ctx_compute_hash(ctx);
	return ctx->hash;
}

static unsigned plan(const struct sl_tunnel_port *t, struct sl_ctx *ctx,
	const struct sl_inner *inner, struct outer *o)
{
	const struct sl_tunnel *key = o->key;

	if (!(t->kind->over & (key->ipv6 ? SL_TUNNEL_OVER_IPV6 : SL_TUNNEL_OVER_IPV4)))
		return SLUICE_TUNNEL_NO_KEY;
	if (t->kind->header == SL_TUNNEL_IN_IP &&
		(!inner->ip || !(inner->ipv6 ? t->kind->inner_ipv6 : t->kind->inner_ipv4)))
		return SLUICE_TUNNEL_PROTOCOL;
	if (t->kind->header == SL_TUNNEL_IN_VXLAN && (key->flags & SL_TUNNEL_VXLAN_OPT) &&
		key->options_len < sizeof(uint32_t))
		return SLUICE_TUNNEL_BAD_OPTIONS;
	shape(t, inner, o);
	if (!address(t, ctx, o))
		return SLUICE_TUNNEL_NO_ROUTE;
	if (ctx->len + o->len > t->underlay->mtu)
		return SLUICE_TUNNEL_TOO_BIG;
	o->tos = choose_tos(t, inner, key);
	o->ttl = choose_ttl(t, inner, key);
	o->df = choose_df(t, inner, key);
	o->label = key->label;
	/* As the kernel's automatic labels: RFC 6438. */
	if (key->ipv6 && !o->label && !t->udp_port)
		o->label = flow_hash(ctx) & RTE_IPV6_HDR_FL_MASK;
	return FINE;
}

/* Makes the packet longer by `len` in front; moves it down where there is no room. */
static bool push(struct sl_ctx *ctx, uint32_t len)
{
	uint32_t room = (uint32_t)(ctx->data - ctx->head), missing;

	if (sl_unlikely(room < len)) {
		missing = len - room;
		if (ctx->mbuf->nb_segs != 1 || ctx->tail - ctx->data_end < (int)missing)
			return false;
		memmove(ctx->data + missing, ctx->data, (size_t)(ctx->data_end - ctx->data));
		ctx->data += missing;
		ctx->data_end += missing;
	}
	ctx->data -= len;
	ctx->data_meta = ctx->data;
	ctx->len += len;
	return true;
}

static void write_ipv4(struct sl_worker *worker, uint8_t *ip, uint16_t len, const struct outer *o)
{
	uint16_t csum;

	sl_tunnel_write16(ip, (uint16_t)(0x4500 | o->tos));
	sl_tunnel_write16(ip + 2, len);
	sl_tunnel_write16(ip + 4, worker->ip_id++);
	sl_tunnel_write16(ip + 6, o->df ? RTE_IPV4_HDR_DF_FLAG : 0);
	sl_tunnel_write16(ip + 8, (uint16_t)(o->ttl << 8 | o->proto));
	memset(ip + 10, 0, 2);
	memcpy(ip + 12, o->src, 4);
	memcpy(ip + 16, o->dst, 4);
	csum = rte_ipv4_cksum((const struct rte_ipv4_hdr *)ip);
	memcpy(ip + 10, &csum, sizeof(csum));
}

static void write_ipv6(uint8_t *ip, uint16_t payload, const struct outer *o)
{
	sl_tunnel_write32(ip, 6u << 28 | (uint32_t)o->tos << 20 | o->label);
	sl_tunnel_write16(ip + 4, payload);
	ip[6] = o->proto;
	ip[7] = o->ttl;
	memcpy(ip + 8, o->src, 16);
	memcpy(ip + 24, o->dst, 16);
}

static void write_vxlan(const struct sl_tunnel_port *t, uint8_t *v, const struct outer *o)
{
	uint32_t gbp = 0;

	sl_tunnel_write32(v, 0x08000000);
	sl_tunnel_write32(v + 4, o->key->id << 8);
	if (!(t->flags & SLUICE_TUNNEL_GBP) || !(o->key->flags & SL_TUNNEL_VXLAN_OPT))
		return;
	memcpy(&gbp, o->key->options, sizeof(gbp));
	if (gbp)
		sl_tunnel_write32(v, 0x88000000 | (gbp & 0x0048ffff));
}

static void write_geneve(uint8_t *g, const struct outer *o)
{
	sl_tunnel_write16(g, (uint16_t)(o->key->options_len / 4 << 8));
	sl_tunnel_write16(g + 2, ETH_P_TEB);
	sl_tunnel_write32(g + 4, o->key->id << 8);
	memcpy(g + TUNNEL_HEADER, o->key->options, o->key->options_len);
}

/* The checksum, over all of it, comes last. */
static void write_gre(
	struct sl_tunnel_port *t, uint8_t *g, uint16_t protocol, const struct outer *o)
{
	uint16_t flags = o->key->flags;

	sl_tunnel_write16(g, (uint16_t)((flags & SL_TUNNEL_CSUM ? 0x8000 : 0) |
					(flags & SL_TUNNEL_KEY ? 0x2000 : 0) |
					(flags & SL_TUNNEL_SEQ ? 0x1000 : 0)));
	memcpy(g + 2, &protocol, sizeof(protocol));
	g += 4;
	if (flags & SL_TUNNEL_CSUM) {
		memset(g, 0, 4);
		g += 4;
	}
	if (flags & SL_TUNNEL_KEY) {
		sl_tunnel_write32(g, o->key->id);
		g += 4;
	}
	if (flags & SL_TUNNEL_SEQ)
		sl_tunnel_write32(g, __atomic_fetch_add(&t->next_seq, 1, __ATOMIC_RELAXED));
}

static uint16_t source_port(const struct sl_tunnel_port *t, uint32_t hash)
{
	hash ^= hash << 16;
	return (uint16_t)(t->src_port_min + ((uint64_t)hash * t->src_port_span >> 32));
}

static void write_udp(const struct sl_tunnel_port *t, uint8_t *udp, uint32_t hash, uint16_t len)
{
	sl_tunnel_write16(udp, source_port(t, hash));
	sl_tunnel_write16(udp + 2, t->udp_port);
	sl_tunnel_write16(udp + 4, len);
	memset(udp + 6, 0, 2);
}

static void finish_udp_csum(struct sl_ctx *ctx, const struct outer *o)
{
	uint32_t at = SL_ETH_HEADER + o->ip_len;
	const uint8_t *addresses = ctx->data + SL_ETH_HEADER + (o->key->ipv6 ? 8 : 12);
	uint32_t sum = sl_tunnel_pseudo(addresses, o->key->ipv6, IPPROTO_UDP, ctx->len - at);
	uint16_t csum;

	csum = (uint16_t)~sl_tunnel_fold(sum + sl_tunnel_sum(ctx, at));
	csum = csum ? csum : 0xffff;
	memcpy(ctx->data + at + 6, &csum, sizeof(csum));
}

static void finish_gre_csum(struct sl_ctx *ctx, const struct outer *o)
{
	uint32_t at = SL_ETH_HEADER + o->ip_len;
	uint16_t csum = (uint16_t)~sl_tunnel_fold(sl_tunnel_sum(ctx, at));

	memcpy(ctx->data + at + 4, &csum, sizeof(csum));
}

/* The headers are there: what the next egress hook knows of the packet. */
static void become_outer(struct sl_ctx *ctx, bool ipv6)
{
	ctx->protocol = ipv6 ? RTE_BE16(ETH_P_IPV6) : RTE_BE16(ETH_P_IP);
	ctx->mac_offset = (uint16_t)(ctx->data - ctx->head);
	ctx->network_offset = ctx->mac_offset + SL_ETH_HEADER;
	ctx->pkt_type = SL_PKT_HOST;
	ctx->ip_summed = SL_CSUM_NONE;
	ctx->csum_level = 0;
	ctx->encapsulation = false;
	ctx->tunnel = NULL;
	memset(ctx->cb, 0, sizeof(ctx->cb));
}

static void write_headers(struct sl_worker *worker, struct sl_tunnel_port *t, struct sl_ctx *ctx,
	uint16_t protocol, uint32_t hash, const struct outer *o)
{
	uint8_t *ip = ctx->data + SL_ETH_HEADER, *behind = ip + o->ip_len;
	uint16_t payload = (uint16_t)(ctx->len - SL_ETH_HEADER - o->ip_len);

	memcpy(ctx->data, t->link[o->key->ipv6], SL_ETH_HEADER);
	memcpy(ctx->data, o->nexthop, ETH_ALEN);
	if (o->key->ipv6)
		write_ipv6(ip, payload, o);
	else
		write_ipv4(worker, ip, payload + o->ip_len, o);
	switch (t->kind->header) {
	case SL_TUNNEL_IN_VXLAN:
		write_udp(t, behind, hash, payload);
		write_vxlan(t, behind + UDP_HEADER, o);
		break;
	case SL_TUNNEL_IN_GENEVE:
		write_udp(t, behind, hash, payload);
		write_geneve(behind + UDP_HEADER, o);
		break;
	case SL_TUNNEL_IN_GRE:
		write_gre(t, behind, t->kind->ethernet ? RTE_BE16(ETH_P_TEB) : protocol, o);
		break;
	case SL_TUNNEL_IN_IP:
		break;
	}
}

static struct sl_port *drop(
	struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx, unsigned end)
{
	sl_loop_finish(worker, port, ctx->mbuf, (enum sluice_counter)end);
	return NULL;
}

struct sl_port *sl_tunnel_transmit(
	struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx)
{
	struct sl_tunnel_port *t = port->tunnel;
	struct outer o = { .key = t->flags & SLUICE_TUNNEL_EXTERNAL ? ctx->tunnel : &t->fixed };
	uint16_t protocol = (uint16_t)ctx->protocol;
	struct sl_inner inner;
	uint32_t hash = 0;
	unsigned end;

	if (!o.key || !o.key->transmit)
		return drop(worker, port, ctx, SLUICE_TUNNEL_NO_KEY);
	if (!sl_inner_look(ctx->data, ctx->data_end, t->kind->ethernet, protocol, &inner))
		return drop(worker, port, ctx, SLUICE_TUNNEL_TRUNCATED);
	end = plan(t, ctx, &inner, &o);
	if (end != FINE)
		return drop(worker, port, ctx, end);
	if (t->udp_port)
		hash = flow_hash(ctx);
	if (!push(ctx, SL_ETH_HEADER + o.len))
		return drop(worker, port, ctx, SLUICE_NO_ROOM);
	write_headers(worker, t, ctx, protocol, hash, &o);
	if (o.key->flags & SL_TUNNEL_CSUM) {
		if (t->udp_port)
			finish_udp_csum(ctx, &o);
		else if (t->kind->header == SL_TUNNEL_IN_GRE)
			finish_gre_csum(ctx, &o);
	}
	become_outer(ctx, o.key->ipv6);
	sl_worker_count_add(worker, port->id, SLUICE_TUNNEL_ENCAP, 1);
	return t->underlay;
}
