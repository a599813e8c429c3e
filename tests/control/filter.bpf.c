#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Keeps TCP over IPv4, as a packet socket's filter sees it: a VLAN tag is not in the data. */

SEC("socket") int keep_tcp(struct __sk_buff *skb)
{
	__u8 protocol = 0;

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return 0;
	bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, protocol), &protocol, 1);
	return protocol == IPPROTO_TCP ? 0xffff : 0;
}

char _license[] SEC("license") = "GPL";
