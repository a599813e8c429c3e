#include "load_flags.h"

/* Accesses that are not aligned, by the flags that a program is loaded with. */

static const struct {
	uint32_t flags;
	const char *reason; /* ACCEPT, or part of the log of both */
} alignments[] = {
	{ 0, ACCEPT },
	{ BPF_F_ANY_ALIGNMENT, ACCEPT },
	{ BPF_F_STRICT_ALIGNMENT, "misaligned packet access off 2+0+0+1 size 2" },
	{ BPF_F_STRICT_ALIGNMENT | BPF_F_ANY_ALIGNMENT, ACCEPT },
};

TEST(alignment, any_wins_over_strict)
{
	static const struct row row = { .insns = { XDP_DATA, MOV_X(R4, R2), ALU_K(BPF_ADD, R4, 8),
						JMP_X(BPF_JGT, R4, R3, 1), LDX(BPF_H, R5, R2, 1),
						RETURN(0) } };
	static char text[BOTH_LOG_BYTES];

	for (unsigned i = 0; i < sl_array_size(alignments); i++) {
		struct load load = { row.insns, row_length(&row), alignments[i].flags };
		int err = alignments[i].reason ? -EACCES : 0;

		TRACE_PUSH("flags %u", alignments[i].flags);
		EXPECT_EQ(load_ours(&load, text), err);
		EXPECT_CONTAINS(text, alignments[i].reason ? alignments[i].reason : "processed");
		if (oracle_permitted()) {
			EXPECT_EQ(load_kernel(&load, text), err);
			EXPECT_CONTAINS(
				text, alignments[i].reason ? alignments[i].reason : "processed");
		}
		TRACE_POP();
	}
}
