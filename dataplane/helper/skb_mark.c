#include <errno.h>
#include <rte_byteorder.h>
#include <string.h>

#include "row.h"
#include "segments.h"
#include "skb_room.h"

#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd
#define TYPE_VLAN 0x8100
#define TYPE_QINQ 0x88a8
#define VLAN_TAG 4
#define MAX_VLANS 8
#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define IPV4_CSUM 10
#define ECN_MASK 3
#define ECN_CE 3

enum { CLOCK_OF_DAY, CLOCK_STEADY, CLOCK_ATOMIC };

/* The protocol behind the VLAN tags in the packet, if any. */
static uint16_t inner_protocol(const struct sl_ctx *ctx)
{
	uint16_t type = rte_be_to_cpu_16((uint16_t)ctx->protocol), tag[2];
	uint32_t at = (uint32_t)sl_skb_network_offset(ctx);

	for (int i = 0; type == TYPE_VLAN || type == TYPE_QINQ; i++, at += VLAN_TAG) {
		if (i == MAX_VLANS || !sl_segments_read(ctx, at, tag, sizeof(tag)))
			return 0;
		type = rte_be_to_cpu_16(tag[1]);
	}
	return type;
}

/* RFC 1624 for a change in the low byte of the first word. */
static bool mark_ipv4(uint8_t *header)
{
	uint8_t ecn = header[1] & ECN_MASK;
	uint32_t csum;
	uint16_t word;

	if (ecn == 0 || ecn == ECN_CE)
		return ecn == ECN_CE;
	memcpy(&word, header + IPV4_CSUM, sizeof(word));
	/* Adding d to a word takes d from its complemented sum. */
	csum = rte_be_to_cpu_16(word) + 0xffffu - (uint32_t)(ECN_CE - ecn);
	csum = (csum & 0xffff) + (csum >> 16);
	word = rte_cpu_to_be_16((uint16_t)csum);
	memcpy(header + IPV4_CSUM, &word, sizeof(word));
	header[1] |= ECN_CE;
	return true;
}

static bool mark_ipv6(uint8_t *header)
{
	/* The traffic class begins in the low half of byte 0. */
	if (!(header[1] >> 4 & ECN_MASK))
		return false;
	header[1] |= ECN_CE << 4;
	return true;
}

SL_HELPER_FN(skb_ecn_set_ce)
{
	uint16_t type = inner_protocol(ctx);
	uint32_t len = type == TYPE_IPV4 ? IPV4_HEADER : IPV6_HEADER;
	uint8_t *header = ctx->head + ctx->network_offset;

	if (type != TYPE_IPV4 && type != TYPE_IPV6)
		return 0;
	if (header > ctx->data_end || ctx->data_end - header < len)
		return 0;
	return type == TYPE_IPV4 ? mark_ipv4(header) : mark_ipv6(header);
}

const struct sl_helper sl_helper_skb_ecn_set_ce = {
	SL_ROW(skb_ecn_set_ce, TC),
	.args = { SL_ARG_CTX },
};

/* Only the clock of day has a time 0: "none". */
SL_HELPER_FN(skb_set_tstamp)
{
	uint16_t type = rte_be_to_cpu_16((uint16_t)ctx->protocol);
	uint32_t clock = (uint32_t)r3;

	if (type != TYPE_IPV4 && type != TYPE_IPV6)
		return sl_helper_ret(-EOPNOTSUPP);
	if (clock > CLOCK_ATOMIC || (clock != CLOCK_OF_DAY && r2 == 0))
		return sl_helper_ret(-EINVAL);
	ctx->tstamp = r2;
	ctx->tstamp_type = (uint8_t)clock;
	return 0;
}

const struct sl_helper sl_helper_skb_set_tstamp = {
	SL_ROW(skb_set_tstamp, TC),
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};
