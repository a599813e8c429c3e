#include <errno.h>
#include <string.h>

#include "row.h"
#include "segments.h"

const struct sl_helper sl_helper_skb_load_bytes = {
	SL_ROW(skb_load_bytes, SKB),
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_MEM_UNINIT, SL_ARG_SIZE },
};

const struct sl_helper sl_helper_skb_store_bytes = {
	SL_ROW(skb_store_bytes, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_ANYTHING },
};

const struct sl_helper sl_helper_xdp_load_bytes = {
	SL_ROW(xdp_load_bytes, XDP),
	.flags = SL_HELPER_LEAVES_MEMORY,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_MEM_UNINIT, SL_ARG_SIZE },
};

const struct sl_helper sl_helper_xdp_store_bytes = {
	SL_ROW(xdp_store_bytes, XDP),
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_MEM, SL_ARG_SIZE },
};

/* From a header that may lie before the data; only what the first segment holds. */
SL_HELPER_FN(skb_load_bytes_relative)
{
	uint32_t offset = (uint32_t)r2, len = (uint32_t)r4;
	void *to = (void *)r3;
	const uint8_t *from;

	if (offset > UINT16_MAX)
		goto fault;
	switch ((uint32_t)r5) {
	case BPF_HDR_START_MAC:
		from = ctx->head + ctx->mac_offset + offset;
		break;
	case BPF_HDR_START_NET:
		from = ctx->head + ctx->network_offset + offset;
		break;
	default:
		goto fault;
	}
	if (from > ctx->data_end || len > (uint64_t)(ctx->data_end - from))
		goto fault;
	memcpy(to, from, len);
	return 0;
fault:
	memset(to, 0, len);
	return sl_helper_ret(-EFAULT);
}

const struct sl_helper sl_helper_skb_load_bytes_relative = {
	SL_ROW(skb_load_bytes_relative, SKB),
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_MEM_UNINIT, SL_ARG_SIZE, SL_ARG_ANYTHING },
};

SL_HELPER_FN(skb_pull_data)
{
	return sl_helper_ret(sl_segments_pull(ctx, (uint32_t)r2) ? 0 : -ENOMEM);
}

const struct sl_helper sl_helper_skb_pull_data = {
	SL_ROW(skb_pull_data, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING },
};
