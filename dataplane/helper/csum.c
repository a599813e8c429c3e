#include "csum.h"

#include <errno.h>

#include "row.h"
#include "segments.h"

/* Since Linux 6.16: the pseudo header is IPv6's, whose changes cancel out in a complete sum. */
#define F_IPV6 0x80
#define L4_FLAGS                                                                            \
	((uint64_t)(BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE | BPF_F_PSEUDO_HDR | F_IPV6 | \
		    BPF_F_HDR_FIELD_MASK))
#define MANGLED_0 0xffff /* what stands for a UDP checksum of 0 */
#define MAX_CSUM_LEVEL 3

enum { LEVEL_QUERY, LEVEL_INC, LEVEL_DEC, LEVEL_RESET };

const struct sl_helper sl_helper_csum_diff = {
	SL_ROW(csum_diff, TC_XDP),
	.flags = SL_HELPER_PACKET_ARGS,
	.args = { SL_ARG_MEM_OR_NULL, SL_ARG_SIZE_OR_ZERO, SL_ARG_MEM_OR_NULL, SL_ARG_SIZE_OR_ZERO,
		SL_ARG_ANYTHING },
};

/* `diff` takes the place of `from` and `to` when the field's size is 0. */
static uint16_t replace_by_diff(uint16_t csum, uint32_t diff)
{
	return (uint16_t)~sl_csum_fold(sl_csum_add(diff, ~(uint32_t)csum));
}

static uint16_t replace_4(uint16_t csum, uint32_t from, uint32_t to)
{
	return (uint16_t)~sl_csum_fold(sl_csum_add(sl_csum_sub(~(uint32_t)csum, from), to));
}

static uint16_t add_16(uint16_t a, uint16_t b)
{
	uint16_t sum = (uint16_t)(a + b);

	return (uint16_t)(sum + (sum < b));
}

static uint16_t replace_2(uint16_t csum, uint16_t from, uint16_t to)
{
	return (uint16_t)~add_16(add_16((uint16_t)~csum, (uint16_t)~from), to);
}

/* Reads the checksum at `offset`. -EFAULT when there is none. */
static int read_csum(const struct sl_ctx *ctx, uint32_t offset, uint16_t *ret_csum)
{
	if (offset > UINT16_MAX || offset & 1)
		return -EFAULT;
	return sl_segments_read(ctx, offset, ret_csum, sizeof(*ret_csum)) ? 0 : -EFAULT;
}

SL_HELPER_FN(l3_csum_replace)
{
	uint32_t offset = (uint32_t)r2;
	uint16_t csum;
	int ret;

	if (r5 & ~(uint64_t)BPF_F_HDR_FIELD_MASK)
		return sl_helper_ret(-EINVAL);
	ret = read_csum(ctx, offset, &csum);
	if (ret != 0)
		return sl_helper_ret(ret);
	switch (r5) {
	case 0:
		if (r3 != 0)
			return sl_helper_ret(-EINVAL);
		csum = replace_by_diff(csum, (uint32_t)r4);
		break;
	case 2:
		csum = replace_2(csum, (uint16_t)r3, (uint16_t)r4);
		break;
	case 4:
		csum = replace_4(csum, (uint32_t)r3, (uint32_t)r4);
		break;
	default:
		return sl_helper_ret(-EINVAL);
	}
	sl_segments_write(ctx, offset, &csum, sizeof(csum));
	return 0;
}

const struct sl_helper sl_helper_l3_csum_replace = {
	SL_ROW(l3_csum_replace, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_ANYTHING, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};

/*
 * With SL_CSUM_PARTIAL the field holds the sum of the pseudo header only, not complemented, and
 * nothing else concerns it.
 */
static uint16_t replace_l4(const struct sl_ctx *ctx, uint16_t csum, uint32_t from, uint32_t to,
	unsigned size, bool pseudo)
{
	if (ctx->ip_summed != SL_CSUM_PARTIAL)
		return size == 0 ? replace_by_diff(csum, to) : replace_4(csum, from, to);
	if (!pseudo)
		return csum;
	if (size == 0)
		return sl_csum_fold(sl_csum_add(to, csum));
	return sl_csum_fold(sl_csum_add(sl_csum_sub(csum, from), to));
}

SL_HELPER_FN(l4_csum_replace)
{
	uint32_t offset = (uint32_t)r2;
	unsigned size = r5 & BPF_F_HDR_FIELD_MASK;
	uint32_t mask = size == 2 ? UINT16_MAX : UINT32_MAX;
	uint16_t csum;
	int ret;

	if (r5 & ~L4_FLAGS)
		return sl_helper_ret(-EINVAL);
	ret = read_csum(ctx, offset, &csum);
	if (ret != 0)
		return sl_helper_ret(ret);
	/* UDP without a checksum stays without. */
	if (r5 & BPF_F_MARK_MANGLED_0 && !(r5 & BPF_F_MARK_ENFORCE) && csum == 0)
		return 0;
	if ((size != 0 && size != 2 && size != 4) || (size == 0 && r3 != 0))
		return sl_helper_ret(-EINVAL);
	csum = replace_l4(ctx, csum, r3 & mask, r4 & mask, size, r5 & BPF_F_PSEUDO_HDR);
	if (r5 & BPF_F_MARK_MANGLED_0 && csum == 0)
		csum = MANGLED_0;
	sl_segments_write(ctx, offset, &csum, sizeof(csum));
	return 0;
}

const struct sl_helper sl_helper_l4_csum_replace = {
	SL_ROW(l4_csum_replace, TC),
	.flags = SL_HELPER_CHANGES_PACKET,
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING, SL_ARG_ANYTHING, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};

/* Only for packets with a checksum over all of them, which no port of ours delivers. */
SL_HELPER_FN(csum_update)
{
	return sl_helper_ret(-SL_ENOTSUPP);
}

const struct sl_helper sl_helper_csum_update = {
	SL_ROW(csum_update, TC),
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING },
};

/* How many nested headers' checksums are known to be good. */
SL_HELPER_FN(csum_level)
{
	bool good = ctx->ip_summed == SL_CSUM_UNNECESSARY;

	switch (r2) {
	case LEVEL_QUERY:
		return good ? ctx->csum_level : sl_helper_ret(-EACCES);
	case LEVEL_INC:
		if (good && ctx->csum_level < MAX_CSUM_LEVEL)
			ctx->csum_level++;
		else if (ctx->ip_summed == SL_CSUM_NONE)
			ctx->ip_summed = SL_CSUM_UNNECESSARY, ctx->csum_level = 0;
		return 0;
	case LEVEL_DEC:
		if (good && ctx->csum_level == 0)
			ctx->ip_summed = SL_CSUM_NONE;
		else if (good)
			ctx->csum_level--;
		return 0;
	case LEVEL_RESET:
		if (good)
			ctx->ip_summed = SL_CSUM_NONE, ctx->csum_level = 0;
		return 0;
	default:
		return sl_helper_ret(-EINVAL);
	}
}

const struct sl_helper sl_helper_csum_level = {
	SL_ROW(csum_level, TC),
	.args = { SL_ARG_CTX, SL_ARG_ANYTHING },
};
