#pragma once

#include <linux/bpf.h>

/*
 * Programs that make verification work: long ones, branchy ones, loops close to the budget of a
 * million instructions, and hostile ones that grow the verifier's states. Used by the benchmark, and
 * by the test that compares the verifier's counts with the kernel's.
 */
struct verifier_program {
	const char *name;
	enum bpf_prog_type type;
	/* Writes the program, of about `size`; returns how many instructions it has. */
	unsigned (*build)(struct bpf_insn *insns, unsigned size);
	unsigned size; /* what it counts is the builder's business */
};

enum { VERIFIER_PROGRAM_INSNS = 1000000 };

extern const struct verifier_program verifier_programs[];
extern const unsigned verifier_program_count;
