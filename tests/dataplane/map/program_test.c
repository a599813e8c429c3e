#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "defs.h"
#include "oracle.h"
#include "sluice/bpf.h"
#include "test.h"

/*
 * The same program does the same random map operations in the kernel and here, by test runs: what
 * the helpers return, what lookups find and what is in the map afterwards have to be equal. The
 * packet says what to do: an operation, flags, a key, and a value.
 */
static const struct row {
	enum bpf_map_type type;
	uint32_t key_size, value_size, max_entries, flags;
	uint32_t keys;
} rows[] = {
	{ BPF_MAP_TYPE_ARRAY, 4, 8, 10, 0, 14 },
	{ BPF_MAP_TYPE_ARRAY, 4, 20, 3, 0, 5 },
	{ BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 10, 0, 14 },
	{ BPF_MAP_TYPE_PERCPU_ARRAY, 4, 12, 10, 0, 14 },
	{ BPF_MAP_TYPE_HASH, 4, 8, 16, 0, 24 },
	{ BPF_MAP_TYPE_HASH, 6, 8, 16, 0, 24 },
	{ BPF_MAP_TYPE_HASH, 8, 64, 16, BPF_F_NO_PREALLOC, 24 },
	{ BPF_MAP_TYPE_HASH, 13, 16, 1, 0, 4 },
	{ BPF_MAP_TYPE_HASH, 16, 13, 64, 0, 50 },
	{ BPF_MAP_TYPE_HASH, 32, 8, 64, BPF_F_ZERO_SEED, 100 },
	{ BPF_MAP_TYPE_HASH, 38, 8, 64, 0, 100 },
	{ BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 16, 0, 24 },
	{ BPF_MAP_TYPE_PERCPU_HASH, 16, 24, 16, 0, 24 },
	/* Far from full: the kernel evicts a batch early. */
	{ BPF_MAP_TYPE_LRU_HASH, 4, 8, 2000, 0, 24 },
	{ BPF_MAP_TYPE_LRU_HASH, 8, 64, 2000, BPF_F_NO_COMMON_LRU, 24 },
	{ BPF_MAP_TYPE_LRU_HASH, 13, 16, 2000, 0, 24 },
	{ BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 2000, 0, 24 },
	{ BPF_MAP_TYPE_LRU_PERCPU_HASH, 16, 24, 2000, 0, 24 },
	{ BPF_MAP_TYPE_LPM_TRIE, 8, 8, 16, BPF_F_NO_PREALLOC, 34 },
	{ BPF_MAP_TYPE_LPM_TRIE, 8, 8, 40000, BPF_F_NO_PREALLOC, 34 },
	{ BPF_MAP_TYPE_LPM_TRIE, 20, 8, 1000, BPF_F_NO_PREALLOC, 130 },
	{ BPF_MAP_TYPE_LPM_TRIE, 36, 16, 60, BPF_F_NO_PREALLOC, 260 },
};

typedef long (*bpf_fn)(int cmd, union bpf_attr *attr, unsigned int size);

/* 0 or more, or negative errno. */
static long bpf(bpf_fn fn, int cmd, union bpf_attr *attr)
{
	long ret = fn(cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : ret;
}

enum { OP_LOOKUP, OP_UPDATE, OP_DELETE, OPS };
enum { NOT_FOUND = 2000, NO_PACKET = 1000, FLAGS_AT = 8, KEY_AT = 16, OPERATIONS = 1500 };

struct side {
	bpf_fn fn;
	int map, prog;
};

#define INSN(c, d, s, o, i)                                                         \
	(struct bpf_insn)                                                           \
	{                                                                           \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) \
	}
#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE(d, o, s) INSN(BPF_STX | BPF_MEM | BPF_DW, d, s, o, 0)
#define MOVE(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define JUMP(op, d, i, o) INSN(BPF_JMP | (op) | BPF_K, d, 0, o, i)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

static uint32_t packet_len(const struct row *row)
{
	return KEY_AT + sl_round_up(row->key_size, 8u) + sl_round_up(row->value_size, 8u);
}

/* r6: packet, r7: operation. Key and value end up below the frame pointer, one after the other. */
static unsigned write_program(const struct row *row, int map, struct bpf_insn *insns)
{
	uint32_t len = packet_len(row), copied = len - KEY_AT;
	int key_at = -(int)copied, value_at = key_at + (int)sl_round_up(row->key_size, 8u);
	unsigned n = 0;

	insns[n++] = LOAD(BPF_W, 6, 1, 0);
	insns[n++] = LOAD(BPF_W, 2, 1, 4);
	insns[n++] = MOVE(3, 6);
	insns[n++] = ADD(3, len);
	insns[n++] = INSN(BPF_JMP | BPF_JLE | BPF_X, 3, 2, 2, 0);
	insns[n++] = SET(0, NO_PACKET);
	insns[n++] = EXIT();
	for (uint32_t i = 0; i < copied; i += 8) {
		insns[n++] = LOAD(BPF_DW, 3, 6, KEY_AT + i);
		insns[n++] = STORE(10, key_at + (int)i, 3);
	}
	insns[n++] = LOAD(BPF_W, 7, 6, 0);
	insns[n++] = LOAD(BPF_DW, 4, 6, FLAGS_AT);
	insns[n++] = INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, map);
	insns[n++] = INSN(0, 0, 0, 0, 0);
	insns[n++] = MOVE(2, 10);
	insns[n++] = ADD(2, key_at);
	insns[n++] = MOVE(3, 10);
	insns[n++] = ADD(3, value_at);
	insns[n++] = JUMP(BPF_JEQ, 7, OP_UPDATE, 9);
	insns[n++] = JUMP(BPF_JEQ, 7, OP_DELETE, 10);
	insns[n++] = CALL(BPF_FUNC_map_lookup_elem);
	insns[n++] = JUMP(BPF_JNE, 0, 0, 2);
	insns[n++] = SET(0, NOT_FOUND);
	insns[n++] = EXIT();
	insns[n++] = SET(1, 1);
	insns[n++] = INSN(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD);
	insns[n++] = LOAD(BPF_W, 0, 0, 0);
	insns[n++] = EXIT();
	insns[n++] = CALL(BPF_FUNC_map_update_elem);
	insns[n++] = EXIT();
	insns[n++] = CALL(BPF_FUNC_map_delete_elem);
	insns[n++] = EXIT();
	return n;
}

static bool side_open(struct side *side, const struct row *row, bpf_fn fn)
{
	struct bpf_insn insns[128];
	union bpf_attr attr;

	memset(side, 0, sizeof(*side));
	side->fn = fn;
	side->prog = -1;
	memset(&attr, 0, sizeof(attr));
	attr.map_type = row->type;
	attr.key_size = row->key_size;
	attr.value_size = row->value_size;
	attr.max_entries = row->max_entries;
	attr.map_flags = row->flags;
	side->map = bpf(fn, BPF_MAP_CREATE, &attr);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insn_cnt = write_program(row, side->map, insns);
	attr.insns = (uintptr_t)insns;
	attr.license = (uintptr_t)"GPL";
	if (side->map >= 0)
		side->prog = bpf(fn, BPF_PROG_LOAD, &attr);
	EXPECT_GE(side->map, 0);
	EXPECT_GE(side->prog, 0);
	return side->prog >= 0;
}

static void side_close(struct side *side)
{
	if (side->prog >= 0)
		close(side->prog);
	if (side->map >= 0)
		close(side->map);
}

static uint32_t run(struct side *side, uint8_t *packet, uint32_t len)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = side->prog;
	attr.test.data_in = (uintptr_t)packet;
	attr.test.data_size_in = len;
	attr.test.repeat = 1;
	EXPECT_EQ(bpf(side->fn, BPF_PROG_TEST_RUN, &attr), 0);
	return attr.test.retval;
}

/* Key number n: of a trie, the prefix of n bits, whose address is now one thing and now another. */
static void make_key(const struct row *row, uint32_t n, uint8_t *key)
{
	memset(key, 0x77, row->key_size);
	memcpy(key + row->key_size - 4, &n, 4);
	if (row->type != BPF_MAP_TYPE_LPM_TRIE)
		return;
	memcpy(key, &n, 4);
	key[4 + rand() % (row->key_size - 4)] = rand() % 2 ? 0x77 : 0x76;
}

static void make_packet(const struct row *row, uint8_t *packet)
{
	static const uint64_t flags[] = { 0, 0, 0, BPF_NOEXIST, BPF_EXIST, 3, BPF_F_LOCK,
		1ull << 33 };
	uint32_t op = rand() % 4, n = rand() % row->keys, len = packet_len(row);
	uint64_t flag = flags[rand() % sl_array_size(flags)];

	for (uint32_t i = 0; i < len; i++)
		packet[i] = rand();
	op = op == 3 ? OP_UPDATE : op;
	memcpy(packet, &op, sizeof(op));
	memcpy(packet + FLAGS_AT, &flag, sizeof(flag));
	make_key(row, n, packet + KEY_AT);
}

/* One value, and whether it is there. */
static long look(struct side *side, const void *key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = side->map;
	attr.key = (uintptr_t)key;
	attr.value = (uintptr_t)value;
	return bpf(side->fn, BPF_MAP_LOOKUP_ELEM, &attr);
}

static void compare_contents(const struct row *row, struct side *theirs, struct side *ours)
{
	bool percpu = row->type == BPF_MAP_TYPE_PERCPU_ARRAY ||
		      row->type == BPF_MAP_TYPE_PERCPU_HASH ||
		      row->type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
	uint8_t a[SL_MAX_CPUS * 64], b[SL_MAX_CPUS * 64], key[64];
	size_t len = percpu ? sl_round_up(row->value_size, 8u) * sysconf(_SC_NPROCESSORS_CONF)
			    : row->value_size;

	for (uint32_t n = 0; n < row->keys; n++) {
		make_key(row, n, key);
		memset(a, 0, sizeof(a));
		memset(b, 0, sizeof(b));
		EXPECT_EQ(look(ours, key, a), look(theirs, key, b));
		EXPECT_MEMEQ(a, b, len);
	}
}

static void run_row(const struct row *row)
{
	struct side theirs, ours;
	uint8_t packet[512];

	if (side_open(&theirs, row, oracle_bpf) && side_open(&ours, row, sluice_bpf)) {
		for (int i = 0; i < OPERATIONS && !sl_test_has_failed(); i++) {
			make_packet(row, packet);
			TRACE_PUSH("run %d, operation %u", i, packet[0]);
			EXPECT_EQ(run(&ours, packet, packet_len(row)),
				run(&theirs, packet, packet_len(row)));
			TRACE_POP();
		}
		compare_contents(row, &theirs, &ours);
		side_close(&ours);
	}
	side_close(&theirs);
}

TEST(map_program, helpers_return_and_leave_what_the_kernels_do)
{
	cpu_set_t one;

	ORACLE_OR_SKIP();
	/* Per-CPU values are those of the CPU that runs the program. */
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		srand(i + 1);
		TRACE_PUSH("row %zu", i);
		run_row(&rows[i]);
		TRACE_POP();
	}
}

/* Insertion and deletion in every run: elements have to come back in time. */
TEST(map_program, repeated_insertion_and_deletion_never_runs_dry)
{
	static const struct row row = { BPF_MAP_TYPE_HASH, 4, 8, 4, 0, 1 };
	struct bpf_insn insns[32];
	union bpf_attr attr;
	struct side ours;
	unsigned n = 0;
	uint8_t packet[64] = { 0 };
	int prog;

	ASSERT_TRUE(side_open(&ours, &row, sluice_bpf));
	insns[n++] = INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 5);
	insns[n++] = INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, ours.map);
	insns[n++] = INSN(0, 0, 0, 0, 0);
	insns[n++] = MOVE(2, 10);
	insns[n++] = ADD(2, -8);
	insns[n++] = MOVE(3, 2);
	insns[n++] = SET(4, BPF_NOEXIST);
	insns[n++] = CALL(BPF_FUNC_map_update_elem);
	insns[n++] = JUMP(BPF_JNE, 0, 0, 5);
	insns[n++] = INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, ours.map);
	insns[n++] = INSN(0, 0, 0, 0, 0);
	insns[n++] = MOVE(2, 10);
	insns[n++] = ADD(2, -8);
	insns[n++] = CALL(BPF_FUNC_map_delete_elem);
	insns[n++] = EXIT();
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insn_cnt = n;
	attr.insns = (uintptr_t)insns;
	attr.license = (uintptr_t)"GPL";
	prog = bpf(sluice_bpf, BPF_PROG_LOAD, &attr);
	ASSERT_GE(prog, 0);
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = prog;
	attr.test.data_in = (uintptr_t)packet;
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = 200000;
	EXPECT_EQ(bpf(sluice_bpf, BPF_PROG_TEST_RUN, &attr), 0);
	EXPECT_EQ(attr.test.retval, 0u);
	close(prog);
	side_close(&ours);
}
