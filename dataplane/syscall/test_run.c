#include "test_run.h"

#include <errno.h>
#include <net/if.h>
#include <rte_cycles.h>
#include <rte_mbuf_core.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "caller.h"
#include "command.h"
#include "context.h"
#include "cpu.h"
#include "facts.h"
#include "import.h"
#include "kernel_sock.h"
#include "packet.h"
#include "perf.h"
#include "prog.h"
#include "prog_type.h"
#include "user.h"

/*
 * BPF_PROG_TEST_RUN as the kernel does it: one packet in our memory, the program `repeat` times on
 * it (what one run changes the next one finds), then packet, context and times back. What the
 * kinds of context differ in is in test_xdp.c and test_skb.c.
 */

/*
 * Runs between two quiescent states, as many as a few bursts: map elements that a program deletes
 * can be used again only after that (map/hash_pool.h).
 */
enum { REPEAT_CHUNK = 256 };

/* How often a long run looks whether its caller still waits for it: some ten milliseconds. */
#define LOOK_CYCLES (UINT64_C(1) << 25)
/* How long it keeps a CPU that others wait for: about a millisecond. */
#define TURN_CYCLES (UINT64_C(1) << 21)

static bool is_in_vain(uint64_t *next_look)
{
	uint64_t now = rte_rdtsc();

	if (sl_likely(now < *next_look))
		return false;
	*next_look = now + LOOK_CYCLES;
	return sl_caller_is_gone();
}

static void mbuf_init(
	struct rte_mbuf *m, uint8_t *buffer, uint32_t size, uint32_t offset, uint32_t len)
{
	memset(m, 0, sizeof(*m));
	m->buf_addr = buffer;
	m->buf_len = size;
	m->data_off = offset;
	m->data_len = len;
	m->pkt_len = len;
	m->nb_segs = 1;
	m->refcnt = 1;
}

int sl_test_packet_init(struct sl_test_packet *packet, const struct sl_call *call,
	uint32_t headroom_bytes, uint32_t linear_bytes, uint32_t tailroom_bytes)
{
	uint32_t left = call->attr->test.data_size_in - linear_bytes;
	uint32_t pages = (left + SL_TEST_PAGE - 1) / SL_TEST_PAGE;
	size_t first_size =
		(size_t)SL_HEADROOM_SPARE + headroom_bytes + linear_bytes + tailroom_bytes;
	struct rte_mbuf *m = packet->mbufs;
	uint8_t *page;
	int err;

	packet->buffer = NULL;
	if (pages > SL_TEST_FRAGS)
		return -ENOMEM;
	packet->buffer = calloc(1, first_size + (size_t)pages * SL_TEST_PAGE);
	if (!packet->buffer)
		return -ENOMEM;
	/* sl_packet_begin finds more headroom right before an mbuf's buffer: here it is. */
	mbuf_init(m, packet->buffer + SL_HEADROOM_SPARE, first_size - SL_HEADROOM_SPARE,
		headroom_bytes, linear_bytes);
	err = sl_user_read(
		(uint8_t *)m->buf_addr + headroom_bytes, call->attr->test.data_in, linear_bytes);
	if (err)
		return err;
	page = packet->buffer + first_size;
	for (uint32_t i = 1; i <= pages; i++, page += SL_TEST_PAGE) {
		uint32_t len = sl_min(left, (uint32_t)SL_TEST_PAGE);

		mbuf_init(&m[i], page, SL_TEST_PAGE, 0, len);
		m[i - 1].next = &m[i];
		left -= len;
	}
	m->nb_segs = 1 + pages;
	m->pkt_len = call->attr->test.data_size_in;
	return pages ? sl_user_read(packet->buffer + first_size,
			       call->attr->test.data_in + linear_bytes, m->pkt_len - linear_bytes)
		     : 0;
}

int sl_test_packet_gather(struct sl_test_packet *packet, const uint8_t *start, const uint8_t *end,
	struct sl_test_result *ret_result)
{
	const struct rte_mbuf *m;
	size_t len = end - start;
	uint8_t *at;

	for (m = packet->mbufs[0].next; m; m = m->next)
		len += m->data_len;
	at = ret_result->data = malloc(sl_max(len, (size_t)1));
	if (!at)
		return -ENOMEM;
	ret_result->len_bytes = len;
	memcpy(at, start, end - start);
	at += end - start;
	for (m = packet->mbufs[0].next; m; m = m->next) {
		memcpy(at, (const uint8_t *)m->buf_addr + m->data_off, m->data_len);
		at += m->data_len;
	}
	return 0;
}

int sl_test_read_ctx(const struct sl_call *call, void *ctx, size_t size)
{
	const union bpf_attr *attr = call->attr;

	memset(ctx, 0, size);
	if (!attr->test.ctx_in)
		return 0;
	return sl_user_read_struct(ctx, size, attr->test.ctx_in, attr->test.ctx_size_in);
}

bool sl_test_all_zero(const void *start, size_t from, size_t to)
{
	const uint8_t *bytes = start;

	for (size_t i = from; i < to; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

/* As much as fits; -ENOSPC when that is not all. `room` 0 is taken as enough. */
static int give(uint64_t address, uint32_t room, const void *src, uint32_t size)
{
	uint32_t len = room ? sl_min(room, size) : size;

	if (address && sl_user_write(address, src, len))
		return -EFAULT;
	return len < size ? -ENOSPC : 0;
}

int sl_test_finish(const struct sl_call *call, const struct sl_test_result *result, const void *ctx,
	uint32_t ctx_size)
{
	const union bpf_attr *attr = call->attr;
	int err, ctx_err = 0;

	err = give(attr->test.data_out, attr->test.data_size_out, result->data, result->len_bytes);
	if (err != -EFAULT && (sl_call_put(call, test.data_size_out, result->len_bytes) ||
				      sl_call_put(call, test.retval, result->retval) ||
				      sl_call_put(call, test.duration, result->duration_ns)))
		err = -EFAULT;
	if (err)
		return err;
	if (attr->test.ctx_out) {
		ctx_err = give(attr->test.ctx_out, attr->test.ctx_size_out, ctx, ctx_size);
		if (ctx_err != -EFAULT && sl_call_put(call, test.ctx_size_out, ctx_size))
			ctx_err = -EFAULT;
	}
	return ctx_err;
}

struct run {
	struct sl_prog *prog;
	struct sl_ctx *ctx;
	uint32_t repeat, done;
	uint32_t retval;
	uint64_t time_ns;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* As the only user of `cpu`; ends early on a borrowed one that somebody else wants. */
static int run_on_cpu(unsigned cpu, void *arg)
{
	struct run *r = arg;
	struct sl_run run = { .cpu = cpu, .random = clock_ns(CLOCK_MONOTONIC) | 1 };
	struct sl_prog_stats *stats = &r->prog->stats[cpu];
	uint32_t left = r->repeat - r->done, made = 0;
	/*
	 * The kernel stops its clock as well while somebody else has the CPU. A worker has its CPU for
	 * itself, and makes no system call.
	 */
	clockid_t clock = sl_cpu_is_owned(cpu) ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
	uint64_t start = clock_ns(clock), first_cycle = rte_rdtsc();
	uint64_t next_look = first_cycle + LOOK_CYCLES;
	int64_t cycles;

	r->ctx->run = &run;
	r->ctx->cpu = cpu;
	while (left > 0) {
		uint32_t chunk = sl_min(left, (uint32_t)REPEAT_CHUNK);

		r->retval = (uint32_t)sl_code_repeat(sl_rcu_load(r->prog->code), r->ctx, chunk);
		left -= chunk;
		made += chunk;
		/* The program stays: the descriptor's reference is ours for the call. */
		if (left > 0)
			sl_rcu_quiescent();
		if (left > 0 && is_in_vain(&next_look))
			return -EINTR;
		if (sl_cpu_is_wanted(cpu) && rte_rdtsc() - first_cycle > TURN_CYCLES)
			break;
	}
	r->done += made;
	cycles = (int64_t)(rte_rdtsc() - first_cycle);
	r->time_ns += clock_ns(clock) - start;
	__atomic_store_n(&stats->run_count, stats->run_count + made, __ATOMIC_RELAXED);
	stats->timed_count = stats->run_count;
	/* Unless the thread has moved to a CPU whose counter is behind. */
	if (cycles > 0)
		__atomic_store_n(
			&stats->cycles, stats->cycles + (uint64_t)cycles, __ATOMIC_RELAXED);
	return 0;
}

/* Workers may wait for the program's locks (map/spin_lock.h): a few runs at a time between bursts. */
static int run_undisturbed(struct run *all)
{
	uint64_t next_look = rte_rdtsc() + LOOK_CYCLES;
	int err = 0;

	while (all->done < all->repeat && !err) {
		struct run r = *all;

		r.repeat = all->done + sl_min(all->repeat - all->done, (uint32_t)REPEAT_CHUNK);
		err = sl_cpu_run_undisturbed(run_on_cpu, &r);
		all->done = r.done;
		all->retval = r.retval;
		all->time_ns = r.time_ns;
		if (!err && all->done < all->repeat && is_in_vain(&next_look))
			err = -EINTR;
	}
	return err;
}

/* On a CPU without a worker, as long as that is so. */
static int run_borrowed(struct run *r, unsigned cpu)
{
	int err = 0;

	while (r->done < r->repeat && !err) {
		if (sl_cpu_is_owned(cpu))
			return run_undisturbed(r);
		err = sl_cpu_run(cpu, run_on_cpu, r);
		if (r->done < r->repeat)
			sl_cpu_step_aside(cpu);
	}
	return err;
}

int sl_test_run(const struct sl_call *call, struct sl_prog *prog, struct sl_ctx *ctx,
	struct sl_test_result *ret_result)
{
	struct run r = { .prog = prog, .ctx = ctx, .repeat = sl_max(call->attr->test.repeat, 1u) };
	unsigned cpu = sl_cpu_pick();
	int err;

	sl_route_expire();
	sl_sock_expire();
	/* No worker runs more than a few at a time. */
	if (__atomic_load_n(&prog->takes_locks, __ATOMIC_RELAXED) || sl_cpu_is_owned(cpu))
		err = run_undisturbed(&r);
	else
		err = run_borrowed(&r, cpu);
	sl_perf_ring_bells();
	if (err)
		return err;
	ret_result->retval = r.retval;
	ret_result->duration_ns = sl_min(r.time_ns / r.repeat, (uint64_t)UINT32_MAX);
	return 0;
}

int sl_cmd_prog_test_run(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	const struct sl_prog_type *type;
	struct sl_prog *prog;
	int err;

	if ((attr->test.ctx_size_in != 0) != (attr->test.ctx_in != 0) ||
		(attr->test.ctx_size_out != 0) != (attr->test.ctx_out != 0))
		return -EINVAL;
	err = sl_prog_get_by_fd(attr->test.prog_fd, &prog);
	if (err)
		return err;
	type = sl_prog_type_of(prog->type);
	if (!type || !type->test_run)
		err = -SL_ENOTSUPP;
	else
		err = type->is_skb ? sl_test_run_skb(call, prog) : sl_test_run_xdp(call, prog);
	sl_object_unref(&prog->obj);
	return err;
}
