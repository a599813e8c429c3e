#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "offload_ops.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct offload_order);
} orders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SIGHTS);
	__type(key, __u32);
	__type(value, struct offload_sight);
} sights SEC(".maps");

enum { IPV4 = 20, IPV6 = 40 };

static __always_inline struct offload_sight *look(struct __sk_buff *skb, __u32 key)
{
	struct offload_sight *s = bpf_map_lookup_elem(&sights, &key);

	if (!s)
		return NULL;
	s->calls++;
	s->len = skb->len;
	s->wire_len = skb->wire_len;
	s->gso_segs = skb->gso_segs;
	s->gso_size = skb->gso_size;
	s->protocol = skb->protocol;
	return s;
}

/* The L4 header of the frames that the test makes. */
static __always_inline __u32 l4_of(struct __sk_buff *skb)
{
	return ETH_HLEN + (skb->protocol == bpf_htons(ETH_P_IPV6) ? IPV6 : IPV4);
}

static __always_inline __u32 field_of(struct __sk_buff *skb)
{
	__u8 proto = 0;
	__u32 ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6);

	bpf_skb_load_bytes(skb, ETH_HLEN + (ipv6 ? 6 : 9), &proto, 1);
	return l4_of(skb) + (proto == 6 ? 16 : 6);
}

static __always_inline void change_address(
	struct __sk_buff *skb, const struct offload_order *o, struct offload_sight *s)
{
	__u32 ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6), at = ETH_HLEN + (ipv6 ? 24 : 16);
	__u32 old = 0, new = bpf_htonl(0x0a63010b), field = field_of(skb);

	bpf_skb_load_bytes(skb, at, &old, sizeof(old));
	s->ret[0] = bpf_l4_csum_replace(skb, field, old, new, o->flags | 4);
	if (!ipv6)
		s->ret[1] = bpf_l3_csum_replace(skb, ETH_HLEN + 10, old, new, 4);
	s->ret[2] = bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
}

static __always_inline void change_port(
	struct __sk_buff *skb, const struct offload_order *o, struct offload_sight *s)
{
	__u16 old = 0, new = bpf_htons(4242);
	__u32 at = l4_of(skb) + 2, field = field_of(skb);

	bpf_skb_load_bytes(skb, at, &old, sizeof(old));
	s->ret[0] = bpf_l4_csum_replace(skb, field, old, new, o->flags | 2);
	s->ret[1] = bpf_skb_store_bytes(skb, at, &new, sizeof(new), BPF_F_RECOMPUTE_CSUM);
}

static __always_inline void change_by_diff(
	struct __sk_buff *skb, const struct offload_order *o, struct offload_sight *s)
{
	__u32 new[2] = { 0x01020304, 0x0badcafe }, old[2] = { 0 };
	__u32 field = field_of(skb);
	__s64 diff;

	bpf_skb_load_bytes(skb, ETH_HLEN + 12, old, sizeof(old));
	diff = bpf_csum_diff(old, sizeof(old), new, sizeof(new), 0);
	s->ret[0] = bpf_l4_csum_replace(skb, field, 0, diff, o->flags);
	s->ret[1] = bpf_skb_store_bytes(skb, ETH_HLEN + 12, new, sizeof(new), 0);
}

static __always_inline void put_outer_ipv4(struct __sk_buff *skb, __u8 proto)
{
	__u8 ip[IPV4] = { 0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, proto, 0, 0, 10, 9, 0, 1, 10, 9, 0,
		2 };
	__u16 len = bpf_htons((__u16)(skb->len - ETH_HLEN)), csum;
	__u16 type = bpf_htons(ETH_P_IP);
	__s64 sum;

	__builtin_memcpy(ip + 2, &len, sizeof(len));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(ip), 0);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	csum = ~(__u16)sum;
	__builtin_memcpy(ip + 10, &csum, sizeof(csum));
	bpf_skb_store_bytes(skb, ETH_HLEN, ip, sizeof(ip), 0);
	bpf_skb_store_bytes(skb, 12, &type, sizeof(type), 0);
}

static __always_inline void put_ipip(
	struct __sk_buff *skb, const struct offload_order *o, struct offload_sight *s)
{
	__u32 ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6);

	s->ret[0] = bpf_skb_adjust_room(
		skb, IPV4, BPF_ADJ_ROOM_MAC, o->flags | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4);
	if (s->ret[0] == 0)
		put_outer_ipv4(skb, ipv6 ? 41 : 4);
	s->ret[1] = bpf_skb_change_tail(skb, skb->len - 1, 0);
}

static __always_inline void put_udp_tunnel(
	struct __sk_buff *skb, const struct offload_order *o, struct offload_sight *s)
{
	__u8 udp[16] = { 0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 42, 0 };
	__u8 eth[ETH_HLEN];
	__u16 len;

	bpf_skb_load_bytes(skb, 0, eth, sizeof(eth));
	s->ret[0] = bpf_skb_adjust_room(skb, IPV4 + 16 + ETH_HLEN, BPF_ADJ_ROOM_MAC,
		o->flags | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
			BPF_F_ADJ_ROOM_ENCAP_L2_ETH | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN));
	if (s->ret[0] != 0)
		return;
	put_outer_ipv4(skb, 17);
	len = bpf_htons((__u16)(skb->len - ETH_HLEN - IPV4));
	__builtin_memcpy(udp + 4, &len, sizeof(len));
	bpf_skb_store_bytes(skb, ETH_HLEN + IPV4, udp, sizeof(udp), 0);
	bpf_skb_store_bytes(skb, ETH_HLEN + IPV4 + 16, eth, sizeof(eth), 0);
}

static __always_inline void change_proto(struct __sk_buff *skb, struct offload_sight *s)
{
	__u32 ipv6 = skb->protocol == bpf_htons(ETH_P_IPV6);
	__u16 type = bpf_htons(ipv6 ? ETH_P_IP : ETH_P_IPV6);
	__u8 proto = 0;

	bpf_skb_load_bytes(skb, ETH_HLEN + (ipv6 ? 6 : 9), &proto, 1);
	s->ret[0] = bpf_skb_change_proto(skb, type, 0);
	if (s->ret[0] != 0)
		return;
	bpf_skb_store_bytes(skb, 12, &type, sizeof(type), 0);
	if (ipv6) {
		put_outer_ipv4(skb, proto);
	} else {
		__u8 ip[IPV6] = { 0x60, 0, 0, 0, 0, 0, proto, 64,
			0xfd, [23] = 1, [24] = 0xfd, [39] = 2 };
		__u16 len = bpf_htons((__u16)(skb->len - ETH_HLEN - IPV6));

		__builtin_memcpy(ip + 4, &len, sizeof(len));
		bpf_skb_store_bytes(skb, ETH_HLEN, ip, sizeof(ip), 0);
	}
}

static __always_inline void tag(struct __sk_buff *skb, __s32 n, struct offload_sight *s)
{
	if (n > 0)
		s->ret[0] = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 42);
	if (n > 1)
		s->ret[1] = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021AD), 43);
	if (n > 2)
		s->ret[2] = bpf_skb_vlan_pop(skb);
}

static __always_inline void follow(
	struct __sk_buff *skb, const struct offload_order *o, struct offload_sight *s)
{
	__u64 payload = 0x1122334455667788;
	__u32 mtu_len = 0;

	switch (o->op) {
	case OP_ADDRESS:
		change_address(skb, o, s);
		break;
	case OP_PORT:
		change_port(skb, o, s);
		break;
	case OP_DIFF:
		change_by_diff(skb, o, s);
		break;
	case OP_STORE:
		s->ret[0] = bpf_skb_store_bytes(
			skb, skb->len - 12, &payload, sizeof(payload), o->flags);
		break;
	case OP_TAG:
		tag(skb, o->argument, s);
		break;
	case OP_TAIL:
		s->ret[0] = bpf_skb_change_tail(
			skb, o->argument < 0 ? skb->len + o->argument : o->argument, 0);
		break;
	case OP_ROOM:
		s->ret[0] = bpf_skb_adjust_room(skb, o->argument, BPF_ADJ_ROOM_MAC, o->flags);
		break;
	case OP_IPIP:
		put_ipip(skb, o, s);
		break;
	case OP_UDP_TUNNEL:
		put_udp_tunnel(skb, o, s);
		break;
	case OP_PROTO:
		change_proto(skb, s);
		break;
	case OP_LEVEL:
		s->ret[0] = bpf_csum_level(skb, o->argument);
		s->ret[1] = bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY);
		break;
	case OP_UPDATE:
		s->ret[0] = bpf_csum_update(skb, 0x1234);
		break;
	case OP_CLONE:
		s->ret[0] = bpf_clone_redirect(skb, o->out, 0);
		change_address(skb, o, s);
		break;
	case OP_PULL:
		s->ret[0] = bpf_skb_pull_data(skb, o->argument);
		break;
	case OP_MTU:
		s->ret[0] = bpf_check_mtu(skb, o->out, &mtu_len, 0, o->flags);
		s->ret[1] = mtu_len;
		break;
	}
}

SEC("tc") int enter(struct __sk_buff *skb)
{
	__u32 key = 0;
	const struct offload_order *o = bpf_map_lookup_elem(&orders, &key);
	struct offload_sight *s;

	if (!o)
		return TC_ACT_SHOT;
	s = look(skb, SIGHT_IN);
	if (s)
		follow(skb, o, s);
	look(skb, SIGHT_AFTER);
	return bpf_redirect(o->out, 0);
}

SEC("tc") int leave(struct __sk_buff *skb)
{
	look(skb, SIGHT_OUT);
	return TC_ACT_OK;
}

SEC("xdp.frags") int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
