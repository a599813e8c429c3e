#include "row.h"

const struct sl_helper sl_helper_spin_lock = {
	SL_ROW(spin_lock, ANY),
	.ret = SL_RET_VOID,
	.args = { SL_ARG_SPIN_LOCK },
};

const struct sl_helper sl_helper_spin_unlock = {
	SL_ROW(spin_unlock, ANY),
	.ret = SL_RET_VOID,
	.args = { SL_ARG_SPIN_LOCK },
};
