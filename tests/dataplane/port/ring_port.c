#include "ring_port.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sluice/dataplane.h>

#include "packet.h"

enum { MBUFS = 4095, SLOTS = 1024 };

bool ring_runtime_dir_was_there;

static struct rte_mempool *pool;

int ring_eal(void)
{
	static char *args[] = { "--no-huge", "-m", "256", "--no-shconf", "--no-pci" };
	static bool started;
	int err;

	if (started)
		return 0;
	ring_runtime_dir_was_there = access("/var/run/dpdk/rte", F_OK) == 0;
	err = sluice_eal_start(2, sizeof(args) / sizeof(args[0]), args);
	if (err)
		return err;
	/* Without a cache, so that the fill level is exact. */
	pool = rte_pktmbuf_pool_create(
		"test", MBUFS, 0, SL_HEADROOM_SPARE, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	started = pool != NULL;
	return pool ? 0 : -ENOMEM;
}

static struct rte_ring *new_ring(unsigned number, const char *what)
{
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "end%u-%s", number, what);
	return rte_ring_create(name, SLOTS, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

int ring_port_open(struct ring_port *port, unsigned tx_queues)
{
	return ring_port_open_as(port, tx_queues, NULL);
}

int ring_port_open_as(
	struct ring_port *port, unsigned tx_queues, const struct sluice_port_options *options)
{
	static unsigned number;
	char name[32];
	int id;

	port->tx_queues = tx_queues;
	port->in = new_ring(number, "in");
	for (unsigned q = 0; q < tx_queues; q++)
		port->out[q] = new_ring(number, q ? "out1" : "out0");
	snprintf(name, sizeof(name), "test%u", number++);
	id = rte_eth_from_rings(name, &port->in, 1, port->out, tx_queues, 0);
	if (id < 0)
		return -EIO;
	port->id = (uint16_t)id;
	snprintf(name, sizeof(name), "net_ring_test%u", number - 1);
	return sluice_port_add(name, options, &port->ifindex);
}

void ring_port_close(struct ring_port *port)
{
	ring_receive_all(port);
	sluice_port_remove(port->ifindex);
	rte_ring_free(port->in);
	for (unsigned q = 0; q < port->tx_queues; q++)
		rte_ring_free(port->out[q]);
}

struct rte_mbuf *ring_new_frame(const void *frame, uint32_t len)
{
	struct rte_mbuf *m;

	while (!(m = rte_pktmbuf_alloc(pool)))
		sched_yield();
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), frame, len);
	return m;
}

void ring_send_mbuf(struct ring_port *port, struct rte_mbuf *m)
{
	while (rte_ring_enqueue(port->in, m) != 0)
		sched_yield();
}

void ring_send(struct ring_port *port, const void *frame, uint32_t len, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ring_send_mbuf(port, ring_new_frame(frame, len));
	}
}

static struct rte_mbuf *take(struct ring_port *port)
{
	void *m = NULL;

	for (unsigned q = 0; q < port->tx_queues; q++) {
		if (rte_ring_dequeue(port->out[q], &m) == 0)
			return m;
	}
	return NULL;
}

uint32_t ring_receive(struct ring_port *port, void *ret_frame)
{
	struct rte_mbuf *m = NULL;
	uint32_t len, part;
	const void *bytes;

	for (unsigned i = 0; i < 1000 && !(m = take(port)); i++)
		usleep(1000);
	if (!m)
		return 0;
	len = m->pkt_len;
	part = len < RING_FRAME_MAX ? len : (uint32_t)RING_FRAME_MAX;
	bytes = rte_pktmbuf_read(m, 0, part, ret_frame);
	if (bytes != ret_frame)
		memcpy(ret_frame, bytes, part);
	rte_pktmbuf_free(m);
	return len;
}

unsigned ring_receive_all(struct ring_port *port)
{
	struct rte_mbuf *m;
	unsigned n = 0;

	while ((m = take(port))) {
		rte_pktmbuf_free(m);
		n++;
	}
	return n;
}

unsigned ring_mbufs_out(void)
{
	return MBUFS - rte_mempool_avail_count(pool);
}
