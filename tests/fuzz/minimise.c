#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

/* Loads cost little, runs a compilation. */
enum { ATTEMPTS = 600, ATTEMPTS_RUN = 250 };

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
	const struct fuzz_verdict *wanted, int *attempts, struct fuzz_program *trial)
{
	for (uint32_t len = program->count / 2; len > 0; len = len > 1 ? len / 2 : 0)
		for (uint32_t at = 0; at + len <= program->count && *attempts > 0;) {
			*trial = *program;
			if (!fuzz_remove(trial, at, len) ||
				((*attempts)--, !still_differs(world, trial, wanted))) {
				at += len;
				continue;
			}
			*program = *trial;
		}
}

/* A two-word instruction is neither one nor one of the halves above. */
static void remove_wide(const struct fuzz_world *world, struct fuzz_program *program,
	const struct fuzz_verdict *wanted, int *attempts, struct fuzz_program *trial)
{
	for (uint32_t at = 0; at + 2 <= program->count && *attempts > 0; at++) {
		if (!fuzz_is_wide(&program->insns[at]))
			continue;
		*trial = *program;
		(*attempts)--;
		if (fuzz_remove(trial, at, 2) && still_differs(world, trial, wanted))
			*program = *trial;
	}
}

void fuzz_minimise(const struct fuzz_world *world, struct fuzz_program *program,
	const struct fuzz_verdict *verdict)
{
	struct fuzz_program *trial = malloc(sizeof(*trial));
	int attempts = verdict->outcome >= UNEQUAL ? ATTEMPTS_RUN : ATTEMPTS;
	uint32_t before;

	do {
		before = program->count;
		if (!trial)
			break;
		remove_parts(world, program, verdict, &attempts, trial);
		remove_wide(world, program, verdict, &attempts, trial);
	} while (program->count < before && attempts > 0);
	free(trial);
}
