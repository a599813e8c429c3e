#include "xsk_port.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "transmit.h"
#include "xsk_pool.h"

/*
 * AF_XDP sockets at their ports. One worker polls a queue, and it alone puts packets into the rings
 * of the queue's sockets and takes them out; what is in the rings and in the client's memory may
 * change at any time and is believed nothing. Packets are copied both ways.
 */
enum {
	FRAMES_MAX = 18, /* of one packet: the kernel's MAX_SKB_FRAGS and the first */
	OFFSET_SHIFT = 48, /* of an address in an unaligned chunk: XSK_UNALIGNED_BUF_OFFSET_SHIFT */
};

/* The next frame that the client gave away for packets; it stays in the ring until it is taken. */
static bool peek_frame(struct sl_xsk_pool *pool, uint64_t *ret_addr)
{
	const struct sl_xsk_umem *umem = pool->umem;
	struct sl_xsk_ring *fill = pool->fill;

	while (sl_xsk_filled(fill, 1)) {
		uint64_t addr = __atomic_load_n(
			&sl_xsk_addresses(fill)[fill->own & fill->mask], __ATOMIC_RELAXED);

		if (umem->unaligned)
			addr &= (UINT64_C(1) << OFFSET_SHIFT) - 1;
		else
			addr &= ~((uint64_t)umem->chunk_size - 1);
		if (addr < umem->size && umem->size - addr >= umem->chunk_size) {
			*ret_addr = addr;
			return true;
		}
		sl_xsk_count(&fill->invalid, 1);
		fill->own++;
	}
	sl_xsk_count(&fill->empty, 1);
	return false;
}

/* Where a copy from an mbuf chain has come to. */
struct source {
	const struct rte_mbuf *seg;
	uint32_t offset;
};

static void copy_out(struct source *from, uint8_t *to, uint32_t len)
{
	while (len > 0) {
		uint32_t n = sl_min(len, (uint32_t)from->seg->data_len - from->offset);

		memcpy(to, rte_pktmbuf_mtod_offset(from->seg, uint8_t *, from->offset), n);
		to += n;
		len -= n;
		from->offset += n;
		if (from->offset == from->seg->data_len && len > 0) {
			from->seg = from->seg->next;
			from->offset = 0;
		}
	}
}

static void put_desc(struct sl_xsk *xsk, uint64_t frame, uint32_t len, uint32_t options)
{
	const struct sl_xsk_umem *umem = xsk->pool->umem;
	struct sl_xsk_ring *rx = xsk->rx;

	sl_xsk_descs(rx)[rx->own++ & rx->mask] = (struct xdp_desc){
		.addr = umem->unaligned ? frame | (uint64_t)umem->headroom << OFFSET_SHIFT
					: frame + umem->headroom,
		.len = len,
		.options = options,
	};
}

/* Into as many frames as it takes. False, with the reason counted, when they are not there. */
static bool copy_packet(struct sl_xsk *xsk, const struct rte_mbuf *pkt, uint8_t meta_len)
{
	struct sl_xsk_pool *pool = xsk->pool;
	const struct sl_xsk_umem *umem = pool->umem;
	uint32_t size = sl_xsk_frame_size(umem), left = pkt->pkt_len;
	uint32_t frames = left ? (left - 1) / size + 1 : 1;
	struct source from = { .seg = pkt };
	uint64_t frame;

	if (!peek_frame(pool, &frame) ||
		(frames > 1 && sl_xsk_filled(pool->fill, frames) < frames)) {
		sl_xsk_count(&xsk->rx_dropped, 1);
		return false;
	}
	if (sl_xsk_free(xsk->rx, frames) < frames) {
		sl_xsk_count(&xsk->rx_full, 1);
		return false;
	}
	memcpy(umem->memory + frame + umem->headroom - meta_len,
		rte_pktmbuf_mtod(pkt, uint8_t *) - meta_len, meta_len);
	for (uint32_t begin = xsk->rx->own;;) {
		uint32_t len = sl_min(left, size);

		copy_out(&from, umem->memory + frame + umem->headroom, len);
		pool->fill->own++;
		left -= len;
		put_desc(xsk, frame, len, left ? SL_XDP_PKT_CONTD : 0);
		if (left == 0)
			return true;
		/* Of the frames that were there some may have been no good. */
		if (!peek_frame(pool, &frame)) {
			xsk->rx->own = begin;
			sl_xsk_count(&xsk->rx_dropped, 1);
			return false;
		}
	}
}

static bool takes(
	struct sl_xsk *xsk, const struct sl_port *port, uint16_t queue, const struct rte_mbuf *pkt)
{
	if (!sl_xsk_is_bound(xsk) || xsk->ifindex != port->ifindex || xsk->queue != queue ||
		!xsk->rx)
		return false;
	if (pkt->pkt_len > sl_xsk_frame_size(xsk->pool->umem) && !xsk->pool->multi_buffer) {
		sl_xsk_count(&xsk->rx_dropped, 1);
		return false;
	}
	return true;
}

void sl_xsk_receive(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, uint8_t meta_len, struct sl_xsk *xsk)
{
	enum sluice_counter end = SLUICE_XSK_DROP;

	if (takes(xsk, port, queue, pkt)) {
		if (worker->xsk && worker->xsk != xsk)
			sl_xsk_flush(worker);
		worker->xsk = xsk;
		if (copy_packet(xsk, pkt, meta_len))
			end = SLUICE_XSK;
	}
	if (end == SLUICE_XSK_DROP) {
		sl_loop_finish(worker, port, pkt, end);
		return;
	}
	sl_worker_count_add(worker, port->id, end, 1);
	sl_transmit_discard(worker, pkt);
}

void sl_xsk_flush(struct sl_worker *worker)
{
	struct sl_xsk *xsk = worker->xsk;

	sl_xsk_take_done(xsk->pool->fill);
	sl_xsk_put_done(xsk->rx);
	worker->xsk = NULL;
}

/* Where a frame's bytes are; NULL for a descriptor that is not good. */
static const uint8_t *frame_of(const struct sl_xsk_umem *umem, const struct xdp_desc *desc)
{
	uint64_t low = (UINT64_C(1) << OFFSET_SHIFT) - 1, addr = desc->addr;

	if (desc->len == 0 || desc->len > umem->chunk_size || (desc->options & ~SL_XDP_PKT_CONTD))
		return NULL;
	if (umem->unaligned)
		addr = (addr & low) + (addr >> OFFSET_SHIFT);
	else if ((addr & (umem->chunk_size - 1)) + desc->len > umem->chunk_size)
		return NULL;
	if (addr >= umem->size || umem->size - addr < desc->len)
		return NULL;
	return umem->memory + addr;
}

/* A packet's bytes from one frame, behind what is there, into as many mbufs as they need. */
static bool append(struct rte_mbuf *pkt, const uint8_t *bytes, uint32_t len)
{
	struct rte_mbuf *last = rte_pktmbuf_lastseg(pkt);

	while (len > 0) {
		uint16_t room = rte_pktmbuf_tailroom(last);
		uint32_t n = sl_min(len, (uint32_t)room);
		struct rte_mbuf *next;

		if (n == 0) {
			next = rte_pktmbuf_alloc(pkt->pool);
			if (!next)
				return false;
			last->next = next;
			last = next;
			pkt->nb_segs++;
			continue;
		}
		memcpy(rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len), bytes, n);
		last->data_len += (uint16_t)n;
		pkt->pkt_len += n;
		bytes += n;
		len -= n;
	}
	return true;
}

/* The frames of a packet that go back to the client. */
static void complete(struct sl_xsk_pool *pool, const struct xdp_desc *descs, unsigned n)
{
	struct sl_xsk_ring *done = pool->completion;

	for (unsigned i = 0; i < n; i++)
		sl_xsk_addresses(done)[done->own++ & done->mask] = descs[i].addr;
}

/*
 * The frames of the next packet. 0: it is not there as a whole. Descriptors are read once, here.
 * *ret_last: the packet ends with the last of them.
 */
static unsigned read_packet(
	struct sl_xsk_ring *tx, struct xdp_desc descs[FRAMES_MAX], bool *ret_last)
{
	uint32_t there = sl_xsk_filled(tx, FRAMES_MAX);

	*ret_last = false;
	for (uint32_t n = 0; n < there;) {
		const struct xdp_desc *at = &sl_xsk_descs(tx)[(tx->own + n) & tx->mask];

		descs[n].addr = __atomic_load_n(&at->addr, __ATOMIC_RELAXED);
		descs[n].len = __atomic_load_n(&at->len, __ATOMIC_RELAXED);
		descs[n].options = __atomic_load_n(&at->options, __ATOMIC_RELAXED);
		if (!(descs[n++].options & SL_XDP_PKT_CONTD)) {
			*ret_last = true;
			return n;
		}
	}
	/* Longer than packets may be, or than the ring is. */
	return there == FRAMES_MAX || (there > 0 && there == tx->size) ? there : 0;
}

/* NULL when a frame is not good (*ret_good), or there are no mbufs. */
static struct rte_mbuf *build(const struct sl_xsk *xsk, struct rte_mempool *from,
	const struct xdp_desc *descs, unsigned n, bool *ret_good)
{
	const uint8_t *frames[FRAMES_MAX];
	struct rte_mbuf *pkt;

	*ret_good = true;
	for (unsigned i = 0; i < n; i++) {
		frames[i] = frame_of(xsk->pool->umem, &descs[i]);
		*ret_good &= frames[i] != NULL;
	}
	if (!*ret_good)
		return NULL;
	pkt = rte_pktmbuf_alloc(from);
	if (!pkt)
		return NULL;
	for (unsigned i = 0; i < n; i++) {
		if (!append(pkt, frames[i], descs[i].len)) {
			rte_pktmbuf_free(pkt);
			return NULL;
		}
	}
	return pkt;
}

/* One packet out of a socket's ring. False: there is none, or it has to wait. */
static bool send_packet(struct sl_worker *worker, struct sl_port *port, struct sl_xsk *xsk)
{
	struct xdp_desc descs[FRAMES_MAX];
	struct rte_mbuf *pkt = NULL;
	bool last, good = true;
	unsigned n = read_packet(xsk->tx, descs, &last);

	if (n == 0 || sl_xsk_free(xsk->pool->completion, n) < n)
		return false;
	if (last && !xsk->draining) {
		pkt = build(xsk, port->pool, descs, n, &good);
		if (!pkt && good)
			return false;
	}
	if (pkt) {
		worker->round_packets++;
		sl_worker_count_add(worker, port->id, SLUICE_XSK_SENT, 1);
		sl_transmit_add(worker, port, pkt);
	} else {
		sl_xsk_count(&xsk->tx->invalid, n);
		xsk->draining = !last;
	}
	complete(xsk->pool, descs, n);
	xsk->tx->own += n;
	return true;
}

void sl_xsk_send(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_xsk_list *list)
{
	for (uint32_t i = 0; i < list->count; i++) {
		struct sl_xsk *xsk = list->sockets[i];
		uint32_t before;

		/* Queues that can only be sent from are shared out. */
		if (!xsk->tx || xsk->queue % port->rx_queues != queue || !sl_xsk_filled(xsk->tx, 1))
			continue;
		before = xsk->tx->own;
		for (unsigned n = 0; n < SL_BURST && send_packet(worker, port, xsk); n++)
			;
		if (xsk->tx->own == before)
			continue;
		sl_xsk_put_done(xsk->pool->completion);
		sl_xsk_take_done(xsk->tx);
		if (sl_xsk_filled(xsk->tx, 1) == 0)
			sl_xsk_count(&xsk->tx->empty, 1);
	}
	sl_transmit_end_burst(worker);
}

static void free_list(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_xsk_list, rcu));
}

/* The port's list without `xsk`, and with `added`. With the ports' lock held; NULL: no memory. */
static struct sl_xsk_list *new_list(
	const struct sl_xsk_list *old, const struct sl_xsk *xsk, struct sl_xsk *added)
{
	uint32_t count = old ? old->count : 0;
	struct sl_xsk_list *list =
		calloc(1, sizeof(*list) + (count + 1) * sizeof(list->sockets[0]));

	if (!list)
		return NULL;
	for (uint32_t i = 0; i < count; i++) {
		if (old->sockets[i] != xsk)
			list->sockets[list->count++] = old->sockets[i];
	}
	if (added)
		list->sockets[list->count++] = added;
	return list;
}

static void publish(struct sl_port *port, struct sl_xsk_list *list)
{
	struct sl_xsk_list *old = port->xsks;

	sl_rcu_store(port->xsks, list);
	if (old)
		sl_rcu_call(&old->rcu, free_list);
}

static int bind_to(struct sl_xsk *xsk, uint32_t ifindex,
	int (*ready)(struct sl_xsk *xsk, void *arg, uint32_t queues), void *arg)
{
	struct sl_xsk_list *list = NULL;
	struct sl_port *port;
	int err;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	/* One without queues of its own has none to bind to. */
	err = port && port->id < RTE_MAX_ETHPORTS ? 0 : -ENODEV;
	if (port)
		list = new_list(port->xsks, NULL, xsk);
	if (port && !list)
		err = -ENOMEM;
	if (!err)
		err = ready(xsk, arg, sl_max(port->rx_queues, port->tx_queues));
	if (!err)
		publish(port, list);
	else
		free(list);
	sl_port_unlock();
	return err;
}

static void unbind(struct sl_xsk *xsk)
{
	struct sl_xsk_list *list;
	struct sl_port *port;

	sl_port_lock();
	port = sl_port_peek(xsk->ifindex);
	/* The port may have gone, and another be in its place. */
	if (port && sl_xsk_is_bound(xsk)) {
		while (!(list = new_list(port->xsks, xsk, NULL)))
			sched_yield();
		if (list->count == 0) {
			free(list);
			list = NULL;
		}
		publish(port, list);
		sl_xsk_port_gone(xsk);
	}
	sl_port_unlock();
}

void sl_xsk_port_clear(struct sl_port *port)
{
	struct sl_xsk_list *list = port->xsks;

	for (uint32_t i = 0; list && i < list->count; i++)
		sl_xsk_port_gone(list->sockets[i]);
	free(list);
	port->xsks = NULL;
}

void sl_xsk_port_start(void)
{
	static const struct sl_xsk_port_ops ops = { .bind = bind_to, .unbind = unbind };

	sl_xsk_port_ops = &ops;
}
