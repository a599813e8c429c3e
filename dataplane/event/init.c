#include "perf.h"
#include "perf_event_array.h"

void sl_event_init(void)
{
	static const struct sl_perf_event_source source = {
		.get = sl_perf_event_get,
		.put = sl_perf_event_unref,
	};

	sl_perf_event_array_set_source(&source);
}
