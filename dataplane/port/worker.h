#pragma once

#include <pthread.h>

#include <rte_ethdev.h>
#include <sluice/stats.h>

#include "context.h"
#include "port.h"
#include "rcu.h"

struct sl_cpu_queue;
struct sl_test_live;
struct sl_xsk;

#define SL_WORKERS_MAX RTE_MAX_LCORE
#define SL_BURST 32
static_assert(SL_BURST == 1 << (SLUICE_BURST_BUCKETS - 1), "the last bucket is a full burst");
/* Packets ahead of the one that a program runs on, whose data is fetched into the cache. */
#define SL_PREFETCH 4
/* Packets that wait for one TX burst; a burst of one port can meet a few from another. */
#define SL_TX_BATCH 64
/* Clones that can be made of one packet, those of clones included. */
#define SL_CLONES 16

/* What a worker polls: published by control threads, replaced as a whole. */
struct sl_plan {
	struct sl_rcu_head rcu;
	uint32_t rx_count, handover_count, twin_count;
	struct sl_plan_queue {
		struct sl_port *port;
		uint16_t queue;
	} *handover; /* TX queues of this worker that others hand packets to */
	struct sl_plan_queue *twins; /* whose kernel's packets it sends */
	struct sl_plan_queue rx[];
};

struct sl_clone {
	struct sl_ctx ctx;
	struct sl_port *port;
	bool ingress;
	struct sl_tunnel tunnel; /* the key that it was made with, while ctx.tunnel says so */
};

/* Empty at every quiescent state, so the port stays as long as it is named here. */
struct sl_tx_buffer {
	struct sl_port *port;
	uint32_t count;
	struct rte_mbuf *pkts[SL_TX_BATCH];
};

/* Packets for other CPUs; empty at every quiescent state, so the queues stay. */
struct sl_cpu_buffer {
	uint32_t count;
	struct rte_mbuf *pkts[SL_BURST];
	struct sl_cpu_queue *queues[SL_BURST]; /* of each */
};

/* Where the time of a worker goes: see account() in worker.c. */
struct sl_worker_stats {
	uint64_t busy_cycles, idle_cycles;
	uint64_t empty_polls;
	uint64_t burst_packets; /* the sum of all bursts' */
	uint64_t bursts[SLUICE_BURST_BUCKETS]; /* received from ports, by how many packets */
};

struct sl_worker {
	/* The worker's own. */
	struct sl_run run;
	uint16_t index; /* from 0: its TX queue on each port that has enough */
	bool offloads; /* a packet that asks for them has come in: what is sent is looked at */
	bool in_clones; /* the outermost walk deals with the clones that clones make */
	uint32_t clone_count;
	uint32_t gone_count;
	struct rte_mbuf *gone[SL_BURST]; /* to be freed at the end of the burst */
	uint64_t tx_waiting; /* bit per ethdev id: the buffer is not empty */
	struct sl_tx_buffer tx[RTE_MAX_ETHPORTS];
	struct sl_cpu_buffer for_cpus;
	struct sl_tx_buffer for_kernel; /* for the twin of the port */
	struct sl_xsk *xsk; /* whose rings are not published yet; NULL at every quiescent state */
	struct sl_clone clones[SL_CLONES];
	uint16_t ip_id; /* of the next outer header */

	/* Packets that the round under way has found, and when the last one ended. */
	uint32_t round_packets;
	uint64_t round_end; /* cycles */

	/* Written by the worker alone, read by anybody. */
	struct sl_worker_stats stats sl_cache_aligned;
	struct sluice_counters counters[SL_PORTS_MAX] sl_cache_aligned;
	struct sluice_counters
		homeless; /* of packets whose port has gone while they were waiting */

	/* Sums of ports that are gone; under the ports' lock. */
	struct sluice_counters retired;

	/* Written by control threads. */
	struct sl_plan *plan sl_cache_aligned;
	bool stop;
	pthread_t thread; /* valid once started */
	bool started;
	unsigned lcore, cpu;
	int error; /* of the start: 1 while it is going on */
};

/* One worker per lcore of the EAL but the main one; one log line on failure. */
SL_CONTROL int sl_worker_init(void);

/* NULL past the last. */
SL_ANY struct sl_worker *sl_worker_at(unsigned index);
/* Known from the EAL's start on, whether they run or not. */
SL_ANY unsigned sl_worker_count(void);
SL_CONTROL bool sl_worker_running(void);

/* Moves the counters of a port that no worker can reach any more to `retired`. Lock held. */
SL_CONTROL void sl_counters_retire(uint16_t port_id);
SL_CONTROL void sl_counters_retire_more(const struct sluice_counters *last);

/* Builds and publishes all plans from the ports. With the ports' lock held. */
SL_CONTROL int sl_worker_replan(void);

/* Takes one burst from a queue through the hooks; leaves nothing in the TX buffers. */
SL_WORKER void sl_loop_poll(struct sl_worker *worker, struct sl_port *port, uint16_t queue);

/*
 * Runs an XDP program over a burst; with has_meta the burst's meta_lens say what metadata packets
 * bring along.
 */
SL_WORKER void sl_loop_run(const struct sl_prog *prog, struct sl_burst *burst, bool has_meta);
/* The same for a packet whose path is wanted. */
SL_WORKER void sl_loop_run_traced(const struct sl_prog *prog, struct sl_burst *burst);
/*
 * For a program that does not know of frags: makes one segment of each packet, or drops it. Returns
 * how many are left. meta_lens may be NULL.
 */
SL_WORKER unsigned sl_loop_linearize(struct sl_worker *worker, struct sl_port *port,
	struct rte_mbuf **pkts, uint8_t *meta_lens, unsigned n);
/* As if the packets had just come in, with metadata; meta_lens NULL: none. Leaves what is to be sent. */
SL_WORKER void sl_loop_xdp(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_prog *prog, struct rte_mbuf **pkts, const uint8_t *meta_lens, unsigned n);
/* The packet ends here: counted and freed. */
SL_WORKER void sl_loop_finish(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt,
	enum sluice_counter end);
/* Packets that XDP has passed, with the lengths of their metadata: on to TC, or to the kernel. */
SL_WORKER void sl_loop_pass(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, const uint8_t *meta_lens, unsigned n);

/* redirect.c: acts on XDP_REDIRECT of a packet that came in by `port`. */
SL_WORKER void sl_redirect(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, uint8_t meta_len, const struct sl_redirect *to);
SL_WORKER void sl_redirect_watched(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf *pkt, uint8_t meta_len, const struct sl_redirect *to);

/* Packets that the kernel sends out of a port: to its egress filters, and out. */
SL_WORKER void sl_loop_egress(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n);

/*
 * Packets that leave by a tunnel's port past its egress filters: encapsulated, and out of the port
 * below, whose egress filters see the outer packets.
 */
SL_WORKER void sl_loop_encapsulate(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n);

/* What a program asked for goes with the verdict; the next program starts without. */
static inline void sl_run_reset(struct sl_run *run)
{
	run->redirect_ifindex = 0;
	run->redirect_flags = 0;
	run->redirect_map = NULL;
}

/* sl_test_live. */
SL_CONTROL int sl_live_run(const struct sl_test_live *live, uint32_t count, uint32_t *ret_done);

/* sl_clone_redirect: on a worker the copy waits until the hook's programs have ended. */
SL_ANY int sl_loop_clone(struct sl_ctx *ctx, uint32_t ifindex, uint64_t flags);

/* A figure of its own that a worker counts up. */
static inline void sl_worker_note(uint64_t *figure, uint64_t n)
{
	__atomic_store_n(figure, *figure + n, __ATOMIC_RELAXED);
}

/* Readers of a counter see it torn by nothing; there is one writer. */
static inline void sl_worker_count_add(
	struct sl_worker *worker, uint16_t port_id, enum sluice_counter counter, uint64_t n)
{
	uint64_t *value = &worker->counters[port_id].value[counter];

	__atomic_store_n(value, *value + n, __ATOMIC_RELAXED);
}

/* The same for packets whose port is not there any more. */
static inline void sl_worker_count_homeless(
	struct sl_worker *worker, enum sluice_counter counter, uint64_t n)
{
	uint64_t *value = &worker->homeless.value[counter];

	__atomic_store_n(value, *value + n, __ATOMIC_RELAXED);
}
