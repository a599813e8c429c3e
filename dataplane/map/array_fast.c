#include "array.h"

#include <errno.h>

#include "objects.h"
#include "timer.h"
#include "type.h"
#include "spin_lock.h"

SL_FAST_INLINE
void *sl_array_lookup(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	uint32_t index = sl_array_index(key);

	if (sl_unlikely(index >= desc->max_entries))
		return NULL;
	/* Of an inner array only known when the program runs: spares it the test of the result. */
	if (!desc->data)
		__builtin_unreachable();
	return (uint8_t *)desc->data + (uint64_t)index * desc->value_stride;
}

SL_FAST_INLINE
long sl_array_update(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key,
	const void *value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);
	long err = sl_array_check_update(desc, index, flags);
	uint8_t *slot;

	if (sl_unlikely(err))
		return err;
	slot = (uint8_t *)desc->data + (uint64_t)index * desc->value_stride;
	if (sl_unlikely(flags & BPF_F_LOCK))
		sl_map_value_write_locked(desc, slot, value);
	else
		sl_map_value_write(desc, slot, value, desc->value_size);
	if (sl_unlikely(desc->record != NULL)) {
		sl_timer_drop(desc, slot);
		sl_map_value_drop(desc, slot, ctx ? ctx->cpu : SL_NO_CPU);
	}
	return 0;
}

/* Of both kinds of array. */
SL_FAST_INLINE
long sl_array_delete(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	return -EINVAL;
}

static inline void *percpu_value(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, uint32_t index)
{
	const struct sl_percpu_array_desc *percpu = (const struct sl_percpu_array_desc *)desc;

	return (uint8_t *)desc->data + ctx->cpu * percpu->cpu_stride +
	       (uint64_t)index * desc->value_stride;
}

SL_FAST_INLINE
void *sl_percpu_array_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	uint32_t index = sl_array_index(key);

	return sl_likely(index < desc->max_entries) ? percpu_value(desc, ctx, index) : NULL;
}

SL_FAST_INLINE
long sl_percpu_array_update(const struct sl_map_desc *desc, const struct sl_ctx *ctx,
	const void *key, const void *value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);
	long err = sl_array_check_update(desc, index, flags);

	if (sl_unlikely(err))
		return err;
	sl_map_value_write(desc, percpu_value(desc, ctx, index), value, desc->value_size);
	if (sl_unlikely(desc->record != NULL))
		sl_map_value_drop(desc, percpu_value(desc, ctx, index), ctx->cpu);
	return 0;
}

/* The callback's key is a copy: it may not change where the walk stands. */
static inline long for_each(const struct sl_map_desc *desc, struct sl_ctx *ctx, bool percpu,
	sl_callback_fn callback, void *callback_ctx, uint64_t flags)
{
	uint32_t index = 0;

	if (sl_unlikely(flags))
		return -EINVAL;
	while (index < desc->max_entries) {
		uint32_t key = index++;
		void *value = percpu ? percpu_value(desc, ctx, key)
				     : (uint8_t *)desc->data + (uint64_t)key * desc->value_stride;

		if (callback(ctx, (uint64_t)desc->map, (uint64_t)&key, (uint64_t)value,
			    (uint64_t)callback_ctx, 0))
			break;
	}
	return index;
}

SL_FAST_INLINE
long sl_array_for_each(const struct sl_map_desc *desc, struct sl_ctx *ctx, sl_callback_fn callback,
	void *callback_ctx, uint64_t flags)
{
	return for_each(desc, ctx, false, callback, callback_ctx, flags);
}

SL_FAST_INLINE
long sl_percpu_array_for_each(const struct sl_map_desc *desc, struct sl_ctx *ctx,
	sl_callback_fn callback, void *callback_ctx, uint64_t flags)
{
	return for_each(desc, ctx, true, callback, callback_ctx, flags);
}

SL_FAST_INLINE
void *sl_array_of_maps_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	uint32_t index = sl_array_index(key);

	if (sl_unlikely(index >= desc->max_entries))
		return NULL;
	/* Pairs with the exchange that put the map there. */
	return __atomic_load_n((void **)desc->data + index, __ATOMIC_ACQUIRE);
}
