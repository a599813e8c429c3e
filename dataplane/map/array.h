#pragma once

#include <errno.h>

#include "context.h"
#include "map.h"
#include "spin_lock.h"

/* The operations of ARRAY and PERCPU_ARRAY that are compiled into programs. */

/*
 * A per-CPU array is one array per CPU, each starting at a cache line of its own: a value's address
 * is one multiplication by a constant away, and CPUs never share a line.
 */
struct sl_percpu_array_desc {
	struct sl_map_desc map;
	uint64_t cpu_stride; /* bytes from one CPU's array to the next */
};

SL_WORKER void *sl_array_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);
SL_WORKER long sl_array_for_each(const struct sl_map_desc *desc, struct sl_ctx *ctx,
	sl_callback_fn callback, void *callback_ctx, uint64_t flags);
SL_WORKER long sl_percpu_array_for_each(const struct sl_map_desc *desc, struct sl_ctx *ctx,
	sl_callback_fn callback, void *callback_ctx, uint64_t flags);
SL_WORKER long sl_array_update(const struct sl_map_desc *desc, const struct sl_ctx *ctx,
	const void *key, const void *value, uint64_t flags);
SL_WORKER long sl_array_delete(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);

SL_WORKER void *sl_percpu_array_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);
SL_WORKER long sl_percpu_array_update(const struct sl_map_desc *desc, const struct sl_ctx *ctx,
	const void *key, const void *value, uint64_t flags);

/* The map in the slot, NULL when it is empty. */
SL_WORKER void *sl_array_of_maps_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key);

/* In the kernel's order. */
static inline long sl_array_check_update(
	const struct sl_map_desc *desc, uint32_t index, uint64_t flags)
{
	if (sl_unlikely((flags & ~(uint64_t)BPF_F_LOCK) > BPF_EXIST))
		return -EINVAL;
	if (sl_unlikely(index >= desc->max_entries))
		return -E2BIG;
	if (sl_unlikely(flags & BPF_NOEXIST))
		return -EEXIST;
	return sl_unlikely((flags & BPF_F_LOCK) && !sl_map_has_lock(desc)) ? -EINVAL : 0;
}
