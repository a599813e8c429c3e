#pragma once

#include <rte_byteorder.h>
#include <rte_mbuf_core.h>

#include "context.h"

/*
 * How an mbuf becomes a context and back. Used natively by the ports and, in bitcode, by the burst
 * template; so nothing here calls a function of DPDK.
 *
 * DPDK compiles 128 bytes of headroom in, XDP promises 256: the mbufs of our pools have a private
 * area right before their buffer, and it serves as headroom too. A packet that begins in there is
 * moved up when its program has ended, because an mbuf cannot say so.
 */
#define SL_HEADROOM_SPARE 128

/* Points the context at the first segment of `m`; sets only the packet fields of line 0. */
static inline void sl_packet_begin(struct sl_ctx *ctx, struct rte_mbuf *m)
{
	uint8_t *base = (uint8_t *)m->buf_addr;
	bool own = !(m->ol_flags & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL));

	ctx->mbuf = m;
	ctx->data = base + m->data_off;
	ctx->data_meta = ctx->data;
	ctx->data_end = ctx->data + m->data_len;
	ctx->head = base - (own ? SL_HEADROOM_SPARE : 0);
	ctx->tail = base + m->buf_len;
}

#define SL_ETH_HEADER 14
#define SL_ETH_TYPE_MIN 0x600 /* below it the field is a length: IEEE 802.3 */

/* skb->pkt_type: whom the link-layer destination names. */
enum sl_pkt_type { SL_PKT_HOST, SL_PKT_BROADCAST, SL_PKT_MULTICAST, SL_PKT_OTHERHOST };

/* The protocol of an Ethernet frame, big endian, as the kernel's eth_type_trans finds it. */
static inline uint16_t sl_packet_protocol(const uint8_t *frame, uint32_t len)
{
	uint16_t type;

	if (len < SL_ETH_HEADER)
		return 0;
	__builtin_memcpy(&type, frame + 12, sizeof(type));
	if (sl_likely(rte_be_to_cpu_16(type) >= SL_ETH_TYPE_MIN))
		return type;
	if (len >= SL_ETH_HEADER + 2 && frame[SL_ETH_HEADER] == 0xff &&
		frame[SL_ETH_HEADER + 1] == 0xff)
		return RTE_BE16(0x0001); /* ETH_P_802_3: Novell's raw IPX */
	return RTE_BE16(0x0004); /* ETH_P_802_2 */
}

/* In two loads: one of eight bytes would wait for the stores that have just set the address. */
static inline uint64_t sl_packet_addr(const uint8_t *addr)
{
	uint32_t low;
	uint16_t high;

	__builtin_memcpy(&low, addr, sizeof(low));
	__builtin_memcpy(&high, addr + sizeof(low), sizeof(high));
	return low | (uint64_t)high << 32;
}

static inline uint32_t sl_packet_type(const uint8_t *frame, uint32_t len, const uint8_t *port_addr)
{
	uint64_t dst;

	if (len < SL_ETH_HEADER)
		return SL_PKT_HOST;
	dst = sl_packet_addr(frame);
	if (dst == sl_packet_addr(port_addr))
		return SL_PKT_HOST;
	if (!(frame[0] & 1))
		return SL_PKT_OTHERHOST;
	return dst == (1ull << 48) - 1 ? SL_PKT_BROADCAST : SL_PKT_MULTICAST;
}

/*
 * What a packet may ask of whoever sends it, in DPDK's form, while no context says it: that its L4
 * checksum be completed, that it be cut. Where a packet comes in it is brought into this form
 * (port/offload.h): the checksum's field holds the pseudo header's sum, and the mbuf's lengths lead
 * to it.
 */
#define SL_OFFLOADS (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)
#define SL_TCP_CSUM 16 /* offsets of the fields in their headers */
#define SL_UDP_CSUM 6

static inline uint32_t sl_packet_outer_len(const struct rte_mbuf *m)
{
	return (uint32_t)m->outer_l2_len + m->outer_l3_len;
}

static inline void sl_packet_begin_offload(struct sl_ctx *ctx, const struct rte_mbuf *m)
{
	uint32_t inner = (uint32_t)(ctx->data - ctx->head) + sl_packet_outer_len(m) + m->l2_len;
	bool tcp = (m->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;

	ctx->ip_summed = SL_CSUM_PARTIAL;
	ctx->csum_start = (uint16_t)(inner + m->l3_len);
	ctx->csum_offset = tcp ? SL_TCP_CSUM : SL_UDP_CSUM;
	ctx->inner_network_offset = (uint16_t)inner;
	ctx->encapsulation = sl_packet_outer_len(m) != 0;
	if (!(m->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)))
		return;
	/* As of a packet from a guest: how many pieces it makes is nobody's word so far. */
	ctx->gso_size = m->tso_segsz;
	ctx->gso_type = tcp ? SL_GSO_TCP : SL_GSO_UDP;
}

/*
 * The same for a program on __sk_buff: every field that belongs to the packet, none of those that
 * are the same for a burst (run, cpu, the ifindexes and queues, napi_id, at_ingress, port_addr).
 */
static inline void sl_packet_begin_skb(struct sl_ctx *ctx, struct rte_mbuf *m)
{
	uint64_t csum = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
	bool hashed = m->ol_flags & RTE_MBUF_F_RX_RSS_HASH;
	bool tagged = m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED;

	sl_packet_begin(ctx, m);
	ctx->is_skb = true;
	ctx->len = m->pkt_len;
	ctx->wire_len = m->pkt_len;
	ctx->protocol = sl_packet_protocol(ctx->data, m->data_len);
	ctx->pkt_type = sl_packet_type(ctx->data, m->data_len, ctx->port_addr);
	ctx->vlan_present = tagged;
	ctx->vlan_tci = tagged ? m->vlan_tci : 0;
	ctx->vlan_proto = tagged ? RTE_BE16(0x8100) : 0;
	ctx->hash_state = hashed ? SL_HASH_L4 : SL_HASH_LAZY;
	ctx->hash = hashed ? m->hash.rss : 0;
	ctx->ip_summed = csum == RTE_MBUF_F_RX_L4_CKSUM_GOOD ? SL_CSUM_UNNECESSARY : SL_CSUM_NONE;
	ctx->csum_level = 0;
	ctx->encapsulation = false;
	ctx->mark = ctx->priority = ctx->queue_mapping = 0;
	ctx->tc_index = ctx->tc_classid = 0;
	__builtin_memset(ctx->cb, 0, sizeof(ctx->cb));
	ctx->gso_segs = ctx->gso_size = 0;
	ctx->tstamp = ctx->hwtstamp = 0;
	ctx->tstamp_type = 0;
	ctx->mac_offset = (uint16_t)(ctx->data - ctx->head);
	ctx->network_offset = ctx->mac_offset + SL_ETH_HEADER;
	ctx->tunnel = NULL;
	ctx->socket = NULL;
	if (sl_unlikely(m->ol_flags & SL_OFFLOADS))
		sl_packet_begin_offload(ctx, m);
}

/*
 * Writes moved packet bounds back to the mbuf. Needed only after a program that calls helpers with
 * SL_HELPER_CHANGES_PACKET. False when the mbuf cannot hold the result: the packet is to be aborted.
 */
static inline bool sl_packet_end(struct sl_ctx *ctx)
{
	struct rte_mbuf *m = ctx->mbuf;
	uint8_t *base = (uint8_t *)m->buf_addr;
	uint32_t len = (uint32_t)(ctx->data_end - ctx->data);

	if (sl_unlikely(ctx->data < base)) {
		uint32_t meta_len = (uint32_t)(ctx->data - ctx->data_meta);

		if (base + meta_len + len > ctx->tail)
			return false;
		__builtin_memmove(base, ctx->data_meta, meta_len + len);
		ctx->data_meta = base;
		ctx->data = base + meta_len;
		ctx->data_end = ctx->data + len;
	}
	m->pkt_len += len - m->data_len;
	m->data_len = (uint16_t)len;
	m->data_off = (uint16_t)(ctx->data - base);
	return true;
}
