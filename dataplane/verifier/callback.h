#pragma once

#include "defs.h"

/* Before it returns, a helper calls the function of the program that it is given: callback.c. */
SL_CONTROL bool sl_helper_calls_back(uint32_t helper);
