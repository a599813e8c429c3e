#pragma once

#include <linux/types.h>

/* Header layouts that the uapi spells differently from one libc to the next. */

struct vlan_header {
	__be16 tci;
	__be16 encapsulated_proto;
};

#define VLAN_MAX_DEPTH 2

/* IPv6 extension headers that parsers walk over (RFC 8200), up to this many. */
#define IPV6_EXT_MAX 4

struct ipv6_ext_header {
	__u8 next_header;
	__u8 len_8bytes; /* not counting the first 8 bytes */
};

#define IPV6_FRAGMENT 44
#define IPV4_FRAGMENT_OFFSET 0x1fff
