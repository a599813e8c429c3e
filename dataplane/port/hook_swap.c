#include "hook_swap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "cpu.h"
#include "link.h"
#include "mprog.h"
#include "port.h"
#include "run_stats.h"
#include "tc.h"
#include "worker.h"

/*
 * A hook is one pointer that all workers read, and they must not all see it change at the same
 * time: each is to see it between two of its bursts, together with its new jump tables. Looking
 * that up per worker would cost every packet. Instead, while workers adopt a generation, the
 * hook has a stand-in: a program whose code asks whether its CPU has adopted, and runs the old
 * program or the new one. When all have, the hook gets the new program itself. So a swap costs
 * packets that it meets one more call, and none at any other time.
 *
 * The code of a program gets its context only. Hence one function per stand-in, which knows its
 * number. Stand-ins are used again after a grace period.
 */
struct stand_in {
	struct sl_prog
		prog; /* no object: only its code, its flags and its counters are looked at */
	struct sl_code code;
	struct sl_prog *way[2]; /* before the CPU has adopted and after; borrowed from the change */
};

static struct stand_in stand_ins[SL_HOOK_SWAPS];
static struct sl_prog_stats *no_stats; /* written by workers, read by nobody */
static uint64_t last_token; /* of the grace period after which stand-ins may be used again */

/* Each written and read as the only user of its CPU; set to 0 when there are no stand-ins. */
static struct {
	uint8_t adopted;
} sl_cache_aligned cpus[SL_MAX_CPUS];

static const struct sl_prog *way_of(unsigned number, uint32_t cpu)
{
	return stand_ins[number].way[cpus[cpu].adopted];
}

static void run_burst(unsigned number, struct sl_burst *burst)
{
	sl_loop_run(way_of(number, burst->ctx->cpu), burst, false);
}

/* Numbers in octal: two digits are one of 64. */
#define DIGITS(X, tens) \
	X(tens##0) X(tens##1) X(tens##2) X(tens##3) X(tens##4) X(tens##5) X(tens##6) X(tens##7)
#define NUMBERS(X)    \
	DIGITS(X, 00) \
	DIGITS(X, 01) \
	DIGITS(X, 02) DIGITS(X, 03) DIGITS(X, 04) DIGITS(X, 05) DIGITS(X, 06) DIGITS(X, 07)

#define FUNCTIONS(number)                                                     \
	static uint64_t run_##number(struct sl_ctx *ctx, uint64_t tail_calls) \
	{                                                                     \
		return sl_run_one(way_of(number, ctx->cpu), ctx);             \
	}                                                                     \
	static void burst_##number(struct sl_burst *burst)                    \
	{                                                                     \
		run_burst(number, burst);                                     \
	}
NUMBERS(FUNCTIONS)
#undef FUNCTIONS

static const struct sl_code codes[] = {
#define CODE(number) { .run = run_##number, .burst = burst_##number },
	NUMBERS(CODE)
#undef CODE
};
static_assert(sl_array_size(codes) == SL_HOOK_SWAPS, "one for each");

bool sl_hook_swap_has_frags(const struct sl_prog *prog, uint32_t cpu)
{
	uintptr_t offset = (uintptr_t)prog - (uintptr_t)stand_ins;

	return offset < sizeof(stand_ins) &&
	       (way_of((unsigned)(offset / sizeof(stand_ins[0])), cpu)->flags &
		       BPF_F_XDP_HAS_FRAGS);
}

const struct sl_prog *sl_hook_swap_actual(const struct sl_prog *prog, uint32_t cpu)
{
	uintptr_t offset = (uintptr_t)prog - (uintptr_t)stand_ins;

	return offset < sizeof(stand_ins) ? way_of((unsigned)(offset / sizeof(stand_ins[0])), cpu)
					  : prog;
}

int sl_hook_swap_settle(void)
{
	size_t size = sl_cpu_count() * sizeof(*no_stats);

	if (!no_stats) {
		no_stats = aligned_alloc(SL_CACHE_LINE, size);
		if (!no_stats)
			return -ENOMEM;
		memset(no_stats, 0, size);
	}
	if (last_token && !sl_rcu_passed(last_token))
		sl_rcu_synchronize();
	return 0;
}

void sl_hook_swap_lock(void)
{
	sl_link_lock_hooks();
	sl_port_lock();
}

void sl_hook_swap_unlock(void)
{
	sl_port_unlock();
	sl_link_unlock_hooks();
}

/* ---- checks, with the hooks locked ---- */

static int find_xdp(struct sl_port *port, struct sl_hook_change *c)
{
	if (!port->xdp)
		return -ENOENT;
	c->place = &port->xdp;
	c->link = port->xdp_link;
	return 0;
}

static int find_tcx(struct sl_port *port, struct sl_hook_change *c)
{
	bool there = false;

	c->list = port->tcx[c->hook];
	for (uint32_t i = 0; c->list && i < c->list->count; i++) {
		struct sl_mprog_entry *entry = &c->list->entries[i];

		if (entry->prog == c->old) {
			c->place = &entry->prog;
			c->link = entry->link;
		} else {
			there |= entry->prog == c->prog;
		}
	}
	if (!c->place)
		return -ESTALE;
	return there ? -EEXIST : 0;
}

static int find_filter(struct sl_port *port, struct sl_hook_change *c)
{
	struct sl_tc_filter *filter = sl_tc_list_find(port->tc[c->hook], c->priority, c->handle);

	if (!filter)
		return -ENOENT;
	c->place = &filter->prog;
	return 0;
}

/* As the kernel's link update and replacement by netlink check. */
static int fits(const struct sl_port *port, const struct sl_hook_change *c)
{
	const struct sl_prog *old = *c->place;

	if (c->kind != SL_HOOK_XDP)
		return c->prog->type == BPF_PROG_TYPE_SCHED_CLS ? 0 : -EINVAL;
	if (c->link && c->prog->expected_attach_type != old->expected_attach_type)
		return -EINVAL;
	return sl_hook_check_xdp(port, c->prog, c->link ? c->link->flags : 0);
}

static int check(struct sl_hook_change *c)
{
	static int (*const find[])(struct sl_port *port, struct sl_hook_change *c) = {
		[SL_HOOK_XDP] = find_xdp,
		[SL_HOOK_TCX] = find_tcx,
		[SL_HOOK_FILTER] = find_filter,
	};
	struct sl_port *port = sl_port_peek(c->ifindex);
	int err;

	c->place = NULL;
	c->link = NULL;
	if (!port)
		return -ENODEV;
	err = find[c->kind](port, c);
	if (!err && c->old && *c->place != c->old)
		err = -ESTALE;
	return err ? err : fits(port, c);
}

int sl_hook_swap_check(struct sl_hook_change *changes, unsigned count, unsigned *ret_at)
{
	for (unsigned i = 0; i < count; i++) {
		int err = check(&changes[i]);

		*ret_at = i;
		for (unsigned k = 0; !err && k < i; k++) {
			bool same = changes[k].place == changes[i].place;

			/* A list has a program once. */
			same |= changes[i].list && changes[k].list == changes[i].list &&
				changes[k].prog == changes[i].prog;
			err = same ? -EEXIST : 0;
		}
		if (err)
			return err;
	}
	return 0;
}

/* ---- the swap ---- */

void sl_hook_swap_apply(struct sl_hook_change *changes, unsigned count)
{
	for (unsigned cpu = 0; cpu < SL_MAX_CPUS; cpu++)
		cpus[cpu].adopted = 0;
	for (unsigned i = 0; i < count; i++) {
		struct stand_in *in = &stand_ins[i];

		if (!changes[i].old) {
			changes[i].old = *changes[i].place;
			sl_object_ref(&changes[i].old->obj);
		}
		in->code = codes[i];
		in->prog.own_code = in->prog.code = &in->code;
		in->prog.stats = no_stats;
		in->way[0] = changes[i].old;
		in->way[1] = changes[i].prog;
		sl_rcu_store(*changes[i].place, &in->prog);
	}
}

void sl_hook_swap_adopt(unsigned cpu)
{
	cpus[cpu].adopted = 1;
}

/* The hook has a reference to its program, and of XDP the link one more; of tcx the link alone. */
static unsigned references(const struct sl_hook_change *c)
{
	return c->kind == SL_HOOK_XDP && c->link ? 2 : 1;
}

void sl_hook_swap_finish(struct sl_hook_change *changes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct sl_hook_change *c = &changes[i];

		for (unsigned k = 0; k < references(c); k++)
			sl_object_ref(&c->prog->obj);
		sl_rcu_store(*c->place, c->prog);
		if (c->link)
			sl_rcu_store(c->link->prog, c->prog);
		if (c->list)
			c->list->revision++;
		/* An object outlives its last reference by a grace period. */
		for (unsigned k = 0; k < references(c); k++)
			sl_object_unref(&c->old->obj);
	}
	last_token = sl_rcu_token();
}
