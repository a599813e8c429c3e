#pragma once

/* What swaps.bpf.c, and whoever sets it up (swaps_bed.c), agree on. */

/* What a CPU counts of its packets. Each is seen by that CPU alone, round and round. */
struct swaps_state {
	unsigned long long seen, left; /* packets that came in and that went out again */
	unsigned long long mixed; /* met programs of two generations */
	unsigned long long missed; /* met an empty slot */
	unsigned long long disorder; /* came in out of their order, which a lost one is too */
	unsigned long long aside; /* met the program that single updates put in and take out */
	unsigned int packets; /* how many there are */
	unsigned int next; /* whose turn it is */
};

enum { SWAPS_SLOTS = 4 };

/* The slots of the tables: the stage, and what is in front of it. */
enum { SWAPS_STAGE = 0, SWAPS_ASIDE = 1 };
