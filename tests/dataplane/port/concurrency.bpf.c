#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "concurrency.h"

/*
 * front -> one of side's slots, which change one at a time, or nothing -> stages[0] -> stages[1],
 * which change together: stages[0] writes its generation into the packet, stages[1] compares.
 */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} stages SEC(".maps"), side SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOWS);
	__type(key, __u32);
	__type(value, __u64);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} events SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &what);

	if (value)
		++*value;
}

/* Inserts, reads, changes and deletes what the control threads do, too. */
static __always_inline void touch_flow(__u32 random)
{
	__u32 key = random % FLOWS;
	__u64 *value = bpf_map_lookup_elem(&flows, &key), first = FLOW_MAGIC;

	if (!value)
		bpf_map_update_elem(&flows, &key, &first, BPF_ANY);
	else if (*value != FLOW_MAGIC)
		count(COUNT_BAD_VALUE);
	else if (random & 0x10000)
		bpf_map_delete_elem(&flows, &key);
}

static __always_inline int front(struct xdp_md *ctx)
{
	__u32 random = bpf_get_prandom_u32();

	count(COUNT_SEEN);
	touch_flow(random);
	if (!(random >> 26))
		bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &random, sizeof(random));
	bpf_tail_call(ctx, &side, random >> 31);
	bpf_tail_call(ctx, &stages, 0);
	count(COUNT_MISSED);
	return XDP_DROP;
}

SEC("xdp")
int front0(struct xdp_md *ctx)
{
	return front(ctx);
}

SEC("xdp")
int front1(struct xdp_md *ctx)
{
	return front(ctx);
}

SEC("xdp")
int aside(struct xdp_md *ctx)
{
	count(COUNT_ASIDE);
	bpf_tail_call(ctx, &stages, 0);
	count(COUNT_MISSED);
	return XDP_DROP;
}

static __always_inline int mark(struct xdp_md *ctx, __u8 generation)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 1 > end)
		return XDP_ABORTED;
	*data = generation;
	bpf_tail_call(ctx, &stages, 1);
	count(COUNT_MISSED);
	return XDP_DROP;
}

static __always_inline int compare(struct xdp_md *ctx, __u8 generation)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 1 > end)
		return XDP_ABORTED;
	count(*data == generation ? COUNT_SAME : COUNT_MIXED);
	return generation ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int mark0(struct xdp_md *ctx)
{
	return mark(ctx, 0);
}

SEC("xdp")
int mark1(struct xdp_md *ctx)
{
	return mark(ctx, 1);
}

SEC("xdp")
int compare0(struct xdp_md *ctx)
{
	return compare(ctx, 0);
}

SEC("xdp")
int compare1(struct xdp_md *ctx)
{
	return compare(ctx, 1);
}

SEC("tc")
int filter(struct __sk_buff *skb)
{
	count(COUNT_FILTERED);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
