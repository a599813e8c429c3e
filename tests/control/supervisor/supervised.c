#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * A static program with nothing between it and the kernel. Its argument says what it does; it exits
 * with 0 when all went as it should, and says otherwise what did not.
 */
#define CHECK(condition)                                                                          \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); \
			exit(1);                                                                  \
		}                                                                                 \
	} while (0)

static long bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static int new_map(unsigned type, unsigned value_size, unsigned entries, unsigned flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = 4;
	attr.value_size = value_size;
	attr.max_entries = entries;
	attr.map_flags = flags;
	return (int)bpf(BPF_MAP_CREATE, &attr);
}

static int element(int cmd, int fd, unsigned key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (unsigned)fd;
	attr.key = (unsigned long)&key;
	attr.value = (unsigned long)value;
	return (int)bpf(cmd, &attr);
}

static void use_map(int fd, unsigned long seed)
{
	for (unsigned i = 0; i < 50; i++) {
		unsigned long value = seed + i, got = 0;

		CHECK(element(BPF_MAP_UPDATE_ELEM, fd, i % 8, &value) == 0);
		CHECK(element(BPF_MAP_LOOKUP_ELEM, fd, i % 8, &got) == 0);
		CHECK(got == value);
	}
}

static void *own_map(void *arg)
{
	int fd = new_map(BPF_MAP_TYPE_ARRAY, 8, 8, 0);

	CHECK(fd >= 0);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	use_map(fd, (unsigned long)arg << 32);
	close(fd);
	return NULL;
}

/* Many calls at a time. */
static void do_threads(void)
{
	pthread_t threads[24];

	for (unsigned long i = 0; i < 24; i++)
		CHECK(pthread_create(&threads[i], NULL, own_map, (void *)i) == 0);
	for (unsigned i = 0; i < 24; i++)
		pthread_join(threads[i], NULL);
}

/* What the kernel answers, it answers to a program that is not supervised. */
static void do_errors(void)
{
	union bpf_attr attr;
	char text[32];
	unsigned long value;
	int fd = new_map(BPF_MAP_TYPE_ARRAY, 8, 8, 0);

	CHECK(fd >= 0);
	CHECK(syscall(SYS_bpf, BPF_MAP_CREATE, 8, sizeof(attr)) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_bpf, 9999, &attr, sizeof(attr)) == -1 && errno == EINVAL);
	CHECK(element(BPF_MAP_LOOKUP_ELEM, 1234, 0, &value) == -1 && errno == EBADF);
	CHECK(element(BPF_MAP_LOOKUP_ELEM, 0, 0, &value) == -1 && errno == EINVAL);
	CHECK(element(BPF_MAP_LOOKUP_ELEM, fd, 0, (void *)8) == -1 && errno == EFAULT);
	CHECK(element(BPF_MAP_LOOKUP_ELEM, fd, 8, &value) == -1 && errno == ENOENT);
	/* Memory that may not be written to. */
	CHECK(element(BPF_MAP_LOOKUP_ELEM, fd, 0, (void *)(unsigned long)&do_errors) == -1 &&
		errno == EFAULT);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
	CHECK(access(text, F_OK) == 0);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

/* A signal may end a call that the supervisor has not seen yet, and then nothing was done. */
static long bpf_again(int cmd, union bpf_attr *attr)
{
	long ret;

	do
		ret = bpf(cmd, attr);
	while (ret == -1 && errno == EINTR);
	return ret;
}

/* No call is done twice: a queue would have what was pushed twice. */
static void push_and_pop(void)
{
	unsigned long value;
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_QUEUE;
	attr.value_size = sizeof(value);
	attr.max_entries = 500;
	fd = (int)bpf_again(BPF_MAP_CREATE, &attr);
	CHECK(fd >= 0);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (unsigned)fd;
	attr.value = (unsigned long)&value;
	for (value = 0; value < 300; value++)
		CHECK(bpf_again(BPF_MAP_UPDATE_ELEM, &attr) == 0);
	for (unsigned long i = 0; i < 300; i++) {
		CHECK(bpf_again(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attr) == 0);
		CHECK(value == i);
	}
	CHECK(bpf_again(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attr) == -1 && errno == ENOENT);
	close(fd);
}

static void do_signals(void)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval every = { { 0, 300 }, { 0, 300 } };

	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
	for (int i = 0; i < 5 || alarms < 20; i++)
		own_map(NULL);
	push_and_pop();
	action.sa_flags = 0;
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	for (int i = 0; i < 5; i++)
		push_and_pop();
}

/* argv[2]: the number of a map that was inherited. */
static void do_inherited(const char *number)
{
	unsigned long value = 0;

	CHECK(element(BPF_MAP_LOOKUP_ELEM, atoi(number), 3, &value) == 0);
	CHECK(value == 0x1234);
	value = 0x5678;
	CHECK(element(BPF_MAP_UPDATE_ELEM, atoi(number), 3, &value) == 0);
}

static void wait_ok(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(status == 0);
}

static void do_children(void)
{
	unsigned long value = 0x1234;
	int fd = new_map(BPF_MAP_TYPE_ARRAY, 8, 8, 0);
	pid_t pids[8];

	CHECK(fd >= 0 && dup2(fd, 50) == 50);
	CHECK(element(BPF_MAP_UPDATE_ELEM, fd, 3, &value) == 0);
	pids[0] = fork();
	if (pids[0] == 0) {
		execl("/proc/self/exe", "supervised", "inherited", "50", NULL);
		_exit(1);
	}
	wait_ok(pids[0]);
	CHECK(element(BPF_MAP_LOOKUP_ELEM, fd, 3, &value) == 0);
	CHECK(value == 0x5678);
	for (int i = 0; i < 8; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			do_threads();
			_exit(0);
		}
	}
	for (int i = 0; i < 8; i++)
		wait_ok(pids[i]);
}

/* Killed in the middle of whatever it is at. */
static void do_killed(void)
{
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			for (;;)
				do_threads();
		}
		usleep(1000 * (unsigned)(i % 20));
		CHECK(kill(pid, SIGKILL) == 0);
		CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	}
	own_map(NULL);
}

static void in_namespaces(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (getpid() != 1)
			_exit(3);
		do_threads();
		do_errors();
		do_children();
		_exit(0);
	}
	wait_ok(pid);
}

static void do_namespaces(void)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) != 0 &&
		unshare(CLONE_NEWPID | CLONE_NEWNS) != 0)
		exit(77);
	in_namespaces();
}

/* Started by root, it becomes somebody else, and may what that one may. */
static void do_dropped(void)
{
	int fd = new_map(BPF_MAP_TYPE_ARRAY, 8, 8, 0), again;
	struct bpf_map_info info;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	memset(&info, 0, sizeof(info));
	attr.info.bpf_fd = (unsigned)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (unsigned long)&info;
	CHECK(fd >= 0 && bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0);
	memset(&attr, 0, sizeof(attr));
	attr.map_id = info.id;
	again = (int)bpf(BPF_MAP_GET_FD_BY_ID, &attr);
	CHECK(again >= 0);
	CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	CHECK(bpf(BPF_MAP_GET_FD_BY_ID, &attr) == -1 && errno == EPERM);
	use_map(fd, 1);
}

/* A ring's data appears twice, an array's values are where programs have them. */
static void do_maps(void)
{
	union bpf_attr attr;
	size_t page = 4096, len = page + 2 * 8192;
	unsigned long value = 7, *values;
	char *ring;
	int fd = new_map(BPF_MAP_TYPE_ARRAY, 8, 512, BPF_F_MMAPABLE);

	CHECK(fd >= 0);
	values = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(values != MAP_FAILED);
	CHECK(element(BPF_MAP_UPDATE_ELEM, fd, 2, &value) == 0 && values[2] == 7);
	values[3] = 9;
	CHECK(element(BPF_MAP_LOOKUP_ELEM, fd, 3, &value) == 0 && value == 9);

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_RINGBUF;
	attr.max_entries = 8192;
	fd = (int)bpf(BPF_MAP_CREATE, &attr);
	CHECK(fd >= 0);
	CHECK(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page) == MAP_FAILED);
	CHECK(errno == EPERM);
	CHECK(mmap(NULL, len + page, PROT_READ, MAP_SHARED, fd, page) == MAP_FAILED);
	CHECK(errno == EINVAL);
	ring = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)page);
	CHECK(ring != MAP_FAILED);
	for (size_t i = 0; i < len; i += page)
		CHECK(ring[i] == 0);
	CHECK(mmap(ring, len, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)page) == ring);
	CHECK(munmap(ring, len) == 0);
	CHECK(mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
}

/* Sends eight bytes to the ring each time it runs. */
static int load_sender(int ring)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_LD | BPF_DW | BPF_IMM,
			.dst_reg = 1,
			.src_reg = BPF_PSEUDO_MAP_FD,
			.imm = ring },
		{ 0 },
		{ .code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = 10, .off = -8, .imm = 5 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = 8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ringbuf_output },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = sizeof(insns) / sizeof(insns[0]);
	attr.license = (unsigned long)"GPL";
	return (int)bpf(BPF_PROG_LOAD, &attr);
}

static void run_once(int prog)
{
	static char packet[64];
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (unsigned)prog;
	attr.test.data_in = (unsigned long)packet;
	attr.test.data_size_in = sizeof(packet);
	CHECK(bpf(BPF_PROG_TEST_RUN, &attr) == 0 && attr.test.retval == 2);
}

static int events_within(int set, int ms)
{
	struct epoll_event event = { 0 };
	int n = epoll_wait(set, &event, 1, ms);

	CHECK(n <= 0 || event.data.u64 == 0x123456789);
	return n;
}

/* It wakes when there is something, and is silent once that is read. */
static void do_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN, .data = { .u64 = 0x123456789 } };
	int set = epoll_create1(EPOLL_CLOEXEC), ring, prog;
	volatile unsigned long *consumer, *producer;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_RINGBUF;
	attr.max_entries = 4096;
	ring = (int)bpf(BPF_MAP_CREATE, &attr);
	CHECK(ring >= 0 && set >= 0 && (prog = load_sender(ring)) >= 0);
	consumer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
	producer = mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED, ring, 4096);
	CHECK(consumer != MAP_FAILED && producer != MAP_FAILED);
	CHECK(epoll_ctl(set, EPOLL_CTL_MOD, ring, &event) == -1 && errno == ENOENT);
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ring, (void *)8) == -1 && errno == EFAULT);
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ring, &event) == 0);
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, ring, &event) == -1 && errno == EEXIST);
	CHECK(epoll_ctl(ring, EPOLL_CTL_ADD, ring, &event) == -1 && errno == EINVAL);
	for (int i = 0; i < 300; i++) {
		int looks = 0;

		if (i < 2)
			CHECK(events_within(set, 20) == 0);
		run_once(prog);
		CHECK(events_within(set, 2000) == 1);
		CHECK(*producer - *consumer == 16);
		*consumer = *producer;
		while (events_within(set, 0) != 0) {
			usleep(100);
			CHECK(++looks < 2000);
		}
	}
	event.events = EPOLLIN | EPOLLET;
	CHECK(epoll_ctl(set, EPOLL_CTL_MOD, ring, &event) == 0);
	run_once(prog);
	CHECK(events_within(set, 2000) == 1);
	CHECK(events_within(set, 20) == 0);
	CHECK(epoll_ctl(set, EPOLL_CTL_DEL, ring, NULL) == 0);
	CHECK(epoll_ctl(set, EPOLL_CTL_DEL, ring, NULL) == -1 && errno == ENOENT);
	*consumer = *producer;
	run_once(prog);
	CHECK(events_within(set, 20) == 0);
}

/* While a thread is stopped for its mappings, signals and other threads go on. */
static void *map_rings(void *arg)
{
	for (int i = 0; i < 20; i++)
		do_maps();
	return arg;
}

static void do_map_threads(void)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval every = { { 0, 300 }, { 0, 300 } };
	pthread_t threads[6];

	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
	for (int i = 0; i < 6; i++)
		CHECK(pthread_create(&threads[i], NULL, map_rings, NULL) == 0);
	for (int i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	CHECK(alarms > 0);
}

/* The descriptor that is left for a map is the last, then none. */
static void do_limit(void)
{
	struct rlimit limit = { 16, 16 };

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (int i = 3; i < 16; i++)
		CHECK(new_map(BPF_MAP_TYPE_ARRAY, 8, 8, 0) >= 0 || errno == EMFILE);
	CHECK(new_map(BPF_MAP_TYPE_ARRAY, 8, 8, 0) == -1 && errno == EMFILE);
}

/* The 32-bit ABI's bpf(2) does not lead to the kernel. */
static void do_other_abi(void)
{
	long ret = 357;

	__asm__ volatile("int $0x80"
		: "+a"(ret)
		: "b"(0l), "c"(0l), "d"(0l)
		: "memory", "r8", "r9", "r10", "r11");
	CHECK(ret == -ENOSYS);
	ret = 20; /* getpid */
	__asm__ volatile("int $0x80" : "+a"(ret) : : "memory", "r8", "r9", "r10", "r11");
	CHECK(ret == getpid());
}

/* Its parent is the supervisor. */
static void do_lost(void)
{
	CHECK(kill(getppid(), SIGKILL) == 0);
	usleep(50000);
	CHECK(new_map(BPF_MAP_TYPE_ARRAY, 8, 8, 0) == -1 && errno == ENOSYS);
	exit(9);
}

/* argv[2]: a file that says so when the child that is left behind was served. */
static void do_orphan(const char *path)
{
	pid_t parent = getpid();

	if (fork() != 0)
		exit(0);
	for (int i = 0; i < 1000 && getppid() == parent; i++)
		usleep(1000);
	do_threads();
	do_maps();
	close(open(path, O_CREAT | O_WRONLY, 0600));
}

static long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000l + t.tv_nsec / 1000;
}

static int load_done;

/* Takes the verifier a while: every branch doubles what is to be looked at, up to its limit. */
static void *load_long(void *arg)
{
	enum { BRANCHES = 400 };
	static struct bpf_insn insns[3 * BRANCHES + 3];
	union bpf_attr attr;
	unsigned n = 0;
	long begin = now_us();

	insns[n++] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0 };
	for (int i = 0; i < BRANCHES; i++) {
		insns[n++] = (struct bpf_insn){ .code = BPF_JMP | BPF_CALL,
			.imm = BPF_FUNC_get_prandom_u32 };
		insns[n++] =
			(struct bpf_insn){ .code = BPF_JMP | BPF_JEQ | BPF_K, .imm = i, .off = 1 };
		insns[n++] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_ADD | BPF_K, .imm = 1 };
	}
	insns[n++] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0 };
	insns[n++] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = n;
	attr.license = (unsigned long)"GPL";
	CHECK(bpf(BPF_PROG_LOAD, &attr) >= 0);
	*(long *)arg = now_us() - begin;
	__atomic_store_n(&load_done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void do_busy(void)
{
	int fd = new_map(BPF_MAP_TYPE_ARRAY, 8, 8, 0);
	long load_us, longest_us = 0;
	unsigned lookups = 0;
	pthread_t thread;

	CHECK(fd >= 0 && pthread_create(&thread, NULL, load_long, &load_us) == 0);
	while (!__atomic_load_n(&load_done, __ATOMIC_ACQUIRE)) {
		unsigned long value;
		long begin = now_us();

		CHECK(element(BPF_MAP_LOOKUP_ELEM, fd, 1, &value) == 0);
		if (now_us() - begin > longest_us)
			longest_us = now_us() - begin;
		lookups++;
	}
	pthread_join(thread, NULL);
	printf("load %ld us, meanwhile %u lookups, the longest %ld us\n", load_us, lookups,
		longest_us);
	/* Had they waited for the load, there would be one. */
	CHECK(lookups > 10);
}

static void do_speed(void)
{
	enum { CALLS = 5000 };
	int fd = new_map(BPF_MAP_TYPE_ARRAY, 8, 8, 0);
	unsigned long value;
	long begin = now_us();

	for (int i = 0; i < CALLS; i++)
		CHECK(element(BPF_MAP_LOOKUP_ELEM, fd, 1, &value) == 0);
	printf("%.2f us per lookup\n", (double)(now_us() - begin) / CALLS);
}

static const struct {
	const char *name;
	void (*run)(void);
	void (*run_with)(const char *arg);
} modes[] = {
	{ "threads", do_threads, NULL },
	{ "errors", do_errors, NULL },
	{ "signals", do_signals, NULL },
	{ "children", do_children, NULL },
	{ "inherited", NULL, do_inherited },
	{ "killed", do_killed, NULL },
	{ "namespaces", do_namespaces, NULL },
	{ "dropped", do_dropped, NULL },
	{ "maps", do_maps, NULL },
	{ "epoll", do_epoll, NULL },
	{ "map_threads", do_map_threads, NULL },
	{ "limit", do_limit, NULL },
	{ "other_abi", do_other_abi, NULL },
	{ "lost", do_lost, NULL },
	{ "orphan", NULL, do_orphan },
	{ "busy", do_busy, NULL },
	{ "speed", do_speed, NULL },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(argv[1], modes[i].name) != 0)
			continue;
		if (modes[i].run)
			modes[i].run();
		else if (argc > 2)
			modes[i].run_with(argv[2]);
		else
			return 2;
		return 0;
	}
	return 2;
}
