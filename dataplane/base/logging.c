#include "logging.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const level_names[] = {
	[SL_LOG_ERROR] = "error",
	[SL_LOG_WARN] = "warning",
	[SL_LOG_INFO] = "info",
	[SL_LOG_DEBUG] = "debug",
};

static int max_level = -1;

static __thread struct {
	char *line;
	size_t size;
} captured;

void sl_log_capture(char *line, size_t size)
{
	captured.line = line;
	captured.size = size;
}

static int level_from_environment(void)
{
	const char *name = getenv("SLUICE_LOG");

	for (unsigned i = 0; name && i < sl_array_size(level_names); i++) {
		if (strcmp(name, level_names[i]) == 0)
			return i;
	}
	return SL_LOG_WARN;
}

void sl_log_set_level(enum sl_log_level level)
{
	__atomic_store_n(&max_level, level, __ATOMIC_RELAXED);
}

void sl_log(enum sl_log_level level, const char *fmt, ...)
{
	int max = __atomic_load_n(&max_level, __ATOMIC_RELAXED);
	char line[1024];
	va_list args;

	if (max < 0) {
		max = level_from_environment();
		sl_log_set_level(max);
	}
	if ((int)level > max)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (captured.line && level == SL_LOG_ERROR) {
		if (!captured.line[0])
			snprintf(captured.line, captured.size, "%s", line);
		return;
	}
	fprintf(stderr, "sluice: %s: %s\n", level_names[level], line);
}
