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

/* As mmap(2) of a RINGBUF or USER_RINGBUF, the data twice in a row. 0 or a negative errno. */
int sl_ringbuf_mmap(const struct sl_ringbuf_view *view, void *addr, size_t len, int prot, int flags,
	int fd, off_t offset, void **ret_mapped);
