#include "prog_array.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu.h"
#include "fd.h"
#include "oracle.h"
#include "pair.h"
#include "rcu.h"
#include "test.h"

/* A program is recognised by the address of its code. */
static uint64_t code_of(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	return tail_calls;
}

static struct sl_map *array_new(uint32_t max_entries)
{
	union bpf_attr attr;
	struct sl_map *map;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_PROG_ARRAY;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = max_entries;
	return sl_map_new(&attr, &map) == 0 ? map : NULL;
}

/* The code is never run: its address says which program it is. */
static struct sl_code codes[8];

static void keep_code(struct sl_code *code)
{
}

__attribute__((constructor)) static void set_hooks(void)
{
	sl_prog_set_free_hooks(NULL, keep_code, NULL);
}

static int prog_new(
	unsigned number, enum bpf_prog_type type, enum bpf_attach_type attach, uint32_t flags)
{
	static const struct bpf_insn insns[2] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	struct sl_prog *prog;
	int fd;

	if (sl_prog_new(insns, 2, &prog) != 0)
		return -1;
	codes[number].run = (sl_prog_fn)((uintptr_t)code_of + number);
	prog->code = prog->own_code = &codes[number];
	prog->type = prog->rules_type = type;
	prog->expected_attach_type = attach;
	prog->flags = flags;
	sl_object_publish(&prog->obj);
	fd = sl_fd_new(&prog->obj, -1, O_RDWR);
	sl_object_unref(&prog->obj);
	return fd;
}

static uint32_t id_of(int fd)
{
	struct sl_object *obj;
	uint32_t id;

	if (sl_fd_get(fd, SL_OBJECT_PROG, &obj) != 0)
		return 0;
	id = obj->id;
	sl_object_unref(obj);
	return id;
}

static sl_prog_fn slot(struct sl_map *map, unsigned cpu, uint64_t index)
{
	struct sl_ctx ctx = { .cpu = cpu };

	return sl_prog_array_slot(&map->desc, &ctx, index);
}

TEST(prog_array, slot_follows_updates_and_deletes)
{
	struct sl_map *map = array_new(4);
	int a = prog_new(0, BPF_PROG_TYPE_XDP, 0, 0), b = prog_new(1, BPF_PROG_TYPE_XDP, 0, 0);
	uint32_t key = 2, past = 4, id;

	ASSERT_TRUE(map && a >= 0 && b >= 0);
	EXPECT_TRUE(!slot(map, 0, key));
	EXPECT_EQ(own_lookup(map, &key, &id, 0), -ENOENT);
	EXPECT_EQ(own_delete(map, &key), -ENOENT);
	EXPECT_EQ(own_update(map, &key, &a, BPF_ANY), 0);
	EXPECT_TRUE(slot(map, 0, key) == codes[0].run);
	EXPECT_EQ(own_lookup(map, &key, &id, 0), 0);
	EXPECT_EQ(id, id_of(a));
	EXPECT_EQ(own_update(map, &key, &b, BPF_ANY), 0);
	EXPECT_TRUE(slot(map, 0, key) == codes[1].run);
	EXPECT_TRUE(!slot(map, 0, past));
	/* The index is 32 bits of the register. */
	EXPECT_TRUE(slot(map, 0, (1ull << 32) + key) == codes[1].run);
	EXPECT_EQ(own_update(map, &past, &b, BPF_ANY), -E2BIG);
	EXPECT_EQ(own_delete(map, &key), 0);
	EXPECT_TRUE(!slot(map, 0, key));
	close(a);
	close(b);
	sl_map_unref(map);
}

TEST(prog_array, program_lives_while_it_is_in_a_slot)
{
	struct sl_map *map = array_new(2);
	int fd = prog_new(0, BPF_PROG_TYPE_XDP, 0, 0);
	uint32_t key = 0, id = id_of(fd);

	ASSERT_EQ(own_update(map, &key, &fd, BPF_ANY), 0);
	close(fd);
	sl_fd_reap();
	EXPECT_EQ(sl_object_next_id(SL_OBJECT_PROG, id - 1), id);
	map->ops->user_release(map);
	EXPECT_TRUE(!slot(map, 0, key));
	EXPECT_NE(sl_object_next_id(SL_OBJECT_PROG, id - 1), id);
	sl_map_unref(map);
}

/* Which programs may follow which into one array, asked of the kernel too. */
static const struct compatible {
	enum bpf_prog_type type;
	enum bpf_attach_type attach;
	uint32_t flags;
} kinds[] = {
	{ BPF_PROG_TYPE_XDP, 0, 0 },
	{ BPF_PROG_TYPE_XDP, BPF_XDP, 0 },
	{ BPF_PROG_TYPE_XDP, BPF_XDP, BPF_F_XDP_HAS_FRAGS },
	{ BPF_PROG_TYPE_XDP, BPF_XDP_CPUMAP, 0 },
	{ BPF_PROG_TYPE_SCHED_CLS, 0, 0 },
	{ BPF_PROG_TYPE_SCHED_ACT, 0, 0 },
	{ BPF_PROG_TYPE_SOCKET_FILTER, 0, 0 },
};

static int kernel_prog(const struct compatible *kind)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = kind->type;
	attr.expected_attach_type = kind->attach;
	attr.prog_flags = kind->flags;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = 2;
	attr.license = (uintptr_t)"GPL";
	return oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int kernel_update(int map, uint32_t key, int prog)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&prog;
	return oracle_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

static void check_compatible(const struct compatible *first, const struct compatible *second)
{
	union bpf_attr attr;
	struct pair p;
	int ours[2], theirs[2];

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_PROG_ARRAY;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 2;
	ASSERT_EQ(pair_new(&p, &attr), 0);
	ours[0] = prog_new(0, first->type, first->attach, first->flags);
	ours[1] = prog_new(1, second->type, second->attach, second->flags);
	theirs[0] = kernel_prog(first);
	theirs[1] = kernel_prog(second);
	for (uint32_t key = 0; key < 2; key++) {
		ASSERT_TRUE(ours[key] >= 0 && theirs[key] >= 0);
		EXPECT_EQ(own_update(p.map, &key, &ours[key], BPF_ANY),
			kernel_update(p.kernel, key, theirs[key]));
		close(ours[key]);
		close(theirs[key]);
	}
	pair_free(&p);
}

TEST(prog_array, takes_the_programs_that_the_kernel_takes)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(kinds); i++) {
		for (size_t j = 0; j < sl_array_size(kinds); j++) {
			TRACE_PUSH("kind %zu after kind %zu", j, i);
			check_compatible(&kinds[i], &kinds[j]);
			TRACE_POP();
		}
	}
}

TEST(prog_array, bad_values_and_flags_answer_as_the_kernel_does)
{
	union bpf_attr attr;
	struct pair p;
	uint32_t key = 0, past = 9;
	int bad = -1, file = STDERR_FILENO;

	ORACLE_OR_SKIP();
	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_PROG_ARRAY;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 2;
	ASSERT_EQ(pair_new(&p, &attr), 0);
	pair_update(&p, &key, &bad, BPF_ANY);
	pair_update(&p, &key, &file, BPF_ANY);
	pair_update(&p, &key, &bad, BPF_NOEXIST);
	pair_update(&p, &key, &bad, BPF_EXIST);
	pair_update(&p, &key, &bad, BPF_F_LOCK);
	pair_update(&p, &past, &bad, BPF_ANY);
	pair_lookup(&p, &key, 0);
	pair_lookup(&p, &past, 0);
	pair_lookup(&p, &key, BPF_F_LOCK);
	pair_lookup_and_delete(&p, &key, 0);
	pair_delete(&p, &key);
	pair_delete(&p, &past);
	pair_free(&p);
}

TEST(prog_array, batch_is_all_or_nothing)
{
	struct sl_map *map = array_new(4);
	int xdp = prog_new(0, BPF_PROG_TYPE_XDP, 0, 0),
	    tc = prog_new(1, BPF_PROG_TYPE_SCHED_CLS, 0, 0);
	uint32_t keys[3] = { 0, 1, 0 }, past[2] = { 0, 4 };
	int good[3] = { xdp, xdp, xdp }, mixed[2] = { xdp, tc }, broken[2] = { xdp, -1 };

	EXPECT_EQ(map->ops->sys_update_all(map, past, good, 2, 0), -E2BIG);
	EXPECT_EQ(map->ops->sys_update_all(map, keys, broken, 2, 0), -EBADF);
	EXPECT_EQ(map->ops->sys_update_all(map, keys, mixed, 2, 0), -EINVAL);
	EXPECT_EQ(map->ops->sys_update_all(map, keys, good, 2, BPF_EXIST), -EINVAL);
	EXPECT_TRUE(!slot(map, 0, 0) && !slot(map, 0, 1));
	/* A failed batch leaves no owner behind. */
	EXPECT_EQ(own_update(map, &keys[1], &tc, BPF_ANY), 0);
	EXPECT_EQ(own_delete(map, &keys[1]), 0);
	sl_map_unref(map);
	map = array_new(4);
	EXPECT_EQ(map->ops->sys_update_all(map, keys, good, 3, 0), 0);
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
		EXPECT_TRUE(slot(map, cpu, 0) == codes[0].run && slot(map, cpu, 1) == codes[0].run);
	sl_map_unref(map);
	close(xdp);
	close(tc);
}

struct worker {
	struct sl_map *map;
	unsigned cpu;
	bool ready, stop;
	uint64_t runs, mixed;
};

/* Between two polls a packet looks at two slots, which change together only. */
static void *work(void *arg)
{
	struct worker *w = arg;

	sl_rcu_online();
	sl_cpu_claim(w->cpu);
	__atomic_store_n(&w->ready, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		sl_prog_fn first = slot(w->map, w->cpu, 0);

		for (volatile int pause = 0; pause < 50; pause++)
			;
		w->mixed += slot(w->map, w->cpu, 1) != first;
		w->runs++;
		sl_cpu_poll(w->cpu);
		sl_rcu_quiescent();
	}
	sl_cpu_release(w->cpu);
	sl_rcu_offline();
	return NULL;
}

TEST(prog_array, worker_never_sees_two_generations)
{
	struct worker w = { .map = array_new(2), .cpu = sl_cpu_count() - 1 };
	uint32_t keys[2] = { 0, 1 };
	pthread_t thread;
	int fds[2][2];

	for (unsigned i = 0; i < 2; i++)
		fds[i][0] = fds[i][1] = prog_new(i, BPF_PROG_TYPE_XDP, 0, 0);
	ASSERT_EQ(w.map->ops->sys_update_all(w.map, keys, fds[0], 2, 0), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, work, &w), 0);
	while (!__atomic_load_n(&w.ready, __ATOMIC_ACQUIRE))
		usleep(100);
	for (unsigned i = 1; i < 300; i++) {
		EXPECT_EQ(w.map->ops->sys_update_all(w.map, keys, fds[i % 2], 2, 0), 0);
		/* When the batch returns, it is in force everywhere. */
		for (unsigned cpu = 0; cpu < sl_cpu_count() - 1; cpu++)
			EXPECT_TRUE(slot(w.map, cpu, 1) == codes[i % 2].run);
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	EXPECT_GT(w.runs, 0u);
	EXPECT_EQ(w.mixed, 0u);
	close(fds[0][0]);
	close(fds[1][0]);
	sl_map_unref(w.map);
	sl_rcu_barrier();
}
