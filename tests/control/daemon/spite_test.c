#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "served.h"
#include "test.h"

/* Clients that misuse what they are given, or give what can be misused, against the daemon. */

/* fn in a child, which is killed after a while if it has not come back. */
static void let(void (*fn)(void))
{
	pid_t child = fork();

	if (child == 0) {
		alarm(2);
		fn();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

/* ---- bells of rings ---- */

static int new_ring(enum bpf_map_type type)
{
	union bpf_attr attr = { .map_type = type, .max_entries = 4096 };

	return bpf(BPF_MAP_CREATE, &attr);
}

/* What epoll gets in place of the ring, made to block, and brought where it does. */
static void jam(enum bpf_map_type type)
{
	int ring = new_ring(type);
	struct sl_remote_call bell = { .type = SL_WIRE_RING_BELL,
		.args = { (uint64_t)ring },
		.fd_args = 1 },
			      wait = { .type = SL_WIRE_RING_WAIT };
	uint64_t one = 1;

	if (ring < 0 || sl_remote_call(&sl_space_self, &bell) != 0)
		return;
	fcntl(bell.ret_fds[0], F_SETFL, 0);
	if (type == BPF_MAP_TYPE_USER_RINGBUF &&
		write(bell.ret_fds[0], &one, sizeof(one)) != sizeof(one))
		return;
	sl_remote_call(&sl_space_self, &wait);
}

static void jam_ring(void)
{
	jam(BPF_MAP_TYPE_RINGBUF);
}

static void jam_user_ring(void)
{
	jam(BPF_MAP_TYPE_USER_RINGBUF);
}

TEST(spite, bells_do_not_block_the_daemon)
{
	static void (*const jams[])(void) = { jam_ring, jam_user_ring };

	ASSERT_TRUE(start_daemon());
	alarm(60);
	for (unsigned i = 0; i < 2; i++) {
		int ring;

		let(jams[i]);
		ring = new_ring(BPF_MAP_TYPE_RINGBUF);
		EXPECT_GE(ring, 0);
		close(ring);
		expect_service();
	}
	EXPECT_EQ(0, stop_daemon());
	alarm(0);
}

/* ---- mappings ---- */

/* Where the client maps a ring is in the client: not over what the daemon has at that address. */
TEST(spite, rings_are_not_mapped_over_the_daemon)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_BPF_OUTPUT,
		.sample_type = PERF_SAMPLE_RAW };
	size_t len = ((size_t)1 << 34) + 4096;
	int event, ring;

	ASSERT_TRUE(start_daemon());
	event = (int)sl_remote_perf_open(&sl_space_self, (uintptr_t)&attr, -1, 0, -1, 0);
	EXPECT_GE(event, 0);
	ring = (int)sl_remote_perf_ring(
		&sl_space_self, event, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, 0);
	EXPECT_GE(ring, 0);
	close(ring);
	close(event);
	expect_service();
	EXPECT_EQ(0, stop_daemon());
}

/* ---- shares ---- */

/* As many maps as there may be; -1 when that is not a user's share. */
static int fill_with_maps(void)
{
	enum { SHARE = 2048 };
	int map = 0, last = -1, count = 0;

	if (setgid(65534) != 0 || setuid(65534) != 0)
		return -1;
	while (map >= 0 && count <= SHARE) {
		map = new_map("many");
		if (map >= 0)
			last = map;
		count += map >= 0;
	}
	if (map != -ENOSPC || count != SHARE)
		return -1;
	/* One goes, and another may come. */
	close(last);
	return new_map("last") >= 0 ? 0 : -1;
}

TEST(spite, a_user_has_a_share_of_the_objects)
{
	struct rlimit limit = { 8192, 8192 };
	pid_t child;
	int status;

	if (geteuid() != 0)
		SKIP("needs root, to become somebody else");
	setrlimit(RLIMIT_NOFILE, &limit);
	ASSERT_TRUE(start_daemon());
	EXPECT_EQ(0, chmod(served_dir, 0755));
	EXPECT_EQ(0, chmod(served_socket, 0666));
	child = fork();
	if (child == 0)
		_exit(fill_with_maps() == 0 ? 0 : 1);
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
	expect_service();
	EXPECT_EQ(0, stop_daemon());
}

/* Descriptors as many as there are numbers, all of one map; the last asked for never comes. */
static int map_of_all;

static int take_any(struct sl_space *space, int fd)
{
	(void)space;
	if (fd == 1500)
		pause();
	return map_of_all;
}

static void drop_none(struct sl_space *space, int taken)
{
	(void)space;
	(void)taken;
}

/* A load that names 1500 of them, and then waits. */
static void hold_descriptors(void)
{
	enum { COUNT = 1501, FD_ARRAY = 120, FD_ARRAY_COUNT = 148 };
	static const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 2 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	static int fds[COUNT];
	struct sl_space_ops ops = *sl_space_self.ops;
	struct sl_space space = { .ops = &ops };
	union {
		union bpf_attr attr;
		uint8_t bytes[152];
	} load = { .attr = { .prog_type = BPF_PROG_TYPE_XDP,
			   .insns = (uintptr_t)insns,
			   .insn_cnt = 2,
			   .license = (uintptr_t)"GPL" } };
	uint64_t address = (uintptr_t)fds;
	uint32_t count = COUNT;

	ops.take = take_any;
	ops.drop = drop_none;
	for (int i = 0; i < COUNT; i++)
		fds[i] = i;
	memcpy(load.bytes + FD_ARRAY, &address, sizeof(address));
	memcpy(load.bytes + FD_ARRAY_COUNT, &count, sizeof(count));
	sl_remote_bpf(&space, BPF_PROG_LOAD, (uintptr_t)&load, sizeof(load));
}

/* As nobody, so many times at once. Returns how many were refused, which are 0 in `children` then. */
static unsigned hold_in_children(unsigned times, pid_t *children)
{
	unsigned refused = 0;

	for (unsigned i = 0; i < times; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			map_of_all = setuid(65534) == 0 ? new_map("held") : -1;
			hold_descriptors();
			_exit(0);
		}
	}
	usleep(1000000);
	for (unsigned i = 0; i < times; i++) {
		if (waitpid(children[i], NULL, WNOHANG) != children[i])
			continue;
		children[i] = 0;
		refused++;
	}
	return refused;
}

static void end_all(const pid_t *children, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (children[i] <= 0)
			continue;
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
	}
}

TEST(spite, descriptors_in_calls_are_bounded)
{
	enum { TIMES = 8 };
	struct rlimit limit = { 8192, 8192 };
	pid_t children[TIMES];

	if (geteuid() != 0)
		SKIP("needs root, to become somebody else");
	setrlimit(RLIMIT_NOFILE, &limit);
	ASSERT_TRUE(start_daemon());
	EXPECT_EQ(0, chmod(served_dir, 0755));
	EXPECT_EQ(0, chmod(served_socket, 0666));
	/* One may have so many, which are less than a quarter of the daemon's. */
	EXPECT_EQ(0, hold_in_children(1, children));
	end_all(children, 1);
	EXPECT_GE(hold_in_children(TIMES, children), TIMES - 1);
	expect_service();
	end_all(children, TIMES);
	EXPECT_EQ(0, stop_daemon());
}

/* ---- descriptors that take their time ---- */

/* A connection whose last close waits for data that nobody takes. */
static int lingering(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger linger = { 1, 3600 };
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(address);
	static char data[1 << 16];

	if (bind(listener, (struct sockaddr *)&address, len) != 0 || listen(listener, 1) != 0 ||
		getsockname(listener, (struct sockaddr *)&address, &len) != 0 ||
		connect(fd, (struct sockaddr *)&address, len) != 0)
		return -1;
	while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0 ? fd : -1;
}

/* The daemon is the last to close what came along with a call. */
static bool leave_lingering(void)
{
	struct sl_wire_call head = {
		.args = { BPF_MAP_FREEZE, 0x1000, 4 }, .numbers = { 7 }, .number_count = 1
	};
	struct iovec part = { &head, sizeof(head) };
	struct sl_wire wire;
	int fd = lingering();
	bool sent = fd >= 0 && open_wire(&wire) &&
		    sl_wire_send(&wire, SL_WIRE_BPF, &part, 1, &fd, 1) == 0;

	/* It ends the call, whose attributes are not there, when we are gone. */
	close(fd);
	sl_wire_done(&wire);
	return sent;
}

TEST(spite, the_daemon_ends_without_them)
{
	ASSERT_TRUE(start_daemon());
	EXPECT_TRUE(leave_lingering());
	usleep(100000);
	expect_service();
	alarm(60);
	EXPECT_EQ(0, stop_daemon());
	alarm(0);
}

/* ---- many users ---- */

/* As many connections as a user may have, until it is killed. */
static pid_t flood_as(uid_t uid)
{
	int gate[2];
	char byte;
	pid_t child;

	if (pipe(gate) != 0)
		return -1;
	child = fork();
	if (child == 0) {
		if (setuid(uid) == 0)
			for (unsigned i = 0; i < 256; i++)
				connect_raw();
		close(gate[0]);
		close(gate[1]);
		pause();
		_exit(0);
	}
	close(gate[1]);
	while (read(gate[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(gate[0]);
	return child;
}

/* However many they are, root is served. */
TEST(spite, many_users_do_not_keep_root_out)
{
	enum { USERS = 4 };
	struct rlimit limit = { 8192, 8192 };
	struct sl_wire wire;
	pid_t users[USERS];

	if (geteuid() != 0)
		SKIP("needs root, to become somebody else");
	setrlimit(RLIMIT_NOFILE, &limit);
	ASSERT_TRUE(start_daemon());
	EXPECT_EQ(0, chmod(served_dir, 0755));
	EXPECT_EQ(0, chmod(served_socket, 0666));
	for (unsigned i = 0; i < USERS; i++)
		users[i] = flood_as(60000 + i);
	usleep(300000);
	alarm(60);
	EXPECT_TRUE(open_wire(&wire));
	sl_wire_done(&wire);
	expect_service();
	for (unsigned i = 0; i < USERS; i++) {
		if (users[i] > 0) {
			kill(users[i], SIGKILL);
			waitpid(users[i], NULL, 0);
		}
	}
	EXPECT_EQ(0, stop_daemon());
	alarm(0);
}

/* ---- daemons that come and go ---- */

TEST(spite, a_new_daemon_is_as_good)
{
	int status;

	ASSERT_TRUE(start_daemon());
	expect_service();
	kill(served_pid, SIGTERM);
	waitpid(served_pid, &status, 0);
	EXPECT_EQ(0, status);
	ASSERT_TRUE(start_daemon_again(NULL));
	expect_service();
	EXPECT_EQ(0, stop_daemon());
}
