#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "oracle.h"
#include "pair.h"
#include "test.h"

/* Random operations on the same map in the kernel and here: results, values, contents equal. */
static const struct {
	enum bpf_map_type type;
	uint32_t key_size, value_size, max_entries, flags;
	uint32_t keys; /* drawn from: more than max_entries reach the full map */
} maps[] = {
	{ BPF_MAP_TYPE_ARRAY, 4, 8, 16, 0, 20 },
	{ BPF_MAP_TYPE_ARRAY, 4, 1, 16, 0, 20 },
	{ BPF_MAP_TYPE_ARRAY, 4, 13, 3, BPF_F_MMAPABLE, 5 },
	{ BPF_MAP_TYPE_ARRAY, 4, 100, 1, BPF_F_RDONLY_PROG, 3 },
	{ BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 16, 0, 20 },
	{ BPF_MAP_TYPE_PERCPU_ARRAY, 4, 5, 16, 0, 20 },
	{ BPF_MAP_TYPE_PERCPU_ARRAY, 4, 24, 2, 0, 20 },
	{ BPF_MAP_TYPE_HASH, 4, 8, 32, 0, 40 },
	{ BPF_MAP_TYPE_HASH, 8, 8, 1, 0, 3 },
	{ BPF_MAP_TYPE_HASH, 16, 24, 100, BPF_F_NO_PREALLOC, 90 },
	{ BPF_MAP_TYPE_HASH, 1, 1, 32, 0, 60 },
	{ BPF_MAP_TYPE_HASH, 3, 5, 32, BPF_F_ZERO_SEED, 60 },
	{ BPF_MAP_TYPE_HASH, 6, 64, 32, 0, 60 },
	{ BPF_MAP_TYPE_HASH, 13, 3, 64, 0, 60 },
	{ BPF_MAP_TYPE_HASH, 40, 300, 64, 0, 100 },
	{ BPF_MAP_TYPE_HASH, 97, 1000, 64, 0, 100 },
	{ BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 32, 0, 40 },
	{ BPF_MAP_TYPE_PERCPU_HASH, 16, 5, 100, BPF_F_NO_PREALLOC, 120 },
	{ BPF_MAP_TYPE_PERCPU_HASH, 20, 40, 5, 0, 12 },
	/* Far from full: the kernel evicts a batch early. */
	{ BPF_MAP_TYPE_LRU_HASH, 4, 8, 2000, 0, 60 },
	{ BPF_MAP_TYPE_LRU_HASH, 8, 3, 2000, BPF_F_NO_COMMON_LRU, 60 },
	{ BPF_MAP_TYPE_LRU_HASH, 13, 100, 2000, 0, 60 },
	{ BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 2000, 0, 60 },
	{ BPF_MAP_TYPE_LRU_PERCPU_HASH, 16, 5, 2000, BPF_F_NO_COMMON_LRU, 60 },
};

static const uint64_t update_flags[] = { BPF_ANY, BPF_ANY, BPF_ANY, BPF_NOEXIST, BPF_EXIST,
	BPF_F_LOCK, BPF_F_LOCK | BPF_EXIST, 3, 8, 1ull << 40 };

enum { OPERATIONS = 4000 };

static void random_bytes(uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		p[i] = rand();
}

/* Keys of an array are indexes, others differ in one byte at the end and are otherwise mixed. */
static void make_key(uint8_t *key, uint32_t key_size, uint32_t n)
{
	memset(key, 0x5a, key_size);
	if (key_size == 4)
		memcpy(key, &n, 4);
	else
		key[key_size - 1] = n;
}

static void operate(struct pair *p, uint32_t keys)
{
	uint64_t flags = update_flags[rand() % sl_array_size(update_flags)];
	uint8_t key[128], *value = malloc(p->value_len);

	make_key(key, p->key_size, rand() % keys);
	random_bytes(value, p->value_len);
	switch (rand() % 8) {
	case 0:
		pair_lookup(p, key, rand() % 4 ? 0 : flags);
		break;
	case 1:
		pair_delete(p, key);
		break;
	case 2:
		pair_lookup_and_delete(p, key, rand() % 4 ? 0 : flags);
		break;
	case 3:
		pair_lookup(p, key, 0);
		break;
	default:
		pair_update(p, key, value, flags);
	}
	free(value);
}

TEST(map_operations, random_sequences_agree_with_the_kernel)
{
	ORACLE_OR_SKIP();
	for (size_t i = 0; i < sl_array_size(maps); i++) {
		union bpf_attr attr;
		struct pair p;

		srand(i + 1);
		memset(&attr, 0, sizeof(attr));
		attr.map_type = maps[i].type;
		attr.key_size = maps[i].key_size;
		attr.value_size = maps[i].value_size;
		attr.max_entries = maps[i].max_entries;
		attr.map_flags = maps[i].flags;
		TRACE_PUSH("row %zu", i);
		ASSERT_EQ(pair_new(&p, &attr), 0);
		for (int n = 0; n < OPERATIONS && !sl_test_has_failed(); n++) {
			TRACE_PUSH("operation %d", n);
			operate(&p, maps[i].keys);
			if (n % 500 == 0)
				pair_compare_contents(&p);
			TRACE_POP();
		}
		pair_compare_contents(&p);
		pair_free(&p);
		TRACE_POP();
	}
}

TEST(map_operations, next_key_walks_an_array_as_the_kernel_does)
{
	static const uint32_t starts[] = { 0, 1, 2, 3, 100, UINT32_MAX };
	union bpf_attr attr;
	struct sl_map *map;
	uint32_t next;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 3;
	ASSERT_EQ(sl_map_new(&attr, &map), 0);
	EXPECT_EQ(own_next_key(map, NULL, &next), 0);
	EXPECT_EQ(next, 0u);
	for (size_t i = 0; i < sl_array_size(starts); i++) {
		uint32_t start = starts[i];

		EXPECT_EQ(own_next_key(map, &start, &next), start == 2 ? -ENOENT : 0);
		if (start != 2)
			EXPECT_EQ(next, start < 2 ? start + 1 : 0);
	}
	sl_map_unref(map);
}
