#include "ringbuf_mmap.h"

#include <errno.h>
#include <sys/mman.h>

/* The page that is its own side's, and the data if it fills that. */
static bool may_write(const struct sl_ringbuf_view *view, size_t len, off_t offset)
{
	if (!view->writable)
		return false;
	return view->user ? offset != 0 : offset == 0 && len == SL_RINGBUF_PAGE;
}

static void add_part(struct sl_ringbuf_plan *plan, size_t at, size_t len, off_t offset)
{
	plan->parts[plan->part_count++] = (struct sl_ringbuf_part){ at, len, offset };
}

int sl_ringbuf_plan(const struct sl_ringbuf_view *view, size_t len, int prot, int flags,
	off_t offset, struct sl_ringbuf_plan *ret_plan)
{
	size_t file_len = 2 * SL_RINGBUF_PAGE + view->data_len_bytes;
	size_t all_len = file_len + view->data_len_bytes;
	size_t rounded = (len + SL_RINGBUF_PAGE - 1) / SL_RINGBUF_PAGE * SL_RINGBUF_PAGE;
	size_t head;

	if (!(flags & MAP_SHARED) || !len || rounded < len || offset < 0 ||
		offset % SL_RINGBUF_PAGE)
		return -EINVAL;
	if ((prot & PROT_WRITE) && !may_write(view, rounded, offset))
		return -EPERM;
	if (rounded > all_len || (size_t)offset > all_len - rounded)
		return -EINVAL;
	*ret_plan = (struct sl_ringbuf_plan){ .len_bytes = rounded };
	head = (size_t)offset < file_len ? file_len - (size_t)offset : 0;
	if (head > rounded)
		head = rounded;
	if (head)
		add_part(ret_plan, 0, head, offset);
	/* Behind the file's end its data come again. */
	if (head < rounded)
		add_part(ret_plan, head, rounded - head,
			offset + (off_t)head - (off_t)view->data_len_bytes);
	return 0;
}

int sl_ringbuf_mmap(const struct sl_ringbuf_view *view, void *addr, size_t len, int prot, int flags,
	int fd, off_t offset, void **ret_mapped)
{
	struct sl_ringbuf_plan plan;
	int err = sl_ringbuf_plan(view, len, prot, flags, offset, &plan);
	char *p;

	if (err)
		return err;
	if (plan.part_count == 1)
		p = mmap(addr, len, prot, flags, fd, plan.parts[0].offset);
	else
		p = mmap(addr, plan.len_bytes, PROT_NONE,
			(flags & ~MAP_SHARED) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	for (unsigned i = 0; plan.part_count > 1 && i < plan.part_count; i++) {
		const struct sl_ringbuf_part *part = &plan.parts[i];

		if (mmap(p + part->at, part->len_bytes, prot, MAP_SHARED | MAP_FIXED, fd,
			    part->offset) != MAP_FAILED)
			continue;
		err = -errno;
		munmap(p, plan.len_bytes);
		return err;
	}
	*ret_mapped = p;
	return 0;
}
