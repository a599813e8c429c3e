#pragma once

#include <stdio.h>

#include "check.h"

/*
 * A program with what it stands on as a text file: the lines that replaying reads, up to "end",
 * then what both verifiers say, for whoever looks at it.
 */

void fuzz_reproducer_write(FILE *file, const struct fuzz_setting *setting,
	const struct fuzz_program *program, const char *comment);
/* False when it is not one. The setting's parts are the caller's to keep. */
bool fuzz_reproducer_read(FILE *file, struct fuzz_setting *setting, struct fuzz_program *program);
/* Each side's log of the program. */
void fuzz_reproducer_logs(
	FILE *file, const struct fuzz_world *world, const struct fuzz_program *program);
