#include <errno.h>
#include <rte_mbuf_core.h>
#include <string.h>

#include "kfunc_row.h"
#include "segments.h"

#define ETH_HEADER 14

const struct sl_helper sl_helper_xdp_adjust_head = {
	SL_ROW(xdp_adjust_head, XDP),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING },
};

const struct sl_helper sl_helper_xdp_adjust_meta = {
	SL_ROW(xdp_adjust_meta, XDP),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING },
};

static int shrink(struct sl_ctx *ctx, int64_t by)
{
	if (by > (int64_t)sl_segments_len(ctx) - ETH_HEADER)
		return -EINVAL;
	sl_segments_trim(ctx, (uint32_t)by);
	return 0;
}

/* At the end of the packet: as far as the last segment's own buffer goes. */
static int adjust_last_segment(struct sl_ctx *ctx, int64_t offset)
{
	if (offset < 0)
		return shrink(ctx, -offset);
	return sl_segments_extend(ctx, (uint32_t)offset) ? 0 : -EINVAL;
}

SL_HELPER_FN(xdp_adjust_tail)
{
	int64_t offset = (int32_t)r2;
	uint8_t *end = ctx->data_end + offset;

	if (ctx->mbuf->nb_segs > 1)
		return sl_helper_ret(adjust_last_segment(ctx, offset));
	if (end > ctx->tail || end < ctx->data + ETH_HEADER)
		return sl_helper_ret(-EINVAL);
	if (offset > 0)
		memset(ctx->data_end, 0, offset);
	ctx->data_end = end;
	return 0;
}

const struct sl_helper sl_helper_xdp_adjust_tail = {
	SL_ROW(xdp_adjust_tail, XDP),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING },
};

/* Of all segments. */
SL_HELPER_FN(xdp_get_buff_len)
{
	const struct rte_mbuf *mbuf = ctx->mbuf;

	return (uint64_t)(ctx->data_end - ctx->data) + (mbuf->pkt_len - mbuf->data_len);
}

const struct sl_helper sl_helper_xdp_get_buff_len = {
	SL_ROW(xdp_get_buff_len, XDP),
	.args = { SL_ARG_CTX },
};

/*
 * Moves bytes from the other segments into the first; where there is no room behind it, the packet
 * with its metadata moves down by what is missing.
 */
SL_HELPER_FN(xdp_pull_data)
{
	uint32_t len = (uint32_t)r2, have = (uint32_t)(ctx->data_end - ctx->data);
	int64_t headroom = ctx->data_meta - ctx->head, tailroom = ctx->tail - ctx->data_end, shift;

	if (len <= have)
		return 0;
	if (len > sl_segments_len(ctx) || len - have > headroom + tailroom)
		return (uint32_t)-EINVAL;
	shift = (int64_t)(len - have) - tailroom;
	if (shift > 0) {
		memmove(ctx->data_meta - shift, ctx->data_meta, ctx->data_end - ctx->data_meta);
		ctx->data_meta -= shift;
		ctx->data -= shift;
		ctx->data_end -= shift;
	}
	sl_segments_pull(ctx, len);
	return 0;
}

const struct sl_kfunc sl_kfunc_xdp_pull_data = {
	.call = { SL_KFUNC_ROW(xdp_pull_data, XDP), .flags = SL_HELPER_CHANGES_PACKET,
		.args = { SL_ARG_CTX, SL_ARG_SCALAR } },
};
