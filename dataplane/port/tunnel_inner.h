#pragma once

#include <string.h>
#include <linux/if_ether.h>

#include <rte_byteorder.h>
#include <rte_ip.h>

#include "defs.h"
#include "packet.h"

/* What outer headers are made from: the inner packet's IP header, where it has one. */
struct sl_inner {
	uint8_t *ip; /* NULL: neither IPv4 nor IPv6, or cut */
	uint16_t protocol; /* big endian, behind VLAN tags */
	uint8_t dsfield, ttl;
	bool ipv6, df;
};

enum { SL_ECN_MASK = 3, SL_ECN_ECT1 = 1, SL_ECN_ECT0 = 2, SL_ECN_CE = 3 };

static inline uint16_t sl_tunnel_read16(const uint8_t *from)
{
	uint16_t be;

	memcpy(&be, from, sizeof(be));
	return rte_be_to_cpu_16(be);
}

static inline uint32_t sl_tunnel_read32(const uint8_t *from)
{
	uint32_t be;

	memcpy(&be, from, sizeof(be));
	return rte_be_to_cpu_32(be);
}

static inline void sl_tunnel_write16(uint8_t *to, uint16_t value)
{
	value = rte_cpu_to_be_16(value);
	memcpy(to, &value, sizeof(value));
}

static inline void sl_tunnel_write32(uint8_t *to, uint32_t value)
{
	value = rte_cpu_to_be_32(value);
	memcpy(to, &value, sizeof(value));
}

/* `protocol` is that of a network packet; a frame says its own. False: an IP header that is cut. */
static inline bool sl_inner_look(
	uint8_t *data, uint8_t *end, bool ethernet, uint16_t protocol, struct sl_inner *ret)
{
	*ret = (struct sl_inner){ .protocol = protocol };
	if (ethernet) {
		ret->protocol = sl_packet_protocol(data, (uint32_t)(end - data));
		data += sl_min(SL_ETH_HEADER, (int)(end - data));
		for (int tags = 0; tags < 2 && end - data >= 4 &&
				   (ret->protocol == RTE_BE16(ETH_P_8021Q) ||
					   ret->protocol == RTE_BE16(ETH_P_8021AD));
			tags++, data += 4)
			memcpy(&ret->protocol, data + 2, sizeof(ret->protocol));
	}
	if (ret->protocol == RTE_BE16(ETH_P_IP)) {
		if (end - data < (int)sizeof(struct rte_ipv4_hdr))
			return false;
		ret->dsfield = data[1];
		ret->ttl = data[8];
		ret->df = data[6] & (RTE_IPV4_HDR_DF_FLAG >> 8);
		ret->ip = data;
	} else if (ret->protocol == RTE_BE16(ETH_P_IPV6)) {
		if (end - data < (int)sizeof(struct rte_ipv6_hdr))
			return false;
		ret->dsfield = (uint8_t)(data[0] << 4 | data[1] >> 4);
		ret->ttl = data[7];
		ret->ipv6 = true;
		ret->ip = data;
	}
	return true;
}

/* Folds a sum of 16-bit words. */
static inline uint16_t sl_tunnel_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* The sum over the packet from `at` on, all segments, not complemented. Bounds may be written back. */
static inline uint32_t sl_tunnel_sum(struct sl_ctx *ctx, uint32_t at)
{
	uint16_t sum = 0;

	if (sl_likely(ctx->mbuf->nb_segs == 1))
		return rte_raw_cksum(ctx->data + at, (size_t)(ctx->data_end - ctx->data) - at);
	if (!sl_packet_end(ctx) ||
		rte_raw_cksum_mbuf(ctx->mbuf, at, ctx->mbuf->pkt_len - at, &sum) != 0)
		return 0;
	return sum;
}

/* Of addresses that follow each other, as they do in both IP headers. */
static inline uint32_t sl_tunnel_pseudo(
	const uint8_t *addresses, bool ipv6, uint8_t proto, uint32_t len)
{
	return (uint32_t)rte_raw_cksum(addresses, ipv6 ? 32 : 8) + rte_cpu_to_be_16(proto) +
	       rte_cpu_to_be_16((uint16_t)len);
}
