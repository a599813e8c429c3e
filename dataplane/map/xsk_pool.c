#include "xsk_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The kernel's limits. */
enum {
	CHUNK_MIN = 2048,
	CHUNK_MAX = 4096,
	HEADROOM = 256, /* XDP_PACKET_HEADROOM */
	TAIL = 320, /* struct skb_shared_info */
	PACKET_MIN = 128,
	PAGE = 4096,
};

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static int new_memory(size_t len)
{
	int fd = memfd_create("xsk-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create("xsk-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)len) != 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
		close(fd);
		return -ENOMEM;
	}
	return fd;
}

int sl_xsk_ring_new(uint32_t entries, size_t entry_size, struct sl_xsk_ring **ret_ring)
{
	struct sl_xsk_ring *ring;

	if (entries == 0 || (entries & (entries - 1)))
		return -EINVAL;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring->size = entries;
	ring->mask = entries - 1;
	ring->len_bytes =
		sl_round_up(sizeof(struct sl_xsk_ring_memory) + entries * entry_size, (size_t)PAGE);
	ring->memfd = new_memory(ring->len_bytes);
	if (ring->memfd >= 0)
		/* Populated, as workers must not fault. */
		ring->memory = mmap(NULL, ring->len_bytes, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_POPULATE, ring->memfd, 0);
	if (ring->memfd < 0 || ring->memory == MAP_FAILED) {
		ring->memory = NULL;
		sl_xsk_ring_free(ring);
		return -ENOMEM;
	}
	*ret_ring = ring;
	return 0;
}

void sl_xsk_ring_free(struct sl_xsk_ring *ring)
{
	if (!ring)
		return;
	if (ring->memory)
		munmap(ring->memory, ring->len_bytes);
	if (ring->memfd >= 0)
		close(ring->memfd);
	free(ring);
}

static int check_reg(const struct xdp_umem_reg *reg)
{
	bool unaligned = reg->flags & XDP_UMEM_UNALIGNED_CHUNK_FLAG;
	uint64_t pages = reg->len / PAGE + (reg->len % PAGE != 0), chunks;

	if (reg->chunk_size < CHUNK_MIN || reg->chunk_size > CHUNK_MAX)
		return -EINVAL;
	if (reg->flags & ~XDP_UMEM_UNALIGNED_CHUNK_FLAG)
		return -EINVAL;
	if (!unaligned && (reg->chunk_size & (reg->chunk_size - 1)))
		return -EINVAL;
	if (reg->addr % PAGE || reg->addr + reg->len < reg->addr || pages > UINT32_MAX)
		return -EINVAL;
	chunks = reg->len / reg->chunk_size;
	if (chunks == 0 || chunks > UINT32_MAX || (!unaligned && reg->len % reg->chunk_size))
		return -EINVAL;
	if (reg->headroom > reg->chunk_size - HEADROOM - TAIL - PACKET_MIN)
		return -EINVAL;
	return 0;
}

/* Brings all pages in; they have to be there, and writable. */
static int populate(void *memory, uint64_t size)
{
	if (madvise(memory, sl_round_up(size, (uint64_t)PAGE), MADV_POPULATE_WRITE) == 0)
		return 0;
	return errno == EINVAL ? -EINVAL : -EFAULT;
}

int sl_xsk_umem_new(const void *from, size_t len, struct sl_xsk_umem **ret_umem)
{
	struct xdp_umem_reg reg = { 0 };
	struct sl_xsk_umem *umem;
	int err;

	memcpy(&reg, from, len < sizeof(reg) ? (size_t)SL_XSK_UMEM_REG_V1 : sizeof(reg));
	err = check_reg(&reg);
	if (!err)
		err = populate((void *)(uintptr_t)reg.addr, reg.len);
	if (err)
		return err;
	umem = calloc(1, sizeof(*umem));
	if (!umem)
		return -ENOMEM;
	*umem = (struct sl_xsk_umem){
		.refs = 1,
		.memory = (uint8_t *)(uintptr_t)reg.addr,
		.size = reg.len,
		.chunk_size = reg.chunk_size,
		.headroom = reg.headroom + HEADROOM,
		.unaligned = reg.flags & XDP_UMEM_UNALIGNED_CHUNK_FLAG,
	};
	*ret_umem = umem;
	return 0;
}

void sl_xsk_umem_put(struct sl_xsk_umem *umem)
{
	if (umem && --umem->refs == 0)
		free(umem);
}

struct sl_xsk_pool *sl_xsk_pool_new(
	struct sl_xsk_umem *umem, struct sl_xsk_ring *fill, struct sl_xsk_ring *completion)
{
	struct sl_xsk_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	umem->refs++;
	*pool = (struct sl_xsk_pool){
		.refs = 1,
		.umem = umem,
		.fill = fill,
		.completion = completion,
	};
	return pool;
}

void sl_xsk_pool_put(struct sl_xsk_pool *pool)
{
	if (!pool || --pool->refs > 0)
		return;
	sl_xsk_umem_put(pool->umem);
	sl_xsk_ring_free(pool->fill);
	sl_xsk_ring_free(pool->completion);
	free(pool);
}
