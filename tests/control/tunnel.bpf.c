#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

/*
 * Keys in packets: tunnel_test.sh writes one into the payload of each, and reads there what the far
 * end has seen. For the kernel's TC and for Sluice's.
 */
enum { ASKED = 42, SEEN = 106, OUT_IFINDEX = 77 };

struct asked {
	__u32 flags;
	struct bpf_tunnel_key key;
	__u32 policy; /* 0: no option */
};

struct seen {
	__s32 ret;
	struct bpf_tunnel_key key;
	__s32 option_ret;
	__u32 policy;
};

SEC("classifier/set")
int set(struct __sk_buff *skb)
{
	struct asked asked;

	if (bpf_skb_load_bytes(skb, ASKED, &asked, sizeof(asked)) != 0)
		return TC_ACT_SHOT;
	if (bpf_skb_set_tunnel_key(skb, &asked.key, sizeof(asked.key), asked.flags) != 0)
		return TC_ACT_SHOT;
	if (asked.policy && bpf_skb_set_tunnel_opt(skb, &asked.policy, sizeof(asked.policy)) != 0)
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

static int note(struct __sk_buff *skb)
{
	struct seen seen = {};

	seen.ret = bpf_skb_get_tunnel_key(skb, &seen.key, sizeof(seen.key), BPF_F_TUNINFO_FLAGS);
	if (seen.ret != 0)
		seen.ret = bpf_skb_get_tunnel_key(
			skb, &seen.key, sizeof(seen.key), BPF_F_TUNINFO_FLAGS | BPF_F_TUNINFO_IPV6);
	seen.option_ret = bpf_skb_get_tunnel_opt(skb, &seen.policy, sizeof(seen.policy));
	return bpf_skb_store_bytes(skb, SEEN, &seen, sizeof(seen), 0);
}

SEC("classifier/get")
int get(struct __sk_buff *skb)
{
	return note(skb) == 0 ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("classifier/get_out")
int get_out(struct __sk_buff *skb)
{
	return note(skb) == 0 ? bpf_redirect(OUT_IFINDEX, 0) : TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
