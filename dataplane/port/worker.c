#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include "cpu.h"
#include "eal.h"
#include "logging.h"
#include "port.h"
#include "to_cpu.h"
#include "transmit.h"
#include "twin.h"
#include "xsk_port.h"

/*
 * A worker is an lcore that polls queues until it is told to stop. What it polls is its plan, made
 * from all ports by a control thread and published as a whole; a worker keeps a plan, and every port
 * that it found through one, until the quiescent state at the end of a round.
 *
 * Queue q of a port belongs to worker q, but where ports have fewer queues than there are workers
 * the spare ones go to whom has least. TX queue q is worker q's; the workers past the last queue
 * hand their packets to the owner of queue (index mod queues).
 */
static struct sl_worker *workers[SL_WORKERS_MAX]; /* allocated once, kept until the process ends */
static unsigned worker_total;
static bool running; /* under the ports' lock */

struct sl_worker *sl_worker_at(unsigned index)
{
	return index < worker_total ? workers[index] : NULL;
}

unsigned sl_worker_count(void)
{
	return worker_total;
}

unsigned sluice_workers_count(void)
{
	return worker_total;
}

bool sl_worker_running(void)
{
	return running;
}

/* The one CPU of an lcore; -EINVAL when it floats over several. */
static int lcore_cpu(unsigned lcore)
{
	rte_cpuset_t set = rte_lcore_cpuset(lcore);

	if (CPU_COUNT(&set) != 1)
		return -EINVAL;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &set))
			return cpu;
	}
	return -EINVAL;
}

int sl_worker_init(void)
{
	unsigned lcore;

	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		int cpu = lcore_cpu(lcore);
		struct sl_worker *w;

		if (cpu < 0) {
			sl_log(SL_LOG_ERROR, "lcore %u must run on one CPU", lcore);
			return cpu;
		}
		w = aligned_alloc(SL_CACHE_LINE, sizeof(*w));
		if (!w)
			return -ENOMEM;
		memset(w, 0, sizeof(*w));
		w->index = (uint16_t)worker_total;
		w->lcore = lcore;
		w->cpu = (unsigned)cpu;
		w->run.cpu = w->cpu;
		w->run.random = 0x9e3779b97f4a7c15ull * (w->cpu + 1);
		w->run.worker = w;
		workers[worker_total++] = w;
	}
	if (worker_total == 0) {
		sl_log(SL_LOG_ERROR, "no lcore is left for a worker beside the main one");
		return -EINVAL;
	}
	return sl_to_cpu_init();
}

static int plan_init(struct sl_plan **ret_plan, unsigned ports)
{
	size_t rx = ports * (size_t)worker_total; /* at most a queue per worker each */
	struct sl_plan *plan = calloc(1, sizeof(*plan) + (rx + 2 * ports) * sizeof(plan->rx[0]));

	if (!plan)
		return -ENOMEM;
	plan->handover = plan->rx + rx;
	plan->twins = plan->handover + ports;
	*ret_plan = plan;
	return 0;
}

static unsigned least_busy(struct sl_plan *const *plans)
{
	unsigned least = 0;

	for (unsigned i = 1; i < worker_total; i++) {
		if (plans[i]->rx_count < plans[least]->rx_count)
			least = i;
	}
	return least;
}

static void plan_queue(struct sl_plan *plan, struct sl_port *port, uint16_t queue)
{
	plan->rx[plan->rx_count++] = (struct sl_plan_queue){ port, queue };
}

/* Queues belong to the worker of their number. */
static void plan_port(struct sl_plan *const *plans, struct sl_port *port)
{
	for (uint16_t q = 0; port->rx_queues > 1 && q < port->rx_queues; q++)
		plan_queue(plans[q], port, q);
	for (uint16_t q = 0; port->handover && q < port->tx_queues; q++)
		plans[q]->handover[plans[q]->handover_count++] = (struct sl_plan_queue){ port, q };
}

/*
 * An only one belongs to whoever had the least to do when the port came, and stays there: the workers
 * take their plans at different times, and two of them must not be in a driver's queue at once.
 */
static void plan_only_queues(struct sl_plan *const *plans, bool newcomers)
{
	for (unsigned i = 0; i < SL_PORTS_MAX; i++) {
		struct sl_port *port = sl_ports[i];

		if (!port || port->rx_queues != 1 || !port->poller != newcomers)
			continue;
		if (newcomers)
			port->poller = 1 + least_busy(plans);
		plan_queue(plans[port->poller - 1], port, 0);
	}
}

/* As a queue, a twin's ring stays with its worker: who polls the port, and some one of several. */
static void plan_twins(struct sl_plan *const *plans)
{
	for (unsigned i = 0; i < SL_PORTS_MAX; i++) {
		struct sl_port *port = sl_ports[i];
		struct sl_plan *plan;

		if (!port || !port->twin)
			continue;
		plan = plans[port->poller ? port->poller - 1 : port->id % worker_total];
		plan->twins[plan->twin_count++] = (struct sl_plan_queue){ port, 0 };
	}
}

static void plan_ports(struct sl_plan *const *plans)
{
	for (unsigned i = 0; i < SL_PORTS_MAX; i++) {
		if (sl_ports[i])
			plan_port(plans, sl_ports[i]);
	}
	plan_only_queues(plans, false);
	plan_only_queues(plans, true);
	plan_twins(plans);
}

static void plan_free(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_plan, rcu));
}

int sl_worker_replan(void)
{
	struct sl_plan *plans[SL_WORKERS_MAX] = { NULL };
	unsigned ports = 0;
	int err = 0;

	for (unsigned i = 0; i < SL_PORTS_MAX; i++)
		ports += sl_ports[i] != NULL;
	for (unsigned i = 0; !err && i < worker_total; i++)
		err = plan_init(&plans[i], ports);
	if (!err)
		plan_ports(plans);
	for (unsigned i = 0; i < worker_total; i++) {
		struct sl_plan *old = workers[i]->plan;

		if (err) {
			free(plans[i]);
			continue;
		}
		sl_rcu_store(workers[i]->plan, plans[i]);
		if (old)
			sl_rcu_call(&old->rcu, plan_free);
	}
	return err;
}

static inline void poll_queue(struct sl_worker *w, struct sl_port *port, uint16_t queue)
{
	sl_loop_poll(w, port, queue);
	sl_xsk_poll(w, port, queue);
}

/*
 * Where a round's time goes depends on whether it has found a packet: one look at the counter tells
 * the busy from the idle. Work that was posted to the CPU counts with the round after it.
 */
static inline void account(struct sl_worker *w)
{
	uint64_t now = rte_rdtsc();

	sl_worker_note(w->round_packets ? &w->stats.busy_cycles : &w->stats.idle_cycles,
		now - w->round_end);
	w->round_packets = 0;
	w->round_end = now;
}

/* One look at everything this worker polls. */
static void run_round(struct sl_worker *w)
{
	const struct sl_plan *plan = sl_rcu_load(w->plan);

	for (uint32_t i = 0; i < plan->rx_count; i++)
		poll_queue(w, plan->rx[i].port, plan->rx[i].queue);
	for (uint32_t i = 0; i < plan->handover_count; i++)
		sl_transmit_handover(w, plan->handover[i].port, plan->handover[i].queue);
	for (uint32_t i = 0; i < plan->twin_count; i++)
		sl_twin_poll(w, plan->twins[i].port);
	sl_to_cpu_poll(w);
	account(w);
}

/*
 * A worker that polls nothing rests between its rounds, so that a daemon without ports leaves the CPU
 * to others. What is posted to it waits that long.
 */
static void rest(const struct sl_worker *w)
{
	static const struct timespec pause = { .tv_nsec = 100000 };
	const struct sl_plan *plan = sl_rcu_load(w->plan);

	if (sl_unlikely(plan->rx_count + plan->handover_count == 0) &&
		!sl_cpu_inbox_peek(w->run.cpu))
		nanosleep(&pause, NULL);
}

static int begin(struct sl_worker *w)
{
	int err = sl_cpu_claim(w->cpu);

	if (err)
		return err;
	err = sl_rcu_online();
	if (err)
		sl_cpu_release(w->cpu);
	return err;
}

static int worker_main(void *arg)
{
	struct sl_worker *w = arg;
	int err = begin(w);

	w->thread = pthread_self();
	w->started = true;
	__atomic_store_n(&w->error, err, __ATOMIC_RELEASE); /* pairs with sluice_workers_start */
	if (err)
		return err;
	w->round_end = rte_rdtsc();
	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		run_round(w);
		sl_cpu_poll(w->cpu);
		rest(w);
		sl_rcu_quiescent();
	}
	sl_cpu_release(w->cpu);
	sl_rcu_offline();
	return 0;
}

/* With the lock held. */
static void stop_workers(void)
{
	for (unsigned i = 0; i < worker_total; i++)
		__atomic_store_n(&workers[i]->stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < worker_total; i++)
		rte_eal_wait_lcore(workers[i]->lcore);
	running = false;
	for (unsigned i = 0; i < SL_PORTS_MAX; i++) {
		if (sl_ports[i])
			sl_transmit_drain(workers[0], sl_ports[i]);
	}
	sl_to_cpu_drain(workers[0]);
	sl_twin_settle();
}

/* Whom packets for a CPU go to, with or without a worker of its own. */
static int serve_cpus(void)
{
	unsigned cpus[SL_WORKERS_MAX];

	for (unsigned i = 0; i < worker_total; i++)
		cpus[i] = workers[i]->cpu;
	return sl_cpu_queue_serve(cpus, worker_total);
}

/* Waits until the worker runs or has refused. */
static int await(struct sl_worker *w)
{
	int err;

	while ((err = __atomic_load_n(&w->error, __ATOMIC_ACQUIRE)) > 0)
		sched_yield();
	return err;
}

static int launch(struct sl_worker *w)
{
	int err;

	w->stop = false;
	w->error = 1;
	err = rte_eal_remote_launch(worker_main, w, w->lcore);
	if (!err)
		err = await(w);
	if (err)
		sl_log(SL_LOG_ERROR, "cannot start the worker on CPU %u: %s", w->cpu,
			err == -EBUSY ? "another one has the CPU" : strerror(-err));
	return err;
}

int sluice_worker_times(unsigned worker, unsigned *ret_cpu, uint64_t *ret_cpu_ns)
{
	struct sl_worker *w = sl_worker_at(worker);
	struct timespec now = { 0 };
	clockid_t clock;

	if (!w)
		return -EINVAL;
	sl_port_lock();
	if (w->started && pthread_getcpuclockid(w->thread, &clock) == 0)
		clock_gettime(clock, &now);
	sl_port_unlock();
	*ret_cpu = w->cpu;
	*ret_cpu_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	return 0;
}

int sluice_workers_start(void)
{
	int err = sl_eal_started() ? 0 : -ENODEV;

	if (err) {
		sl_log(SL_LOG_ERROR, "cannot start workers: the EAL is not started");
		return err;
	}
	sl_port_lock();
	if (running) {
		sl_port_unlock();
		return 0;
	}
	err = sl_worker_replan();
	if (!err)
		err = serve_cpus();
	for (unsigned i = 0; !err && i < worker_total; i++)
		err = launch(workers[i]);
	running = true;
	if (err)
		stop_workers();
	sl_port_unlock();
	return err;
}

void sluice_workers_stop(void)
{
	sl_port_lock();
	if (running)
		stop_workers();
	sl_port_unlock();
}
