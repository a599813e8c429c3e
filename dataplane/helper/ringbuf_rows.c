#include "row.h"

/* The rows of ringbuf_helpers_fast.c and user_ringbuf_drain_fast.c. Nothing is lost when a program ends: it cannot end with a record open. */

#define RINGBUF_ONLY (1ull << BPF_MAP_TYPE_RINGBUF)

const struct sl_helper sl_helper_ringbuf_output = {
	SL_ROW(ringbuf_output, ANY),
	.args = { SL_ARG_MAP, SL_ARG_MEM, SL_ARG_SIZE_OR_ZERO, SL_ARG_ANYTHING },
	.map_types = RINGBUF_ONLY,
};

const struct sl_helper sl_helper_ringbuf_reserve = {
	SL_ROW(ringbuf_reserve, ANY),
	.flags = SL_HELPER_ACQUIRES,
	.ret = SL_RET_ALLOC_MEM_OR_NULL,
	.args = { SL_ARG_MAP, SL_ARG_CONST, SL_ARG_ANYTHING },
	.map_types = RINGBUF_ONLY,
};

const struct sl_helper sl_helper_ringbuf_submit = {
	SL_ROW(ringbuf_submit, ANY),
	.flags = SL_HELPER_RELEASES,
	.ret = SL_RET_VOID,
	.args = { SL_ARG_ALLOC_MEM, SL_ARG_ANYTHING },
};

const struct sl_helper sl_helper_ringbuf_discard = {
	SL_ROW(ringbuf_discard, ANY),
	.flags = SL_HELPER_RELEASES,
	.ret = SL_RET_VOID,
	.args = { SL_ARG_ALLOC_MEM, SL_ARG_ANYTHING },
};

const struct sl_helper sl_helper_ringbuf_query = {
	SL_ROW(ringbuf_query, ANY),
	.args = { SL_ARG_MAP, SL_ARG_ANYTHING },
	.map_types = RINGBUF_ONLY,
};

const struct sl_helper sl_helper_ringbuf_reserve_dynptr = {
	SL_ROW(ringbuf_reserve_dynptr, ANY),
	.args = { SL_ARG_MAP, SL_ARG_ANYTHING, SL_ARG_ANYTHING, SL_ARG_DYNPTR_UNINIT },
	.dynptr = SL_DYNPTR_RINGBUF,
	.map_types = RINGBUF_ONLY,
};

const struct sl_helper sl_helper_ringbuf_submit_dynptr = {
	SL_ROW(ringbuf_submit_dynptr, ANY),
	.flags = SL_HELPER_RELEASES,
	.ret = SL_RET_VOID,
	.args = { SL_ARG_DYNPTR_RELEASE, SL_ARG_ANYTHING },
	.dynptr = SL_DYNPTR_RINGBUF,
};

const struct sl_helper sl_helper_ringbuf_discard_dynptr = {
	SL_ROW(ringbuf_discard_dynptr, ANY),
	.flags = SL_HELPER_RELEASES,
	.ret = SL_RET_VOID,
	.args = { SL_ARG_DYNPTR_RELEASE, SL_ARG_ANYTHING },
	.dynptr = SL_DYNPTR_RINGBUF,
};

const struct sl_helper sl_helper_user_ringbuf_drain = {
	SL_ROW(user_ringbuf_drain, ANY),
	.args = { SL_ARG_MAP, SL_ARG_FUNC, SL_ARG_STACK_OR_NULL, SL_ARG_ANYTHING },
	.map_types = 1ull << BPF_MAP_TYPE_USER_RINGBUF,
};
