#pragma once

#include "defs.h"

/* What sl_helper_start starts; each is called once. */
SL_CONTROL void sl_numa_start(void);
SL_CONTROL void sl_hash_start(void);
SL_CONTROL void sl_syncookie_start(void);
SL_CONTROL int sl_trace_start(void);
SL_CONTROL void sl_task_start(void);
