#include "ringbuf_mmap.h"

#include <errno.h>
#include <sys/mman.h>

/* [offset, offset + len) of what a consumer sees, where the file's end is in between. */
static int map_around(void *addr, size_t len, int prot, int flags, int fd, off_t offset,
	size_t file_len, void **ret_mapped)
{
	size_t head = offset < (off_t)file_len ? file_len - (size_t)offset : 0;
	off_t again = 2 * SL_RINGBUF_PAGE + (head ? 0 : offset - (off_t)file_len);
	char *p = mmap(
		addr, len, PROT_NONE, (flags & ~MAP_SHARED) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	if ((head && mmap(p, head, prot, MAP_SHARED | MAP_FIXED, fd, offset) == MAP_FAILED) ||
		mmap(p + head, len - head, prot, MAP_SHARED | MAP_FIXED, fd, again) == MAP_FAILED) {
		int err = -errno;

		munmap(p, len);
		return err;
	}
	*ret_mapped = p;
	return 0;
}

/* The page that is its own side's, and the data if it fills that. */
static bool may_write(const struct sl_ringbuf_view *view, size_t len, off_t offset)
{
	if (!view->writable)
		return false;
	return view->user ? offset != 0 : offset == 0 && len == SL_RINGBUF_PAGE;
}

int sl_ringbuf_mmap(const struct sl_ringbuf_view *view, void *addr, size_t len, int prot, int flags,
	int fd, off_t offset, void **ret_mapped)
{
	size_t file_len = 2 * SL_RINGBUF_PAGE + view->data_len_bytes;
	size_t all_len = file_len + view->data_len_bytes;
	size_t rounded = (len + SL_RINGBUF_PAGE - 1) / SL_RINGBUF_PAGE * SL_RINGBUF_PAGE;
	void *p;

	if (!(flags & MAP_SHARED) || !len || rounded < len || offset < 0 ||
		offset % SL_RINGBUF_PAGE)
		return -EINVAL;
	if ((prot & PROT_WRITE) && !may_write(view, rounded, offset))
		return -EPERM;
	if (rounded > all_len || (size_t)offset > all_len - rounded)
		return -EINVAL;
	if ((size_t)offset + rounded > file_len)
		return map_around(addr, rounded, prot, flags, fd, offset, file_len, ret_mapped);
	p = mmap(addr, len, prot, flags, fd, offset);
	if (p == MAP_FAILED)
		return -errno;
	*ret_mapped = p;
	return 0;
}
