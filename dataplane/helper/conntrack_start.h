#pragma once

#include "defs.h"

/* Before the first program that uses connections: the table, and its clock. -ENOTSUP, -ENOMEM. */
SL_CONTROL int sl_conntrack_prepare(void);
