#pragma once

#include "context.h"

/*
 * Room in front of and inside a packet, for helpers that add and remove headers. Metadata of XDP
 * does not survive them.
 */

/*
 * Moves the first `keep` bytes `len` bytes towards the head and clears the gap behind them. Header
 * offsets other than these bytes' own stay where they were. -ENOMEM when the mbuf has no room.
 */
SL_WORKER int sl_skb_insert(struct sl_ctx *ctx, uint32_t keep, uint32_t len);

/* Takes `len` bytes out behind the first `keep`. -ENOMEM when the packet has fewer. */
SL_WORKER int sl_skb_remove(struct sl_ctx *ctx, uint32_t keep, uint32_t len);

/* Offsets of the headers from data, bytes. */
static inline int32_t sl_skb_mac_offset(const struct sl_ctx *ctx)
{
	return ctx->mac_offset - (int32_t)(ctx->data - ctx->head);
}

static inline int32_t sl_skb_network_offset(const struct sl_ctx *ctx)
{
	return ctx->network_offset - (int32_t)(ctx->data - ctx->head);
}

static inline void sl_skb_clear_hash(struct sl_ctx *ctx)
{
	ctx->hash = 0;
	ctx->hash_state = SL_HASH_NONE;
}

/* Where no good checksum is known of any longer. */
static inline void sl_skb_reset_csum(struct sl_ctx *ctx)
{
	if (ctx->ip_summed != SL_CSUM_UNNECESSARY)
		return;
	ctx->ip_summed = SL_CSUM_NONE;
	ctx->csum_level = 0;
}
