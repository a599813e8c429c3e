#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/* QUEUE and STACK maps beside the kernel's: shapes, commands, programs; and many hands on one. */

enum { ENTRIES = 5, VALUE = 12, STEPS = 3000 };

static const uint32_t types[] = { BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK };

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

TEST(queue_stack, is_created_as_by_the_kernel)
{
	static const struct {
		uint32_t key, value, entries, flags;
	} shapes[] = {
		{ 0, 4, 1, 0 },
		{ 4, 4, 1, 0 },
		{ 0, 0, 1, 0 },
		{ 0, 4, 0, 0 },
		{ 0, 4, 1, BPF_F_NO_PREALLOC },
		{ 0, 4, 1, BPF_F_MMAPABLE },
		{ 0, 4, 1, BPF_F_RDONLY_PROG },
		{ 0, 4, 1, BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG },
		{ 0, 4, 1, BPF_F_RDONLY },
		{ 0, 4 << 20, 1, 0 },
		{ 0, (4 << 20) + 1, 1, 0 },
		{ 0, 64, UINT32_MAX, 0 },
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

/* Random commands, full and empty again and again. */
TEST(queue_stack, commands_are_the_kernels)
{
	static const int cmds[] = { BPF_MAP_UPDATE_ELEM, BPF_MAP_UPDATE_ELEM, BPF_MAP_LOOKUP_ELEM,
		BPF_MAP_LOOKUP_AND_DELETE_ELEM, BPF_MAP_LOOKUP_AND_DELETE_ELEM,
		BPF_MAP_DELETE_ELEM };
	static const uint64_t flags[] = { 0, 0, 0, BPF_NOEXIST, BPF_EXIST, 3, BPF_F_LOCK, 8 };

	ORACLE_OR_SKIP();
	for (size_t t = 0; t < sl_array_size(types); t++) {
		int fds[SIDES];

		for (int s = 0; s < SIDES; s++)
			fds[s] = map_new(s, types[t], 0, VALUE, ENTRIES, 0);
		for (unsigned i = 0; i < STEPS; i++) {
			int cmd = cmds[rand() % sl_array_size(cmds)];
			uint64_t flag = flags[rand() % sl_array_size(flags)];
			const void *key = rand() % 20 ? NULL : flags;
			uint8_t values[SIDES][VALUE];
			long errs[SIDES];

			TRACE_PUSH("type %u, step %u, command %d, flags %#llx", types[t], i, cmd,
				(unsigned long long)flag);
			memset(values, (int)i, sizeof(values));
			for (int s = 0; s < SIDES; s++)
				errs[s] = command(s, cmd, fds[s], key, values[s],
					cmd == BPF_MAP_DELETE_ELEM ? 0 : flag);
			EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
			EXPECT_MEMEQ(values[SLUICE], values[KERNEL], VALUE);
			TRACE_POP();
		}
		for (int s = 0; s < SIDES; s++) {
			union bpf_attr attr;
			uint32_t next;

			memset(&attr, 0, sizeof(attr));
			attr.map_fd = (uint32_t)fds[s];
			attr.next_key = PTR(&next);
			EXPECT_EQ(call(s, BPF_MAP_GET_NEXT_KEY, &attr, sizeof(attr)), -EINVAL);
			close(fds[s]);
		}
	}
}

#define INSN(c, d, s, o, i) ((struct bpf_insn){ (c), (d), (s), (o), (i) })

/* Calls the helper with a value on the stack; returns its result, or the value if that is 0. */
static int program(enum side side, int map, uint32_t helper, uint32_t value, bool initialised)
{
	struct bpf_insn insns[16];
	unsigned n = 0;

	for (int off = -16; initialised && off < 0; off += 4)
		insns[n++] = INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, off, (int)value);
	insns[n++] = INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map);
	insns[n++] = INSN(0, 0, 0, 0, 0);
	insns[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
	insns[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -16);
	insns[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0);
	insns[n++] = INSN(BPF_JMP | BPF_CALL, 0, 0, 0, (int)helper);
	insns[n++] = INSN(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 1, 0);
	insns[n++] = INSN(BPF_LDX | BPF_MEM | BPF_W, 0, 10, -16, 0);
	insns[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return prog_new(side, BPF_PROG_TYPE_XDP, insns, n);
}

static long run_prog(enum side side, int prog, uint32_t repeat)
{
	static const uint8_t packet[64];
	union bpf_attr attr;
	long err;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)prog;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = repeat;
	err = call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	return err ? err : (long)attr.test.retval;
}

static const uint32_t helpers[] = { BPF_FUNC_map_push_elem, BPF_FUNC_map_pop_elem,
	BPF_FUNC_map_peek_elem };

TEST(queue_stack, helpers_are_the_kernels)
{
	static const int order[] = { 1, 2, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1,
		2 };

	ORACLE_OR_SKIP();
	for (size_t t = 0; t < sl_array_size(types); t++) {
		int fds[SIDES];

		for (int s = 0; s < SIDES; s++)
			fds[s] = map_new(s, types[t], 0, VALUE, ENTRIES, 0);
		for (unsigned i = 0; i < sl_array_size(order); i++) {
			long results[SIDES];

			TRACE_PUSH("type %u, step %u", types[t], i);
			for (int s = 0; s < SIDES; s++) {
				int prog = program(s, fds[s], helpers[order[i]], i + 1, true);

				EXPECT_GE(prog, 0);
				results[s] = run_prog(s, prog, 1);
				close(prog);
			}
			EXPECT_EQ(results[SLUICE], results[KERNEL]);
			TRACE_POP();
		}
		close(fds[KERNEL]);
		close(fds[SLUICE]);
	}
}

TEST(queue_stack, misuse_is_refused_as_by_the_kernel)
{
	static const struct {
		uint32_t map, flags, helper;
		bool initialised;
	} rows[] = {
		{ BPF_MAP_TYPE_QUEUE, 0, BPF_FUNC_map_push_elem, false },
		{ BPF_MAP_TYPE_QUEUE, 0, BPF_FUNC_map_pop_elem, false },
		{ BPF_MAP_TYPE_QUEUE, 0, BPF_FUNC_map_peek_elem, false },
		{ BPF_MAP_TYPE_QUEUE, 0, BPF_FUNC_map_lookup_elem, true },
		{ BPF_MAP_TYPE_QUEUE, 0, BPF_FUNC_map_delete_elem, true },
		{ BPF_MAP_TYPE_QUEUE, BPF_F_RDONLY_PROG, BPF_FUNC_map_push_elem, true },
		{ BPF_MAP_TYPE_QUEUE, BPF_F_RDONLY_PROG, BPF_FUNC_map_pop_elem, true },
		{ BPF_MAP_TYPE_QUEUE, BPF_F_RDONLY_PROG, BPF_FUNC_map_peek_elem, true },
		{ BPF_MAP_TYPE_QUEUE, BPF_F_WRONLY_PROG, BPF_FUNC_map_push_elem, true },
		{ BPF_MAP_TYPE_QUEUE, BPF_F_WRONLY_PROG, BPF_FUNC_map_peek_elem, true },
		{ BPF_MAP_TYPE_ARRAY, 0, BPF_FUNC_map_push_elem, true },
		{ BPF_MAP_TYPE_HASH, 0, BPF_FUNC_map_pop_elem, true },
		{ BPF_MAP_TYPE_HASH, 0, BPF_FUNC_map_peek_elem, true },
	};

	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		bool keyless = rows[i].map == BPF_MAP_TYPE_QUEUE;
		int progs[SIDES], fd;

		TRACE_PUSH("row %zu", i);
		for (int s = 0; s < SIDES; s++) {
			fd = map_new(
				s, rows[i].map, keyless ? 0 : 4, VALUE, ENTRIES, rows[i].flags);
			progs[s] = program(s, fd, rows[i].helper, 1, rows[i].initialised);
			close(fd);
			if (progs[s] >= 0)
				close(progs[s]);
		}
		EXPECT_EQ(sl_min(progs[SLUICE], 0), sl_min(progs[KERNEL], 0));
		TRACE_POP();
	}
}

enum { PUSHERS = 2, ROUNDS = 50, REPEATS = 100 };

static void *push_often(void *prog)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		EXPECT_GE(run_prog(SLUICE, *(int *)prog, REPEATS), 0);
	return NULL;
}

/* Programs push while user space takes out: each value comes out once, and whole. */
TEST(queue_stack, values_come_out_once)
{
	for (size_t t = 0; t < sl_array_size(types); t++) {
		int map = map_new(SLUICE, types[t], 0, VALUE, PUSHERS * ROUNDS * REPEATS, 0);
		uint32_t counts[PUSHERS] = { 0 }, value[VALUE / 4], taken = 0;
		pthread_t threads[PUSHERS];
		int progs[PUSHERS];

		for (uint32_t i = 0; i < PUSHERS; i++) {
			progs[i] = program(SLUICE, map, BPF_FUNC_map_push_elem, i, true);
			EXPECT_GE(progs[i], 0);
			pthread_create(&threads[i], NULL, push_often, &progs[i]);
		}
		while (taken < PUSHERS * ROUNDS * REPEATS) {
			if (command(SLUICE, BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, NULL, value, 0))
				continue;
			taken++;
			EXPECT_LT(value[0], PUSHERS);
			EXPECT_EQ(value[1], value[0]);
			EXPECT_EQ(value[2], value[0]);
			counts[value[0] % PUSHERS]++;
		}
		for (uint32_t i = 0; i < PUSHERS; i++) {
			pthread_join(threads[i], NULL);
			EXPECT_EQ(counts[i], ROUNDS * REPEATS);
			close(progs[i]);
		}
		EXPECT_EQ(command(SLUICE, BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, NULL, value, 0),
			-ENOENT);
		close(map);
	}
}
