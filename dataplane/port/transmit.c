#include "transmit.h"

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "offload.h"
#include "port.h"
#include "to_cpu.h"
#include "twin.h"
#include "watch.h"
#include "xsk_port.h"

/* How often a full queue is tried again before packets are dropped. */
enum { TX_RETRIES = 8 };

static_assert(RTE_MAX_ETHPORTS <= 64, "tx_waiting has a bit per port");

/* Only this worker refers to it, it has one segment, and its buffer is its own. */
static inline bool is_plain(const struct rte_mbuf *m)
{
	return m->refcnt == 1 && m->nb_segs == 1 &&
	       !(m->ol_flags & (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL));
}

void sl_transmit_free(struct rte_mbuf **pkts, unsigned n)
{
	struct rte_mempool *pool;
	bool plain = true;

	if (n == 0)
		return;
	pool = pkts[0]->pool;
	for (unsigned i = 0; i < n; i++)
		plain &= is_plain(pkts[i]) & (pkts[i]->pool == pool);
	/* A plain mbuf is already in the state in which pools keep theirs. */
	if (sl_likely(plain))
		rte_mempool_put_bulk(pool, (void **)pkts, n);
	else
		rte_pktmbuf_free_bulk(pkts, n);
}

static bool have_segments(struct rte_mbuf *const *pkts, unsigned n)
{
	unsigned segments = 0;

	for (unsigned i = 0; i < n; i++)
		segments += pkts[i]->nb_segs;
	return segments != n;
}

/* For a driver that would send the first segment only, or worse. Returns how many are left. */
static unsigned join_segments(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (pkts[i]->nb_segs == 1 || rte_pktmbuf_linearize(pkts[i]) == 0) {
			pkts[kept++] = pkts[i];
			continue;
		}
		sl_worker_count_add(worker, port->id, SLUICE_NO_ROOM, 1);
		if (sl_watching())
			sl_watch_drop_burst(worker, port, &pkts[i], 1, SLUICE_NO_ROOM);
		rte_pktmbuf_free(pkts[i]);
	}
	return kept;
}

static inline unsigned offer(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, unsigned n, bool watched)
{
	if (sl_unlikely(watched))
		return sl_watch_send(worker, port, queue, pkts, n);
	return rte_eth_tx_burst(port->id, queue, pkts, (uint16_t)n);
}

static void send_queue(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, unsigned n)
{
	bool watched = sl_watching();
	unsigned sent = offer(worker, port, queue, pkts, n, watched);

	for (unsigned i = 0; sl_unlikely(sent < n) && i < TX_RETRIES; i++) {
		rte_pause();
		sent += offer(worker, port, queue, pkts + sent, n - sent, watched);
	}
	sl_worker_count_add(worker, port->id, SLUICE_TX, sent);
	if (sl_unlikely(sent < n)) {
		sl_worker_count_add(worker, port->id, SLUICE_TX_FULL, n - sent);
		if (watched)
			sl_watch_drop_burst(worker, port, pkts + sent, n - sent, SLUICE_TX_FULL);
		sl_transmit_free(pkts + sent, n - sent);
	}
}

static void send_complete(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	struct rte_ring *ring;
	unsigned put;

	if (sl_unlikely(!port->sends_segments) && sl_unlikely(have_segments(pkts, n)))
		n = join_segments(worker, port, pkts, n);
	if (sl_likely(worker->index < port->tx_queues)) {
		send_queue(worker, port, worker->index, pkts, n);
		return;
	}
	ring = port->handover[worker->index % port->tx_queues];
	put = rte_ring_mp_enqueue_burst(ring, (void **)pkts, n, NULL);
	sl_worker_count_add(worker, port->id, SLUICE_HANDED_OVER, put);
	if (sl_unlikely(put < n)) {
		sl_worker_count_add(worker, port->id, SLUICE_HANDOVER_FULL, n - put);
		if (sl_watching())
			sl_watch_drop_burst(
				worker, port, pkts + put, n - put, SLUICE_HANDOVER_FULL);
		sl_transmit_free(pkts + put, n - put);
	}
}

struct way_out {
	struct sl_worker *worker;
	struct sl_port *port;
};

static void send_resolved(void *arg, struct rte_mbuf **pkts, unsigned n)
{
	const struct way_out *way = arg;

	send_complete(way->worker, way->port, pkts, n);
}

static void send_or_hand_over(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	struct way_out way = { worker, port };

	if (sl_unlikely(worker->offloads))
		sl_offload_each(worker, port, true, pkts, n, send_resolved, &way);
	else
		send_complete(worker, port, pkts, n);
}

static void flush(struct sl_worker *worker, struct sl_port *port)
{
	struct sl_tx_buffer *tx = &worker->tx[port->id];

	send_or_hand_over(worker, port, tx->pkts, tx->count);
	tx->count = 0;
	worker->tx_waiting &= ~(UINT64_C(1) << port->id);
}

void sl_transmit_burst(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	if (sl_unlikely(port->tunnel)) {
		sl_loop_encapsulate(worker, port, pkts, n);
		return;
	}
	if (worker->tx[port->id].count)
		flush(worker, port);
	send_or_hand_over(worker, port, pkts, n);
}

void sl_transmit_add(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt)
{
	struct sl_tx_buffer *tx = &worker->tx[port->id];

	if (sl_unlikely(port->tunnel)) {
		sl_loop_encapsulate(worker, port, &pkt, 1);
		return;
	}
	tx->port = port;
	tx->pkts[tx->count++] = pkt;
	worker->tx_waiting |= UINT64_C(1) << port->id;
	if (tx->count == SL_TX_BATCH)
		flush(worker, port);
}

void sl_transmit_flush(struct sl_worker *worker)
{
	/* First, as it may discard some. */
	if (worker->for_cpus.count)
		sl_to_cpu_flush(worker);
	if (worker->xsk)
		sl_xsk_flush(worker);
	if (worker->for_kernel.count)
		sl_twin_flush(worker);
	while (worker->tx_waiting)
		flush(worker, worker->tx[__builtin_ctzll(worker->tx_waiting)].port);
	sl_transmit_free(worker->gone, worker->gone_count);
	worker->gone_count = 0;
}

void sl_transmit_handover(struct sl_worker *worker, struct sl_port *port, uint16_t queue)
{
	struct rte_mbuf *pkts[SL_BURST];
	unsigned n =
		rte_ring_sc_dequeue_burst(port->handover[queue], (void **)pkts, SL_BURST, NULL);

	worker->round_packets += n;
	if (n)
		send_queue(worker, port, queue, pkts, n);
}

void sl_transmit_drain(struct sl_worker *worker, struct sl_port *port)
{
	struct rte_mbuf *pkts[SL_BURST];
	unsigned n;

	for (uint16_t q = 0; port->handover && q < port->tx_queues; q++) {
		while ((n = rte_ring_dequeue_burst(
				port->handover[q], (void **)pkts, SL_BURST, NULL)) > 0) {
			sl_worker_count_add(worker, port->id, SLUICE_STOPPED, n);
			sl_transmit_free(pkts, n);
		}
	}
}
