#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <dirent.h>

#include "defs.h"
#include "fd.h"
#include "map.h"
#include "rcu.h"
#include "sluice/bpf.h"
#include "test.h"

/*
 * Maps of every type that there is are made, used and given up, time and again: memory, descriptors
 * and objects have to be what they were. Most of them without descriptors, which cost the most and
 * are the same for all types.
 */

enum { CYCLES = 10000, WITH_FD = 500, TYPES_MAX = 64 };

/* Less than if 64 bytes were left of each. */
enum { LEAK_BYTES = CYCLES * 48 };

static long call(int cmd, union bpf_attr *attr)
{
	long ret = sluice_bpf(cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : ret;
}

/* What one type or another wants. */
static const struct {
	uint32_t key, value, entries, flags;
} shapes[] = {
	{ 4, 4, 2, 0 },
	{ 4, 8, 2, 0 },
	{ 8, 8, 2, BPF_F_NO_PREALLOC },
	{ 0, 4, 2, 0 },
	{ 0, 0, 4096, 0 },
};

static void fill(union bpf_attr *attr, uint32_t type, unsigned shape, int inner)
{
	memset(attr, 0, sizeof(*attr));
	attr->map_type = type;
	attr->key_size = shapes[shape].key;
	attr->value_size = shapes[shape].value;
	attr->max_entries = shapes[shape].entries;
	attr->map_flags = shapes[shape].flags;
	if (type == BPF_MAP_TYPE_ARRAY_OF_MAPS || type == BPF_MAP_TYPE_HASH_OF_MAPS)
		attr->inner_map_fd = (uint32_t)inner;
}

static int create(uint32_t type, unsigned shape, int inner)
{
	union bpf_attr attr;

	fill(&attr, type, shape, inner);
	return (int)call(BPF_MAP_CREATE, &attr);
}

/* The shape that the type takes; -1 for none. */
static int find_shape(uint32_t type, int inner)
{
	for (unsigned i = 0; i < sl_array_size(shapes); i++) {
		int fd = create(type, i, inner);

		if (fd < 0)
			continue;
		close(fd);
		return (int)i;
	}
	return -1;
}

/* Whatever of these the type takes. */
static void use(int map, int inner, bool keyless)
{
	static const int cmds[] = { BPF_MAP_UPDATE_ELEM, BPF_MAP_LOOKUP_ELEM,
		BPF_MAP_GET_NEXT_KEY };
	uint64_t key = 1, values[256] = { (uint32_t)inner };

	for (unsigned i = 0; i < sl_array_size(cmds); i++) {
		union bpf_attr attr;

		memset(&attr, 0, sizeof(attr));
		attr.map_fd = (uint32_t)map;
		attr.key = keyless ? 0 : (uint64_t)(uintptr_t)&key;
		attr.value = (uint64_t)(uintptr_t)values;
		call(cmds[i], &attr);
	}
}

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static unsigned count_maps(void)
{
	union bpf_attr attr;
	unsigned count = 0;

	memset(&attr, 0, sizeof(attr));
	while (call(BPF_MAP_GET_NEXT_ID, &attr) == 0) {
		attr.start_id = attr.next_id;
		count++;
	}
	return count;
}

/*
 * The heap's bytes that are in use, and all mappings but the heap's own: unlike resident memory,
 * neither depends on what the allocator or the kernel keeps for later.
 */
static long used_bytes(void)
{
	struct mallinfo2 heap = mallinfo2();
	FILE *f = fopen("/proc/self/statm", "re");
	long pages = 0;

	if (f && fscanf(f, "%ld", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return (long)heap.uordblks + pages * sysconf(_SC_PAGESIZE) - (long)heap.arena;
}

struct level {
	unsigned fds, maps;
};

/* Descriptors are seen to be closed, and what they held is freed, a little later. */
static void settle(const struct level *wanted)
{
	for (unsigned i = 0; i < 500; i++) {
		sl_fd_reap();
		sl_rcu_barrier();
		if (count_maps() == wanted->maps && count_fds() == wanted->fds)
			return;
		usleep(1000);
	}
}

static void cycle(uint32_t type, unsigned shape, int inner, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		int fd = create(type, shape, inner);

		EXPECT_GE(fd, 0);
		if (fd < 0)
			return;
		use(fd, inner, shapes[shape].key == 0);
		close(fd);
	}
}

/* The same on the map itself. */
static void cycle_bare(uint32_t type, unsigned shape, int inner, unsigned count)
{
	const struct sl_map_ops *ops = sl_map_ops_of(type);
	uint64_t key = 1, values[256] = { (uint32_t)inner };
	union bpf_attr attr;

	fill(&attr, type, shape, inner);
	for (unsigned i = 0; i < count; i++) {
		struct sl_map *map;
		int err = sl_map_new(&attr, &map);

		EXPECT_EQ(err, 0);
		if (err)
			return;
		sl_rcu_read_begin();
		if (ops->sys_update)
			ops->sys_update(map, &key, values, BPF_ANY);
		if (ops->sys_lookup)
			ops->sys_lookup(map, &key, values, 0);
		sl_rcu_read_end();
		values[0] = (uint32_t)inner;
		sl_map_unref(map);
		/* So that not all of them wait for their end at a time. */
		if (i % 256 == 0)
			sl_rcu_barrier();
	}
}

/* Bytes by which this many maps made the process grow. */
static long round_of(uint32_t type, unsigned shape, int inner, const struct level *start)
{
	long before = used_bytes();

	cycle_bare(type, shape, inner, CYCLES);
	settle(start);
	EXPECT_EQ(count_fds(), start->fds);
	return used_bytes() - before;
}

static void check_type(uint32_t type, int inner, const struct level *start)
{
	int shape = find_shape(type, inner);

	/* A type that none of the shapes suits needs one. */
	EXPECT_GE(shape, 0);
	if (shape < 0)
		return;
	cycle(type, (unsigned)shape, inner, WITH_FD);
	settle(start);
	EXPECT_EQ(count_maps(), start->maps);
	EXPECT_EQ(count_fds(), start->fds);
	EXPECT_LT(round_of(type, (unsigned)shape, inner, start), LEAK_BYTES);
}

TEST(map_leaks, nothing_is_left_of_any_type)
{
	int inner = create(BPF_MAP_TYPE_ARRAY, 0, -1);
	struct level start;
	unsigned types = 0;

	ASSERT_GE(inner, 0);
	start = (struct level){ count_fds(), count_maps() };
	for (uint32_t type = 1; type < TYPES_MAX; type++) {
		if (!sl_map_ops_of(type))
			continue;
		types++;
		TRACE_PUSH("%s", sl_map_ops_of(type)->name);
		check_type(type, inner, &start);
		TRACE_POP();
	}
	EXPECT_GT(types, 10);
	close(inner);
}
