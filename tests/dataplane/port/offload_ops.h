#pragma once

#include <linux/types.h>

/* What the test tells its programs to do to a packet, and what they tell it of it. */
enum offload_op {
	OP_NOTHING,
	OP_ADDRESS, /* flags: of l4_csum_replace */
	OP_PORT,
	OP_DIFF, /* by a sum */
	OP_STORE, /* flags: of skb_store_bytes */
	OP_TAG, /* argument: how many */
	OP_TAIL, /* argument: new length, or by how much shorter where negative */
	OP_ROOM, /* argument: difference */
	OP_IPIP, /* flags: of adjust_room */
	OP_UDP_TUNNEL,
	OP_PROTO,
	OP_LEVEL, /* argument: level */
	OP_UPDATE,
	OP_CLONE, /* of a packet that is changed then */
	OP_PULL, /* argument: length */
	OP_MTU, /* flags: of check_mtu */
};

struct offload_order {
	__u32 op, out;
	__s32 argument;
	__u32 flags;
};

struct offload_sight {
	__u32 calls, len, wire_len, gso_segs, gso_size, protocol;
	__s32 ret[6];
};

enum { SIGHT_IN, SIGHT_AFTER, SIGHT_OUT, SIGHTS };
