#pragma once

#include "defs.h"

/*
 * What a device notes of a packet when it receives it, beside the bytes: for the kernel functions
 * bpf_xdp_metadata_rx_*, which programs call that are bound to one device. A bit per function.
 */
enum sl_rx_hint {
	SL_RX_HINT_TIMESTAMP = 1 << 0,
	SL_RX_HINT_HASH = 1 << 1,
	SL_RX_HINT_VLAN = 1 << 2,
};

struct sl_rx_device {
	uint64_t serial; /* never that of another device; 0: runs no XDP programs */
	uint32_t hints; /* enum sl_rx_hint: those that it gives */
};

/* The port layer's, set once at start-up; NULL: there are no ports. False without such a port. */
extern bool (*sl_rx_device_find)(uint32_t ifindex, struct sl_rx_device *ret_device);

/* Where in an mbuf time stamps are, and its flag for there is one. Before the first port gives any. */
SL_CONTROL void sl_rx_timestamp_set(int offset, uint64_t flag);
