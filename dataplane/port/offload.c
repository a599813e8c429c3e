#include "offload.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_hash_crc.h>
#include <rte_mbuf.h>
#include <rte_net.h>

#include "packet.h"
#include "segments.h"
#include "transmit.h"
#include "tunnel_inner.h"

#define OUTER                                                                              \
	(RTE_MBUF_F_TX_TUNNEL_MASK | RTE_MBUF_F_TX_OUTER_IPV4 | RTE_MBUF_F_TX_OUTER_IPV6 | \
		RTE_MBUF_F_TX_OUTER_IP_CKSUM | RTE_MBUF_F_TX_OUTER_UDP_CKSUM)
#define CUT (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)
/* What is asked for of a packet; the rest of DPDK's flags only describe it. */
#define ASKED                                                                  \
	(SL_OFFLOADS | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_OUTER_IP_CKSUM | \
		RTE_MBUF_F_TX_OUTER_UDP_CKSUM)

enum { TCP_HEADER = 20, UDP_HEADER = 8, SCTP_HEADER = 12, SCTP_CSUM = 8 };

static uint8_t *at(const struct rte_mbuf *m, uint32_t offset)
{
	return rte_pktmbuf_mtod_offset(m, uint8_t *, offset);
}

static uint64_t l4_of(const struct rte_mbuf *m)
{
	return m->ol_flags & RTE_MBUF_F_TX_L4_MASK;
}

static uint32_t field_of(const struct rte_mbuf *m)
{
	return l4_of(m) == RTE_MBUF_F_TX_TCP_CKSUM ? SL_TCP_CSUM : SL_UDP_CSUM;
}

uint32_t sl_offload_l4_len(const struct rte_mbuf *m, uint32_t start)
{
	bool tcp = l4_of(m) == RTE_MBUF_F_TX_TCP_CKSUM;
	uint32_t len = tcp ? TCP_HEADER : UDP_HEADER;

	if (start + len > m->data_len)
		return 0;
	if (tcp)
		len = (uint32_t)(*at(m, start + 12) >> 4) * 4;
	return len < (tcp ? TCP_HEADER : UDP_HEADER) || start + len > m->data_len ? 0 : len;
}

void sl_offload_complete(struct rte_mbuf *m, uint32_t start, uint32_t field)
{
	uint16_t csum = 0;

	if (rte_raw_cksum_mbuf(m, start, m->pkt_len - start, &csum) != 0)
		return;
	csum = (uint16_t)~csum;
	/* For UDP 0 says that there is none; TCP takes the other zero as well. */
	csum = csum ? csum : 0xffff;
	memcpy(at(m, start + field), &csum, sizeof(csum));
}

static void complete_sctp(struct rte_mbuf *m, uint32_t start)
{
	uint32_t crc = UINT32_MAX, skip = start;

	memset(at(m, start + SCTP_CSUM), 0, sizeof(crc));
	for (const struct rte_mbuf *s = m; s; s = s->next, skip = 0)
		crc = rte_hash_crc(at(s, skip), s->data_len - skip, crc);
	crc = ~rte_cpu_to_le_32(crc);
	memcpy(at(m, start + SCTP_CSUM), &crc, sizeof(crc));
}

static void complete_ipv4(struct rte_mbuf *m, uint32_t offset, uint32_t len)
{
	uint16_t csum;

	memset(at(m, offset + 10), 0, sizeof(csum));
	csum = (uint16_t)~rte_raw_cksum(at(m, offset), len);
	memcpy(at(m, offset + 10), &csum, sizeof(csum));
}

/* DPDK's users leave the pseudo header's sum to rte_eth_tx_prepare. */
static void fill_pseudo(
	struct rte_mbuf *m, uint32_t network, uint32_t start, uint32_t field, uint8_t protocol)
{
	bool ipv6 = *at(m, network) >> 4 == 6;
	uint32_t sum = sl_tunnel_pseudo(
		at(m, network + (ipv6 ? 8 : 12)), ipv6, protocol, m->pkt_len - start);
	uint16_t folded = sl_tunnel_fold(sum);

	memcpy(at(m, start + field), &folded, sizeof(folded));
}

/* A guest's packet: the field is filled, the headers tell where it is. */
static bool accept_guest(struct rte_mbuf *m)
{
	bool good = (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
	bool cut = m->ol_flags & RTE_MBUF_F_RX_LRO && m->tso_segsz;
	uint16_t mss = m->tso_segsz;
	struct rte_net_hdr_lens lens;
	uint32_t type = rte_net_get_ptype(m, &lens, RTE_PTYPE_ALL_MASK) & RTE_PTYPE_L4_MASK;
	bool tcp = type == RTE_PTYPE_L4_TCP;

	m->ol_flags &= ~(RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_MASK);
	if (!tcp && type != RTE_PTYPE_L4_UDP)
		return !cut;
	m->tx_offload = 0;
	m->l2_len = lens.l2_len;
	m->l3_len = lens.l3_len;
	m->ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
	if (cut) {
		m->tso_segsz = mss;
		m->ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
	}
	if (!sl_offload_l4_len(m, sl_offload_start(m)))
		return false;
	/* Put together by the device, which has checked its parts. */
	if (good)
		fill_pseudo(m, m->l2_len, sl_offload_start(m), field_of(m),
			tcp ? IPPROTO_TCP : IPPROTO_UDP);
	return true;
}

bool sl_offload_is_ip(const struct rte_mbuf *m, uint32_t offset, uint32_t len)
{
	uint8_t version;

	if (offset + len > m->data_len || len < sizeof(struct rte_ipv4_hdr))
		return false;
	version = *at(m, offset) >> 4;
	return version == 4 ? (*at(m, offset) & 0xfu) * 4 == len
			    : version == 6 && len >= sizeof(struct rte_ipv6_hdr);
}

static bool check_l4(struct rte_mbuf *m, uint32_t start)
{
	if (m->ol_flags & RTE_MBUF_F_TX_TCP_SEG)
		m->ol_flags = (m->ol_flags & ~RTE_MBUF_F_TX_L4_MASK) | RTE_MBUF_F_TX_TCP_CKSUM;
	else if (m->ol_flags & RTE_MBUF_F_TX_UDP_SEG)
		m->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
	if (m->ol_flags & CUT && !m->tso_segsz)
		return false;
	if (l4_of(m) == RTE_MBUF_F_TX_SCTP_CKSUM)
		return start + SCTP_HEADER <= m->data_len;
	return !l4_of(m) || sl_offload_l4_len(m, start);
}

/* The outer headers' own checksums can wait for nothing that is inside. */
static bool complete_outer(struct rte_mbuf *m, uint64_t asked)
{
	uint32_t outer = sl_packet_outer_len(m);

	if (asked & RTE_MBUF_F_TX_OUTER_IP_CKSUM && *at(m, m->outer_l2_len) >> 4 == 4)
		complete_ipv4(m, m->outer_l2_len, m->outer_l3_len);
	if (!(asked & RTE_MBUF_F_TX_OUTER_UDP_CKSUM))
		return true;
	if (m->ol_flags & CUT || outer + UDP_HEADER > m->data_len)
		return false;
	if (l4_of(m))
		sl_offload_complete(m, sl_offload_start(m), field_of(m));
	m->ol_flags &= ~SL_OFFLOADS;
	fill_pseudo(m, m->outer_l2_len, outer, SL_UDP_CSUM, IPPROTO_UDP);
	sl_offload_complete(m, outer, SL_UDP_CSUM);
	return true;
}

/* In DPDK's own terms. What costs little, or nobody asks for often, is done at once. */
static bool accept_request(struct rte_mbuf *m)
{
	uint64_t asked = m->ol_flags;
	uint32_t network, start;

	if (!(asked & OUTER))
		m->outer_l2_len = m->outer_l3_len = 0;
	network = sl_packet_outer_len(m) + m->l2_len;
	start = sl_offload_start(m);
	if (!sl_offload_is_ip(m, network, m->l3_len) || !check_l4(m, start) ||
		(sl_packet_outer_len(m) && !sl_offload_is_ip(m, m->outer_l2_len, m->outer_l3_len)))
		return false;
	if (asked & RTE_MBUF_F_TX_IP_CKSUM && *at(m, network) >> 4 == 4)
		complete_ipv4(m, network, m->l3_len);
	if (l4_of(m) == RTE_MBUF_F_TX_SCTP_CKSUM) {
		complete_sctp(m, start);
		m->ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
	} else if (l4_of(m)) {
		fill_pseudo(m, network, start, field_of(m),
			l4_of(m) == RTE_MBUF_F_TX_TCP_CKSUM ? IPPROTO_TCP : IPPROTO_UDP);
	}
	if (asked & OUTER && sl_packet_outer_len(m) && !complete_outer(m, asked))
		return false;
	m->ol_flags &= ~(ASKED & ~SL_OFFLOADS);
	return true;
}

static uint32_t payload_of(const struct rte_mbuf *m)
{
	uint32_t start = sl_offload_start(m);

	return m->pkt_len - sl_min(m->pkt_len, start + sl_offload_l4_len(m, start));
}

static bool bring_in(struct rte_mbuf *m)
{
	bool ok = true;

	if (m->ol_flags & ASKED)
		ok = accept_request(m);
	else if (m->ol_flags & RTE_MBUF_F_RX_LRO ||
		 (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE)
		ok = accept_guest(m);
	/* Nothing to cut: the checksum remains. */
	if (ok && m->ol_flags & CUT && payload_of(m) <= m->tso_segsz)
		m->ol_flags &= ~CUT;
	if (!(m->ol_flags & SL_OFFLOADS))
		m->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
	return ok;
}

unsigned sl_offload_receive(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!bring_in(pkts[i])) {
			sl_loop_finish(worker, port, pkts[i], SLUICE_BAD_OFFLOAD);
			continue;
		}
		worker->offloads |= (pkts[i]->ol_flags & SL_OFFLOADS) != 0;
		pkts[kept++] = pkts[i];
	}
	return kept;
}

/* Whether the device does it; tunnels' packets look too different to devices to try. */
static bool device_takes(struct sl_worker *worker, const struct sl_port *port, struct rte_mbuf *m)
{
	uint64_t asked = m->ol_flags & SL_OFFLOADS;
	uint16_t queue = (uint16_t)(worker->index % port->tx_queues);

	if ((asked & port->tx_offloads) != asked || sl_packet_outer_len(m))
		return false;
	if (*at(m, m->l2_len) >> 4 == 4)
		m->ol_flags |= RTE_MBUF_F_TX_IPV4 | (asked & CUT ? RTE_MBUF_F_TX_IP_CKSUM : 0);
	else
		m->ol_flags |= RTE_MBUF_F_TX_IPV6;
	m->l4_len = (uint8_t)sl_offload_l4_len(m, sl_offload_start(m));
	return m->l4_len && rte_eth_tx_prepare(port->id, queue, &m, 1) == 1;
}

/* Returns how many packets it has become; 0: dropped. */
static unsigned resolve(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *m,
	struct rte_mbuf *ret_pieces[SL_PIECES_MAX])
{
	unsigned n;

	if (!(m->ol_flags & CUT)) {
		sl_offload_complete(m, sl_offload_start(m), field_of(m));
		sl_offload_clear(m);
		ret_pieces[0] = m;
		return 1;
	}
	n = sl_gso_cut(m, ret_pieces);
	if (n == 0) {
		sl_loop_finish(worker, port, m, SLUICE_NOT_CUT);
		return 0;
	}
	sl_worker_count_add(worker, port->id, SLUICE_CUT, n - 1);
	sl_transmit_discard(worker, m);
	return n;
}

void sl_offload_each(struct sl_worker *worker, struct sl_port *port, bool for_device,
	struct rte_mbuf **pkts, unsigned n, sl_offload_fn fn, void *arg)
{
	struct rte_mbuf *pieces[SL_PIECES_MAX], *burst[SL_BURST];
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++) {
		bool as_it_is = !(pkts[i]->ol_flags & SL_OFFLOADS) ||
				(for_device && device_takes(worker, port, pkts[i]));
		unsigned made = 1;

		pieces[0] = pkts[i];
		if (!as_it_is)
			made = resolve(worker, port, pkts[i], pieces);
		for (unsigned k = 0; k < made; k++) {
			burst[count++] = pieces[k];
			if (count < SL_BURST)
				continue;
			fn(arg, burst, count);
			count = 0;
		}
	}
	if (count)
		fn(arg, burst, count);
}

/* Where the headers are, from the packet's beginning. */
struct layout {
	int32_t network, inner, start;
	uint32_t outer_l3;
};

/* False where mbufs have no words for it. */
static bool describe(struct rte_mbuf *m, const struct layout *l)
{
	bool outer = l->inner != l->network;
	int32_t l2 = outer ? l->inner - l->network - (int32_t)l->outer_l3 : l->network;

	if (l->network < 0 || l->network > 127 || l2 < 0 || l2 > 127 ||
		l->start - l->inner < (int32_t)sizeof(struct rte_ipv4_hdr) ||
		l->start - l->inner > 511)
		return false;
	m->tx_offload = 0;
	m->outer_l2_len = outer ? (uint32_t)l->network & 127 : 0;
	m->outer_l3_len = outer ? l->outer_l3 & 511 : 0;
	m->l2_len = (uint32_t)l2 & 127;
	m->l3_len = (uint32_t)(l->start - l->inner) & 511;
	return true;
}

/* Tags in the packet's bytes lie between where a context has the network header and where it is. */
static int32_t skip_tags(const struct sl_ctx *ctx, int32_t network)
{
	uint16_t type = 0;

	while (network >= SL_ETH_HEADER &&
		sl_segments_read(ctx, (uint32_t)network - sizeof(type), &type, sizeof(type)) &&
		(type == RTE_BE16(ETH_P_8021Q) || type == RTE_BE16(ETH_P_8021AD)))
		network += 4;
	return network;
}

static struct layout find_layout(const struct sl_ctx *ctx)
{
	int32_t base = (int32_t)(ctx->data - ctx->head);
	struct layout l = {
		.network = ctx->network_offset - base,
		.start = ctx->csum_start - base,
	};
	uint8_t first;

	l.network = skip_tags(ctx, l.network);
	l.inner = ctx->encapsulation ? ctx->inner_network_offset - base : l.network;
	if (l.network >= 0 && sl_segments_read(ctx, (uint32_t)l.network, &first, 1))
		l.outer_l3 = first >> 4 == 6 ? sizeof(struct rte_ipv6_hdr) : (first & 0xfu) * 4;
	return l;
}

bool sl_offload_end(struct sl_ctx *ctx)
{
	struct rte_mbuf *m = ctx->mbuf;
	bool partial = ctx->ip_summed == SL_CSUM_PARTIAL, tcp = ctx->csum_offset == SL_TCP_CSUM;
	uint32_t header = ctx->csum_offset + sizeof(uint16_t);
	struct layout l = find_layout(ctx);

	m->ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
	if (!partial && !ctx->gso_size)
		return sl_packet_end(ctx);
	if (l.start < 0 || (uint32_t)l.start + header > ctx->len ||
		!sl_segments_pull(ctx, (uint32_t)l.start + header) || !sl_packet_end(ctx))
		return false;
	if (!describe(m, &l)) {
		if (!ctx->gso_size)
			sl_offload_complete(m, (uint32_t)l.start, ctx->csum_offset);
		return !ctx->gso_size;
	}
	m->ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
	if (ctx->gso_size) {
		m->tso_segsz = (uint16_t)ctx->gso_size;
		m->ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
	}
	return true;
}

uint32_t sl_offload_wire_len(const struct sl_ctx *ctx)
{
	uint32_t start = (uint32_t)(ctx->csum_start - (ctx->data - ctx->head)), headers, pieces;
	uint8_t words = 0;

	if (!sl_segments_read(ctx, start + 12, &words, 1))
		return ctx->len;
	headers = start + (ctx->gso_type == SL_GSO_TCP ? (uint32_t)(words >> 4) * 4 : UDP_HEADER);
	if (headers >= ctx->len)
		return ctx->len;
	pieces = (ctx->len - headers + ctx->gso_size - 1) / ctx->gso_size;
	return ctx->len + (pieces - 1) * headers;
}
