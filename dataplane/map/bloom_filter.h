#pragma once

#include "map.h"

struct sl_ctx;

/* BLOOM_FILTER as compiled code sees it. */
struct sl_bloom_filter_desc {
	struct sl_map_desc map; /* map.data: the bits, in words */
	uint64_t seed[3]; /* the last one odd */
	uint32_t mask; /* bits - 1, of a power of two from 64 to 2^32 */
	uint32_t hash_count; /* bits per value, 1 to 15 */
};

/* bpf_map_push_elem: 0, -EINVAL. */
SL_ANY long sl_bloom_filter_push(const struct sl_map_desc *desc, const struct sl_ctx *ctx,
	const void *value, uint64_t flags);
/* bpf_map_peek_elem: 0 when the value may have been pushed, -ENOENT when it was not. */
SL_ANY long sl_bloom_filter_peek(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, void *value);
