#include "row.h"

const struct sl_helper sl_helper_loop = {
	SL_ROW(loop, ANY),
	.args = { SL_ARG_ANYTHING, SL_ARG_FUNC, SL_ARG_STACK_OR_NULL, SL_ARG_ANYTHING },
};
