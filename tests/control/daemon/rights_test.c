#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "served.h"
#include "test.h"

/*
 * What is the administrator's, and what other users get. Each question is asked by root too, who gets
 * it: so it is the user that is refused, not the question.
 */
enum { NOBODY = 65534, TCX_INGRESS = 46, BEFORE = 1 << 3, LIVE_FRAMES = 1 << 1 };

static uint32_t port;

#define NEEDS_ROOT          \
	if (geteuid() != 0) \
	SKIP("needs root, to become somebody else")

static bool find_port(void)
{
	char reason[SL_DAEMON_REASON];
	struct json_object *result, *ports, *ifindex;

	if (sl_daemon_call("port.list", NULL, NULL, &result, NULL, reason) != 0)
		return false;
	port = 0;
	if (json_object_object_get_ex(result, "ports", &ports) &&
		json_object_array_length(ports) == 1 &&
		json_object_object_get_ex(json_object_array_get_idx(ports, 0), "ifindex", &ifindex))
		port = (uint32_t)json_object_get_int64(ifindex);
	json_object_put(result);
	return port != 0;
}

/* A daemon with a port, that everybody may connect to. */
static bool start_open_daemon(void)
{
	return start_daemon_with("--vdev=net_null0") && find_port() &&
	       chmod(served_dir, 0755) == 0 && chmod(served_socket, 0666) == 0;
}

/* fn's result in a child that is another user. */
static int as_nobody(int (*fn)(int arg), int arg)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
			_exit(255);
		_exit(-fn(arg));
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -255;
}

static int load_classifier(void)
{
	static const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return load_insns(BPF_PROG_TYPE_SCHED_CLS, insns, 2);
}

/* ---- ports ---- */

static int link_xdp(int arg)
{
	union bpf_attr attr = { .link_create = { .prog_fd = (uint32_t)load(),
					.target_ifindex = port,
					.attach_type = BPF_XDP } };
	int link = bpf(BPF_LINK_CREATE, &attr);

	(void)arg;
	return link < 0 ? link : close(link);
}

static int link_tcx(int arg)
{
	union bpf_attr attr = { .link_create = { .prog_fd = (uint32_t)load_classifier(),
					.target_ifindex = port,
					.attach_type = TCX_INGRESS } };
	int link = bpf(BPF_LINK_CREATE, &attr);

	(void)arg;
	return link < 0 ? link : close(link);
}

static int attach_tcx(int arg)
{
	union bpf_attr attr = { .target_fd = port,
		.attach_bpf_fd = (uint32_t)load_classifier(),
		.attach_type = TCX_INGRESS };

	(void)arg;
	return bpf(BPF_PROG_ATTACH, &attr);
}

/* Whatever is the first. */
static int detach_tcx(int arg)
{
	union bpf_attr attr = {
		.target_fd = port, .attach_type = TCX_INGRESS, .attach_flags = BEFORE
	};

	(void)arg;
	return bpf(BPF_PROG_DETACH, &attr);
}

static int run_live(int arg)
{
	static const uint8_t packet[64];
	union bpf_attr attr = { .test = { .prog_fd = (uint32_t)load(),
					.repeat = 1,
					.data_in = (uintptr_t)packet,
					.data_size_in = sizeof(packet),
					.flags = LIVE_FRAMES } };

	(void)arg;
	return bpf(BPF_PROG_TEST_RUN, &attr);
}

TEST(rights, ports_are_the_administrators)
{
	static const struct {
		const char *name;
		int (*fn)(int arg);
	} changes[] = { { "XDP link", link_xdp }, { "tcx link", link_tcx },
		{ "attach tcx", attach_tcx }, { "detach tcx", detach_tcx } };

	NEEDS_ROOT;
	ASSERT_TRUE(start_open_daemon());
	/* Something to be detached by who must not. */
	EXPECT_EQ(0, attach_tcx(0));
	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		sl_test_trace_push(__FILE__, __LINE__, "%s", changes[i].name);
		EXPECT_EQ(-EPERM, as_nobody(changes[i].fn, 0));
		EXPECT_EQ(0, changes[i].fn(0));
		sl_test_trace_pop();
	}
	EXPECT_EQ(-EPERM, as_nobody(run_live, 0));
	EXPECT_NE(-EPERM, run_live(0));
	EXPECT_EQ(0, stop_daemon());
}

/* ---- memory ---- */

/* A call of helper `id` with eight bytes of stack, their size, and an address. */
static int load_reading(int id)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ST | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .off = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 1, .src_reg = BPF_REG_10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 1, .imm = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = 4096 },
		{ .code = BPF_JMP | BPF_CALL, .imm = id },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 2 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int prog = load_insns(BPF_PROG_TYPE_XDP, insns, sizeof(insns) / sizeof(insns[0]));

	return prog < 0 ? prog : close(prog);
}

/* Other users' maps are in the daemon's memory. As the kernel says it to who lacks CAP_PERFMON. */
TEST(rights, memory_is_read_by_the_administrator)
{
	static const int helpers[] = { BPF_FUNC_probe_read_kernel, BPF_FUNC_probe_read_kernel_str,
		BPF_FUNC_probe_read_user, BPF_FUNC_probe_read_user_str, BPF_FUNC_trace_printk };

	NEEDS_ROOT;
	ASSERT_TRUE(start_open_daemon());
	for (unsigned i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++) {
		sl_test_trace_push(__FILE__, __LINE__, "helper %d", helpers[i]);
		EXPECT_EQ(-EINVAL, as_nobody(load_reading, helpers[i]));
		EXPECT_EQ(0, load_reading(helpers[i]));
		sl_test_trace_pop();
	}
	EXPECT_EQ(0, as_nobody(load_reading, BPF_FUNC_ktime_get_ns));
	EXPECT_EQ(0, stop_daemon());
}

static int open_again(int fd)
{
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR);
	return again < 0 ? -errno : close(again);
}

static int write_first(int map)
{
	return update(map, 0, 7);
}

static int create(union bpf_attr *attr)
{
	int map = bpf(BPF_MAP_CREATE, attr);
	struct bpf_map_info info = { 0 };
	union bpf_attr look = { .info = { .bpf_fd = (uint32_t)map,
					.info = (uintptr_t)&info,
					.info_len = sizeof(info) } };
	union bpf_attr get;

	if (map < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &look) != 0)
		return -1;
	memset(&get, 0, sizeof(get));
	get.map_id = info.id;
	get.open_flags = BPF_F_RDONLY;
	return bpf(BPF_MAP_GET_FD_BY_ID, &get);
}

/* A descriptor for reading, of values that can be mapped, does not become one for writing. */
TEST(rights, readers_do_not_become_writers)
{
	union bpf_attr array = { .map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = 8,
		.max_entries = 4,
		.map_flags = BPF_F_MMAPABLE },
		       ring = { .map_type = BPF_MAP_TYPE_RINGBUF, .max_entries = 4096 };
	int fd;

	NEEDS_ROOT;
	ASSERT_TRUE(start_open_daemon());
	fd = create(&array);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(-EPERM, as_nobody(write_first, fd));
	EXPECT_EQ(-EACCES, as_nobody(open_again, fd));
	fd = create(&ring);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(-EACCES, as_nobody(open_again, fd));
	EXPECT_EQ(0, stop_daemon());
}

/* ---- who a connection speaks for ---- */

/* A process that has asked as root, and is somebody else from then on. */
static int asks_later(int id)
{
	union bpf_attr attr = { .map_id = (uint32_t)id };
	int fd = bpf(BPF_MAP_GET_FD_BY_ID, &attr);

	if (fd < 0 || setuid(NOBODY) != 0)
		return -255;
	memset(&attr, 0, sizeof(attr));
	attr.map_id = (uint32_t)id;
	fd = bpf(BPF_MAP_GET_FD_BY_ID, &attr);
	return fd < 0 ? fd : 0;
}

TEST(rights, go_with_the_user)
{
	union bpf_attr attr = { 0 };
	pid_t child;
	int status;

	NEEDS_ROOT;
	ASSERT_TRUE(start_open_daemon());
	EXPECT_GE(new_map("roots"), 0);
	EXPECT_EQ(0, bpf(BPF_MAP_GET_NEXT_ID, &attr));
	child = fork();
	if (child == 0)
		_exit(-asks_later((int)attr.next_id));
	waitpid(child, &status, 0);
	EXPECT_EQ(EPERM, WEXITSTATUS(status));
	EXPECT_EQ(0, stop_daemon());
}

/* What a forked child has of the parent's connections: descriptors that it could speak through. */
static int count_connections(void)
{
	int count = 0;

	for (int fd = 3; fd < 1024; fd++) {
		struct stat st;

		count += fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
	}
	return count;
}

TEST(rights, do_not_go_to_children)
{
	pid_t child;
	int status;

	ASSERT_TRUE(start_daemon());
	EXPECT_GT(count_connections(), 0);
	child = fork();
	if (child == 0)
		_exit(count_connections() == 0 && answers() ? 0 : 1);
	waitpid(child, &status, 0);
	EXPECT_EQ(0, status);
	EXPECT_TRUE(answers());
	EXPECT_EQ(0, stop_daemon());
}
