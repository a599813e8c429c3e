#include <errno.h>

#include "dynptr.h"
#include "kfunc_row.h"
#include "nofault.h"

/*
 * Reads of addresses that a program made up (probe_read.c) into dynptrs: at once where the bytes
 * lie together, else by way of a buffer.
 */

#define CHUNK_BYTES 256

/* The kernel's convention: 0 or, for strings, how many bytes with the terminator; or an error. */
typedef int (*copy_fn)(void *to, const void *from, uint32_t len);

static int copy_bytes(void *to, const void *from, uint32_t len)
{
	return sl_nofault_read(to, from, len);
}

static int copy_string(void *to, const void *from, uint32_t len)
{
	return len ? sl_nofault_string(to, from, len) : 0;
}

static int copy_chunks(struct sl_ctx *ctx, uint64_t dynptr, uint32_t offset, uint32_t len,
	const uint8_t *from, bool string)
{
	uint8_t chunk[CHUNK_BYTES];
	uint32_t done = 0;

	while (done < len) {
		uint32_t part = sl_min(len - done, (uint32_t)sizeof(chunk));
		int ret = (string ? copy_string : copy_bytes)(chunk, from + done, part);
		uint64_t err;

		if (ret < 0)
			return ret;
		err = sl_bpf_dynptr_write(ctx, dynptr, offset + done, (uintptr_t)chunk,
			string ? (uint32_t)ret : part, 0);
		if (err)
			return (int)err;
		if (string && ((uint32_t)ret < part || part == 1))
			return (int)(done + (uint32_t)ret);
		/* The next piece goes over this one's terminator. */
		done += string ? part - 1 : part;
	}
	return string ? (int)done : 0;
}

static uint64_t probe(struct sl_ctx *ctx, uint64_t dynptr, uint64_t offset, uint64_t len,
	uint64_t from, bool string)
{
	const void *source = (const void *)(uintptr_t)from;
	uint64_t slice = sl_bpf_dynptr_slice_rdwr(ctx, dynptr, offset, 0, len, 0);
	copy_fn copy = string ? copy_string : copy_bytes;

	if (slice)
		return (uint32_t)copy((void *)(uintptr_t)slice, source, (uint32_t)len);
	if (!((const struct sl_dynptr *)(uintptr_t)dynptr)->data ||
		!sl_dynptr_has((const struct sl_dynptr *)(uintptr_t)dynptr, (uint32_t)offset,
			(uint32_t)len))
		return (uint32_t)-E2BIG;
	return (uint32_t)copy_chunks(ctx, dynptr, (uint32_t)offset, (uint32_t)len, source, string);
}

SL_HELPER_FN(probe_read_kernel_dynptr)
{
	return probe(ctx, r1, r2, r3, r4, false);
}

SL_HELPER_FN(probe_read_kernel_str_dynptr)
{
	return probe(ctx, r1, r2, r3, r4, true);
}

/* There is no user space below a worker. */
SL_HELPER_FN(probe_read_user_dynptr)
{
	return (uint32_t)-EFAULT;
}

SL_HELPER_FN(probe_read_user_str_dynptr)
{
	return (uint32_t)-EFAULT;
}

#define PROBE_ROW(kfunc)                                                               \
	const struct sl_kfunc sl_kfunc_##kfunc = {                                     \
		.call = { SL_KFUNC_ROW(kfunc, ANY), .flags = SL_HELPER_READS_ANYTHING, \
			.args = { SL_ARG_DYNPTR, SL_ARG_SCALAR, SL_ARG_SCALAR,         \
				SL_ARG_ANYTHING } },                                   \
	}

PROBE_ROW(probe_read_kernel_dynptr);
PROBE_ROW(probe_read_kernel_str_dynptr);
PROBE_ROW(probe_read_user_dynptr);
PROBE_ROW(probe_read_user_str_dynptr);
