#pragma once

#include <stdint.h>

#include "map_open.h"
#include "map_passing.h"

/*
 * The option --map of `sluice exec` and `sluice agent`: "--map [NUMBER=]MAP", where MAP is of
 * map_open.h. A map without a number gets the lowest free one.
 */
enum { SL_MAP_NUMBER_ANY = -1 };

struct sl_map_option {
	struct sl_map_ref ref;
	int64_t number;
};

struct sl_map_options {
	unsigned count;
	struct sl_map_option option[SL_PASSED_MAX];
};

/* Takes what follows "--map" off the arguments. 0, or SL_EXIT_USAGE with the reason printed. */
int sl_map_options_take(
	const char *command, int *argc, char ***argv, struct sl_map_options *options);

/* Opens all of them into `maps`. 0, or an exit status with the reason printed. */
int sl_map_options_open(
	const char *command, const struct sl_map_options *options, struct sl_passed_maps *maps);
