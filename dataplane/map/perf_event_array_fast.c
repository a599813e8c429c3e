#include "perf_event_array.h"

#include "rcu.h"

SL_FAST_INLINE
struct sl_perf_event *sl_perf_event_array_slot(const struct sl_map_desc *desc, uint32_t index)
{
	const struct sl_perf_event_array_desc *array =
		(const struct sl_perf_event_array_desc *)desc;

	return sl_rcu_load(array->slots[index]);
}

SL_FAST
long sl_perf_event_array_lose(const struct sl_map_desc *desc, uint32_t cpu, long error)
{
	uint64_t *lost = &((const struct sl_perf_event_array_desc *)desc)->lost[cpu].count;

	__atomic_store_n(lost, *lost + 1, __ATOMIC_RELAXED);
	return error;
}
