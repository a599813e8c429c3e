#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * What a consumer's mmap(2) of a ring is put together from, in whatever process it is: `fd` is a
 * descriptor of the map, which is a file of two pages (the consumer's and the producers' position)
 * and the data.
 */
#define SL_RINGBUF_PAGE 4096u

struct sl_ringbuf_view {
	size_t data_len_bytes;
	bool writable; /* by this descriptor, and the map is not frozen */
	bool user; /* a USER_RINGBUF: user space produces */
};

/* The mappings of the file that make up the one that is asked for: at most two. */
struct sl_ringbuf_plan {
	size_t len_bytes; /* of all of it, whole pages */
	unsigned part_count;
	struct sl_ringbuf_part {
		size_t at, len_bytes; /* in the mapping */
		off_t offset; /* in the file */
	} parts[2];
};

/* 0, or what the kernel's mmap(2) of a RINGBUF says: -EINVAL, -EPERM. */
int sl_ringbuf_plan(const struct sl_ringbuf_view *view, size_t len, int prot, int flags,
	off_t offset, struct sl_ringbuf_plan *ret_plan);

/* As mmap(2) of a RINGBUF or USER_RINGBUF, the data twice in a row. 0 or a negative errno. */
int sl_ringbuf_mmap(const struct sl_ringbuf_view *view, void *addr, size_t len, int prot, int flags,
	int fd, off_t offset, void **ret_mapped);
