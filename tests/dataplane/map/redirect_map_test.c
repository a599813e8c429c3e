#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "oracle.h"
#include "pair.h"
#include "redirect_target.h"
#include "test.h"

/* DEVMAP, DEVMAP_HASH, CPUMAP and XSKMAP: random operations on the map in the kernel and here. */
static const struct row {
	enum bpf_map_type type;
	uint32_t value_size, max_entries, keys;
} rows[] = {
	{ BPF_MAP_TYPE_DEVMAP, 4, 8, 10 },
	{ BPF_MAP_TYPE_DEVMAP, 8, 8, 10 },
	{ BPF_MAP_TYPE_DEVMAP_HASH, 4, 5, 20 },
	{ BPF_MAP_TYPE_DEVMAP_HASH, 8, 32, 30 },
	{ BPF_MAP_TYPE_CPUMAP, 4, 2, 4 },
	{ BPF_MAP_TYPE_CPUMAP, 8, 60, 64 },
	{ BPF_MAP_TYPE_XSKMAP, 4, 6, 8 },
};

enum { OPERATIONS = 600, LOOPBACK = 1, NO_SUCH_INTERFACE = 99999 };

static const uint32_t values[] = { LOOPBACK, LOOPBACK, LOOPBACK, 0, NO_SUCH_INTERFACE, 16384, 16385,
	UINT32_MAX };
static const int fds[] = { 0, 0, 0, 0, -1, 1 << 20 };
static const uint64_t flags[] = { 0, 0, 0, BPF_NOEXIST, BPF_EXIST, 3, BPF_F_LOCK };

static int row_new(struct pair *p, const struct row *row)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = row->type;
	attr.key_size = 4;
	attr.value_size = row->value_size;
	attr.max_entries = row->max_entries;
	return pair_new(p, &attr);
}

static void operate(struct pair *p, const struct row *row)
{
	uint32_t key = rand() % row->keys;
	struct bpf_devmap_val value = { .ifindex = values[rand() % sl_array_size(values)],
		.bpf_prog.fd = fds[rand() % sl_array_size(fds)] };

	switch (rand() % 6) {
	case 0:
		pair_delete(p, &key);
		break;
	case 1:
		pair_lookup(p, &key, rand() % 4 ? 0 : BPF_F_LOCK);
		break;
	default:
		pair_update(p, &key, &value, flags[rand() % sl_array_size(flags)]);
	}
}

static unsigned count_keys(struct sl_map *map)
{
	uint32_t key, next;
	unsigned n = 0;

	for (; own_next_key(map, n ? &key : NULL, &next) == 0; n++)
		key = next;
	return n;
}

TEST(redirect_map, random_sequences_agree_with_the_kernel)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		const struct row *row = &rows[i];
		struct pair p;

		srand(i + 1);
		TRACE_PUSH("row %zu", i);
		ASSERT_EQ(row_new(&p, row), 0);
		for (unsigned n = 0; n < OPERATIONS && !sl_test_has_failed(); n++) {
			TRACE_PUSH("operation %u", n);
			operate(&p, row);
			TRACE_POP();
		}
		for (uint32_t key = 0; key < row->keys; key++)
			pair_lookup(&p, &key, 0);
		if (row->type != BPF_MAP_TYPE_DEVMAP_HASH)
			EXPECT_EQ(count_keys(p.map), row->max_entries);
		pair_free(&p);
		TRACE_POP();
	}
}

/* What a broadcast goes through: every entry once. */
static void expect_all_found(enum bpf_map_type type)
{
	const struct sl_redirect_target *target;
	bool seen[64] = { false };
	union bpf_attr attr;
	struct sl_map *map;
	uint64_t position = 0;
	unsigned found = 0;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 64;
	ASSERT_EQ(sl_map_new(&attr, &map), 0);
	for (uint32_t i = 0; i < 20; i++) {
		/* In the hash table several to a bucket. */
		uint32_t key = type == BPF_MAP_TYPE_DEVMAP_HASH ? i % 5 + i / 5 * 64 : i * 3;
		uint32_t value = LOOPBACK;

		ASSERT_EQ(own_update(map, &key, &value, BPF_ANY), 0);
		EXPECT_TRUE(map->ops->lookup(&map->desc, NULL, &key) != NULL);
	}
	while ((target = sl_redirect_next(map, &position)) && found < 64) {
		EXPECT_EQ(target->value, (uint32_t)LOOPBACK);
		if (type == BPF_MAP_TYPE_DEVMAP_HASH) {
			unsigned number = target->key % 64 + target->key / 64 * 5;

			EXPECT_FALSE(seen[number]);
			seen[number] = true;
		}
		found++;
	}
	EXPECT_EQ(found, 20u);
	sl_map_unref(map);
}

TEST(redirect_map, a_broadcast_reaches_every_entry)
{
	expect_all_found(BPF_MAP_TYPE_DEVMAP);
	expect_all_found(BPF_MAP_TYPE_DEVMAP_HASH);
}
