#pragma once

#include <stdlib.h>
#include <time.h>

/* What every benchmark reports of its samples: the median, and how far they spread. */
struct summary {
	double min, median, max;
};

static inline int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts the samples. */
static inline struct summary summarize(double *samples, unsigned count)
{
	qsort(samples, count, sizeof(*samples), compare_doubles);
	return (struct summary){ samples[0], samples[count / 2], samples[count - 1] };
}

/* CPU time of the calling thread, which other tenants of the machine do not inflate. */
static inline double thread_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static inline double wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}
