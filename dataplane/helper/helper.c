#include "helper.h"

#include <pthread.h>

#include "clock.h"
#include "ctx_symbols.h"
#include "kfunc_row.h"
#include "lpm.h"
#include "iter_bits.h"
#include "nofault.h"
#include "objects.h"
#include "row.h"
#include "segments.h"
#include "spin_lock.h"
#include "start.h"
#include "timer.h"

/* Ids newer than the build machine's header. */
#define ROW_OF(helper) [BPF_FUNC_##helper] = &sl_helper_##helper,
#define SL_HELPER(helper) ROW_OF(helper)
#define SL_HELPER_ROW(helper) ROW_OF(helper)
#define SL_NO_HELPER(helper_id, helper, types, reason)                   \
	[helper_id] = &(const struct sl_helper){ .name = "bpf_" #helper, \
		.id = (helper_id),                                       \
		.prog_types = SL_TYPES_##types,                          \
		.unavailable = (reason) },

static const struct sl_helper *const rows[SL_HELPER_MAX_ID] = {
#include "helpers.def"
#include "unavailable.def"
};

#undef SL_HELPER
#undef SL_HELPER_ROW
#undef SL_NO_HELPER

#define SYMBOL(name) { #name, (const void *)name }
#define SL_HELPER(helper) SYMBOL(sl_bpf_##helper),
#define SL_HELPER_ROW(helper)
#define SL_KFUNC(kfunc) SYMBOL(sl_bpf_##kfunc),
#define SL_NO_KFUNC(kfunc, types, reason)
#define SL_SLEEPABLE_KFUNC(kfunc, types)

static const struct sl_helper_symbol symbols[] = {
#include "helpers.def"
#include "kfuncs.def"
	SYMBOL(sl_ctx_get_hash),
	SYMBOL(sl_ctx_set_queue_mapping),
	SYMBOL(sl_ctx_compute_hash),
	SYMBOL(sl_spin_wait),
	SYMBOL(sl_clock_ns),
	SYMBOL(sl_clock_slow_ns),
	SYMBOL(sl_segments_len),
	SYMBOL(sl_segments_peek),
	SYMBOL(sl_segments_read),
	SYMBOL(sl_segments_write),
	SYMBOL(sl_segments_pull),
	SYMBOL(sl_timer_drop),
	SYMBOL(sl_map_value_drop),
	SYMBOL(sl_lpm_lookup_short),
	{ "sl_clock", &sl_clock },
};

const struct sl_helper *sl_helper_by_id(uint32_t id)
{
	return id < SL_HELPER_MAX_ID ? rows[id] : NULL;
}

bool sl_helper_allowed(const struct sl_helper *helper, enum bpf_prog_type type)
{
	return (unsigned)type < 32 && helper->prog_types & SL_PROG_BIT(type);
}

const struct sl_helper_symbol *sl_helper_symbols(unsigned *ret_count)
{
	*ret_count = sl_array_size(symbols);
	return symbols;
}

static int start_result;

static void start_once(void)
{
	sl_numa_start();
	sl_hash_start();
	sl_syncookie_start();
	sl_task_start();
	sl_nofault_start();
	start_result = sl_iter_bits_start();
	if (!start_result)
		start_result = sl_trace_start();
}

int sl_helper_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int ret;

	pthread_once(&once, start_once);
	ret = sl_clock_start();
	return ret != 0 ? ret : start_result;
}
