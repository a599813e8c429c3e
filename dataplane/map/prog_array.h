#pragma once

#include "context.h"
#include "map.h"
#include "prog.h"

/* One generation of the slots, as compiled code sees it. */
struct sl_prog_table {
	sl_prog_fn entries[0];
};

struct sl_prog_array_desc {
	struct sl_map_desc map;
	struct sl_prog_table *const *views; /* [SL_MAX_CPUS]: the generation that a CPU runs with */
};

/*
 * The code in slot `index`, NULL when the slot is empty or does not exist. Compiled into programs:
 * bpf_tail_call is a jump to what this returns. Valid until the next quiescent state.
 */
SL_WORKER sl_prog_fn sl_prog_array_slot(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, uint64_t index);

/* Called by programs that run with SL_TAIL_CALLS_TRACED, before they jump to `target`. */
SL_WORKER void sl_prog_array_note_jump(const struct sl_map_desc *desc, const struct sl_ctx *ctx,
	uint64_t index, sl_prog_fn target);

/* Who wants to know: the port layer, from its start on. `prog` is NULL when it is not known. */
SL_CONTROL void sl_prog_array_set_jump_hook(
	void (*hook)(const struct sl_ctx *ctx, const struct sl_prog *prog));
