#pragma once

#include "defs.h"

/*
 * Lines of bpf_trace_printk on their way from the background thread to whoever reads them
 * (sluice_log_open).
 */

/* The background thread only. */
SL_CONTROL void sl_trace_log_line(unsigned cpu, uint64_t time_ns, const char *line);
/* So many of a CPU's lines found no room before the next one. */
SL_CONTROL void sl_trace_log_lost(unsigned cpu, uint64_t count);
