#pragma once

#include <stdint.h>

/* The packets that every program sees: one of each kind that parsers tell apart. */
enum { PACKETS = 14, PACKET_BYTES_MAX = 1600 };

struct test_packet {
	const char *name;
	uint32_t len;
	uint8_t data[PACKET_BYTES_MAX];
};

extern struct test_packet test_packets[PACKETS];

/* Builds them; before anything else is called. */
void test_packets_init(void);
