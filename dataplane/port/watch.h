#pragma once

#include <sluice/dataplane.h>
#include <sluice/observe.h>

#include "context.h"
#include "rcu.h"

struct rte_mbuf;
struct sl_burst;
struct sl_path;
struct sl_port;
struct sl_prog;
struct sl_worker;

/*
 * What workers do while somebody watches. The packet path exists twice (loop.c, loop_watched.c): the
 * plain one has no trace of this but one look at sl_watches per burst.
 */

/* Immutable once published; replaced as a whole. */
struct sl_watch_list {
	struct sl_rcu_head rcu;
	uint32_t count;
	uint32_t points; /* of all of them */
	bool paths; /* any of them wants paths */
	struct sl_watch *watches[SLUICE_WATCHES];
};

/* NULL while nobody watches. */
extern struct sl_watch_list *sl_watches;

static inline bool sl_watching(void)
{
	return sl_unlikely(sl_rcu_load(sl_watches) != NULL);
}

/* Who sees a packet where. */
struct sl_sight {
	struct sl_worker *worker;
	struct sl_port *port;
	enum sluice_point point;
	uint16_t queue;
	const struct sl_prog *prog; /* of the verdict; NULL: several or none */
	enum sluice_counter reason; /* of a drop */
	bool has_verdict;
	int verdict;
};

/* Worker only, all of them. */

/* Shows a packet in the form of a context, or of mbufs. Nothing of them changes. */
SL_WORKER void sl_watch_show(const struct sl_sight *sight, struct sl_ctx *ctx);
SL_WORKER void sl_watch_show_burst(
	const struct sl_sight *sight, struct rte_mbuf *const *pkts, unsigned n);

/*
 * The same before it is known what becomes of them: readers get them with sl_watch_tell, once for
 * all that were shown since, which calls `tell` for each with its number in the burst. False: the
 * packet is not to be seen after all.
 */
typedef bool (*sl_watch_tell_fn)(void *arg, unsigned index, struct sluice_record *record);
SL_WORKER void sl_watch_hold(const struct sl_sight *sight, struct sl_ctx *ctx);
SL_WORKER void sl_watch_hold_burst(
	const struct sl_sight *sight, struct rte_mbuf *const *pkts, unsigned n);
SL_WORKER void sl_watch_tell(struct sl_worker *worker, sl_watch_tell_fn tell, void *arg);

/* A dropped packet, where the reason is known. */
SL_WORKER void sl_watch_drop(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx,
	enum sluice_counter reason);
SL_WORKER void sl_watch_drop_burst(struct sl_worker *worker, struct sl_port *port,
	struct rte_mbuf *const *pkts, unsigned n, enum sluice_counter reason);

/* After an XDP program has run on a burst that was held at rx. */
SL_WORKER void sl_watch_xdp(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_prog *prog, const struct sl_burst *burst);
/* After a TC hook has run on a packet that was held. */
SL_WORKER void sl_watch_tc(struct sl_worker *worker, struct sl_port *port, struct sl_ctx *ctx,
	enum sluice_tc_hook hook, int verdict);

/* transmit.c: the part of send_queue that talks to the device. Returns how many it took. */
SL_WORKER unsigned sl_watch_send(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, unsigned n);

/*
 * Paths. A packet that a path is wanted of goes its way alone, between two flushes, with
 * worker->run.path set: so all that the worker counts meanwhile is its end.
 */
SL_WORKER bool sl_watch_wants_path(
	struct sl_worker *worker, struct sl_port *port, uint16_t queue, struct rte_mbuf *pkt);
SL_WORKER void sl_watch_path_begin(
	struct sl_worker *worker, struct sl_port *port, uint16_t queue, struct rte_mbuf *pkt);
SL_WORKER void sl_watch_path_end(struct sl_worker *worker);

/* The steps of a path; NULL is fine, and so is one that is full. */
SL_WORKER struct sluice_step *sl_path_run(
	struct sl_path *path, enum sluice_hook hook, uint32_t ifindex, const struct sl_prog *prog);
SL_WORKER void sl_path_verdict(
	struct sl_path *path, enum sluice_hook hook, uint32_t ifindex, int verdict);
SL_WORKER void sl_path_jump(const struct sl_ctx *ctx, const struct sl_prog *prog);
/* The rest is its twin's thread. */
SL_WORKER void sl_path_kernel(struct sl_path *path, uint32_t ifindex);
SL_WORKER void sl_path_redirect(struct sl_path *path, uint32_t ifindex, uint32_t map_id);

/* loop_watched.c: as their namesakes in worker.h. */
SL_WORKER void sl_loop_arrive_watched(struct sl_worker *worker, struct sl_port *port,
	uint16_t queue, struct rte_mbuf **pkts, unsigned n);
SL_WORKER void sl_loop_encapsulate_watched(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n);
SL_WORKER void sl_loop_egress_watched(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n);
SL_WORKER void sl_loop_xdp_watched(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	const struct sl_prog *prog, struct rte_mbuf **pkts, const uint8_t *meta_lens, unsigned n);
SL_WORKER void sl_loop_pass_watched(struct sl_worker *worker, struct sl_port *port, uint16_t queue,
	struct rte_mbuf **pkts, const uint8_t *meta_lens, unsigned n);
