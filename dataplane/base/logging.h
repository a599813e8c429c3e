#pragma once

#include "defs.h"

enum sl_log_level { SL_LOG_ERROR, SL_LOG_WARN, SL_LOG_INFO, SL_LOG_DEBUG };

/* Writes one line to the log (stderr until sl_log_set_sink). Never called by a worker. */
SL_CONTROL void sl_log(enum sl_log_level level, const char *fmt, ...) sl_printf(2, 3);

/*
 * From now on the calling thread's errors go to `line`, the first of them, instead of to the log; NULL:
 * no more. For who asked for what went wrong.
 */
SL_CONTROL void sl_log_capture(char *line, size_t size);

/* Lines above `level` are dropped. The default is SL_LOG_WARN, or what SLUICE_LOG names. */
SL_CONTROL void sl_log_set_level(enum sl_log_level level);
