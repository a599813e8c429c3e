#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "skeleton.h"

/* What a program has today: constants set before it is loaded, variables shared with user space, ... */
const volatile __u16 port = 1;
__u32 passing = 1;
__u64 seen, dropped, lost, forwarded;

/* ... events both ways, ... */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} records SEC(".maps");

/* ... and maps that other programs open by their pins. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} totals SEC(".maps");

static __always_inline int for_us(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	return (void *)(udp + 1) <= end && eth->h_proto == bpf_htons(ETH_P_IP) && ip->ihl == 5 &&
	       ip->protocol == IPPROTO_UDP && udp->dest == bpf_htons(port);
}

static __always_inline void count(void)
{
	__u32 key = 0;
	__u64 *total = bpf_map_lookup_elem(&totals, &key);

	if (total)
		(*total)++;
}

SEC("xdp")
int observe(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct record record = { .magic = MAGIC, .len = end - data };
	struct record *slot;

	if (!for_us(data, end))
		return XDP_PASS;
	count();
	record.number = __sync_fetch_and_add(&seen, 1);
	if (!passing) {
		__sync_fetch_and_add(&dropped, 1);
		return XDP_DROP;
	}
	if (bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU | (__u64)PACKET_BYTES << 32,
		    &record, sizeof(record)))
		__sync_fetch_and_add(&lost, 1);
	slot = bpf_ringbuf_reserve(&records, sizeof(*slot), 0);
	if (!slot) {
		__sync_fetch_and_add(&lost, 1);
		return XDP_PASS;
	}
	*slot = record;
	bpf_ringbuf_submit(slot, 0);
	return XDP_PASS;
}

SEC("tc")
int forward(struct __sk_buff *skb)
{
	if (for_us((void *)(long)skb->data, (void *)(long)skb->data_end)) {
		count();
		__sync_fetch_and_add(&forwarded, 1);
	}
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
