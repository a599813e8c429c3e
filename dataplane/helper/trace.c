#include "trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "background.h"
#include "clock.h"
#include "cpu.h"
#include "format.h"
#include "row.h"
#include "start.h"
#include "trace_log.h"

/*
 * One ring per CPU, of times and NUL-terminated lines. The CPU's owner is the only writer, the background
 * thread the only reader; each publishes its own position with a release store and reads the other's
 * with an acquire load, so neither waits.
 */

#define RING_BYTES 32768u /* a power of two */
#define MAX_LINE 1024
#define PRINTK_ARGS 3

struct trace_ring {
	uint32_t head; /* writer's; both count bytes since the start */
	uint64_t lost; /* writer's */
	uint32_t tail sl_cache_aligned; /* reader's */
	uint64_t lost_told; /* reader's */
	char text[RING_BYTES] sl_cache_aligned;
};

static struct trace_ring *rings; /* one per CPU, set before the first program runs */
static sl_trace_sink_fn trace_sink;

static void put(struct trace_ring *ring, uint32_t position, const void *data, uint32_t len)
{
	uint32_t at = position % RING_BYTES, part = sl_min(len, RING_BYTES - at);

	memcpy(ring->text + at, data, part);
	memcpy(ring->text, (const char *)data + part, len - part);
}

static void append(struct trace_ring *ring, const char *line, uint32_t line_len)
{
	uint32_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE); /* pairs with drain */
	uint64_t time_ns = sl_clock_ns();
	uint32_t len = (uint32_t)sizeof(time_ns) + line_len;

	if (len > RING_BYTES - (ring->head - tail)) {
		__atomic_store_n(&ring->lost, ring->lost + 1, __ATOMIC_RELAXED);
		return;
	}
	put(ring, ring->head, &time_ns, sizeof(time_ns));
	put(ring, ring->head + (uint32_t)sizeof(time_ns), line, line_len);
	__atomic_store_n(&ring->head, ring->head + len, __ATOMIC_RELEASE); /* pairs with drain */
}

static void deliver(unsigned cpu, uint64_t time_ns, const char *line)
{
	sl_trace_sink_fn sink = __atomic_load_n(&trace_sink, __ATOMIC_ACQUIRE);

	if (sink)
		sink(cpu, line);
	else
		sl_trace_log_line(cpu, time_ns, line);
}

static bool drain_ring(unsigned cpu, struct trace_ring *ring)
{
	uint32_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE); /* pairs with append */
	uint64_t lost = __atomic_load_n(&ring->lost, __ATOMIC_RELAXED), time_ns;
	uint32_t tail = ring->tail, len;
	char line[MAX_LINE];

	if (lost != ring->lost_told) {
		sl_trace_log_lost(cpu, lost - ring->lost_told);
		ring->lost_told = lost;
	}
	if (head == tail)
		return false;
	while (tail != head) {
		for (len = 0; len < sizeof(time_ns); len++)
			((char *)&time_ns)[len] = ring->text[tail++ % RING_BYTES];
		for (len = 0; (line[len] = ring->text[tail++ % RING_BYTES]) != 0; len++)
			;
		/* Programs end their lines themselves. */
		if (len && line[len - 1] == '\n')
			line[len - 1] = 0;
		deliver(cpu, time_ns, line);
	}
	__atomic_store_n(&ring->tail, tail, __ATOMIC_RELEASE); /* pairs with append */
	return true;
}

static bool drain(void *arg)
{
	bool any = false;

	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
		any |= drain_ring(cpu, &rings[cpu]);
	return any;
}

void sl_trace_set_sink(sl_trace_sink_fn sink)
{
	__atomic_store_n(&trace_sink, sink, __ATOMIC_RELEASE);
}

uint64_t sl_trace_lost(void)
{
	uint64_t lost = 0;

	for (unsigned cpu = 0; rings && cpu < sl_cpu_count(); cpu++)
		lost += __atomic_load_n(&rings[cpu].lost, __ATOMIC_RELAXED);
	return lost;
}

int sl_trace_start(void)
{
	size_t size = sl_cpu_count() * sizeof(struct trace_ring);
	struct trace_ring *new = aligned_alloc(SL_CACHE_LINE, size);

	if (!new)
		return -ENOMEM;
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		new[cpu].head = new[cpu].tail = 0;
		new[cpu].lost = new[cpu].lost_told = 0;
	}
	__atomic_store_n(&rings, new, __ATOMIC_RELEASE);
	return sl_background_add_poll(drain, NULL);
}

/* The text's whole length, as the kernel returns it, however much of it is kept. */
static uint64_t print(const struct sl_ctx *ctx, const char *fmt, uint32_t fmt_size,
	const uint64_t *args, uint32_t arg_count)
{
	struct trace_ring *all = __atomic_load_n(&rings, __ATOMIC_ACQUIRE);
	char line[MAX_LINE];
	int len = sl_format(line, sizeof(line), fmt, fmt_size, args, arg_count);

	if (len >= 0 && all)
		append(&all[ctx->cpu], line, sl_min((uint32_t)len, (uint32_t)MAX_LINE - 1) + 1);
	return sl_helper_ret(len);
}

SL_HELPER_FN(trace_printk)
{
	const uint64_t args[PRINTK_ARGS] = { r3, r4, r5 };

	return print(ctx, (const char *)r1, (uint32_t)r2, args, PRINTK_ARGS);
}

const struct sl_helper sl_helper_trace_printk = {
	SL_ROW(trace_printk, ANY),
	/* R3..R5 are passed on unchecked: the format says which of them are looked at. */
	.flags = SL_HELPER_GPL | SL_HELPER_ALL_REGS | SL_HELPER_READS_ANYTHING,
	.args = { SL_ARG_MEM, SL_ARG_SIZE },
};

static bool args_fit(const void *args, uint32_t len)
{
	return len % sizeof(uint64_t) == 0 && len <= SL_FORMAT_MAX_ARGS * sizeof(uint64_t) &&
	       (len == 0 || args);
}

SL_HELPER_FN(trace_vprintk)
{
	const uint64_t *args = (const uint64_t *)r3;
	uint32_t len = (uint32_t)r4;

	if (!args_fit(args, len))
		return sl_helper_ret(-EINVAL);
	return print(ctx, (const char *)r1, (uint32_t)r2, args, len / sizeof(uint64_t));
}

const struct sl_helper sl_helper_trace_vprintk = {
	SL_ROW(trace_vprintk, ANY),
	.flags = SL_HELPER_GPL | SL_HELPER_READS_ANYTHING,
	.args = { SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_MEM_OR_NULL, SL_ARG_SIZE_OR_ZERO },
};

/* Returns the whole text's length with its NUL. */
SL_HELPER_FN(snprintf)
{
	const uint64_t *args = (const uint64_t *)r4;
	uint32_t len = (uint32_t)r5;
	int ret;

	if (!args_fit(args, len))
		return sl_helper_ret(-EINVAL);
	ret = sl_format((char *)r1, r1 ? (uint32_t)r2 : 0, (const char *)r3, UINT32_MAX, args,
		len / sizeof(uint64_t));
	return sl_helper_ret(ret < 0 ? ret : ret + 1);
}

const struct sl_helper sl_helper_snprintf = {
	SL_ROW(snprintf, ANY),
	.flags = SL_HELPER_GPL | SL_HELPER_LEAVES_MEMORY | SL_HELPER_READS_ANYTHING,
	.args = { SL_ARG_MEM_UNINIT_OR_NULL, SL_ARG_SIZE_OR_ZERO, SL_ARG_CONST_STR,
		SL_ARG_MEM_OR_NULL, SL_ARG_SIZE_OR_ZERO },
};
