#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu.h"
#include "hash_key.h"
#include "hash_pool.h"
#include "oracle.h"
#include "pair.h"
#include "rcu.h"
#include "test.h"

static struct sl_map *hash_new(enum bpf_map_type type, uint32_t key_size, uint32_t max_entries)
{
	union bpf_attr attr;
	struct sl_map *map;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = key_size;
	attr.value_size = 8;
	attr.max_entries = max_entries;
	return sl_map_new(&attr, &map) == 0 ? map : NULL;
}

TEST(hash, value_address_is_stable_until_the_read_section_ends)
{
	struct sl_map *map = hash_new(BPF_MAP_TYPE_HASH, 4, 1);
	struct sl_ctx ctx = { .cpu = 0 };
	uint32_t key = 7, other = 0;
	uint64_t value = 70, *seen, *now;

	ASSERT_EQ(own_update(map, &key, &value, BPF_ANY), 0);
	sl_rcu_read_begin();
	seen = map->ops->lookup(&map->desc, &ctx, &key);
	ASSERT_TRUE(seen);
	ASSERT_EQ(map->ops->delete(&map->desc, &ctx, &key), 0);
	EXPECT_TRUE(!map->ops->lookup(&map->desc, &ctx, &key));
	/* Far more elements than the map has pass through it; none takes the place of the first. */
	for (other = 100; other < 1000; other++) {
		value = other;
		ASSERT_EQ(map->ops->update(&map->desc, &ctx, &other, &value, BPF_ANY), 0);
		now = map->ops->lookup(&map->desc, &ctx, &other);
		ASSERT_TRUE(now && now != seen);
		EXPECT_EQ(*now, value);
		ASSERT_EQ(map->ops->delete(&map->desc, &ctx, &other), 0);
	}
	EXPECT_EQ(*seen, 70u);
	sl_rcu_read_end();
	sl_map_unref(map);
}

TEST(hash, full_map_refuses_new_keys_only)
{
	enum { MAX = 1000 };
	struct sl_map *map = hash_new(BPF_MAP_TYPE_HASH, 4, MAX);
	uint64_t value = 1;
	uint32_t key;

	for (key = 0; key < MAX; key++)
		ASSERT_EQ(own_update(map, &key, &value, BPF_NOEXIST), 0);
	EXPECT_EQ(own_update(map, &key, &value, BPF_ANY), -E2BIG);
	EXPECT_EQ(own_update(map, &key, &value, BPF_EXIST), -ENOENT);
	for (uint32_t i = 0; i < 10 * MAX; i++) {
		key = i % MAX;
		value = i;
		ASSERT_EQ(own_update(map, &key, &value, BPF_ANY), 0);
	}
	key = 5;
	EXPECT_EQ(own_delete(map, &key), 0);
	key = MAX;
	EXPECT_EQ(own_update(map, &key, &value, BPF_ANY), 0);
	key = MAX + 1;
	EXPECT_EQ(own_update(map, &key, &value, BPF_ANY), -E2BIG);
	sl_map_unref(map);
}

/* A reader that never ends keeps all elements: updates go on in place, insertions get -ENOMEM. */
TEST(hash, endless_read_section_exhausts_insertions_but_not_updates)
{
	struct sl_map *map = hash_new(BPF_MAP_TYPE_HASH, 4, 4);
	struct sl_ctx ctx = { .cpu = 0 };
	uint32_t key = 1, fresh, done;
	uint64_t value = 1, *seen;
	long err = 0;

	ASSERT_EQ(own_update(map, &key, &value, BPF_ANY), 0);
	sl_rcu_read_begin();
	for (done = 0; done < 100000 && !err; done++) {
		fresh = 1000 + done;
		err = map->ops->update(&map->desc, &ctx, &fresh, &value, BPF_NOEXIST);
		if (!err)
			ASSERT_EQ(map->ops->delete(&map->desc, &ctx, &fresh), 0);
	}
	EXPECT_EQ(err, -ENOMEM);
	EXPECT_GE(done, SL_POOL_GRACE * (sl_cpu_count() + 1));
	value = 99;
	EXPECT_EQ(map->ops->update(&map->desc, &ctx, &key, &value, BPF_EXIST), 0);
	seen = map->ops->lookup(&map->desc, &ctx, &key);
	ASSERT_TRUE(seen);
	EXPECT_EQ(*seen, 99u);
	sl_rcu_read_end();
	EXPECT_EQ(own_update(map, &fresh, &value, BPF_NOEXIST), 0);
	sl_map_unref(map);
}

/* Elements that one CPU freed are another's to take, to the last one. */
TEST(hash, elements_move_between_cpus)
{
	enum { MAX = 5000 };
	struct sl_map *map = hash_new(BPF_MAP_TYPE_HASH, 4, MAX);
	uint64_t value = 1;

	for (unsigned round = 0; round < 6; round++) {
		struct sl_ctx ctx = { .cpu = round % sl_cpu_count() };

		for (uint32_t key = 0; key < MAX; key++) {
			sl_rcu_read_begin();
			ASSERT_EQ(map->ops->update(&map->desc, &ctx, &key, &value, 0), 0);
			sl_rcu_read_end();
		}
		for (uint32_t key = 0; key < MAX; key++) {
			sl_rcu_read_begin();
			ASSERT_EQ(map->ops->delete(&map->desc, &ctx, &key), 0);
			sl_rcu_read_end();
		}
	}
	sl_map_unref(map);
}

TEST(hash, percpu_program_sees_its_own_slot)
{
	struct sl_map *map = hash_new(BPF_MAP_TYPE_PERCPU_HASH, 4, 8);
	unsigned cpus = sl_cpu_count();
	uint64_t values[SL_MAX_CPUS], value, *seen;
	uint32_t key = 3;

	for (unsigned cpu = 0; cpu < cpus; cpu++) {
		struct sl_ctx ctx = { .cpu = cpu };

		value = 100 + cpu;
		sl_rcu_read_begin();
		EXPECT_EQ(map->ops->update(&map->desc, &ctx, &key, &value, BPF_ANY), 0);
		seen = map->ops->lookup(&map->desc, &ctx, &key);
		ASSERT_TRUE(seen);
		EXPECT_EQ(*seen, value);
		sl_rcu_read_end();
		/* A program's insertion leaves zeroes for the others. */
		ASSERT_EQ(own_lookup(map, &key, values, 0), 0);
		for (unsigned i = 0; i < cpus; i++)
			EXPECT_EQ(values[i], i <= cpu ? 100 + i : 0);
	}
	sl_map_unref(map);
}

/* The chi-squared of keys over 1024 buckets: what random placement gives is 1023 +- 45. */
static double spread(uint32_t key_size, unsigned shift, unsigned position)
{
	static const uint64_t seed[SL_HASH_SEEDS] = { 0x243f6a8885a308d3, 0x13198a2e03707345,
		0xa4093822299f31d1 };
	enum { BUCKETS = 1024, KEYS = 64 * BUCKETS };
	uint32_t counts[BUCKETS] = { 0 };
	uint8_t key[64] = { 0 };
	double sum = 0;

	for (uint64_t i = 0; i < KEYS; i++) {
		uint64_t word = i << shift;

		memcpy(key + position, &word, sl_min(key_size - position, 8u));
		counts[sl_hash_key(key, key_size, seed) >> 54]++;
	}
	for (unsigned i = 0; i < BUCKETS; i++) {
		double d = counts[i] - (double)KEYS / BUCKETS;

		sum += d * d / ((double)KEYS / BUCKETS);
	}
	return sum;
}

TEST(hash, regular_keys_spread_evenly)
{
	static const struct {
		uint32_t key_size;
		unsigned shift, position;
	} rows[] = { { 4, 0, 0 }, { 4, 16, 0 }, { 8, 0, 0 }, { 8, 16, 0 }, { 8, 48, 0 },
		{ 6, 0, 0 }, { 13, 0, 4 }, { 13, 8, 5 }, { 16, 0, 0 }, { 16, 40, 0 }, { 16, 0, 8 },
		{ 16, 32, 8 }, { 20, 0, 0 }, { 20, 16, 12 }, { 40, 0, 16 }, { 40, 24, 32 } };

	for (size_t i = 0; i < sl_array_size(rows); i++) {
		TRACE_PUSH("row %zu", i);
		EXPECT_LT(spread(rows[i].key_size, rows[i].shift, rows[i].position), 1300);
		TRACE_POP();
	}
}

TEST(hash, equality_sees_every_byte)
{
	uint8_t a[80], b[80];

	for (uint32_t len = 1; len <= sizeof(a); len++) {
		memset(a, 0x33, sizeof(a));
		memset(b, 0x33, sizeof(b));
		/* What is behind the key does not count. */
		if (len < sizeof(b))
			b[len] = 0;
		EXPECT_TRUE(sl_hash_key_equal(a, b, len));
		for (uint32_t i = 0; i < len; i++) {
			b[i] ^= 0x80;
			EXPECT_FALSE(sl_hash_key_equal(a, b, len));
			b[i] ^= 0x80;
		}
	}
}

/* Batches, element sets compared with what was put in. */
static unsigned drain(struct sl_map *map, uint32_t step, bool delete_too, uint64_t *ret_sum)
{
	uint32_t position = 0, count, keys[64];
	uint64_t values[64];
	unsigned total = 0;
	int err;

	*ret_sum = 0;
	do {
		count = step;
		sl_rcu_read_begin();
		err = map->ops->sys_lookup_batch(
			map, &position, keys, values, &count, 0, delete_too);
		sl_rcu_read_end();
		if (err == -ENOSPC) {
			EXPECT_EQ(count, 0u);
			step++;
			err = 0;
		}
		for (uint32_t i = 0; i < count; i++) {
			EXPECT_EQ(values[i], keys[i] * 3ull);
			*ret_sum += values[i];
		}
		total += count;
	} while (err == 0);
	EXPECT_EQ(err, -ENOENT);
	return total;
}

TEST(hash, batches_return_every_element_once)
{
	enum { COUNT = 500 };
	static const uint32_t steps[] = { 1, 7, 64 };
	struct sl_map *map = hash_new(BPF_MAP_TYPE_HASH, 4, COUNT);
	uint64_t sum, expected = 0;
	uint32_t key;

	for (size_t i = 0; i < sl_array_size(steps); i++) {
		for (key = 0, expected = 0; key < COUNT; key++) {
			uint64_t value = key * 3ull;

			expected += value;
			ASSERT_EQ(own_update(map, &key, &value, BPF_ANY), 0);
		}
		EXPECT_EQ(drain(map, steps[i], false, &sum), (unsigned)COUNT);
		EXPECT_EQ(sum, expected);
		EXPECT_EQ(drain(map, steps[i], true, &sum), (unsigned)COUNT);
		EXPECT_EQ(sum, expected);
		EXPECT_EQ(own_next_key(map, NULL, &key), -ENOENT);
	}
	sl_map_unref(map);
}

TEST(hash, too_large_for_memory_is_enomem)
{
	union bpf_attr attr;
	struct sl_map *map;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_HASH;
	attr.key_size = 4;
	attr.value_size = 4096;
	attr.max_entries = 1u << 27;
	EXPECT_EQ(sl_map_new(&attr, &map), -ENOMEM);
	attr.map_type = BPF_MAP_TYPE_PERCPU_HASH;
	EXPECT_EQ(sl_map_new(&attr, &map), -ENOMEM);
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.max_entries = UINT32_MAX;
	EXPECT_EQ(sl_map_new(&attr, &map), -ENOMEM);
	attr.map_flags = BPF_F_MMAPABLE;
	EXPECT_EQ(sl_map_new(&attr, &map), -ENOMEM);
}
