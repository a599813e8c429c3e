#include "tunnel_port.h"

#include <netinet/in.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "transmit.h"
#include "tunnel_inner.h"
#include "worker.h"

/*
 * Decapsulation. First it is found out from addresses, protocol and UDP port alone whether a packet
 * is for a tunnel at all: what is not, or cannot be told, goes on its way untouched. From then on it
 * is the tunnel's, and whatever is wrong with it drops it. Nothing outside the first segment is
 * read but by checksums: drivers put at least that many bytes into it.
 */

enum { FINE = SLUICE_COUNTER_COUNT }; /* otherwise the counter of the drop */

enum { UDP_HEADER = 8, TUNNEL_HEADER = 8, EXTENSIONS_MAX = 4 };

enum {
	GRE_CSUM = 0x8000,
	GRE_ROUTING = 0x4000,
	GRE_KEY = 0x2000,
	GRE_SEQ = 0x1000,
	GRE_VERSION = 7
};

enum { VXLAN_VNI = 0x08, VXLAN_GBP = 0x80, GBP_DONT_LEARN = 0x40, GBP_APPLIED = 0x08 };

struct outer {
	uint8_t addresses[32]; /* source, then destination */
	uint32_t at; /* of what follows the IP headers, from data */
	uint32_t end; /* of the IP packet */
	uint32_t label;
	uint16_t udp_port; /* destination; 0: not UDP */
	uint8_t proto, tos, ttl, address_len;
	bool ipv6, fragment, udp_csum, df;
};

/* What stands between outer and inner packet. */
struct header {
	const uint8_t *options;
	uint32_t at; /* of the inner packet, from data */
	uint32_t id, seq, gbp;
	uint32_t options_len;
	uint16_t flags; /* enum sl_tunnel_flags */
	uint16_t protocol; /* of the inner packet, big endian */
	bool has_gbp, critical;
};

static uint32_t linear(const struct sl_ctx *ctx)
{
	return (uint32_t)(ctx->data_end - ctx->data);
}

static bool look_ipv4(const struct sl_ctx *ctx, struct outer *o)
{
	const uint8_t *ip = ctx->data + SL_ETH_HEADER;
	uint16_t fragment;

	if (linear(ctx) < SL_ETH_HEADER + sizeof(struct rte_ipv4_hdr) || ip[0] >> 4 != 4)
		return false;
	o->at = SL_ETH_HEADER + (ip[0] & 0xfu) * 4;
	o->end = SL_ETH_HEADER + sl_tunnel_read16(ip + 2);
	fragment = sl_tunnel_read16(ip + 6);
	o->fragment = fragment & (RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK);
	o->df = fragment & RTE_IPV4_HDR_DF_FLAG;
	o->tos = ip[1];
	o->ttl = ip[8];
	o->proto = ip[9];
	o->address_len = 4;
	memcpy(o->addresses, ip + 12, 8);
	/* Of a later fragment only the reassembled packet's protocol is known. */
	return o->at >= SL_ETH_HEADER + sizeof(struct rte_ipv4_hdr) &&
	       !(fragment & RTE_IPV4_HDR_OFFSET_MASK);
}

static bool look_ipv6(const struct sl_ctx *ctx, struct outer *o)
{
	const uint8_t *ip = ctx->data + SL_ETH_HEADER;

	if (linear(ctx) < SL_ETH_HEADER + sizeof(struct rte_ipv6_hdr) || ip[0] >> 4 != 6)
		return false;
	o->ipv6 = true;
	o->label = sl_tunnel_read32(ip) & RTE_IPV6_HDR_FL_MASK;
	o->tos = (uint8_t)(ip[0] << 4 | ip[1] >> 4);
	o->at = SL_ETH_HEADER + sizeof(struct rte_ipv6_hdr);
	o->end = o->at + sl_tunnel_read16(ip + 4);
	o->proto = ip[6];
	o->ttl = ip[7];
	o->address_len = 16;
	memcpy(o->addresses, ip + 8, 32);
	/* IP6IP6 tunnels of the kernel put their encapsulation limit into such a header. */
	for (int i = 0;
		i < EXTENSIONS_MAX && (o->proto == IPPROTO_DSTOPTS || o->proto == IPPROTO_HOPOPTS);
		i++) {
		if (o->at + 8 > linear(ctx))
			return false;
		o->proto = ctx->data[o->at];
		o->at += (ctx->data[o->at + 1] + 1u) * 8;
	}
	return true;
}

/* False: nothing that can be told to be for a tunnel. */
static bool look_outer(const struct sl_ctx *ctx, struct outer *o)
{
	if (ctx->protocol == RTE_BE16(ETH_P_IP)
			? !look_ipv4(ctx, o)
			: ctx->protocol != RTE_BE16(ETH_P_IPV6) || !look_ipv6(ctx, o))
		return false;
	if (o->proto != IPPROTO_UDP)
		return true;
	if (o->at + UDP_HEADER > linear(ctx))
		return false;
	o->udp_port = sl_tunnel_read16(ctx->data + o->at + 2);
	return true;
}

static bool equals(
	const struct sluice_tunnel_address *address, const struct outer *o, unsigned which)
{
	return address->family == (o->ipv6 ? 6 : 4) &&
	       memcmp(address->bytes, o->addresses + which * o->address_len, o->address_len) == 0;
}

static bool takes_proto(const struct sl_tunnel_kind *kind, uint8_t proto)
{
	switch (kind->header) {
	case SL_TUNNEL_IN_GRE:
		return proto == IPPROTO_GRE;
	case SL_TUNNEL_IN_IP:
		return proto == IPPROTO_IPIP ? kind->inner_ipv4
					     : proto == IPPROTO_IPV6 && kind->inner_ipv6;
	default:
		return proto == IPPROTO_UDP;
	}
}

static bool takes_outer(const struct sl_tunnel_port *t, const struct outer *o)
{
	if (!takes_proto(t->kind, o->proto) || t->udp_port != o->udp_port ||
		!(t->kind->over & (o->ipv6 ? SL_TUNNEL_OVER_IPV6 : SL_TUNNEL_OVER_IPV4)))
		return false;
	for (unsigned i = 0; i < t->local_count; i++) {
		if (equals(&t->local[i], o, 1))
			return true;
	}
	return t->local_count == 0;
}

static struct sl_port *find_outer(const struct sl_tunnel_list *list, const struct outer *o)
{
	for (uint32_t i = 0; i < list->count; i++) {
		if (takes_outer(list->ports[i]->tunnel, o))
			return list->ports[i];
	}
	return NULL;
}

/* How well a tunnel fits the packet, 0: not at all. The kernel looks for them in this order. */
static unsigned fits(const struct sl_tunnel_port *t, const struct outer *o, const struct header *h)
{
	bool frames = h->protocol == RTE_BE16(ETH_P_TEB);
	bool external = t->flags & SLUICE_TUNNEL_EXTERNAL;

	if (!takes_outer(t, o))
		return 0;
	if (t->kind->ethernet && !frames)
		return 0;
	if (external)
		return t->kind->ethernet == frames ? 2 : 1;
	if (t->kind->header == SL_TUNNEL_IN_VXLAN)
		return t->fixed.id == h->id ? 3 : 0;
	if (t->kind->ethernet != frames || t->fixed.id != h->id || !equals(&t->remote, o, 0) ||
		((t->fixed.flags ^ h->flags) & SL_TUNNEL_KEY))
		return 0;
	return t->local_count ? 4 : 3;
}

static struct sl_port *find(
	const struct sl_tunnel_list *list, const struct outer *o, const struct header *h)
{
	struct sl_port *best = NULL;
	unsigned fit = 0;

	for (uint32_t i = 0; i < list->count; i++) {
		unsigned this = fits(list->ports[i]->tunnel, o, h);

		if (this > fit) {
			fit = this;
			best = list->ports[i];
		}
	}
	return best;
}

/* Cuts what follows the packet: padding of short frames. */
static bool trim(struct sl_ctx *ctx, uint32_t end)
{
	struct rte_mbuf *m = ctx->mbuf, *last;
	uint32_t excess = ctx->len - end;

	if (end > ctx->len)
		return false;
	if (sl_likely(m->nb_segs == 1)) {
		ctx->data_end -= excess;
	} else if (excess) {
		last = rte_pktmbuf_lastseg(m);
		if (excess >= last->data_len)
			return false;
		last->data_len -= (uint16_t)excess;
		m->pkt_len -= excess;
	}
	ctx->len = end;
	return true;
}

static unsigned check_ip(struct sl_ctx *ctx, const struct outer *o)
{
	const struct rte_ipv4_hdr *ip = (const struct rte_ipv4_hdr *)(ctx->data + SL_ETH_HEADER);
	uint64_t known = ctx->mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;

	if (o->at > o->end || o->end > ctx->len || o->at > linear(ctx))
		return SLUICE_TUNNEL_TRUNCATED;
	/* Of the whole header, with options. */
	if (!o->ipv6 && known != RTE_MBUF_F_RX_IP_CKSUM_GOOD &&
		rte_raw_cksum(ip, o->at - SL_ETH_HEADER) != 0xffff)
		return SLUICE_TUNNEL_BAD_CSUM;
	return o->fragment ? SLUICE_TUNNEL_FRAGMENT : FINE;
}

static unsigned check_udp(struct sl_ctx *ctx, const struct sl_tunnel_port *t, struct outer *o)
{
	const uint8_t *udp = ctx->data + o->at;
	uint64_t known = ctx->mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
	uint32_t len;

	if (o->at + UDP_HEADER > o->end)
		return SLUICE_TUNNEL_TRUNCATED;
	len = sl_tunnel_read16(udp + 4);
	/* RFC 2675: all that there is. */
	if (len == 0 && o->ipv6)
		len = o->end - o->at;
	if (len < UDP_HEADER || o->at + len > o->end)
		return SLUICE_TUNNEL_TRUNCATED;
	o->end = o->at + len;
	if (!trim(ctx, o->end))
		return SLUICE_TUNNEL_TRUNCATED;
	o->udp_csum = sl_tunnel_read16(udp + 6);
	if (!o->udp_csum)
		return o->ipv6 && !(t->flags & SLUICE_TUNNEL_NO_CSUM6_RX) ? SLUICE_TUNNEL_BAD_CSUM
									  : FINE;
	/* NONE: it came from memory, and nobody has computed it. */
	if (known == RTE_MBUF_F_RX_L4_CKSUM_GOOD || known == RTE_MBUF_F_RX_L4_CKSUM_NONE)
		return FINE;
	if (sl_tunnel_fold(sl_tunnel_pseudo(o->addresses, o->ipv6, IPPROTO_UDP, len) +
			   sl_tunnel_sum(ctx, o->at)) != 0xffff)
		return SLUICE_TUNNEL_BAD_CSUM;
	return FINE;
}

static uint32_t vni_of(const uint8_t *at)
{
	return sl_tunnel_read32(at) >> 8;
}

/* Bits that the tunnel does not know make it another protocol: the kernel drops those, too. */
static unsigned read_vxlan(const struct sl_ctx *ctx, const struct sl_tunnel_port *t,
	const struct outer *o, struct header *h)
{
	const uint8_t *v = ctx->data + o->at + UDP_HEADER;
	uint8_t unknown = (uint8_t)~VXLAN_VNI;
	bool gbp = t->flags & SLUICE_TUNNEL_GBP;

	h->at = o->at + UDP_HEADER + TUNNEL_HEADER;
	if (h->at > sl_min(o->end, linear(ctx)))
		return SLUICE_TUNNEL_TRUNCATED;
	if (gbp)
		unknown &= (uint8_t)~VXLAN_GBP;
	if (!(v[0] & VXLAN_VNI) || (v[0] & unknown) || v[7] || (!gbp && (v[1] | v[2] | v[3])))
		return SLUICE_TUNNEL_BAD_HEADER;
	h->id = vni_of(v + 4);
	h->flags = SL_TUNNEL_KEY;
	h->protocol = RTE_BE16(ETH_P_TEB);
	if (!(v[0] & VXLAN_GBP))
		return FINE;
	h->has_gbp = true;
	h->gbp = sl_tunnel_read16(v + 2) | (v[1] & (GBP_DONT_LEARN | GBP_APPLIED)) << 16;
	h->flags |= SL_TUNNEL_VXLAN_OPT;
	h->options = (const uint8_t *)&h->gbp;
	h->options_len = sizeof(h->gbp);
	return FINE;
}

static unsigned read_geneve(const struct sl_ctx *ctx, const struct outer *o, struct header *h)
{
	const uint8_t *g = ctx->data + o->at + UDP_HEADER;

	h->at = o->at + UDP_HEADER + TUNNEL_HEADER;
	if (h->at > sl_min(o->end, linear(ctx)))
		return SLUICE_TUNNEL_TRUNCATED;
	h->options = g + TUNNEL_HEADER;
	h->options_len = (g[0] & 0x3fu) * 4;
	h->at += h->options_len;
	if (g[0] >> 6 != 0)
		return SLUICE_TUNNEL_BAD_HEADER;
	if (h->at > sl_min(o->end, linear(ctx)))
		return SLUICE_TUNNEL_BAD_OPTIONS;
	memcpy(&h->protocol, g + 2, sizeof(h->protocol));
	if (h->protocol != RTE_BE16(ETH_P_TEB))
		return SLUICE_TUNNEL_BAD_HEADER;
	h->id = vni_of(g + 4);
	h->critical = g[1] & 0x40;
	h->flags = SL_TUNNEL_KEY | (g[1] & 0x80 ? SL_TUNNEL_OAM : 0) |
		   (h->critical ? SL_TUNNEL_CRITICAL : 0) |
		   (h->options_len ? SL_TUNNEL_GENEVE_OPT : 0);
	return FINE;
}

static unsigned read_gre(struct sl_ctx *ctx, const struct outer *o, struct header *h)
{
	const uint8_t *g = ctx->data + o->at;
	uint32_t end = sl_min(o->end, linear(ctx));
	uint16_t flags;

	if (o->at + 4 > end)
		return SLUICE_TUNNEL_TRUNCATED;
	flags = sl_tunnel_read16(g);
	if (flags & (GRE_VERSION | GRE_ROUTING))
		return SLUICE_TUNNEL_BAD_HEADER;
	h->at = o->at + 4 + (flags & GRE_CSUM ? 4 : 0) + (flags & GRE_KEY ? 4 : 0) +
		(flags & GRE_SEQ ? 4 : 0);
	if (h->at > end)
		return SLUICE_TUNNEL_TRUNCATED;
	if ((flags & GRE_CSUM) && sl_tunnel_fold(sl_tunnel_sum(ctx, o->at)) != 0xffff)
		return SLUICE_TUNNEL_BAD_CSUM;
	g = ctx->data + o->at;
	memcpy(&h->protocol, g + 2, sizeof(h->protocol));
	g += flags & GRE_CSUM ? 8 : 4;
	if (flags & GRE_KEY) {
		h->id = sl_tunnel_read32(g);
		g += 4;
	}
	if (flags & GRE_SEQ)
		h->seq = sl_tunnel_read32(g);
	h->flags = (flags & GRE_CSUM ? SL_TUNNEL_CSUM : 0) | (flags & GRE_KEY ? SL_TUNNEL_KEY : 0) |
		   (flags & GRE_SEQ ? SL_TUNNEL_SEQ : 0);
	return FINE;
}

static unsigned read_header(
	struct sl_ctx *ctx, const struct sl_tunnel_port *t, struct outer *o, struct header *h)
{
	unsigned end = check_ip(ctx, o);

	if (end == FINE && !trim(ctx, o->end))
		end = SLUICE_TUNNEL_TRUNCATED;
	if (end == FINE && o->udp_port)
		end = check_udp(ctx, t, o);
	if (end != FINE)
		return end;
	switch (t->kind->header) {
	case SL_TUNNEL_IN_VXLAN:
		return read_vxlan(ctx, t, o, h);
	case SL_TUNNEL_IN_GENEVE:
		return read_geneve(ctx, o, h);
	case SL_TUNNEL_IN_GRE:
		return read_gre(ctx, o, h);
	case SL_TUNNEL_IN_IP:
		break;
	}
	h->at = o->at;
	h->protocol = o->proto == IPPROTO_IPIP ? RTE_BE16(ETH_P_IP) : RTE_BE16(ETH_P_IPV6);
	return FINE;
}

/* In order, as far as workers that race for it can tell. */
static bool in_order(struct sl_tunnel_port *t, uint32_t seq)
{
	uint32_t wanted = __atomic_load_n(&t->wanted_seq, __ATOMIC_RELAXED);

	if (wanted && (int32_t)(seq - wanted) < 0)
		return false;
	__atomic_store_n(&t->wanted_seq, seq + 1, __ATOMIC_RELAXED);
	return true;
}

static unsigned check_tunnel(struct sl_port *port, const struct sl_ctx *ctx, const struct header *h)
{
	struct sl_tunnel_port *t = port->tunnel;
	const uint8_t *frame = ctx->data + h->at;

	if (t->kind->header == SL_TUNNEL_IN_GRE) {
		if (!(t->flags & SLUICE_TUNNEL_CSUM) != !(h->flags & SL_TUNNEL_CSUM))
			return SLUICE_TUNNEL_BAD_CSUM;
		if ((t->flags & SLUICE_TUNNEL_SEQ) &&
			(!(h->flags & SL_TUNNEL_SEQ) || !in_order(t, h->seq)))
			return SLUICE_TUNNEL_ORDER;
	}
	/* Nobody looks at the options of one that is not external. */
	if (h->critical && !(t->flags & SLUICE_TUNNEL_EXTERNAL))
		return SLUICE_TUNNEL_BAD_OPTIONS;
	if (!t->kind->ethernet)
		return FINE;
	if (h->at + SL_ETH_HEADER > linear(ctx))
		return SLUICE_TUNNEL_TRUNCATED;
	/* Its own packets that come back. */
	if (t->udp_port && memcmp(frame + RTE_ETHER_ADDR_LEN, &port->mac, RTE_ETHER_ADDR_LEN) == 0)
		return SLUICE_TUNNEL_LOOP;
	return FINE;
}

static void set_ecn(struct sl_inner *inner, uint8_t ecn)
{
	uint8_t before = inner->dsfield & SL_ECN_MASK;
	uint16_t csum;
	uint32_t sum;

	if (inner->ipv6) {
		inner->ip[1] = (uint8_t)((inner->ip[1] & ~(SL_ECN_MASK << 4)) | ecn << 4);
		return;
	}
	/* The header's sum changes by as much as its first word: RFC 1624. */
	memcpy(&csum, inner->ip + 10, sizeof(csum));
	inner->ip[1] = (uint8_t)((inner->ip[1] & ~SL_ECN_MASK) | ecn);
	sum = (uint16_t)~rte_be_to_cpu_16(csum) + 0xffffu - before + ecn;
	sl_tunnel_write16(inner->ip + 10, (uint16_t)~sl_tunnel_fold(sum));
}

/* RFC 6040, as the kernel has it: of the outer header only the congestion marks come in. */
static bool merge_ecn(uint8_t outer, struct sl_inner *inner)
{
	uint8_t mark = outer & SL_ECN_MASK, ecn = inner->dsfield & SL_ECN_MASK;

	if (!inner->ip)
		return true;
	if (ecn == 0)
		return mark != SL_ECN_CE;
	if (mark == SL_ECN_CE && ecn != SL_ECN_CE)
		set_ecn(inner, SL_ECN_CE);
	else if (mark == SL_ECN_ECT1 && ecn == SL_ECN_ECT0)
		set_ecn(inner, SL_ECN_ECT1);
	return true;
}

static void give_key(struct sl_ctx *ctx, const struct outer *o, const struct header *h)
{
	struct sl_tunnel *key = &ctx->run->tunnel;

	key->id = h->id;
	key->label = o->label;
	/* Of GRE the sequence number is nobody's business. */
	key->flags = (h->flags & ~SL_TUNNEL_SEQ) | (o->udp_csum ? SL_TUNNEL_CSUM : 0) |
		     (o->df ? SL_TUNNEL_DONT_FRAGMENT : 0);
	key->tos = o->tos;
	key->ttl = o->ttl;
	key->ipv6 = o->ipv6;
	key->transmit = false;
	key->options_len = (uint8_t)h->options_len;
	memset(key->src, 0, sizeof(key->src));
	memset(key->dst, 0, sizeof(key->dst));
	memcpy(key->src, o->addresses, o->address_len);
	memcpy(key->dst, o->addresses + o->address_len, o->address_len);
	if (h->options_len)
		memcpy(key->options, h->options, h->options_len);
	ctx->tunnel = key;
}

/* What of the context goes with the outer packet. */
static void strip(struct sl_ctx *ctx, const struct header *h, bool ethernet)
{
	ctx->data += h->at;
	ctx->data_meta = ctx->data;
	ctx->len -= h->at;
	ctx->protocol = ethernet ? sl_packet_protocol(ctx->data, linear(ctx)) : h->protocol;
	ctx->mac_offset = (uint16_t)(ctx->data - ctx->head);
	ctx->network_offset = ctx->mac_offset + (ethernet ? SL_ETH_HEADER : 0);
	ctx->pkt_type = SL_PKT_HOST;
	ctx->vlan_present = 0;
	ctx->queue_mapping = 0;
	ctx->ip_summed = SL_CSUM_NONE;
	ctx->csum_level = 0;
	ctx->encapsulation = false;
	memset(ctx->cb, 0, sizeof(ctx->cb));
	if (ctx->hash_state == SL_HASH_L3 || ctx->hash_state == SL_HASH_NONE) {
		ctx->hash_state = SL_HASH_LAZY;
		ctx->hash = 0;
	}
}

static struct sl_port *drop(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx,
	unsigned end, bool *ret_ended)
{
	*ret_ended = true;
	sl_loop_finish(worker, port, ctx->mbuf, (enum sluice_counter)end);
	return NULL;
}

struct sl_port *sl_tunnel_receive(
	struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx, bool *ret_ended)
{
	const struct sl_tunnel_list *list = sl_rcu_load(port->tunnels);
	struct outer outer = { 0 };
	struct header header = { .options = NULL };
	struct sl_inner inner;
	struct sl_port *to;
	unsigned end;

	*ret_ended = false;
	/* A VLAN's packets are those of another device. */
	if (!list || ctx->pkt_type == SL_PKT_OTHERHOST ||
		(ctx->vlan_present && (ctx->vlan_tci & 0xfff)) || !look_outer(ctx, &outer))
		return NULL;
	to = find_outer(list, &outer);
	if (!to)
		return NULL;
	end = read_header(ctx, to->tunnel, &outer, &header);
	if (end != FINE)
		return drop(worker, to, ctx, end, ret_ended);
	to = find(list, &outer, &header);
	if (!to)
		return drop(worker, port, ctx, SLUICE_TUNNEL_UNKNOWN, ret_ended);
	end = check_tunnel(to, ctx, &header);
	if (end == FINE && !sl_inner_look(ctx->data + header.at, ctx->data_end,
				   to->tunnel->kind->ethernet, header.protocol, &inner))
		end = SLUICE_TUNNEL_TRUNCATED;
	else if (end == FINE && !merge_ecn(outer.tos, &inner))
		end = SLUICE_TUNNEL_ECN;
	if (end != FINE)
		return drop(worker, to, ctx, end, ret_ended);
	if (to->tunnel->flags & SLUICE_TUNNEL_EXTERNAL)
		give_key(ctx, &outer, &header);
	else
		ctx->tunnel = NULL;
	if (header.has_gbp && !ctx->tunnel)
		ctx->mark = header.gbp;
	strip(ctx, &header, to->tunnel->kind->ethernet);
	sl_worker_count_add(worker, to->id, SLUICE_TUNNEL_DECAP, 1);
	return to;
}
