#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "context.h"
#include "cpu.h"
#include "pair.h"
#include "rcu.h"
#include "test.h"

/*
 * Several threads on one map. Every word of a value names its key: a reader that sees anything else
 * has seen an element of another key, that is, one that was reused too early.
 */
enum { KEYS = 64, WORDS = 4, ROUNDS_MS = 400, RACE_MS = 250, READERS = 2 };

/* The types of the family; those that evict have so much room that they do not. */
static const struct row {
	const char *name;
	enum bpf_map_type type;
	uint32_t max_entries, flags;
	bool percpu;
} rows[] = {
	{ "hash", BPF_MAP_TYPE_HASH, KEYS, 0, false },
	{ "hash, not preallocated", BPF_MAP_TYPE_HASH, KEYS, BPF_F_NO_PREALLOC, false },
	{ "percpu_hash", BPF_MAP_TYPE_PERCPU_HASH, KEYS, 0, true },
	{ "lru_hash", BPF_MAP_TYPE_LRU_HASH, 32 * KEYS, 0, false },
	{ "lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 32 * KEYS, 0, true },
};

struct race {
	const struct row *row;
	struct sl_map *map;
	bool stop;
	unsigned cpus;
	/* Successful insertions and deletions of all threads. */
	uint64_t inserted, deleted;
	uint64_t bad, missing;
};

struct racer {
	struct race *race;
	unsigned number;
	unsigned seed;
};

static uint64_t word_of(uint32_t key, uint64_t n)
{
	return (uint64_t)key << 32 | (n & 0xffffffff);
}

static void fill(uint64_t value[WORDS], uint32_t key, uint64_t n)
{
	for (unsigned i = 0; i < WORDS; i++)
		value[i] = word_of(key, n);
}

static bool stopped(const struct race *race)
{
	return __atomic_load_n(&race->stop, __ATOMIC_RELAXED);
}

static void *reader(void *arg)
{
	struct racer *me = arg;
	struct race *race = me->race;
	struct sl_ctx ctx = { .cpu = 0 };
	uint64_t bad = 0, missing = 0;

	sl_rcu_online();
	while (!stopped(race)) {
		for (unsigned i = 0; i < 32; i++) {
			uint32_t key = rand_r(&me->seed) % KEYS;
			uint64_t *value = race->map->ops->lookup(&race->map->desc, &ctx, &key);

			if (!value) {
				/* The keys below 4 are only ever replaced. */
				missing += key < 4;
				continue;
			}
			for (unsigned w = 0; w < WORDS; w++) {
				uint64_t word = __atomic_load_n(&value[w], __ATOMIC_RELAXED);

				/* Another CPU's program inserted it: 0 for this one. */
				bad += word >> 32 != key && !(race->row->percpu && word == 0);
			}
		}
		sl_rcu_quiescent();
	}
	sl_rcu_offline();
	__atomic_add_fetch(&race->bad, bad, __ATOMIC_RELAXED);
	__atomic_add_fetch(&race->missing, missing, __ATOMIC_RELAXED);
	return NULL;
}

/* A worker when its number is a CPU's, else a control thread. */
static void *writer(void *arg)
{
	struct racer *me = arg;
	struct race *race = me->race;
	const struct sl_map_ops *ops = race->map->ops;
	bool worker = me->number < race->cpus;
	struct sl_ctx ctx = { .cpu = me->number };
	uint64_t inserted = 0, deleted = 0, value[WORDS * SL_MAX_CPUS];
	unsigned copies = !worker && race->row->percpu ? race->cpus : 1;

	for (uint64_t n = 0; !stopped(race); n++) {
		uint32_t key = rand_r(&me->seed) % KEYS;
		long err;

		sl_rcu_read_begin();
		for (unsigned i = 0; i < copies; i++)
			fill(value + i * WORDS, key, n);
		if (key < 4 || n % 4 == 3) {
			err = worker ? ops->update(&race->map->desc, &ctx, &key, value, BPF_EXIST)
				     : ops->sys_update(race->map, &key, value, BPF_EXIST);
		} else if (n % 4 < 2) {
			err = worker ? ops->update(&race->map->desc, &ctx, &key, value, BPF_NOEXIST)
				     : ops->sys_update(race->map, &key, value, BPF_NOEXIST);
			inserted += err == 0;
		} else {
			err = worker ? ops->delete(&race->map->desc, &ctx, &key)
				     : ops->sys_delete(race->map, &key);
			deleted += err == 0;
		}
		sl_rcu_read_end();
	}
	__atomic_add_fetch(&race->inserted, inserted, __ATOMIC_RELAXED);
	__atomic_add_fetch(&race->deleted, deleted, __ATOMIC_RELAXED);
	return NULL;
}

static struct sl_map *race_map(enum bpf_map_type type, uint32_t max_entries, uint32_t flags)
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

static unsigned count_keys(struct sl_map *map)
{
	bool seen[KEYS] = { false };
	uint32_t key, *last = NULL;
	unsigned n = 0;

	while (own_next_key(map, last, &key) == 0 && n <= KEYS) {
		EXPECT_TRUE(key < KEYS && !seen[key]);
		seen[key % KEYS] = true;
		last = &key;
		n++;
	}
	return n;
}

enum { WRITERS = 4 };

static void run_race(const struct row *row)
{
	struct race race = { .row = row,
		.map = race_map(row->type, row->max_entries, row->flags),
		.cpus = sl_cpu_count() };
	struct racer racers[READERS + WRITERS];
	pthread_t threads[READERS + WRITERS];
	uint64_t value[WORDS * SL_MAX_CPUS] = { 0 };

	ASSERT_TRUE(race.map);
	for (uint32_t key = 0; key < 4; key++) {
		for (unsigned cpu = 0; cpu < race.cpus; cpu++)
			fill(value + cpu * WORDS, key, 0);
		ASSERT_EQ(own_update(race.map, &key, value, BPF_ANY), 0);
	}
	for (unsigned i = 0; i < READERS + WRITERS; i++) {
		bool reads = i < READERS;

		/* Two writers are workers of CPUs, the others control threads. */
		racers[i] = (struct racer){ &race, reads ? 0 : i - READERS, i + 1 };
		if (!reads && i - READERS >= 2)
			racers[i].number = race.cpus;
		ASSERT_EQ(
			pthread_create(&threads[i], NULL, reads ? reader : writer, &racers[i]), 0);
	}
	usleep(RACE_MS * 1000);
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < READERS + WRITERS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(race.bad, 0u);
	EXPECT_EQ(race.missing, 0u);
	EXPECT_GT(race.inserted, 0u);
	EXPECT_EQ(count_keys(race.map), 4 + race.inserted - race.deleted);
	/* The count is exact: what is missing to a full map fits, and not one more. */
	for (uint32_t key = 0; key < KEYS; key++) {
		for (unsigned cpu = 0; cpu < race.cpus; cpu++)
			fill(value + cpu * WORDS, key, 0);
		EXPECT_EQ(own_update(race.map, &key, value, BPF_ANY), 0);
	}
	if (row->max_entries == KEYS)
		EXPECT_EQ(own_update(race.map, &(uint32_t){ KEYS }, value, BPF_ANY), -E2BIG);
	sl_map_unref(race.map);
}

TEST(hash_race, readers_and_writers_of_one_map)
{
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		TRACE_PUSH("%s", rows[i].name);
		run_race(&rows[i]);
		TRACE_POP();
	}
}

/*
 * Tokens go in by insertion and out by taking. However threads collide, each token that went in
 * comes out once.
 */
struct exchange {
	struct sl_map *map;
	bool stop;
	uint64_t put, taken, put_sum, taken_sum;
};

static void *exchanger(void *arg)
{
	struct exchange *x = arg;
	static unsigned next_seed;
	unsigned seed = __atomic_add_fetch(&next_seed, 1, __ATOMIC_RELAXED);
	uint64_t put = 0, taken = 0, put_sum = 0, taken_sum = 0, value[WORDS] = { 0 };

	while (!__atomic_load_n(&x->stop, __ATOMIC_RELAXED)) {
		uint32_t key = rand_r(&seed) % 3;

		sl_rcu_read_begin();
		value[0] = (uint64_t)rand_r(&seed) << 8 | seed;
		if (x->map->ops->sys_update(x->map, &key, value, BPF_NOEXIST) == 0)
			put++, put_sum += value[0];
		sl_rcu_read_end();
		key = rand_r(&seed) % 3;
		sl_rcu_read_begin();
		if (x->map->ops->sys_lookup_and_delete(x->map, &key, value, 0) == 0)
			taken++, taken_sum += value[0];
		sl_rcu_read_end();
	}
	__atomic_add_fetch(&x->put, put, __ATOMIC_RELAXED);
	__atomic_add_fetch(&x->taken, taken, __ATOMIC_RELAXED);
	__atomic_add_fetch(&x->put_sum, put_sum, __ATOMIC_RELAXED);
	__atomic_add_fetch(&x->taken_sum, taken_sum, __ATOMIC_RELAXED);
	return NULL;
}

/* The same by programs, each thread on a CPU of its own. */
static void *worker_exchanger(void *arg)
{
	struct exchange *x = arg;
	const struct sl_map_ops *ops = x->map->ops;
	struct sl_ctx ctx = { .cpu = 0 };
	unsigned seed = 99;
	uint64_t put = 0, taken = 0, value[WORDS] = { 0 };

	sl_rcu_online();
	while (!__atomic_load_n(&x->stop, __ATOMIC_RELAXED)) {
		uint32_t key = rand_r(&seed) % 3;

		put += ops->update(&x->map->desc, &ctx, &key, value, BPF_NOEXIST) == 0;
		key = rand_r(&seed) % 3;
		/* Its tokens are 0, so that it may take anything but must count the sum it takes. */
		taken += ops->delete(&x->map->desc, &ctx, &key) == 0;
		sl_rcu_quiescent();
	}
	sl_rcu_offline();
	__atomic_add_fetch(&x->put, put, __ATOMIC_RELAXED);
	__atomic_add_fetch(&x->taken, taken, __ATOMIC_RELAXED);
	return NULL;
}

static void run_exchange(void *(*extra)(void *), bool sums)
{
	struct exchange x = { .map = race_map(BPF_MAP_TYPE_HASH, 3, 0) };
	pthread_t threads[4];
	uint64_t value[WORDS], rest = 0, rest_sum = 0;

	ASSERT_TRUE(x.map);
	for (unsigned i = 0; i < 4; i++)
		ASSERT_EQ(
			pthread_create(&threads[i], NULL, i == 0 && extra ? extra : exchanger, &x),
			0);
	usleep(ROUNDS_MS * 1000);
	__atomic_store_n(&x.stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (uint32_t key = 0; key < 3; key++) {
		if (own_lookup(x.map, &key, value, 0) == 0)
			rest++, rest_sum += value[0];
	}
	EXPECT_GT(x.put, 0u);
	EXPECT_EQ(x.put, x.taken + rest);
	if (sums)
		EXPECT_EQ(x.put_sum, x.taken_sum + rest_sum);
	sl_map_unref(x.map);
}

TEST(hash_race, what_goes_in_comes_out_once)
{
	run_exchange(NULL, true);
	run_exchange(worker_exchanger, false);
}

/* A replaced key is there at every instant, and its two words are of one update. */
static void *replacer(void *arg)
{
	struct exchange *x = arg;
	uint64_t value[WORDS];
	uint32_t key = 1;

	for (uint64_t n = 0; !__atomic_load_n(&x->stop, __ATOMIC_RELAXED); n++) {
		fill(value, key, n);
		EXPECT_EQ(own_update(x->map, &key, value, BPF_EXIST), 0);
		/* Grace periods keep up: the value is never overwritten in place. */
		if (n % 64 == 0)
			sl_rcu_synchronize();
	}
	return NULL;
}

TEST(hash_race, replacement_is_one_step)
{
	struct exchange x = { .map = race_map(BPF_MAP_TYPE_HASH, 2, 0) };
	struct timespec start, now;
	uint64_t value[WORDS];
	uint32_t key = 1;
	pthread_t thread;

	fill(value, key, 0);
	ASSERT_EQ(own_update(x.map, &key, value, BPF_ANY), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, replacer, &x), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		for (unsigned i = 0; i < 1000; i++) {
			ASSERT_EQ(own_lookup(x.map, &key, value, 0), 0);
			for (unsigned w = 1; w < WORDS; w++)
				ASSERT_EQ(value[w], value[0]);
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < 1);
	__atomic_store_n(&x.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	sl_map_unref(x.map);
}
