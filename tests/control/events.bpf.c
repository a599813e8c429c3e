#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* Counts packets and sends each one's number and first bytes to user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

struct event {
	__u64 number;
	__u32 magic;
	__u32 len;
};

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *n = bpf_map_lookup_elem(&counts, &key);
	struct event e = { .magic = 0x51c2e, .len = ctx->data_end - ctx->data };

	if (!n)
		return XDP_ABORTED;
	e.number = __sync_fetch_and_add(n, 1);
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU | (__u64)14 << 32, &e, sizeof(e));
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
