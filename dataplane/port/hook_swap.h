#pragma once

#include <sluice/dataplane.h>

#include "prog.h"

struct sl_link;
struct sl_mprog;
struct sl_port;

/*
 * Programs at hooks of ports that are replaced together, and together with slots of jump tables:
 * every packet sees all of it or nothing. See hook_swap.c.
 *
 * The order of calls: settle, lock, check; then apply, adopt on every CPU by sl_cpu_run_all, finish,
 * and unlock.
 */
enum sl_hook_kind { SL_HOOK_XDP, SL_HOOK_TCX, SL_HOOK_FILTER };

/* What can be replaced at one time. */
enum { SL_HOOK_SWAPS = 64 };

struct sl_hook_change {
	enum sl_hook_kind kind;
	uint32_t ifindex;
	enum sluice_tc_hook hook; /* but of XDP */
	uint32_t priority, handle; /* of a filter */
	struct sl_prog *prog; /* what comes: a reference */
	struct sl_prog
		*old; /* that must be there, NULL for any; once applied what was: references */

	/* Found by the check; valid while locked. */
	struct sl_prog **place;
	struct sl_link *link; /* that holds the program; NULL for none */
	struct sl_mprog *list; /* of tcx */
};

/* Waits until no worker can be on its way through the last swap. One thread at a time swaps. */
SL_CONTROL int sl_hook_swap_settle(void);
/* All hooks of all ports stay as they are until unlocked. */
SL_CONTROL void sl_hook_swap_lock(void);
SL_CONTROL void sl_hook_swap_unlock(void);
/*
 * Whether the programs may be there: -ENODEV, -ENOENT where nothing is, -ESTALE where it is not
 * `old`, -EINVAL for a program that does not fit, -EEXIST for one that is at the hook already, or a
 * place that two changes name. *ret_at is the change that it was about.
 */
SL_CONTROL int sl_hook_swap_check(struct sl_hook_change *changes, unsigned count, unsigned *ret_at);
SL_CONTROL void sl_hook_swap_apply(struct sl_hook_change *changes, unsigned count);
/* On a CPU, as its only user: it runs what is new from now on. */
SL_ANY void sl_hook_swap_adopt(unsigned cpu);
/* When all CPUs have. Hooks and links then have references to what is new, and none to the old. */
SL_CONTROL void sl_hook_swap_finish(struct sl_hook_change *changes, unsigned count);

/* Whether what a hook has on this CPU is the stand-in of a program that knows of frags. */
SL_WORKER bool sl_hook_swap_has_frags(const struct sl_prog *prog, uint32_t cpu);

/* The program itself, for who wants to say its name: another one than `prog` if that is a stand-in. */
SL_WORKER const struct sl_prog *sl_hook_swap_actual(const struct sl_prog *prog, uint32_t cpu);
