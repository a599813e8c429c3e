#include "background.h"

#include <unistd.h>

#include "rcu.h"
#include "test.h"

/* A callback that runs, as one does that waits for a lock, until it is told that it may go on. */
static struct {
	bool entered, go_on;
	unsigned waited_in_vain;
} stage;

static bool wait_for_go(void *arg)
{
	if (__atomic_load_n(&stage.go_on, __ATOMIC_ACQUIRE))
		return false;
	__atomic_store_n(&stage.entered, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; !__atomic_load_n(&stage.go_on, __ATOMIC_ACQUIRE); i++) {
		if (i == 2000) {
			stage.waited_in_vain++;
			break;
		}
		usleep(1000);
	}
	return false;
}

static unsigned polled, called;

static bool count_poll(void *arg)
{
	__atomic_add_fetch(&polled, 1, __ATOMIC_RELAXED);
	return false;
}

static void count_call(struct sl_rcu_head *head)
{
	__atomic_add_fetch(&called, 1, __ATOMIC_RELAXED);
}

/* Whoever holds the lock that the callback waits for may still retire things and add watches. */
TEST(background, additions_and_kicks_do_not_wait_for_callbacks)
{
	static struct sl_rcu_head head;

	ASSERT_EQ(0, sl_background_add_poll(wait_for_go, NULL));
	while (!__atomic_load_n(&stage.entered, __ATOMIC_ACQUIRE))
		usleep(100);
	sl_background_kick();
	sl_rcu_call(&head, count_call);
	EXPECT_EQ(0, sl_background_add_poll(count_poll, NULL));
	__atomic_store_n(&stage.go_on, true, __ATOMIC_RELEASE);
	sl_rcu_barrier();
	EXPECT_EQ(1u, __atomic_load_n(&called, __ATOMIC_RELAXED));
	/* A removal does wait. */
	sl_background_del_poll(wait_for_go, NULL);
	sl_background_del_poll(count_poll, NULL);
	EXPECT_EQ(0u, stage.waited_in_vain);
	EXPECT_GT(__atomic_load_n(&polled, __ATOMIC_RELAXED), 0u);
}
