#include <errno.h>

#include "map.h"
#include "perf.h"
#include "perf_event_array.h"
#include "row.h"

/* The checks in the kernel's order; the ring's writer is event/'s. */
SL_FAST
SL_HELPER_FN(perf_event_output)
{
	const struct sl_map_desc *desc = &((const struct sl_map *)r2)->desc;
	uint64_t ctx_len = (r3 & BPF_F_CTXLEN_MASK) >> 32;
	uint64_t index = r3 & BPF_F_INDEX_MASK;
	struct sl_perf_event *event;
	long err;

	if (sl_unlikely(r3 & ~(BPF_F_CTXLEN_MASK | BPF_F_INDEX_MASK)))
		return sl_helper_ret(-EINVAL);
	if (sl_unlikely(ctx_len && !sl_perf_packet_has(ctx, ctx_len)))
		return sl_helper_ret(-EFAULT);
	if (index == BPF_F_CURRENT_CPU)
		index = ctx->cpu;
	if (sl_unlikely(index >= desc->max_entries))
		return sl_helper_ret(-E2BIG);
	event = sl_perf_event_array_slot(desc, (uint32_t)index);
	err = sl_likely(event) ? sl_perf_output(event, ctx, (const void *)r4, r5, ctx_len)
			       : -ENOENT;
	if (sl_unlikely(err))
		err = sl_perf_event_array_lose(desc, ctx->cpu, err);
	return sl_helper_ret(err);
}
