#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/*
 * Classifiers and actions for tc, as many in one object as there are sections. Each counts the test's
 * packets in a map that outlives all of them, at a place of its own.
 */

enum { UDP_PORT = 7777, SETTING = 15 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} sluice_counts SEC(".maps");

static __always_inline int for_us(struct __sk_buff *skb)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	return (void *)(udp + 1) <= (void *)(long)skb->data_end &&
	       eth->h_proto == bpf_htons(ETH_P_IP) && ip->ihl == 5 && ip->protocol == IPPROTO_UDP &&
	       udp->dest == bpf_htons(UDP_PORT);
}

static __always_inline int counted(struct __sk_buff *skb, __u32 at)
{
	__u64 *n = bpf_map_lookup_elem(&sluice_counts, &at);
	int ours = for_us(skb);

	if (n && ours)
		__sync_fetch_and_add(n, 1);
	return ours;
}

/* Direct action: the program says what becomes of the packet, and its class. */
SEC("any_name") int passes(struct __sk_buff *skb)
{
	if (counted(skb, 0))
		skb->tc_classid = 0x10007;
	return TC_ACT_OK;
}

SEC("tc/drop") int drops(struct __sk_buff *skb)
{
	counted(skb, 1);
	return TC_ACT_SHOT;
}

SEC("tc/next") int next(struct __sk_buff *skb)
{
	counted(skb, 2);
	return TC_ACT_UNSPEC;
}

/* What another application has put into the map. */
SEC("tc/setting") int setting(struct __sk_buff *skb)
{
	__u32 at = SETTING;
	__u64 *verdict = bpf_map_lookup_elem(&sluice_counts, &at);

	counted(skb, 3);
	return verdict && *verdict < 3 ? (int)*verdict : TC_ACT_OK;
}

/* Not direct action: whether, and to what class, the packet belongs. */
SEC("classifier/none") int none(struct __sk_buff *skb)
{
	counted(skb, 4);
	return 0;
}

SEC("classifier/configured") int configured(struct __sk_buff *skb)
{
	counted(skb, 5);
	return -1;
}

SEC("classifier/own") int own(struct __sk_buff *skb)
{
	return counted(skb, 6) ? 0x20009 : 0;
}

/* Actions. */
SEC("action/pipe") int pipes(struct __sk_buff *skb)
{
	counted(skb, 7);
	return TC_ACT_PIPE;
}

SEC("action/again") int again(struct __sk_buff *skb)
{
	counted(skb, 8);
	if (skb->mark)
		return TC_ACT_OK;
	skb->mark = 1;
	return TC_ACT_RECLASSIFY;
}

SEC("action/forever") int forever(struct __sk_buff *skb)
{
	counted(skb, 9);
	return TC_ACT_RECLASSIFY;
}

SEC("action/drop") int action_drops(struct __sk_buff *skb)
{
	counted(skb, 10);
	return TC_ACT_SHOT;
}

SEC("xdp/drop") int early(struct xdp_md *xdp)
{
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
