#pragma once

#include <linux/bpf.h>

#include "defs.h"
#include "dynptr.h"
#include "field.h"

struct sl_ctx;

/*
 * One row per helper, beside its definition in the file of its family; helpers.def lists them all,
 * unavailable.def those that the kernel gives and Sluice does not. The verifier checks calls
 * against the row, the JIT calls or inlines `symbol`.
 */
enum sl_arg {
	SL_ARG_NONE,
	SL_ARG_ANYTHING, /* any initialised register */
	SL_ARG_SCALAR,
	SL_ARG_CTX,
	SL_ARG_MAP, /* CONST_PTR_TO_MAP; the map of the following arguments */
	SL_ARG_MAP_KEY, /* readable memory of the map's key_size */
	SL_ARG_MAP_VALUE, /* readable memory of the map's value_size */
	SL_ARG_MAP_VALUE_UNINIT, /* writable memory of value_size */
	SL_ARG_MEM, /* readable memory, the next argument its size */
	SL_ARG_MEM_WRITE, /* the same, that is written too */
	SL_ARG_MEM_OR_NULL,
	SL_ARG_MEM_UNINIT, /* writable memory, need not be initialised, next the size */
	SL_ARG_MEM_UNINIT_OR_NULL,
	SL_ARG_MEM_FIXED, /* readable memory of `fixed_size` bytes */
	SL_ARG_MEM_FIXED_UNINIT,
	SL_ARG_SIZE, /* of the argument before: > 0 */
	SL_ARG_SIZE_OR_ZERO,
	SL_ARG_CONST, /* a known constant: allocation size */
	SL_ARG_ALLOC_MEM, /* memory that a helper of the same family returned */
	SL_ARG_SPIN_LOCK,
	SL_ARG_TIMER,
	SL_ARG_FUNC, /* a callback: BPF_PSEUDO_FUNC */
	SL_ARG_KPTR_FIELD, /* a pointer to an object, in a map's value or an object */
	SL_ARG_KPTR, /* an object for that field, which takes over the reference, or NULL */
	SL_ARG_STACK, /* any stack pointer: a callback's context, or NULL */
	SL_ARG_STACK_OR_NULL,
	SL_ARG_SOCK_COMMON, /* any socket that the verifier gave out */
	SL_ARG_SOCK_OR_BTF, /* the same; in the kernel also a pointer of its own types */
	SL_ARG_LONG_PTR, /* pointer to 8 aligned writable bytes, need not be initialised */
	SL_ARG_INT_PTR,
	SL_ARG_CONST_STR, /* NUL-terminated string in a read-only map */
	SL_ARG_DYNPTR, /* one that refers to something, or nothing: initialised */
	SL_ARG_DYNPTR_UNINIT, /* 16 bytes of stack that become one of the row's type */
	SL_ARG_DYNPTR_RELEASE, /* one of the row's type, whose reference ends */
	/* Of kernel functions only. */
	SL_ARG_ITER, /* an iterator on the stack */
	SL_ARG_IRQ_FLAG,
	SL_ARG_SLICE_BUFFER, /* memory that a slice is copied to if need be, or NULL */
	SL_ARG_TYPE_ID, /* a known number: a struct of the program's BTF */
	SL_ARG_OBJECT, /* an object that the program owns and gives away */
	SL_ARG_REFCOUNTED, /* an object that counts its references */
	SL_ARG_LIST_HEAD,
	SL_ARG_LIST_NODE, /* of an object that goes into the list before */
	SL_ARG_RB_ROOT,
	SL_ARG_RB_NODE_NEW, /* of an object that goes into the tree before */
	SL_ARG_RB_NODE, /* of one that is in a tree */
	SL_ARG_LESS, /* a function that compares two nodes */
	SL_ARG_CONN, /* a connection in the table */
	SL_ARG_CONN_INIT, /* one that is not in it yet */
	SL_ARG_SLICE_SIZE, /* a known number of bytes: the buffer's, and the slice's */
};

enum sl_ret {
	SL_RET_INTEGER,
	SL_RET_VOID,
	SL_RET_MAP_VALUE_OR_NULL,
	SL_RET_MAP_VALUE,
	SL_RET_ALLOC_MEM_OR_NULL, /* size given by the SL_ARG_CONST argument */
	SL_RET_SOCKET_OR_NULL,
	SL_RET_SOCK_COMMON_OR_NULL,
	SL_RET_TCP_SOCK_OR_NULL,
	SL_RET_KPTR_OR_NULL, /* what was in the SL_ARG_KPTR_FIELD */
	SL_RET_CONN_OR_NULL,
	SL_RET_CONN_INIT_OR_NULL,
	SL_RET_DYNPTR_MEM_OR_NULL, /* size given by the SL_ARG_CONST argument */
};

enum sl_helper_flags {
	SL_HELPER_GPL = 1 << 0,
	SL_HELPER_CHANGES_PACKET = 1 << 1, /* packet pointers are invalid afterwards */
	SL_HELPER_PACKET_ARGS = 1 << 2, /* memory arguments may point into the packet */
	SL_HELPER_ACQUIRES = 1 << 3,
	SL_HELPER_RELEASES = 1 << 4,
	SL_HELPER_MIGHT_SLEEP = 1 << 5,
	SL_HELPER_ALL_REGS =
		1 << 6, /* gets R1..R5 as they are, those past the row's arguments too */
	SL_HELPER_CASTS = 1 << 8, /* the result belongs to the reference of the argument */
	SL_HELPER_LEAVES_MEMORY = 1 << 7, /* may not write all of an _UNINIT argument */
	SL_HELPER_FINDS_SOCKETS = 1 << 16, /* of the kernel's: see kernel_sock.h */
	SL_HELPER_READS_ANYTHING = 1 << 9, /* any memory of this process: for privileged loaders */
	SL_HELPER_GETS_PROG = 1 << 15, /* after the row's arguments: the program that calls */
};

/* Which operation of the map's ops a helper is; the JIT then calls the map type's own function. */
enum sl_map_op {
	SL_MAP_OP_NONE,
	SL_MAP_OP_LOOKUP,
	SL_MAP_OP_UPDATE,
	SL_MAP_OP_DELETE,
	SL_MAP_OP_FOR_EACH,
	SL_MAP_OP_PUSH,
	SL_MAP_OP_POP,
	SL_MAP_OP_PEEK,
};

struct sl_helper {
	const char *name; /* as in the kernel: "bpf_map_lookup_elem" */
	uint32_t id; /* enum bpf_func_id */
	uint32_t prog_types; /* SL_PROG_BITs */
	uint32_t flags; /* enum sl_helper_flags */
	enum sl_ret ret;
	enum sl_arg args[5];
	uint16_t fixed_size[5]; /* for SL_ARG_MEM_FIXED* */
	enum sl_dynptr_type dynptr; /* what an _UNINIT dynptr becomes, a _RELEASE one has to be */
	uint64_t map_types; /* 1 << BPF_MAP_TYPE_*; 0: whatever the map allows */
	enum sl_map_op map_op;
	/*
	 * The implementation, native and by name in the bitcode (where it may be absent: then the
	 * native one is called). uint64_t f(struct sl_ctx *ctx, uint64_t r1, ..., uint64_t r5): the
	 * run's context comes first whatever the helper's own arguments are. A map argument is the
	 * address of its struct sl_map. NULL for bpf_tail_call, which is not a call.
	 */
	uint64_t (*fn)(struct sl_ctx *ctx, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4,
		uint64_t r5);
	const char *symbol;
	/* The kernel gives the helper, Sluice does not, and this says why: refused at load. */
	const char *unavailable;
};

/* Ids below this one have been given out: the kernel's __BPF_FUNC_MAX_ID. */
#define SL_HELPER_MAX_ID 212

/* NULL for an id that no kernel has given out. */
SL_ANY const struct sl_helper *sl_helper_by_id(uint32_t id);
/* The kernel gives the helper to programs of this type; it may still be unavailable. */
SL_ANY bool sl_helper_allowed(const struct sl_helper *helper, enum bpf_prog_type type);

/*
 * Native functions and data that bitcode refers to by name: every row's fn, and what *_fast.c files
 * use of the rest. For the JIT's symbol table; *ret_count entries.
 */
struct sl_helper_symbol {
	const char *name;
	const void *address;
};
SL_ANY const struct sl_helper_symbol *sl_helper_symbols(unsigned *ret_count);

/*
 * Starts what helpers need in the background: the clock's calibration and the trace log. Idempotent;
 * without it the clock is slower and traces stay in their rings.
 */
SL_CONTROL int sl_helper_start(void);
