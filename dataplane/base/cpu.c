#include "cpu.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "fork.h"
#include "rcu.h"

struct work {
	int (*fn)(unsigned cpu, void *arg);
	void *arg;
	int result;
	bool done; /* written by the worker with release, read by the poster with acquire */
};

struct slot {
	struct work *posted; /* poster stores with release, worker takes with acquire */
	bool owned; /* written under lock; read by anyone */
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

int sl_cpu_claim(unsigned cpu)
{
	int err = 0;

	if (cpu >= sl_cpu_count())
		return -EINVAL;
	pthread_mutex_lock(&slots[cpu].lock);
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

int sl_cpu_run(unsigned cpu, int (*fn)(unsigned cpu, void *arg), void *arg)
{
	struct work w = { .fn = fn, .arg = arg };

	if (cpu >= sl_cpu_count())
		return -ENXIO;
	pthread_mutex_lock(&slots[cpu].lock);
	if (!slots[cpu].owned) {
		sl_rcu_read_begin();
		w.result = fn(cpu, arg);
		sl_rcu_read_end();
	} else {
		__atomic_store_n(&slots[cpu].posted, &w, __ATOMIC_RELEASE);
		while (!__atomic_load_n(&w.done, __ATOMIC_ACQUIRE))
			sched_yield();
	}
	pthread_mutex_unlock(&slots[cpu].lock);
	return w.result;
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
