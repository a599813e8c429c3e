#include <string.h>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "interface.h"
#include "offload.h"
#include "packet.h"
#include "transmit.h"
#include "twin.h"
#include "watch.h"

/* The workers' side of twins: rings, and no system calls. */

static void enqueue(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	unsigned put = rte_ring_mp_enqueue_burst(port->twin->to_kernel, (void **)pkts, n, NULL);

	if (sl_unlikely(put < n)) {
		sl_worker_count_add(worker, port->id, SLUICE_KERNEL_FULL, n - put);
		if (sl_watching())
			sl_watch_drop_burst(worker, port, pkts + put, n - put, SLUICE_KERNEL_FULL);
		sl_transmit_free(pkts + put, n - put);
	}
}

struct way_out {
	struct sl_worker *worker;
	struct sl_port *port;
};

static void enqueue_resolved(void *arg, struct rte_mbuf **pkts, unsigned n)
{
	const struct way_out *way = arg;

	enqueue(way->worker, way->port, pkts, n);
}

/* What the header of a packet socket has no words for: in every kernel, or in older ones. */
static bool ask_too_much(struct rte_mbuf *const *pkts, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (pkts[i]->ol_flags & RTE_MBUF_F_TX_UDP_SEG ||
			(pkts[i]->ol_flags & SL_OFFLOADS && sl_packet_outer_len(pkts[i])))
			return true;
	return false;
}

static void pass_on(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	struct way_out way = { worker, port };

	if (sl_unlikely(worker->offloads) && ask_too_much(pkts, n))
		sl_offload_each(worker, port, false, pkts, n, enqueue_resolved, &way);
	else
		enqueue(worker, port, pkts, n);
}

void sl_twin_flush(struct sl_worker *worker)
{
	struct sl_tx_buffer *buffer = &worker->for_kernel;
	unsigned count = buffer->count;

	buffer->count = 0;
	if (count)
		pass_on(worker, buffer->port, buffer->pkts, count);
}

void sl_twin_burst(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n)
{
	sl_twin_flush(worker);
	pass_on(worker, port, pkts, n);
}

void sl_twin_put(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt)
{
	struct sl_tx_buffer *buffer = &worker->for_kernel;

	if (buffer->port != port || buffer->count == SL_TX_BATCH) {
		sl_twin_flush(worker);
		buffer->port = port;
	}
	buffer->pkts[buffer->count++] = pkt;
}

void sl_twin_want(struct sl_twin *twin, uint16_t family, const void *address)
{
	unsigned len = sl_ip_bytes(family);
	struct sl_twin_want *room = NULL;

	for (unsigned i = 0; i < SL_TWIN_WANTED; i++) {
		struct sl_twin_want *w = &twin->wanted[i];
		uint32_t state = __atomic_load_n(&w->state, __ATOMIC_ACQUIRE);

		if (state == SL_WANT_FREE && !room)
			room = w;
		if (state == SL_WANT_ASKED && w->family == family &&
			memcmp(w->address, address, len) == 0)
			return;
	}
	if (!room || !__atomic_compare_exchange_n(&room->state, &(uint32_t){ SL_WANT_FREE },
			     SL_WANT_TAKEN, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	room->family = family;
	memcpy(room->address, address, len);
	/* Pairs with the thread's load in ask_for_wanted. */
	__atomic_store_n(&room->state, SL_WANT_ASKED, __ATOMIC_RELEASE);
	__atomic_store_n(&twin->any_wanted, 1, __ATOMIC_RELEASE);
}

void sl_twin_poll(struct sl_worker *worker, struct sl_port *port)
{
	struct rte_mbuf *pkts[SL_BURST];
	unsigned n =
		rte_ring_sc_dequeue_burst(port->twin->from_kernel, (void **)pkts, SL_BURST, NULL);

	if (n == 0)
		return;
	worker->round_packets += n;
	sl_worker_count_add(worker, port->id, SLUICE_FROM_KERNEL, n);
	if (sl_unlikely(sl_offload_any(pkts, n)))
		n = sl_offload_receive(worker, port, pkts, n);
	sl_loop_egress(worker, port, pkts, n);
	sl_transmit_end_burst(worker);
}
