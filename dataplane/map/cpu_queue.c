#include "cpu_queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <rte_common.h>

#include "prog.h"

/*
 * All queues are in one list; what a worker polls is an array made from it, as workers must not walk
 * what changes. The lock protects both, and is never held while anything is waited for.
 */
enum { DRAIN = 32 };

struct sl_cpu_inbox *sl_cpu_inboxes[SL_MAX_CPUS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sl_list queues = SL_LIST_INIT(queues);
static unsigned served[SL_MAX_CPUS], served_count; /* CPUs of workers */

/* With the lock held, and workers known. */
static unsigned server_of(uint32_t cpu)
{
	for (unsigned i = 0; i < served_count; i++) {
		if (served[i] == cpu)
			return cpu;
	}
	return served[cpu % served_count];
}

static void free_inbox(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_cpu_inbox, rcu));
}

/* With the lock held: publishes what the worker on `cpu` polls. */
static int refill(unsigned cpu)
{
	struct sl_cpu_inbox *inbox = NULL, *old = sl_cpu_inboxes[cpu];
	struct sl_cpu_queue *q;
	uint32_t count = 0;

	sl_list_for_each (q, &queues, node)
		count += server_of(q->cpu) == cpu;
	if (count > 0) {
		inbox = malloc(sizeof(*inbox) + count * sizeof(inbox->queues[0]));
		if (!inbox)
			return -ENOMEM;
		inbox->count = 0;
		sl_list_for_each (q, &queues, node) {
			if (server_of(q->cpu) == cpu)
				inbox->queues[inbox->count++] = q;
		}
	}
	sl_rcu_store(sl_cpu_inboxes[cpu], inbox);
	if (old)
		sl_rcu_call(&old->rcu, free_inbox);
	return 0;
}

/* With the lock held. */
static int publish(uint32_t cpu)
{
	return served_count ? refill(server_of(cpu)) : 0;
}

static void queue_free(struct sl_cpu_queue *queue)
{
	if (queue->prog)
		sl_object_unref(&queue->prog->obj);
	free(queue->ring);
	free(queue);
}

static void free_queue(struct sl_rcu_head *head)
{
	queue_free(sl_container_of(head, struct sl_cpu_queue, rcu));
}

/* DPDK gives a ring of any length a power of two of slots. */
static struct rte_ring *ring_new(uint32_t length)
{
	size_t size = (size_t)rte_ring_get_memsize(rte_align32pow2(length + 1));
	struct rte_ring *ring = aligned_alloc(SL_CACHE_LINE, sl_round_up(size, SL_CACHE_LINE));

	if (ring && rte_ring_init(ring, "cpumap", length, RING_F_SC_DEQ | RING_F_EXACT_SZ) != 0) {
		free(ring);
		return NULL;
	}
	return ring;
}

int sl_cpu_queue_new(
	uint32_t cpu, uint32_t length, struct sl_prog *prog, struct sl_cpu_queue **ret_queue)
{
	struct sl_cpu_queue *queue = calloc(1, sizeof(*queue));
	int err;

	if (!queue)
		return -ENOMEM;
	queue->ring = ring_new(length);
	if (!queue->ring) {
		free(queue);
		return -ENOMEM;
	}
	queue->cpu = cpu;
	if (prog) {
		sl_object_ref(&prog->obj);
		queue->prog = prog;
	}
	pthread_mutex_lock(&lock);
	sl_list_add_tail(&queues, &queue->node);
	err = publish(cpu);
	if (err)
		sl_list_del(&queue->node);
	pthread_mutex_unlock(&lock);
	if (err)
		queue_free(queue);
	else
		*ret_queue = queue;
	return err;
}

/*
 * No packet comes any more, so an empty queue stays empty. Its worker may be looking at it still,
 * and at its program, for a grace period after it has been taken off the worker's list.
 */
static void close_when_empty(struct sl_rcu_head *head)
{
	struct sl_cpu_queue *queue = sl_container_of(head, struct sl_cpu_queue, rcu);
	bool gone = false;

	pthread_mutex_lock(&lock);
	if (rte_ring_empty(queue->ring)) {
		sl_list_del(&queue->node);
		gone = publish(queue->cpu) == 0;
		if (!gone)
			sl_list_add_tail(&queues, &queue->node);
	}
	pthread_mutex_unlock(&lock);
	sl_rcu_call(&queue->rcu, gone ? free_queue : close_when_empty);
}

void sl_cpu_queue_close(struct sl_cpu_queue *queue)
{
	if (queue)
		close_when_empty(&queue->rcu);
}

int sl_cpu_queue_serve(const unsigned *cpus, unsigned count)
{
	int err = 0;

	pthread_mutex_lock(&lock);
	served_count = sl_min(count, (unsigned)SL_MAX_CPUS);
	for (unsigned i = 0; i < served_count; i++)
		served[i] = cpus[i];
	for (unsigned i = 0; i < served_count && !err; i++)
		err = refill(served[i]);
	pthread_mutex_unlock(&lock);
	return err;
}

void sl_cpu_queue_drain(void (*fn)(void *arg, void **pkts, unsigned n), void *arg)
{
	struct sl_cpu_queue *queue;
	void *pkts[DRAIN];
	unsigned n;

	pthread_mutex_lock(&lock);
	sl_list_for_each (queue, &queues, node) {
		while ((n = rte_ring_sc_dequeue_burst(queue->ring, pkts, DRAIN, NULL)) > 0)
			fn(arg, pkts, n);
	}
	pthread_mutex_unlock(&lock);
}
