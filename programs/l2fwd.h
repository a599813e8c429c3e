#pragma once

/* What l2fwd.bpf.o and its users share. */

#define L2FWD_STATIONS 16384

struct l2fwd_key {
	unsigned char mac[6];
	unsigned short vlan; /* 0 without a tag */
};

struct l2fwd_station {
	unsigned int ifindex;
	unsigned int pad;
	unsigned long long seen_ns;
};
