#pragma once

#include "defs.h"
#include "perf_layout.h"

struct sl_ctx;

/*
 * Perf events of type PERF_COUNT_SW_BPF_OUTPUT: one CPU's stream of samples, in a ring that a
 * consumer maps. perf_event_open(2) and its descriptors are in include/sluice/bpf.h.
 */

/* Makes the events of this process what its PERF_EVENT_ARRAYs take. Once, at start-up. */
SL_CONTROL void sl_event_init(void);

/*
 * The event behind a descriptor, with a reference for the caller: what PERF_EVENT_ARRAY stores.
 * -EBADF when fd is no perf event, -EOPNOTSUPP for an inherited one. A perf event of the kernel's
 * own is accepted, as the kernel accepts a counter; output to it answers -EINVAL.
 */
SL_CONTROL int sl_perf_event_get(int fd, struct sl_perf_event **ret_event);
/* A writer may use the event until the next grace period. NULL is fine. */
SL_CONTROL void sl_perf_event_unref(struct sl_perf_event *event);

/*
 * bpf_perf_event_output after the slot has been found: one sample with `size` bytes at `data`,
 * then ctx_len bytes of the packet. The caller runs on ctx->cpu as its only user.
 * -EOPNOTSUPP or -EINVAL: the event cannot take it; -EFAULT: fewer packet bytes; -E2BIG: more than
 * a record holds; -ENOSPC: not mapped, or full, and then counted as lost.
 */
SL_WORKER long sl_perf_output(struct sl_perf_event *event, const struct sl_ctx *ctx,
	const void *data, uint64_t size, uint64_t ctx_len);

/* Whether the packet has ctx_len bytes; to be asked before the slot is looked up. */
SL_WORKER bool sl_perf_packet_has(const struct sl_ctx *ctx, uint64_t ctx_len);

/*
 * Wakes the consumers that have something to read, as the background thread does every few
 * milliseconds. For whoever has just run programs and returns to the consumer.
 */
SL_CONTROL void sl_perf_ring_bells(void);
