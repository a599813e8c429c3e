#include "dynptr.h"

#include <errno.h>
#include <string.h>

#include "kfunc_row.h"
#include "row.h"
#include "segments.h"

/*
 * Dynptrs: memory whose bounds are checked when the program runs. Offsets and lengths are 32 bits.
 * Helpers give 64 bits back, kernel functions 32.
 */

SL_FAST
SL_HELPER_FN(dynptr_from_mem)
{
	struct sl_dynptr *dynptr = (struct sl_dynptr *)r4;
	uint32_t size = (uint32_t)r2;

	sl_dynptr_set_null(dynptr);
	if (size > SL_DYNPTR_MAX_SIZE)
		return sl_helper_ret(-E2BIG);
	if (r3)
		return sl_helper_ret(-EINVAL);
	sl_dynptr_init(dynptr, (void *)r1, SL_DYNPTR_LOCAL, 0, size);
	return 0;
}

/*
 * The packet of a dynptr is the one that the program runs on: wherever its bytes are by then, for
 * what moves them ends the slices but not the dynptr. So data only says that there is something.
 */
#define THE_PACKET ((void *)1)

static uint64_t from_packet(
	struct sl_ctx *ctx, struct sl_dynptr *dynptr, enum sl_dynptr_type type, uint64_t flags)
{
	sl_dynptr_set_null(dynptr);
	if (flags)
		return (uint32_t)-EINVAL;
	sl_dynptr_init(dynptr, THE_PACKET, type, 0, sl_segments_len(ctx));
	return 0;
}

SL_FAST
SL_HELPER_FN(dynptr_from_skb)
{
	return from_packet(ctx, (struct sl_dynptr *)r3, SL_DYNPTR_SKB, r2);
}

SL_FAST
SL_HELPER_FN(dynptr_from_skb_rdonly)
{
	struct sl_dynptr *dynptr = (struct sl_dynptr *)r3;
	uint64_t ret = from_packet(ctx, dynptr, SL_DYNPTR_SKB, r2);

	if (!ret)
		dynptr->size |= SL_DYNPTR_RDONLY;
	return ret;
}

SL_FAST
SL_HELPER_FN(dynptr_from_xdp)
{
	return from_packet(ctx, (struct sl_dynptr *)r3, SL_DYNPTR_XDP, r2);
}

SL_FAST
SL_HELPER_FN(dynptr_from_skb_meta)
{
	struct sl_dynptr *dynptr = (struct sl_dynptr *)r3;

	sl_dynptr_set_null(dynptr);
	if (r2)
		return (uint32_t)-EINVAL;
	sl_dynptr_init(
		dynptr, THE_PACKET, SL_DYNPTR_SKB_META, 0, (uint32_t)(ctx->data - ctx->data_meta));
	return 0;
}

/* NULL for what is no metadata any longer: helpers that add and remove headers drop it. */
static inline uint8_t *metadata(struct sl_ctx *ctx, uint32_t at, uint32_t len)
{
	if (sl_unlikely((uint64_t)at + len > (uint64_t)(ctx->data - ctx->data_meta)))
		return NULL;
	return ctx->data_meta + at;
}

static inline int read_metadata(struct sl_ctx *ctx, void *to, uint32_t at, uint32_t len)
{
	const uint8_t *from = metadata(ctx, at, len);

	if (!from)
		return -EFAULT;
	memmove(to, from, len);
	return 0;
}

static inline int write_metadata(struct sl_ctx *ctx, uint32_t at, const void *from, uint32_t len)
{
	uint8_t *to = metadata(ctx, at, len);

	if (!to)
		return -EFAULT;
	memmove(to, from, len);
	return 0;
}

static inline int read_bytes(struct sl_ctx *ctx, void *to, uint32_t len,
	const struct sl_dynptr *from, uint32_t offset, uint64_t flags)
{
	uint32_t at = from->offset + offset;

	if (!from->data || flags)
		return -EINVAL;
	if (!sl_dynptr_has(from, offset, len))
		return -E2BIG;
	switch (sl_dynptr_type(from)) {
	case SL_DYNPTR_LOCAL:
	case SL_DYNPTR_RINGBUF:
		memmove(to, (const uint8_t *)from->data + at, len);
		return 0;
	case SL_DYNPTR_SKB:
		return (int)sl_bpf_skb_load_bytes(ctx, 0, at, (uint64_t)to, len, 0);
	case SL_DYNPTR_XDP:
		return (int)sl_bpf_xdp_load_bytes(ctx, 0, at, (uint64_t)to, len, 0);
	case SL_DYNPTR_SKB_META:
		return read_metadata(ctx, to, at, len);
	default:
		return -EFAULT;
	}
}

static inline int write_bytes(struct sl_ctx *ctx, const struct sl_dynptr *to, uint32_t offset,
	const void *from, uint32_t len, uint64_t flags)
{
	uint32_t at = to->offset + offset;

	if (!to->data || (to->size & SL_DYNPTR_RDONLY))
		return -EINVAL;
	if (!sl_dynptr_has(to, offset, len))
		return -E2BIG;
	switch (sl_dynptr_type(to)) {
	case SL_DYNPTR_LOCAL:
	case SL_DYNPTR_RINGBUF:
		if (flags)
			return -EINVAL;
		memmove((uint8_t *)to->data + at, from, len);
		return 0;
	case SL_DYNPTR_SKB:
		return (int)sl_bpf_skb_store_bytes(ctx, 0, at, (uint64_t)from, len, flags);
	case SL_DYNPTR_XDP:
		if (flags)
			return -EINVAL;
		return (int)sl_bpf_xdp_store_bytes(ctx, 0, at, (uint64_t)from, len, 0);
	case SL_DYNPTR_SKB_META:
		return flags ? -EINVAL : write_metadata(ctx, at, from, len);
	default:
		return -EFAULT;
	}
}

SL_FAST
SL_HELPER_FN(dynptr_read)
{
	return sl_helper_ret(read_bytes(
		ctx, (void *)r1, (uint32_t)r2, (const struct sl_dynptr *)r3, (uint32_t)r4, r5));
}

SL_FAST
SL_HELPER_FN(dynptr_write)
{
	return sl_helper_ret(write_bytes(ctx, (const struct sl_dynptr *)r1, (uint32_t)r2,
		(const void *)r3, (uint32_t)r4, r5));
}

SL_FAST
SL_HELPER_FN(dynptr_data)
{
	const struct sl_dynptr *dynptr = (const struct sl_dynptr *)r1;
	uint32_t offset = (uint32_t)r2, len = (uint32_t)r3;

	if (!dynptr->data || (dynptr->size & SL_DYNPTR_RDONLY) ||
		!sl_dynptr_has(dynptr, offset, len))
		return 0;
	switch (sl_dynptr_type(dynptr)) {
	case SL_DYNPTR_LOCAL:
	case SL_DYNPTR_RINGBUF:
		return (uint64_t)((uint8_t *)dynptr->data + dynptr->offset + offset);
	default:
		return 0;
	}
}

/* Bytes of an skb are only given out where its first segment has them, else as a copy. */
static inline uint8_t *skb_slice(struct sl_ctx *ctx, uint32_t at, uint32_t len, void *buffer)
{
	if (sl_likely((uint64_t)at + len <= (uint64_t)(ctx->data_end - ctx->data)))
		return ctx->data + at;
	return buffer && sl_segments_read(ctx, at, buffer, len) ? buffer : NULL;
}

/* Those of an XDP packet from any segment. A packet that became shorter fills part of the buffer. */
static inline uint8_t *xdp_slice(struct sl_ctx *ctx, uint32_t at, uint32_t len, void *buffer)
{
	uint32_t end;

	if (at <= UINT16_MAX && len <= UINT16_MAX) {
		uint8_t *bytes = (uint64_t)at + len <= (uint64_t)(ctx->data_end - ctx->data)
					 ? ctx->data + at
					 : sl_segments_peek(ctx, at, len);

		if (sl_likely(bytes))
			return bytes;
	}
	end = sl_segments_len(ctx);
	if (buffer && at < end)
		sl_segments_read(ctx, at, buffer, sl_min(len, end - at));
	return buffer;
}

static inline uint8_t *slice(struct sl_ctx *ctx, const struct sl_dynptr *dynptr, uint32_t offset,
	uint32_t len, void *buffer)
{
	uint32_t at = dynptr->offset + offset;

	if (!dynptr->data || !sl_dynptr_has(dynptr, offset, len))
		return NULL;
	switch (sl_dynptr_type(dynptr)) {
	case SL_DYNPTR_LOCAL:
	case SL_DYNPTR_RINGBUF:
		return (uint8_t *)dynptr->data + at;
	case SL_DYNPTR_SKB:
		return skb_slice(ctx, at, len, buffer);
	case SL_DYNPTR_XDP:
		return xdp_slice(ctx, at, len, buffer);
	case SL_DYNPTR_SKB_META:
		return metadata(ctx, at, len);
	default:
		return NULL;
	}
}

static inline uint8_t *slice_rdwr(struct sl_ctx *ctx, const struct sl_dynptr *dynptr,
	uint32_t offset, uint32_t len, void *buffer)
{
	return dynptr->size & SL_DYNPTR_RDONLY ? NULL : slice(ctx, dynptr, offset, len, buffer);
}

SL_FAST
SL_HELPER_FN(dynptr_slice)
{
	return (uint64_t)slice(
		ctx, (const struct sl_dynptr *)r1, (uint32_t)r2, (uint32_t)r4, (void *)r3);
}

SL_FAST
SL_HELPER_FN(dynptr_slice_rdwr)
{
	return (uint64_t)slice_rdwr(
		ctx, (const struct sl_dynptr *)r1, (uint32_t)r2, (uint32_t)r4, (void *)r3);
}

SL_FAST
SL_HELPER_FN(dynptr_adjust)
{
	struct sl_dynptr *dynptr = (struct sl_dynptr *)r1;
	uint32_t start = (uint32_t)r2, end = (uint32_t)r3;

	if (!dynptr->data || start > end)
		return (uint32_t)-EINVAL;
	if (end > sl_dynptr_size(dynptr))
		return (uint32_t)-ERANGE;
	dynptr->offset += start;
	dynptr->size = (dynptr->size & ~SL_DYNPTR_MAX_SIZE) | (end - start);
	return 0;
}

SL_FAST
SL_HELPER_FN(dynptr_is_null)
{
	return !((const struct sl_dynptr *)r1)->data;
}

SL_FAST
SL_HELPER_FN(dynptr_is_rdonly)
{
	const struct sl_dynptr *dynptr = (const struct sl_dynptr *)r1;

	return dynptr->data && (dynptr->size & SL_DYNPTR_RDONLY);
}

SL_FAST
SL_HELPER_FN(dynptr_size)
{
	const struct sl_dynptr *dynptr = (const struct sl_dynptr *)r1;

	return dynptr->data ? sl_dynptr_size(dynptr) : (uint32_t)-EINVAL;
}

SL_FAST
SL_HELPER_FN(dynptr_clone)
{
	const struct sl_dynptr *from = (const struct sl_dynptr *)r1;
	struct sl_dynptr *clone = (struct sl_dynptr *)r2;

	if (!from->data) {
		sl_dynptr_set_null(clone);
		return (uint32_t)-EINVAL;
	}
	*clone = *from;
	return 0;
}

/* By way of a buffer where neither is in one piece. */
#define CHUNK_BYTES 256

static int copy_chunks(struct sl_ctx *ctx, const struct sl_dynptr *to, uint32_t to_off,
	const struct sl_dynptr *from, uint32_t from_off, uint32_t len)
{
	uint8_t chunk[CHUNK_BYTES];
	int err = 0;

	for (uint32_t done = 0, part; !err && done < len; done += part) {
		part = sl_min(len - done, (uint32_t)sizeof(chunk));
		err = read_bytes(ctx, chunk, part, from, from_off + done, 0);
		if (!err)
			err = write_bytes(ctx, to, to_off + done, chunk, part, 0);
	}
	return err;
}

SL_HELPER_FN(dynptr_copy)
{
	const struct sl_dynptr *to = (const struct sl_dynptr *)r1;
	const struct sl_dynptr *from = (const struct sl_dynptr *)r3;
	uint32_t to_off = (uint32_t)r2, from_off = (uint32_t)r4, len = (uint32_t)r5;
	void *source = slice(ctx, from, from_off, len, NULL);
	void *target = slice_rdwr(ctx, to, to_off, len, NULL);

	if (source && target) {
		memmove(target, source, len);
		return 0;
	}
	if (source)
		return (uint32_t)write_bytes(ctx, to, to_off, source, len, 0);
	if (target)
		return (uint32_t)read_bytes(ctx, target, len, from, from_off, 0);
	if (!sl_dynptr_has(to, to_off, len) || !sl_dynptr_has(from, from_off, len))
		return (uint32_t)-E2BIG;
	return (uint32_t)copy_chunks(ctx, to, to_off, from, from_off, len);
}

SL_HELPER_FN(dynptr_memset)
{
	const struct sl_dynptr *to = (const struct sl_dynptr *)r1;
	uint32_t offset = (uint32_t)r2, len = (uint32_t)r3;
	uint8_t chunk[CHUNK_BYTES], *target = slice_rdwr(ctx, to, offset, len, NULL);
	int err = 0;

	if (target) {
		memset(target, (uint8_t)r4, len);
		return 0;
	}
	if (to->size & SL_DYNPTR_RDONLY)
		return (uint32_t)-EINVAL;
	if (!sl_dynptr_has(to, offset, len))
		return (uint32_t)-E2BIG;
	memset(chunk, (uint8_t)r4, sizeof(chunk));
	for (uint32_t done = 0, part; !err && done < len; done += part) {
		part = sl_min(len - done, (uint32_t)sizeof(chunk));
		err = write_bytes(ctx, to, offset + done, chunk, part, 0);
	}
	return (uint32_t)err;
}
