#pragma once

#include "context.h"

/*
 * Bytes of the packet by offset from `data`, over all segments. The first segment is what the
 * context says, the others are the mbuf's.
 */

/* Bytes in all segments. */
SL_ANY uint32_t sl_segments_len(const struct sl_ctx *ctx);

/* Copies out or in; false, with nothing done, when the range is not all in the packet. */
SL_ANY bool sl_segments_read(
	const struct sl_ctx *ctx, uint32_t offset, void *ret_bytes, uint32_t len);
SL_ANY bool sl_segments_write(
	const struct sl_ctx *ctx, uint32_t offset, const void *bytes, uint32_t len);

/* The range where it lies in one segment, else NULL. The packet's, until that moves. */
SL_ANY uint8_t *sl_segments_peek(const struct sl_ctx *ctx, uint32_t offset, uint32_t len);

/*
 * Makes the first `len` bytes lie in the first segment; 0: as they are. False when the packet is
 * shorter or the segment's buffer too small, with nothing changed.
 */
SL_ANY bool sl_segments_pull(struct sl_ctx *ctx, uint32_t len);

/* Makes room for a packet of `len` bytes in the first segment, which holds all of it so far. */
SL_ANY bool sl_segments_tailroom(struct sl_ctx *ctx, uint32_t len);

/* Cuts `cut` bytes off the packet's end, from the last segment on; false when none would remain. */
SL_ANY bool sl_segments_trim(struct sl_ctx *ctx, uint32_t cut);

/*
 * Adds zeroes to the last of several segments; false when its buffer has no room for them or is
 * somebody else's as well.
 */
SL_ANY bool sl_segments_extend(struct sl_ctx *ctx, uint32_t by);
