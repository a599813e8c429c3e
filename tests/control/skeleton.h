#pragma once

enum { MAGIC = 0x51c2e, PACKET_BYTES = 42 };

struct record {
	__u64 number;
	__u32 magic, len;
};
