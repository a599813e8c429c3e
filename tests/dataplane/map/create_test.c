#include <errno.h>
#include <limits.h>
#include <string.h>

#include "oracle.h"
#include "pair.h"
#include "test.h"

#define F_RDONLY BPF_F_RDONLY
#define NODE BPF_F_NUMA_NODE

/* Attributes of BPF_MAP_CREATE, each tried on all types, in the kernel and here. */
static const struct {
	uint32_t key_size, value_size, max_entries, flags;
	int numa_node;
	uint64_t extra;
} shapes[] = {
	{ 4, 4, 1, 0 },
	{ 4, 8, 1, 0 },
	{ 4, 4, 0, 0 },
	{ 0, 4, 1, 0 },
	{ 4, 0, 1, 0 },
	{ 8, 8, 10, 0 },
	{ 5, 8, 10, 0 },
	{ 4, 32768, 2, 0 },
	{ 4, 32761, 2, 0 },
	{ 4, 32769, 2, 0 },
	{ 4, 32760, 2, 0 },
	{ 4, 100000, 2, 0 },
	{ 4, INT_MAX, 1, 0 },
	{ 4, (uint32_t)INT_MAX + 1, 1, 0 },
	{ 4, UINT32_MAX, 1, 0 },
	{ 4, UINT32_MAX - 8, 1, 0 },
	{ 4, (4 << 20) - 48 - 4, 1, BPF_F_NO_PREALLOC },
	{ 4, (4 << 20) - 48 - 4 - 1, 1, BPF_F_NO_PREALLOC },
	{ 512, 8, 4, 0 },
	{ 513, 8, 4, 0 },
	{ 100000, 8, 4, BPF_F_NO_PREALLOC },
	{ UINT32_MAX, 8, 4, 0 },
	{ UINT32_MAX, UINT32_MAX, 4, 0 },
	{ 4, 4, UINT32_MAX, BPF_F_NO_PREALLOC },
	{ 4, 4, 1u << 31, BPF_F_NO_PREALLOC },
	{ 4, 4, (1u << 28) + 1, BPF_F_NO_PREALLOC },
	{ 4, 4, (1u << 27) + 1, BPF_F_NO_PREALLOC },
	{ 4, 1 << 20, UINT32_MAX, 0 },
	{ 4, 4, 1, BPF_F_NO_PREALLOC },
	{ 4, 4, 1, BPF_F_NO_COMMON_LRU },
	{ 4, 4, 1, BPF_F_NO_COMMON_LRU | BPF_F_NO_PREALLOC },
	{ 4, 4, 1, BPF_F_NO_COMMON_LRU | NODE, 0 },
	{ 4, 4, 1, BPF_F_NO_COMMON_LRU | NODE, -1 },
	{ 4, 4, 1, BPF_F_NO_PREALLOC | NODE, 0 },
	{ 4, 4, 1, NODE, 0 },
	{ 4, 4, 1, NODE, 1 },
	{ 4, 4, 1, NODE, 4095 },
	{ 4, 4, 1, NODE, -1 },
	{ 4, 4, 1, NODE, -2 },
	{ 4, 4, 1, 0, 7 },
	{ 4, 4, 1, F_RDONLY },
	{ 4, 4, 1, BPF_F_WRONLY },
	{ 4, 4, 1, BPF_F_WRONLY | F_RDONLY },
	{ 4, 4, 1, BPF_F_STACK_BUILD_ID },
	{ 4, 4, 1, BPF_F_ZERO_SEED },
	{ 4, 4, 1, BPF_F_RDONLY_PROG },
	{ 4, 4, 1, BPF_F_WRONLY_PROG },
	{ 4, 4, 1, BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG },
	{ 4, 4, 1, BPF_F_CLONE },
	{ 4, 4, 1, BPF_F_MMAPABLE },
	{ 4, 4, 3000, BPF_F_MMAPABLE | F_RDONLY },
	{ 4, 4, 1, BPF_F_PRESERVE_ELEMS },
	{ 4, 4, 1, BPF_F_INNER_MAP },
	{ 4, 4, 1, BPF_F_INNER_MAP | BPF_F_MMAPABLE },
	{ 4, 4, 1, BPF_F_NO_PREALLOC | BPF_F_ZERO_SEED | NODE },
	{ 4, 4, 1, 1u << 13 },
	{ 4, 4, 1, 1u << 20 },
	{ 4, 4, 1, 1u << 31 },
	{ 4, 4, 1, 0, 0, 1 },
	{ 0, 0, 4096 },
	{ 0, 0, 1 << 20 },
	{ 0, 0, 12288 },
	{ 0, 0, 2048 },
	{ 0, 0, 1 },
	{ 4, 0, 4096 },
	{ 0, 4, 4096 },
	{ 0, 0, 4096, F_RDONLY },
	{ 0, 0, 4096, BPF_F_RDONLY_PROG },
	{ 0, 0, 4096, BPF_F_MMAPABLE },
	{ 0, 0, 4096, NODE, 0 },
	{ 0, 0, 4096, 1u << 19 },
};

static const enum bpf_map_type types[] = {
	BPF_MAP_TYPE_HASH,
	BPF_MAP_TYPE_ARRAY,
	BPF_MAP_TYPE_PROG_ARRAY,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY,
	BPF_MAP_TYPE_PERCPU_HASH,
	BPF_MAP_TYPE_LRU_HASH,
	BPF_MAP_TYPE_LRU_PERCPU_HASH,
	BPF_MAP_TYPE_LPM_TRIE,
	BPF_MAP_TYPE_DEVMAP,
	BPF_MAP_TYPE_DEVMAP_HASH,
	BPF_MAP_TYPE_CPUMAP,
	BPF_MAP_TYPE_XSKMAP,
	BPF_MAP_TYPE_RINGBUF,
	BPF_MAP_TYPE_USER_RINGBUF,
	BPF_MAP_TYPE_QUEUE,
	BPF_MAP_TYPE_STACK,
	BPF_MAP_TYPE_BLOOM_FILTER,
	BPF_MAP_TYPE_PERCPU_ARRAY,
};

TEST(map_create, takes_and_refuses_what_the_kernel_does)
{
	ORACLE_OR_SKIP();
	for (size_t t = 0; t < sl_array_size(types); t++) {
		for (size_t i = 0; i < sl_array_size(shapes); i++) {
			union bpf_attr attr;
			struct pair p;

			memset(&attr, 0, sizeof(attr));
			attr.map_type = types[t];
			attr.key_size = shapes[i].key_size;
			attr.value_size = shapes[i].value_size;
			attr.max_entries = shapes[i].max_entries;
			attr.map_flags = shapes[i].flags;
			attr.numa_node = shapes[i].numa_node;
			attr.map_extra = shapes[i].extra;
			TRACE_PUSH("type %d key %u value %u entries %u flags %#x node %d", types[t],
				attr.key_size, attr.value_size, attr.max_entries, attr.map_flags,
				attr.numa_node);
			if (pair_new(&p, &attr) == 0)
				pair_free(&p);
			TRACE_POP();
		}
	}
}

TEST(map_create, unknown_type_is_refused)
{
	union bpf_attr attr;
	struct sl_map *map;

	memset(&attr, 0, sizeof(attr));
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 1;
	attr.map_type = BPF_MAP_TYPE_UNSPEC;
	EXPECT_EQ(sl_map_new(&attr, &map), -EINVAL);
	attr.map_type = 1000;
	EXPECT_EQ(sl_map_new(&attr, &map), -EINVAL);
	EXPECT_TRUE(!sl_map_ops_of(BPF_MAP_TYPE_UNSPEC));
	EXPECT_TRUE(!sl_map_ops_of(1000));
}
