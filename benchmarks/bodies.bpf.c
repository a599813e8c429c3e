// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * What a packet program does most, each once (NAME_1) and BODY_REPEAT times (NAME_32) within one
 * call. The call's own cost is the same in both, so the difference is the body's. Each repetition
 * works on another part of the packet or another key: a compiler cannot fold them into one.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bodies.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BODY_REPEAT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BODY_REPEAT);
	__type(key, __u32);
	__type(value, __u64);
} percpu_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BODY_HITS);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
} small_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BODY_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow_value);
} large_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sequence SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, BODY_RING_BYTES);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} jumps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

struct locked_counter {
	struct bpf_spin_lock lock;
	__u32 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BODY_REPEAT);
	__type(key, __u32);
	__type(value, struct locked_counter);
} locked_counters SEC(".maps");

struct inner_counters {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BODY_REPEAT);
	__type(key, __u32);
	__type(value, __u64);
} inner_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner_counters);
} sets SEC(".maps") = { .values = { &inner_counters } };

/* What a body returns when its part of the packet is not as expected: the program ends. */
#define STOP (~0ull)

/* The next of a pseudo-random walk that both sides walk alike (xorshift64). */
static __always_inline __u64 walk(__u64 x)
{
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static __always_inline __u64 body_parse(void *part, void *end, __u32 i)
{
	struct ethhdr *eth = part;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);

	if ((void *)(tcp + 1) > end)
		return STOP;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
		return STOP;
	return (__u64)ip->saddr + ip->daddr + tcp->source + tcp->dest;
}

static __always_inline __u64 sum_words(const __u16 *words, int count)
{
	__u64 sum = 0;

	for (int i = 0; i < count; i++)
		sum += words[i];
	return sum;
}

static __always_inline __u64 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* 20 bytes of header and 64 of payload; the program has checked that they are there. */
static __always_inline __u64 body_checksum(void *part, void *end, __u32 i)
{
	__u16 *words = part;

	return fold(sum_words(words, 10)) + fold(sum_words(words + 10, 32));
}

/* Counters are chosen by what is in the packet, as a program that counts by class does. */
static __always_inline __u32 counter_of(void *part)
{
	return *((__u8 *)part + 40) & (BODY_REPEAT - 1);
}

static __always_inline __u64 body_counter(void *part, void *end, __u32 i)
{
	__u32 key = counter_of(part);
	__u64 *count = bpf_map_lookup_elem(&counters, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

static __always_inline __u64 body_locked(void *part, void *end, __u32 i)
{
	__u32 key = counter_of(part);
	struct locked_counter *count = bpf_map_lookup_elem(&locked_counters, &key);

	if (!count)
		return STOP;
	bpf_spin_lock(&count->lock);
	count->packets++;
	bpf_spin_unlock(&count->lock);
	return 0;
}

static __always_inline __u64 body_inner(void *part, void *end, __u32 i)
{
	__u32 key = counter_of(part), set = 0;
	void *counts = bpf_map_lookup_elem(&sets, &set);
	__u64 *count;

	if (!counts)
		return STOP;
	count = bpf_map_lookup_elem(counts, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

static __always_inline __u64 body_percpu(void *part, void *end, __u32 i)
{
	__u32 key = counter_of(part);
	__u64 *count = bpf_map_lookup_elem(&percpu_counters, &key);

	if (count)
		(*count)++;
	return 0;
}

static __always_inline __u64 body_hash(void *part, void *end, __u32 i)
{
	struct flow_key key = flow_key_of(*(__u16 *)(part + 40) & (BODY_HITS - 1));
	struct flow_value *value = bpf_map_lookup_elem(&small_table, &key);

	if (!value)
		return STOP;
	value->packets++;
	return 0;
}

/* Loop, not unrolled: what a program that walks options or headers compiles to. */
#define BODY_PROGRAM(name, count)                                                         \
	SEC("xdp")                                                                        \
	int name##_##count(struct xdp_md *ctx)                                            \
	{                                                                                 \
		void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end; \
		__u64 sum = 0, part;                                                      \
		if (data + count * BODY_STRIDE + 20 > end)                                \
			return -1;                                                        \
                                                                                          \
		_Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < count; i++)   \
		{                                                                         \
			part = body_##name(data + i * BODY_STRIDE, end, i);               \
			if (part == STOP)                                                 \
				return -1;                                                \
			sum += part;                                                      \
		}                                                                         \
		return sum & 0xffff;                                                      \
	}

#define BODY(name)            \
	BODY_PROGRAM(name, 1) \
	BODY_PROGRAM(name, 32)

BODY(parse)
BODY(checksum)
BODY(counter)
BODY(percpu)
BODY(locked)
BODY(inner)
BODY(hash)

/* Hits in a table of BODY_FLOWS, another flow each time. */
static __always_inline int flows(__u32 count)
{
	struct flow_value *value;
	struct flow_key key;
	__u32 zero = 0, misses = 0;
	__u64 *state, x;

	state = bpf_map_lookup_elem(&sequence, &zero);
	if (!state)
		return 0;
	x = *state | 1;
	_Pragma("clang loop unroll(disable)") for (__u32 i = 0; i < count; i++)
	{
		x = walk(x);
		key = flow_key_of(x & (BODY_FLOWS - 1));
		value = bpf_map_lookup_elem(&large_table, &key);
		if (value)
			value->packets++;
		else
			misses++;
	}
	*state = x;
	return misses;
}

SEC("xdp")
int flows_1(struct xdp_md *ctx)
{
	return flows(1);
}

SEC("xdp")
int flows_32(struct xdp_md *ctx)
{
	return flows(32);
}

/*
 * Jumps to the slot that a field of the context names, known at run time only: the program itself,
 * until the limit of tail calls makes the last one fall through.
 */
SEC("tc")
int jump_chain(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jumps, skb->mark);
	return 0;
}

SEC("xdp")
int nothing_1(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("tc")
int nothing_tc_1(struct __sk_buff *skb)
{
	return 0;
}

SEC("xdp")
int record_output(struct xdp_md *ctx)
{
	__u64 record[EVENT_BYTES / 8] = { ctx->rx_queue_index };

	return bpf_ringbuf_output(&records, record, sizeof(record), 0);
}

SEC("xdp")
int record_reserve(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&records, EVENT_BYTES, 0);

	if (!record)
		return 1;
	for (int i = 0; i < EVENT_BYTES / 8; i++)
		record[i] = ctx->rx_queue_index;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("xdp")
int event_1(struct xdp_md *ctx)
{
	__u64 event[EVENT_BYTES / 8] = { ctx->rx_queue_index };

	return bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(event));
}

char _license[] SEC("license") = "Dual BSD/GPL";
