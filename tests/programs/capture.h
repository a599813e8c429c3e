#pragma once

enum { PACKET_MAX = 2048 };

struct packet {
	unsigned len;
	unsigned char data[PACKET_MAX];
};

/* Reads up to `max` packets of a pcap file, cut to PACKET_MAX; the number read, 0 on failure. */
unsigned capture_read(const char *path, struct packet *packets, unsigned max);
