#pragma once

#include <linux/types.h>

/* What conntrack.bpf.c is to do in a run, and what it saw. Zeroes do nothing. */

enum conntrack_step {
	STEP_ALLOC = 1 << 0, /* else a lookup */
	STEP_SET_TIMEOUT = 1 << 1,
	STEP_SET_STATUS = 1 << 2,
	STEP_MARK = 1 << 3,
	STEP_SOURCE = 1 << 4,
	STEP_DESTINATION = 1 << 5,
	STEP_CHANGE_TIMEOUT = 1 << 6,
	STEP_CHANGE_STATUS = 1 << 7,
	STEP_NO_TUPLE = 1 << 8,
	STEP_LOOKUP_AGAIN = 1 << 9, /* while the reference is held */
};

struct conntrack_opts {
	__s32 netns_id, error;
	__u8 l4proto, dir;
	__u16 zone_id;
	__u8 zone_dir, reserved[3];
};

struct conntrack_request {
	__u32 steps;
	__u8 tuple[36];
	__u32 tuple_size; /* up to 36 */
	struct conntrack_opts opts;
	__u32 opts_size; /* up to 16 */
	__u32 timeout_ms, new_timeout_ms;
	__u32 status, new_status;
	__u32 mark;
	__u8 source[16], destination[16];
	__u32 source_port, destination_port;
};

struct conntrack_seen {
	__u64 status;
	__u32 mark;
	__s32 timeout; /* from now */
	__u32 use;
	__u16 zone_id;
	__u8 zone_dir, zone_flags;
	__u8 tuples[2][40];
};

struct conntrack_answer {
	__u32 found, inserted, found_again;
	struct conntrack_opts opts;
	__s32 set_status, source, destination, change_timeout, change_status;
	struct conntrack_seen before, after;
};
