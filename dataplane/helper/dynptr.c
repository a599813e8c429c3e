#include "dynptr.h"

#include "kfunc_row.h"
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

#define FROM_PACKET_ARGS { SL_ARG_CTX, SL_ARG_SCALAR, SL_ARG_DYNPTR_UNINIT }
#define SLICE_ARGS { SL_ARG_DYNPTR, SL_ARG_SCALAR, SL_ARG_SLICE_BUFFER, SL_ARG_SLICE_SIZE }

/* Takes the place of the next one for programs that may not write packets. No program names it. */
const struct sl_kfunc sl_kfunc_dynptr_from_skb_rdonly = {
	.call = { SL_KFUNC_ROW(dynptr_from_skb_rdonly, NONE), .args = FROM_PACKET_ARGS,
		.dynptr = SL_DYNPTR_SKB },
};

const struct sl_kfunc sl_kfunc_dynptr_from_skb = {
	.call = { SL_KFUNC_ROW(dynptr_from_skb, SKB), .args = FROM_PACKET_ARGS,
		.dynptr = SL_DYNPTR_SKB },
	.rdonly = &sl_kfunc_dynptr_from_skb_rdonly.call,
};

const struct sl_kfunc sl_kfunc_dynptr_from_skb_meta = {
	.call = { SL_KFUNC_ROW(dynptr_from_skb_meta, TC), .args = FROM_PACKET_ARGS,
		.dynptr = SL_DYNPTR_SKB_META },
};

const struct sl_kfunc sl_kfunc_dynptr_from_xdp = {
	.call = { SL_KFUNC_ROW(dynptr_from_xdp, XDP), .args = FROM_PACKET_ARGS,
		.dynptr = SL_DYNPTR_XDP },
};

const struct sl_kfunc sl_kfunc_dynptr_slice = {
	.call = { SL_KFUNC_ROW(dynptr_slice, ANY), .ret = SL_RET_DYNPTR_MEM_OR_NULL,
		.args = SLICE_ARGS },
};

const struct sl_kfunc sl_kfunc_dynptr_slice_rdwr = {
	.call = { SL_KFUNC_ROW(dynptr_slice_rdwr, ANY), .ret = SL_RET_DYNPTR_MEM_OR_NULL,
		.args = SLICE_ARGS },
	.flags = SL_KFUNC_WRITES_PACKET,
};

const struct sl_kfunc sl_kfunc_dynptr_adjust = {
	.call = { SL_KFUNC_ROW(dynptr_adjust, ANY),
		.args = { SL_ARG_DYNPTR, SL_ARG_SCALAR, SL_ARG_SCALAR } },
};

const struct sl_kfunc sl_kfunc_dynptr_is_null = {
	.call = { SL_KFUNC_ROW(dynptr_is_null, ANY), .args = { SL_ARG_DYNPTR } },
};

const struct sl_kfunc sl_kfunc_dynptr_is_rdonly = {
	.call = { SL_KFUNC_ROW(dynptr_is_rdonly, ANY), .args = { SL_ARG_DYNPTR } },
};

const struct sl_kfunc sl_kfunc_dynptr_size = {
	.call = { SL_KFUNC_ROW(dynptr_size, ANY), .args = { SL_ARG_DYNPTR } },
};

const struct sl_kfunc sl_kfunc_dynptr_clone = {
	.call = { SL_KFUNC_ROW(dynptr_clone, ANY),
		.args = { SL_ARG_DYNPTR, SL_ARG_DYNPTR_UNINIT } },
};

const struct sl_kfunc sl_kfunc_dynptr_copy = {
	.call = { SL_KFUNC_ROW(dynptr_copy, ANY),
		.args = { SL_ARG_DYNPTR, SL_ARG_SCALAR, SL_ARG_DYNPTR, SL_ARG_SCALAR,
			SL_ARG_SCALAR } },
};

const struct sl_kfunc sl_kfunc_dynptr_memset = {
	.call = { SL_KFUNC_ROW(dynptr_memset, ANY),
		.args = { SL_ARG_DYNPTR, SL_ARG_SCALAR, SL_ARG_SCALAR, SL_ARG_SCALAR } },
};
