#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "consumer.h"
#include "test.h"

/* Waking the consumer, and noticing that it is gone. */

static uint8_t record[1 << 16];

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1 && p.revents == POLLIN;
}

/* Whether fd gets silent; it may stay readable for a few milliseconds after the last read. */
static bool falls_silent(int fd)
{
	for (int i = 0; i < 1000; i++) {
		if (!readable(fd, 0))
			return true;
		usleep(1000);
	}
	return false;
}

struct fixture {
	struct consumer c;
	struct rte_mbuf mbuf;
	uint8_t packet[64];
	struct sl_ctx ctx;
};

static bool fixture_open(struct fixture *f, struct perf_event_attr *attr)
{
	memset(f, 0, sizeof(*f));
	f->ctx = packet_context(&f->mbuf, f->packet, sizeof(f->packet));
	return consumer_open(&f->c, attr, 1, PROT_READ | PROT_WRITE);
}

static void output(struct fixture *f, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		EXPECT_EQ(0, sl_perf_output(f->c.event, &f->ctx, f->packet, 20, 0));
}

static void drain(struct fixture *f)
{
	while (consumer_next(f->c.page, record))
		;
}

TEST(perf_bell, rings_until_the_ring_is_drained)
{
	struct perf_event_attr attr = usual_attr();
	struct fixture f;

	ASSERT_TRUE(fixture_open(&f, &attr));
	EXPECT_FALSE(readable(f.c.fd, 20));
	for (int round = 0; round < 5; round++) {
		output(&f, 3);
		EXPECT_TRUE(readable(f.c.fd, 2000));
		drain(&f);
		EXPECT_TRUE(falls_silent(f.c.fd));
	}
	consumer_close(&f.c);
}

/* The consumer may read far more than a ring's worth between two looks of the bell. */
TEST(perf_bell, falls_silent_after_more_than_a_ring)
{
	struct perf_event_attr attr = usual_attr();
	struct fixture f;

	ASSERT_TRUE(fixture_open(&f, &attr));
	output(&f, 1);
	EXPECT_TRUE(readable(f.c.fd, 2000));
	for (int i = 0; i < 2000; i++) {
		output(&f, 50);
		drain(&f);
	}
	EXPECT_TRUE(falls_silent(f.c.fd));
	consumer_close(&f.c);
}

TEST(perf_bell, waits_for_wakeup_events)
{
	struct perf_event_attr attr = usual_attr();
	struct fixture f;

	attr.wakeup_events = 10;
	ASSERT_TRUE(fixture_open(&f, &attr));
	output(&f, 9);
	EXPECT_FALSE(readable(f.c.fd, 50));
	output(&f, 1);
	EXPECT_TRUE(readable(f.c.fd, 2000));
	drain(&f);
	EXPECT_TRUE(falls_silent(f.c.fd));
	consumer_close(&f.c);
}

TEST(perf_bell, waits_for_the_watermark)
{
	struct perf_event_attr attr = usual_attr();
	struct fixture f;

	attr.wakeup_events = 0;
	attr.watermark = 1;
	attr.wakeup_watermark = 1000; /* a sample of 20 bytes takes 32 */
	ASSERT_TRUE(fixture_open(&f, &attr));
	output(&f, 31);
	EXPECT_FALSE(readable(f.c.fd, 50));
	output(&f, 1);
	EXPECT_TRUE(readable(f.c.fd, 2000));
	consumer_close(&f.c);
}

TEST(perf_bell, rings_at_once_when_asked)
{
	struct perf_event_attr attr = usual_attr();
	struct epoll_event ev = { .events = EPOLLIN };
	struct fixture f;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_TRUE(fixture_open(&f, &attr));
	EXPECT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, f.c.fd, &ev));
	output(&f, 1);
	sl_perf_ring_bells();
	EXPECT_EQ(1, epoll_wait(epoll, &ev, 1, 0));
	close(epoll);
	consumer_close(&f.c);
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

/* The number of descriptors falls back to `before` within a second. */
static bool fds_return_to(unsigned before)
{
	for (int i = 0; i < 1000; i++) {
		if (open_fds() <= before)
			return true;
		usleep(1000);
	}
	return false;
}

TEST(perf_bell, last_close_frees_the_event)
{
	struct perf_event_attr attr = usual_attr();
	struct fixture f;
	unsigned before;
	int copy;

	ASSERT_TRUE(fixture_open(&f, &attr)); /* the background thread's descriptors */
	consumer_close(&f.c);
	usleep(50000);
	before = open_fds();
	ASSERT_TRUE(fixture_open(&f, &attr));
	copy = dup(f.c.fd);
	sl_perf_event_unref(f.c.event);
	close(f.c.fd);
	EXPECT_FALSE(fds_return_to(before));
	EXPECT_EQ(0, sl_perf_event_get(copy, &f.c.event));
	output(&f, 1);
	sl_perf_event_unref(f.c.event);
	close(copy);
	EXPECT_TRUE(fds_return_to(before));
	EXPECT_EQ(0, sluice_perf_munmap(f.c.page, f.c.len_bytes));
}

TEST(perf_bell, copy_in_another_process_keeps_the_event)
{
	struct perf_event_attr attr = usual_attr();
	struct fixture f;
	unsigned before = open_fds();
	int go[2];
	pid_t child;

	ASSERT_EQ(0, pipe(go));
	ASSERT_TRUE(fixture_open(&f, &attr));
	child = fork();
	if (child == 0) {
		char byte;

		close(go[1]);
		_exit(read(go[0], &byte, 1) == 0 && readable(f.c.fd, 2000) ? 0 : 1);
	}
	sl_perf_event_unref(f.c.event);
	close(f.c.fd);
	usleep(50000);
	output(&f, 1);
	EXPECT_GT(open_fds(), before + 2);
	close(go[1]);
	close(go[0]);
	ASSERT_EQ(child, waitpid(child, &(int){ 0 }, 0));
	EXPECT_TRUE(fds_return_to(before));
	EXPECT_EQ(0, sluice_perf_munmap(f.c.page, f.c.len_bytes));
}

TEST(perf_bell, map_slot_outlives_the_descriptors)
{
	struct perf_event_attr attr = usual_attr();
	struct fixture f;

	ASSERT_TRUE(fixture_open(&f, &attr));
	close(f.c.fd);
	usleep(50000);
	output(&f, 3);
	EXPECT_TRUE(consumer_next(f.c.page, record));
	sl_perf_event_unref(f.c.event);
	EXPECT_EQ(0, sluice_perf_munmap(f.c.page, f.c.len_bytes));
}
