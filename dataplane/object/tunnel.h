#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * What a packet's outer header said, or shall say: the kernel's ip_tunnel_info. One per CPU, in
 * struct sl_run; a context's `tunnel` points to it while the packet has it.
 */
enum { SL_TUNNEL_OPTIONS_MAX = 255 };

enum sl_tunnel_flags { /* bits of bpf_tunnel_key's tunnel_flags, host byte order */
	SL_TUNNEL_CSUM = 1 << 0,
	SL_TUNNEL_KEY = 1 << 2,
	SL_TUNNEL_SEQ = 1 << 3,
	SL_TUNNEL_DONT_FRAGMENT = 1 << 8,
	SL_TUNNEL_OAM = 1 << 9,
	SL_TUNNEL_CRITICAL = 1 << 10,
	SL_TUNNEL_GENEVE_OPT = 1 << 11,
	SL_TUNNEL_VXLAN_OPT = 1 << 12,
	SL_TUNNEL_NOCACHE = 1 << 13,
	SL_TUNNEL_ERSPAN_OPT = 1 << 14,
	SL_TUNNEL_GTP_OPT = 1 << 15,
	SL_TUNNEL_OPTIONS = SL_TUNNEL_GENEVE_OPT | SL_TUNNEL_VXLAN_OPT | SL_TUNNEL_ERSPAN_OPT |
			    SL_TUNNEL_GTP_OPT,
};

struct sl_tunnel {
	uint32_t id;
	uint32_t label; /* IPv6 flow label */
	uint16_t flags; /* enum sl_tunnel_flags */
	uint8_t tos, ttl;
	bool ipv6;
	bool transmit; /* set by the program: for the way out */
	uint8_t options_len;
	uint8_t src[16], dst[16]; /* network byte order; of IPv4 the first four bytes */
	uint8_t options[SL_TUNNEL_OPTIONS_MAX];
};
