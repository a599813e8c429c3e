#pragma once

#include "defs.h"

struct sl_prog;

#define SL_EXCEPTION_REASON_LEN 256

/*
 * Where the function begins that the program names for its exceptions, in a tag of its main
 * function's declaration: 0 when it names none. Wants func_info. Negative errno, with why in one line
 * of `reason`, when what it names is not fit for that.
 */
SL_CONTROL int sl_exceptions_find(
	const struct sl_prog *prog, char reason[SL_EXCEPTION_REASON_LEN], uint32_t *ret_insn);
