// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * A classifier and its action in one object, as classic tc uses them: the classifier (without
 * direct action) maps the packet's DSCP to a class id 2:<dscp>, or declines what is not IP; the
 * action counts per class and shoots the classes that user space has marked.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "police.h"

enum { NO_MATCH = 0 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, POLICE_CLASSES);
	__type(key, __u32);
	__type(value, struct police_class);
} police_classes SEC(".maps");

/* The six DSCP bits, or -1 for what is not IP. */
static __always_inline int dscp_of(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return -1;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		return (void *)(ip + 1) > data_end ? -1 : ip->tos >> 2;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > data_end)
			return -1;
		return (ip->priority << 2 | ip->flow_lbl[0] >> 6) & 63;
	}
	return -1;
}

SEC("classifier")
int police_classify(struct __sk_buff *skb)
{
	int dscp = dscp_of(skb);

	if (dscp < 0)
		return NO_MATCH;
	return POLICE_MAJOR << 16 | dscp;
}

SEC("action")
int police_act(struct __sk_buff *skb)
{
	__u32 dscp = skb->tc_classid & (POLICE_CLASSES - 1);
	struct police_class *class;
	int parsed;

	/* The kernel hands the class id to actions only on some paths: look at the packet again. */
	parsed = dscp_of(skb);
	if (parsed >= 0)
		dscp = parsed;
	class = bpf_map_lookup_elem(&police_classes, &dscp);
	if (!class)
		return TC_ACT_UNSPEC;
	__sync_fetch_and_add(&class->packets, 1);
	__sync_fetch_and_add(&class->bytes, skb->len);
	return class->drop ? TC_ACT_SHOT : TC_ACT_PIPE;
}

char _license[] SEC("license") = "Dual BSD/GPL";
