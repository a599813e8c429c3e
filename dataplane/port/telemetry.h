#pragma once

#include "defs.h"

/* Makes /sluice/... commands of DPDK's telemetry socket, should there be one. Once, with the EAL. */
SL_CONTROL void sl_telemetry_register(void);
