#include "context.h"

#include <rte_byteorder.h>
#include <rte_mbuf.h>

/*
 * LD_ABS and LD_IND: `size` bytes at `offset` from the beginning of the packet, in host byte order.
 * Negative offsets are relative to a header and reach only what the first segment holds, as in
 * Linux.
 */
#define NET_OFFSET -0x100000
#define LL_OFFSET -0x200000

static inline uint64_t host_order(const uint8_t *at, uint64_t size)
{
	uint16_t half;
	uint32_t word;

	switch (size) {
	case 1:
		return *at;
	case 2:
		__builtin_memcpy(&half, at, sizeof(half));
		return rte_be_to_cpu_16(half);
	default:
		__builtin_memcpy(&word, at, sizeof(word));
		return rte_be_to_cpu_32(word);
	}
}

static const uint8_t *relative_to_header(const struct sl_ctx *ctx, int64_t offset, uint64_t size)
{
	const uint8_t *at;

	if (offset >= NET_OFFSET)
		at = ctx->head + ctx->network_offset + (offset - NET_OFFSET);
	else if (offset >= LL_OFFSET)
		at = ctx->head + ctx->mac_offset + (offset - LL_OFFSET);
	else
		return NULL;
	return at >= ctx->head && at + size <= ctx->data_end ? at : NULL;
}

/* A byte of a packet of several segments; NULL past its end. */
static const uint8_t *byte_at(const struct sl_ctx *ctx, uint64_t offset)
{
	uint64_t len = ctx->data_end - ctx->data;

	if (offset < len)
		return ctx->data + offset;
	for (struct rte_mbuf *seg = ctx->mbuf->next; seg; seg = seg->next) {
		offset -= len;
		len = seg->data_len;
		if (offset < len)
			return rte_pktmbuf_mtod_offset(seg, const uint8_t *, offset);
	}
	return NULL;
}

static __attribute__((noinline)) int load_slowly(
	const struct sl_ctx *ctx, int64_t offset, uint64_t size, uint64_t *ret_value)
{
	uint8_t bytes[4];
	const uint8_t *at;

	if (offset < 0) {
		at = relative_to_header(ctx, offset, size);
		if (!at)
			return -1;
		*ret_value = host_order(at, size);
		return 0;
	}
	for (uint64_t i = 0; i < size; i++) {
		at = byte_at(ctx, offset + i);
		if (!at)
			return -1;
		bytes[i] = *at;
	}
	*ret_value = host_order(bytes, size);
	return 0;
}

/* 0 and the value, or -1 when the packet has no such bytes. */
SL_FAST
int sl_packet_load(const struct sl_ctx *ctx, int64_t offset, uint64_t size, uint64_t *ret_value)
{
	if (sl_unlikely(offset < 0 || ctx->data + offset + size > ctx->data_end))
		return load_slowly(ctx, offset, size, ret_value);
	*ret_value = host_order(ctx->data + offset, size);
	return 0;
}
