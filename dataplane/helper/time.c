#include <errno.h>
#include <pthread.h>
#include <rte_cycles.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "background.h"
#include "clock.h"
#include "row.h"

/* Shorter baselines measure the measurement. */
#define FIRST_LINE_AFTER_NS 50000000
#define REDRAW_EVERY_NS 100000000
/* An error beyond this is a suspended machine, not drift: step forward. */
#define STEP_NS 10000000
/* The kernel's jiffies start five minutes before they wrap at 32 bits. */
#define INITIAL_JIFFIES_S 300

struct sl_clock sl_clock;

/* The background thread's own. */
static struct {
	uint64_t start_tsc, start_ns;
	uint64_t last_ns;
} calibration;

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

uint64_t sl_clock_slow_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* Both clocks at one moment: the tightest of a few attempts. */
static void read_pair(uint64_t *ret_tsc, uint64_t *ret_ns)
{
	uint64_t best = UINT64_MAX;

	*ret_tsc = *ret_ns = 0;
	for (int i = 0; i < 5; i++) {
		uint64_t before = rte_rdtsc();
		uint64_t ns = read_clock(CLOCK_MONOTONIC);
		uint64_t after = rte_rdtsc();

		if (after - before >= best)
			continue;
		best = after - before;
		*ret_tsc = before + best / 2;
		*ret_ns = ns;
	}
}

static void sample_offsets(void)
{
	uint64_t mono = read_clock(CLOCK_MONOTONIC);

	__atomic_store_n(
		&sl_clock.boot_ns, (int64_t)(read_clock(CLOCK_BOOTTIME) - mono), __ATOMIC_RELAXED);
	__atomic_store_n(
		&sl_clock.tai_ns, (int64_t)(read_clock(CLOCK_TAI) - mono), __ATOMIC_RELAXED);
}

static void publish(const struct sl_clock_line *line)
{
	uint32_t seq = sl_clock.seq + 1;

	/* 0 means "not known", so it is skipped; parity must still alternate. */
	if (seq == 0)
		seq = 2;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	sl_clock.line[seq & 1] = *line;
	__atomic_store_n(&sl_clock.seq, seq, __ATOMIC_RELEASE); /* pairs with sl_clock_ns */
}

/* ns per count in 32.32, for `ns` in `counts`. */
static uint64_t rate(uint64_t ns, uint64_t counts)
{
	return (uint64_t)(((unsigned __int128)ns << 32) / counts);
}

/*
 * Draws the next line through the point where the old one is now, with the rate measured since the
 * start, bent so that the error is gone at the next redraw.
 */
static bool redraw(void *arg)
{
	const struct sl_clock_line *old = &sl_clock.line[sl_clock.seq & 1];
	struct sl_clock_line line;
	uint64_t now_ns, now_tsc, shown_ns;
	int64_t error;

	now_ns = read_clock(CLOCK_MONOTONIC);
	if (now_ns - calibration.last_ns < (sl_clock.seq ? REDRAW_EVERY_NS : FIRST_LINE_AFTER_NS))
		return false;
	read_pair(&now_tsc, &now_ns);
	sample_offsets();
	calibration.last_ns = now_ns;
	line.tsc = now_tsc;
	line.ns = now_ns;
	line.mult = rate(now_ns - calibration.start_ns, now_tsc - calibration.start_tsc);
	if (sl_clock.seq) {
		shown_ns = old->ns +
			   (uint64_t)((unsigned __int128)(now_tsc - old->tsc) * old->mult >> 32);
		error = (int64_t)(now_ns - shown_ns);
		if (error < STEP_NS) {
			line.ns = shown_ns;
			/* At most a tenth faster or slower, so that time neither stands nor jumps. */
			error = sl_max(error, -REDRAW_EVERY_NS / 10);
			error = sl_min(error, REDRAW_EVERY_NS / 10);
			line.mult += (int64_t)line.mult / (REDRAW_EVERY_NS / 1000) * (error / 1000);
			line.mult += (int64_t)line.mult / REDRAW_EVERY_NS * (error % 1000);
		}
	}
	publish(&line);
	return false;
}

/* The counter runs at one rate in all power states, and the kernel trusts its synchronisation. */
static bool counter_is_invariant(void)
{
#if defined(__x86_64__)
	char line[8192];
	bool found = false;
	FILE *f = fopen("/proc/cpuinfo", "re");

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5) != 0)
			continue;
		found = strstr(line, " constant_tsc") && strstr(line, " nonstop_tsc");
		break;
	}
	fclose(f);
	return found;
#elif defined(__aarch64__)
	return true;
#else
	return false;
#endif
}

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t measured_jiffy_ns(void)
{
	struct timespec resolution;

	clock_getres(CLOCK_MONOTONIC_COARSE, &resolution);
	return resolution.tv_nsec ? (uint64_t)resolution.tv_nsec : NS_PER_S / 250;
}

int sl_clock_start(void)
{
	static bool started;
	int ret = 0;

	pthread_mutex_lock(&start_lock);
	if (!started) {
		sample_offsets();
		sl_clock.jiffy_ns = measured_jiffy_ns();
		if (counter_is_invariant()) {
			read_pair(&calibration.start_tsc, &calibration.start_ns);
			calibration.last_ns = calibration.start_ns;
			ret = sl_background_add_poll(redraw, NULL);
		}
		started = ret == 0;
	}
	pthread_mutex_unlock(&start_lock);
	return ret;
}

static uint64_t counter_hz;

static void measure_counter(void)
{
	uint64_t tsc, ns, begin_tsc, begin_ns;

	read_pair(&begin_tsc, &begin_ns);
	do {
		usleep(10000);
		read_pair(&tsc, &ns);
	} while (ns - begin_ns < 10000000 || tsc <= begin_tsc);
	counter_hz = (uint64_t)((unsigned __int128)(tsc - begin_tsc) * NS_PER_S / (ns - begin_ns));
}

uint64_t sl_clock_cycles_hz(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, measure_counter);
	return counter_hz;
}

uint64_t sl_clock_cycles_ns(uint64_t cycles)
{
	if (!cycles)
		return 0;
	return (uint64_t)((unsigned __int128)cycles * NS_PER_S / sl_clock_cycles_hz());
}

/* The kernel's HZ shows in the resolution of its coarse clock. */
SL_HELPER_FN(jiffies64)
{
	uint64_t jiffy_ns = sl_clock.jiffy_ns ? sl_clock.jiffy_ns : measured_jiffy_ns();
	uint64_t hz = (NS_PER_S + jiffy_ns / 2) / jiffy_ns;

	return (uint32_t)(-INITIAL_JIFFIES_S * (int64_t)hz) + sl_clock_ns() / jiffy_ns;
}

const struct sl_helper sl_helper_ktime_get_ns = { SL_ROW(ktime_get_ns, ANY) };
const struct sl_helper sl_helper_ktime_get_boot_ns = { SL_ROW(ktime_get_boot_ns, ANY) };
const struct sl_helper sl_helper_ktime_get_coarse_ns = { SL_ROW(ktime_get_coarse_ns, ANY) };
const struct sl_helper sl_helper_ktime_get_tai_ns = { SL_ROW(ktime_get_tai_ns, ANY) };
const struct sl_helper sl_helper_jiffies64 = { SL_ROW(jiffies64, ANY) };
