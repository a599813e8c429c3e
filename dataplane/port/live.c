#include <errno.h>
#include <string.h>

#include <rte_mbuf.h>

#include "cpu.h"
#include "port.h"
#include "test_run.h"
#include "transmit.h"
#include "worker.h"

/*
 * BPF_F_TEST_XDP_LIVE_FRAMES: packets that come to be at a port, run through a program there, and go
 * where it says. The worker that polls the port's first queue does it, between two of its bursts.
 */
struct batch {
	const struct sl_test_live *live;
	struct sl_worker *worker;
	struct sl_port *port;
	uint32_t count, done;
};

static bool make_packet(const struct batch *b, struct rte_mbuf **ret_pkt)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(b->port->pool);
	char *at = m ? rte_pktmbuf_append(m, (uint16_t)b->live->len_bytes) : NULL;

	if (!at) {
		rte_pktmbuf_free(m);
		return false;
	}
	memcpy(at, b->live->packet, b->live->len_bytes);
	rte_pktmbuf_adj(m, (uint16_t)b->live->meta_len);
	*ret_pkt = m;
	return true;
}

/* As many as there are mbufs for. */
static int run_batch(unsigned cpu, void *arg)
{
	struct batch *b = arg;

	while (b->done < b->count) {
		struct rte_mbuf *pkts[SL_BURST];
		uint8_t meta_lens[SL_BURST];
		unsigned n = 0;

		while (n < SL_BURST && b->done + n < b->count && make_packet(b, &pkts[n]))
			meta_lens[n++] = (uint8_t)b->live->meta_len;
		if (n == 0)
			break;
		sl_worker_count_add(b->worker, b->port->id, SLUICE_LIVE, n);
		sl_loop_xdp(b->worker, b->port, 0, b->live->prog, pkts, meta_lens, n);
		sl_transmit_end_burst(b->worker);
		b->done += n;
	}
	return 0;
}

/* With the lock held: who polls the port's first queue. */
static struct sl_worker *owner_of(const struct sl_port *port)
{
	struct sl_worker *w;

	for (unsigned i = 0; (w = sl_worker_at(i)); i++) {
		for (uint32_t q = 0; w->plan && q < w->plan->rx_count; q++) {
			if (w->plan->rx[q].port == port && w->plan->rx[q].queue == 0)
				return w;
		}
	}
	return NULL;
}

/* With the lock held, so that the queue stays the worker's. */
static int run(struct batch *b)
{
	if (!sl_worker_running())
		return -ENETDOWN;
	b->port = sl_port_peek(b->live->ifindex);
	if (!b->port || !b->port->pool)
		return -ENODEV;
	if (b->live->len_bytes + RTE_PKTMBUF_HEADROOM > rte_pktmbuf_data_room_size(b->port->pool))
		return -EINVAL;
	b->worker = owner_of(b->port);
	return b->worker ? sl_cpu_run(b->worker->cpu, run_batch, b) : -ENETDOWN;
}

int sl_live_run(const struct sl_test_live *live, uint32_t count, uint32_t *ret_done)
{
	struct batch b = { .live = live, .count = count };
	int err;

	sl_port_lock();
	err = run(&b);
	sl_port_unlock();
	*ret_done = b.done;
	return err;
}
