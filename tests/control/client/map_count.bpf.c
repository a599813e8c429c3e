#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* How many elements the kernel function finds in maps of some types. */

#define MAP_OF(map_type, map_name, flags)  \
	struct {                           \
		__uint(type, map_type);    \
		__uint(max_entries, 1000); \
		__uint(map_flags, flags);  \
		__type(key, __u64);        \
		__type(value, __u64);      \
	} map_name SEC(".maps")

MAP_OF(BPF_MAP_TYPE_HASH, hash, 0);
MAP_OF(BPF_MAP_TYPE_HASH, lazy_hash, BPF_F_NO_PREALLOC);
MAP_OF(BPF_MAP_TYPE_PERCPU_HASH, percpu_hash, 0);
MAP_OF(BPF_MAP_TYPE_LRU_HASH, lru_hash, 0);
MAP_OF(BPF_MAP_TYPE_LRU_PERCPU_HASH, lru_percpu_hash, 0);
MAP_OF(BPF_MAP_TYPE_LPM_TRIE, trie, BPF_F_NO_PREALLOC);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 10);
	__type(key, __u32);
	__type(value, __u64);
} array SEC(".maps");

/* Of the kernel's, whose offsets the loader puts in. */
struct bpf_map {
	enum bpf_map_type map_type;
	__u32 key_size, value_size, max_entries, map_flags;
	char name[16];
} __attribute__((preserve_access_index));

typedef struct {
	int counter;
} atomic_t;

struct bpf_htab {
	struct bpf_map map;
	atomic_t count;
	__u32 n_buckets, elem_size;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 20);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u64);
} small_hash SEC(".maps");

extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym;

#define COUNT(index, map) counts[index] = bpf_map_sum_elem_count((const struct bpf_map *)&map)

__s64 counts[7];

SEC("tc")
int count(struct __sk_buff *skb)
{
	COUNT(0, hash);
	COUNT(1, lazy_hash);
	COUNT(2, percpu_hash);
	COUNT(3, lru_hash);
	COUNT(4, lru_percpu_hash);
	COUNT(5, trie);
	COUNT(6, array);
	return 0;
}

__u32 read[40];

static void read_members(struct bpf_map *map, __u32 *to)
{
	to[0] = map->map_type;
	to[1] = map->key_size;
	to[2] = map->value_size;
	to[3] = map->max_entries;
	to[4] = map->map_flags;
	to[5] = map->name[3];
}

/* Inlined for one map, and called for several. */
static __noinline void read_any(struct bpf_map *map)
{
	read[30] = read[30] * 3 + map->max_entries;
	read[31] = read[31] * 3 + map->map_type;
}

static long sum_sizes(struct bpf_map *map, const void *key, void *value, __u32 *sum)
{
	*sum += map->value_size + map->max_entries;
	return 0;
}

SEC("tc")
int members(struct __sk_buff *skb)
{
	struct bpf_htab *large = (struct bpf_htab *)&lazy_hash, *small = (void *)&small_hash;
	__u32 sum = 0;

	for (__u64 key = 0; key < skb->len % 16; key++)
		bpf_map_update_elem(&small_hash, &key, &key, BPF_ANY);
	read_members((struct bpf_map *)&lru_percpu_hash, read);
	read_members((struct bpf_map *)&trie, read + 6);
	read_members((struct bpf_map *)&array, read + 12);
	read[20] = large->count.counter;
	read[21] = small->count.counter;
	read[22] = small->elem_size;
	read[23] = small->n_buckets;
	read[24] = ((struct bpf_htab *)&lru_hash)->n_buckets;
	read_any((struct bpf_map *)&array);
	read_any((struct bpf_map *)&hash);
	bpf_for_each_map_elem(&array, sum_sizes, &sum, 0);
	read[32] = sum;
	return 0;
}

char _license[] SEC("license") = "GPL";
