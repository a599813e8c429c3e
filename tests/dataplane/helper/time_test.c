#include "clock.h"

#include <time.h>
#include <unistd.h>

#include "helper.h"
#include "test.h"

static int64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* The worst disagreement over some readings; a reading that was interrupted counts for nothing. */
static int64_t worst_error_ns(void)
{
	int64_t worst = 0;

	for (int i = 0; i < 1000; i++) {
		int64_t before = monotonic_ns(), ours = sl_clock_ns(), after = monotonic_ns();
		int64_t error = ours < before ? before - ours : ours > after ? ours - after : 0;

		if (error > worst)
			worst = error;
	}
	return worst;
}

TEST(clock, follows_the_monotonic_clock)
{
	EXPECT_LT(worst_error_ns(), 1000000);
	ASSERT_EQ(sl_helper_start(), 0);
	ASSERT_EQ(sl_helper_start(), 0);
	for (int i = 0; i < 10; i++) {
		usleep(50000);
		EXPECT_LT(worst_error_ns(), 100000);
	}
}

TEST(clock, never_goes_back)
{
	uint64_t last = sl_clock_ns(), now;

	ASSERT_EQ(sl_helper_start(), 0);
	for (int64_t end = monotonic_ns() + 500000000; monotonic_ns() < end; last = now) {
		now = sl_clock_ns();
		ASSERT_GE(now, last);
	}
}
