#pragma once

#include <linux/bpf.h>
#include <stddef.h>

/*
 * Asks the running kernel whether it loads a program. Returns 0 or the errno; *ret_log, when not
 * NULL, points at the verifier's log until the next call.
 */
int probe_load(enum bpf_prog_type type, enum bpf_attach_type attach, const struct bpf_insn *insns,
	unsigned count, const char *license, const char **ret_log);

/* The program types that are compared, and their names. */
extern const struct probe_type {
	enum bpf_prog_type type;
	const char *name;
} probe_types[];
extern const size_t probe_type_count;
