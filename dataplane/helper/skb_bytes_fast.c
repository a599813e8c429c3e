#include <errno.h>
#include <string.h>

#include "row.h"
#include "segments.h"

/*
 * Copies between the packet and a program's memory. What lies in the first segment is copied here,
 * inlined with the program's constant length; the rest is segments.c's.
 */
static inline uint8_t *linear(const struct sl_ctx *ctx, uint32_t offset, uint32_t len)
{
	uint64_t have = (uint64_t)(ctx->data_end - ctx->data);

	return (uint64_t)offset + len <= have ? ctx->data + offset : NULL;
}

SL_FAST
SL_HELPER_FN(skb_load_bytes)
{
	uint32_t offset = (uint32_t)r2, len = (uint32_t)r4;
	const uint8_t *from = linear(ctx, offset, len);
	void *to = (void *)r3;

	if (sl_likely(from)) {
		memcpy(to, from, len);
		return 0;
	}
	if (offset <= INT32_MAX && sl_segments_read(ctx, offset, to, len))
		return 0;
	memset(to, 0, len);
	return sl_helper_ret(-EFAULT);
}

#define STORE_FLAGS ((uint64_t)(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH))

/* No packet carries a checksum over all of it (SL_CSUM_COMPLETE), so there is none to recompute. */
SL_FAST
SL_HELPER_FN(skb_store_bytes)
{
	uint32_t offset = (uint32_t)r2, len = (uint32_t)r4;
	uint8_t *to = linear(ctx, offset, len);
	const void *from = (const void *)r3;

	if (sl_unlikely(r5 & ~STORE_FLAGS))
		return sl_helper_ret(-EINVAL);
	if (sl_likely(to))
		memcpy(to, from, len);
	else if (offset > INT32_MAX || !sl_segments_write(ctx, offset, from, len))
		return sl_helper_ret(-EFAULT);
	if (r5 & BPF_F_INVALIDATE_HASH) {
		ctx->hash = 0;
		ctx->hash_state = SL_HASH_NONE;
	}
	return 0;
}

static inline int xdp_range(const struct sl_ctx *ctx, uint32_t offset, uint32_t len)
{
	if (offset > UINT16_MAX || len > UINT16_MAX)
		return -EFAULT;
	return offset + len > sl_segments_len(ctx) ? -EINVAL : 0;
}

SL_FAST
SL_HELPER_FN(xdp_load_bytes)
{
	uint32_t offset = (uint32_t)r2, len = (uint32_t)r4;
	const uint8_t *from = linear(ctx, offset, len);
	int ret;

	if (sl_likely(from && offset <= UINT16_MAX)) {
		memcpy((void *)r3, from, len);
		return 0;
	}
	ret = xdp_range(ctx, offset, len);
	if (ret == 0)
		sl_segments_read(ctx, offset, (void *)r3, len);
	return sl_helper_ret(ret);
}

SL_FAST
SL_HELPER_FN(xdp_store_bytes)
{
	uint32_t offset = (uint32_t)r2, len = (uint32_t)r4;
	uint8_t *to = linear(ctx, offset, len);
	int ret;

	if (sl_likely(to && offset <= UINT16_MAX)) {
		memcpy(to, (const void *)r3, len);
		return 0;
	}
	ret = xdp_range(ctx, offset, len);
	if (ret == 0)
		sl_segments_write(ctx, offset, (const void *)r3, len);
	return sl_helper_ret(ret);
}
