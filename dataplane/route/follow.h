#pragma once

#include <sluice/route.h>

#include "defs.h"

/*
 * Applies all that the kernel has told until now, so that a test run finds what a command before it has
 * done; nothing while nobody follows the kernel. Not in a read section.
 */
SL_CONTROL void sl_follow_catch_up(void);
