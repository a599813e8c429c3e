#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "tap_fields.h"

/* Writes down what a socket filter can see of a packet. */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tap_fields);
} fields SEC(".maps");

SEC("socket") int note(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct tap_fields *f = bpf_map_lookup_elem(&fields, &key);

	/* Other traffic of the interface. */
	if (!f || skb->len < 60)
		return 0;
	f->calls++;
	f->len = skb->len;
	f->pkt_type = skb->pkt_type;
	f->mark = skb->mark;
	f->priority = skb->priority;
	f->queue_mapping = skb->queue_mapping;
	f->protocol = skb->protocol;
	f->vlan_present = skb->vlan_present;
	f->vlan_tci = skb->vlan_tci;
	f->vlan_proto = skb->vlan_proto;
	f->same_port = skb->ingress_ifindex == skb->ifindex;
	f->tc_index = skb->tc_index;
	f->gso_segs = skb->gso_segs;
	f->gso_size = skb->gso_size;
	for (int i = 0; i < 5; i++) {
		f->cb[i] = skb->cb[i];
		skb->cb[i] = i + 1;
	}
	bpf_skb_load_bytes(skb, 0, f->frame, sizeof(f->frame));
	bpf_skb_load_bytes_relative(skb, 0, f->network, sizeof(f->network), BPF_HDR_START_NET);
	return skb->len;
}

char _license[] SEC("license") = "GPL";
