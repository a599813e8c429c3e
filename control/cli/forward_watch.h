#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <sluice/observe.h>

/* Captures and traces of `sluice forward`: what `sluice capture` and `sluice trace` do with a daemon. */
enum { SL_FORWARD_WATCHES = 8 };

struct sl_pcapng;

struct sl_forward_watch {
	bool paths;
	char *file, *port, *filter;
	uint32_t points, snaplen, sample;
	struct sluice_watch *watch;
	FILE *stream;
	struct sl_pcapng *pcapng; /* NULL: a trace */
};

struct sl_forward_watches {
	struct sl_forward_watch list[SL_FORWARD_WATCHES];
	unsigned count;
	pthread_t thread;
	bool started, stop; /* the latter atomic */
};

/* Takes an option's value apart, in place. 0 or negative errno. */
int sl_forward_add_watch(struct sl_forward_watches *watches, char *value, bool paths);
/* Opens all of them, and ends them. Exit statuses, the reason printed. */
int sl_forward_watch_start(struct sl_forward_watches *watches);
int sl_forward_watch_stop(struct sl_forward_watches *watches);
