#pragma once

#include "world.h"

/* One program on both sides. In the order of the totals. */
enum fuzz_outcome {
	BOTH_ACCEPT,
	BOTH_REFUSE,
	VARIES, /* unequal, but so is one side to itself: addresses, clocks, random numbers */
	KERNEL_BUG, /* it refuses with EFAULT, and says that it should not have come to that */
	UNAVAILABLE, /* Sluice refuses for a helper that it is known not to have */
	OTHER_ERRNO, /* both refuse, differently */
	ONLY_KERNEL_ACCEPTS,
	ONLY_SLUICE_ACCEPTS,
	UNEQUAL, /* result, packet or maps after a run */
	VIOLATION, /* the instrumented code caught the program at what was proved impossible */
	CRASH, /* of the process, or an endless run */
	FUZZ_OUTCOMES
};

extern const char *const fuzz_outcome_names[FUZZ_OUTCOMES];

enum {
	FUZZ_TEXT_BYTES = 256,
	FUZZ_LIMIT_S = 60, /* for one check of one program: beyond it hangs */
};

struct fuzz_verdict {
	enum fuzz_outcome outcome;
	int err[SIDES]; /* of the load */
	/*
	 * What kind of difference it is: outcome, errnos, and the last words of who refuses, numbers
	 * left out. Programs with the same signature likely differ for the same reason.
	 */
	char signature[FUZZ_TEXT_BYTES];
	char detail[FUZZ_TEXT_BYTES]; /* of this one */
};

/* run: also runs what both (without the kernel: Sluice) accept. */
void fuzz_check(const struct fuzz_world *world, const struct fuzz_program *program, bool run,
	struct fuzz_verdict *ret_verdict);

/* Makes the program as short as it gets with the verdict's signature; bounded by attempts. */
void fuzz_minimise(const struct fuzz_world *world, struct fuzz_program *program,
	const struct fuzz_verdict *verdict);
