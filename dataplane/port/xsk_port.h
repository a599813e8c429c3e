#pragma once

#include "port.h"
#include "worker.h"

struct rte_mbuf;
struct sl_xsk;

/* The sockets that are bound to a port; replaced as a whole. */
struct sl_xsk_list {
	struct sl_rcu_head rcu;
	uint32_t count;
	struct sl_xsk *sockets[];
};

/* Before there are ports. */
SL_CONTROL void sl_xsk_port_start(void);
/* The port's sockets are bound no more. With the ports' lock held, and no worker on the port. */
SL_CONTROL void sl_xsk_port_clear(struct sl_port *port);

/*
 * A packet that a program redirects to a socket, which is bound to another queue perhaps: copied,
 * counted and freed. The socket's program is told at the end of the burst.
 */
SL_WORKER void sl_xsk_receive(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, uint8_t meta_len, struct sl_xsk *xsk);
SL_WORKER void sl_xsk_flush(struct sl_worker *worker);

SL_WORKER void sl_xsk_send(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_xsk_list *list);

/* Sends what the sockets of a queue have; on the worker that polls the queue. */
static inline void sl_xsk_poll(struct sl_worker *worker, struct sl_port *port, uint16_t queue)
{
	const struct sl_xsk_list *list = sl_rcu_load(port->xsks);

	if (sl_unlikely(list))
		sl_xsk_send(worker, port, queue, list);
}
