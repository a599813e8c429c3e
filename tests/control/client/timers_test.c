#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "test.h"
#include "timers.skel.h"

/* The answers are those that the same object gets from the kernel. */

static int run(const struct bpf_program *prog)
{
	static char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	return bpf_prog_test_run_opts(bpf_program__fd(prog), &opts) == 0 ? (int)opts.retval
									 : -errno;
}

static uint64_t fired(const struct timers *skel)
{
	return __atomic_load_n(&skel->bss->fired, __ATOMIC_ACQUIRE);
}

/* Waits until that many callbacks have run, and a while longer for one too many. */
static void wait_for(const struct timers *skel, uint64_t count)
{
	for (int i = 0; i < 5000 && fired(skel) < count; i++)
		usleep(1000);
	usleep(20000);
	EXPECT_EQ(fired(skel), count);
}

static uint64_t count_of(const struct bpf_map *map, uint32_t key)
{
	struct {
		uint64_t count, timer[2];
	} value = { 0 };

	if (bpf_map_lookup_elem(bpf_map__fd(map), &key, &value))
		return UINT64_MAX;
	EXPECT_EQ(value.timer[0], 0);
	return value.count;
}

TEST(timers, answers)
{
	static const int expected[] = { -EINVAL, -EINVAL, 0, -EBUSY, -EINVAL, 0, -EINVAL, 0,
		-EINVAL, -EDEADLK };
	struct timers *skel = timers__open_and_load();

	ASSERT_TRUE(skel != NULL);
	EXPECT_EQ(run(skel->progs.errors), 0);
	wait_for(skel, 1);
	for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		EXPECT_EQ(skel->bss->answers[i], expected[i]);
	EXPECT_EQ(skel->bss->keys, 1);
	EXPECT_EQ(count_of(skel->maps.array, 1), 1);
	timers__destroy(skel);
}

TEST(timers, callback_starts_its_timer_again)
{
	struct timers *skel = timers__open_and_load();

	ASSERT_TRUE(skel != NULL);
	EXPECT_EQ(run(skel->progs.repeated), 0);
	wait_for(skel, 10);
	EXPECT_EQ(count_of(skel->maps.array, 2), 5);
	EXPECT_EQ(count_of(skel->maps.hash, 7), UINT64_MAX);
	timers__destroy(skel);
}

TEST(timers, go_with_their_elements)
{
	struct timers *skel = timers__open_and_load();

	ASSERT_TRUE(skel != NULL);
	EXPECT_EQ(run(skel->progs.taken_away), 0);
	EXPECT_EQ(skel->bss->answers[0], -EINVAL);
	EXPECT_EQ(skel->bss->answers[1], -EINVAL);
	wait_for(skel, 0);
	EXPECT_EQ(count_of(skel->maps.array, 3), 77);
	timers__destroy(skel);
}

/* With timers armed: nothing may be left of program and maps but what a grace period frees. */
TEST(timers, maps_go_with_timers_armed)
{
	for (int i = 0; i < 20; i++) {
		struct timers *skel = timers__open_and_load();

		ASSERT_TRUE(skel != NULL);
		EXPECT_EQ(run(skel->progs.errors), 0);
		EXPECT_EQ(run(skel->progs.repeated), 0);
		timers__destroy(skel);
	}
	usleep(20000);
}
