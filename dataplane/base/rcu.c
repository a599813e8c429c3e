#include "rcu.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <rte_rcu_qsbr.h>

#include "background.h"
#include "fork.h"
#include "wait.h"

static struct rte_rcu_qsbr *qsbr;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;

/* Thread ids in use; protected by id_lock. */
static pthread_mutex_t id_lock = PTHREAD_MUTEX_INITIALIZER;
static bool id_used[SL_RCU_MAX_THREADS];

static __thread unsigned my_id; /* 1 + the thread's id in qsbr; 0 while it has none */
static __thread unsigned my_depth; /* nesting of read sections; a worker holds one */

/* Callbacks in order of arrival; each batch waits for one token. Protected by call_lock. */
static pthread_mutex_t call_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t call_done = PTHREAD_COND_INITIALIZER;
static struct sl_rcu_head *queued, **queued_tail = &queued;
static struct sl_rcu_head *waiting; /* background thread only, and a forked child */
static uint64_t waiting_token;
static uint64_t calls_queued, calls_run;
static bool poll_started;

static void thread_exit(void *id)
{
	unsigned i = (uintptr_t)id - 1;

	rte_rcu_qsbr_thread_offline(qsbr, i);
	rte_rcu_qsbr_thread_unregister(qsbr, i);
	pthread_mutex_lock(&id_lock);
	id_used[i] = false;
	pthread_mutex_unlock(&id_lock);
	my_id = 0;
}

static void before_fork(void)
{
	pthread_mutex_lock(&id_lock);
	pthread_mutex_lock(&call_lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&call_lock);
	pthread_mutex_unlock(&id_lock);
}

/*
 * The other threads of the parent do not exist in the child; only the caller's state survives.
 * What the background thread was calling at that moment stays undone.
 */
static void in_child(void)
{
	calls_run = calls_queued;
	for (struct sl_rcu_head *h = queued; h; h = h->next)
		calls_run--;
	for (struct sl_rcu_head *h = waiting; h; h = h->next)
		calls_run--;
	if (waiting)
		waiting_token = rte_rcu_qsbr_start(qsbr);
	pthread_cond_init(&call_done, NULL);
	in_parent();
	for (unsigned i = 0; i < SL_RCU_MAX_THREADS; i++) {
		if (!id_used[i] || i + 1 == my_id)
			continue;
		rte_rcu_qsbr_thread_offline(qsbr, i);
		rte_rcu_qsbr_thread_unregister(qsbr, i);
		id_used[i] = false;
	}
}

static void init(void)
{
	size_t size = rte_rcu_qsbr_get_memsize(SL_RCU_MAX_THREADS);

	qsbr = aligned_alloc(SL_CACHE_LINE, sl_round_up(size, SL_CACHE_LINE));
	if (!qsbr || rte_rcu_qsbr_init(qsbr, SL_RCU_MAX_THREADS) != 0)
		abort();
	if (pthread_key_create(&exit_key, thread_exit) != 0)
		abort();
	sl_fork_register(before_fork, in_parent, in_child);
}

static int register_thread(void)
{
	unsigned i;

	pthread_once(&once, init);
	if (my_id)
		return 0;
	pthread_mutex_lock(&id_lock);
	for (i = 0; i < SL_RCU_MAX_THREADS && id_used[i]; i++)
		;
	if (i < SL_RCU_MAX_THREADS)
		id_used[i] = true;
	pthread_mutex_unlock(&id_lock);
	if (i == SL_RCU_MAX_THREADS)
		return -EMFILE;
	rte_rcu_qsbr_thread_register(qsbr, i);
	my_id = i + 1;
	pthread_setspecific(exit_key, (void *)(uintptr_t)my_id);
	return 0;
}

int sl_rcu_online(void)
{
	int err = register_thread();

	if (err)
		return err;
	if (my_depth++ == 0)
		rte_rcu_qsbr_thread_online(qsbr, my_id - 1);
	return 0;
}

void sl_rcu_offline(void)
{
	sl_rcu_read_end();
}

void sl_rcu_quiescent(void)
{
	rte_rcu_qsbr_quiescent(qsbr, my_id - 1);
}

void sl_rcu_read_begin(void)
{
	/* More threads than the limit wait for one to exit; that is better than an unsafe read. */
	while (sl_unlikely(!my_id) && register_thread() != 0)
		sched_yield();
	if (my_depth++ == 0)
		rte_rcu_qsbr_thread_online(qsbr, my_id - 1);
}

void sl_rcu_read_end(void)
{
	if (--my_depth == 0)
		rte_rcu_qsbr_thread_offline(qsbr, my_id - 1);
}

uint64_t sl_rcu_token(void)
{
	pthread_once(&once, init);
	return rte_rcu_qsbr_start(qsbr);
}

/*
 * An answer that DPDK has cached comes without a look at the threads' counters, so ThreadSanitizer
 * does not see what orders it. Here is the look.
 */
static void show_order(void)
{
#ifdef __SANITIZE_THREAD__
	for (unsigned i = 0; i < SL_RCU_MAX_THREADS; i++)
		__atomic_load_n(&qsbr->qsbr_cnt[i].cnt, __ATOMIC_ACQUIRE);
#endif
}

bool sl_rcu_passed(uint64_t token)
{
	if (rte_rcu_qsbr_check(qsbr, token, false) != 1)
		return false;
	show_order();
	return true;
}

void sl_rcu_synchronize(void)
{
	uint64_t token = sl_rcu_token();
	unsigned steps = 0;

	while (!sl_rcu_passed(token))
		sl_wait_step(&steps);
}

static unsigned run_callbacks(struct sl_rcu_head *head)
{
	unsigned n = 0;

	while (head) {
		struct sl_rcu_head *next = head->next;

		head->fn(head);
		head = next;
		n++;
	}
	return n;
}

static bool poll_callbacks(void *arg)
{
	struct sl_rcu_head *ready;
	unsigned n;

	(void)arg;
	if (!waiting) {
		pthread_mutex_lock(&call_lock);
		waiting = queued;
		queued = NULL;
		queued_tail = &queued;
		pthread_mutex_unlock(&call_lock);
		if (!waiting)
			return false;
		waiting_token = sl_rcu_token();
	}
	if (!sl_rcu_passed(waiting_token))
		return true;
	ready = waiting;
	waiting = NULL;
	n = run_callbacks(ready);
	pthread_mutex_lock(&call_lock);
	calls_run += n;
	pthread_cond_broadcast(&call_done);
	pthread_mutex_unlock(&call_lock);
	return true;
}

void sl_rcu_call(struct sl_rcu_head *head, void (*fn)(struct sl_rcu_head *head))
{
	bool start;

	pthread_once(&once, init);
	head->fn = fn;
	head->next = NULL;
	pthread_mutex_lock(&call_lock);
	*queued_tail = head;
	queued_tail = &head->next;
	calls_queued++;
	start = !poll_started;
	poll_started = true;
	pthread_mutex_unlock(&call_lock);
	if (start)
		sl_background_add_poll(poll_callbacks, NULL);
	sl_background_kick();
}

void sl_rcu_barrier(void)
{
	uint64_t target;

	pthread_mutex_lock(&call_lock);
	target = calls_queued;
	pthread_mutex_unlock(&call_lock);
	/* Not under the lock, which the background thread takes under its own. */
	sl_background_kick();
	pthread_mutex_lock(&call_lock);
	while (calls_run < target)
		pthread_cond_wait(&call_done, &call_lock);
	pthread_mutex_unlock(&call_lock);
}
