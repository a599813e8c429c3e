#include "kfunc_row.h"

/*
 * A worker is never preempted by another and takes no interrupt, and what a program looks up stays
 * until the worker's next quiescent state: the sections that these functions open and close need
 * nothing at run time. The verifier holds programs to their rules all the same.
 */

#define SECTION(kfunc, effect)                                            \
	SL_HELPER_FN(kfunc)                                               \
	{                                                                 \
		return 0;                                                 \
	}                                                                 \
	const struct sl_kfunc sl_kfunc_##kfunc = {                        \
		.call = { SL_KFUNC_ROW(kfunc, ANY), .ret = SL_RET_VOID }, \
		.flags = (effect),                                        \
	}

SECTION(rcu_read_lock, SL_KFUNC_RCU_LOCK);
SECTION(rcu_read_unlock, SL_KFUNC_RCU_UNLOCK);
SECTION(preempt_disable, SL_KFUNC_PREEMPT_DISABLE);
SECTION(preempt_enable, SL_KFUNC_PREEMPT_ENABLE);

#define IRQ_SECTION(kfunc, effect)                                      \
	SL_HELPER_FN(kfunc)                                             \
	{                                                               \
		return 0;                                               \
	}                                                               \
	const struct sl_kfunc sl_kfunc_##kfunc = {                      \
		.call = { SL_KFUNC_ROW(kfunc, ANY), .ret = SL_RET_VOID, \
			.args = { SL_ARG_IRQ_FLAG } },                  \
		.flags = (effect),                                      \
	}

IRQ_SECTION(local_irq_save, SL_KFUNC_IRQ_SAVE);
IRQ_SECTION(local_irq_restore, SL_KFUNC_IRQ_RESTORE);

/* Compiled as a way out of the program, so that nobody calls this. */
SL_HELPER_FN(throw)
{
	return r1;
}

const struct sl_kfunc sl_kfunc_throw = {
	.call = { SL_KFUNC_ROW(throw, CLS_XDP), .ret = SL_RET_VOID, .args = { SL_ARG_SCALAR } },
	.flags = SL_KFUNC_THROWS,
};

const struct sl_kfunc sl_kfunc_iter_num_new = {
	.call = { SL_KFUNC_ROW(iter_num_new, ANY),
		.args = { SL_ARG_ITER, SL_ARG_SCALAR, SL_ARG_SCALAR } },
	.flags = SL_KFUNC_ITER_NEW,
	.iter = "num",
	.iter_bytes = 8,
};

const struct sl_kfunc sl_kfunc_iter_num_next = {
	.call = { SL_KFUNC_ROW(iter_num_next, ANY), .args = { SL_ARG_ITER } },
	.flags = SL_KFUNC_ITER_NEXT,
	.iter = "num",
	.iter_bytes = 8,
	.result_size = sizeof(int),
};

const struct sl_kfunc sl_kfunc_iter_num_destroy = {
	.call = { SL_KFUNC_ROW(iter_num_destroy, ANY), .ret = SL_RET_VOID,
		.args = { SL_ARG_ITER } },
	.flags = SL_KFUNC_ITER_DESTROY,
	.iter = "num",
	.iter_bytes = 8,
};

/* Twice the size: the bits themselves or where they are, how many, and which was the last. */
const struct sl_kfunc sl_kfunc_iter_bits_new = {
	.call = { SL_KFUNC_ROW(iter_bits_new, ANY),
		.args = { SL_ARG_ITER, SL_ARG_ANYTHING, SL_ARG_SCALAR } },
	.flags = SL_KFUNC_ITER_NEW,
	.iter = "bits",
	.iter_bytes = 16,
};

const struct sl_kfunc sl_kfunc_iter_bits_next = {
	.call = { SL_KFUNC_ROW(iter_bits_next, ANY), .args = { SL_ARG_ITER } },
	.flags = SL_KFUNC_ITER_NEXT,
	.iter = "bits",
	.iter_bytes = 16,
	.result_size = sizeof(int),
};

const struct sl_kfunc sl_kfunc_iter_bits_destroy = {
	.call = { SL_KFUNC_ROW(iter_bits_destroy, ANY), .ret = SL_RET_VOID,
		.args = { SL_ARG_ITER } },
	.flags = SL_KFUNC_ITER_DESTROY,
	.iter = "bits",
	.iter_bytes = 16,
};
