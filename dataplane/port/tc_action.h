#pragma once

#include <sluice/tc.h>

#include "context.h"
#include "prog.h"
#include "rcu.h"

/*
 * Actions of traffic control: objects that filters share. What an action does (a program and a
 * verdict) is one pointer, replaced as a whole, so that a packet meets the old or the new. Counts
 * are per CPU, with the CPU's worker as the only writer.
 */
struct sl_tc_step {
	struct sl_prog *prog; /* reference; NULL: a plain verdict */
	int verdict;
	struct sl_rcu_head rcu;
};

struct sl_tc_action_count {
	uint64_t packets, bytes, drops;
	uint64_t first_ns, last_ns; /* CLOCK_MONOTONIC of a packet; 0 without any */
} sl_cache_aligned;

struct sl_tc_action {
	/* Read by workers. */
	struct sl_tc_step *step;
	struct sl_tc_action_count *counts; /* [sl_cpu_count()] */

	/* Control threads only, under the ports' lock. */
	enum sluice_tc_kind kind;
	uint32_t index, references, bindings;
	bool named;
	char name[SLUICE_TC_NAME_LEN];
	uint8_t cookie[SLUICE_TC_COOKIE_LEN], cookie_len;
	uint64_t added_ns;
	struct sl_rcu_head rcu;
};

/* A bpf action may say less than the configured verdict of an action can. */
SL_WORKER int sl_tc_action_run(const struct sl_tc_action *action, struct sl_ctx *ctx);
/* The same, noting the steps of a packet's path (watch.h). */
SL_WORKER int sl_tc_action_run_watched(const struct sl_tc_action *action, struct sl_ctx *ctx);

/*
 * For a filter: binds the action of that index, or makes one. The reference is given back by
 * sl_tc_action_unbind; a worker may run the action until a grace period later.
 */
SL_CONTROL int sl_tc_action_bind(
	const struct sluice_tc_action *spec, struct sl_tc_action **ret_action);
SL_CONTROL void sl_tc_action_unbind(struct sl_tc_action *action);

/* A program's reference by the caller's descriptor; -EINVAL for another type. */
SL_CONTROL int sl_tc_get_prog(int fd, enum bpf_prog_type type, struct sl_prog **ret_prog);

/* One run of a program by TC. */
SL_WORKER int sl_tc_run_prog(const struct sl_prog *prog, struct sl_ctx *ctx);
SL_WORKER int sl_tc_run_prog_watched(const struct sl_prog *prog, struct sl_ctx *ctx);
