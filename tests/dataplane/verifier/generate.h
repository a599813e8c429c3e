#pragma once

#include <linux/bpf.h>

#include "random.h"

/*
 * Random programs that are mostly legal: snippets as a compiler would write them (bounds checks,
 * map look-ups, loops, calls), with a mistake here and there. What a register holds is guessed
 * while writing, so that the next snippet has something to work with.
 */

#define PROGRAM_MAX_INSNS 1024

/* The maps that programs name: by this number in imm until program_use_maps. */
enum { PROGRAM_ARRAY, PROGRAM_HASH, PROGRAM_MAPS };

#define PROGRAM_KEY_BYTES 4
#define PROGRAM_VALUE_BYTES 40
#define PROGRAM_MAP_ENTRIES 4

struct program {
	enum bpf_prog_type type;
	struct bpf_insn insns[PROGRAM_MAX_INSNS];
	uint32_t count;
	bool comparable; /* its result depends on nothing but the packet and the maps */
};

void program_generate(struct sl_random *random, struct program *program);

/* A copy of the instructions with map descriptors put in. */
void program_use_maps(
	const struct program *program, const int fds[PROGRAM_MAPS], struct bpf_insn *ret_insns);
