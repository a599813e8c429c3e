#pragma once

#include <stdint.h>

/*
 * The packets that every program sees: one of each kind that parsers tell apart, those with bytes
 * changed or cut off, noise, and some that need more than one buffer. The same ones every time.
 */
enum {
	PACKETS_KNOWN = 14,
	PACKETS_CHANGED = 16,
	PACKETS_NOISE = 6,
	PACKETS_LARGE = 4,
	PACKETS = PACKETS_KNOWN + PACKETS_CHANGED + PACKETS_NOISE + PACKETS_LARGE,
	PACKET_BYTES_MAX = 12000,
};

struct test_packet {
	const char *name;
	uint32_t len;
	uint32_t meta_len; /* of the first bytes: metadata, where there is such a thing */
	uint32_t mark; /* what a socket buffer comes with */
	uint8_t data[PACKET_BYTES_MAX];
};

extern struct test_packet test_packets[PACKETS];

/* Builds them; before anything else is called. */
void test_packets_init(void);
