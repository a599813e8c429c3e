#include <errno.h>
#include <pthread.h>
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

enum { ROUNDS = 7, ROUND_MS = 250, PACKETS = 256, SAMPLES = 1 << 19, CONTROLS = 3 };

/* What one control thread does: generations, or changes of a single slot. */
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

/* Packets per microsecond of the workers' CPU time. */
static double measure(uint64_t (*workers_ns)(void), bool swap)
{
	struct sluice_counters before, after;
	uint64_t start_ns;

	__atomic_store_n(&busy, swap, __ATOMIC_RELEASE);
	usleep(2000);
	start_ns = workers_ns();
	sluice_counters_read(0, -1, &before);
	usleep(ROUND_MS * 1000);
	sluice_counters_read(0, -1, &after);
	return (double)(after.value[SLUICE_RX] - before.value[SLUICE_RX]) * 1e3 /
	       (double)(workers_ns() - start_ns);
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

static bool run(unsigned row, uint64_t (*workers_ns)(void))
{
	unsigned swappers = rows[row].swappers, count = swappers + rows[row].singles, total;
	double quiet[ROUNDS], swapping[ROUNDS], dip[ROUNDS];
	struct control controls[CONTROLS];
	struct swaps_bed bed;
	bool ok;

	if (!swaps_open(&bed, PACKETS) || sluice_workers_start() != 0) {
		fprintf(stderr, "updates: swaps: %s\n", strerror(errno));
		return false;
	}
	begin(&bed, controls, swappers, count);
	measure(workers_ns, true);
	for (unsigned i = 0; i < ROUNDS; i++) {
		quiet[i] = measure(workers_ns, false);
		swapping[i] = measure(workers_ns, true);
		dip[i] = (1 - swapping[i] / quiet[i]) * 100;
	}
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
	summarize(dip, ROUNDS);
	printf(" %7.2f %7.2f %6.1f %6.1f..%-6.1f\n", summarize(quiet, ROUNDS).median,
		summarize(swapping, ROUNDS).median, dip[ROUNDS / 2], dip[0], dip[ROUNDS - 1]);
	ok = print_packets(&bed);
	for (unsigned i = 0; i < count; i++) {
		free(controls[i].publish_us);
		free(controls[i].adopt_us);
	}
	swaps_close(&bed);
	return ok;
}

bool updates_swaps(uint64_t (*workers_ns)(void))
{
	bool ok = true;

	printf("\ngenerations of 3 tables and 3 hooks, as fast as they go; Mpps per worker's CPU\n"
	       "%-18s %8s %8s %17s %17s %7s %7s %6s %14s\n%36s %8s %8s %8s %8s\n",
		"control", "swaps", "per s", "us to publish", "us to adopt", "Mpps", "swapped",
		"dip %", "min..max", "", "median", "p99", "median", "p99");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ok = run(i, workers_ns) && ok;
	return ok;
}
