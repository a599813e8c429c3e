#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stats.h"
#include "swaps_bed.h"
#include "updates.h"

/*
 * Generations: three jump tables and the programs of three hooks are replaced at once, as fast as it
 * goes, while packets run through them round and round and check what they meet. Rounds with and
 * without take turns.
 */

enum {
	ROUNDS = 7,
	ROUND_MS = 500,
	PACKETS = 256,
	SAMPLES = 1 << 19,
	CONTROLS = 3,
	WORKERS = 2,
	CONTROL_CPU = 0
};

/* What one control thread does, beside the first worker: generations, or single slots. */
struct control {
	struct swaps_bed *bed;
	bool single;
	pthread_t thread;
	unsigned made;
	double *publish_us, *adopt_us; /* [SAMPLES] */
};

static bool busy, over; /* what the control threads are to do; atomically */

static void sample(struct control *c, const struct sluice_generation_info *info)
{
	if (c->made == SAMPLES)
		return;
	c->publish_us[c->made] = (double)info->prepare_ns / 1e3;
	c->adopt_us[c->made] = (double)info->adopt_ns / 1e3;
}

static void *control_main(void *arg)
{
	struct control *c = arg;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(CONTROL_CPU, &cpus);
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	for (unsigned n = 0; !__atomic_load_n(&over, __ATOMIC_ACQUIRE);) {
		struct sluice_generation_info info;
		int err;

		if (!__atomic_load_n(&busy, __ATOMIC_ACQUIRE)) {
			usleep(1000);
			continue;
		}
		err = c->single ? swaps_aside(c->bed, !(n & 1)) : swaps_to(c->bed, !(n & 1), &info);
		n++;
		/* Another thread may have been first. */
		if (err == -ESTALE)
			continue;
		if (err) {
			fprintf(stderr, "updates: swap: %s\n", strerror(-err));
			exit(1);
		}
		if (!c->single)
			sample(c, &info);
		c->made += c->made < SAMPLES;
	}
	return NULL;
}

static const struct {
	const char *name;
	unsigned swappers, singles;
} rows[] = {
	{ "one thread", 1, 0 },
	{ "two threads", 2, 0 },
	{ "two, single slots", 2, 1 },
};

static void begin(
	struct swaps_bed *bed, struct control *controls, unsigned swappers, unsigned count)
{
	__atomic_store_n(&over, false, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < count; i++) {
		controls[i] = (struct control){ .bed = bed, .single = i >= swappers };
		controls[i].publish_us = calloc(SAMPLES, sizeof(double));
		controls[i].adopt_us = calloc(SAMPLES, sizeof(double));
		if (!controls[i].publish_us || !controls[i].adopt_us)
			exit(1);
		pthread_create(&controls[i].thread, NULL, control_main, &controls[i]);
	}
}

struct mark {
	uint64_t packets, ns;
};

static struct mark mark_of(unsigned worker)
{
	struct sluice_counters counters;
	struct mark mark = { 0 };
	unsigned cpu;

	if (sluice_counters_read(0, (int)worker, &counters) == 0)
		mark.packets = counters.value[SLUICE_RX];
	sluice_worker_times(worker, &cpu, &mark.ns);
	return mark;
}

/* Each worker's packets per microsecond of its CPU time. */
static void measure(bool swap, double ret_rates[WORKERS])
{
	struct mark before[WORKERS];

	__atomic_store_n(&busy, swap, __ATOMIC_RELEASE);
	usleep(2000);
	for (unsigned w = 0; w < WORKERS; w++)
		before[w] = mark_of(w);
	usleep(ROUND_MS * 1000);
	for (unsigned w = 0; w < WORKERS; w++) {
		struct mark after = mark_of(w);

		/* One that got no CPU at all has done nothing in no time. */
		ret_rates[w] = (double)(after.packets - before[w].packets + 1) * 1e3 /
			       (double)(after.ns - before[w].ns + 1000);
	}
}

/* Of all swappers together: sorted into the first one's. */
static unsigned gather(struct control *controls, unsigned swappers)
{
	unsigned total = controls[0].made;

	for (unsigned i = 1; i < swappers; i++) {
		unsigned n =
			controls[i].made < SAMPLES - total ? controls[i].made : SAMPLES - total;

		memcpy(controls[0].publish_us + total, controls[i].publish_us, n * sizeof(double));
		memcpy(controls[0].adopt_us + total, controls[i].adopt_us, n * sizeof(double));
		total += n;
	}
	return total;
}

static void print_times(double *us, unsigned count)
{
	summarize(us, count);
	printf(" %8.1f %8.1f", us[count / 2], us[(size_t)count * 99 / 100]);
}

/* Whether what the packets found is in order. */
static bool print_packets(struct swaps_bed *bed)
{
	struct swaps_state s;
	bool ok = swaps_read(bed, &s) && s.packets == PACKETS && s.seen == s.left && !s.mixed &&
		  !s.missed && !s.disorder;

	printf("%18s %llu packets, %u in flight: %lld lost, %llu mixed, %llu in an empty slot, "
	       "%llu out of order\n",
		"", s.seen, s.packets, (long long)(s.seen - s.left), s.mixed, s.missed, s.disorder);
	fflush(stdout);
	return ok;
}

/* The first worker shares its CPU with the control threads, the second one has its own. */
enum { BESIDE, ALONE };

struct dips {
	double quiet[ROUNDS], swapping[ROUNDS], alone[ROUNDS], beside[ROUNDS];
};

static void measure_dips(struct dips *dips)
{
	double quiet[WORKERS], swapping[WORKERS];

	measure(true, swapping);
	for (unsigned i = 0; i < ROUNDS; i++) {
		measure(false, quiet);
		measure(true, swapping);
		dips->quiet[i] = quiet[ALONE];
		dips->swapping[i] = swapping[ALONE];
		dips->alone[i] = (1 - swapping[ALONE] / quiet[ALONE]) * 100;
		dips->beside[i] = (1 - swapping[BESIDE] / quiet[BESIDE]) * 100;
	}
}

static bool run(unsigned row)
{
	unsigned swappers = rows[row].swappers, count = swappers + rows[row].singles, total;
	struct dips dips;
	struct summary alone;
	struct control controls[CONTROLS];
	struct swaps_bed bed;
	bool ok;

	if (!swaps_open(&bed, PACKETS) || sluice_workers_start() != 0) {
		fprintf(stderr, "updates: swaps: %s\n", strerror(errno));
		return false;
	}
	begin(&bed, controls, swappers, count);
	measure_dips(&dips);
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < count; i++)
		pthread_join(controls[i].thread, NULL);
	sluice_workers_stop();
	total = gather(controls, swappers);
	printf("%-18s %8u %8.0f", rows[row].name, total, total / ((ROUNDS + 1) * ROUND_MS / 1e3));
	if (total) {
		print_times(controls[0].publish_us, total);
		print_times(controls[0].adopt_us, total);
	}
	alone = summarize(dips.alone, ROUNDS);
	printf(" %7.2f %7.2f %6.1f %6.1f..%-6.1f %6.1f\n", summarize(dips.quiet, ROUNDS).median,
		summarize(dips.swapping, ROUNDS).median, alone.median, alone.min, alone.max,
		summarize(dips.beside, ROUNDS).median);
	ok = print_packets(&bed);
	for (unsigned i = 0; i < count; i++) {
		free(controls[i].publish_us);
		free(controls[i].adopt_us);
	}
	swaps_close(&bed);
	return ok;
}

bool updates_swaps(void)
{
	bool ok = true;

	printf("\ngenerations of 3 tables and 3 hooks, as fast as they go; Mpps and dip of the worker "
	       "with a CPU of its own,\nand dip of the one that the control threads interrupt\n"
	       "%-18s %8s %8s %17s %17s %7s %7s %6s %14s %6s\n%36s %8s %8s %8s %8s\n",
		"control", "swaps", "per s", "us to publish", "us to adopt", "Mpps", "swapped",
		"dip %", "min..max", "other", "", "median", "p99", "median", "p99");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ok = run(i) && ok;
	return ok;
}
