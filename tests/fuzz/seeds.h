#pragma once

#include "program.h"

/* A real program as libbpf hands it to bpf(2), with the maps and the BTF of its object. */
struct fuzz_seed {
	const struct fuzz_setting *setting;
	struct fuzz_program program;
	char name[64]; /* object and program */
};

/*
 * Collects the programs of every object (*.o) below `path`, up to FUZZ_MAX_INSNS long and of types
 * that Sluice runs. Returns how many there are now; the process keeps them.
 */
unsigned fuzz_seeds_collect(const char *path, bool has_kernel);
const struct fuzz_seed *fuzz_seed_at(unsigned index);
