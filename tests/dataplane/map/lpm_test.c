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

/*
 * Random prefixes in the kernel's trie and in ours: results of all operations, values, and the order
 * in which the keys are walked have to be the same.
 */
enum spread {
	DENSE, /* few bits vary: many prefixes of one another */
	CLUSTERED, /* some long common beginnings, then anything */
	ANYWHERE,
};

static const struct row {
	uint32_t key_size, value_size, max_entries;
	enum spread spread;
	unsigned operations;
} rows[] = {
	{ 5, 8, 40, DENSE, 4000 },
	{ 6, 1, 1000, ANYWHERE, 6000 },
	{ 8, 8, 64, DENSE, 6000 },
	{ 8, 4, 500, CLUSTERED, 6000 },
	{ 8, 8, 3000, ANYWHERE, 8000 },
	{ 8, 8, 40000, CLUSTERED, 8000 },
	{ 8, 16, 40000, DENSE, 6000 },
	{ 11, 13, 600, CLUSTERED, 5000 },
	{ 12, 8, 40000, CLUSTERED, 5000 },
	{ 20, 8, 100, DENSE, 5000 },
	{ 20, 24, 2000, CLUSTERED, 6000 },
	{ 20, 8, 50000, ANYWHERE, 5000 },
	{ 24, 8, 600, CLUSTERED, 4000 },
	{ 68, 40, 300, CLUSTERED, 4000 },
	{ 260, 300, 300, CLUSTERED, 3000 },
	{ 260, 8, 300, ANYWHERE, 2000 },
};

static const uint64_t update_flags[] = { BPF_ANY, BPF_ANY, BPF_ANY, BPF_NOEXIST, BPF_EXIST,
	BPF_F_LOCK, 3, 8, 1ull << 40 };

static void make_key(const struct row *row, uint8_t *key)
{
	uint32_t data_size = row->key_size - 4, prefixlen = rand() % (data_size * 8 + 1);
	uint8_t *data = key + 4;

	if (rand() % 200 == 0)
		prefixlen = data_size * 8 + rand() % 3;
	memcpy(key, &prefixlen, 4);
	for (uint32_t i = 0; i < data_size; i++)
		data[i] = row->spread == DENSE ? rand() & 0x81 : rand();
	if (row->spread == CLUSTERED && rand() % 8)
		memset(data, rand() % 4 ? 0xa5 : rand() % 3,
			data_size - 1 - rand() % (data_size - 1 ? data_size - 1 : 1));
}

static void operate(struct pair *p, const struct row *row)
{
	uint8_t key[512], *value = malloc(p->value_len);

	make_key(row, key);
	for (uint32_t i = 0; i < p->value_len; i++)
		value[i] = rand();
	switch (rand() % 8) {
	case 0:
	case 1:
		pair_delete(p, key);
		break;
	case 2:
		pair_lookup(p, key, rand() % 4 ? 0 : BPF_F_LOCK);
		break;
	case 3:
		memcpy(key, &(uint32_t){ (row->key_size - 4) * 8 }, 4);
		pair_lookup(p, key, 0);
		break;
	default:
		pair_update(p, key, value, update_flags[rand() % sl_array_size(update_flags)]);
	}
	free(value);
}

static int kernel_next(struct pair *p, const void *key, void *next)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = p->kernel;
	attr.key = (uintptr_t)key;
	attr.next_key = (uintptr_t)next;
	return oracle_bpf(BPF_MAP_GET_NEXT_KEY, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

/* Returns the number of keys. */
static unsigned compare_walk(struct pair *p)
{
	uint8_t key[512], theirs[512], ours[512];
	unsigned n = 0;

	for (;; n++) {
		int err = kernel_next(p, n ? key : NULL, theirs);

		EXPECT_EQ(own_next_key(p->map, n ? key : NULL, ours), err);
		if (err || sl_test_has_failed())
			return n;
		EXPECT_MEMEQ(ours, theirs, p->key_size);
		memcpy(key, theirs, p->key_size);
		pair_lookup(p, key, 0);
	}
}

/* The walk from a key that need not be there. */
static void compare_next(struct pair *p, const struct row *row)
{
	uint8_t key[512], theirs[512], ours[512];
	int err;

	make_key(row, key);
	err = kernel_next(p, key, theirs);
	EXPECT_EQ(own_next_key(p->map, key, ours), err);
	if (!err)
		EXPECT_MEMEQ(ours, theirs, p->key_size);
}

static void empty(struct pair *p)
{
	uint8_t key[512];

	while (kernel_next(p, NULL, key) == 0 && !sl_test_has_failed())
		EXPECT_EQ(pair_delete(p, key), 0);
	EXPECT_EQ(own_next_key(p->map, NULL, key), -ENOENT);
}

static int row_new(struct pair *p, const struct row *row)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_LPM_TRIE;
	attr.key_size = row->key_size;
	attr.value_size = row->value_size;
	attr.max_entries = row->max_entries;
	attr.map_flags = BPF_F_NO_PREALLOC;
	return pair_new(p, &attr);
}

TEST(lpm, random_sequences_agree_with_the_kernel)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		const struct row *row = &rows[i];
		unsigned most = 0;
		struct pair p;

		srand(i + 1);
		TRACE_PUSH("row %zu", i);
		ASSERT_EQ(row_new(&p, row), 0);
		for (unsigned n = 0; n < row->operations && !sl_test_has_failed(); n++) {
			TRACE_PUSH("operation %u", n);
			operate(&p, row);
			if (n % 10 == 0)
				compare_next(&p, row);
			if (n % 1000 == 999)
				most = sl_max(most, compare_walk(&p));
			TRACE_POP();
		}
		EXPECT_GT(most, 10u);
		empty(&p);
		pair_free(&p);
		TRACE_POP();
	}
}

/*
 * One thread adds and removes prefixes of 10/8 while others look up addresses in it. Values name the
 * prefix they belong to, which has to be one of the address's; 10/8 is always there.
 */
enum { ROUNDS_MS = 700, READERS = 2, BURST = 32 };

struct race {
	struct sl_map *map;
	bool stop;
	uint64_t bad, missing, looked_up, changes;
};

struct value {
	uint32_t address, len;
};

struct key {
	uint32_t prefixlen;
	uint8_t data[4];
};

static struct key key_of(uint32_t address, uint32_t len)
{
	return (struct key){ len, { (uint8_t)(address >> 24), (uint8_t)(address >> 16),
					  (uint8_t)(address >> 8), (uint8_t)address } };
}

static uint32_t mask_of(uint32_t len)
{
	return len ? ~0u << (32 - len) : 0;
}

static void *read_addresses(void *arg)
{
	struct race *race = arg;
	struct sl_ctx ctx = { .cpu = 0 };
	uint64_t bad = 0, missing = 0, looked_up = 0;
	unsigned seed = (uintptr_t)&ctx;

	sl_rcu_online();
	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		for (unsigned i = 0; i < BURST; i++) {
			uint32_t address = 0x0a000000 | (rand_r(&seed) & 0x000f0f0f);
			struct key key = key_of(address, 32);
			const struct value *v =
				race->map->ops->lookup(&race->map->desc, &ctx, &key);

			looked_up++;
			if (!v)
				missing++;
			else if ((address ^ v->address) & mask_of(v->len))
				bad++;
		}
		sl_rcu_quiescent();
	}
	sl_rcu_offline();
	__atomic_add_fetch(&race->bad, bad, __ATOMIC_RELAXED);
	__atomic_add_fetch(&race->missing, missing, __ATOMIC_RELAXED);
	__atomic_add_fetch(&race->looked_up, looked_up, __ATOMIC_RELAXED);
	return NULL;
}

static void *change_prefixes(void *arg)
{
	struct race *race = arg;
	unsigned seed = 7;

	while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
		uint32_t len = 9 + rand_r(&seed) % 24;
		uint32_t address = (0x0a000000 | (rand_r(&seed) & 0x000f0f0f)) & mask_of(len);
		struct key key = key_of(address, len);
		struct value value = { address, len };

		if (rand_r(&seed) % 2)
			own_update(race->map, &key, &value, BPF_ANY);
		else
			own_delete(race->map, &key);
		race->changes++;
	}
	return NULL;
}

static void race_on(uint32_t max_entries)
{
	struct race race = { 0 };
	pthread_t threads[READERS + 1];
	struct key all = key_of(0x0a000000, 8);
	struct value value = { 0x0a000000, 8 };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_LPM_TRIE;
	attr.key_size = attr.value_size = 8;
	attr.max_entries = max_entries;
	attr.map_flags = BPF_F_NO_PREALLOC;
	ASSERT_EQ(sl_map_new(&attr, &race.map), 0);
	ASSERT_EQ(own_update(race.map, &all, &value, BPF_ANY), 0);
	pthread_create(&threads[READERS], NULL, change_prefixes, &race);
	for (unsigned i = 0; i < READERS; i++)
		pthread_create(&threads[i], NULL, read_addresses, &race);
	usleep(ROUNDS_MS * 1000);
	__atomic_store_n(&race.stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i <= READERS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(race.bad, 0u);
	EXPECT_EQ(race.missing, 0u);
	EXPECT_GT(race.looked_up, 0u);
	EXPECT_GT(race.changes, 0u);
	sl_map_unref(race.map);
}

TEST(lpm, readers_always_find_a_prefix_of_the_address)
{
	race_on(400);
}

TEST(lpm, readers_of_a_large_trie_always_find_a_prefix_of_the_address)
{
	race_on(100000);
}

/* What a trie takes that is filled, emptied and filled again does not grow. */
TEST(lpm, memory_is_used_again)
{
	union bpf_attr attr;
	struct sl_map *map;
	uint64_t first = 0;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_LPM_TRIE;
	attr.key_size = attr.value_size = 8;
	attr.max_entries = 20000;
	attr.map_flags = BPF_F_NO_PREALLOC;
	ASSERT_EQ(sl_map_new(&attr, &map), 0);
	for (unsigned round = 0; round < 20; round++) {
		unsigned seed = 3;

		for (unsigned i = 0; i < 2 * attr.max_entries; i++) {
			struct key key;
			uint64_t value = i;

			if (i == attr.max_entries)
				seed = 3;
			key = key_of(rand_r(&seed), 24 + i % 9);
			if (i < attr.max_entries)
				own_update(map, &key, &value, BPF_ANY);
			else
				own_delete(map, &key);
		}
		if (round == 2)
			first = map->ops->memory_bytes(map);
	}
	EXPECT_LE(map->ops->memory_bytes(map), first + first / 4);
	sl_map_unref(map);
}
