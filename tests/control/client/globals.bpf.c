/* One of everything that libbpf does for a program: for libbpf_test.c. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

const volatile __u32 step = 1; /* .rodata */
__u64 total = 100; /* .data */
__u64 runs; /* .bss */
static __u64 hidden;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps");

static __attribute__((noinline)) __u64 add(__u64 a, __u64 b)
{
	hidden++;
	return a + b * step;
}

__attribute__((noinline)) int global_function(struct xdp_md *ctx, int value)
{
	return ctx->data_end > ctx->data ? value : 0;
}

SEC("xdp")
int target(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 key = ctx->ingress_ifindex;
	__u64 one = 1, *value;

	runs++;
	total = add(total, 2);
	value = bpf_map_lookup_elem(&seen, &key);
	if (value)
		__sync_fetch_and_add(value, 1);
	else
		bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
	return global_function(ctx, XDP_DROP);
}

SEC("xdp")
int jump(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 2);
	return XDP_ABORTED;
}

SEC("tc")
int mark(struct __sk_buff *skb)
{
	skb->mark = skb->len;
	bpf_printk("len %d", skb->len);
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, int(void *));
} ready SEC(".maps") = {
	.values = { [1] = (void *)&target },
};

SEC("xdp")
int jump_ready(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &ready, 1);
	return XDP_ABORTED;
}

/* libbpf may call the predecessor of these two instead. */
SEC("xdp")
int probe(struct xdp_md *ctx)
{
	char here[4] = "abc", copy[4] = "", start[3] = "";

	if (bpf_probe_read_kernel(copy, sizeof(copy), here) || copy[2] != 'c')
		return XDP_ABORTED;
	if (bpf_probe_read_kernel_str(start, sizeof(start), here) != 3 || start[1] != 'b')
		return XDP_ABORTED;
	return start[2] ? XDP_DROP : XDP_TX;
}

char _license[] SEC("license") = "GPL";
