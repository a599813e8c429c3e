#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/* CGROUP_ARRAY, SOCKMAP and SOCKHASH, whose values are descriptors, beside the kernel's. */

#define INSN(c, d, s, o, i) ((struct bpf_insn){ (c), (d), (s), (o), (i) })
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##helper)
#define SET(reg, value) INSN(BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value)
#define MOVE(to, from) INSN(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0)
#define ADD(reg, value) INSN(BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, value)
#define STORE(off, value) INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, off, value)
#define IF_NULL(reg, off) INSN(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, off, 0)
/* The map's descriptor is filled in when the program is loaded. */
#define MAP(reg) INSN(BPF_LD | BPF_IMM | BPF_DW, reg, BPF_PSEUDO_MAP_FD, 0, 0), INSN(0, 0, 0, 0, 0)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define KEY(reg) MOVE(reg, 10), ADD(reg, -8)
#define LOOKUP STORE(-8, 0), MAP(1), KEY(2), CALL(map_lookup_elem)

enum { INSNS_MAX = 40 };

static long command(enum side side, int cmd, int map, const void *key, void *value, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(key);
	attr.value = PTR(value);
	attr.flags = flags;
	return call(side, cmd, &attr, sizeof(attr));
}

static int load(enum side side, uint32_t type, const struct bpf_insn *insns, int map)
{
	struct bpf_insn copy[INSNS_MAX];
	uint32_t count = INSNS_MAX;

	memcpy(copy, insns, sizeof(copy));
	while (!copy[count - 1].code)
		count--;
	for (uint32_t i = 0; i < count; i++)
		if (copy[i].code == (BPF_LD | BPF_IMM | BPF_DW))
			copy[i].imm = map;
	return prog_new(side, type, copy, count);
}

static long run(enum side side, int prog)
{
	static const uint8_t packet[64];
	union bpf_attr attr;
	long err;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = 1;
	err = call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	return err ? err : (long)attr.test.retval;
}

static const uint32_t types[] = { BPF_MAP_TYPE_CGROUP_ARRAY, BPF_MAP_TYPE_SOCKMAP,
	BPF_MAP_TYPE_SOCKHASH };

TEST(handle_maps, are_created_as_by_the_kernel)
{
	static const struct {
		uint32_t key, value, entries, flags;
	} shapes[] = {
		{ 4, 4, 1, 0 },
		{ 4, 8, 1, 0 },
		{ 4, 4, 0, 0 },
		{ 0, 4, 1, 0 },
		{ 4, 0, 1, 0 },
		{ 4, 5, 1, 0 },
		{ 8, 4, 1, 0 },
		{ 512, 8, 4, 0 },
		{ 513, 8, 4, 0 },
		{ 4, 4, 1, BPF_F_NO_PREALLOC },
		{ 4, 4, 1, BPF_F_NUMA_NODE },
		{ 4, 4, 1, BPF_F_RDONLY },
		{ 4, 4, 1, BPF_F_WRONLY },
		{ 4, 4, 1, BPF_F_RDONLY | BPF_F_WRONLY },
		{ 4, 4, 1, BPF_F_RDONLY_PROG },
		{ 4, 4, 1, BPF_F_WRONLY_PROG },
		{ 4, 4, 1, BPF_F_MMAPABLE },
		{ 4, 4, 1, BPF_F_INNER_MAP },
		{ 4, 4, 1, BPF_F_PRESERVE_ELEMS },
		{ 4, 4, 1, BPF_F_ZERO_SEED },
	};

	ORACLE_OR_SKIP();
	for (size_t t = 0; t < sl_array_size(types); t++) {
		for (size_t i = 0; i < sl_array_size(shapes); i++) {
			int fds[SIDES];

			TRACE_PUSH("type %u, shape %zu", types[t], i);
			for (int s = 0; s < SIDES; s++) {
				fds[s] = map_new(s, types[t], shapes[i].key, shapes[i].value,
					shapes[i].entries, shapes[i].flags);
				if (fds[s] >= 0)
					close(fds[s]);
			}
			EXPECT_EQ(sl_min(fds[SLUICE], 0), sl_min(fds[KERNEL], 0));
			TRACE_POP();
		}
	}
}

enum { FILES = 9, SLOTS = 4, STEPS = 2000 };

/* Where the machine has a hierarchy of version 2: "" for nowhere. */
static void find_cgroups(char *path, size_t size)
{
	static const char *const mounts[] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };

	path[0] = '\0';
	for (size_t i = 0; i < sl_array_size(mounts) && !path[0]; i++) {
		char procs[128];

		snprintf(procs, sizeof(procs), "%s/cgroup.procs", mounts[i]);
		if (access(procs, R_OK) == 0)
			snprintf(path, size, "%s", mounts[i]);
	}
}

static void open_files(int files[FILES], char *made, size_t size)
{
	char mount[64], path[128];

	find_cgroups(mount, sizeof(mount));
	snprintf(made, size, "%s/sluice-test-%d", mount, getpid());
	if (mount[0])
		mkdir(made, 0755);
	snprintf(path, sizeof(path), "%s/cgroup.procs", mount);
	files[0] = open(mount, O_RDONLY | O_DIRECTORY);
	files[1] = open(made, O_RDONLY | O_DIRECTORY);
	files[2] = open(path, O_RDONLY);
	files[3] = open("/dev/null", O_RDONLY);
	files[4] = open("/tmp", O_RDONLY | O_DIRECTORY);
	files[5] = -1;
	files[6] = 1000;
	files[7] = open(mount[0] ? mount : "/", O_PATH);
	/* Not connected: of no use to the kernel either. */
	files[8] = socket(AF_INET, SOCK_STREAM, 0);
}

static void close_files(const int files[FILES], const char *made)
{
	for (unsigned i = 0; i < FILES; i++)
		if (i != 6)
			close(files[i]);
	rmdir(made);
}

TEST(handle_maps, commands_are_the_kernels)
{
	static const int cmds[] = { BPF_MAP_UPDATE_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_UPDATE_ELEM,
		BPF_MAP_LOOKUP_ELEM, BPF_MAP_DELETE_ELEM, BPF_MAP_GET_NEXT_KEY,
		BPF_MAP_LOOKUP_AND_DELETE_ELEM, BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH };
	static const uint64_t flags[] = { 0, 0, 0, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK, 8 };
	int files[FILES];
	char made[128];

	ORACLE_OR_SKIP();
	open_files(files, made, sizeof(made));
	for (size_t t = 0; t < 2 * sl_array_size(types); t++) {
		uint32_t type = types[t / 2], value_size = t % 2 && t > 1 ? 8 : 4;
		int fds[SIDES];

		for (int s = 0; s < SIDES; s++)
			fds[s] = map_new(s, type, 4, value_size, SLOTS, 0);
		for (unsigned i = 0; i < STEPS; i++) {
			int cmd = cmds[(unsigned)rand() % sl_array_size(cmds)];
			bool batch = cmd >= BPF_MAP_LOOKUP_BATCH;
			uint64_t flag = cmd == BPF_MAP_UPDATE_ELEM || cmd == BPF_MAP_LOOKUP_ELEM
						? flags[(unsigned)rand() % sl_array_size(flags)]
						: 0;
			uint32_t key = (uint32_t)rand() % (SLOTS + 2);
			int64_t file = files[(unsigned)rand() % FILES];
			int64_t values[SIDES] = { file, file };
			long errs[SIDES];

			TRACE_PUSH("type %u, step %u, command %d, key %u, file %d, flags %#llx",
				type, i, cmd, key, (int)file, (unsigned long long)flag);
			for (int s = 0; s < SIDES; s++)
				errs[s] = command(s, cmd, fds[s], batch ? NULL : &key,
					batch || cmd == BPF_MAP_DELETE_ELEM ? NULL : &values[s],
					flag);
			EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
			EXPECT_EQ(values[SLUICE], values[KERNEL]);
			TRACE_POP();
		}
		for (int s = 0; s < SIDES; s++)
			close(fds[s]);
	}
	close_files(files, made);
}

TEST(handle_maps, sockets_that_the_kernel_would_take_are_refused)
{
	int map = map_new(SLUICE, BPF_MAP_TYPE_SOCKMAP, 4, 4, SLOTS, 0);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	uint32_t key = 0;

	EXPECT_EQ(command(SLUICE, BPF_MAP_UPDATE_ELEM, map, &key, &fd, 0), -EOPNOTSUPP);
	close(fd);
	close(map);
}

TEST(handle_maps, the_task_is_where_it_is_in_the_kernel)
{
	int files[FILES], fds[SIDES];
	char made[128];

	ORACLE_OR_SKIP();
	open_files(files, made, sizeof(made));
	for (int s = 0; s < SIDES; s++) {
		fds[s] = map_new(s, BPF_MAP_TYPE_CGROUP_ARRAY, 4, 4, SLOTS, 0);
		for (uint32_t i = 0; i < 2; i++)
			EXPECT_EQ(command(s, BPF_MAP_UPDATE_ELEM, fds[s], &i, &files[i], 0),
				files[i] < 0 ? -EBADF : 0);
	}
	for (int index = -1; index <= SLOTS; index++) {
		struct bpf_insn insns[INSNS_MAX] = { MAP(1), SET(2, index),
			CALL(current_task_under_cgroup), EXIT };
		long results[SIDES];

		TRACE_PUSH("index %d", index);
		for (int s = 0; s < SIDES; s++) {
			int prog = load(s, BPF_PROG_TYPE_XDP, insns, fds[s]);

			EXPECT_GE(prog, 0);
			results[s] = run(s, prog);
			close(prog);
		}
		EXPECT_EQ(results[SLUICE], results[KERNEL]);
		TRACE_POP();
	}
	for (int s = 0; s < SIDES; s++)
		close(fds[s]);
	close_files(files, made);
}

/* The kernel's test run gives the packet a socket; one from a port has none. */
TEST(handle_maps, no_packet_is_in_a_cgroup)
{
	struct bpf_insn insns[INSNS_MAX] = { MAP(2), SET(3, 0), CALL(skb_under_cgroup), EXIT };
	int map = map_new(SLUICE, BPF_MAP_TYPE_CGROUP_ARRAY, 4, 4, SLOTS, 0);
	int prog = load(SLUICE, BPF_PROG_TYPE_SCHED_CLS, insns, map);

	EXPECT_GE(prog, 0);
	EXPECT_EQ((int)run(SLUICE, prog), -ENOENT);
	close(prog);
	close(map);
}

static const struct {
	const char *name;
	struct bpf_insn insns[INSNS_MAX];
} programs[] = {
	{ "found and released",
		{ LOOKUP, IF_NULL(0, 2), MOVE(1, 0), CALL(sk_release), SET(0, 0), EXIT } },
	{ "found and kept", { LOOKUP, SET(0, 0), EXIT } },
	{ "kept where it is found", { LOOKUP, IF_NULL(0, 1), SET(0, 1), SET(0, 0), EXIT } },
	{ "released without a look", { LOOKUP, MOVE(1, 0), CALL(sk_release), SET(0, 0), EXIT } },
	{ "released twice", { LOOKUP, IF_NULL(0, 5), MOVE(6, 0), MOVE(1, 0), CALL(sk_release),
				    MOVE(1, 6), CALL(sk_release), SET(0, 0), EXIT } },
	{ "read", { LOOKUP, IF_NULL(0, 4), MOVE(6, 0), INSN(BPF_LDX | BPF_MEM | BPF_W, 7, 0, 4, 0),
			  MOVE(1, 6), CALL(sk_release), SET(0, 0), EXIT } },
	{ "read behind its end",
		{ LOOKUP, IF_NULL(0, 4), MOVE(6, 0), INSN(BPF_LDX | BPF_MEM | BPF_W, 7, 0, 200, 0),
			MOVE(1, 6), CALL(sk_release), SET(0, 0), EXIT } },
	{ "written",
		{ LOOKUP, IF_NULL(0, 4), MOVE(6, 0), INSN(BPF_ST | BPF_MEM | BPF_W, 0, 0, 4, 1),
			MOVE(1, 6), CALL(sk_release), SET(0, 0), EXIT } },
	{ "put back",
		{ LOOKUP, IF_NULL(0, 8), MOVE(6, 0), MAP(1), KEY(2), MOVE(3, 6), SET(4, 0),
			CALL(map_update_elem), MOVE(1, 6), CALL(sk_release), SET(0, 0), EXIT } },
	{ "put back without a look", { LOOKUP, MOVE(3, 0), MAP(1), KEY(2), SET(4, 0),
					     CALL(map_update_elem), SET(0, 0), EXIT } },
	{ "bytes for a socket", { STORE(-8, 0), MAP(1), KEY(2), KEY(3), SET(4, 0),
					CALL(map_update_elem), SET(0, 0), EXIT } },
	{ "nothing for a socket", { STORE(-8, 0), MAP(1), KEY(2), SET(3, 0), SET(4, 0),
					  CALL(map_update_elem), SET(0, 0), EXIT } },
	{ "deleted", { STORE(-8, 0), MAP(1), KEY(2), CALL(map_delete_elem), SET(0, 0), EXIT } },
	{ "delete's answer", { STORE(-8, 0), MAP(1), KEY(2), CALL(map_delete_elem), EXIT } },
	{ "peeked", { STORE(-8, 0), MAP(1), KEY(2), CALL(map_peek_elem), SET(0, 0), EXIT } },
	{ "pushed",
		{ STORE(-8, 0), MAP(1), KEY(2), SET(3, 0), CALL(map_push_elem), SET(0, 0), EXIT } },
	{ "in a cgroup", { MAP(2), SET(3, 0), CALL(skb_under_cgroup), SET(0, 0), EXIT } },
	{ "the task in a cgroup",
		{ MAP(1), SET(2, 0), CALL(current_task_under_cgroup), SET(0, 0), EXIT } },
};

TEST(handle_maps, programs_are_taken_and_refused_as_by_the_kernel)
{
	static const uint32_t prog_types[] = { BPF_PROG_TYPE_XDP, BPF_PROG_TYPE_SCHED_CLS,
		BPF_PROG_TYPE_SCHED_ACT, BPF_PROG_TYPE_SOCKET_FILTER };
	unsigned taken = 0;

	ORACLE_OR_SKIP();
	for (size_t t = 0; t < sl_array_size(types); t++) {
		int fds[SIDES];

		for (int s = 0; s < SIDES; s++)
			fds[s] = map_new(s, types[t], 4, 4, SLOTS, 0);
		for (size_t i = 0; i < sl_array_size(programs) * sl_array_size(prog_types); i++) {
			uint32_t prog_type = prog_types[i % sl_array_size(prog_types)];
			size_t n = i / sl_array_size(prog_types);
			long results[SIDES];

			TRACE_PUSH("map %u, program type %u, %s", types[t], prog_type,
				programs[n].name);
			for (int s = 0; s < SIDES; s++) {
				int prog = load(s, prog_type, programs[n].insns, fds[s]);

				results[s] = prog;
				if (prog < 0)
					continue;
				results[s] = run(s, prog);
				taken++;
				close(prog);
			}
			EXPECT_EQ(results[SLUICE], results[KERNEL]);
			TRACE_POP();
		}
		for (int s = 0; s < SIDES; s++)
			close(fds[s]);
	}
	EXPECT_GT(taken, 50);
}
