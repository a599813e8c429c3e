#include <errno.h>
#include <rte_mbuf_core.h>
#include <string.h>

#include "row.h"
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

/* As the kernel where a driver does not say how large its fragments are: they only shrink. */
static int adjust_last_segment(struct sl_ctx *ctx, int64_t offset)
{
	if (offset >= 0)
		return -EOPNOTSUPP;
	if (-offset > (int64_t)sl_segments_len(ctx) - ETH_HEADER)
		return -EINVAL;
	sl_segments_trim(ctx, (uint32_t)-offset);
	return 0;
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
