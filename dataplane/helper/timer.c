#include "timer.h"

#include "row.h"

/* The work is done in map/timer.c. */

SL_HELPER_FN(timer_init)
{
	return sl_helper_ret(sl_timer_init((struct sl_map *)r2, (void *)r1, r3));
}

const struct sl_helper sl_helper_timer_init = {
	SL_ROW(timer_init, ANY),
	.flags = SL_HELPER_GPL,
	.args = { SL_ARG_TIMER, SL_ARG_MAP, SL_ARG_ANYTHING },
};

SL_HELPER_FN(timer_set_callback)
{
	return sl_helper_ret(
		sl_timer_set_callback((void *)r1, (sl_callback_fn)r2, (struct sl_prog *)r3));
}

const struct sl_helper sl_helper_timer_set_callback = {
	SL_ROW(timer_set_callback, ANY),
	.flags = SL_HELPER_GPL | SL_HELPER_GETS_PROG,
	.args = { SL_ARG_TIMER, SL_ARG_FUNC },
};

SL_HELPER_FN(timer_start)
{
	return sl_helper_ret(sl_timer_start((void *)r1, ctx->cpu, r2, r3));
}

const struct sl_helper sl_helper_timer_start = {
	SL_ROW(timer_start, ANY),
	.flags = SL_HELPER_GPL,
	.args = { SL_ARG_TIMER, SL_ARG_ANYTHING, SL_ARG_ANYTHING },
};

SL_HELPER_FN(timer_cancel)
{
	return sl_helper_ret(sl_timer_cancel((void *)r1, ctx->run->timer));
}

const struct sl_helper sl_helper_timer_cancel = {
	SL_ROW(timer_cancel, ANY),
	.flags = SL_HELPER_GPL,
	.args = { SL_ARG_TIMER },
};
