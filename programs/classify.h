#pragma once

/* What classify.bpf.o and the programs that load it share. */

/* Slots of the jump table: one parser or classifier each. */
enum classify_slot {
	SLOT_VLAN,
	SLOT_IPV4,
	SLOT_IPV6,
	SLOT_TCP,
	SLOT_UDP,
	SLOT_ICMP,
	SLOT_OTHER,
	SLOTS,
};

/* Minor numbers of the class ids under major 1:, and indexes of the class counters. */
enum classify_class {
	CLASS_OTHER = 1,
	CLASS_ICMP,
	CLASS_DNS,
	CLASS_QUIC,
	CLASS_UDP,
	CLASS_WEB,
	CLASS_SSH,
	CLASS_TCP,
	CLASS_BULK,
	CLASS_MALFORMED,
	CLASSES,
};

#define CLASSIFY_MAJOR 1u
#define CLASSIFY_ID(class) (CLASSIFY_MAJOR << 16 | (class))

/* Per class and CPU. */
struct classify_count {
	unsigned long long packets;
	unsigned long long bytes;
};
