#pragma once

#include <stdbool.h>

#include "figures.h"

/* What `sluice top` was asked for; keys change some of it. */
struct sl_top {
	double delay_s;
	unsigned long iterations; /* 0: no end */
	enum sl_figures_sort sort;
	bool reverse;
	bool batch;
};

enum { SL_TOP_DELAY_MIN_MS = 100, SL_TOP_DELAY_MAX_S = 3600 };

/* The next answer of the daemon; NULL after a line in `reason`. The caller's to put. */
struct json_object *sl_top_ask(char *reason);

/* Shows the tables on the terminal until the user or the iterations end it; an exit status. */
int sl_top_screen(struct sl_top *top);
