#include <errno.h>
#include <netinet/in.h>
#include <rte_mbuf_core.h>
#include <stdlib.h>
#include <string.h>

#include "packet.h"
#include "row.h"
#include "segments.h"
#include "skb_room.h"

#define BE_IPV4 RTE_BE16(0x0800)
#define BE_IPV6 RTE_BE16(0x86dd)
#define IPV4_HEADER 20
#define IPV6_HEADER 40
/* What the kernel allocates for a packet at most, with its 4 KiB pages. */
#define SKB_MAX_LEN 16064
#define MAX_ROOM 0xfff

/* Since Linux 6.2. */
#define F_DECAP_L3_IPV4 (1ull << 7)
#define F_DECAP_L3_IPV6 (1ull << 8)
#define F_DECAP_L3 (F_DECAP_L3_IPV4 | F_DECAP_L3_IPV6)
#define F_ENCAP_L3 ((uint64_t)(BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6))
#define F_ENCAP_L4 ((uint64_t)(BPF_F_ADJ_ROOM_ENCAP_L4_GRE | BPF_F_ADJ_ROOM_ENCAP_L4_UDP))
#define F_SHRINK (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET | F_DECAP_L3)
#define F_KNOWN                                                             \
	(F_SHRINK | F_ENCAP_L3 | F_ENCAP_L4 | BPF_F_ADJ_ROOM_ENCAP_L2_ETH | \
		(uint64_t)BPF_ADJ_ROOM_ENCAP_L2_MASK << BPF_ADJ_ROOM_ENCAP_L2_SHIFT)

static bool is_ip(const struct sl_ctx *ctx)
{
	return ctx->protocol == BE_IPV4 || ctx->protocol == BE_IPV6;
}

static uint32_t ip_header_len(const struct sl_ctx *ctx)
{
	return ctx->protocol == BE_IPV4 ? IPV4_HEADER : IPV6_HEADER;
}

static uint32_t mac_header_len(const struct sl_ctx *ctx)
{
	return (uint16_t)(ctx->network_offset - ctx->mac_offset);
}

/* A header goes in between: the link-layer and network headers move to the front. */
static int push_network_header(struct sl_ctx *ctx, uint32_t keep, uint32_t len)
{
	int ret = sl_skb_insert(ctx, keep, len);

	if (ret != 0)
		return ret;
	ctx->mac_offset -= len;
	ctx->network_offset -= len;
	return 0;
}

static int pop_network_header(struct sl_ctx *ctx, uint32_t keep, uint32_t len)
{
	int ret = sl_skb_remove(ctx, keep, len);

	if (ret != 0)
		return ret;
	ctx->mac_offset += len;
	ctx->network_offset += len;
	return 0;
}

/* Room for the other IP version's header; the program writes it. */
SL_HELPER_FN(skb_change_proto)
{
	uint16_t proto = (uint16_t)r2;
	int ret;

	if (r3)
		return sl_helper_ret(-EINVAL);
	if (ctx->protocol == BE_IPV4 && proto == BE_IPV6)
		ret = push_network_header(ctx, mac_header_len(ctx), IPV6_HEADER - IPV4_HEADER);
	else if (ctx->protocol == BE_IPV6 && proto == BE_IPV4)
		ret = pop_network_header(ctx, mac_header_len(ctx), IPV6_HEADER - IPV4_HEADER);
	else
		return sl_helper_ret(-SL_ENOTSUPP);
	if (ret != 0)
		return sl_helper_ret(ret);
	ctx->protocol = proto;
	sl_skb_clear_hash(ctx);
	return 0;
}

const struct sl_helper sl_helper_skb_change_proto = {
	SL_ROW(skb_change_proto, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};

SL_HELPER_FN(skb_change_type)
{
	if (ctx->pkt_type > SL_PKT_OTHERHOST || (uint32_t)r2 > SL_PKT_OTHERHOST)
		return sl_helper_ret(-EINVAL);
	ctx->pkt_type = (uint32_t)r2;
	return 0;
}

const struct sl_helper sl_helper_skb_change_type = {
	SL_ROW(skb_change_type, TC),
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING },
};

static int check_encap(const struct sl_ctx *ctx, uint32_t len, uint64_t flags)
{
	uint32_t inner_mac_len = (uint8_t)(flags >> BPF_ADJ_ROOM_ENCAP_L2_SHIFT);

	if ((flags & F_ENCAP_L3) == F_ENCAP_L3 || (flags & F_ENCAP_L4) == F_ENCAP_L4)
		return -EINVAL;
	if (flags & BPF_F_ADJ_ROOM_ENCAP_L2_ETH && inner_mac_len < SL_ETH_HEADER)
		return -EINVAL;
	if (ctx->encapsulation)
		return -EALREADY;
	return inner_mac_len > len ? -EINVAL : 0;
}

/*
 * Of packets that are to be cut only TCP's may change in length: each piece gets the same headers.
 * UDP's pieces are datagrams of a given size, and of a test run's packet nobody says what it is.
 */
static bool may_resize(const struct sl_ctx *ctx, uint64_t flags)
{
	if (ctx->gso_size == 0 || ctx->gso_type == SL_GSO_TCP)
		return true;
	return ctx->gso_type == SL_GSO_UDP && flags & BPF_F_ADJ_ROOM_FIXED_GSO;
}

/* With headers that are `by` longer the pieces are to have the same length as before. */
static void resize_pieces(struct sl_ctx *ctx, int32_t by, uint64_t flags)
{
	if (ctx->gso_size == 0)
		return;
	ctx->gso_segs = 0;
	if (!(flags & BPF_F_ADJ_ROOM_FIXED_GSO))
		ctx->gso_size = (uint16_t)((int32_t)ctx->gso_size - by);
}

static int grow(struct sl_ctx *ctx, uint32_t keep, uint32_t len, uint64_t flags)
{
	int ret;

	if (!may_resize(ctx, flags))
		return -SL_ENOTSUPP;
	if (flags & F_ENCAP_L3) {
		ret = check_encap(ctx, len, flags);
		if (ret != 0)
			return ret;
	}
	ret = push_network_header(ctx, keep, len);
	if (ret != 0)
		return ret;
	resize_pieces(ctx, (int32_t)len, flags);
	if (!(flags & F_ENCAP_L3))
		return 0;
	ctx->encapsulation = true;
	ctx->inner_network_offset = (uint16_t)(ctx->network_offset + len);
	ctx->protocol = flags & BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 ? BE_IPV6 : BE_IPV4;
	return 0;
}

static int shrink(struct sl_ctx *ctx, uint32_t keep, uint32_t len, uint64_t flags)
{
	int ret;

	if (flags & ~F_SHRINK)
		return -EINVAL;
	if (!may_resize(ctx, flags))
		return -SL_ENOTSUPP;
	ret = pop_network_header(ctx, keep, len);
	if (ret != 0)
		return ret;
	resize_pieces(ctx, -(int32_t)len, flags);
	if (flags & F_DECAP_L3)
		ctx->protocol = flags & F_DECAP_L3_IPV6 ? BE_IPV6 : BE_IPV4;
	return 0;
}

/* Shortest packet that may remain, from the network header on. */
static int min_len_after(const struct sl_ctx *ctx, bool shrinks, uint64_t flags, uint32_t *ret_len)
{
	*ret_len = ip_header_len(ctx);
	if (!(flags & F_DECAP_L3))
		return 0;
	if (!shrinks || (flags & F_DECAP_L3) == F_DECAP_L3)
		return -EINVAL;
	*ret_len = flags & F_DECAP_L3_IPV4 ? IPV4_HEADER : IPV6_HEADER;
	return 0;
}

/* Adds or removes room behind the link-layer or the network header. */
SL_HELPER_FN(skb_adjust_room)
{
	int32_t diff = (int32_t)r2;
	uint32_t mode = (uint32_t)r3, keep, min_len, len;
	uint32_t size = diff < 0 ? 0u - (uint32_t)diff : (uint32_t)diff;
	int ret;

	if (r4 & ~F_KNOWN)
		return sl_helper_ret(-EINVAL);
	if (size > MAX_ROOM)
		return sl_helper_ret(-EFAULT);
	if (!is_ip(ctx) || (mode != BPF_ADJ_ROOM_NET && mode != BPF_ADJ_ROOM_MAC))
		return sl_helper_ret(-SL_ENOTSUPP);
	keep = mac_header_len(ctx) + (mode == BPF_ADJ_ROOM_NET ? ip_header_len(ctx) : 0);
	ret = min_len_after(ctx, diff < 0, r4, &min_len);
	if (ret != 0)
		return sl_helper_ret(ret);
	len = ctx->len - (uint32_t)sl_skb_network_offset(ctx);
	if (diff < 0 ? size >= len || len - size < min_len : ctx->len + size > SKB_MAX_LEN)
		return sl_helper_ret(-SL_ENOTSUPP);
	ret = diff < 0 ? shrink(ctx, keep, size, r4) : grow(ctx, keep, size, r4);
	if (ret == 0 && !(r4 & BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		sl_skb_reset_csum(ctx);
	return sl_helper_ret(ret);
}

const struct sl_helper sl_helper_skb_adjust_room = {
	SL_ROW(skb_adjust_room, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};

/* Where the first segment's buffer cannot hold all of the packet. */
static int change_len_in_segments(struct sl_ctx *ctx, uint32_t new_len)
{
	if (new_len > ctx->len) {
		if (!ctx->mbuf->next || !sl_segments_extend(ctx, new_len - ctx->len))
			return -ENOMEM;
		ctx->len = new_len;
	} else if (new_len < ctx->len && !sl_segments_trim(ctx, ctx->len - new_len)) {
		return -ENOMEM;
	}
	sl_segments_pull(ctx, new_len);
	return 0;
}

static int change_len(struct sl_ctx *ctx, uint32_t new_len)
{
	if (!sl_segments_pull(ctx, ctx->len) || !sl_segments_tailroom(ctx, new_len))
		return change_len_in_segments(ctx, new_len);
	if (new_len > ctx->len)
		memset(ctx->data_end, 0, new_len - ctx->len);
	ctx->data_end = ctx->data + new_len;
	ctx->len = new_len;
	return 0;
}

/* How much has to remain: up to the network header, or the checksum's field that is to be filled. */
static int32_t min_tail(const struct sl_ctx *ctx)
{
	if (ctx->ip_summed != SL_CSUM_PARTIAL)
		return sl_skb_network_offset(ctx);
	return ctx->csum_start - (int32_t)(ctx->data - ctx->head) + ctx->csum_offset +
	       (int32_t)sizeof(uint16_t);
}

/*
 * A new length; what is added at the end is zero. All of the packet ends up in one segment, if that
 * is large enough.
 */
SL_HELPER_FN(skb_change_tail)
{
	uint32_t new_len = (uint32_t)r2;
	int32_t min_len = min_tail(ctx);
	int ret;

	if (r3 || new_len > SKB_MAX_LEN || (min_len > 0 && new_len < (uint32_t)min_len))
		return sl_helper_ret(-EINVAL);
	if (ctx->encapsulation)
		return sl_helper_ret(-SL_ENOTSUPP);
	ret = change_len(ctx, new_len);
	if (ret == 0)
		ctx->gso_segs = ctx->gso_size = 0;
	return sl_helper_ret(ret);
}

const struct sl_helper sl_helper_skb_change_tail = {
	SL_ROW(skb_change_tail, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};

/* Room for a link-layer header in front; protocol and network header stay. */
SL_HELPER_FN(skb_change_head)
{
	uint32_t room = (uint32_t)r2;
	int ret;

	if (r3 || room > INT32_MAX || ctx->len + room > SKB_MAX_LEN)
		return sl_helper_ret(-EINVAL);
	ret = sl_skb_insert(ctx, 0, room);
	if (ret != 0)
		return sl_helper_ret(ret);
	ctx->mac_offset = (uint16_t)(ctx->data - ctx->head);
	return 0;
}

const struct sl_helper sl_helper_skb_change_head = {
	SL_ROW(skb_change_head, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};
