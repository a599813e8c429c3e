#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

/* Loads cost little, runs a compilation. */
enum { ATTEMPTS = 600, ATTEMPTS_RUN = 250 };

/* All attempts together: one that ends by itself may still take most of FUZZ_LIMIT_S. */
enum { LIMIT_S = 60 };

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

struct budget {
	int attempts;
	time_t until_s;
};

static bool is_left(const struct budget *budget)
{
	return budget->attempts > 0 && now_s() < budget->until_s;
}

static bool still_differs(const struct fuzz_world *world, const struct fuzz_program *program,
	const struct fuzz_verdict *wanted)
{
	struct fuzz_verdict verdict;

	alarm(FUZZ_LIMIT_S);
	fuzz_check(world, program, wanted->outcome >= UNEQUAL, &verdict);
	return verdict.outcome == wanted->outcome &&
	       strcmp(verdict.signature, wanted->signature) == 0;
}

/* Halves, quarters, ... down to single instructions, again while that takes something away. */
static void remove_parts(const struct fuzz_world *world, struct fuzz_program *program,
	const struct fuzz_verdict *wanted, struct budget *budget, struct fuzz_program *trial)
{
	for (uint32_t len = program->count / 2; len > 0; len = len > 1 ? len / 2 : 0)
		for (uint32_t at = 0; at + len <= program->count && is_left(budget);) {
			*trial = *program;
			if (!fuzz_remove(trial, at, len) ||
				(budget->attempts--, !still_differs(world, trial, wanted))) {
				at += len;
				continue;
			}
			*program = *trial;
		}
}

/* A two-word instruction is neither one nor one of the halves above. */
static void remove_wide(const struct fuzz_world *world, struct fuzz_program *program,
	const struct fuzz_verdict *wanted, struct budget *budget, struct fuzz_program *trial)
{
	for (uint32_t at = 0; at + 2 <= program->count && is_left(budget); at++) {
		if (!fuzz_is_wide(&program->insns[at]))
			continue;
		*trial = *program;
		budget->attempts--;
		if (fuzz_remove(trial, at, 2) && still_differs(world, trial, wanted))
			*program = *trial;
	}
}

void fuzz_minimise(const struct fuzz_world *world, struct fuzz_program *program,
	const struct fuzz_verdict *verdict)
{
	struct fuzz_program *trial = malloc(sizeof(*trial));
	struct budget budget = { verdict->outcome >= UNEQUAL ? ATTEMPTS_RUN : ATTEMPTS,
		now_s() + LIMIT_S };
	uint32_t before;

	do {
		before = program->count;
		if (!trial)
			break;
		remove_parts(world, program, verdict, &budget, trial);
		remove_wide(world, program, verdict, &budget, trial);
	} while (program->count < before && is_left(&budget));
	free(trial);
}
