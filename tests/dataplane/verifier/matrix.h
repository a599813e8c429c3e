#pragma once

#include "rows.h"

/*
 * Programs made by rule instead of by hand: every operation on every kind of operand. Nobody says
 * what is right here but the kernel: both have to give the same errno and the same last words.
 */

enum kind {
	K_CTX,
	K_FP,
	K_PACKET, /* eight bytes proven */
	K_PACKET_RAW, /* nothing proven */
	K_PACKET_END,
	K_PACKET_META,
	K_VALUE,
	K_VALUE_OR_NULL,
	K_MAP,
	K_UNKNOWN,
	K_SMALL, /* 0 to 7 */
	K_NUMBER, /* 8 */
	K_UNINIT,
	K_COUNT,
};

struct matrix {
	enum bpf_prog_type type;
	struct bpf_insn insns[96];
	uint32_t count;
	uint32_t flags; /* BPF_F_* of the load */
	char name[128];
};

/* Begins with the context in R6. */
void matrix_begin(struct matrix *m, enum bpf_prog_type type);
void matrix_add(struct matrix *m, struct bpf_insn insn);
/* Puts something of a kind into a register from R7 on, or any if it is the last put; uses R0-R5. */
void matrix_put(struct matrix *m, unsigned regno, enum kind kind);
/* Ends with R0 = 0, verifies on both sides, and complains if they differ. */
void matrix_check(struct matrix *m, const struct both_maps *maps);
const char *matrix_kind(enum kind kind);
