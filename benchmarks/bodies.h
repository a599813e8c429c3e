#pragma once

/* What bodies.bpf.o and vs_kernel.c share. */

#define BODY_REPEAT 32 /* bodies within one call */
#define BODY_JUMPS 33 /* MAX_TAIL_CALL_CNT */
#define BODY_STRIDE 64 /* bytes of packet that each body looks at */
#define BODY_FLOWS 65536 /* keys in the large table */
#define BODY_HITS 1024 /* keys in the small table */
#define EVENT_BYTES 64
#define BODY_RING_BYTES (1 << 20) /* more than is written between two readings */

struct flow_key {
	unsigned int source, dest;
	unsigned short source_port, dest_port;
	unsigned int protocol;
};

struct flow_value {
	unsigned long long packets, bytes;
};

/* The key of a flow number: spread over the address space, the same on both sides. */
static inline __attribute__((always_inline)) struct flow_key flow_key_of(unsigned int n)
{
	return (struct flow_key){
		.source = 0x0a000000u + n * 2654435761u,
		.dest = 0xc0a80000u + (n & 255),
		.source_port = 1024 + (n & 0x7fff),
		.dest_port = 443,
		.protocol = 6,
	};
}
