#include "skb_room.h"

#include <errno.h>
#include <rte_mbuf_core.h>
#include <string.h>

#include "segments.h"

/* Moves the whole first segment up in its buffer until `len` bytes are free in front of it. */
static bool make_headroom(struct sl_ctx *ctx, uint32_t len)
{
	ptrdiff_t room = ctx->data - ctx->head, shift = (ptrdiff_t)len - room;

	if (shift <= 0)
		return true;
	if (shift > ctx->tail - ctx->data_end)
		return false;
	memmove(ctx->data + shift, ctx->data, ctx->data_end - ctx->data);
	ctx->data += shift;
	ctx->data_end += shift;
	ctx->mac_offset += shift;
	ctx->network_offset += shift;
	ctx->csum_start += shift;
	ctx->inner_network_offset += shift;
	return true;
}

int sl_skb_insert(struct sl_ctx *ctx, uint32_t keep, uint32_t len)
{
	/* A header that the packet has lost since may reach past its end; never past the buffer's. */
	if (!sl_segments_pull(ctx, sl_min(keep, ctx->len)) || !make_headroom(ctx, len))
		return -ENOMEM;
	if (ctx->data + keep > ctx->tail)
		return -ENOMEM;
	ctx->data -= len;
	ctx->data_meta = ctx->data;
	ctx->len += len;
	memmove(ctx->data, ctx->data + len, keep);
	memset(ctx->data + keep, 0, len);
	return 0;
}

int sl_skb_remove(struct sl_ctx *ctx, uint32_t keep, uint32_t len)
{
	if (!sl_segments_pull(ctx, keep + len))
		return -ENOMEM;
	memmove(ctx->data + len, ctx->data, keep);
	ctx->data += len;
	ctx->data_meta = ctx->data;
	ctx->len -= len;
	/* Nobody can complete what begins before the packet. */
	if (ctx->ip_summed == SL_CSUM_PARTIAL && ctx->csum_start < ctx->data - ctx->head)
		ctx->ip_summed = SL_CSUM_NONE;
	return 0;
}
