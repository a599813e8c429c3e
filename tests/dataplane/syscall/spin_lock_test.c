#include <bpf/btf.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "cpu.h"
#include "defs.h"
#include "oracle.h"
#include "rcu.h"
#include "test.h"

/*
 * Spin locks in map values: which programs may hold them how, beside the kernel's verifier, and that
 * what is done under one is done as a whole, whoever does it.
 */

enum { LOG = 1 << 16, VALUES = 4 };

/* A lock between numbers, so that copies come in two pieces. */
struct value {
	uint32_t first, lock;
	uint64_t second, third;
};

enum map { ARRAY, HASH, PLAIN, MAPS };

struct maps {
	int fds[MAPS];
};

static int create(enum side side, const struct btf *btf, uint32_t type, int value_id)
{
	union bpf_attr attr;
	uint32_t size;
	int fd, map;

	memset(&attr, 0, sizeof(attr));
	attr.btf = PTR(btf__raw_data(btf, &size));
	attr.btf_size = size;
	fd = (int)call(side, BPF_BTF_LOAD, &attr, sizeof(attr));
	EXPECT_GE(fd, 0);
	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = 4;
	attr.value_size = sizeof(struct value);
	attr.max_entries = VALUES;
	strcpy(attr.map_name, "locked");
	attr.btf_fd = (uint32_t)fd;
	attr.btf_key_type_id = 1;
	attr.btf_value_type_id = (uint32_t)value_id;
	map = (int)call(side, BPF_MAP_CREATE, &attr, sizeof(attr));
	EXPECT_GE(map, 0);
	close(fd);
	return map;
}

static struct maps maps_new(enum side side)
{
	struct btf *btf = btf__new_empty();
	int i32 = btf__add_int(btf, "int", 4, 0), i64 = btf__add_int(btf, "long", 8, 0);
	int lock = btf__add_struct(btf, "bpf_spin_lock", 4), value, plain;
	struct maps m;

	btf__add_field(btf, "val", i32, 0, 0);
	value = btf__add_struct(btf, "value", sizeof(struct value));
	btf__add_field(btf, "first", i32, 0, 0);
	btf__add_field(btf, "lock", lock, 32, 0);
	btf__add_field(btf, "second", i64, 64, 0);
	btf__add_field(btf, "third", i64, 128, 0);
	plain = btf__add_struct(btf, "plain", sizeof(struct value));
	btf__add_field(btf, "first", i32, 0, 0);
	m.fds[ARRAY] = create(side, btf, BPF_MAP_TYPE_ARRAY, value);
	m.fds[HASH] = create(side, btf, BPF_MAP_TYPE_HASH, value);
	m.fds[PLAIN] = create(side, btf, BPF_MAP_TYPE_ARRAY, plain);
	btf__free(btf);
	return m;
}

static void maps_free(struct maps *m)
{
	for (int i = 0; i < MAPS; i++)
		close(m->fds[i]);
}

#define INSN(c, d, s, o, i) { (c), (d), (s), (o), (i) }
#define MOVE(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define ADD_REG(d, s) INSN(BPF_ALU64 | BPF_ADD | BPF_X, d, s, 0, 0)
#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE(size, d, s, o) INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define STORE_K(size, d, o, i) INSN(BPF_ST | BPF_MEM | (size), d, 0, o, i)
#define JUMP(op, d, i, o) INSN(BPF_JMP | (op) | BPF_K, d, 0, o, i)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define SUB(to) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, to)
enum kfunc {
	NUM_NEW,
	NUM_NEXT,
	NUM_DESTROY,
	BITS_NEW,
	BITS_DESTROY,
	STRLEN,
	RCU_LOCK,
	RCU_UNLOCK,
	KFUNCS,
};

static const char *const kfunc_names[KFUNCS] = {
	[NUM_NEW] = "bpf_iter_num_new",
	[NUM_NEXT] = "bpf_iter_num_next",
	[NUM_DESTROY] = "bpf_iter_num_destroy",
	[BITS_NEW] = "bpf_iter_bits_new",
	[BITS_DESTROY] = "bpf_iter_bits_destroy",
	[STRLEN] = "bpf_strlen",
	[RCU_LOCK] = "bpf_rcu_read_lock",
	[RCU_UNLOCK] = "bpf_rcu_read_unlock",
};

static int kfuncs[KFUNCS];

/* Those that the kernel lacks get a number that is no function's. */
static void find_kfuncs(void)
{
	struct btf *btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);

	for (unsigned i = 0; i < KFUNCS; i++)
		kfuncs[i] = btf ? btf__find_by_name_kind(btf, kfunc_names[i], BTF_KIND_FUNC) : 1;
	btf__free(btf);
}

#define KFUNC(n) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, n)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define MAP(d, which) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, which), INSN(0, 0, 0, 0, 0)

/* Value `key` of a map to r0, or the program ends. 9 instructions. */
#define LOOKUP(which, key)                                                   \
	STORE_K(BPF_W, 10, -4, key), MOVE(2, 10), ADD(2, -4), MAP(1, which), \
		CALL(BPF_FUNC_map_lookup_elem), JUMP(BPF_JNE, 0, 0, 2), SET(0, 0), EXIT()
/* 3 instructions each. */
#define LOCK(s) MOVE(1, s), ADD(1, 4), CALL(BPF_FUNC_spin_lock)
#define UNLOCK(s) MOVE(1, s), ADD(1, 4), CALL(BPF_FUNC_spin_unlock)
#define END(value) SET(0, value), EXIT()
#define INSNS(...) \
	{ __VA_ARGS__ }, sizeof((struct bpf_insn[]){ __VA_ARGS__ }) / sizeof(struct bpf_insn)

static const struct row {
	const char *name;
	uint32_t type;
	struct bpf_insn insns[48];
	uint32_t count;
} rows[] = {
	{ "taken and given back", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), LOAD(BPF_W, 7, 6, 0), UNLOCK(6),
			MOVE(0, 7), EXIT()) },
	{ "in a hash", BPF_PROG_TYPE_SCHED_CLS,
		INSNS(LOOKUP(HASH, 1), MOVE(6, 0), LOCK(6), STORE_K(BPF_DW, 6, 8, 7), UNLOCK(6),
			LOAD(BPF_DW, 0, 6, 8), EXIT()) },
	{ "twice, one after the other", BPF_PROG_TYPE_SCHED_ACT,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), UNLOCK(6), LOCK(6), UNLOCK(6),
			END(3)) },
	{ "by a socket filter", BPF_PROG_TYPE_SOCKET_FILTER,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), UNLOCK(6), END(0)) },
	{ "a map with one by a socket filter", BPF_PROG_TYPE_SOCKET_FILTER,
		INSNS(LOOKUP(ARRAY, 1), END(0)) },
	{ "not given back", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), END(0)) },
	{ "not given back on one way", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), LOAD(BPF_W, 7, 6, 0),
			JUMP(BPF_JEQ, 7, 0, 3), UNLOCK(6), END(0)) },
	{ "given back twice", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), UNLOCK(6), UNLOCK(6), END(0)) },
	{ "given back only", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), UNLOCK(6), END(0)) },
	{ "taken twice", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), LOCK(6), UNLOCK(6), END(0)) },
	{ "another value's", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOOKUP(ARRAY, 2), MOVE(7, 0), LOCK(6),
			UNLOCK(7), END(0)) },
	{ "the same value's, looked up again", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(HASH, 1), MOVE(6, 0), LOOKUP(HASH, 1), MOVE(7, 0), LOCK(6), UNLOCK(7),
			END(0)) },
	{ "another map's", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOOKUP(HASH, 1), MOVE(7, 0), LOCK(6), UNLOCK(7),
			END(0)) },
	{ "of one of two values, never known which", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(HASH, 1), MOVE(6, 0), LOOKUP(HASH, 2), MOVE(7, 0),
			LOAD(BPF_W, 8, 6, 0), LOCK(6), JUMP(BPF_JEQ, 8, 0, 1), MOVE(6, 7),
			UNLOCK(6), END(0)) },
	{ "a value that has none", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(PLAIN, 1), MOVE(6, 0), LOCK(6), UNLOCK(6), END(0)) },
	{ "where it is not", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(1, 0), CALL(BPF_FUNC_spin_lock), END(0)) },
	{ "somewhere in the value", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), LOAD(BPF_W, 2, 0, 0),
			INSN(BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 4), MOVE(1, 0), ADD_REG(1, 2),
			CALL(BPF_FUNC_spin_lock), END(0)) },
	{ "of a value that may be missing", BPF_PROG_TYPE_XDP,
		INSNS(STORE_K(BPF_W, 10, -4, 1), MOVE(2, 10), ADD(2, -4), MAP(1, HASH),
			CALL(BPF_FUNC_map_lookup_elem), MOVE(1, 0), CALL(BPF_FUNC_spin_lock),
			END(0)) },
	{ "on the stack", BPF_PROG_TYPE_XDP,
		INSNS(STORE_K(BPF_W, 10, -4, 0), MOVE(1, 10), ADD(1, -4), CALL(BPF_FUNC_spin_lock),
			END(0)) },
	{ "of a number", BPF_PROG_TYPE_XDP, INSNS(SET(1, 0), CALL(BPF_FUNC_spin_lock), END(0)) },
	{ "a helper meanwhile", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), CALL(BPF_FUNC_ktime_get_ns), UNLOCK(6),
			END(0)) },
	{ "a loop over numbers meanwhile", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), MOVE(1, 10), ADD(1, -16), SET(2, 0),
			SET(3, 3), KFUNC(NUM_NEW), MOVE(1, 10), ADD(1, -16), KFUNC(NUM_NEXT),
			JUMP(BPF_JNE, 0, 0, -4), MOVE(1, 10), ADD(1, -16), KFUNC(NUM_DESTROY),
			UNLOCK(6), END(3)) },
	{ "a loop over numbers that ends unlocked", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), MOVE(1, 10), ADD(1, -16), SET(2, 0), SET(3, 3),
			KFUNC(NUM_NEW), MOVE(1, 10), ADD(1, -16), KFUNC(NUM_NEXT),
			JUMP(BPF_JEQ, 0, 0, 7), LOCK(6), UNLOCK(6), JUMP(BPF_JA, 0, 0, -11),
			MOVE(1, 10), ADD(1, -16), KFUNC(NUM_DESTROY), END(4)) },
	{ "bits meanwhile", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), MOVE(1, 10), ADD(1, -24), SET(2, 0),
			SET(3, 3), KFUNC(BITS_NEW), MOVE(1, 10), ADD(1, -24), KFUNC(BITS_DESTROY),
			UNLOCK(6), END(0)) },
	{ "a string meanwhile", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), SET(1, 0), KFUNC(STRLEN), UNLOCK(6),
			END(0)) },
	{ "a section meanwhile", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), KFUNC(RCU_LOCK), KFUNC(RCU_UNLOCK),
			UNLOCK(6), END(0)) },
	{ "read by load", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), LOAD(BPF_W, 0, 0, 4), EXIT()) },
	{ "read by a wide load", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), LOAD(BPF_DW, 0, 0, 0), EXIT()) },
	{ "written by store", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), STORE_K(BPF_B, 0, 7, 1), END(0)) },
	{ "written atomically", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), SET(1, 1),
			INSN(BPF_STX | BPF_ATOMIC | BPF_W, 0, 1, 4, BPF_ADD), END(0)) },
	{ "read by a helper, as a key", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(2, 0), ADD(2, 4), MAP(1, PLAIN),
			CALL(BPF_FUNC_map_lookup_elem), END(0)) },
	{ "read by a helper, as a value", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(3, 0), MOVE(2, 10), ADD(2, -4), MAP(1, PLAIN),
			SET(4, 0), CALL(BPF_FUNC_map_update_elem), END(0)) },
	{ "taken by a function, given back by its caller", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), MOVE(1, 6), SUB(4), UNLOCK(6), END(5),
			/* function */ ADD(1, 4), CALL(BPF_FUNC_spin_lock), END(0)) },
	{ "function called meanwhile", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(6, 0), LOCK(6), MOVE(1, 6), SUB(5), UNLOCK(6), END(5),
			/* function */ STORE_K(BPF_W, 1, 0, 9), END(0)) },
	{ "function returns with it and it stays", BPF_PROG_TYPE_XDP,
		INSNS(LOOKUP(ARRAY, 1), MOVE(1, 0), SUB(2), END(5), ADD(1, 4),
			CALL(BPF_FUNC_spin_lock), END(0)) },
	{ "packet load meanwhile", BPF_PROG_TYPE_SCHED_CLS,
		INSNS(MOVE(6, 1), LOOKUP(ARRAY, 1), MOVE(7, 0), LOCK(7),
			INSN(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 0), UNLOCK(7), END(0)) },
};

static char logs[SIDES][LOG];

static int load(enum side side, const struct maps *m, const struct row *row)
{
	struct bpf_insn insns[48];
	union bpf_attr attr;

	memcpy(insns, row->insns, sizeof(insns));
	for (uint32_t i = 0; i < row->count; i++)
		if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW)) {
			insns[i].imm = m->fds[insns[i].imm];
			i++;
		} else if (insns[i].src_reg == BPF_PSEUDO_KFUNC_CALL &&
			   insns[i].code == (BPF_JMP | BPF_CALL)) {
			insns[i].imm = kfuncs[insns[i].imm];
		}
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = row->type;
	attr.insns = PTR(insns);
	attr.insn_cnt = row->count;
	attr.license = PTR("GPL");
	attr.log_buf = PTR(logs[side]);
	attr.log_size = LOG;
	attr.log_level = 2;
	logs[side][0] = '\0';
	return (int)call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static long run(enum side side, int prog, uint32_t repeat)
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

static long element(
	enum side side, int cmd, int map, uint32_t key, const void *value, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(&key);
	attr.value = PTR(value);
	attr.flags = flags;
	return call(side, cmd, &attr, sizeof(attr));
}

static void fill(enum side side, const struct maps *m)
{
	for (uint32_t key = 0; key < 3; key++) {
		struct value v = { key + 40, 0xffffffff, key, key };

		for (int map = 0; map < MAPS; map++)
			element(side, BPF_MAP_UPDATE_ELEM, m->fds[map], key, &v, 0);
	}
}

/* Why it was refused: the last line but the statistics; and whether the log showed a lock held. */
static const char *reason(char *log, bool *ret_held)
{
	char *end = strstr(log, "processed ");

	*ret_held = strstr(log, "refs=");
	if (!end || end == log)
		return "";
	end[-1] = '\0';
	end = strrchr(log, '\n');
	return end ? end + 1 : log;
}

TEST(spin_lock, programs_are_judged_as_by_the_kernel)
{
	struct maps m[SIDES];

	ORACLE_OR_SKIP();
	find_kfuncs();
	for (int s = 0; s < SIDES; s++) {
		m[s] = maps_new(s);
		fill(s, &m[s]);
	}
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		const char *reasons[SIDES];
		bool held[SIDES];
		int progs[SIDES];

		TRACE_PUSH("%s", rows[i].name);
		for (int s = 0; s < SIDES; s++) {
			progs[s] = load(s, &m[s], &rows[i]);
			reasons[s] = reason(logs[s], &held[s]);
		}
		EXPECT_EQ(held[SLUICE], held[KERNEL]);
		EXPECT_EQ(sl_min(progs[SLUICE], 0), sl_min(progs[KERNEL], 0));
		if (progs[KERNEL] < 0)
			EXPECT_STREQ(reasons[SLUICE], reasons[KERNEL]);
		if (progs[KERNEL] >= 0 && progs[SLUICE] >= 0)
			EXPECT_EQ(run(SLUICE, progs[SLUICE], 3), run(KERNEL, progs[KERNEL], 3));
		for (int s = 0; s < SIDES; s++)
			if (progs[s] >= 0)
				close(progs[s]);
		TRACE_POP();
	}
	maps_free(&m[KERNEL]);
	maps_free(&m[SLUICE]);
}

TEST(spin_lock, flag_of_element_commands_is_the_kernels)
{
	static const uint64_t flags[] = { 0, BPF_NOEXIST, BPF_EXIST, 3, BPF_F_LOCK,
		BPF_F_LOCK | BPF_NOEXIST, BPF_F_LOCK | BPF_EXIST, BPF_F_LOCK | 3, 8,
		BPF_F_LOCK | 8 };
	struct maps m[SIDES];

	ORACLE_OR_SKIP();
	for (int s = 0; s < SIDES; s++) {
		m[s] = maps_new(s);
		fill(s, &m[s]);
	}
	for (int map = 0; map < MAPS; map++) {
		for (size_t i = 0; i < sl_array_size(flags); i++) {
			for (uint32_t key = 0; key < VALUES + 1; key++) {
				struct value in = { key, 77, i, map }, out[SIDES] = { 0 };
				long errs[SIDES];

				TRACE_PUSH("map %d, flags %#llx, key %u", map,
					(unsigned long long)flags[i], key);
				for (int s = 0; s < SIDES; s++)
					errs[s] = element(s, BPF_MAP_LOOKUP_ELEM, m[s].fds[map],
						key, &out[s], flags[i]);
				EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
				EXPECT_MEMEQ(&out[SLUICE], &out[KERNEL], sizeof(out[0]));
				for (int s = 0; s < SIDES; s++)
					errs[s] = element(s, BPF_MAP_UPDATE_ELEM, m[s].fds[map],
						key, &in, flags[i]);
				EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
				for (int s = 0; s < SIDES; s++)
					errs[s] = element(s, BPF_MAP_LOOKUP_AND_DELETE_ELEM,
						m[s].fds[map], key, &out[s], flags[i]);
				EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
				EXPECT_MEMEQ(&out[SLUICE], &out[KERNEL], sizeof(out[0]));
				TRACE_POP();
			}
		}
	}
	maps_free(&m[KERNEL]);
	maps_free(&m[SLUICE]);
}

static long batch(enum side side, int cmd, int map, uint32_t *keys, struct value *values,
	uint32_t *count, uint64_t flags)
{
	union bpf_attr attr;
	uint32_t out;
	long err;

	memset(&attr, 0, sizeof(attr));
	attr.batch.map_fd = (uint32_t)map;
	attr.batch.keys = PTR(keys);
	attr.batch.values = PTR(values);
	attr.batch.out_batch = PTR(&out);
	attr.batch.count = *count;
	attr.batch.elem_flags = flags;
	err = call(side, cmd, &attr, sizeof(attr));
	*count = attr.batch.count;
	return err;
}

TEST(spin_lock, flag_of_batch_commands_is_the_kernels)
{
	struct maps m[SIDES];

	ORACLE_OR_SKIP();
	for (int s = 0; s < SIDES; s++)
		m[s] = maps_new(s);
	for (int map = 0; map < MAPS; map++) {
		struct value in[2] = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } }, out[SIDES][VALUES];
		uint32_t keys[VALUES] = { 0, 1 }, counts[SIDES];
		uint64_t sums[SIDES] = { 0 };
		long errs[SIDES];

		memset(out, 0, sizeof(out));
		TRACE_PUSH("map %d", map);
		for (int s = 0; s < SIDES; s++) {
			counts[s] = 2;
			errs[s] = batch(s, BPF_MAP_UPDATE_BATCH, m[s].fds[map], keys, in,
				&counts[s], BPF_F_LOCK);
		}
		EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
		for (int s = 0; s < SIDES; s++) {
			counts[s] = VALUES;
			errs[s] = batch(s, BPF_MAP_LOOKUP_BATCH, m[s].fds[map], keys, out[s],
				&counts[s], BPF_F_LOCK);
			for (unsigned i = 0; i < VALUES; i++)
				sums[s] += out[s][i].first + 100 * out[s][i].lock + out[s][i].third;
		}
		EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
		EXPECT_EQ(counts[SLUICE], counts[KERNEL]);
		EXPECT_EQ(sums[SLUICE], sums[KERNEL]);
		TRACE_POP();
	}
	maps_free(&m[KERNEL]);
	maps_free(&m[SLUICE]);
}

/* Adds 1 to the three numbers under the lock. */
static const struct row counting = { "counts", BPF_PROG_TYPE_XDP,
	INSNS(LOOKUP(ARRAY, 0), MOVE(6, 0), LOCK(6), LOAD(BPF_W, 1, 6, 0), ADD(1, 1),
		STORE(BPF_W, 6, 1, 0), LOAD(BPF_DW, 1, 6, 8), ADD(1, 1), STORE(BPF_DW, 6, 1, 8),
		LOAD(BPF_DW, 1, 6, 16), ADD(1, 1), STORE(BPF_DW, 6, 1, 16), UNLOCK(6),
		CALL(BPF_FUNC_get_smp_processor_id), EXIT()) };

enum { RUNNERS = 2, ROUNDS = 40, REPEATS = 500 };

struct shared {
	int prog, map;
	bool stop;
};

static void *run_often(void *arg)
{
	const struct shared *s = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		EXPECT_GE(run(SLUICE, s->prog, REPEATS), 0);
	return NULL;
}

static struct shared shared_new(struct maps *m)
{
	struct shared s;

	*m = maps_new(SLUICE);
	s = (struct shared){ .prog = load(SLUICE, m, &counting), .map = m->fds[ARRAY] };
	EXPECT_GE(s.prog, 0);
	return s;
}

/* Runners count while this thread looks and writes under the lock: always three equal numbers. */
static void count_and_look(struct shared *s)
{
	pthread_t runners[RUNNERS];
	struct value v;

	for (unsigned i = 0; i < RUNNERS; i++)
		pthread_create(&runners[i], NULL, run_often, s);
	for (unsigned i = 0; i < 200; i++) {
		EXPECT_EQ(element(SLUICE, BPF_MAP_LOOKUP_ELEM, s->map, 0, &v, BPF_F_LOCK), 0);
		EXPECT_EQ(v.second, v.third);
		EXPECT_EQ(v.first, (uint32_t)v.third);
		v = (struct value){ 1000, 0, 1000, 1000 };
		EXPECT_EQ(element(SLUICE, BPF_MAP_UPDATE_ELEM, s->map, 0, &v, BPF_F_LOCK), 0);
	}
	for (unsigned i = 0; i < RUNNERS; i++)
		pthread_join(runners[i], NULL);
	EXPECT_EQ(element(SLUICE, BPF_MAP_LOOKUP_ELEM, s->map, 0, &v, BPF_F_LOCK), 0);
	EXPECT_EQ(v.second, v.third);
	EXPECT_EQ(v.first, (uint32_t)v.third);
}

TEST(spin_lock, what_is_done_under_it_is_done_as_a_whole)
{
	struct maps m;
	struct shared s = shared_new(&m);
	pthread_t runners[RUNNERS];
	struct value v = { 0 };

	for (unsigned i = 0; i < RUNNERS; i++)
		pthread_create(&runners[i], NULL, run_often, &s);
	for (unsigned i = 0; i < RUNNERS; i++)
		pthread_join(runners[i], NULL);
	EXPECT_EQ(element(SLUICE, BPF_MAP_LOOKUP_ELEM, s.map, 0, &v, 0), 0);
	EXPECT_EQ(v.first, RUNNERS * ROUNDS * REPEATS);
	EXPECT_EQ(v.second, RUNNERS * ROUNDS * REPEATS);
	EXPECT_EQ(v.third, RUNNERS * ROUNDS * REPEATS);
	count_and_look(&s);
	close(s.prog);
	maps_free(&m);
}

struct worker {
	unsigned cpu;
	bool ready, stop;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	EXPECT_EQ(sl_rcu_online(), 0);
	EXPECT_EQ(sl_cpu_claim(w->cpu), 0);
	__atomic_store_n(&w->ready, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		sl_cpu_poll(w->cpu);
		sl_rcu_quiescent();
		sched_yield();
	}
	sl_cpu_release(w->cpu);
	sl_rcu_offline();
	return NULL;
}

/* No control thread holds a lock that a worker may be waiting for: a worker does it for them. */
TEST(spin_lock, is_held_by_workers_only_where_there_are_any)
{
	struct maps m;
	struct shared s = shared_new(&m);
	struct worker w = { .cpu = sl_cpu_count() - 1 };
	pthread_t thread;

	pthread_create(&thread, NULL, work, &w);
	while (!__atomic_load_n(&w.ready, __ATOMIC_ACQUIRE))
		sched_yield();
	EXPECT_EQ(run(SLUICE, s.prog, 1), w.cpu);
	EXPECT_EQ(run(SLUICE, s.prog, 1000), w.cpu);
	count_and_look(&s);
	__atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	close(s.prog);
	maps_free(&m);
}
