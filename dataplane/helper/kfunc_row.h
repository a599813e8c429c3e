#pragma once

#include "kfunc.h"
#include "row.h"

/* For the files that hold kernel functions, as row.h is for helpers. */
#define SL_KFUNC_ROW(kfunc, types)                                                   \
	.name = "bpf_" #kfunc, .prog_types = SL_TYPES_##types, .fn = sl_bpf_##kfunc, \
	.symbol = "sl_bpf_" #kfunc

#define SL_KFUNC(kfunc)                \
	SL_WORKER SL_HELPER_FN(kfunc); \
	extern const struct sl_kfunc sl_kfunc_##kfunc;
#define SL_NO_KFUNC(kfunc, types, reason)
#define SL_SLEEPABLE_KFUNC(kfunc, types)
#include "kfuncs.def"
#undef SL_KFUNC
#undef SL_NO_KFUNC
#undef SL_SLEEPABLE_KFUNC
