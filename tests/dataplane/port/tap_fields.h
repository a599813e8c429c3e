#pragma once

/* What tap.bpf.c saw of the last packet. */
struct tap_fields {
	__u32 calls, len, pkt_type, mark, priority, queue_mapping, protocol;
	__u32 vlan_present, vlan_tci, vlan_proto, same_port, tc_index, gso_segs, gso_size;
	__u32 cb[5];
	__u8 frame[32], network[16];
};
