#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* A table with programs in it from the start. */

SEC("xdp")
int leaf(struct xdp_md *ctx)
{
	return XDP_DROP;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *ctx));
} first SEC(".maps") = { .values = { [1] = (void *)&leaf } };

SEC("xdp")
int root(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &first, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
