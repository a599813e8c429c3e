#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <dirent.h>

#include "both.h"
#include "defs.h"
#include "fd.h"
#include "rcu.h"
#include "test.h"

/* How long objects live, seen from bpf(2). */

static uint32_t id_of(int fd)
{
	uint32_t words[64] = { 0 };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = fd;
	attr.info.info = PTR(words);
	attr.info.info_len = sizeof(words);
	return call(SLUICE, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) == 0 ? words[1] : 0;
}

static int by_id(int cmd, uint32_t id)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_id = id;
	return call(SLUICE, cmd, &attr, sizeof(attr));
}

static bool map_exists(uint32_t id)
{
	int fd;

	/* A program lets go of its maps one grace period after its end, they take another. */
	sl_fd_reap();
	sl_rcu_barrier();
	sl_rcu_barrier();
	fd = by_id(BPF_MAP_GET_FD_BY_ID, id);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static long element(int cmd, int fd, uint32_t key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = fd;
	attr.key = PTR(&key);
	attr.value = PTR(value);
	return call(SLUICE, cmd, &attr, sizeof(attr));
}

/* An XDP program that counts in the map's first element, or jumps through it. */
static int prog_using(int map_fd, bool jump)
{
	struct bpf_insn count[] = {
		{ BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 0 },
		{ BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0 },
		{ BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4 },
		{ BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map_fd },
		{ 0 },
		{ BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem },
		{ BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2, 0 },
		{ BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 1 },
		{ BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD },
		{ BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 2 },
		{ BPF_JMP | BPF_EXIT, 0, 0, 0, 0 },
	};
	struct bpf_insn tail[] = {
		{ BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, map_fd },
		{ 0 },
		{ BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0 },
		{ BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_tail_call },
		{ BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1 },
		{ BPF_JMP | BPF_EXIT, 0, 0, 0, 0 },
	};

	return jump ? prog_new(SLUICE, BPF_PROG_TYPE_XDP, tail, sl_array_size(tail))
		    : prog_new(SLUICE, BPF_PROG_TYPE_XDP, count, sl_array_size(count));
}

static long run(int fd, uint32_t repeat)
{
	static uint8_t packet[64];
	union bpf_attr attr;
	long ret;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = fd;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = repeat;
	ret = call(SLUICE, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	return ret ? ret : attr.test.retval;
}

TEST(lifetime, program_holds_its_map)
{
	int map = map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0), prog, again;
	uint32_t id = id_of(map);
	uint64_t value = 0;

	prog = prog_using(map, false);
	ASSERT_GE(prog, 0);
	close(map);
	EXPECT_EQ(2, run(prog, 5));
	EXPECT_TRUE(map_exists(id));
	again = by_id(BPF_MAP_GET_FD_BY_ID, id);
	EXPECT_EQ(0, element(BPF_MAP_LOOKUP_ELEM, again, 0, &value));
	EXPECT_EQ(5, value);
	close(again);
	close(prog);
	EXPECT_FALSE(map_exists(id));
}

TEST(lifetime, jump_table_holds_programs_until_its_last_user_goes)
{
	int table = map_new(SLUICE, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1, 0), prog, target, again;
	uint32_t id = id_of(table), target_id;

	prog = prog_using(table, true);
	ASSERT_GE(prog, 0);
	target = prog_returning(SLUICE, BPF_PROG_TYPE_XDP, 3);
	target_id = id_of(target);
	EXPECT_EQ(1, run(prog, 1));
	EXPECT_EQ(0, element(BPF_MAP_UPDATE_ELEM, table, 0, &target));
	close(target);
	EXPECT_EQ(3, run(prog, 1));
	again = by_id(BPF_PROG_GET_FD_BY_ID, target_id);
	EXPECT_GE(again, 0);
	close(again);
	/* The program still refers to the table, nobody can fill it any more. */
	close(table);
	EXPECT_EQ(1, run(prog, 1));
	EXPECT_EQ(-ENOENT, by_id(BPF_PROG_GET_FD_BY_ID, target_id));
	close(prog);
	EXPECT_FALSE(map_exists(id));
}

TEST(lifetime, circle_of_program_and_jump_table_ends)
{
	int table = map_new(SLUICE, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1, 0), prog;
	uint32_t id = id_of(table);

	prog = prog_using(table, true);
	EXPECT_EQ(0, element(BPF_MAP_UPDATE_ELEM, table, 0, &prog));
	EXPECT_EQ(1, run(prog, 1));
	close(prog);
	close(table);
	EXPECT_FALSE(map_exists(id));
}

TEST(lifetime, mapping_keeps_the_values)
{
	int map = map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE), prog;
	uint32_t id = id_of(map);
	volatile uint64_t *values;

	prog = prog_using(map, false);
	ASSERT_GE(prog, 0);
	values = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	ASSERT_TRUE(values != MAP_FAILED);
	close(map);
	values[0] = 10;
	run(prog, 3);
	EXPECT_EQ(13, values[0]);
	close(prog);
	EXPECT_TRUE(map_exists(id));
	munmap((void *)values, 4096);
	EXPECT_FALSE(map_exists(id));
}

TEST(lifetime, frozen_map_is_mapped_for_reading_only)
{
	int map = map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE);
	union bpf_attr attr;
	void *values;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	EXPECT_EQ(0, call(SLUICE, BPF_MAP_FREEZE, &attr, sizeof(attr)));
	EXPECT_TRUE(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, map, 0) == MAP_FAILED);
	values = mmap(NULL, 4096, PROT_READ, MAP_SHARED, map, 0);
	EXPECT_TRUE(values != MAP_FAILED);
	munmap(values, 4096);
	close(map);
}

/*
 * The kernel refuses to freeze what is mapped writable. Here the mapping stays, and no longer is what
 * programs see.
 */
TEST(lifetime, constants_do_not_change_through_a_mapping_from_before)
{
	uint32_t flags = BPF_F_MMAPABLE | BPF_F_RDONLY_PROG;
	int map = map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 4, 8, 1, flags);
	volatile uint64_t *values = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	union bpf_attr attr;
	uint64_t value = 0;

	ASSERT_TRUE(values != MAP_FAILED);
	values[0] = 5;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	EXPECT_EQ(0, call(SLUICE, BPF_MAP_FREEZE, &attr, sizeof(attr)));
	values[0] = 9;
	EXPECT_EQ(0, element(BPF_MAP_LOOKUP_ELEM, map, 0, &value));
	EXPECT_EQ(5, value);
	munmap((void *)values, 4096);
	close(map);
}

TEST(lifetime, child_uses_what_it_inherits)
{
	int map = map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE), status;
	uint32_t id = id_of(map);
	uint64_t value = 77;
	pid_t pid = fork();

	if (pid == 0) {
		int mine = map_new(SLUICE, BPF_MAP_TYPE_HASH, 4, 8, 1, 0);
		long err = element(BPF_MAP_UPDATE_ELEM, map, 0, &value);

		_exit(mine >= 0 && err == 0 && run(prog_using(mine, false), 1) == 2 ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* The values of a mappable array are shared as the kernel's are. */
	value = 0;
	EXPECT_EQ(0, element(BPF_MAP_LOOKUP_ELEM, map, 0, &value));
	EXPECT_EQ(77, value);
	close(map);
	EXPECT_FALSE(map_exists(id));
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

TEST(lifetime, failures_leave_no_descriptor)
{
	struct bpf_insn bad[] = { { .code = BPF_JMP | BPF_EXIT } };
	unsigned before = open_fds();

	for (unsigned i = 0; i < 100; i++) {
		EXPECT_LT(map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 8, 8, 1, 0), 0);
		EXPECT_LT(prog_new(SLUICE, BPF_PROG_TYPE_XDP, bad, 1), 0);
		close(map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_MMAPABLE));
	}
	sl_fd_reap();
	sl_rcu_barrier();
	EXPECT_EQ(before, open_fds());
}

/* Everybody at once: create, use, walk, close. */
static void *churn(void *arg)
{
	unsigned *failures = arg;
	union bpf_attr attr;

	for (unsigned i = 0; i < 300; i++) {
		int map = map_new(SLUICE, i & 1 ? BPF_MAP_TYPE_HASH : BPF_MAP_TYPE_ARRAY, 4, 8, 4,
			i & 2 && !(i & 1) ? BPF_F_MMAPABLE : 0);
		uint64_t value = i;
		uint32_t id = 0;
		int prog = i % 50 == 0 ? prog_using(map, false) : -1;

		if (map < 0 || element(BPF_MAP_UPDATE_ELEM, map, 1, &value) ||
			element(BPF_MAP_LOOKUP_ELEM, map, 1, &value) || value != i)
			(*failures)++;
		if (prog >= 0 && run(prog, 1000) != 2)
			(*failures)++;
		for (unsigned n = 0; n < 5; n++) {
			int other;

			memset(&attr, 0, sizeof(attr));
			attr.start_id = id;
			if (call(SLUICE, BPF_MAP_GET_NEXT_ID, &attr, sizeof(attr)))
				break;
			id = attr.next_id;
			other = by_id(BPF_MAP_GET_FD_BY_ID, id);
			if (other >= 0) {
				element(BPF_MAP_DELETE_ELEM, other, 3, &value);
				close(other);
			}
		}
		close(map);
		if (prog >= 0)
			close(prog);
	}
	return NULL;
}

TEST(lifetime, threads_create_use_and_close)
{
	unsigned failures[4] = { 0 };
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, churn, &failures[i]);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, failures[i]);
	}
	/* Whatever is left now has leaked. */
	EXPECT_FALSE(map_exists(0));
	for (uint32_t id = 1; id < 5000; id++)
		EXPECT_FALSE(by_id(BPF_MAP_GET_FD_BY_ID, id) >= 0);
}
