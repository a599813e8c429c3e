// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Packets that go round and round over a loop-back, through programs of one of two generations:
 *
 *   XDP front -> table first (perhaps: aside ->) stage 1 -> table second: stage 2 -> XDP_PASS
 *   TC filter -> table third: stage 3 -> redirect -> tcx egress, out
 *
 * Each program writes into the packet which generation it is of, and compares with the ones before.
 * A packet has a number too: those of one queue come back in the order in which they left.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "swaps.h"

enum { MAGIC = 0x51c7e5a9, STAMPS = 5, OFFSET = 16 };

struct stamps {
	__u32 magic, number;
	__u8 generation[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SWAPS_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} first SEC(".maps"), second SEC(".maps"), third SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct swaps_state);
} states SEC(".maps");

static __always_inline struct swaps_state *state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&states, &zero);
}

/* The packet's number, and whether it is its turn. */
static __always_inline void check_order(struct swaps_state *s, struct stamps *p)
{
	if (p->magic != MAGIC) {
		p->magic = MAGIC;
		p->number = s->packets++;
		return;
	}
	if (p->number != s->next)
		s->disorder++;
	s->next = p->number + 1 < s->packets ? p->number + 1 : 0;
}

/* Program number `stage` of a packet's way. */
static __always_inline void stamp(
	struct swaps_state *s, struct stamps *p, int stage, __u8 generation)
{
	if (stage > 0 && p->generation[stage - 1] != generation)
		s->mixed++;
	p->generation[stage] = generation;
}

static __always_inline int front(struct xdp_md *ctx, __u8 generation)
{
	struct stamps *p = (void *)(long)ctx->data + OFFSET;
	struct swaps_state *s = state();

	if (!s || (void *)(p + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	s->seen++;
	check_order(s, p);
	stamp(s, p, 0, generation);
	bpf_tail_call(ctx, &first, s->seen & 1 ? SWAPS_ASIDE : SWAPS_STAGE);
	bpf_tail_call(ctx, &first, SWAPS_STAGE);
	s->missed++;
	return XDP_ABORTED;
}

SEC("xdp")
int aside(struct xdp_md *ctx)
{
	struct swaps_state *s = state();

	if (!s)
		return XDP_ABORTED;
	s->aside++;
	bpf_tail_call(ctx, &first, SWAPS_STAGE);
	s->missed++;
	return XDP_ABORTED;
}

static __always_inline int stage(struct xdp_md *ctx, int number, __u8 generation)
{
	struct stamps *p = (void *)(long)ctx->data + OFFSET;
	struct swaps_state *s = state();

	if (!s || (void *)(p + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	stamp(s, p, number, generation);
	if (number == 2)
		return XDP_PASS;
	bpf_tail_call(ctx, &second, SWAPS_STAGE);
	s->missed++;
	return XDP_ABORTED;
}

static __always_inline int stage_tc(struct __sk_buff *skb, int number, __u8 generation)
{
	struct stamps *p = (void *)(long)skb->data + OFFSET;
	struct swaps_state *s = state();

	if (!s || (void *)(p + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	stamp(s, p, number, generation);
	if (number == 3) {
		bpf_tail_call(skb, &third, SWAPS_STAGE);
		s->missed++;
		return TC_ACT_SHOT;
	}
	if (number == 4)
		return bpf_redirect(skb->ifindex, 0);
	s->left++;
	return TC_ACT_OK;
}

#define GENERATION(n)                        \
	SEC("xdp")                           \
	int front##n(struct xdp_md *ctx)     \
	{                                    \
		return front(ctx, n);        \
	}                                    \
	SEC("xdp")                           \
	int first##n(struct xdp_md *ctx)     \
	{                                    \
		return stage(ctx, 1, n);     \
	}                                    \
	SEC("xdp")                           \
	int second##n(struct xdp_md *ctx)    \
	{                                    \
		return stage(ctx, 2, n);     \
	}                                    \
	SEC("tc")                            \
	int filter##n(struct __sk_buff *skb) \
	{                                    \
		return stage_tc(skb, 3, n);  \
	}                                    \
	SEC("tc")                            \
	int third##n(struct __sk_buff *skb)  \
	{                                    \
		return stage_tc(skb, 4, n);  \
	}                                    \
	SEC("tc")                            \
	int egress##n(struct __sk_buff *skb) \
	{                                    \
		return stage_tc(skb, 5, n);  \
	}

GENERATION(0)
GENERATION(1)

char _license[] SEC("license") = "GPL";
