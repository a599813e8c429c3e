#include "segments.h"

#include <rte_mbuf.h>
#include <string.h>

uint32_t sl_segments_len(const struct sl_ctx *ctx)
{
	const struct rte_mbuf *mbuf = ctx->mbuf;

	if (ctx->is_skb)
		return ctx->len;
	return (uint32_t)(ctx->data_end - ctx->data) + (mbuf->pkt_len - mbuf->data_len);
}

/* The bytes at `offset` that lie together; moves on to the next segment as needed. */
struct cursor {
	uint8_t *bytes;
	uint32_t left; /* in this segment */
	const struct rte_mbuf *next;
};

static struct cursor cursor_at(const struct sl_ctx *ctx, uint32_t offset)
{
	struct cursor at = { ctx->data, (uint32_t)(ctx->data_end - ctx->data), ctx->mbuf->next };

	while (offset >= at.left && at.next) {
		offset -= at.left;
		at.bytes = (uint8_t *)at.next->buf_addr + at.next->data_off;
		at.left = at.next->data_len;
		at.next = at.next->next;
	}
	at.bytes += offset;
	at.left -= sl_min(offset, at.left);
	return at;
}

static bool in_packet(const struct sl_ctx *ctx, uint32_t offset, uint32_t len)
{
	return (uint64_t)offset + len <= sl_segments_len(ctx);
}

uint8_t *sl_segments_peek(const struct sl_ctx *ctx, uint32_t offset, uint32_t len)
{
	struct cursor at;

	if (!in_packet(ctx, offset, len))
		return NULL;
	at = cursor_at(ctx, offset);
	return len <= at.left ? at.bytes : NULL;
}

bool sl_segments_read(const struct sl_ctx *ctx, uint32_t offset, void *ret_bytes, uint32_t len)
{
	uint8_t *out = ret_bytes;

	if (!in_packet(ctx, offset, len))
		return false;
	while (len) {
		struct cursor at = cursor_at(ctx, offset);
		uint32_t part = sl_min(len, at.left);

		memcpy(out, at.bytes, part);
		out += part;
		offset += part;
		len -= part;
	}
	return true;
}

bool sl_segments_write(const struct sl_ctx *ctx, uint32_t offset, const void *bytes, uint32_t len)
{
	const uint8_t *in = bytes;

	if (!in_packet(ctx, offset, len))
		return false;
	while (len) {
		struct cursor at = cursor_at(ctx, offset);
		uint32_t part = sl_min(len, at.left);

		memcpy(at.bytes, in, part);
		in += part;
		offset += part;
		len -= part;
	}
	return true;
}

/* By moving the bytes down in their buffer where there is no room behind them. */
bool sl_segments_tailroom(struct sl_ctx *ctx, uint32_t len)
{
	uint32_t meta_len = (uint32_t)(ctx->data - ctx->data_meta);
	uint32_t have = (uint32_t)(ctx->data_end - ctx->data);
	uint8_t *buf = ctx->mbuf->buf_addr;
	ptrdiff_t shift;

	if (ctx->data + len <= ctx->tail)
		return true;
	shift = ctx->data_meta - buf;
	if (shift <= 0 || ctx->data - shift + len > ctx->tail)
		return false;
	memmove(buf, ctx->data_meta, meta_len + have);
	ctx->data_meta -= shift;
	ctx->data -= shift;
	ctx->data_end -= shift;
	ctx->mac_offset -= shift;
	ctx->csum_start -= shift;
	ctx->inner_network_offset -= shift;
	ctx->network_offset -= shift;
	return true;
}

/* Takes the emptied segment behind `before` out of the chain and gives it back to its pool. */
static void drop_after(struct rte_mbuf *mbuf, struct rte_mbuf *before)
{
	struct rte_mbuf *empty = before->next;

	before->next = empty->next;
	mbuf->nb_segs--;
	empty->next = NULL;
	if (empty->pool)
		rte_pktmbuf_free_seg(empty);
}

bool sl_segments_pull(struct sl_ctx *ctx, uint32_t len)
{
	uint32_t have = (uint32_t)(ctx->data_end - ctx->data);
	struct rte_mbuf *mbuf = ctx->mbuf, *segment;

	if (len <= have)
		return true;
	if (len > sl_segments_len(ctx) || !sl_segments_tailroom(ctx, len))
		return false;
	while (len > have) {
		uint32_t part;

		segment = mbuf->next;
		part = sl_min(len - have, (uint32_t)segment->data_len);
		memcpy(ctx->data_end, (uint8_t *)segment->buf_addr + segment->data_off, part);
		segment->data_off += part;
		segment->data_len -= part;
		ctx->data_end += part;
		mbuf->pkt_len -= part;
		have += part;
		if (segment->data_len == 0)
			drop_after(mbuf, mbuf);
	}
	return true;
}

bool sl_segments_trim(struct sl_ctx *ctx, uint32_t cut)
{
	struct rte_mbuf *mbuf = ctx->mbuf, *before, *last;
	uint32_t part;

	if (cut >= sl_segments_len(ctx))
		return false;
	while (cut && mbuf->next) {
		for (before = mbuf; before->next->next; before = before->next)
			;
		last = before->next;
		part = sl_min(cut, (uint32_t)last->data_len);
		last->data_len -= part;
		mbuf->pkt_len -= part;
		cut -= part;
		if (last->data_len == 0)
			drop_after(mbuf, before);
	}
	ctx->data_end -= cut;
	if (ctx->is_skb)
		ctx->len = (uint32_t)(ctx->data_end - ctx->data) + mbuf->pkt_len - mbuf->data_len;
	return true;
}

bool sl_segments_extend(struct sl_ctx *ctx, uint32_t by)
{
	struct rte_mbuf *last = ctx->mbuf->next;
	uint8_t *end;

	while (last->next)
		last = last->next;
	end = (uint8_t *)last->buf_addr + last->data_off + last->data_len;
	/* A segment's length has 16 bits. */
	if (by > (uint32_t)last->buf_len - last->data_off - last->data_len)
		return false;
	if (!RTE_MBUF_DIRECT(last) || rte_mbuf_refcnt_read(last) != 1)
		return by == 0;
	memset(end, 0, by);
	last->data_len += by;
	ctx->mbuf->pkt_len += by;
	return true;
}
