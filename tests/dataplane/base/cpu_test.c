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
