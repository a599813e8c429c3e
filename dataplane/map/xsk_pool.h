#pragma once

#include "xsk.h"

/* The memory of AF_XDP sockets. */

/* Since Linux 6.6; Debian's headers are older. */
#define SL_XDP_USE_SG (1 << 4)
#define SL_XDP_PKT_CONTD (1u << 0)

/* Bytes of struct xdp_umem_reg in its first version: without flags. */
#define SL_XSK_UMEM_REG_V1 24

/*
 * A ring of `entries`, a power of two, of `entry_size` bytes: in a sealed memfd, so that a client of
 * any process can map it and none can take it away. -EINVAL, -ENOMEM.
 */
SL_CONTROL int sl_xsk_ring_new(uint32_t entries, size_t entry_size, struct sl_xsk_ring **ret_ring);
SL_CONTROL void sl_xsk_ring_free(struct sl_xsk_ring *ring); /* NULL is fine */

/* From `len` bytes of struct xdp_umem_reg; all of the memory is touched. The kernel's errors. */
SL_CONTROL int sl_xsk_umem_new(const void *reg, size_t len, struct sl_xsk_umem **ret_umem);
/* With the sockets' lock held. NULL is fine. */
SL_CONTROL void sl_xsk_umem_put(struct sl_xsk_umem *umem);

/* Takes the rings over, and a reference to the memory. NULL when out of memory. */
SL_CONTROL struct sl_xsk_pool *sl_xsk_pool_new(
	struct sl_xsk_umem *umem, struct sl_xsk_ring *fill, struct sl_xsk_ring *completion);
/* With the sockets' lock held. NULL is fine. */
SL_CONTROL void sl_xsk_pool_put(struct sl_xsk_pool *pool);
