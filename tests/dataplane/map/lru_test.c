#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "context.h"
#include "cpu.h"
#include "oracle.h"
#include "pair.h"
#include "rcu.h"
#include "test.h"

/* What is special to the LRU types: full maps. Every word of a value is its key. */
enum { WORDS = 4 };

static struct sl_map *lru_new(enum bpf_map_type type, uint32_t max_entries, uint32_t flags)
{
	union bpf_attr attr;
	struct sl_map *map;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = 4;
	attr.value_size = WORDS * 8;
	attr.max_entries = max_entries;
	attr.map_flags = flags;
	return sl_map_new(&attr, &map) == 0 ? map : NULL;
}

/* As a program on that CPU. */
static long put_flags(struct sl_map *map, uint32_t cpu, uint32_t key, uint64_t flags)
{
	struct sl_ctx ctx = { .cpu = cpu };
	uint64_t value[WORDS];
	long err;

	for (unsigned i = 0; i < WORDS; i++)
		value[i] = key;
	sl_rcu_read_begin();
	err = map->ops->update(&map->desc, &ctx, &key, value, flags);
	sl_rcu_read_end();
	return err;
}

static long put(struct sl_map *map, uint32_t key)
{
	return put_flags(map, 0, key, BPF_ANY);
}

static bool use(struct sl_map *map, uint32_t key)
{
	struct sl_ctx ctx = { .cpu = 0 };
	bool found;

	sl_rcu_read_begin();
	found = map->ops->lookup(&map->desc, &ctx, &key);
	sl_rcu_read_end();
	return found;
}

/* From outside, which is no use. */
static bool has(struct sl_map *map, uint32_t key)
{
	uint64_t value[WORDS * SL_MAX_CPUS];

	return own_lookup(map, &key, value, 0) == 0;
}

static unsigned count(struct sl_map *map)
{
	uint32_t key, *last = NULL;
	unsigned n = 0;

	while (own_next_key(map, last, &key) == 0) {
		last = &key;
		n++;
	}
	return n;
}

static const enum bpf_map_type types[] = { BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH };
static const uint32_t sizes[] = { 1, 2, 3, 31, 32, 33, 64, 65, 1000, 5000 };

TEST(lru, full_map_takes_every_key_and_stays_full)
{
	for (unsigned t = 0; t < sl_array_size(types); t++) {
		for (unsigned i = 0; i < sl_array_size(sizes); i++) {
			struct sl_map *map = lru_new(types[t], sizes[i], 0);

			ASSERT_TRUE(map);
			TRACE_PUSH("type %d of %u", types[t], sizes[i]);
			for (uint32_t key = 0; key < 4 * sizes[i] + 100; key++) {
				ASSERT_EQ(put(map, key), 0);
				ASSERT_TRUE(has(map, key));
			}
			EXPECT_EQ(count(map), sizes[i]);
			TRACE_POP();
			sl_map_unref(map);
		}
	}
}

/* All of them used, which is no reason to refuse one more, nor to look at all of them for it. */
TEST(lru, full_map_of_used_elements_takes_every_key)
{
	enum { MAX = 2000 };
	struct sl_map *map = lru_new(BPF_MAP_TYPE_LRU_HASH, MAX, 0);

	for (uint32_t key = 0; key < 3 * MAX; key++) {
		ASSERT_EQ(put(map, key), 0);
		ASSERT_TRUE(use(map, key));
	}
	EXPECT_EQ(count(map), (unsigned)MAX);
	sl_map_unref(map);
}

TEST(lru, used_elements_outlive_a_scan)
{
	enum { MAX = 1000, HOT = 200, SCAN = 50000 };

	for (unsigned t = 0; t < sl_array_size(types); t++) {
		struct sl_map *map = lru_new(types[t], MAX, 0);

		for (uint32_t key = 0; key < HOT; key++)
			ASSERT_EQ(put(map, key), 0);
		for (uint32_t n = 0; n < SCAN; n++) {
			ASSERT_EQ(put(map, HOT + n), 0);
			ASSERT_TRUE(use(map, n % HOT));
		}
		EXPECT_EQ(count(map), (unsigned)MAX);
		sl_map_unref(map);
	}
}

/* The same number of keys without uses: none of the first is left. */
TEST(lru, unused_elements_do_not_outlive_a_scan)
{
	enum { MAX = 1000, SCAN = 20000 };
	struct sl_map *map = lru_new(BPF_MAP_TYPE_LRU_HASH, MAX, 0);

	for (uint32_t key = 0; key < SCAN; key++) {
		ASSERT_EQ(put(map, key), 0);
		/* Looked at from outside. */
		if (key % 8 == 0)
			has(map, key / 8 % 100);
	}
	for (uint32_t key = 0; key < 100; key++)
		EXPECT_FALSE(has(map, key));
	sl_map_unref(map);
}

TEST(lru, what_counts_as_use)
{
	for (unsigned t = 0; t < sl_array_size(types); t++) {
		struct sl_map *map = lru_new(types[t], 4, 0);

		for (uint32_t key = 0; key < 4; key++)
			ASSERT_EQ(put(map, key), 0);
		/* An update of what is there, and a lookup; neither a walk nor a failing update. */
		ASSERT_EQ(put_flags(map, 0, 0, BPF_EXIST), 0);
		ASSERT_TRUE(use(map, 1));
		ASSERT_TRUE(has(map, 2));
		ASSERT_EQ(put_flags(map, 0, 3, BPF_NOEXIST), -EEXIST);
		ASSERT_EQ(put(map, 4), 0);
		ASSERT_EQ(put(map, 5), 0);
		EXPECT_TRUE(has(map, 0) && has(map, 1));
		EXPECT_FALSE(has(map, 2) || has(map, 3));
		sl_map_unref(map);
	}
}

/* Nothing is evicted for an update that fails, nor while there is room anywhere. */
TEST(lru, no_eviction_without_need)
{
	enum { MAX = 100 };
	struct sl_map *map = lru_new(BPF_MAP_TYPE_LRU_HASH, MAX, 0);
	uint32_t none = 777;

	for (uint32_t key = 0; key < MAX; key++)
		ASSERT_EQ(put_flags(map, key % sl_cpu_count(), key, BPF_ANY), 0);
	EXPECT_EQ(put_flags(map, 0, none, BPF_EXIST), -ENOENT);
	EXPECT_EQ(put_flags(map, 0, none, BPF_F_LOCK), -EINVAL);
	EXPECT_EQ(put_flags(map, 0, none, 3), -EINVAL);
	for (uint32_t key = 0; key < MAX; key++)
		ASSERT_EQ(put(map, key), 0);
	EXPECT_EQ(count(map), (unsigned)MAX);
	/* The room that others leave behind. */
	for (uint32_t key = 0; key < MAX / 2; key++)
		ASSERT_EQ(own_delete(map, &key), 0);
	for (uint32_t key = 0; key < MAX / 2; key++)
		ASSERT_EQ(put(map, 1000 + key), 0);
	for (uint32_t key = MAX / 2; key < MAX; key++)
		EXPECT_TRUE(has(map, key));
	sl_map_unref(map);
}

TEST(lru, value_of_an_evicted_element_stays_to_the_end_of_the_run)
{
	struct sl_map *map = lru_new(BPF_MAP_TYPE_LRU_HASH, 4, 0);
	struct sl_ctx ctx = { .cpu = 0 };
	uint32_t key = 1;
	uint64_t *seen;

	ASSERT_EQ(put(map, key), 0);
	sl_rcu_read_begin();
	seen = map->ops->lookup(&map->desc, &ctx, &key);
	ASSERT_TRUE(seen);
	for (uint32_t other = 2; other < 2000; other++)
		ASSERT_EQ(put(map, other), 0);
	EXPECT_FALSE(map->ops->lookup(&map->desc, &ctx, &key));
	EXPECT_EQ(*seen, key);
	sl_rcu_read_end();
	sl_map_unref(map);
}

/* The kernel rounds the entries of a map that its CPUs share out, and says so. */
TEST(lru, entries_without_a_common_list)
{
	uint32_t cpus = sl_cpu_count();
	const uint32_t entries[] = { 1, cpus, cpus + 1, 1000 * cpus - 1 };

	for (unsigned i = 0; i < sl_array_size(entries); i++) {
		struct sl_map *map = lru_new(types[i % 2], entries[i], BPF_F_NO_COMMON_LRU);

		ASSERT_TRUE(map);
		EXPECT_EQ(map->desc.max_entries, (entries[i] + cpus - 1) / cpus * cpus);
		if (oracle_permitted()) {
			union bpf_attr attr = { .map_type = types[i % 2],
				.key_size = 4,
				.value_size = 8,
				.max_entries = entries[i],
				.map_flags = BPF_F_NO_COMMON_LRU };
			int fd = oracle_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
			struct bpf_map_info info = { 0 };

			ASSERT_GE(fd, 0);
			memset(&attr, 0, sizeof(attr));
			attr.info.bpf_fd = fd;
			attr.info.info = (uintptr_t)&info;
			attr.info.info_len = sizeof(info);
			EXPECT_EQ(oracle_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)), 0);
			EXPECT_EQ(info.max_entries, map->desc.max_entries);
			close(fd);
		}
		sl_map_unref(map);
	}
}

/* Workers and control threads on one full map. */
enum { MAX = 64, KEYS = 4 * MAX, THREADS = 5, RACE_MS = 700 };

struct race {
	struct sl_map *map;
	bool stop;
	uint64_t bad, failed, done;
};

struct racer {
	struct race *race;
	unsigned number, seed;
};

static uint64_t wrong_words(const uint64_t *value, uint32_t key)
{
	uint64_t bad = 0;

	for (unsigned w = 0; w < WORDS; w++)
		bad += __atomic_load_n(&value[w], __ATOMIC_RELAXED) != key;
	return bad;
}

static void *racer(void *arg)
{
	struct racer *me = arg;
	struct race *race = me->race;
	const struct sl_map_ops *ops = race->map->ops;
	bool worker = me->number < sl_cpu_count();
	struct sl_ctx ctx = { .cpu = worker ? me->number : 0 };
	uint64_t bad = 0, failed = 0, done = 0;

	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		uint32_t key = rand_r(&me->seed) % KEYS;
		uint64_t value[WORDS] = { key, key, key, key }, *seen;
		unsigned what = rand_r(&me->seed) % 16;
		long err = 0;

		sl_rcu_read_begin();
		seen = ops->lookup(&race->map->desc, &ctx, &key);
		if (what == 0)
			err = worker ? ops->delete(&race->map->desc, &ctx, &key)
				     : ops->sys_delete(race->map, &key);
		else if (what < 12 && worker)
			err = ops->update(&race->map->desc, &ctx, &key, value, BPF_ANY);
		else if (what < 12)
			err = ops->sys_update(race->map, &key, value, BPF_ANY);
		if (seen)
			bad += wrong_words(seen, key);
		sl_rcu_read_end();
		/* Threads that lose their CPU inside a run hold back the memory of the others. */
		failed += err && what && err != -ENOMEM;
		done++;
	}
	__atomic_add_fetch(&race->bad, bad, __ATOMIC_RELAXED);
	__atomic_add_fetch(&race->failed, failed, __ATOMIC_RELAXED);
	__atomic_add_fetch(&race->done, done, __ATOMIC_RELAXED);
	return NULL;
}

TEST(lru, threads_on_one_full_map)
{
	struct race race = { .map = lru_new(BPF_MAP_TYPE_LRU_HASH, MAX, 0) };
	struct racer racers[THREADS];
	pthread_t threads[THREADS];

	ASSERT_TRUE(race.map);
	for (unsigned i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){ &race, i, i + 1 };
		ASSERT_EQ(pthread_create(&threads[i], NULL, racer, &racers[i]), 0);
	}
	usleep(RACE_MS * 1000);
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(race.bad, 0u);
	EXPECT_EQ(race.failed, 0u);
	EXPECT_GT(race.done, 1000u);
	EXPECT_LE(count(race.map), (unsigned)MAX);
	/* No room was lost, and none won. */
	for (uint32_t key = 0; key < KEYS; key++)
		ASSERT_EQ(put(race.map, 1000 + key), 0);
	EXPECT_EQ(count(race.map), (unsigned)MAX);
	sl_map_unref(race.map);
}
