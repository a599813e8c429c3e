#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu.h"
#include "defs.h"
#include "map_program.h"
#include "oracle.h"
#include "test.h"

/*
 * The same program does the same random operations on a map in the kernel and here, all that its
 * type has: what the helpers return, what they find and what is in the map are equal. Walks have the
 * order of the side's own hash, so that of one that was ended early only the length compares.
 */
#define ELEMENTS (1u << MAP_OP_LOOKUP | 1u << MAP_OP_UPDATE | 1u << MAP_OP_DELETE)
#define WALKS (ELEMENTS | 1u << MAP_OP_FOR_EACH)
#define PERCPU (WALKS | 1u << MAP_OP_LOOKUP_PERCPU)
#define KEYLESS (1u << MAP_OP_PUSH | 1u << MAP_OP_POP | 1u << MAP_OP_PEEK)
#define FILTER (1u << MAP_OP_PUSH | 1u << MAP_OP_PEEK)

static const struct row {
	const char *name;
	uint32_t type, key_size, value_size, max_entries, flags;
	uint32_t keys; /* more than max_entries where the full map is of interest */
	unsigned ops;
} rows[] = {
	{ "array", BPF_MAP_TYPE_ARRAY, 4, 8, 10, 0, 14, WALKS },
	{ "array of 20 bytes", BPF_MAP_TYPE_ARRAY, 4, 20, 3, 0, 5, WALKS },
	{ "percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 10, 0, 14, PERCPU },
	{ "percpu_array of 12 bytes", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 12, 7, 0, 9, PERCPU },
	{ "hash", BPF_MAP_TYPE_HASH, 4, 8, 16, 0, 24, WALKS },
	{ "hash, not preallocated", BPF_MAP_TYPE_HASH, 13, 40, 16, BPF_F_NO_PREALLOC, 24, WALKS },
	{ "hash of one", BPF_MAP_TYPE_HASH, 38, 5, 1, BPF_F_ZERO_SEED, 4, WALKS },
	{ "percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, 8, 8, 16, 0, 24, PERCPU },
	{ "percpu_hash, not preallocated", BPF_MAP_TYPE_PERCPU_HASH, 4, 20, 16, BPF_F_NO_PREALLOC,
		24, PERCPU },
	/* Far from full: the kernel evicts a batch early. */
	{ "lru_hash", BPF_MAP_TYPE_LRU_HASH, 4, 8, 2000, 0, 24, WALKS },
	{ "lru_hash, per CPU", BPF_MAP_TYPE_LRU_HASH, 13, 16, 2000, BPF_F_NO_COMMON_LRU, 24,
		WALKS },
	{ "lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 16, 24, 2000, 0, 24, PERCPU },
	{ "lpm_trie", BPF_MAP_TYPE_LPM_TRIE, 8, 8, 16, BPF_F_NO_PREALLOC, 34, ELEMENTS },
	{ "lpm_trie, large", BPF_MAP_TYPE_LPM_TRIE, 20, 12, 40000, BPF_F_NO_PREALLOC, 130,
		ELEMENTS },
	{ "queue", BPF_MAP_TYPE_QUEUE, 0, 12, 5, 0, 1, KEYLESS },
	{ "queue of one", BPF_MAP_TYPE_QUEUE, 0, 8, 1, 0, 1, KEYLESS },
	{ "stack", BPF_MAP_TYPE_STACK, 0, 12, 5, 0, 1, KEYLESS },
	{ "stack of one", BPF_MAP_TYPE_STACK, 0, 8, 1, 0, 1, KEYLESS },
	/* So large that nothing is found by chance. */
	{ "bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 100000, 0, 1, FILTER },
	{ "bloom_filter of 11 bytes", BPF_MAP_TYPE_BLOOM_FILTER, 0, 11, 100000, 0, 1, FILTER },
};

enum { OPERATIONS = 1200 };

struct both {
	int maps[SIDES];
	struct map_program programs[SIDES];
};

/* Key number n: of a trie, the prefix of n bits, whose address is now one thing and now another. */
static void make_key(const struct row *row, uint32_t n, uint8_t *key)
{
	memset(key, 0x77, MAP_PROGRAM_KEY_MAX);
	memcpy(key, &n, sizeof(n));
	if (row->type == BPF_MAP_TYPE_LPM_TRIE)
		key[4 + rand() % (row->key_size - 4)] = rand() % 2 ? 0x77 : 0x76;
}

/* A set's values come again. */
static void make_value(const struct row *row, uint8_t *value)
{
	unsigned seed = (unsigned)rand();

	if (row->type == BPF_MAP_TYPE_BLOOM_FILTER)
		seed %= 100;
	for (unsigned i = 0; i < MAP_PROGRAM_VALUE_MAX; i++)
		value[i] = (uint8_t)rand_r(&seed);
}

static uint64_t draw_flags(enum map_op op)
{
	static const uint64_t updates[] = { 0, 0, 0, 0, BPF_NOEXIST, BPF_EXIST, 3, BPF_F_LOCK, 5, 6,
		7, 8, 1ull << 32, 1ull << 32 | BPF_EXIST, 1ull << 63 };
	const uint64_t cpus[] = { 0, 1, sl_cpu_count() - 1, sl_cpu_count(), 1 << 20, UINT32_MAX,
		1ull << 32 };

	if (op == MAP_OP_LOOKUP_PERCPU)
		return cpus[rand() % sl_array_size(cpus)];
	if (op == MAP_OP_FOR_EACH)
		return rand() % 8 ? 0 : updates[rand() % sl_array_size(updates)];
	return updates[rand() % sl_array_size(updates)];
}

/* Mostly changes, of those that the type has. */
static enum map_op draw_op(unsigned ops)
{
	enum map_op op;

	do {
		op = rand() % 3                 ? (enum map_op)(rand() % MAP_OPS)
		     : ops & 1 << MAP_OP_UPDATE ? MAP_OP_UPDATE
						: MAP_OP_PUSH;
	} while (!(ops & 1u << op));
	return op;
}

static void compare_walks(const struct map_walked *ours, const struct map_walked *theirs)
{
	EXPECT_EQ(ours->count, theirs->count);
	if (theirs->count == theirs->limit)
		return;
	EXPECT_EQ(ours->keys, theirs->keys);
	EXPECT_EQ(ours->values, theirs->values);
}

/* Returns the kernel's result. */
static int compare(const struct row *row, const struct both *b, enum map_op op, uint64_t flags,
	const void *key, const void *value)
{
	uint8_t values[SIDES][MAP_PROGRAM_VALUE_MAX] __attribute__((aligned(8)));
	int results[SIDES];

	for (int s = 0; s < SIDES; s++) {
		memcpy(values[s], value, MAP_PROGRAM_VALUE_MAX);
		results[s] = map_program_run(&b->programs[s], op, flags, key, values[s]);
	}
	EXPECT_EQ(results[SLUICE], results[KERNEL]);
	if (op == MAP_OP_FOR_EACH)
		compare_walks(
			(struct map_walked *)values[SLUICE], (struct map_walked *)values[KERNEL]);
	else
		EXPECT_MEMEQ(values[SLUICE], values[KERNEL], row->value_size);
	return results[KERNEL];
}

static void operate(const struct row *row, const struct both *b, bool *seen)
{
	uint8_t key[MAP_PROGRAM_KEY_MAX], value[MAP_PROGRAM_VALUE_MAX];
	enum map_op op = draw_op(row->ops);
	uint64_t flags = draw_flags(op), limit = (uint64_t)rand() % 20;
	uint32_t n = (uint32_t)rand() % row->keys;

	make_key(row, n, key);
	make_value(row, value);
	if (op == MAP_OP_FOR_EACH)
		memcpy(value, &limit, sizeof(limit));
	TRACE_PUSH("operation %d, flags %#llx, key %u", op, (unsigned long long)flags, n);
	if (compare(row, b, op, flags, key, value) >= 0)
		seen[op] = true;
	TRACE_POP();
}

static void compare_contents(const struct row *row, const struct both *b)
{
	uint8_t key[MAP_PROGRAM_KEY_MAX], value[MAP_PROGRAM_VALUE_MAX] = { 0 };
	unsigned cpus = row->ops == PERCPU ? sl_cpu_count() : 0;

	for (uint32_t n = 0; n < row->keys && (row->ops & ELEMENTS); n++) {
		make_key(row, n, key);
		compare(row, b, MAP_OP_LOOKUP, 0, key, value);
		for (unsigned cpu = 0; cpu < cpus; cpu++)
			compare(row, b, MAP_OP_LOOKUP_PERCPU, cpu, key, value);
	}
	if (row->ops & 1 << MAP_OP_FOR_EACH)
		compare(row, b, MAP_OP_FOR_EACH, 0, key, value);
	while ((row->ops & 1 << MAP_OP_POP) && !sl_test_has_failed())
		if (compare(row, b, MAP_OP_POP, 0, key, value) != 0)
			return;
}

static void run_row(const struct row *row)
{
	bool seen[MAP_OPS] = { false };
	struct both b;

	for (int s = 0; s < SIDES; s++) {
		b.maps[s] = map_new(
			s, row->type, row->key_size, row->value_size, row->max_entries, row->flags);
		EXPECT_GE(b.maps[s], 0);
		b.programs[s] =
			map_program_new(s, b.maps[s], row->key_size, row->value_size, row->ops);
	}
	for (unsigned i = 0; i < OPERATIONS && !sl_test_has_failed(); i++) {
		TRACE_PUSH("step %u", i);
		operate(row, &b, seen);
		TRACE_POP();
	}
	compare_contents(row, &b);
	/* Each operation did something at least once; nothing can be deleted from an array. */
	for (enum map_op op = 0; op < MAP_OPS; op++)
		if ((row->ops & 1u << op) && !(op == MAP_OP_DELETE && strstr(row->name, "array")))
			EXPECT_TRUE(seen[op]);
	for (int s = 0; s < SIDES; s++) {
		close(b.programs[s].fd);
		close(b.maps[s]);
	}
}

TEST(map_program, every_operation_is_the_kernels)
{
	cpu_set_t one;

	ORACLE_OR_SKIP();
	/* Per-CPU values are those of the CPU that runs the program. */
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		srand((unsigned)i + 1);
		TRACE_PUSH("%s", rows[i].name);
		run_row(&rows[i]);
		TRACE_POP();
	}
}
