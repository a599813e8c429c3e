#include "cpu.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "rcu.h"
#include "test.h"

static int note_thread(unsigned cpu, void *arg)
{
	*(pthread_t *)arg = pthread_self();
	return (int)cpu + 100;
}

TEST(cpu, run_without_a_worker_stays_on_the_caller)
{
	pthread_t ran;

	EXPECT_EQ(sl_cpu_run(0, note_thread, &ran), 100);
	EXPECT_TRUE(pthread_equal(ran, pthread_self()));
	EXPECT_EQ(sl_cpu_run(sl_cpu_count(), note_thread, &ran), -ENXIO);
}

static bool ready, stop;

static void *worker(void *arg)
{
	(void)arg;
	sl_rcu_online();
	sl_cpu_claim(0);
	__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		sl_cpu_poll(0);
		sl_rcu_quiescent();
	}
	sl_cpu_release(0);
	sl_rcu_offline();
	return NULL;
}

TEST(cpu, run_on_an_owned_cpu_is_done_by_its_worker)
{
	pthread_t thread, ran;

	ASSERT_EQ(pthread_create(&thread, NULL, worker, NULL), 0);
	while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		usleep(100);
	EXPECT_EQ(sl_cpu_claim(0), -EBUSY);
	for (int i = 0; i < 100; i++) {
		EXPECT_EQ(sl_cpu_run(0, note_thread, &ran), 100);
		EXPECT_TRUE(pthread_equal(ran, thread));
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	EXPECT_EQ(sl_cpu_run(0, note_thread, &ran), 100);
	EXPECT_TRUE(pthread_equal(ran, pthread_self()));
}

static unsigned ran_on[SL_MAX_CPUS];

static int count_cpu(unsigned cpu, void *arg)
{
	(void)arg;
	__atomic_add_fetch(&ran_on[cpu], 1, __ATOMIC_RELAXED);
	return 0;
}

enum { CALLERS = 3, ROUNDS = 200 };

static void *call_all(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		sl_cpu_run_all(count_cpu, NULL);
		sl_cpu_run(i % sl_cpu_count(), count_cpu, NULL);
	}
	return arg;
}

/* Whoever else posts, borrows a CPU, or gives its own back meanwhile. */
TEST(cpu, run_on_all_is_done_once_on_each)
{
	pthread_t thread, callers[CALLERS];
	unsigned total = 0;

	__atomic_store_n(&ready, false, __ATOMIC_RELAXED);
	__atomic_store_n(&stop, false, __ATOMIC_RELAXED);
	ASSERT_EQ(pthread_create(&thread, NULL, worker, NULL), 0);
	while (!__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		usleep(100);
	for (unsigned i = 0; i < CALLERS; i++)
		pthread_create(&callers[i], NULL, call_all, NULL);
	usleep(2000);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < CALLERS; i++)
		pthread_join(callers[i], NULL);
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		EXPECT_GE(ran_on[cpu], (unsigned)CALLERS * ROUNDS);
		total += ran_on[cpu];
	}
	EXPECT_EQ(total, CALLERS * ROUNDS * (sl_cpu_count() + 1));
}
