#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "test.h"

/*
 * Forks while other threads are in the middle of every kind of map and of test runs: the child finds
 * nothing locked and nothing half done.
 */

enum { FORKS = 25, THREADS = 3, KEYS = 64 };

static const struct kind {
	uint32_t type, key, value, max, flags;
} kinds[] = {
	{ BPF_MAP_TYPE_LPM_TRIE, 8, 8, 1000, BPF_F_NO_PREALLOC },
	{ BPF_MAP_TYPE_QUEUE, 0, 8, 16, 0 },
	{ BPF_MAP_TYPE_STACK, 0, 8, 16, 0 },
	{ BPF_MAP_TYPE_HASH, 8, 8, 1000, 0 },
	{ BPF_MAP_TYPE_LRU_HASH, 8, 8, 40, 0 },
	{ BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, 100, 0 },
	{ BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0 },
};

enum { RING = sl_array_size(kinds) - 1, MAPS };

static int maps[MAPS], writer;
static bool stop;

static long element(int cmd, int map, const void *key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(key);
	attr.value = PTR(value);
	return call(SLUICE, cmd, &attr, sizeof(attr));
}

/* Writes a record, and the same value into the trie and the queue. */
static int load_writer(void)
{
#define INSN(c, d, s, o, i) { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }
#define LD_MAP(dst, fd) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, fd), INSN(0, 0, 0, 0, 0)
#define STACK(dst, off)                                   \
	INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, 10, 0, 0), \
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, off)
#define SET(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define HELPER(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
	const struct bpf_insn insns[] = {
		HELPER(BPF_FUNC_get_prandom_u32),
		INSN(BPF_STX | BPF_MEM | BPF_DW, 10, 0, -8, 0),
		INSN(BPF_STX | BPF_MEM | BPF_W, 10, 0, -12, 0),
		INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, -16, 28),
		LD_MAP(1, maps[RING]),
		STACK(2, -8),
		SET(3, 8),
		SET(4, 0),
		HELPER(BPF_FUNC_ringbuf_output),
		LD_MAP(1, maps[0]),
		STACK(2, -16),
		STACK(3, -8),
		SET(4, 0),
		HELPER(BPF_FUNC_map_update_elem),
		LD_MAP(1, maps[1]),
		STACK(2, -8),
		SET(3, BPF_EXIST),
		HELPER(BPF_FUNC_map_push_elem),
		SET(0, 5),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return prog_new(SLUICE, BPF_PROG_TYPE_SCHED_CLS, insns, sl_array_size(insns));
}

static long run_writer(int prog, uint32_t repeat)
{
	static uint8_t packet[64];
	union bpf_attr attr;
	long err;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = repeat;
	err = call(SLUICE, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	return err ? err : (long)attr.test.retval;
}

/* Every map is changed and asked; -1 when one says something that it cannot. */
static int use_all(unsigned *seed)
{
	for (unsigned i = 0; i < RING; i++) {
		uint64_t key = 32 | (uint64_t)(rand_r(seed) % KEYS) << 32, value = 1;
		bool keyed = kinds[i].key, device = kinds[i].type == BPF_MAP_TYPE_DEVMAP_HASH;
		uint32_t index = (uint32_t)(key >> 32);
		long err = element(BPF_MAP_UPDATE_ELEM, maps[i],
			!keyed   ? NULL
			: device ? (void *)&index
				 : (void *)&key,
			&value);

		/* Full, as a queue may be. */
		if (err && err != -E2BIG && err != -ENOMEM && err != -ENOSPC) {
			fprintf(stderr, "map type %u: %ld\n", kinds[i].type, err);
			return -1;
		}
		if (keyed)
			element(BPF_MAP_DELETE_ELEM, maps[i],
				device ? (void *)&index : (void *)&key, NULL);
		else
			element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, maps[i], NULL, &value);
	}
	return 0;
}

static void *hammer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (seed % 3 == 0)
			run_writer(writer, 50);
		use_all(&seed);
	}
	return NULL;
}

static int child(unsigned number)
{
	unsigned seed = number;
	int map, prog, status = 0;

	alarm(5);
	for (unsigned i = 0; i < 20; i++)
		if (use_all(&seed))
			status |= 1;
	if (run_writer(writer, 10) != 5)
		status |= 2;
	map = map_new(SLUICE, BPF_MAP_TYPE_HASH, 4, 8, 1, 0);
	if (map < 0)
		status |= 4;
	/* Compiling takes most of the time. */
	prog = number % 8 ? -1 : prog_returning(SLUICE, BPF_PROG_TYPE_SCHED_CLS, 7);
	if (number % 8 == 0 && (prog < 0 || run_writer(prog, 1) != 7))
		status |= 8;
	return status;
}

TEST(fork, child_finds_nothing_locked)
{
	pthread_t threads[THREADS];
	int failures = 0;

	for (unsigned i = 0; i < MAPS; i++) {
		maps[i] = map_new(SLUICE, kinds[i].type, kinds[i].key, kinds[i].value, kinds[i].max,
			kinds[i].flags);
		ASSERT_GE(maps[i], 0);
	}
	writer = load_writer();
	ASSERT_GE(writer, 0);
	for (unsigned i = 0; i < THREADS; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, hammer, (void *)(uintptr_t)(i + 3)), 0);
	for (unsigned i = 0; i < FORKS && !failures; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0)
			_exit(child(i));
		EXPECT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		failures += status != 0;
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < MAPS; i++)
		close(maps[i]);
	close(writer);
}
