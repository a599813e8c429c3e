#pragma once

#include "defs.h"

/*
 * Where bpf_trace_printk's lines go. A worker formats them into a ring of its CPU, the background
 * thread reads the rings and hands each line on: to the readers of sluice_log_open, or to a sink. A
 * line that finds its ring full is counted.
 */
typedef void (*sl_trace_sink_fn)(unsigned cpu, const char *line);

/* NULL: the readers. */
SL_CONTROL void sl_trace_set_sink(sl_trace_sink_fn sink);

/* Lines that found no room since the start, all CPUs. */
SL_CONTROL uint64_t sl_trace_lost(void);
