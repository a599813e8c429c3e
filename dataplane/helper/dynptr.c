#include "dynptr.h"

#include "row.h"

/* The rows of dynptr_fast.c. */

const struct sl_helper sl_helper_dynptr_from_mem = {
	SL_ROW(dynptr_from_mem, ANY),
	.args = { SL_ARG_MEM_UNINIT, SL_ARG_SIZE_OR_ZERO, SL_ARG_ANYTHING, SL_ARG_DYNPTR_UNINIT },
	.dynptr = SL_DYNPTR_LOCAL,
};

const struct sl_helper sl_helper_dynptr_read = {
	SL_ROW(dynptr_read, ANY),
	.flags = SL_HELPER_LEAVES_MEMORY,
	.args = { SL_ARG_MEM_UNINIT, SL_ARG_SIZE_OR_ZERO, SL_ARG_DYNPTR, SL_ARG_ANYTHING,
		SL_ARG_ANYTHING },
};

const struct sl_helper sl_helper_dynptr_write = {
	SL_ROW(dynptr_write, ANY),
	.args = { SL_ARG_DYNPTR, SL_ARG_ANYTHING, SL_ARG_MEM, SL_ARG_SIZE_OR_ZERO,
		SL_ARG_ANYTHING },
};

const struct sl_helper sl_helper_dynptr_data = {
	SL_ROW(dynptr_data, ANY),
	.ret = SL_RET_DYNPTR_MEM_OR_NULL,
	.args = { SL_ARG_DYNPTR, SL_ARG_ANYTHING, SL_ARG_CONST },
};
