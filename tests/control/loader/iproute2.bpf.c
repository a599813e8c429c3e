#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/* As iproute2's examples are written: its maps, a static entry, a program for a slot. */

struct bpf_elf_map {
	__u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;
};

enum { JUMPS = 2, COUNTS = 7, GLOBAL_NS = 2 };

struct bpf_elf_map SEC("maps") jumps = { .type = BPF_MAP_TYPE_PROG_ARRAY,
	.size_key = 4,
	.size_value = 4,
	.max_elem = 4,
	.id = JUMPS,
	.inner_idx = -1 };

struct bpf_elf_map SEC("maps") counts = { .type = BPF_MAP_TYPE_ARRAY,
	.size_key = 4,
	.size_value = 8,
	.max_elem = 4,
	.id = COUNTS,
	.pinning = GLOBAL_NS,
	.inner_idx = 1 };

struct bpf_elf_map SEC("maps") outer = { .type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
	.size_key = 4,
	.size_value = 4,
	.max_elem = 2,
	.id = 8,
	.inner_id = COUNTS,
	.inner_idx = -1 };

/* 100 and the number of packets so far. */
SEC("2/1") int count(struct __sk_buff *skb)
{
	__u32 slot = 1, first = 0;
	void *inner = bpf_map_lookup_elem(&outer, &slot);
	__u64 *value = inner ? bpf_map_lookup_elem(inner, &first) : 0;

	if (!value)
		return TC_ACT_SHOT;
	__sync_fetch_and_add(value, 1);
	return 100 + (int)*value;
}

SEC("classifier") static int entry(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jumps, 1);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
