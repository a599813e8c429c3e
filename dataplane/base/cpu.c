#include "cpu.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "fork.h"
#include "rcu.h"
#include "wait.h"

struct work {
	int (*fn)(unsigned cpu, void *arg);
	void *arg;
	int result;
	bool done; /* written by the worker with release, read by the poster with acquire */
};

struct slot {
	struct work *posted; /* poster stores with release, worker takes with acquire */
	bool owned; /* written under lock; read by anyone */
	unsigned waiting; /* threads that want the lock; atomically */
	pthread_mutex_t lock; /* one control thread at a time posts to or borrows the CPU */
} sl_cache_aligned;

static struct slot slots[SL_MAX_CPUS];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned count;

/* "0-3,8-11" in /sys: the number of possible CPUs is one past the last. */
static unsigned read_possible(void)
{
	FILE *f = fopen("/sys/devices/system/cpu/possible", "re");
	unsigned last = 0, n;
	int c;

	if (!f)
		return 1;
	while (fscanf(f, "%u", &n) == 1) {
		last = n;
		c = fgetc(f);
		if (c != '-' && c != ',')
			break;
	}
	fclose(f);
	return last + 1;
}

static void init_locks(void)
{
	for (unsigned i = 0; i < SL_MAX_CPUS; i++)
		pthread_mutex_init(&slots[i].lock, NULL);
}

static void after_fork(void)
{
	init_locks();
	for (unsigned i = 0; i < SL_MAX_CPUS; i++) {
		slots[i].owned = false;
		slots[i].posted = NULL;
		slots[i].waiting = 0;
	}
}

static void init(void)
{
	count = read_possible();
	count = sl_min(count, (unsigned)SL_MAX_CPUS);
	init_locks();
	sl_fork_register(NULL, NULL, after_fork);
}

unsigned sl_cpu_count(void)
{
	pthread_once(&once, init);
	return count;
}

static void lock_slot(unsigned cpu)
{
	__atomic_add_fetch(&slots[cpu].waiting, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(&slots[cpu].lock);
	__atomic_sub_fetch(&slots[cpu].waiting, 1, __ATOMIC_RELAXED);
}

bool sl_cpu_is_wanted(unsigned cpu)
{
	return __atomic_load_n(&slots[cpu].waiting, __ATOMIC_RELAXED) > 0;
}

void sl_cpu_step_aside(unsigned cpu)
{
	enum { STEPS_MAX = 1000 };

	for (unsigned steps = 0; steps < STEPS_MAX && sl_cpu_is_wanted(cpu);)
		sl_wait_step(&steps);
}

int sl_cpu_claim(unsigned cpu)
{
	int err = 0;

	if (cpu >= sl_cpu_count())
		return -EINVAL;
	lock_slot(cpu);
	if (slots[cpu].owned)
		err = -EBUSY;
	__atomic_store_n(&slots[cpu].owned, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&slots[cpu].lock);
	return err;
}

void sl_cpu_release(unsigned cpu)
{
	/* A poster holds the lock until its work is done, so serve it while waiting for the lock. */
	while (pthread_mutex_trylock(&slots[cpu].lock) != 0)
		sl_cpu_poll(cpu);
	__atomic_store_n(&slots[cpu].owned, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&slots[cpu].lock);
}

void sl_cpu_poll(unsigned cpu)
{
	struct work *w = __atomic_load_n(&slots[cpu].posted, __ATOMIC_RELAXED);

	if (sl_likely(!w))
		return;
	w = __atomic_exchange_n(&slots[cpu].posted, NULL, __ATOMIC_ACQUIRE);
	w->result = w->fn(cpu, w->arg);
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
}

/*
 * With the CPU's lock held: runs the work, or leaves it to the worker that owns the CPU, for
 * await_work to wait for. Returns whether it is done.
 */
static bool begin_work(unsigned cpu, struct work *w)
{
	if (slots[cpu].owned) {
		__atomic_store_n(&slots[cpu].posted, w, __ATOMIC_RELEASE);
		return false;
	}
	sl_rcu_read_begin();
	w->result = w->fn(cpu, w->arg);
	sl_rcu_read_end();
	return true;
}

static void await_work(struct work *w)
{
	unsigned steps = 0;

	while (!__atomic_load_n(&w->done, __ATOMIC_ACQUIRE))
		sl_wait_step(&steps);
}

int sl_cpu_run(unsigned cpu, int (*fn)(unsigned cpu, void *arg), void *arg)
{
	struct work w = { .fn = fn, .arg = arg };

	if (cpu >= sl_cpu_count())
		return -ENXIO;
	lock_slot(cpu);
	if (!begin_work(cpu, &w))
		await_work(&w);
	pthread_mutex_unlock(&slots[cpu].lock);
	return w.result;
}

enum turn { TURN_LATER, TURN_POSTED, TURN_DONE };

/* Unless somebody else has the CPU, which nobody is to wait for with another one in hand. */
static enum turn try_turn(unsigned cpu, struct work *w)
{
	if (pthread_mutex_trylock(&slots[cpu].lock) != 0)
		return TURN_LATER;
	if (!begin_work(cpu, w))
		return TURN_POSTED;
	pthread_mutex_unlock(&slots[cpu].lock);
	return TURN_DONE;
}

void sl_cpu_run_all(int (*fn)(unsigned cpu, void *arg), void *arg)
{
	enum turn turns[SL_MAX_CPUS];
	struct work works[SL_MAX_CPUS];

	/* Workers first: they take until the ends of their bursts. */
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		works[cpu] = (struct work){ .fn = fn, .arg = arg };
		turns[cpu] = sl_cpu_is_owned(cpu) ? try_turn(cpu, &works[cpu]) : TURN_LATER;
	}
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		if (turns[cpu] == TURN_LATER)
			turns[cpu] = try_turn(cpu, &works[cpu]);
	}
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		if (turns[cpu] != TURN_POSTED)
			continue;
		await_work(&works[cpu]);
		pthread_mutex_unlock(&slots[cpu].lock);
	}
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		if (turns[cpu] == TURN_LATER)
			sl_cpu_run(cpu, fn, arg);
	}
}

bool sl_cpu_is_owned(unsigned cpu)
{
	return __atomic_load_n(&slots[cpu].owned, __ATOMIC_RELAXED);
}

unsigned sl_cpu_undisturbed(unsigned cpu)
{
	if (sl_cpu_is_owned(cpu))
		return cpu;
	for (unsigned i = 0; i < sl_cpu_count(); i++)
		if (sl_cpu_is_owned(i))
			return i;
	return cpu;
}

int sl_cpu_run_undisturbed(int (*fn)(unsigned cpu, void *arg), void *arg)
{
	return sl_cpu_run(sl_cpu_undisturbed(sl_cpu_pick()), fn, arg);
}

unsigned sl_cpu_pick(void)
{
	unsigned n = sl_cpu_count();
	int here = sched_getcpu();
	unsigned first = here >= 0 && (unsigned)here < n ? (unsigned)here : 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned cpu = (first + i) % n;

		if (!sl_cpu_is_owned(cpu))
			return cpu;
	}
	return first;
}
