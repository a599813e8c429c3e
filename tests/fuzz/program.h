#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A program under test and what it stands on. Instructions name maps by number (imm of an ld_imm64
 * with a map's pseudo source), so that the same program goes to both sides.
 */

enum { FUZZ_MAX_INSNS = 4096, FUZZ_MAX_MAPS = 32, FUZZ_MAX_FUNCS = 64 };

struct fuzz_map {
	uint32_t type, key_size, value_size, max_entries, flags;
	uint32_t btf_key, btf_value; /* types in the setting's BTF, 0 for none */
	uint64_t extra;
	int inner; /* number of the map that is the template of this one's elements, -1 for none */
	uint32_t prog_type; /* a PROG_ARRAY: the type of what its slots get, 0 for none */
	bool frozen;
	uint8_t *initial; /* value of element 0, NULL for the default; owned */
};

/* Maps and BTF that any number of programs share. */
struct fuzz_setting {
	struct fuzz_map maps[FUZZ_MAX_MAPS];
	unsigned map_count;
	uint8_t *btf; /* owned, NULL for none */
	uint32_t btf_size;
};

struct fuzz_program {
	enum bpf_prog_type type;
	enum bpf_attach_type attach_type;
	uint32_t flags; /* BPF_F_* of BPF_PROG_LOAD */
	struct bpf_insn insns[FUZZ_MAX_INSNS];
	uint32_t count;
	struct bpf_func_info funcs[FUZZ_MAX_FUNCS];
	uint32_t func_count; /* 0: loaded without BTF */
	uint64_t packet_seed; /* of the packets it runs on */
	bool comparable; /* its result depends on nothing but the packet and the maps */
	bool runnable; /* it may be run: it ends soon if it is accepted */
};

static inline bool fuzz_is_wide(const struct bpf_insn *insn)
{
	return insn->code == (BPF_LD | BPF_IMM | BPF_DW);
}

static inline bool fuzz_names_map(const struct bpf_insn *insn)
{
	return fuzz_is_wide(insn) &&
	       (insn->src_reg == BPF_PSEUDO_MAP_FD || insn->src_reg == BPF_PSEUDO_MAP_VALUE);
}

/* edit.c: the program stays what it is around the change: jumps and calls keep their targets. */

/* Takes out [at, at + len). False when it would tear a two-word instruction. */
bool fuzz_remove(struct fuzz_program *program, uint32_t at, uint32_t len);
/* Makes room for `len` instructions, of `mov r0, r0`, before `at`. False when it does not fit. */
bool fuzz_insert(struct fuzz_program *program, uint32_t at, uint32_t len);
