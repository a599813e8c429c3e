#include <string.h>

#include <rte_mbuf.h>
#include <rte_tcp.h>

#include "offload.h"
#include "packet.h"
#include "tunnel_inner.h"

/*
 * Cutting, as the kernel's GSO does it. DPDK's own library knows no IPv6 and leaves the checksums
 * open; and its pieces share their payload with the packet, where programs may yet write.
 */

enum { HEADERS_MAX = RTE_PKTMBUF_HEADROOM };

struct cut {
	const struct rte_mbuf *whole;
	uint32_t start, headers; /* of the L4 header; bytes up to the payload */
	bool tcp;
};

/* `number` is the piece's. Options that belong to the first piece only are nobody's concern today. */
static void fit_ip(uint8_t *ip, uint32_t len, uint32_t number)
{
	uint32_t header = (ip[0] & 0xfu) * 4;
	uint16_t csum;

	if (ip[0] >> 4 == 6) {
		sl_tunnel_write16(ip + 4, (uint16_t)(len - sizeof(struct rte_ipv6_hdr)));
		return;
	}
	sl_tunnel_write16(ip + 2, (uint16_t)len);
	sl_tunnel_write16(ip + 4, (uint16_t)(sl_tunnel_read16(ip + 4) + number));
	memset(ip + 10, 0, 2);
	csum = (uint16_t)~rte_raw_cksum(ip, header);
	memcpy(ip + 10, &csum, sizeof(csum));
}

static uint8_t ip_protocol(const uint8_t *ip)
{
	return ip[0] >> 4 == 6 ? ip[6] : ip[9];
}

static void fit_network(const struct rte_mbuf *whole, struct rte_mbuf *piece, uint32_t number)
{
	uint8_t *data = rte_pktmbuf_mtod(piece, uint8_t *);
	uint32_t outer = sl_packet_outer_len(whole), inner = outer + whole->l2_len;

	if (outer) {
		uint8_t *ip = data + whole->outer_l2_len;

		fit_ip(ip, piece->pkt_len - whole->outer_l2_len, number);
		if (ip_protocol(ip) == IPPROTO_UDP)
			sl_tunnel_write16(data + outer + 4, (uint16_t)(piece->pkt_len - outer));
	}
	fit_ip(data + inner, piece->pkt_len - inner, number);
}

/* RFC 793 and 3168: the end is the last piece's, CWR the first one's. */
static void fit_tcp(uint8_t *tcp, uint32_t offset, bool first, bool last)
{
	sl_tunnel_write32(tcp + 4, sl_tunnel_read32(tcp + 4) + offset);
	if (!last)
		tcp[13] &= ~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG);
	if (!first)
		tcp[13] &= ~RTE_TCP_CWR_FLAG;
}

/* The pseudo header's sum, which is in the field, has the length of the whole. */
static void fit_pseudo(uint8_t *field, uint32_t from, uint32_t to)
{
	uint16_t sum;

	memcpy(&sum, field, sizeof(sum));
	sum = sl_tunnel_fold((uint32_t)sum + (uint16_t)~rte_cpu_to_be_16((uint16_t)from) +
			     rte_cpu_to_be_16((uint16_t)to));
	memcpy(field, &sum, sizeof(sum));
}

static struct rte_mbuf *make_piece(const struct cut *cut, uint32_t number)
{
	uint32_t mss = cut->whole->tso_segsz, offset = number * mss, at = cut->headers + offset;
	uint32_t field = cut->tcp ? SL_TCP_CSUM : SL_UDP_CSUM;
	struct rte_mbuf *piece = rte_pktmbuf_copy(cut->whole, cut->whole->pool, at, mss);
	uint8_t *data;

	if (!piece)
		return NULL;
	data = (uint8_t *)rte_pktmbuf_prepend(piece, (uint16_t)cut->headers);
	if (!data) {
		rte_pktmbuf_free(piece);
		return NULL;
	}
	memcpy(data, rte_pktmbuf_mtod(cut->whole, const uint8_t *), cut->headers);
	fit_network(cut->whole, piece, number);
	if (cut->tcp)
		fit_tcp(data + cut->start, offset, number == 0, at + mss >= cut->whole->pkt_len);
	else
		sl_tunnel_write16(data + cut->start + 4, (uint16_t)(piece->pkt_len - cut->start));
	fit_pseudo(data + cut->start + field, cut->whole->pkt_len - cut->start,
		piece->pkt_len - cut->start);
	sl_offload_complete(piece, cut->start, field);
	sl_offload_clear(piece);
	return piece;
}

/* Programs may have left anything there. */
static bool has_headers(const struct rte_mbuf *m)
{
	uint32_t outer = sl_packet_outer_len(m);

	return sl_offload_is_ip(m, outer + m->l2_len, m->l3_len) &&
	       (!outer || sl_offload_is_ip(m, m->outer_l2_len, m->outer_l3_len));
}

unsigned sl_gso_cut(const struct rte_mbuf *m, struct rte_mbuf *ret_pieces[SL_PIECES_MAX])
{
	struct cut cut = {
		.whole = m,
		.start = sl_offload_start(m),
		.tcp = (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM,
	};
	uint32_t l4_len = sl_offload_l4_len(m, cut.start), n, made = 0;

	cut.headers = cut.start + l4_len;
	if (!l4_len || !has_headers(m) || !m->tso_segsz || cut.headers > HEADERS_MAX ||
		m->pkt_len <= cut.headers)
		return 0;
	n = (m->pkt_len - cut.headers + m->tso_segsz - 1) / m->tso_segsz;
	if (n > SL_PIECES_MAX)
		return 0;
	while (made < n && (ret_pieces[made] = make_piece(&cut, made)) != NULL)
		made++;
	if (made == n)
		return n;
	rte_pktmbuf_free_bulk(ret_pieces, made);
	return 0;
}
