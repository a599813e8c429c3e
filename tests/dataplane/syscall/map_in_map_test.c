#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/* Maps of maps beside the kernel's: what may be in them, what user space and programs find there. */

enum { LOG = 1 << 16, SLOTS = 4 };

static int outer_new(enum side side, uint32_t type, int inner, uint32_t key, uint32_t value,
	uint32_t entries, uint32_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = key;
	attr.value_size = value;
	attr.max_entries = entries;
	attr.map_flags = flags;
	attr.inner_map_fd = (uint32_t)inner;
	strcpy(attr.map_name, "outer");
	return (int)call(side, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static long element(enum side side, int cmd, int map, uint32_t key, void *value, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map;
	attr.key = PTR(&key);
	attr.value = PTR(value);
	attr.flags = flags;
	return call(side, cmd, &attr, sizeof(attr));
}

static long put(enum side side, int outer, uint32_t key, int inner, uint64_t flags)
{
	return element(side, BPF_MAP_UPDATE_ELEM, outer, key, &inner, flags);
}

static uint32_t id_of(enum side side, int map)
{
	struct bpf_map_info info = { 0 };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)map;
	attr.info.info_len = sizeof(info);
	attr.info.info = PTR(&info);
	EXPECT_EQ(call(side, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
	return info.id;
}

static const uint32_t outers[] = { BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS };

/* Maps to put into others; the first one is the template of most tests. */
static const struct inner {
	const char *name;
	uint32_t type, key, value, entries, flags;
} inners[] = {
	{ "array", BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0 },
	{ "longer array", BPF_MAP_TYPE_ARRAY, 4, 8, 5, 0 },
	{ "array of other values", BPF_MAP_TYPE_ARRAY, 4, 16, 4, 0 },
	{ "array that is mapped", BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE },
	{ "array of any length", BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_INNER_MAP },
	{ "shorter array of any length", BPF_MAP_TYPE_ARRAY, 4, 8, 2, BPF_F_INNER_MAP },
	{ "hash", BPF_MAP_TYPE_HASH, 4, 8, 4, 0 },
	{ "larger hash", BPF_MAP_TYPE_HASH, 4, 8, 64, 0 },
	{ "hash with other keys", BPF_MAP_TYPE_HASH, 8, 8, 4, 0 },
	{ "hash on demand", BPF_MAP_TYPE_HASH, 4, 8, 4, BPF_F_NO_PREALLOC },
	{ "per-CPU array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 4, 0 },
	{ "longer per-CPU array", BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 8, 0 },
	{ "per-CPU hash", BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 4, 0 },
	{ "LRU hash", BPF_MAP_TYPE_LRU_HASH, 4, 8, 4, 0 },
	{ "larger LRU hash", BPF_MAP_TYPE_LRU_HASH, 4, 8, 64, 0 },
	{ "LRU hash of the CPUs", BPF_MAP_TYPE_LRU_HASH, 4, 8, 4, BPF_F_NO_COMMON_LRU },
	{ "per-CPU LRU hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 4, 0 },
	{ "events", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4, 0 },
	{ "programs", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4, 0 },
};

enum {
	INNERS = sizeof(inners) / sizeof(inners[0]),
	ANY_LENGTH = 4,
	SHORTER = 5,
	HASH = 6,
	PERCPU = 10
};

static void inners_new(int fds[SIDES][INNERS])
{
	for (int s = 0; s < SIDES; s++) {
		for (int i = 0; i < INNERS; i++) {
			const struct inner *in = &inners[i];

			fds[s][i] =
				map_new(s, in->type, in->key, in->value, in->entries, in->flags);
			EXPECT_GE(fds[s][i], 0);
		}
	}
}

static void inners_free(int fds[SIDES][INNERS])
{
	for (int s = 0; s < SIDES; s++)
		for (int i = 0; i < INNERS; i++)
			close(fds[s][i]);
}

/* The same outer map on both sides; false when that is an error, the same one. */
static bool pair_new(int pair[SIDES], uint32_t type, const int templates[SIDES], uint32_t key,
	uint32_t value, uint32_t entries, uint32_t flags)
{
	for (int s = 0; s < SIDES; s++)
		pair[s] = outer_new(s, type, templates[s], key, value, entries, flags);
	EXPECT_EQ(sl_min(pair[SLUICE], 0), sl_min(pair[KERNEL], 0));
	for (int s = 0; s < SIDES; s++)
		if (pair[1 - s] < 0 && pair[s] >= 0)
			close(pair[s]);
	return pair[KERNEL] >= 0 && pair[SLUICE] >= 0;
}

static void pair_free(const int pair[SIDES])
{
	close(pair[KERNEL]);
	close(pair[SLUICE]);
}

TEST(map_in_map, is_created_as_by_the_kernel)
{
	static const struct {
		uint32_t key, value, entries, flags;
	} shapes[] = {
		{ 4, 4, 4, 0 },
		{ 8, 4, 4, 0 },
		{ 4, 8, 4, 0 },
		{ 4, 4, 0, 0 },
		{ 4, 4, 4, BPF_F_NO_PREALLOC },
		{ 4, 4, 4, BPF_F_INNER_MAP },
		{ 4, 4, 4, BPF_F_MMAPABLE },
		{ 4, 4, 4, BPF_F_RDONLY_PROG },
		{ 4, 4, 4, BPF_F_RDONLY },
	};
	int fds[SIDES][INNERS], pair[SIDES], templates[SIDES], nested[SIDES];

	ORACLE_OR_SKIP();
	inners_new(fds);
	for (size_t t = 0; t < sl_array_size(outers); t++) {
		for (size_t i = 0; i < sl_array_size(shapes); i++) {
			TRACE_PUSH("type %u, shape %zu", outers[t], i);
			for (int s = 0; s < SIDES; s++)
				templates[s] = fds[s][0];
			if (pair_new(pair, outers[t], templates, shapes[i].key, shapes[i].value,
				    shapes[i].entries, shapes[i].flags))
				pair_free(pair);
			TRACE_POP();
		}
		for (int i = 0; i < INNERS; i++) {
			TRACE_PUSH("type %u of %s", outers[t], inners[i].name);
			for (int s = 0; s < SIDES; s++)
				templates[s] = fds[s][i];
			if (pair_new(pair, outers[t], templates, 4, 4, 4, 0))
				pair_free(pair);
			TRACE_POP();
		}
		for (int s = 0; s < SIDES; s++)
			templates[s] = fds[s][0];
		pair_new(nested, outers[t], templates, 4, 4, 4, 0);
		EXPECT_FALSE(pair_new(pair, outers[t], nested, 4, 4, 4, 0));
		pair_free(nested);
		for (int s = 0; s < SIDES; s++)
			templates[s] = -1;
		EXPECT_FALSE(pair_new(pair, outers[t], templates, 4, 4, 4, 0));
		for (int s = 0; s < SIDES; s++)
			templates[s] = prog_returning(s, BPF_PROG_TYPE_XDP, 0);
		EXPECT_FALSE(pair_new(pair, outers[t], templates, 4, 4, 4, 0));
		pair_free(templates);
	}
	inners_free(fds);
}

/* The same element command on both; ids come back as "the id of" or not. */
static void both_lookup(const int pair[SIDES], uint32_t key, const int expected[SIDES])
{
	uint32_t ids[SIDES] = { 0 };
	long errs[SIDES];

	for (int s = 0; s < SIDES; s++)
		errs[s] = element(s, BPF_MAP_LOOKUP_ELEM, pair[s], key, &ids[s], 0);
	EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
	for (int s = 0; s < SIDES && expected && !errs[s]; s++)
		EXPECT_EQ(ids[s], id_of(s, expected[s]));
}

TEST(map_in_map, takes_maps_that_are_alike)
{
	int fds[SIDES][INNERS], pair[SIDES], one[SIDES];

	ORACLE_OR_SKIP();
	inners_new(fds);
	for (size_t t = 0; t < sl_array_size(outers); t++) {
		for (int i = 0; i < INNERS; i++) {
			for (int s = 0; s < SIDES; s++)
				one[s] = fds[s][i];
			TRACE_PUSH("type %u of %s", outers[t], inners[i].name);
			if (!pair_new(pair, outers[t], one, 4, 4, SLOTS, 0)) {
				TRACE_POP();
				continue;
			}
			for (int k = 0; k < INNERS; k++) {
				long errs[SIDES];

				TRACE_PUSH("%s", inners[k].name);
				for (int s = 0; s < SIDES; s++) {
					one[s] = fds[s][k];
					errs[s] = put(s, pair[s], 1, one[s], 0);
				}
				EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
				both_lookup(pair, 1, errs[KERNEL] ? NULL : one);
				TRACE_POP();
			}
			pair_free(pair);
			TRACE_POP();
		}
	}
	inners_free(fds);
}

TEST(map_in_map, element_commands_are_the_kernels)
{
	static const struct {
		int cmd;
		uint32_t key;
		uint64_t flags;
		int map; /* of inners[]; -1: no descriptor */
	} steps[] = {
		{ BPF_MAP_LOOKUP_ELEM, 0, 0, 0 },
		{ BPF_MAP_DELETE_ELEM, 0, 0, 0 },
		{ BPF_MAP_UPDATE_ELEM, 0, BPF_EXIST, 0 },
		{ BPF_MAP_UPDATE_ELEM, 0, BPF_NOEXIST, 0 },
		{ BPF_MAP_UPDATE_ELEM, 0, 0, 0 },
		{ BPF_MAP_UPDATE_ELEM, 0, BPF_NOEXIST, 0 },
		{ BPF_MAP_UPDATE_ELEM, 0, BPF_EXIST, 0 },
		{ BPF_MAP_UPDATE_ELEM, 0, BPF_F_LOCK, 0 },
		{ BPF_MAP_UPDATE_ELEM, 0, 8, 0 },
		{ BPF_MAP_UPDATE_ELEM, 0, 0, -1 },
		{ BPF_MAP_LOOKUP_ELEM, 0, 0, 0 },
		{ BPF_MAP_LOOKUP_ELEM, 0, BPF_F_LOCK, 0 },
		{ BPF_MAP_LOOKUP_AND_DELETE_ELEM, 0, 0, 0 },
		{ BPF_MAP_UPDATE_ELEM, SLOTS, 0, 0 },
		{ BPF_MAP_LOOKUP_ELEM, SLOTS, 0, 0 },
		{ BPF_MAP_UPDATE_ELEM, 1, 0, 0 },
		{ BPF_MAP_UPDATE_ELEM, 2, 0, 0 },
		{ BPF_MAP_UPDATE_ELEM, 3, 0, 0 },
		{ BPF_MAP_UPDATE_ELEM, 9, 0, 0 },
		{ BPF_MAP_DELETE_ELEM, 1, 0, 0 },
		{ BPF_MAP_DELETE_ELEM, 1, 0, 0 },
		{ BPF_MAP_DELETE_ELEM, 9, 0, 0 },
		{ BPF_MAP_LOOKUP_ELEM, 1, 0, 0 },
	};
	int fds[SIDES][INNERS], pair[SIDES], one[SIDES];

	ORACLE_OR_SKIP();
	inners_new(fds);
	for (size_t t = 0; t < sl_array_size(outers); t++) {
		for (int s = 0; s < SIDES; s++)
			one[s] = fds[s][0];
		pair_new(pair, outers[t], one, 4, 4, SLOTS, 0);
		for (size_t i = 0; i < sl_array_size(steps); i++) {
			uint32_t values[SIDES] = { 0 };
			long errs[SIDES];

			TRACE_PUSH("type %u, step %zu", outers[t], i);
			for (int s = 0; s < SIDES; s++) {
				values[s] = steps[i].map < 0 ? UINT32_MAX
							     : (uint32_t)fds[s][steps[i].map];
				errs[s] = element(s, steps[i].cmd, pair[s], steps[i].key,
					&values[s], steps[i].flags);
			}
			EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
			for (int s = 0; s < SIDES; s++)
				if (!errs[s] && steps[i].cmd == BPF_MAP_LOOKUP_ELEM)
					EXPECT_EQ(values[s], id_of(s, fds[s][steps[i].map]));
			TRACE_POP();
		}
		pair_free(pair);
	}
	inners_free(fds);
}

static long batch(
	enum side side, int cmd, int map, uint32_t *keys, uint32_t *values, uint32_t *count)
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
	err = call(side, cmd, &attr, sizeof(attr));
	*count = attr.batch.count;
	return err;
}

TEST(map_in_map, batches_are_the_kernels)
{
	static const int cmds[] = { BPF_MAP_UPDATE_BATCH, BPF_MAP_LOOKUP_BATCH,
		BPF_MAP_LOOKUP_AND_DELETE_BATCH, BPF_MAP_LOOKUP_BATCH, BPF_MAP_UPDATE_BATCH,
		BPF_MAP_DELETE_BATCH, BPF_MAP_LOOKUP_BATCH };
	int fds[SIDES][INNERS], pair[SIDES], one[SIDES];

	ORACLE_OR_SKIP();
	inners_new(fds);
	for (size_t t = 0; t < sl_array_size(outers); t++) {
		for (int s = 0; s < SIDES; s++)
			one[s] = fds[s][0];
		pair_new(pair, outers[t], one, 4, 4, SLOTS, 0);
		for (size_t i = 0; i < sl_array_size(cmds); i++) {
			uint32_t counts[SIDES], found[SIDES] = { 0 };
			long errs[SIDES];

			TRACE_PUSH("type %u, command %zu", outers[t], i);
			for (int s = 0; s < SIDES; s++) {
				uint32_t keys[SLOTS] = { 0, 2, 1, 3 }, values[SLOTS];
				bool gives = cmds[i] != BPF_MAP_UPDATE_BATCH;

				for (int k = 0; k < SLOTS; k++)
					values[k] = gives ? 0 : (uint32_t)fds[s][0];
				counts[s] = gives && cmds[i] != BPF_MAP_DELETE_BATCH ? SLOTS : 3;
				errs[s] = batch(s, cmds[i], pair[s], keys, values, &counts[s]);
				for (int k = 0; k < SLOTS; k++)
					found[s] += values[k] == id_of(s, fds[s][0]);
			}
			EXPECT_EQ(errs[SLUICE], errs[KERNEL]);
			EXPECT_EQ(counts[SLUICE], counts[KERNEL]);
			if (cmds[i] != BPF_MAP_UPDATE_BATCH)
				EXPECT_EQ(found[SLUICE], found[KERNEL]);
			TRACE_POP();
		}
		pair_free(pair);
	}
	inners_free(fds);
}

static int fd_of_id(enum side side, uint32_t id)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_id = id;
	return (int)call(side, BPF_MAP_GET_FD_BY_ID, &attr, sizeof(attr));
}

/* In the kernel that takes a moment, here as well. */
static bool gone(uint32_t id)
{
	for (unsigned i = 0; i < 2000; i++) {
		int fd = fd_of_id(SLUICE, id);

		if (fd == -ENOENT)
			return true;
		if (fd >= 0)
			close(fd);
		usleep(1000);
	}
	return false;
}

TEST(map_in_map, keeps_its_maps_and_lets_them_go)
{
	for (size_t t = 0; t < sl_array_size(outers); t++) {
		int inner = map_new(SLUICE, BPF_MAP_TYPE_HASH, 4, 8, 4, 0), outer, fd;
		uint32_t ids[5];

		outer = outer_new(SLUICE, outers[t], inner, 4, 4, SLOTS, 0);
		EXPECT_GE(outer, 0);
		close(inner);
		for (uint32_t i = 0; i < 5; i++) {
			inner = map_new(SLUICE, BPF_MAP_TYPE_HASH, 4, 8, 4, 0);
			ids[i] = id_of(SLUICE, inner);
			EXPECT_EQ(put(SLUICE, outer, i % SLOTS, inner, 0), 0);
			close(inner);
		}
		EXPECT_TRUE(gone(ids[0]));
		EXPECT_EQ(element(SLUICE, BPF_MAP_DELETE_ELEM, outer, 1, NULL, 0), 0);
		EXPECT_TRUE(gone(ids[1]));
		fd = fd_of_id(SLUICE, ids[2]);
		EXPECT_GE(fd, 0);
		close(outer);
		EXPECT_TRUE(gone(ids[3]));
		EXPECT_TRUE(gone(ids[4]));
		EXPECT_EQ(id_of(SLUICE, fd), ids[2]);
		close(fd);
		EXPECT_TRUE(gone(ids[2]));
	}
}

#define INSN(c, d, s, o, i) { (c), (d), (s), (o), (i) }
#define MOVE(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE_K(size, d, o, i) INSN(BPF_ST | BPF_MEM | (size), d, 0, o, i)
#define JUMP(op, d, i, o) INSN(BPF_JMP | (op) | BPF_K, d, 0, o, i)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define OUTER() INSN(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, 0), INSN(0, 0, 0, 0, 0)

/* The inner map of a slot to r0, or the program returns 1000. 9 instructions. */
#define SLOT(key)                                                      \
	STORE_K(BPF_W, 10, -4, key), MOVE(2, 10), ADD(2, -4), OUTER(), \
		CALL(BPF_FUNC_map_lookup_elem), JUMP(BPF_JNE, 0, 0, 2), SET(0, 1000), EXIT()
#define VALUE(key)                                                        \
	MOVE(1, 0), STORE_K(BPF_W, 10, -4, key), MOVE(2, 10), ADD(2, -4), \
		CALL(BPF_FUNC_map_lookup_elem)
#define OR_2000() JUMP(BPF_JNE, 0, 0, 2), SET(0, 2000), EXIT()
#define INSNS(...) \
	{ __VA_ARGS__ }, sizeof((struct bpf_insn[]){ __VA_ARGS__ }) / sizeof(struct bpf_insn)

static const struct row {
	const char *name;
	struct bpf_insn insns[40];
	uint32_t count;
} rows[] = {
	{ "value", INSNS(SLOT(0), VALUE(1), OR_2000(), LOAD(BPF_DW, 0, 0, 0), EXIT()) },
	{ "no value", INSNS(SLOT(0), VALUE(7), OR_2000(), LOAD(BPF_DW, 0, 0, 0), EXIT()) },
	{ "value 3", INSNS(SLOT(0), VALUE(3), OR_2000(), LOAD(BPF_DW, 0, 0, 0), EXIT()) },
	{ "other map", INSNS(SLOT(1), VALUE(1), OR_2000(), LOAD(BPF_DW, 0, 0, 0), EXIT()) },
	{ "empty slot", INSNS(SLOT(2), VALUE(1), OR_2000(), LOAD(BPF_DW, 0, 0, 0), EXIT()) },
	{ "no slot", INSNS(SLOT(99), VALUE(1), OR_2000(), LOAD(BPF_DW, 0, 0, 0), EXIT()) },
	{ "value counted",
		INSNS(SLOT(0), VALUE(1), OR_2000(), SET(1, 3),
			INSN(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 1, 0, BPF_ADD | BPF_FETCH),
			MOVE(0, 1), EXIT()) },
	{ "update", INSNS(SLOT(1), MOVE(6, 0), MOVE(1, 0), STORE_K(BPF_W, 10, -4, 1),
			    STORE_K(BPF_DW, 10, -16, 77), MOVE(2, 10), ADD(2, -4), MOVE(3, 10),
			    ADD(3, -16), SET(4, 0), CALL(BPF_FUNC_map_update_elem), MOVE(0, 6),
			    VALUE(1), OR_2000(), LOAD(BPF_DW, 0, 0, 0), EXIT()) },
	{ "delete", INSNS(SLOT(1), MOVE(1, 0), STORE_K(BPF_W, 10, -4, 3), MOVE(2, 10), ADD(2, -4),
			    CALL(BPF_FUNC_map_delete_elem), EXIT()) },
	{ "value without a look at it", INSNS(SLOT(0), VALUE(9), LOAD(BPF_DW, 0, 0, 0), EXIT()) },
	{ "past the value", INSNS(SLOT(0), VALUE(1), OR_2000(), LOAD(BPF_DW, 0, 0, 8), EXIT()) },
	{ "inner map without a look at it",
		INSNS(STORE_K(BPF_W, 10, -4, 0), MOVE(2, 10), ADD(2, -4), OUTER(),
			CALL(BPF_FUNC_map_lookup_elem), VALUE(1), SET(0, 0), EXIT()) },
	{ "inner map, moved", INSNS(SLOT(0), ADD(0, 8), VALUE(1), SET(0, 0), EXIT()) },
	{ "store into the inner map", INSNS(SLOT(0), STORE_K(BPF_DW, 0, 0, 1), SET(0, 0), EXIT()) },
	{ "update of the outer map",
		INSNS(STORE_K(BPF_W, 10, -4, 1), STORE_K(BPF_DW, 10, -16, 1), MOVE(2, 10),
			ADD(2, -4), MOVE(3, 10), ADD(3, -16), SET(4, 0), OUTER(),
			CALL(BPF_FUNC_map_update_elem), EXIT()) },
	{ "delete from the outer map", INSNS(STORE_K(BPF_W, 10, -4, 1), MOVE(2, 10), ADD(2, -4),
					       OUTER(), CALL(BPF_FUNC_map_delete_elem), EXIT()) },
	{ "tail call through the inner map",
		INSNS(MOVE(6, 1), SLOT(0), MOVE(2, 0), MOVE(1, 6), SET(3, 0),
			CALL(BPF_FUNC_tail_call), SET(0, 0), EXIT()) },
	{ "redirect through the inner map", INSNS(SLOT(0), MOVE(1, 0), SET(2, 0), SET(3, 0),
						    CALL(BPF_FUNC_redirect_map), EXIT()) },
};

static char logs[SIDES][LOG];

static int load(enum side side, int outer, const struct row *row)
{
	struct bpf_insn insns[40];
	union bpf_attr attr;

	memcpy(insns, row->insns, sizeof(insns));
	for (uint32_t i = 0; i < row->count; i++)
		if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW))
			insns[i].imm = outer;
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = PTR(insns);
	attr.insn_cnt = row->count;
	attr.license = PTR("GPL");
	attr.log_buf = PTR(logs[side]);
	attr.log_size = LOG;
	attr.log_level = 1;
	logs[side][0] = '\0';
	return (int)call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static const char *reason(char *log)
{
	char *end = strstr(log, "processed ");

	if (!end || end == log)
		return "";
	end[-1] = '\0';
	end = strrchr(log, '\n');
	return end ? end + 1 : log;
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

/* Slots 0 and 1, with the values 100, 101, ... and 200, 201, ... on all CPUs. */
static void fill(enum side side, int outer, const int maps[2], const struct inner *inner)
{
	uint64_t values[SL_MAX_CPUS];

	for (int m = 0; m < 2; m++) {
		for (uint32_t key = 0; key < inner->entries; key++) {
			for (int cpu = 0; cpu < SL_MAX_CPUS; cpu++)
				values[cpu] = (uint64_t)(m + 1) * 100 + key;
			element(side, BPF_MAP_UPDATE_ELEM, maps[m], key, values, 0);
		}
		EXPECT_EQ(put(side, outer, (uint32_t)m, maps[m], 0), 0);
	}
}

static void compare_programs(uint32_t type, int template, int second)
{
	int outer[SIDES], maps[SIDES][2], progs[SIDES];
	const struct inner *in = &inners[template], *other = &inners[second];

	for (int s = 0; s < SIDES; s++) {
		maps[s][0] = map_new(s, in->type, in->key, in->value, in->entries, in->flags);
		maps[s][1] = map_new(
			s, other->type, other->key, other->value, other->entries, other->flags);
		outer[s] = outer_new(s, type, maps[s][0], 4, 4, SLOTS, 0);
		fill(s, outer[s], maps[s], in);
	}
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		TRACE_PUSH("type %u of %s: %s", type, in->name, rows[i].name);
		for (int s = 0; s < SIDES; s++)
			progs[s] = load(s, outer[s], &rows[i]);
		EXPECT_EQ(sl_min(progs[SLUICE], 0), sl_min(progs[KERNEL], 0));
		if (progs[KERNEL] < 0)
			EXPECT_STREQ(reason(logs[SLUICE]), reason(logs[KERNEL]));
		if (progs[KERNEL] >= 0 && progs[SLUICE] >= 0) {
			EXPECT_EQ(run(SLUICE, progs[SLUICE]), run(KERNEL, progs[KERNEL]));
			/* What was compiled once finds what is there now. */
			for (int s = 0; s < SIDES; s++)
				put(s, outer[s], 0, maps[s][1], 0);
			EXPECT_EQ(run(SLUICE, progs[SLUICE]), run(KERNEL, progs[KERNEL]));
			for (int s = 0; s < SIDES; s++)
				put(s, outer[s], 0, maps[s][0], 0);
		}
		for (int s = 0; s < SIDES; s++)
			if (progs[s] >= 0)
				close(progs[s]);
		TRACE_POP();
	}
	for (int s = 0; s < SIDES; s++) {
		close(outer[s]);
		close(maps[s][0]);
		close(maps[s][1]);
	}
}

TEST(map_in_map, programs_find_the_maps_of_the_moment)
{
	ORACLE_OR_SKIP();
	compare_programs(BPF_MAP_TYPE_ARRAY_OF_MAPS, 0, 0);
	compare_programs(BPF_MAP_TYPE_ARRAY_OF_MAPS, ANY_LENGTH, SHORTER);
	compare_programs(BPF_MAP_TYPE_HASH_OF_MAPS, HASH, HASH + 1);
	compare_programs(BPF_MAP_TYPE_HASH_OF_MAPS, PERCPU, PERCPU);
	compare_programs(BPF_MAP_TYPE_ARRAY_OF_MAPS, 12, 12);
}

/*
 * An array that others of any length may stand in for, as any may for a per-CPU one: an index inside it
 * may be outside of them, so the lookup may well find nothing. Of a plain one the index is known to
 * be inside.
 */
TEST(map_in_map, index_of_a_template_is_no_index_of_shorter_ones)
{
	static const struct row unchecked = { "",
		INSNS(SLOT(0), MOVE(1, 0), STORE_K(BPF_W, 10, -8, 3), MOVE(2, 10), ADD(2, -8),
			CALL(BPF_FUNC_map_lookup_elem), LOAD(BPF_DW, 0, 0, 0), EXIT()) };
	static const int templates[] = { ANY_LENGTH, PERCPU, 0 };

	for (int i = 0; i < 3; i++) {
		const struct inner *in = &inners[templates[i]];
		int inner = map_new(SLUICE, in->type, in->key, in->value, in->entries, in->flags);
		int outer = outer_new(SLUICE, outers[0], inner, 4, 4, SLOTS, 0);
		int prog = load(SLUICE, outer, &unchecked);

		EXPECT_EQ(sl_min(prog, 0), templates[i] ? -EACCES : 0);
		if (prog >= 0)
			close(prog);
		close(outer);
		close(inner);
	}
}

struct swapper {
	int outer, maps[2];
	bool stop;
};

static void *swap(void *arg)
{
	struct swapper *s = arg;

	for (unsigned i = 0; !__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE); i++) {
		int fresh = map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0);
		uint64_t value = 100;

		element(SLUICE, BPF_MAP_UPDATE_ELEM, fresh, 1, &value, 0);
		EXPECT_EQ(put(SLUICE, s->outer, 0, fresh, 0), 0);
		close(fresh);
	}
	return NULL;
}

/* Maps come and go under a running program, which always finds a whole one. */
TEST(map_in_map, maps_are_exchanged_under_programs)
{
	for (size_t t = 0; t < sl_array_size(outers); t++) {
		int first = map_new(SLUICE, BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0);
		struct swapper s = { .outer = outer_new(SLUICE, outers[t], first, 4, 4, SLOTS, 0) };
		uint64_t value = 100;
		pthread_t thread;
		int prog;

		element(SLUICE, BPF_MAP_UPDATE_ELEM, first, 1, &value, 0);
		EXPECT_EQ(put(SLUICE, s.outer, 0, first, 0), 0);
		prog = load(SLUICE, s.outer, &rows[0]);
		EXPECT_GE(prog, 0);
		pthread_create(&thread, NULL, swap, &s);
		for (unsigned i = 0; i < 2000; i++)
			EXPECT_EQ(run(SLUICE, prog), 100);
		__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
		pthread_join(thread, NULL);
		close(prog);
		close(s.outer);
		close(first);
	}
}
