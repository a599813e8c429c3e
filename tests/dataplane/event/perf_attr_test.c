#include <errno.h>
#include <linux/perf_event.h>
#include <sluice/bpf.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oracle.h"
#include "test.h"

/* Opening, mapping and controlling events: every row is asked of the kernel too. */

struct call {
	struct perf_event_attr attr;
	int pid, cpu, group_fd;
	unsigned long flags;
};

static struct call usual_call(void)
{
	return (struct call){
		.attr = { .size = sizeof(struct perf_event_attr),
			.type = PERF_TYPE_SOFTWARE,
			.config = PERF_COUNT_SW_BPF_OUTPUT,
			.sample_type = PERF_SAMPLE_RAW,
			.sample_period = 1,
			.wakeup_events = 1 },
		.pid = -1,
		.group_fd = -1,
		.flags = PERF_FLAG_FD_CLOEXEC,
	};
}

static int ours(struct call *c)
{
	int fd = sluice_perf_event_open(&c->attr, c->pid, c->cpu, c->group_fd, c->flags);

	return fd >= 0 ? fd : -errno;
}

static int kernels(struct call *c)
{
	int fd = syscall(__NR_perf_event_open, &c->attr, c->pid, c->cpu, c->group_fd, c->flags);

	return fd >= 0 ? fd : -errno;
}

#define KERNEL_OR_SKIP()                                                                       \
	do {                                                                                   \
		struct call sl_probe = usual_call();                                           \
		int sl_fd = kernels(&sl_probe);                                                \
		if (sl_fd < 0)                                                                 \
			SKIP("the kernel's perf_event_open(2) is not permitted to this user"); \
		close(sl_fd);                                                                  \
	} while (0)

#define OPEN_ROWS                                                                     \
	ROW(usual, )                                                                  \
	ROW(other_cpu, c->cpu = sysconf(_SC_NPROCESSORS_ONLN) - 1)                    \
	ROW(cpu_past_end, c->cpu = 9999)                                              \
	ROW(cpu_any, c->cpu = -1)                                                     \
	ROW(cpu_negative, c->cpu = -2)                                                \
	ROW(pid_unknown, c->pid = 99999999)                                           \
	ROW(flag_unknown, c->flags = 1 << 9)                                          \
	ROW(flag_no_group, c->flags |= PERF_FLAG_FD_NO_GROUP)                         \
	ROW(flag_output_alone, c->flags |= PERF_FLAG_FD_OUTPUT)                       \
	ROW(flag_cgroup, c->flags |= PERF_FLAG_PID_CGROUP)                            \
	ROW(group_not_open, c->group_fd = 999)                                        \
	ROW(group_not_an_event, c->group_fd = 0)                                      \
	ROW(size_zero, c->attr.size = 0)                                              \
	ROW(size_one, c->attr.size = 1)                                               \
	ROW(size_63, c->attr.size = 63)                                               \
	ROW(size_huge, c->attr.size = 1 << 20)                                        \
	ROW(no_raw, c->attr.sample_type = 0)                                          \
	ROW(with_time, c->attr.sample_type |= PERF_SAMPLE_TIME)                       \
	ROW(with_ids, c->attr.sample_type |= PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_ID) \
	ROW(sample_bit_unknown, c->attr.sample_type |= 1ull << 40)                    \
	ROW(read_format_unknown, c->attr.read_format = 1 << 10)                       \
	ROW(frequency_too_high, c->attr.freq = 1; c->attr.sample_freq = 1ull << 40)   \
	ROW(period_negative, c->attr.sample_period = 1ull << 63)                      \
	ROW(disabled, c->attr.disabled = 1)                                           \
	ROW(inherit, c->attr.inherit = 1)                                             \
	ROW(inherit_thread_alone, c->attr.inherit_thread = 1)                         \
	ROW(reserved_1, c->attr.__reserved_1 = 1)                                     \
	ROW(reserved_2, c->attr.__reserved_2 = 1)                                     \
	ROW(sigtrap_alone, c->attr.sigtrap = 1)                                       \
	ROW(watermark, c->attr.watermark = 1; c->attr.wakeup_watermark = 5)           \
	ROW(clock_monotonic, c->attr.use_clockid = 1; c->attr.clockid = 1)            \
	ROW(clock_unknown, c->attr.use_clockid = 1; c->attr.clockid = 77)             \
	ROW(config_unknown, c->attr.config = 99)

#define ROW(name, change)                         \
	static void change_##name(struct call *c) \
	{                                         \
		(void)c;                          \
		change;                           \
	}
OPEN_ROWS
#undef ROW

static const struct {
	const char *name;
	void (*change)(struct call *c);
} open_rows[] = {
#define ROW(name, change) { #name, change_##name },
	OPEN_ROWS
#undef ROW
};

TEST(perf_open, answers_as_the_kernel)
{
	KERNEL_OR_SKIP();
	for (size_t i = 0; i < sizeof(open_rows) / sizeof(open_rows[0]); i++) {
		struct call a = usual_call(), b = usual_call();
		int mine, theirs;

		TRACE_PUSH("row %s", open_rows[i].name);
		open_rows[i].change(&a);
		open_rows[i].change(&b);
		mine = ours(&a);
		theirs = kernels(&b);
		EXPECT_EQ(theirs < 0 ? theirs : 0, mine < 0 ? mine : 0);
		if (mine >= 0)
			close(mine);
		if (theirs >= 0)
			close(theirs);
		TRACE_POP();
	}
}

TEST(perf_open, null_and_longer_attributes)
{
	struct {
		struct perf_event_attr attr;
		char rest[64];
	} longer = { .attr = usual_call().attr };
	int fd;

	EXPECT_EQ(-1, sluice_perf_event_open(NULL, -1, 0, -1, 0));
	EXPECT_EQ(EFAULT, errno);
	longer.attr.size = sizeof(longer);
	fd = sluice_perf_event_open(&longer.attr, -1, 0, -1, 0);
	EXPECT_GE(fd, 0);
	close(fd);
	longer.rest[60] = 1;
	EXPECT_EQ(-1, sluice_perf_event_open(&longer.attr, -1, 0, -1, 0));
	EXPECT_EQ(E2BIG, errno);
	EXPECT_EQ(sizeof(longer.attr), longer.attr.size);
}

TEST(perf_open, other_kinds_of_event_are_left_to_the_kernel)
{
	struct call c = usual_call();

	c.attr.config = PERF_COUNT_SW_CPU_CLOCK;
	EXPECT_EQ(-ENOENT, ours(&c));
	c.attr.type = PERF_TYPE_HARDWARE;
	EXPECT_EQ(-ENOENT, ours(&c));
}

static const struct {
	int pages;
	int extra_bytes, prot, flags, page_offset;
} map_rows[] = {
	{ 9, 0, PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
	{ 2, 0, PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
	{ 1, 0, PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
	{ 0, 0, PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
	{ 10, 0, PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
	{ 8, 100, PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
	{ 9, 100, PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
	{ 9, 0, PROT_READ, MAP_SHARED, 0 },
	{ 9, 0, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0 },
	{ 9, 0, PROT_READ | PROT_WRITE, MAP_SHARED, 1 },
};

TEST(perf_mmap, answers_as_the_kernel)
{
	long page = sysconf(_SC_PAGESIZE);

	KERNEL_OR_SKIP();
	for (size_t i = 0; i < sizeof(map_rows) / sizeof(map_rows[0]); i++) {
		struct call c = usual_call();
		size_t len = map_rows[i].pages * page + map_rows[i].extra_bytes;
		int mine = ours(&c), theirs = kernels(&c);
		int my_errno, their_errno;
		void *a, *b;

		TRACE_PUSH("row %zu", i);
		a = sluice_perf_mmap(NULL, len, map_rows[i].prot, map_rows[i].flags, mine,
			map_rows[i].page_offset * page);
		my_errno = a == MAP_FAILED ? errno : 0;
		b = mmap(NULL, len, map_rows[i].prot, map_rows[i].flags, theirs,
			map_rows[i].page_offset * page);
		their_errno = b == MAP_FAILED ? errno : 0;
		EXPECT_EQ(their_errno, my_errno);
		if (!my_errno && !their_errno) {
			const struct perf_event_mmap_page *p = a, *q = b;

			EXPECT_EQ(q->version, p->version);
			EXPECT_EQ(q->compat_version, p->compat_version);
			EXPECT_EQ(q->capabilities, p->capabilities);
			EXPECT_EQ(q->size, p->size);
			EXPECT_EQ(q->data_offset, p->data_offset);
			EXPECT_EQ(q->data_size, p->data_size);
			EXPECT_EQ(0, p->data_head);
			EXPECT_EQ(0, sluice_perf_munmap(a, len));
			munmap(b, len);
		}
		close(mine);
		close(theirs);
		TRACE_POP();
	}
}

TEST(perf_mmap, second_mapping_must_have_the_same_size_until_the_first_is_gone)
{
	long page = sysconf(_SC_PAGESIZE);
	int prot = PROT_READ | PROT_WRITE;
	struct call c = usual_call();
	int fd = ours(&c);
	void *a = sluice_perf_mmap(NULL, 5 * page, prot, MAP_SHARED, fd, 0);
	void *b = sluice_perf_mmap(NULL, 5 * page, prot, MAP_SHARED, fd, 0);

	EXPECT_TRUE(a != MAP_FAILED && b != MAP_FAILED && a != b);
	EXPECT_TRUE(sluice_perf_mmap(NULL, 3 * page, prot, MAP_SHARED, fd, 0) == MAP_FAILED);
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, sluice_perf_munmap(a, 5 * page));
	EXPECT_TRUE(sluice_perf_mmap(NULL, 3 * page, prot, MAP_SHARED, fd, 0) == MAP_FAILED);
	EXPECT_EQ(0, sluice_perf_munmap(b, 5 * page));
	a = sluice_perf_mmap(NULL, 3 * page, prot, MAP_SHARED, fd, 0);
	EXPECT_TRUE(a != MAP_FAILED);
	EXPECT_EQ(0, sluice_perf_munmap(a, 3 * page));
	close(fd);
}

TEST(perf_mmap, descriptors_of_others_are_left_to_the_kernel)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	EXPECT_TRUE(sluice_perf_mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds[0], 0) == MAP_FAILED);
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, sluice_perf_ioctl(fds[0], PERF_EVENT_IOC_ENABLE, 0));
	EXPECT_EQ(ENOTTY, errno);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(-1, sluice_perf_ioctl(fds[0], PERF_EVENT_IOC_ENABLE, 0));
	EXPECT_EQ(EBADF, errno);
}

/* An argument that stands for a pointer to 8 bytes, and one for the event's own descriptor. */
enum { POINTER = 1000, SELF };

static const struct {
	unsigned long request;
	long arg;
} ioctl_rows[] = {
	{ PERF_EVENT_IOC_ENABLE, 0 },
	{ PERF_EVENT_IOC_DISABLE, 0 },
	{ PERF_EVENT_IOC_REFRESH, 1 },
	{ PERF_EVENT_IOC_RESET, 0 },
	{ PERF_EVENT_IOC_PERIOD, POINTER },
	{ PERF_EVENT_IOC_PERIOD, 0 },
	{ PERF_EVENT_IOC_SET_OUTPUT, -1 },
	{ PERF_EVENT_IOC_SET_OUTPUT, 999 },
	{ PERF_EVENT_IOC_SET_OUTPUT, 0 },
	{ PERF_EVENT_IOC_SET_OUTPUT, SELF },
	{ PERF_EVENT_IOC_SET_FILTER, 0 },
	{ PERF_EVENT_IOC_ID, POINTER },
	{ PERF_EVENT_IOC_ID, 0 },
	{ PERF_EVENT_IOC_SET_BPF, 0 },
	{ PERF_EVENT_IOC_PAUSE_OUTPUT, 1 },
	{ PERF_EVENT_IOC_PAUSE_OUTPUT, 0 },
	{ PERF_EVENT_IOC_QUERY_BPF, 0 },
	{ PERF_EVENT_IOC_MODIFY_ATTRIBUTES, 0 },
	{ 0x1234, 0 },
};

static void compare_ioctls(int mine, int theirs)
{
	for (size_t i = 0; i < sizeof(ioctl_rows) / sizeof(ioctl_rows[0]); i++) {
		uint64_t value = 7;
		long arg = ioctl_rows[i].arg;
		int a, b;

		TRACE_PUSH("row %zu", i);
		if (arg == POINTER)
			arg = (long)&value;
		a = sluice_perf_ioctl(
			mine, ioctl_rows[i].request, ioctl_rows[i].arg == SELF ? mine : arg);
		a = a < 0 ? -errno : a;
		b = ioctl(theirs, ioctl_rows[i].request, ioctl_rows[i].arg == SELF ? theirs : arg);
		b = b < 0 ? -errno : b;
		EXPECT_EQ(b, a);
		TRACE_POP();
	}
}

TEST(perf_ioctl, answers_as_the_kernel)
{
	long page = sysconf(_SC_PAGESIZE);
	struct call c = usual_call();
	int mine, theirs;
	void *a, *b;

	KERNEL_OR_SKIP();
	mine = ours(&c);
	theirs = kernels(&c);
	compare_ioctls(mine, theirs);
	a = sluice_perf_mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, mine, 0);
	b = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED, theirs, 0);
	ASSERT_TRUE(a != MAP_FAILED && b != MAP_FAILED);
	TRACE_PUSH("mapped");
	compare_ioctls(mine, theirs);
	TRACE_POP();
	sluice_perf_munmap(a, 3 * page);
	munmap(b, 3 * page);
	close(mine);
	close(theirs);
}
