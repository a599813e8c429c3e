/* Programs for tc and ip: each returns what its name says. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

SEC("tc") int ok(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

SEC("classifier") int match(struct __sk_buff *skb)
{
	return -1;
}

SEC("action") int shot(struct __sk_buff *skb)
{
	return TC_ACT_SHOT;
}

SEC("xdp") int pass(struct xdp_md *xdp)
{
	return XDP_PASS;
}

SEC("xdp/drop") int drop(struct xdp_md *xdp)
{
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
