#pragma once

#include "defs.h"

/*
 * What DPDK says goes to our log: its errors as warnings, the rest as debug lines. While one of our
 * own operations runs its errors are held back instead, because the operation ends with a single
 * line, which sl_eal_reason can make more precise.
 */
SL_CONTROL void sl_eal_hold(void);
/* The first error since sl_eal_hold, without DPDK's prefix; `otherwise` when there was none. */
SL_CONTROL const char *sl_eal_reason(const char *otherwise);
SL_CONTROL void sl_eal_release(void);

SL_ANY bool sl_eal_started(void);
