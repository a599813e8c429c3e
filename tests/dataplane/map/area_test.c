#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

#include "map.h"
#include "test.h"

/* What /proc says of the memory around an address: its policy. */
static void policy_of(const void *address, char *text, size_t size)
{
	FILE *f = fopen("/proc/self/numa_maps", "re");
	uint64_t start;
	char line[512];

	text[0] = '\0';
	/* In order: the last that begins no later is the one. */
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%" SCNx64, &start) == 1 && start <= (uintptr_t)address)
			snprintf(text, size, "%s", strchr(line, ' '));
	if (f)
		fclose(f);
}

static void check(enum bpf_map_type type, uint32_t flags, const char *policy)
{
	char text[512];
	union bpf_attr attr;
	struct sl_map *map;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = 4;
	attr.value_size = 64;
	attr.max_entries = 100000;
	attr.map_flags = flags;
	ASSERT_EQ(sl_map_new(&attr, &map), 0);
	policy_of(map->desc.data, text, sizeof(text));
	TRACE_PUSH("type %d, flags %#x", type, flags);
	EXPECT_CONTAINS(text, policy);
	TRACE_POP();
	sl_map_unref(map);
}

TEST(map_area, memory_is_placed_where_the_map_asks_for_it)
{
	static const enum bpf_map_type types[] = { BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH,
		BPF_MAP_TYPE_LRU_HASH };
	char text[512];

	policy_of(text, text, sizeof(text));
	if (!text[0])
		SKIP("no /proc/self/numa_maps");
	for (size_t i = 0; i < sl_array_size(types); i++) {
		check(types[i], 0, " default");
		check(types[i], BPF_F_NUMA_NODE, " prefer");
	}
	check(BPF_MAP_TYPE_ARRAY, BPF_F_NUMA_NODE | BPF_F_MMAPABLE, " prefer");
	check(BPF_MAP_TYPE_HASH, BPF_F_NUMA_NODE | BPF_F_NO_PREALLOC, " prefer");
	/* The next one's are not. */
	check(BPF_MAP_TYPE_ARRAY, 0, " default");
}
