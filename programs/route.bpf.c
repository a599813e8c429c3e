// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * A router: each IP packet goes to the next hop that the routing table has for it, out of the port
 * that it names, with its TTL or hop limit counted down. What the table has no answer for, and what
 * needs more than a router's fast path, passes.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { IPV4 = 2, IPV6 = 10, IPV4_NO_OPTIONS = 5, MAC_BYTES = 6 };

/* The flow label and traffic class, as the look-up wants them. */
#define FLOW_INFO bpf_htonl(0x0fffffff)

static __always_inline int ask_ipv4(struct bpf_fib_lookup *fib, const struct iphdr *ip)
{
	if (ip->ihl != IPV4_NO_OPTIONS || ip->ttl <= 1)
		return -1;
	fib->family = IPV4;
	fib->tos = ip->tos;
	fib->l4_protocol = ip->protocol;
	fib->tot_len = bpf_ntohs(ip->tot_len);
	fib->ipv4_src = ip->saddr;
	fib->ipv4_dst = ip->daddr;
	return 0;
}

static __always_inline int ask_ipv6(struct bpf_fib_lookup *fib, const struct ipv6hdr *ip)
{
	if (ip->hop_limit <= 1)
		return -1;
	fib->family = IPV6;
	fib->flowinfo = *(const __be32 *)ip & FLOW_INFO;
	fib->l4_protocol = ip->nexthdr;
	fib->tot_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	__builtin_memcpy(fib->ipv6_src, &ip->saddr, sizeof(fib->ipv6_src));
	__builtin_memcpy(fib->ipv6_dst, &ip->daddr, sizeof(fib->ipv6_dst));
	return 0;
}

/* The checksum of a header whose TTL is one less (RFC 1624). */
static __always_inline void count_down(struct iphdr *ip)
{
	__u32 check = ip->check + bpf_htons(0x0100);

	ip->check = (__sum16)(check + (check >= 0xffff));
	ip->ttl--;
}

SEC("xdp")
int route(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip = (void *)(eth + 1);
	struct bpf_fib_lookup fib = { .ifindex = ctx->ingress_ifindex };
	int known = -1;

	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		known = ask_ipv4(&fib, ip);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= data_end)
		known = ask_ipv6(&fib, ip6);
	if (known)
		return XDP_PASS;
	switch (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		count_down(ip);
	else if ((void *)(ip6 + 1) <= data_end)
		ip6->hop_limit--;
	__builtin_memcpy(eth->h_dest, fib.dmac, MAC_BYTES);
	__builtin_memcpy(eth->h_source, fib.smac, MAC_BYTES);
	return bpf_redirect(fib.ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
