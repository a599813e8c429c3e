#pragma once

#include "context.h"
#include "helper.h"

/* For the files that hold rows: who may call, and the parts that every row has in common. */
#define SL_TYPES_SOCKET SL_PROG_BIT(BPF_PROG_TYPE_SOCKET_FILTER)
#define SL_TYPES_XDP SL_PROG_BIT(BPF_PROG_TYPE_XDP)
#define SL_TYPES_TC (SL_PROG_BIT(BPF_PROG_TYPE_SCHED_CLS) | SL_PROG_BIT(BPF_PROG_TYPE_SCHED_ACT))
#define SL_TYPES_SKB (SL_TYPES_TC | SL_TYPES_SOCKET)
#define SL_TYPES_TC_XDP (SL_TYPES_TC | SL_TYPES_XDP)
#define SL_TYPES_CLS SL_PROG_BIT(BPF_PROG_TYPE_SCHED_CLS)
#define SL_TYPES_CLS_XDP (SL_TYPES_CLS | SL_TYPES_XDP)
#define SL_TYPES_ANY (SL_TYPES_SKB | SL_TYPES_XDP)
#define SL_TYPES_NONE 0

#define SL_ROW(helper, types)                                                            \
	.name = "bpf_" #helper, .id = BPF_FUNC_##helper, .prog_types = SL_TYPES_##types, \
	.fn = sl_bpf_##helper, .symbol = "sl_bpf_" #helper

#define SL_HELPER_FN(helper)                                                                \
	uint64_t sl_bpf_##helper(struct sl_ctx *ctx, uint64_t r1, uint64_t r2, uint64_t r3, \
		uint64_t r4, uint64_t r5)

/* Every helper's function and row, by the names the macros above make. */
#define SL_HELPER(helper)               \
	SL_WORKER SL_HELPER_FN(helper); \
	extern const struct sl_helper sl_helper_##helper;
#define SL_HELPER_ROW(helper) extern const struct sl_helper sl_helper_##helper;
#include "helpers.def"
#undef SL_HELPER
#undef SL_HELPER_ROW

/* A negative errno, or a result, as r0. */
static inline uint64_t sl_helper_ret(long value)
{
	return (uint64_t)(int64_t)value;
}

/* The kernel's, which libc lacks. */
#define SL_ENOTSUPP 524
