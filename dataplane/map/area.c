#include "area.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/mempolicy.h>
#include <linux/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* Below this an allocation is not worth a look at what the machine has left. */
enum { CHECK_BYTES = 64 << 20 };

static size_t area_len(size_t len_bytes)
{
	if (len_bytes >= SL_AREA_HUGE_BYTES)
		return sl_round_up(len_bytes, (size_t)SL_AREA_HUGE_BYTES);
	return sl_round_up(len_bytes, (size_t)4096);
}

/* What the kernel thinks can be had without swapping; touching more would kill the process. */
static bool memory_left(size_t len_bytes)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f;

	if (len_bytes < CHECK_BYTES)
		return true;
	f = fopen("/proc/meminfo", "re");
	if (!f)
		return true;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			break;
	}
	fclose(f);
	return kib == 0 || len_bytes / 1024 < kib;
}

enum { NODES_MAX = 1024 };

static __thread int wanted_node = -1;

void sl_area_set_node(int node)
{
	wanted_node = node;
}

/* For all of it, whoever touches it first. A container may not be allowed to say so. */
static void place(void *area, size_t len)
{
	const unsigned word = 8 * sizeof(unsigned long);
	unsigned long nodes[NODES_MAX / (8 * sizeof(unsigned long))] = { 0 };

	if (wanted_node < 0 || wanted_node >= NODES_MAX)
		return;
	nodes[(unsigned)wanted_node / word] |= 1ul << (unsigned)wanted_node % word;
	syscall(SYS_mbind, area, len, MPOL_PREFERRED, nodes, (unsigned long)NODES_MAX + 1, 0);
}

static void *map_aligned(size_t len, size_t align)
{
	size_t extra = align > 4096 ? align : 0;
	uint8_t *p = mmap(NULL, len + extra, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (p == MAP_FAILED)
		return NULL;
	if (extra == 0)
		return p;
	before = sl_round_up((uintptr_t)p, align) - (uintptr_t)p;
	if (before)
		munmap(p, before);
	if (extra - before)
		munmap(p + before + len, extra - before);
	return p + before;
}

bool sl_area_populate(void *start, size_t len_bytes)
{
	if (!memory_left(len_bytes))
		return false;
	/* A kernel without it backs the memory when it is touched. */
	return madvise(start, sl_round_up(len_bytes, (size_t)4096), MADV_POPULATE_WRITE) == 0 ||
	       errno != ENOMEM;
}

void *sl_area_new(size_t len_bytes, size_t resident_bytes)
{
	size_t len = area_len(len_bytes);
	bool huge = len_bytes >= SL_AREA_HUGE_BYTES;
	uint8_t *p;

	if (len < len_bytes)
		return NULL;
	p = map_aligned(len, huge ? SL_AREA_HUGE_BYTES : 4096);
	if (!p)
		return NULL;
	if (huge)
		madvise(p, len, MADV_HUGEPAGE);
	place(p, len);
	if (resident_bytes && !sl_area_populate(p, resident_bytes)) {
		munmap(p, len);
		return NULL;
	}
	return p;
}

void sl_area_free(void *area, size_t len_bytes)
{
	if (area)
		munmap(area, area_len(len_bytes));
}

int sl_area_memfd(size_t len_bytes)
{
	int fd = memfd_create("bpf-map", MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	/* Who may only read must not open it again, through /proc, for writing. */
	if (ftruncate(fd, (off_t)len_bytes) == 0 && fchmod(fd, 0600) == 0 &&
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int sl_area_new_shared(size_t len_bytes, void **ret_area)
{
	int fd, err;
	void *p;

	if (!memory_left(len_bytes))
		return -ENOMEM;
	fd = sl_area_memfd(len_bytes);
	if (fd < 0)
		return fd;
	p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		goto fail;
	place(p, len_bytes);
	sl_area_populate(p, len_bytes);
	*ret_area = p;
	return fd;
fail:
	err = errno;
	close(fd);
	return -err;
}

int sl_area_detach(void *area, size_t len_bytes)
{
	void *copy =
		mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		return -ENOMEM;
	memcpy(copy, area, len_bytes);
	/* Workers that read meanwhile see the one or the other. */
	if (mremap(copy, len_bytes, len_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, area) != area) {
		munmap(copy, len_bytes);
		return -ENOMEM;
	}
	return 0;
}
