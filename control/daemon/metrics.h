#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What the data plane counts, as text for monitoring systems. */
enum sl_metrics_format {
	SL_METRICS_PROMETHEUS, /* text format 0.0.4 */
	SL_METRICS_OPENMETRICS, /* 1.0.0 */
};

/* Programs, maps, and programs at hooks that the text has at most; how many it leaves out is in it. */
enum { SL_METRICS_PROGS = 1024, SL_METRICS_MAPS = 1024, SL_METRICS_HOOKS = 1024 };

/* The text, to be freed; NULL when out of memory. */
char *sl_metrics_text(enum sl_metrics_format format, size_t *ret_len);

/* What an Accept header asks for; NULL: there is none. RFC 9110, 12.5.1. */
enum sl_metrics_format sl_metrics_negotiate(const char *accept);
const char *sl_metrics_content_type(enum sl_metrics_format format);
