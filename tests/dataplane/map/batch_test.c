#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "defs.h"
#include "oracle.h"
#include "sluice/bpf.h"
#include "test.h"

/* The batch commands through bpf(2), here and in the kernel. */
typedef long (*bpf_fn)(int cmd, union bpf_attr *attr, unsigned int size);

enum { ENTRIES = 60, WORDS_MAX = 8 };

static const struct row {
	enum bpf_map_type type;
	uint32_t key_size;
	bool percpu;
} rows[] = {
	{ BPF_MAP_TYPE_ARRAY, 4, false },
	{ BPF_MAP_TYPE_PERCPU_ARRAY, 4, true },
	{ BPF_MAP_TYPE_HASH, 4, false },
	{ BPF_MAP_TYPE_HASH, 16, false },
	{ BPF_MAP_TYPE_PERCPU_HASH, 4, true },
	{ BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, false },
};

/* One map with the buffers of a batch. */
struct side {
	bpf_fn fn;
	int map;
	uint32_t key_size, words; /* of 8 bytes, in a value */
	uint8_t keys[2 * ENTRIES * 16];
	uint64_t values[2 * ENTRIES * WORDS_MAX];
	uint32_t count; /* in and out */
};

static void side_open(struct side *side, const struct row *row, bpf_fn fn)
{
	union bpf_attr attr;

	memset(side, 0, sizeof(*side));
	side->fn = fn;
	side->key_size = row->key_size;
	side->words = row->percpu ? sysconf(_SC_NPROCESSORS_CONF) : 1;
	memset(&attr, 0, sizeof(attr));
	attr.map_type = row->type;
	attr.key_size = row->key_size;
	attr.value_size = row->type == BPF_MAP_TYPE_PERF_EVENT_ARRAY ? 4 : 8;
	attr.max_entries = ENTRIES;
	side->map = fn(BPF_MAP_CREATE, &attr, sizeof(attr));
	EXPECT_GE(side->map, 0);
}

static void put_key(struct side *side, unsigned at, uint32_t n)
{
	uint8_t *key = side->keys + at * side->key_size;

	memset(key, 0, side->key_size);
	memcpy(key, &n, sizeof(n));
}

static uint32_t key_at(const struct side *side, unsigned at)
{
	uint32_t n;

	memcpy(&n, side->keys + at * side->key_size, sizeof(n));
	return n;
}

/* The elements first, first + 1, ... with values that follow from the key. */
static void fill(struct side *side, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		put_key(side, i, first + i);
		for (uint32_t w = 0; w < side->words; w++)
			side->values[i * side->words + w] = (first + i) * 100ull + w;
	}
	side->count = count;
}

static int batch(
	struct side *side, int cmd, const void *in, void *out, uint64_t elem_flags, uint64_t flags)
{
	union bpf_attr attr;
	long ret;

	memset(&attr, 0, sizeof(attr));
	attr.batch.map_fd = side->map;
	attr.batch.in_batch = (uintptr_t)in;
	attr.batch.out_batch = (uintptr_t)out;
	attr.batch.keys = (uintptr_t)side->keys;
	attr.batch.values = (uintptr_t)side->values;
	attr.batch.count = side->count;
	attr.batch.elem_flags = elem_flags;
	attr.batch.flags = flags;
	ret = side->fn(cmd, &attr, sizeof(attr));
	side->count = attr.batch.count;
	return ret < 0 ? -errno : 0;
}

struct totals {
	uint32_t count, calls;
	uint64_t keys, values;
	int end; /* what the last call returned */
};

/* All elements in steps; more at a time when a bucket does not fit. */
static struct totals walk(struct side *side, int cmd, uint32_t step)
{
	uint64_t position[2][2] = { { 0 } };
	struct totals t = { 0 };
	bool started = false;

	while (t.end == 0 && t.calls++ < 10 * ENTRIES) {
		side->count = step;
		t.end = batch(side, cmd, started ? position[0] : NULL, position[1], 0, 0);
		if (t.end == -ENOSPC) {
			step++;
			t.end = 0;
			continue;
		}
		if (t.end && t.end != -ENOENT)
			break;
		for (uint32_t i = 0; i < side->count; i++) {
			t.keys += key_at(side, i);
			for (uint32_t w = 0; w < side->words; w++)
				t.values += side->values[i * side->words + w] * (w + 1);
		}
		t.count += side->count;
		memcpy(position[0], position[1], sizeof(position[0]));
		started = true;
	}
	return t;
}

static void compare_walks(struct side *theirs, struct side *ours, int cmd, uint32_t step)
{
	struct totals a = walk(theirs, cmd, step), b = walk(ours, cmd, step);

	TRACE_PUSH("command %d, step %u", cmd, step);
	EXPECT_EQ(b.end, a.end);
	EXPECT_EQ(b.count, a.count);
	EXPECT_EQ(b.keys, a.keys);
	EXPECT_EQ(b.values, a.values);
	TRACE_POP();
}

/* One batch of `count` elements from `first` on: same result, as many done. */
static void compare_change(struct side *theirs, struct side *ours, int cmd, uint32_t first,
	uint32_t count, uint64_t elem_flags, uint64_t flags)
{
	fill(theirs, first, count);
	fill(ours, first, count);
	TRACE_PUSH("command %d, %u from %u, flags %#llx %#llx", cmd, count, first,
		(unsigned long long)elem_flags, (unsigned long long)flags);
	EXPECT_EQ(batch(ours, cmd, NULL, NULL, elem_flags, flags),
		batch(theirs, cmd, NULL, NULL, elem_flags, flags));
	EXPECT_EQ(ours->count, theirs->count);
	TRACE_POP();
}

static void run_row(const struct row *row, struct side *theirs, struct side *ours)
{
	static const int cmds[] = { BPF_MAP_LOOKUP_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH,
		BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH };
	static const uint32_t steps[] = { 1, 7, ENTRIES, 2 * ENTRIES };

	for (size_t i = 0; i < sl_array_size(cmds); i++) {
		compare_change(theirs, ours, cmds[i], 0, 0, 0, 0);
		compare_change(theirs, ours, cmds[i], 0, 1, BPF_F_LOCK, 0);
		compare_change(theirs, ours, cmds[i], 0, 1, 8, 0);
		compare_change(theirs, ours, cmds[i], 0, 1, BPF_EXIST, 0);
	}
	for (size_t i = 0; i < sl_array_size(steps); i++) {
		compare_change(theirs, ours, BPF_MAP_UPDATE_BATCH, 0, ENTRIES / 2, BPF_ANY, 0);
		/* Past the end of an array, more than a hash table takes. */
		compare_change(theirs, ours, BPF_MAP_UPDATE_BATCH, 20, ENTRIES + 5, BPF_ANY, 0);
		compare_walks(theirs, ours, BPF_MAP_LOOKUP_BATCH, steps[i]);
		compare_change(theirs, ours, BPF_MAP_DELETE_BATCH, 0, 3, 0, 0);
		compare_change(theirs, ours, BPF_MAP_DELETE_BATCH, ENTRIES - 2, 30, 0, 0);
		compare_walks(theirs, ours, BPF_MAP_LOOKUP_AND_DELETE_BATCH, steps[i]);
		compare_walks(theirs, ours, BPF_MAP_LOOKUP_BATCH, steps[i]);
	}
}

TEST(map_batch, commands_agree_with_the_kernel)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		struct side theirs, ours;

		if (rows[i].percpu && sysconf(_SC_NPROCESSORS_CONF) > WORDS_MAX)
			continue;
		side_open(&theirs, &rows[i], oracle_bpf);
		side_open(&ours, &rows[i], sluice_bpf);
		TRACE_PUSH("row %zu", i);
		run_row(&rows[i], &theirs, &ours);
		TRACE_POP();
		close(theirs.map);
		close(ours.map);
	}
}
