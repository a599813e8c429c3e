#include "prog_array.h"

#include "rcu.h"

SL_FAST_INLINE
sl_prog_fn sl_prog_array_slot(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, uint64_t index)
{
	const struct sl_prog_array_desc *array = (const struct sl_prog_array_desc *)desc;

	/* The index is 32 bits wide, whatever else is in the register. */
	if (sl_unlikely((uint32_t)index >= desc->max_entries))
		return NULL;
	return sl_rcu_load(array->views[ctx->cpu]->entries[(uint32_t)index]);
}
