// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * A parser chain of tail calls: Ethernet, VLAN, IPv4, IPv6, then TCP, UDP or ICMP, each a program
 * of its own behind a slot of `jump_table`. The last one writes the class id and counts. Any slot
 * can be replaced while packets flow; an empty one falls through to the class "other".
 *
 * State between the programs is in skb->cb: cb[0] the offset of the next header.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "classify.h"
#include "headers.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} jump_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CLASSES);
	__type(key, __u32);
	__type(value, struct classify_count);
} class_counts SEC(".maps");

/* Port of the interface that ICMP is diverted to; 0 keeps it on its way. Set before loading. */
const volatile __u32 divert_ifindex = 0;

static __always_inline void *packet(struct __sk_buff *skb)
{
	return (void *)(long)skb->data;
}

static __always_inline void *packet_end(struct __sk_buff *skb)
{
	return (void *)(long)skb->data_end;
}

/* The verdict of a packet whose class is known. */
static __always_inline int finish(struct __sk_buff *skb, __u32 class)
{
	struct classify_count *count = bpf_map_lookup_elem(&class_counts, &class);

	if (count) {
		count->packets++;
		count->bytes += skb->len;
	}
	skb->tc_classid = CLASSIFY_ID(class);
	return TC_ACT_OK;
}

/* Goes on at the slot; here again only when it is empty. */
static __always_inline int next(struct __sk_buff *skb, __u32 slot, __u32 offset)
{
	skb->cb[0] = offset;
	bpf_tail_call(skb, &jump_table, slot);
	return finish(skb, CLASS_OTHER);
}

static __always_inline int next_l3(struct __sk_buff *skb, __be16 proto, __u32 offset)
{
	switch (proto) {
	case bpf_htons(ETH_P_IP):
		return next(skb, SLOT_IPV4, offset);
	case bpf_htons(ETH_P_IPV6):
		return next(skb, SLOT_IPV6, offset);
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return next(skb, SLOT_VLAN, offset);
	default:
		return next(skb, SLOT_OTHER, offset);
	}
}

static __always_inline int next_l4(struct __sk_buff *skb, __u8 proto, __u32 offset)
{
	switch (proto) {
	case IPPROTO_TCP:
		return next(skb, SLOT_TCP, offset);
	case IPPROTO_UDP:
		return next(skb, SLOT_UDP, offset);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return next(skb, SLOT_ICMP, offset);
	default:
		return next(skb, SLOT_OTHER, offset);
	}
}

SEC("tc")
int classify(struct __sk_buff *skb)
{
	struct ethhdr *eth = packet(skb);

	if ((void *)(eth + 1) > packet_end(skb))
		return finish(skb, CLASS_MALFORMED);
	return next_l3(skb, eth->h_proto, sizeof(*eth));
}

SEC("tc")
int parse_vlan(struct __sk_buff *skb)
{
	__u32 offset = skb->cb[0];
	struct vlan_header *vlan;
	__be16 proto = 0;

	for (int i = 0; i < VLAN_MAX_DEPTH; i++) {
		if (offset > 64)
			break;
		vlan = packet(skb) + offset;
		if ((void *)(vlan + 1) > packet_end(skb))
			return finish(skb, CLASS_MALFORMED);
		proto = vlan->encapsulated_proto;
		offset += sizeof(*vlan);
		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			return next_l3(skb, proto, offset);
	}
	return next(skb, SLOT_OTHER, offset);
}

SEC("tc")
int parse_ipv4(struct __sk_buff *skb)
{
	__u32 offset = skb->cb[0];
	struct iphdr *ip;

	if (offset > 64)
		return finish(skb, CLASS_MALFORMED);
	ip = packet(skb) + offset;
	if ((void *)(ip + 1) > packet_end(skb) || ip->version != 4 || ip->ihl < 5)
		return finish(skb, CLASS_MALFORMED);
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT_OFFSET))
		return next(skb, SLOT_OTHER, offset);
	return next_l4(skb, ip->protocol, offset + ip->ihl * 4);
}

SEC("tc")
int parse_ipv6(struct __sk_buff *skb)
{
	__u32 offset = skb->cb[0];
	struct ipv6_ext_header *ext;
	struct ipv6hdr *ip;
	__u8 proto;

	if (offset > 64)
		return finish(skb, CLASS_MALFORMED);
	ip = packet(skb) + offset;
	if ((void *)(ip + 1) > packet_end(skb) || ip->version != 6)
		return finish(skb, CLASS_MALFORMED);
	proto = ip->nexthdr;
	offset += sizeof(*ip);
	for (int i = 0; i < IPV6_EXT_MAX; i++) {
		if (proto != IPPROTO_HOPOPTS && proto != IPPROTO_ROUTING &&
			proto != IPPROTO_DSTOPTS)
			break;
		ext = packet(skb) + offset;
		if ((void *)(ext + 1) > packet_end(skb))
			return finish(skb, CLASS_MALFORMED);
		proto = ext->next_header;
		offset += 8 + ext->len_8bytes * 8;
	}
	if (proto == IPV6_FRAGMENT)
		return next(skb, SLOT_OTHER, offset);
	return next_l4(skb, proto, offset);
}

SEC("tc")
int classify_tcp(struct __sk_buff *skb)
{
	__u32 offset = skb->cb[0];
	struct tcphdr *tcp;
	__u16 port;

	if (offset > 2048)
		return finish(skb, CLASS_MALFORMED);
	tcp = packet(skb) + offset;
	if ((void *)(tcp + 1) > packet_end(skb))
		return finish(skb, CLASS_MALFORMED);
	port = bpf_ntohs(tcp->dest);
	if (port == 80 || port == 443 || tcp->source == bpf_htons(443))
		return finish(skb, CLASS_WEB);
	if (port == 22)
		return finish(skb, CLASS_SSH);
	return finish(skb, CLASS_TCP);
}

/* The alternative for the TCP slot: large segments are a class of their own, whatever the port. */
SEC("tc")
int classify_tcp_bulk(struct __sk_buff *skb)
{
	__u32 offset = skb->cb[0];
	struct tcphdr *tcp;

	if (offset > 2048)
		return finish(skb, CLASS_MALFORMED);
	tcp = packet(skb) + offset;
	if ((void *)(tcp + 1) > packet_end(skb))
		return finish(skb, CLASS_MALFORMED);
	return finish(skb, skb->len > 1000 ? CLASS_BULK : CLASS_TCP);
}

SEC("tc")
int classify_udp(struct __sk_buff *skb)
{
	__u32 offset = skb->cb[0];
	struct udphdr *udp;

	if (offset > 2048)
		return finish(skb, CLASS_MALFORMED);
	udp = packet(skb) + offset;
	if ((void *)(udp + 1) > packet_end(skb))
		return finish(skb, CLASS_MALFORMED);
	if (udp->dest == bpf_htons(53) || udp->source == bpf_htons(53))
		return finish(skb, CLASS_DNS);
	if (udp->dest == bpf_htons(443) || udp->source == bpf_htons(443))
		return finish(skb, CLASS_QUIC);
	return finish(skb, CLASS_UDP);
}

SEC("tc")
int classify_icmp(struct __sk_buff *skb)
{
	int verdict = finish(skb, CLASS_ICMP);

	if (divert_ifindex)
		return bpf_redirect(divert_ifindex, 0);
	return verdict;
}

SEC("tc")
int classify_other(struct __sk_buff *skb)
{
	return finish(skb, CLASS_OTHER);
}

char _license[] SEC("license") = "Dual BSD/GPL";
