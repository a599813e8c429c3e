#include "rcu.h"

#include <pthread.h>
#include <unistd.h>

#include "test.h"

static unsigned freed;

static void count_free(struct sl_rcu_head *head)
{
	(void)head;
	__atomic_add_fetch(&freed, 1, __ATOMIC_RELAXED);
}

TEST(rcu, callback_runs_without_readers)
{
	struct sl_rcu_head head;

	freed = 0;
	sl_rcu_call(&head, count_free);
	sl_rcu_barrier();
	EXPECT_EQ(freed, 1u);
}

static void *hold(void *arg)
{
	int *stage = arg;

	sl_rcu_read_begin();
	__atomic_store_n(&stage[0], 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&stage[1], __ATOMIC_ACQUIRE))
		usleep(100);
	sl_rcu_read_end();
	return NULL;
}

TEST(rcu, grace_period_waits_for_a_reader)
{
	struct sl_rcu_head head;
	int stage[2] = { 0, 0 };
	pthread_t thread;
	uint64_t token;

	freed = 0;
	ASSERT_EQ(pthread_create(&thread, NULL, hold, stage), 0);
	while (!__atomic_load_n(&stage[0], __ATOMIC_ACQUIRE))
		usleep(100);
	token = sl_rcu_token();
	sl_rcu_call(&head, count_free);
	usleep(20000);
	EXPECT_FALSE(sl_rcu_passed(token));
	EXPECT_EQ(__atomic_load_n(&freed, __ATOMIC_RELAXED), 0u);
	__atomic_store_n(&stage[1], 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	sl_rcu_barrier();
	EXPECT_TRUE(sl_rcu_passed(token));
	EXPECT_EQ(freed, 1u);
}
