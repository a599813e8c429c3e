#pragma once

/* What police.bpf.o and its users share: the class of a packet is its DSCP. */

#define POLICE_MAJOR 2u

struct police_class {
	unsigned long long packets;
	unsigned long long bytes;
	unsigned int drop; /* user space sets it: packets of this class are shot */
	unsigned int pad;
};

#define POLICE_CLASSES 64
