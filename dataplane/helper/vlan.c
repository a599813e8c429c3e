#include <errno.h>
#include <rte_mbuf_core.h>
#include <string.h>

#include "packet.h"
#include "row.h"
#include "segments.h"
#include "skb_room.h"

/*
 * The outermost tag is beside the packet, as a port delivers it: in vlan_tci and vlan_proto, and in
 * the mbuf for the port that sends it. Only further tags are in the packet's bytes.
 */

#define VLAN_TAG 4
#define ETH_ADDRS 12
#define BE_8021Q RTE_BE16(0x8100)
#define BE_8021AD RTE_BE16(0x88a8)

static bool is_vlan(uint16_t proto)
{
	return proto == BE_8021Q || proto == BE_8021AD;
}

static void put_tag(struct sl_ctx *ctx, uint16_t proto, uint16_t tci)
{
	ctx->vlan_present = true;
	ctx->vlan_proto = proto;
	ctx->vlan_tci = tci;
	ctx->mbuf->vlan_tci = tci;
	ctx->mbuf->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
}

static void clear_tag(struct sl_ctx *ctx)
{
	ctx->vlan_present = false;
	ctx->vlan_proto = 0;
	ctx->vlan_tci = 0;
	ctx->mbuf->ol_flags &= ~(RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED);
}

/* The tag beside the packet becomes bytes behind the addresses. */
static int insert_tag(struct sl_ctx *ctx)
{
	uint16_t proto = (uint16_t)ctx->vlan_proto, tci = rte_cpu_to_be_16((uint16_t)ctx->vlan_tci);
	int ret = sl_skb_insert(ctx, ETH_ADDRS, VLAN_TAG);

	if (ret != 0)
		return ret;
	memcpy(ctx->data + ETH_ADDRS, &proto, sizeof(proto));
	memcpy(ctx->data + ETH_ADDRS + sizeof(proto), &tci, sizeof(tci));
	ctx->mac_offset -= VLAN_TAG;
	ctx->network_offset -= VLAN_TAG;
	ctx->protocol = proto;
	return 0;
}

SL_HELPER_FN(skb_vlan_push)
{
	uint16_t proto = (uint16_t)r2;
	int ret;

	if (!is_vlan(proto))
		proto = BE_8021Q;
	if (ctx->vlan_present) {
		ret = insert_tag(ctx);
		if (ret != 0)
			return sl_helper_ret(ret);
	}
	put_tag(ctx, proto, (uint16_t)r3);
	return 0;
}

const struct sl_helper sl_helper_skb_vlan_push = {
	SL_ROW(skb_vlan_push, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};

/* What follows a tag, as sl_packet_protocol finds it behind an Ethernet header. */
static uint16_t protocol_after_tag(const struct sl_ctx *ctx)
{
	uint32_t have = (uint32_t)(ctx->data_end - ctx->data) - VLAN_TAG;

	return sl_packet_protocol(ctx->data + VLAN_TAG, have);
}

static int remove_tag(struct sl_ctx *ctx, uint16_t *ret_tci)
{
	uint16_t tci;

	if (!sl_segments_pull(ctx, SL_ETH_HEADER + VLAN_TAG))
		return -ENOMEM;
	memcpy(&tci, ctx->data + SL_ETH_HEADER, sizeof(tci));
	*ret_tci = rte_be_to_cpu_16(tci);
	ctx->protocol = protocol_after_tag(ctx);
	sl_skb_remove(ctx, ETH_ADDRS, VLAN_TAG);
	ctx->mac_offset += VLAN_TAG;
	if (sl_skb_network_offset(ctx) < SL_ETH_HEADER)
		ctx->network_offset = (uint16_t)(ctx->data - ctx->head) + SL_ETH_HEADER;
	return 0;
}

/* The next tag, if there is one, takes the place beside the packet. */
SL_HELPER_FN(skb_vlan_pop)
{
	uint16_t proto, tci;
	int ret;

	if (ctx->vlan_present) {
		clear_tag(ctx);
	} else {
		if (!is_vlan((uint16_t)ctx->protocol))
			return 0;
		ret = remove_tag(ctx, &tci);
		if (ret != 0)
			return sl_helper_ret(ret);
	}
	proto = (uint16_t)ctx->protocol;
	if (!is_vlan(proto))
		return 0;
	ret = remove_tag(ctx, &tci);
	if (ret != 0)
		return sl_helper_ret(ret);
	put_tag(ctx, proto, tci);
	return 0;
}

const struct sl_helper sl_helper_skb_vlan_pop = {
	SL_ROW(skb_vlan_pop, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX },
};
