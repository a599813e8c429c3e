#include "row.h"

const struct sl_helper sl_helper_perf_event_output = {
	SL_ROW(perf_event_output, ANY),
	.flags = SL_HELPER_GPL,
	.args = { SL_ARG_CTX, SL_ARG_MAP, SL_ARG_ANYTHING, SL_ARG_MEM, SL_ARG_SIZE_OR_ZERO },
	.map_types = 1ull << BPF_MAP_TYPE_PERF_EVENT_ARRAY,
};
