#pragma once

#include <rte_ring.h>

#include "defs.h"
#include "list.h"
#include "rcu.h"

struct sl_prog;

/*
 * The packets on their way to a CPU by an entry of a CPUMAP. Any worker puts packets in, one takes
 * them out: the CPU's own, or where the CPU has no worker one that stands in for it, always the same
 * for a CPU. A queue lives until its entry has gone, no worker can put anything in any more, and what
 * was in it has been taken out.
 */
struct sl_cpu_queue {
	struct rte_ring *ring; /* of mbufs; as long as the entry says */
	struct sl_prog *prog; /* reference, NULL for none: runs on what is taken out */
	uint32_t cpu;

	/* Control threads only. */
	struct sl_list node;
	struct sl_rcu_head rcu;
};

/* The queues that a worker looks after, the oldest first; replaced as a whole. */
struct sl_cpu_inbox {
	struct sl_rcu_head rcu;
	uint32_t count;
	struct sl_cpu_queue *queues[];
};

/* By the worker's CPU; NULL for none. */
extern struct sl_cpu_inbox *sl_cpu_inboxes[SL_MAX_CPUS];

static inline const struct sl_cpu_inbox *sl_cpu_inbox_peek(uint32_t cpu)
{
	return sl_rcu_load(sl_cpu_inboxes[cpu]);
}

/* -ENOMEM. `length` is at least 1; takes a reference to the program. */
SL_CONTROL int sl_cpu_queue_new(
	uint32_t cpu, uint32_t length, struct sl_prog *prog, struct sl_cpu_queue **ret_queue);
/*
 * A grace period after the entry has gone: frees the queue once it is empty and nobody looks at it
 * any more. NULL is fine.
 */
SL_CONTROL void sl_cpu_queue_close(struct sl_cpu_queue *queue);

/* The CPUs that workers will run on; before they start. -ENOMEM. */
SL_CONTROL int sl_cpu_queue_serve(const unsigned *cpus, unsigned count);
/* Hands what is in the queues, while no worker runs, to `fn`, some packets at a time. */
SL_CONTROL void sl_cpu_queue_drain(void (*fn)(void *arg, void **pkts, unsigned n), void *arg);
