#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "served.h"
#include "test.h"

/*
 * What clients may do to a daemon: it goes on serving the others, whatever comes. Each test has a
 * daemon of its own, with one worker.
 */

/* Whether the daemon ends the connection, after whatever else it sends. */
static bool is_ended(int fd)
{
	char waste[512];
	ssize_t n;

	do
		n = recv(fd, waste, sizeof(waste), 0);
	while (n > 0);
	return n == 0 || errno == ECONNRESET;
}

/* How many maps there are. */
static unsigned count_maps(void)
{
	union bpf_attr attr = { 0 };
	unsigned count = 0;

	while (bpf(BPF_MAP_GET_NEXT_ID, &attr) == 0) {
		attr.start_id = attr.next_id;
		count++;
	}
	return count;
}

TEST(protocol, serves_bpf)
{
	ASSERT_TRUE(start_daemon());
	expect_service();
	EXPECT_EQ(0, stop_daemon());
}

TEST(protocol, objects_go_with_their_client)
{
	pid_t child;
	int status;

	ASSERT_TRUE(start_daemon());
	child = fork();
	if (child == 0) {
		for (int i = 0; i < 8; i++)
			new_map("gone");
		_exit(count_maps() == 8 ? 0 : 1);
	}
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
	for (int i = 0; i < 200 && count_maps() > 0; i++)
		usleep(10000);
	EXPECT_EQ(0, count_maps());
	EXPECT_EQ(0, stop_daemon());
}

/* What cannot be read or written is EFAULT, at both ends of what a call points to. */
TEST(protocol, bad_addresses_are_efault)
{
	uint64_t value = 1;
	uint8_t *page;
	int map;

	ASSERT_TRUE(start_daemon());
	map = new_map("faults");
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + 4096, 4096);
	EXPECT_EQ(-EFAULT, (int)sl_remote_bpf(&sl_space_self, BPF_MAP_CREATE, 0, 64));
	EXPECT_EQ(-EFAULT,
		(int)sl_remote_bpf(&sl_space_self, BPF_MAP_CREATE, (uintptr_t)page + 4090, 64));
	EXPECT_EQ(0, update(map, 0, 7));
	{
		union bpf_attr attr = { .map_fd = (uint32_t)map,
			.key = (uintptr_t)page + 4094,
			.value = (uintptr_t)&value };

		EXPECT_EQ(-EFAULT, bpf(BPF_MAP_LOOKUP_ELEM, &attr));
		attr.key = (uintptr_t)page;
		attr.value = (uintptr_t)page + 4092;
		EXPECT_EQ(-EFAULT, bpf(BPF_MAP_LOOKUP_ELEM, &attr));
		attr.value = (uintptr_t)page + 4088;
		EXPECT_EQ(0, bpf(BPF_MAP_LOOKUP_ELEM, &attr));
		attr.map_fd = 4000;
		EXPECT_EQ(-EBADF, bpf(BPF_MAP_LOOKUP_ELEM, &attr));
	}
	close(map);
	munmap(page, 4096);
	EXPECT_EQ(0, stop_daemon());
}

/* A run that would take minutes ends when nobody waits for it: the daemon stops at once. */
TEST(protocol, runs_end_with_their_client)
{
	pid_t child;

	ASSERT_TRUE(start_daemon());
	child = fork();
	if (child == 0) {
		static const uint8_t packet[64];
		union bpf_attr attr = { .test = { .prog_fd = (uint32_t)load_looking(14),
						.repeat = UINT32_MAX,
						.data_in = (uintptr_t)packet,
						.data_size_in = sizeof(packet) } };

		bpf(BPF_PROG_TEST_RUN, &attr);
		_exit(0);
	}
	usleep(200000);
	EXPECT_EQ(0, waitpid(child, NULL, WNOHANG));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	expect_service();
	alarm(60);
	EXPECT_EQ(0, stop_daemon());
	alarm(0);
}

TEST(protocol, another_version_is_turned_away)
{
	struct {
		struct sl_wire_frame frame;
		struct sl_wire_hello hello;
	} hello = { { sizeof(struct sl_wire_hello), SL_WIRE_HELLO, 0 }, { SL_WIRE_MAGIC, 99 } };
	int fd;

	ASSERT_TRUE(start_daemon());
	fd = connect_raw();
	EXPECT_EQ(sizeof(hello), send(fd, &hello, sizeof(hello), MSG_NOSIGNAL));
	EXPECT_TRUE(is_ended(fd));
	close(fd);
	expect_service();
	EXPECT_EQ(0, stop_daemon());
}

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void fill_random(void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)p)[i] = (uint8_t)next_random();
}

TEST(protocol, survives_garbage)
{
	uint8_t bytes[512];

	ASSERT_TRUE(start_daemon());
	for (int i = 0; i < 300; i++) {
		struct sl_wire wire;
		size_t len = next_random() % sizeof(bytes);

		fill_random(bytes, len);
		/* Half of them after a proper greeting. */
		if (i % 2)
			ASSERT_TRUE(open_wire(&wire));
		else
			sl_wire_init(&wire, connect_raw());
		send(wire.fd, bytes, len, MSG_NOSIGNAL);
		shutdown(wire.fd, SHUT_WR);
		EXPECT_TRUE(is_ended(wire.fd));
		sl_wire_done(&wire);
	}
	expect_service();
	EXPECT_EQ(0, stop_daemon());
}

/* Answers what the daemon asks, or not, or with something else. */
static void answer_badly(struct sl_wire *wire)
{
	for (int i = 0; i < 20; i++) {
		struct sl_wire_frame frame;
		uint8_t bytes[256];
		int64_t status = next_random() % 4 ? 0 : -(int64_t)(next_random() % 40);
		struct iovec parts[] = { { &status, sizeof(status) },
			{ bytes, next_random() % sizeof(bytes) } };
		int fds[2] = { 0, 1 };

		if (sl_wire_receive(wire, &frame) != 0 || sl_wire_skip(wire, frame.len_bytes) != 0)
			return;
		if (frame.type == SL_WIRE_RESULT)
			return;
		fill_random(bytes, sizeof(bytes));
		if (sl_wire_send(wire,
			    next_random() % 8
				    ? (frame.type == SL_WIRE_READ ? SL_WIRE_DATA : SL_WIRE_TAKEN)
				    : next_random() % 40,
			    parts, 2, fds, next_random() % 3) != 0)
			return;
	}
}

/* Calls whose parts do not fit together, and answers that do not fit what was asked. */
TEST(protocol, survives_calls_that_make_no_sense)
{
	ASSERT_TRUE(start_daemon());
	for (int i = 0; i < 400; i++) {
		uint8_t bytes[600];
		struct sl_wire_call *head = (struct sl_wire_call *)bytes;
		struct sl_wire_range *range = (struct sl_wire_range *)(head + 1);
		size_t len = sizeof(*head) + next_random() % 500;
		struct iovec part = { bytes, len };
		int fds[] = { 0, 1, 2 };
		struct sl_wire wire;

		fill_random(bytes, sizeof(bytes));
		/* Near enough to go on to the next check. */
		head->has_actor = next_random() % 3;
		head->actor.zero = next_random() % 8 == 0;
		head->number_count = next_random() % 4;
		head->range_count = next_random() % 3;
		head->args[0] = next_random() % 40;
		head->args[2] = next_random() % 200;
		range->address = head->args[1];
		range->len_bytes = next_random() % 200;
		head->text_len_bytes = (uint32_t)(len - sizeof(*head));
		if (head->range_count == 1)
			head->text_len_bytes -= (uint32_t)(sizeof(*range) + range->len_bytes);
		ASSERT_TRUE(open_wire(&wire));
		wire.wait_ms = 1000;
		if (sl_wire_send(&wire,
			    SL_WIRE_FIRST_CALL +
				    next_random() % (SL_WIRE_CALLS_END - SL_WIRE_FIRST_CALL + 1),
			    &part, 1, fds, next_random() % 4) == 0) {
			shutdown(wire.fd, next_random() % 2 ? SHUT_WR : SHUT_RD);
			answer_badly(&wire);
		}
		sl_wire_done(&wire);
	}
	expect_service();
	EXPECT_EQ(0, stop_daemon());
}

/* Whether the daemon has asked something on the connection, and still waits for the answer. */
static bool is_asked(struct sl_wire *wire)
{
	struct sl_wire_frame frame;
	uint8_t byte;

	wire->wait_ms = 0;
	if (sl_wire_receive(wire, &frame) != 0 || sl_wire_skip(wire, frame.len_bytes) != 0)
		return false;
	return (frame.type == SL_WIRE_READ || frame.type == SL_WIRE_TAKE) &&
	       recv(wire->fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/*
 * Calls that wait for what their client never sends hold nobody else up: all of them wait still when
 * another client has got what it wanted.
 */
TEST(protocol, silent_clients_stall_nobody)
{
	enum { EACH = 3, COMMANDS = 37 };
	static struct sl_wire wires[EACH * COMMANDS];
	unsigned open = 0, asked = 0;
	uint8_t attr[64] = { 0 };

	ASSERT_TRUE(start_daemon());
	for (unsigned i = 0; i < EACH * COMMANDS; i++) {
		/* The attributes are here for some; what they point to, and name, for none. */
		struct sl_wire_range range = { 0x1000, i % EACH ? sizeof(attr) : 0 };
		struct sl_wire_call head = { .args = { i % COMMANDS, 0x1000, sizeof(attr) },
			.range_count = 1 };
		struct iovec parts[] = { { &head, sizeof(head) }, { &range, sizeof(range) },
			{ attr, range.len_bytes } };

		memset(attr, i % EACH == 2 ? 1 : 0, sizeof(attr));
		if (open_wire(&wires[open])) {
			EXPECT_EQ(0, sl_wire_send(&wires[open], SL_WIRE_BPF, parts, 3, NULL, 0));
			open++;
		}
	}
	EXPECT_EQ(EACH * COMMANDS, open);
	usleep(100000);
	expect_service();
	for (unsigned i = 0; i < open; i++)
		asked += is_asked(&wires[i]);
	EXPECT_GT(asked, EACH * COMMANDS / 2);
	for (unsigned i = 0; i < open; i++)
		sl_wire_done(&wires[i]);
	expect_service();
	EXPECT_EQ(0, stop_daemon());
}

/* Who opens more connections than a user may have does not keep others out, nor itself for ever. */
TEST(protocol, a_flood_of_connections_passes)
{
	enum { MANY = 700 };
	static int fds[MANY];
	struct rlimit limit = { 4096, 4096 };
	unsigned ended = 0;

	setrlimit(RLIMIT_NOFILE, &limit);
	ASSERT_TRUE(start_daemon());
	for (int i = 0; i < MANY; i++)
		fds[i] = connect_raw();
	usleep(100000);
	for (int i = 0; i < MANY; i++) {
		struct sl_wire_frame frame;

		/* Those that are served have been greeted, or will be. */
		if (fds[i] >= 0 && recv(fds[i], &frame, sizeof(frame), MSG_DONTWAIT) == 0)
			ended++;
		close(fds[i]);
	}
	EXPECT_GT(ended, 0);
	for (int i = 0; i < 100 && !answers(); i++)
		usleep(20000);
	expect_service();
	EXPECT_EQ(0, stop_daemon());
}

/* As another user: its own objects, and nothing of others. */
static int as_nobody(uint32_t roots_map)
{
	char reason[SL_DAEMON_REASON];
	union bpf_attr attr = { .map_id = roots_map };
	struct bpf_map_info info = { 0 };
	uint64_t value;
	int own;

	if (setgid(65534) != 0 || setuid(65534) != 0)
		return 1;
	if (bpf(BPF_MAP_GET_FD_BY_ID, &attr) != -EPERM)
		return 2;
	own = new_map("own");
	if (own < 0 || update(own, 1, 2) != 0 || lookup(own, 1, &value) != 0 || value != 2)
		return 3;
	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)own;
	attr.info.info = (uintptr_t)&info;
	attr.info.info_len = sizeof(info);
	if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) != 0)
		return 4;
	memset(&attr, 0, sizeof(attr));
	attr.map_id = info.id;
	if (bpf(BPF_MAP_GET_FD_BY_ID, &attr) < 0)
		return 5;
	return sl_daemon_call("daemon.info", NULL, NULL, NULL, NULL, reason) == 0 ? 0 : 6;
}

TEST(protocol, users_have_their_own_objects)
{
	union bpf_attr attr = { 0 };
	pid_t child;
	int map, status;

	if (geteuid() != 0)
		SKIP("needs root, to become somebody else");
	ASSERT_TRUE(start_daemon());
	EXPECT_EQ(0, chmod(served_dir, 0755));
	EXPECT_EQ(0, chmod(served_socket, 0666));
	map = new_map("roots");
	EXPECT_EQ(0, bpf(BPF_MAP_GET_NEXT_ID, &attr));
	child = fork();
	if (child == 0)
		_exit(as_nobody(attr.next_id));
	waitpid(child, &status, 0);
	EXPECT_EQ(0, WEXITSTATUS(status));
	close(map);
	EXPECT_EQ(0, stop_daemon());
}
