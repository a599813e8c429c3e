#pragma once

#include <sys/types.h>

#include "list.h"
#include "rcu.h"
#include "xsk_ring.h"

/*
 * AF_XDP sockets as the maps and the ports see them (sluice/xsk.h is how programs do). A socket is
 * reached by workers through the slots of XSKMAPs and the lists of ports, until the quiescent state
 * after it has been closed.
 */

/* A client's memory for packets; shared by pools. References under the sockets' lock. */
struct sl_xsk_umem {
	unsigned refs;
	uint8_t *memory;
	uint64_t size;
	uint32_t chunk_size;
	uint32_t headroom; /* with the kernel's own */
	bool unaligned;
};

/* What the sockets of one queue of a port have in common. */
struct sl_xsk_pool {
	unsigned refs;
	struct sl_xsk_umem *umem; /* reference */
	struct sl_xsk_ring *fill, *completion; /* owned */
	uint32_t ifindex, queue;
	bool multi_buffer; /* a packet may take several frames */
};

enum sl_xsk_state { SL_XSK_READY, SL_XSK_BOUND, SL_XSK_UNBOUND };

struct sl_xsk {
	/* As programs see it: struct bpf_xdp_sock. */
	uint32_t queue;

	uint32_t ifindex;
	struct sl_xsk_pool *pool; /* set before the state, kept until the end */
	struct sl_xsk_ring *rx, *tx; /* NULL: without */
	uint32_t state; /* enum sl_xsk_state, read with acquire */
	bool draining; /* The worker's: the rest of a packet whose beginning was not good */
	/* Written by the queue's worker, read by control threads. */
	uint64_t rx_dropped, rx_full;

	/* Control threads only, under the sockets' lock. */
	struct sl_list node;
	struct sl_xsk_umem *umem; /* reference */
	struct sl_xsk_ring *fill, *completion; /* until the socket is bound */
	dev_t dev;
	ino_t ino;
	int bell_fd; /* our end of the descriptor's pair */
	int client_fd; /* where the other end was seen last */
	bool rung;
};

static inline bool sl_xsk_is_bound(const struct sl_xsk *xsk)
{
	return __atomic_load_n(&xsk->state, __ATOMIC_ACQUIRE) == SL_XSK_BOUND;
}

/* Bytes of a packet that a frame holds. */
static inline uint32_t sl_xsk_frame_size(const struct sl_xsk_umem *umem)
{
	return umem->chunk_size - umem->headroom;
}

/*
 * What the port layer does for sockets, set once. bind puts the socket on the list of its port, after
 * `ready` has been called with the number of its queues: -ENODEV, -ENOMEM, or what ready returned.
 * unbind takes it off the list, where workers may still have it until a grace period has passed.
 */
struct sl_xsk_port_ops {
	int (*bind)(struct sl_xsk *xsk, uint32_t ifindex,
		int (*ready)(struct sl_xsk *xsk, void *arg, uint32_t queues), void *arg);
	void (*unbind)(struct sl_xsk *xsk);
};

extern const struct sl_xsk_port_ops *sl_xsk_port_ops;

/* The port of a socket is going, and no worker can reach it by then. */
SL_CONTROL void sl_xsk_port_gone(struct sl_xsk *xsk);

/* For XSKMAPs: one lock for sockets and the slots that hold them. */
SL_CONTROL void sl_xsk_lock(void);
SL_CONTROL void sl_xsk_unlock(void);
/* With the lock held: the socket of a descriptor. -EBADF, -ENOTSOCK, -EOPNOTSUPP of another kind. */
SL_CONTROL int sl_xsk_find(int fd, struct sl_xsk **ret_xsk);
/* Set by the XSKMAPs, once: called with the lock held when a socket is closed. */
extern void (*sl_xsk_forget)(struct sl_xsk *xsk);
