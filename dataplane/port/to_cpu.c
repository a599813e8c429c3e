#include "to_cpu.h"

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>

#include "logging.h"
#include "port.h"
#include "prog.h"
#include "transmit.h"
#include "watch.h"

/*
 * Packets that an entry of a CPUMAP names another CPU for. What a burst sends to one CPU goes into
 * the entry's queue in one piece at the end of the burst. At the other end it is in the mbuf which
 * port a packet came in by, which may have gone meanwhile, and how much metadata it has.
 */
static int meta_field; /* offset of a byte in every mbuf */

static uint8_t *meta_len_of(struct rte_mbuf *pkt)
{
	return RTE_MBUF_DYNFIELD(pkt, meta_field, uint8_t *);
}

int sl_to_cpu_init(void)
{
	static const struct rte_mbuf_dynfield field = {
		.name = "sluice_meta_len",
		.size = sizeof(uint8_t),
		.align = 1,
	};

	meta_field = rte_mbuf_dynfield_register(&field);
	if (meta_field >= 0)
		return 0;
	sl_log(SL_LOG_ERROR, "no byte is left in mbufs for the length of metadata");
	return -rte_errno;
}

void sl_to_cpu_add(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt,
	uint8_t meta_len, struct sl_cpu_queue *queue)
{
	struct sl_cpu_buffer *out = &worker->for_cpus;

	if (out->count == SL_BURST)
		sl_to_cpu_flush(worker);
	sl_worker_count_add(worker, port->id, SLUICE_CPUMAP, 1);
	pkt->port = port->id;
	*meta_len_of(pkt) = meta_len;
	out->pkts[out->count] = pkt;
	out->queues[out->count++] = queue;
}

/* Counts packets under the ports that they came in by. */
static void count_each(
	struct sl_worker *worker, struct rte_mbuf **pkts, unsigned n, enum sluice_counter counter)
{
	for (unsigned i = 0; i < n; i++) {
		if (sl_rcu_load(sl_ports[pkts[i]->port]))
			sl_worker_count_add(worker, pkts[i]->port, counter, 1);
		else
			sl_worker_count_homeless(worker, counter, 1);
	}
}

static void put_into(
	struct sl_worker *worker, struct sl_cpu_queue *queue, struct rte_mbuf **pkts, unsigned n)
{
	unsigned put = rte_ring_mp_enqueue_burst(queue->ring, (void **)pkts, n, NULL);

	if (sl_likely(put == n))
		return;
	count_each(worker, pkts + put, n - put, SLUICE_CPUMAP_FULL);
	for (; put < n; put++) {
		struct sl_port *port = sl_rcu_load(sl_ports[pkts[put]->port]);

		if (port && sl_watching())
			sl_watch_drop_burst(worker, port, &pkts[put], 1, SLUICE_CPUMAP_FULL);
		sl_transmit_discard(worker, pkts[put]);
	}
}

/* Few CPUs get packets of one burst, so each of them costs a walk over what is left. */
void sl_to_cpu_flush(struct sl_worker *worker)
{
	struct sl_cpu_buffer *out = &worker->for_cpus;

	while (out->count) {
		struct sl_cpu_queue *queue = out->queues[0];
		struct rte_mbuf *pkts[SL_BURST];
		unsigned n = 0, left = 0;

		for (unsigned i = 0; i < out->count; i++) {
			if (out->queues[i] == queue) {
				pkts[n++] = out->pkts[i];
			} else {
				out->pkts[left] = out->pkts[i];
				out->queues[left++] = out->queues[i];
			}
		}
		out->count = left;
		put_into(worker, queue, pkts, n);
	}
}

/* As the kernel's CPUMAP does: what is neither passed nor redirected is dropped. */
static void dispatch(struct sl_worker *worker, struct sl_port *port, const struct sl_burst *burst)
{
	struct rte_mbuf *passed[SL_BURST];
	uint8_t meta_lens[SL_BURST];
	unsigned n = 0;

	for (uint32_t i = 0; i < burst->count; i++) {
		struct rte_mbuf *pkt = burst->pkts[i];

		if (burst->verdicts[i] == XDP_PASS) {
			meta_lens[n] = burst->meta_lens[i];
			passed[n++] = pkt;
		} else if (burst->verdicts[i] == XDP_REDIRECT) {
			sl_redirect(worker, port, SL_NO_QUEUE, pkt, burst->meta_lens[i],
				&burst->redirects[i]);
		} else {
			sl_loop_finish(worker, port, pkt, SLUICE_REDIRECT_DROP);
		}
	}
	if (n)
		sl_loop_pass(worker, port, SL_NO_QUEUE, passed, meta_lens, n);
}

static void run_prog(struct sl_worker *worker, struct sl_port *port, const struct sl_prog *prog,
	struct rte_mbuf **pkts, uint8_t *meta_lens, unsigned n, bool has_meta)
{
	struct sl_redirect redirects[SL_BURST];
	uint32_t verdicts[SL_BURST];
	struct sl_ctx ctx = {
		.run = &worker->run,
		.cpu = worker->run.cpu,
		.ingress_ifindex = port->ifindex,
	};
	struct sl_burst burst = {
		.pkts = pkts,
		.verdicts = verdicts,
		.count = n,
		.prefetch = SL_PREFETCH,
		.ctx = &ctx,
		.redirects = redirects,
		.meta_lens = meta_lens,
	};

	sl_loop_run(prog, &burst, has_meta);
	dispatch(worker, port, &burst);
}

/* Packets that came in by one port. */
static void receive(
	struct sl_worker *worker, const struct sl_prog *prog, struct rte_mbuf **pkts, unsigned n)
{
	struct sl_port *port = sl_rcu_load(sl_ports[pkts[0]->port]);
	uint8_t meta_lens[SL_BURST];
	bool has_meta = false;

	if (sl_unlikely(!port)) {
		sl_worker_count_homeless(worker, SLUICE_NO_PORT, n);
		sl_transmit_free(pkts, n);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		meta_lens[i] = *meta_len_of(pkts[i]);
		has_meta |= meta_lens[i] != 0;
	}
	if (!prog) {
		sl_loop_pass(worker, port, SL_NO_QUEUE, pkts, meta_lens, n);
		return;
	}
	if (sl_unlikely(port->may_scatter) && !(prog->flags & BPF_F_XDP_HAS_FRAGS))
		n = sl_loop_linearize(worker, port, pkts, meta_lens, n);
	if (n)
		run_prog(worker, port, prog, pkts, meta_lens, n, has_meta);
}

static void poll_queue(struct sl_worker *worker, const struct sl_cpu_queue *queue)
{
	struct rte_mbuf *pkts[SL_BURST];
	unsigned n = rte_ring_sc_dequeue_burst(queue->ring, (void **)pkts, SL_BURST, NULL);

	worker->round_packets += n;
	/* They were last written to by another CPU. */
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(pkts[i]);
	for (unsigned first = 0, end; first < n; first = end) {
		for (end = first + 1; end < n && pkts[end]->port == pkts[first]->port; end++)
			;
		receive(worker, queue->prog, pkts + first, end - first);
	}
	if (n)
		sl_transmit_end_burst(worker);
}

void sl_to_cpu_poll_inbox(struct sl_worker *worker, const struct sl_cpu_inbox *inbox)
{
	for (uint32_t i = 0; i < inbox->count; i++)
		poll_queue(worker, inbox->queues[i]);
}

static void drain(void *arg, void **pkts, unsigned n)
{
	struct sl_worker *worker = arg;

	count_each(worker, (struct rte_mbuf **)pkts, n, SLUICE_STOPPED);
	sl_transmit_free((struct rte_mbuf **)pkts, n);
}

void sl_to_cpu_drain(struct sl_worker *worker)
{
	sl_cpu_queue_drain(drain, worker);
}
