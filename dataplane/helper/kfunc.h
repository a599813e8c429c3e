#pragma once

#include "helper.h"

/*
 * Kernel functions: what a program calls by the number that a function has in the running kernel's
 * BTF. The loader found that number by name; here it becomes the name again, and that a row.
 * kfuncs.def lists the rows: those that Sluice has, and those that only the kernel has.
 */
enum sl_kfunc_flags {
	SL_KFUNC_SLEEPABLE = 1 << 0, /* only for programs that may sleep */
	SL_KFUNC_ITER_NEW = 1 << 1,
	SL_KFUNC_ITER_NEXT = 1 << 2, /* may end the loop whatever the program does */
	SL_KFUNC_ITER_DESTROY = 1 << 3,
	SL_KFUNC_IRQ_SAVE = 1 << 4,
	SL_KFUNC_IRQ_RESTORE = 1 << 5,
	SL_KFUNC_RCU_LOCK = 1 << 6,
	SL_KFUNC_RCU_UNLOCK = 1 << 7,
	SL_KFUNC_PREEMPT_DISABLE = 1 << 8,
	SL_KFUNC_PREEMPT_ENABLE = 1 << 9,
	SL_KFUNC_DEV_BOUND = 1 << 12, /* only in programs that are bound to one device */
	SL_KFUNC_WRITES_PACKET = 1 << 10, /* the slice is writable, and so must packets be */
	SL_KFUNC_CALLS_BACK = 1 << 13, /* before it returns */
	SL_KFUNC_NEW_OBJECT = 1 << 14, /* of the type in R1; R1 and R2 become its size and record */
	SL_KFUNC_INSERTS = 1 << 15, /* takes over R2, which still is a node there afterwards */
	SL_KFUNC_GIVES_NODE = 1 << 16, /* of the root in R1, or NULL */
	SL_KFUNC_SHARES = 1 << 17, /* one more reference to R1 */
	SL_KFUNC_GRAPH = 1 << 18, /* on lists and trees: called with their lock held */
	SL_KFUNC_THROWS = 1 << 11, /* ends the program: never a call, but emitted as what it does */
};

struct sl_kfunc {
	/*
	 * Name, program types, arguments, implementation and reason to refuse it, as a helper's. Its
	 * id is 0. Results narrower than 64 bits come zero-extended.
	 */
	struct sl_helper call;
	uint32_t flags; /* enum sl_kfunc_flags */
	const char *iter; /* SL_KFUNC_ITER_*: the kind, as in "iter_num" */
	uint32_t iter_bytes; /* how large one is; a multiple of 8 */
	const struct sl_helper *rdonly; /* called instead where packets are read-only; or NULL */
	uint32_t ctx_types; /* SL_PROG_BITs: whose context it takes; 0: any caller's */
	uint32_t result_size; /* of the memory that the result points to; 0: a number, or nothing */
};

/* Most names that one program may call: the kernel's MAX_KFUNC_DESCS. */
#define SL_MAX_KFUNCS 256

enum sl_kfunc_lookup {
	SL_KFUNC_FOUND,
	SL_KFUNC_UNKNOWN, /* a function, but none that any of our program types may call */
	SL_KFUNC_NOT_A_FUNCTION,
	SL_KFUNC_NO_BTF, /* the running kernel does not show its BTF */
};

/*
 * The function with this number in the running kernel's BTF, which is read once, when a program
 * first needs it. *ret_kfunc is set when found. May sleep.
 */
SL_CONTROL enum sl_kfunc_lookup sl_kfunc_find(uint32_t btf_id, const struct sl_kfunc **ret_kfunc);
/* NULL unless sl_kfunc_find would find it. */
SL_CONTROL const struct sl_kfunc *sl_kfunc_peek(uint32_t btf_id);
/* Its name, whatever it is; "kernel-function" for what has none. Slow: reads the BTF anew. */
SL_CONTROL void sl_kfunc_name(uint32_t btf_id, char *name, size_t size);

/* All rows, for the documentation. */
SL_ANY const struct sl_kfunc *const *sl_kfuncs(unsigned *ret_count);
