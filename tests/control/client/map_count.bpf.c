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

/* The loader compares kinds of types: it has to be a struct. */
struct bpf_map {
	__u32 id;
};

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

char _license[] SEC("license") = "GPL";
