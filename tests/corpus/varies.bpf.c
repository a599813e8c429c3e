#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Always the same verdict, never the same map: shows that maps are compared. */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} last SEC(".maps");

SEC("xdp") int varies(struct xdp_md *ctx)
{
	__u32 key = 0, value = bpf_get_prandom_u32();

	bpf_map_update_elem(&last, &key, &value, BPF_ANY);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
