#pragma once

#include "defs.h"

/*
 * CPU numbers are the machine's. A worker claims the CPU it is pinned to; everybody else who runs
 * programs borrows one for the length of a run, so that per-CPU data has one writer at a time.
 */

/* Number of possible CPUs, as libbpf_num_possible_cpus counts them; at most SL_MAX_CPUS. */
SL_ANY unsigned sl_cpu_count(void);

/* Claims `cpu` for the calling worker. -EBUSY when another worker has it, -EINVAL past the end. */
SL_WORKER int sl_cpu_claim(unsigned cpu);
SL_WORKER void sl_cpu_release(unsigned cpu);

/* Runs what was posted to this worker's CPU; one load when nothing was. Once per burst. */
SL_WORKER void sl_cpu_poll(unsigned cpu);

/*
 * Runs fn(cpu, arg) as the only user of `cpu` and returns its result: on the calling thread where
 * no worker owns the CPU, else on its worker between two bursts. fn runs in an RCU read section.
 * -ENXIO when the CPU does not exist.
 */
SL_CONTROL int sl_cpu_run(unsigned cpu, int (*fn)(unsigned cpu, void *arg), void *arg);

/*
 * The same on every CPU, on all workers' at the same time: it takes as long as the slowest worker's
 * burst, or a control thread's run that is under way. A CPU that is passed from one thread to
 * another meanwhile gets it once.
 */
SL_CONTROL void sl_cpu_run_all(int (*fn)(unsigned cpu, void *arg), void *arg);

/*
 * The same on a worker's CPU, any one's, or where there is no worker on any CPU: for short work that
 * other workers may wait for, which a control thread could be preempted in.
 */
SL_CONTROL int sl_cpu_run_undisturbed(int (*fn)(unsigned cpu, void *arg), void *arg);

/* What sl_cpu_run_undisturbed runs on in place of `cpu`: `cpu` itself where that will do. */
SL_CONTROL unsigned sl_cpu_undisturbed(unsigned cpu);

/*
 * For fn of sl_cpu_run that takes long on a borrowed CPU: whether somebody waits for it, a generation
 * that all CPUs are to adopt perhaps, while others wait for that. It then ends, and goes on after
 * sl_cpu_step_aside, which lets those who wait be first.
 */
SL_CONTROL bool sl_cpu_is_wanted(unsigned cpu);
SL_CONTROL void sl_cpu_step_aside(unsigned cpu);

/* Whether a worker owns `cpu`; does not change while fn of sl_cpu_run runs there. */
SL_ANY bool sl_cpu_is_owned(unsigned cpu);

/* A CPU that no worker owns, the caller's own if possible; any CPU when workers own them all. */
SL_CONTROL unsigned sl_cpu_pick(void);
