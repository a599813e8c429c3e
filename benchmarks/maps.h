#pragma once

/* What maps.bpf.c and maps.c agree on. */
enum { MAPS_REPEAT = 32, MAPS_KEYS = 1 << 20, MAPS_INNER = 32 };

/* The first word of no key. */
#define MAPS_NO_KEY 0x123456789abcdef0ull

/* The first bytes are the key, as many as the table's keys have. */
struct maps_key {
	unsigned long long words[5];
};

struct maps_keys {
	struct maps_key key[MAPS_REPEAT];
};
