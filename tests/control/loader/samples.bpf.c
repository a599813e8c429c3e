#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* As samples/bpf were written: long definitions, a map of maps by index, a static map, types. */

struct bpf_map_def {
	unsigned type, key_size, value_size, max_entries, map_flags, inner_map_idx, numa_node;
};

#define BPF_ANNOTATE_KV_PAIR(name, K, V) \
	struct ____btf_map_##name {      \
		K key;                   \
		V value;                 \
	};                               \
	struct ____btf_map_##name        \
		__attribute__((section(".maps." #name), used)) ____btf_map_##name = {}

struct bpf_map_def SEC("maps") seen = { .type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(int),
	.value_size = 2 * sizeof(int),
	.max_entries = 16,
	.map_flags = BPF_F_NO_PREALLOC };

struct pair {
	int a, b;
};
BPF_ANNOTATE_KV_PAIR(seen, int, struct pair);

struct bpf_map_def SEC("maps") by_cpu = { .type = BPF_MAP_TYPE_HASH_OF_MAPS,
	.key_size = sizeof(int),
	.value_size = sizeof(int),
	.max_entries = 4,
	.inner_map_idx = 0 };

static struct bpf_map_def SEC("maps") turns = { .type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(int),
	.value_size = sizeof(int),
	.max_entries = 1 };

#ifdef BOTH
/* One of today beside them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} total SEC(".maps");
#endif

SEC("xdp_alternate") int alternate(struct xdp_md *ctx)
{
	int key = 0, *turn = bpf_map_lookup_elem(&turns, &key);
	struct pair *pair, fresh = { 1, 2 };
	void *inner = bpf_map_lookup_elem(&by_cpu, &key);

	if (!turn || inner)
		return XDP_ABORTED;
#ifdef BOTH
	__u64 *packets = bpf_map_lookup_elem(&total, &key);

	if (!packets || ++*packets != *turn + 1)
		return XDP_ABORTED;
#endif
	pair = bpf_map_lookup_elem(&seen, &key);
	if (pair)
		pair->a++;
	else
		bpf_map_update_elem(&seen, &key, &fresh, BPF_ANY);
	return ++*turn & 1 ? XDP_PASS : XDP_TX;
}

char _license[] SEC("license") = "GPL";
int _version SEC("version") = 0x40900;
