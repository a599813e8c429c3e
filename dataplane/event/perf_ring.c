#include "perf_object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * A ring's memory is a memfd of one page and 2^n data pages, laid out as the kernel lays out a
 * perf mapping, so that a consumer maps the file and reads. The writer maps the data twice in a
 * row: a record that runs over the end of the ring is written in one piece. The size is sealed: a
 * consumer that truncated the file would kill the writer.
 */

/* 2^22 pages of 4 KiB: what a consumer may ask for at most; 16 GiB. */
enum { PAGES_MAX = 1 << 22 };

void *sl_perf_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
}

int sl_perf_munmap(void *addr, size_t len)
{
	return syscall(SYS_munmap, addr, len);
}

static int map_twice(struct sl_perf_ring_memory *memory, size_t page_size)
{
	size_t data_len = memory->pages * page_size;
	uint8_t *base;

	memory->base_len_bytes = page_size + 2 * data_len;
	base = sl_perf_mmap(
		NULL, memory->base_len_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	memory->base = base;
	if (sl_perf_mmap(base, page_size + data_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    memory->memfd, 0) == MAP_FAILED)
		return -errno;
	if (data_len && sl_perf_mmap(base + page_size + data_len, data_len, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED, memory->memfd, page_size) == MAP_FAILED)
		return -errno;
	return 0;
}

static void init_page(struct perf_event_mmap_page *page, uint64_t page_size, uint64_t data_len)
{
	page->size = offsetof(struct perf_event_mmap_page, __reserved);
	page->cap_bit0_is_deprecated = 1;
	page->data_offset = page_size;
	page->data_size = data_len;
}

int sl_perf_ring_new(const struct perf_event_attr *attr, size_t pages, bool overwrite,
	struct sl_perf_ring_memory **ret_memory)
{
	size_t page_size = sysconf(_SC_PAGESIZE);
	struct sl_perf_ring_memory *memory;
	size_t data_len;
	int err;

	if (pages > PAGES_MAX)
		return -ENOMEM;
	data_len = pages * page_size;
	memory = aligned_alloc(SL_CACHE_LINE, sl_round_up(sizeof(*memory), (size_t)SL_CACHE_LINE));
	if (!memory)
		return -ENOMEM;
	*memory = (struct sl_perf_ring_memory){ .pages = pages };
	memory->memfd = memfd_create("perf-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory->memfd < 0 || ftruncate(memory->memfd, page_size + data_len) != 0 ||
		fcntl(memory->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		err = -errno;
		goto fail;
	}
	err = map_twice(memory, page_size);
	if (err)
		goto fail;
	memory->ring = (struct sl_perf_ring){
		.page = (struct perf_event_mmap_page *)memory->base,
		.data = memory->base + page_size,
		.mask = data_len ? data_len - 1 : 0,
		.plain = attr->sample_type == PERF_SAMPLE_RAW && !overwrite,
		.overwrite = overwrite,
	};
	if (attr->watermark)
		memory->watermark_bytes = sl_min(attr->wakeup_watermark, data_len);
	if (!memory->watermark_bytes)
		memory->watermark_bytes = data_len / 2;
	init_page(memory->ring.page, page_size, data_len);
	*ret_memory = memory;
	return 0;
fail:
	sl_perf_ring_free(memory);
	return err;
}

void sl_perf_ring_free(struct sl_perf_ring_memory *memory)
{
	if (!memory)
		return;
	if (memory->base)
		sl_perf_munmap(memory->base, memory->base_len_bytes);
	if (memory->memfd >= 0)
		close(memory->memfd);
	free(memory);
}
