#pragma once

#include "worker.h"

/*
 * What packets ask of whoever sends them, in the fields that DPDK has for it in mbufs: that their
 * checksums be completed, that they be cut into pieces that fit. Such packets come from guests
 * (vhost, virtio) and from other programs in the same memory (rings). The kernel's words for them
 * are CHECKSUM_PARTIAL and GSO.
 *
 * They are brought into one form where they come in. Programs of TC find them in it. XDP programs
 * get packets that are complete, as those of a device that knows no such thing, and so do tunnels.
 * A port's device that offers to do it gets the rest as they are; for others it is done here.
 */

/* Pieces that one packet makes at most. */
#define SL_PIECES_MAX 256

/* Whether one of a burst that came in is to be looked at by sl_offload_receive. */
static inline bool sl_offload_any(struct rte_mbuf *const *pkts, unsigned n)
{
	uint64_t flags = 0;

	for (unsigned i = 0; i < n; i++)
		flags |= pkts[i]->ol_flags;
	/* NONE is both of its bits; from different packets they only cost a look. */
	return (flags & RTE_MBUF_F_TX_OFFLOAD_MASK) || (flags & RTE_MBUF_F_RX_LRO) ||
	       (flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
}

/*
 * Brings a burst's packets into the one form; those that ask for what their headers do not bear are
 * dropped and counted. Returns how many are left.
 */
SL_WORKER unsigned sl_offload_receive(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n);

typedef void (*sl_offload_fn)(void *arg, struct rte_mbuf **pkts, unsigned n);

/*
 * Does here what packets ask for and hands them to `fn`, in their order, up to SL_BURST at once. With
 * for_device those stay as they are that the port's own device takes. Drops count for the port.
 */
SL_WORKER void sl_offload_each(struct sl_worker *worker, struct sl_port *port, bool for_device,
	struct rte_mbuf **pkts, unsigned n, sl_offload_fn fn, void *arg);

/*
 * Writes the packet's bounds and what it asks for, which programs may have changed, back into the
 * mbuf. Only for one that came in with SL_OFFLOADS; false when it cannot be sent.
 */
SL_WORKER bool sl_offload_end(struct sl_ctx *ctx);

/* skb->wire_len of an egress hook: with the headers that the pieces will have. */
SL_WORKER uint32_t sl_offload_wire_len(const struct sl_ctx *ctx);

/* gso.c: cuts a packet. Returns the number of pieces, all new; 0 with the packet untouched. */
SL_WORKER unsigned sl_gso_cut(const struct rte_mbuf *m, struct rte_mbuf *ret_pieces[SL_PIECES_MAX]);

/* Completes the checksum in the field at `start` + `field`, over all from `start` on. */
SL_WORKER void sl_offload_complete(struct rte_mbuf *m, uint32_t start, uint32_t field);

/* Where the L4 header begins. */
static inline uint32_t sl_offload_start(const struct rte_mbuf *m)
{
	return (uint32_t)m->outer_l2_len + m->outer_l3_len + m->l2_len + m->l3_len;
}

/* Bytes of the L4 header there, 0 when not all of it is in the first segment. */
SL_WORKER uint32_t sl_offload_l4_len(const struct rte_mbuf *m, uint32_t start);

/* Whether an IP header of `len` bytes is there. */
SL_WORKER bool sl_offload_is_ip(const struct rte_mbuf *m, uint32_t offset, uint32_t len);

/* The mbuf asks for nothing any more. */
static inline void sl_offload_clear(struct rte_mbuf *m)
{
	m->ol_flags &= ~(RTE_MBUF_F_TX_OFFLOAD_MASK);
	m->tx_offload = 0;
}
