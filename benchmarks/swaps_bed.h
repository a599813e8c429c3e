#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <sluice/generation.h>

#include "swaps.h"
#include "swaps.skel.h"

/*
 * A port whose packets go round and round through programs that check each other (swaps.bpf.c), and
 * whose control side replaces all of these as one generation. For the benchmark and for the tests.
 */
struct swaps_bed {
	struct swaps *skel;
	uint32_t ifindex;
	struct sluice_tc_filter filter;
};

/* The EAL runs, workers do not. */
bool swaps_open(struct swaps_bed *bed, unsigned packets);
void swaps_close(struct swaps_bed *bed);

/*
 * Everything becomes generation 0 or 1: three tables and three hooks. Any thread; -ESTALE when
 * another one has done it already. Negative errno.
 */
int swaps_to(
	const struct swaps_bed *bed, unsigned generation, struct sluice_generation_info *ret_info);
/* Puts the program beside the way of the packets into its slot, or takes it out. */
int swaps_aside(const struct swaps_bed *bed, bool there);

/* Sums over CPUs. */
bool swaps_read(const struct swaps_bed *bed, struct swaps_state *ret_sum);
