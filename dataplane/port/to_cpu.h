#pragma once

#include "cpu_queue.h"
#include "worker.h"

struct rte_mbuf;

/* The queue of a packet that the program at another CPU's end passes, as far as that CPU knows. */
#define SL_NO_QUEUE UINT16_MAX

/* Before the workers start. One log line on failure. */
SL_CONTROL int sl_to_cpu_init(void);

/*
 * Puts a packet, with the length of its metadata, on its way to the CPU of an entry. It goes with
 * others at the end of the burst.
 */
SL_WORKER void sl_to_cpu_add(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt,
	uint8_t meta_len, struct sl_cpu_queue *queue);
SL_WORKER void sl_to_cpu_flush(struct sl_worker *worker);

SL_WORKER void sl_to_cpu_poll_inbox(struct sl_worker *worker, const struct sl_cpu_inbox *inbox);

/* Takes what other workers sent here through its programs, and on. */
static inline void sl_to_cpu_poll(struct sl_worker *worker)
{
	const struct sl_cpu_inbox *inbox = sl_cpu_inbox_peek(worker->run.cpu);

	if (sl_unlikely(inbox))
		sl_to_cpu_poll_inbox(worker, inbox);
}

/* Frees and counts what is on its way, with no worker running. */
SL_CONTROL void sl_to_cpu_drain(struct sl_worker *worker);
