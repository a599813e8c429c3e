#pragma once

#include <rte_mbuf_core.h>

#include "context.h"

/*
 * How an mbuf becomes a context and back. Used natively by the ports and, in bitcode, by the burst
 * template; so nothing here calls a function of DPDK.
 *
 * DPDK compiles 128 bytes of headroom in, XDP promises 256: the mbufs of our pools have a private
 * area right before their buffer, and it serves as headroom too. A packet that begins in there is
 * moved up when its program has ended, because an mbuf cannot say so.
 */
#define SL_HEADROOM_SPARE 128

/* Points the context at the first segment of `m`; sets only the packet fields of line 0. */
static inline void sl_packet_begin(struct sl_ctx *ctx, struct rte_mbuf *m)
{
	uint8_t *base = (uint8_t *)m->buf_addr;
	bool own = !(m->ol_flags & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL));

	ctx->mbuf = m;
	ctx->data = base + m->data_off;
	ctx->data_meta = ctx->data;
	ctx->data_end = ctx->data + m->data_len;
	ctx->head = base - (own ? SL_HEADROOM_SPARE : 0);
	ctx->tail = base + m->buf_len;
}

/*
 * Writes moved packet bounds back to the mbuf. Needed only after a program that calls helpers with
 * SL_HELPER_CHANGES_PACKET. False when the mbuf cannot hold the result: the packet is to be aborted.
 */
static inline bool sl_packet_end(struct sl_ctx *ctx)
{
	struct rte_mbuf *m = ctx->mbuf;
	uint8_t *base = (uint8_t *)m->buf_addr;
	uint32_t len = (uint32_t)(ctx->data_end - ctx->data);

	if (sl_unlikely(ctx->data < base)) {
		uint32_t meta_len = (uint32_t)(ctx->data - ctx->data_meta);

		if (base + meta_len + len > ctx->tail)
			return false;
		__builtin_memmove(base, ctx->data_meta, meta_len + len);
		ctx->data_meta = base;
		ctx->data = base + meta_len;
		ctx->data_end = ctx->data + len;
	}
	m->pkt_len += len - m->data_len;
	m->data_len = (uint16_t)len;
	m->data_off = (uint16_t)(ctx->data - base);
	return true;
}
