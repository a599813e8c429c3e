#pragma once

#include "random.h"
#include "world.h"

/*
 * Random programs that are mostly legal, as a compiler would write them (bounds checks, map look-ups,
 * loops, calls), with a mistake here and there. What they are made of is in the tables of
 * productions (writer.h). They stand on the standard setting.
 */

/* NULL when out of memory; the process keeps it. */
const struct fuzz_setting *fuzz_standard_setting(void);

/* A program of `type`, 0 for any. */
void fuzz_generate(struct sl_random *random, const struct fuzz_world *world, uint32_t type,
	struct fuzz_program *program);

/* The productions that these sides cannot do, for a report; true while *index names one. */
bool fuzz_production_left_out(
	const struct fuzz_world *world, unsigned *index, const char **ret_name);

/* mutate.c: one to four small changes. */
void fuzz_mutate(struct sl_random *random, struct fuzz_program *program);
