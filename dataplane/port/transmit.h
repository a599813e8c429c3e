#pragma once

#include "worker.h"

struct rte_mbuf;

/* Frees n packets; what can be, goes back to its pool in one piece. */
SL_WORKER void sl_transmit_free(struct rte_mbuf **pkts, unsigned n);

/* Frees one packet at the end of the burst, together with the others. */
static inline void sl_transmit_discard(struct sl_worker *worker, struct rte_mbuf *pkt)
{
	worker->gone[worker->gone_count++] = pkt;
	if (sl_unlikely(worker->gone_count == SL_BURST)) {
		sl_transmit_free(worker->gone, SL_BURST);
		worker->gone_count = 0;
	}
}

/* Transmits at once, after what waits for the port; what does not fit is dropped and counted. */
SL_WORKER void sl_transmit_burst(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n);

/* Puts one packet into the port's buffer. */
SL_WORKER void sl_transmit_add(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt);

/* Empties all buffers, and frees what was discarded. */
SL_WORKER void sl_transmit_flush(struct sl_worker *worker);

/* The same at the end of a burst, where there may be nothing to do. */
static inline void sl_transmit_end_burst(struct sl_worker *worker)
{
	if (worker->tx_waiting || worker->gone_count || worker->for_cpus.count ||
		worker->for_kernel.count || worker->xsk)
		sl_transmit_flush(worker);
}

/* Transmits what other workers handed over for a queue of this one. */
SL_WORKER void sl_transmit_handover(struct sl_worker *worker, struct sl_port *port, uint16_t queue);

/* Frees and counts what is left in the port's rings, with no worker running on them. */
SL_CONTROL void sl_transmit_drain(struct sl_worker *worker, struct sl_port *port);
