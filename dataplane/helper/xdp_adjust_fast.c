#include <errno.h>
#include <string.h>

#include "row.h"

#define ETH_HEADER 14
#define META_ALIGN 4
#define META_MAX 255 /* what an skb can take over */

/* Metadata lies before the packet and moves with its start. */
SL_FAST
SL_HELPER_FN(xdp_adjust_head)
{
	int64_t offset = (int32_t)r2;
	int64_t meta_len = ctx->data - ctx->data_meta;
	int64_t room = ctx->data - ctx->head;
	int64_t len = ctx->data_end - ctx->data;

	if (room + offset < meta_len || offset > len - ETH_HEADER)
		return sl_helper_ret(-EINVAL);
	if (meta_len)
		memmove(ctx->data_meta + offset, ctx->data_meta, meta_len);
	ctx->data_meta += offset;
	ctx->data += offset;
	return 0;
}

SL_FAST
SL_HELPER_FN(xdp_adjust_meta)
{
	int64_t offset = (int32_t)r2;
	int64_t meta_len = ctx->data - ctx->data_meta - offset;

	if (meta_len > ctx->data - ctx->head || meta_len < 0)
		return sl_helper_ret(-EINVAL);
	if (meta_len % META_ALIGN != 0 || meta_len > META_MAX)
		return sl_helper_ret(-EACCES);
	ctx->data_meta += offset;
	return 0;
}
