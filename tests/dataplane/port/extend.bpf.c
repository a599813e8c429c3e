#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "extend.h"

/* Two functions to put something else in place of. */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static void count(__u32 what)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &what);

	if (value)
		(*value)++;
}

__attribute__((noinline)) int first(struct xdp_md *ctx)
{
	count(COUNT_FIRST);
	return ctx->ingress_ifindex ? XDP_PASS : XDP_ABORTED;
}

__attribute__((noinline)) int second(struct xdp_md *ctx)
{
	count(COUNT_SECOND);
	return ctx->ingress_ifindex ? XDP_PASS : XDP_ABORTED;
}

SEC("xdp")
int target(struct xdp_md *ctx)
{
	int result;

	count(COUNT_SEEN);
	result = first(ctx);
	return result == XDP_PASS ? second(ctx) : result;
}

char _license[] SEC("license") = "GPL";
