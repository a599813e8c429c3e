#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "both.h"
#include "defs.h"
#include "oracle.h"
#include "test.h"

/*
 * Global functions, which are verified once from their declaration in BTF: what a caller may pass,
 * what the function may do with it, and what a call means for the caller. Each program is a main
 * function and one or two global ones; both sides have to say the same, and where they accept, to
 * return the same.
 */

#define INSN(code_, dst, src, off_, imm_)    \
	((struct bpf_insn){ .code = (code_), \
		.dst_reg = (dst),            \
		.src_reg = (src),            \
		.off = (off_),               \
		.imm = (imm_) })
#define MOV(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define MOV_X(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define ADD(dst, imm) INSN(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm)
#define ADD_X(dst, src) INSN(BPF_ALU64 | BPF_ADD | BPF_X, dst, src, 0, 0)
#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define STX(size, dst, src, off) INSN(BPF_STX | BPF_MEM | (size), dst, src, off, 0)
#define ST(size, dst, off, imm) INSN(BPF_ST | BPF_MEM | (size), dst, 0, off, imm)
#define JEQ(dst, imm, off) INSN(BPF_JMP | BPF_JEQ | BPF_K, dst, 0, off, imm)
#define JNE(dst, imm, off) INSN(BPF_JMP | BPF_JNE | BPF_K, dst, 0, off, imm)
#define JGT_X(dst, src, off) INSN(BPF_JMP | BPF_JGT | BPF_X, dst, src, off, 0)
#define JGT(dst, imm, off) INSN(BPF_JMP | BPF_JGT | BPF_K, dst, 0, off, imm)
#define CALL(off) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, off)
#define HELPER(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define LD_PROGS(dst) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, 0), INSN(0, 0, 0, 0, 0)
/* Kernel functions, by name until they are loaded. */
enum kfunc {
	FROM_XDP_CALL,
	THROW_CALL,
	ITER_NEW_CALL,
	ITER_DESTROY_CALL,
	RCU_LOCK_CALL,
	PREEMPT_DISABLE_CALL,
	IRQ_SAVE_CALL,
	KFUNCS
};
#define KFUNC(number) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, number)
/* The packet's dynptr at fp-16, its address in R1. */
#define FROM_XDP \
	MOV(2, 0), MOV_X(3, 10), ADD(3, -16), KFUNC(FROM_XDP_CALL), MOV_X(1, 10), ADD(1, -16)
#define THROW KFUNC(THROW_CALL)
/* A function's address in R2, and the rest of a call of bpf_loop: 3 times with R3 = 0. */
#define LOOP(off)                                                               \
	MOV(1, 3), INSN(BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_FUNC, 0, off), \
		INSN(0, 0, 0, 0, 0), MOV(3, 0), MOV(4, 0), HELPER(BPF_FUNC_loop)
#define NEW_ITERATOR MOV_X(1, 10), ADD(1, -8), MOV(2, 0), MOV(3, 9), KFUNC(ITER_NEW_CALL)
#define END_ITERATOR MOV_X(1, 10), ADD(1, -8), KFUNC(ITER_DESTROY_CALL)
#define SECOND_CATCHES .main_tag = "exception_callback:second"
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define RETURN(n) MOV(0, n), EXIT
#define XDP_DATA LDX(BPF_W, 2, 1, 0), LDX(BPF_W, 3, 1, 4)

#define RESULT (1 << 8)
#define XDP BPF_PROG_TYPE_XDP
#define CLS BPF_PROG_TYPE_SCHED_CLS

enum type {
	NONE,
	INT,
	LONG,
	ENUM,
	ENUM64,
	CONST_INT,
	XDP_MD,
	XDP_BUFF,
	SK_BUFF,
	VOID_PTR,
	INT_PTR,
	PAIR_PTR, /* struct of two ints */
	ARRAY_PTR, /* int[3] */
	FWD_PTR,
	PTR_PTR,
	FUNC_PTR,
	FLOAT_PTR,
	EMPTY_PTR, /* struct without members */
	DYNPTR_PTR,
	PAIR, /* by value */
	TYPES
};

struct arg {
	enum type type;
	const char *tag;
};

struct row {
	const char *name;
	const char *reason; /* NULL: accepted */
	enum bpf_prog_type prog_type;
	struct arg args[7]; /* of the second function */
	struct {
		uint32_t start;
		enum btf_func_linkage linkage;
	} funcs[3]; /* after the main one; start 0 for none. The third takes nothing. */
	struct bpf_insn insns[32];
	const char *main_tag; /* of the main program */
	bool ours; /* refused by us only: the reason is in docs/differences.md */
};

#define GLOBAL BTF_FUNC_GLOBAL
#define STATIC BTF_FUNC_STATIC

static const struct row rows[] = {
	/* Arguments that are numbers. */
	{ "number", NULL, XDP, { { INT } }, { { 3, GLOBAL } },
		{ MOV(1, 3), CALL(1), EXIT, MOV_X(0, 1), ADD(0, 4), EXIT } },
	{ "number of every name", NULL, XDP, { { LONG }, { ENUM }, { ENUM64 }, { CONST_INT } },
		{ { 6, GLOBAL } },
		{ MOV(1, 1), MOV(2, 2), MOV(3, 3), MOV(4, 4), CALL(1), EXIT, MOV_X(0, 1),
			ADD_X(0, 2), ADD_X(0, 3), ADD_X(0, 4), EXIT } },
	{ "pointer for a number", "R1 is not a scalar", XDP, { { INT } }, { { 2, GLOBAL } },
		{ CALL(1), EXIT, RETURN(0) } },
	{ "nothing for a number", "R2 is not a scalar", XDP, { { XDP_MD }, { INT } },
		{ { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "a static function is not held to its declaration", NULL, XDP, { { INT } },
		{ { 2, STATIC } }, { CALL(1), EXIT, RETURN(1) } },
	{ "the result is any number", "R2 invalid mem access 'scalar'", XDP, { { INT } },
		{ { 6, GLOBAL } },
		{ MOV_X(6, 1), MOV(1, 0), CALL(3), MOV_X(2, 0), LDX(BPF_W, 0, 2, 0), EXIT,
			RETURN(7) } },
	{ "the result has no bounds", "math between fp pointer", XDP, { { INT } },
		{ { 6, GLOBAL } },
		{ MOV(1, 0), CALL(4), MOV_X(2, 10), ADD_X(2, 0), LDX(BPF_B, 0, 2, 0), EXIT,
			RETURN(-8) } },
	{ "the argument is any number", "unbounded memory access", XDP,
		{ { INT }, { PAIR_PTR, "arg:nonnull" } }, { { 6, GLOBAL } },
		{ ST(BPF_DW, 10, -8, 0), MOV_X(2, 10), ADD(2, -8), MOV(1, 0), CALL(1), EXIT,
			INSN(BPF_ALU64 | BPF_AND | BPF_K, 1, 0, 0, 0x7fffffff), ADD_X(2, 1),
			LDX(BPF_B, 0, 2, 0), EXIT } },
	{ "registers of the caller are gone", "R1 !read_ok", XDP, { { INT } }, { { 4, GLOBAL } },
		{ MOV(1, 0), CALL(2), MOV_X(0, 1), EXIT, RETURN(7) } },
	{ "registers of the caller that stay", NULL, XDP, { { INT } }, { { 5, GLOBAL } },
		{ MOV(6, 5), MOV(1, 0), CALL(2), MOV_X(0, 6), EXIT, MOV(6, 9), RETURN(7) } },
	/* The context. */
	{ "context", NULL, XDP, { { XDP_MD } }, { { 2, GLOBAL } },
		{ CALL(1), EXIT, XDP_DATA, MOV_X(0, 3),
			INSN(BPF_ALU64 | BPF_SUB | BPF_X, 0, 2, 0, 0), EXIT } },
	{ "context by the kernel's own name", NULL, XDP, { { XDP_BUFF } }, { { 2, GLOBAL } },
		{ CALL(1), EXIT, LDX(BPF_W, 0, 1, 12), RETURN(2) } },
	{ "context of __sk_buff", NULL, CLS, { { SK_BUFF } }, { { 2, GLOBAL } },
		{ CALL(1), EXIT, LDX(BPF_W, 0, 1, 0), EXIT } },
	{ "number for the context", "arg#0 expects pointer to ctx", XDP, { { XDP_MD } },
		{ { 3, GLOBAL } }, { MOV(1, 0), CALL(1), EXIT, RETURN(0) } },
	{ "moved context", "dereference of modified ctx ptr R1 off=4 disallowed", XDP,
		{ { XDP_MD } }, { { 3, GLOBAL } }, { ADD(1, 4), CALL(1), EXIT, RETURN(0) } },
	{ "context of another type is memory", "R1 type=ctx expected=fp", XDP, { { SK_BUFF } },
		{ { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "void that is tagged context", NULL, XDP, { { VOID_PTR, "arg:ctx" } }, { { 2, GLOBAL } },
		{ CALL(1), EXIT, LDX(BPF_W, 0, 1, 12), RETURN(2) } },
	{ "another struct that is tagged context", "arg#0 should be `struct xdp_md *`", XDP,
		{ { PAIR_PTR, "arg:ctx" } }, { { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "number that is tagged context", "arg#0 has pointer tag, but is not a pointer type", XDP,
		{ { INT, "arg:ctx" } }, { { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "context that is tagged non-null", "arg#0 has invalid combination of tags", XDP,
		{ { XDP_MD, "arg:nonnull" } }, { { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	/* Memory. */
	{ "stack as memory", NULL, XDP, { { INT_PTR } }, { { 6, GLOBAL } },
		{ ST(BPF_W, 10, -4, 40), MOV_X(1, 10), ADD(1, -4), CALL(2), LDX(BPF_W, 0, 10, -4),
			EXIT, JEQ(1, 0, 3), LDX(BPF_W, 2, 1, 0), ADD(2, 2), STX(BPF_W, 1, 2, 0),
			RETURN(0) } },
	{ "what a callee may write is unknown", "math between fp pointer", XDP, { { PAIR_PTR } },
		{ { 8, GLOBAL } },
		{ ST(BPF_DW, 10, -8, -8), MOV_X(1, 10), ADD(1, -8), CALL(4), LDX(BPF_DW, 1, 10, -8),
			ADD_X(1, 10), LDX(BPF_B, 0, 1, 0), EXIT, RETURN(0) } },
	{ "a spilled pointer that a callee may write", "R1 invalid mem access 'scalar'", XDP,
		{ { PAIR_PTR } }, { { 7, GLOBAL } },
		{ STX(BPF_DW, 10, 1, -8), MOV_X(1, 10), ADD(1, -8), CALL(3), LDX(BPF_DW, 1, 10, -8),
			LDX(BPF_W, 0, 1, 0), EXIT, RETURN(0) } },
	{ "memory that may be NULL", "R1 invalid mem access 'mem_or_null'", XDP, { { INT_PTR } },
		{ { 5, GLOBAL } },
		{ ST(BPF_W, 10, -4, 0), MOV_X(1, 10), ADD(1, -4), CALL(1), EXIT,
			LDX(BPF_W, 0, 1, 0), EXIT } },
	{ "NULL for memory", NULL, XDP, { { INT_PTR } }, { { 3, GLOBAL } },
		{ MOV(1, 0), CALL(1), EXIT, JNE(1, 0, 2), RETURN(1), RETURN(2) } },
	{ "number for memory", "R1 type=scalar expected=fp", XDP, { { INT_PTR } },
		{ { 3, GLOBAL } }, { MOV(1, 4), CALL(1), EXIT, RETURN(0) } },
	{ "context for memory", "R1 type=ctx expected=fp", XDP, { { INT_PTR } }, { { 2, GLOBAL } },
		{ CALL(1), EXIT, RETURN(0) } },
	{ "on some paths NULL, on others another number", "R1 type=scalar expected=fp", XDP,
		{ { INT_PTR } }, { { 8, GLOBAL } },
		{ LDX(BPF_W, 2, 1, 12), MOV(1, 0), JEQ(2, 0, 2), MOV(1, 8), MOV(3, 0), MOV(4, 0),
			CALL(1), EXIT, RETURN(0) } },
	{ "memory that is not NULL", NULL, XDP, { { INT_PTR, "arg:nonnull" } }, { { 5, GLOBAL } },
		{ ST(BPF_W, 10, -4, 11), MOV_X(1, 10), ADD(1, -4), CALL(1), EXIT,
			LDX(BPF_W, 0, 1, 0), EXIT } },
	{ "NULL for memory that is not NULL", "arg#0 is expected to be non-NULL", XDP,
		{ { INT_PTR, "arg:nonnull" } }, { { 3, GLOBAL } },
		{ MOV(1, 0), CALL(1), EXIT, LDX(BPF_W, 0, 1, 0), EXIT }, .ours = true },
	{ "memory that is NULL or not", "invalid combination of tags", XDP,
		{ { INT_PTR, "arg:nullable" } }, { { 3, GLOBAL } },
		{ MOV(1, 0), CALL(1), EXIT, RETURN(0) } },
	{ "too little stack", "invalid read from stack R1 off=-8 size=12", XDP, { { ARRAY_PTR } },
		{ { 4, GLOBAL } }, { MOV_X(1, 10), ADD(1, -8), CALL(1), EXIT, RETURN(0) } },
	{ "access past the memory", "invalid access to memory, mem_size=12 off=12 size=4", XDP,
		{ { ARRAY_PTR, "arg:nonnull" } }, { { 6, GLOBAL } },
		{ ST(BPF_DW, 10, -16, 0), ST(BPF_DW, 10, -8, 0), MOV_X(1, 10), ADD(1, -16), CALL(1),
			EXIT, LDX(BPF_W, 0, 1, 12), EXIT } },
	{ "all of the memory", NULL, XDP, { { ARRAY_PTR, "arg:nonnull" } }, { { 6, GLOBAL } },
		{ ST(BPF_DW, 10, -16, 0), ST(BPF_DW, 10, -8, 77), MOV_X(1, 10), ADD(1, -16),
			CALL(1), EXIT, LDX(BPF_W, 0, 1, 8), EXIT } },
	{ "packet as memory", NULL, XDP, { { ARRAY_PTR } }, { { 8, GLOBAL } },
		{ XDP_DATA, MOV_X(1, 2), ADD(2, 12), MOV(0, 9), JGT_X(2, 3, 1), CALL(1), EXIT,
			JEQ(1, 0, 2), ST(BPF_B, 1, 1, 6), LDX(BPF_H, 0, 1, 0), RETURN(6) } },
	{ "too little packet", "invalid access to packet", XDP, { { ARRAY_PTR } },
		{ { 8, GLOBAL } },
		{ XDP_DATA, MOV_X(1, 2), ADD(2, 11), MOV(0, 9), JGT_X(2, 3, 1), CALL(1), EXIT,
			RETURN(6) } },
	{ "memory without a type", "reference type('UNKNOWN ') size cannot be determined", XDP,
		{ { VOID_PTR } }, { { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "memory of a type that is not there", "('FWD away') size cannot be determined: -22", XDP,
		{ { FWD_PTR } }, { { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "memory that is code", "reference type('FUNC_PROTO ') size cannot be determined", XDP,
		{ { FUNC_PTR } }, { { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "memory that holds a pointer", NULL, XDP, { { PTR_PTR, "arg:nonnull" } },
		{ { 5, GLOBAL } },
		{ ST(BPF_DW, 10, -8, 21), MOV_X(1, 10), ADD(1, -8), CALL(1), EXIT,
			LDX(BPF_DW, 0, 1, 0), EXIT } },
	{ "memory that holds a float", NULL, XDP, { { FLOAT_PTR, "arg:nonnull" } },
		{ { 5, GLOBAL } },
		{ ST(BPF_DW, 10, -8, 21), MOV_X(1, 10), ADD(1, -8), CALL(1), EXIT,
			LDX(BPF_DW, 0, 1, 0), EXIT } },
	{ "memory of no bytes", "invalid access to memory, mem_size=0", XDP,
		{ { EMPTY_PTR, "arg:nonnull" } }, { { 4, GLOBAL } },
		{ MOV_X(1, 10), ADD(1, -8), CALL(1), EXIT, LDX(BPF_B, 0, 1, 0), EXIT } },
	{ "struct by value", "Arg#0 type STRUCT in second() is not supported yet.", XDP,
		{ { PAIR } }, { { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "memory in an arena that is tagged more", "arena cannot be combined", XDP,
		{ { INT_PTR, "arg:arena,arg:nonnull" } }, { { 2, GLOBAL } },
		{ CALL(1), EXIT, RETURN(0) } },
	{ "unknown tag", "arg#0 has unsupported set of tags", XDP, { { INT_PTR, "arg:odd" } },
		{ { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "tag that is not for the verifier", NULL, XDP, { { INT, "odd" } }, { { 3, GLOBAL } },
		{ MOV(1, 1), CALL(1), EXIT, RETURN(3) } },
	{ "tag of a static function", NULL, XDP, { { INT_PTR, "arg:nonnull" } }, { { 2, STATIC } },
		{ CALL(1), EXIT, RETURN(3) } },
	{ "six arguments", "with 6 > 5 args. Buggy compiler.", XDP,
		{ { INT }, { INT }, { INT }, { INT }, { INT }, { INT } }, { { 2, GLOBAL } },
		{ CALL(1), EXIT, RETURN(3) } },
	{ "untrusted memory that is tagged more", "untrusted cannot be combined", XDP,
		{ { INT_PTR, "arg:untrusted,arg:nonnull" } }, { { 3, GLOBAL } },
		{ MOV(1, 0), CALL(1), EXIT, RETURN(3) } },
	{ "trusted type that the kernel does not have", "has no matches", XDP,
		{ { FWD_PTR, "arg:trusted" } }, { { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(3) } },
	/* When functions are verified. */
	{ "not called: not verified", NULL, XDP, { { INT } }, { { 5, GLOBAL } },
		{ MOV(0, 2), JNE(0, 0, 2), MOV(1, 0), CALL(1), EXIT, LDX(BPF_B, 0, 10, 8), EXIT } },
	{ "called: verified", "invalid read from stack", XDP, { { INT } }, { { 4, GLOBAL } },
		{ MOV(0, 2), MOV(1, 0), CALL(1), EXIT, LDX(BPF_B, 0, 10, 8), EXIT } },
	{ "called by a global function only", "invalid read from stack", XDP, { { INT } },
		{ { 3, GLOBAL }, { 5, GLOBAL } },
		{ MOV(1, 0), CALL(1), EXIT, CALL(1), EXIT, LDX(BPF_B, 0, 10, 8), EXIT } },
	{ "a global function calls another", NULL, XDP, { { INT } },
		{ { 3, GLOBAL }, { 6, GLOBAL } },
		{ MOV(1, 0), CALL(1), EXIT, CALL(2), ADD(0, 1), EXIT, RETURN(8) } },
	{ "a static function below a global one", NULL, XDP, { { INT } },
		{ { 3, GLOBAL }, { 6, STATIC } },
		{ MOV(1, 5), CALL(1), EXIT, CALL(2), ADD(0, 1), EXIT, MOV_X(0, 1), EXIT } },
	{ "a static function of a global one sees its arguments", "R0 invalid mem access 'scalar'",
		XDP, { { INT } }, { { 3, GLOBAL }, { 5, STATIC } },
		{ MOV(1, 5), CALL(1), EXIT, CALL(1), EXIT, MOV_X(0, 1), LDX(BPF_B, 0, 0, 0),
			EXIT } },
	{ "a global function that calls itself", "the call stack of 8 frames is too deep", XDP,
		{ { INT } }, { { 3, GLOBAL } },
		{ MOV(1, 5), CALL(1), EXIT, MOV(1, 5), CALL(-2), EXIT } },
	{ "stacks add up", "combined stack size of 2 calls is", XDP, { { INT } }, { { 4, GLOBAL } },
		{ ST(BPF_DW, 10, -264, 0), MOV(1, 5), CALL(1), EXIT, ST(BPF_DW, 10, -264, 0),
			RETURN(0) } },
	{ "a global function that returns its stack",
		"At subprogram exit the register R0 is not a scalar value (fp)", XDP, { { INT } },
		{ { 3, GLOBAL } }, { MOV(1, 5), CALL(1), EXIT, MOV_X(0, 10), EXIT } },
	{ "a global function that returns its context",
		"At subprogram exit the register R0 is not a scalar value (ctx)", XDP,
		{ { XDP_MD } }, { { 2, GLOBAL } }, { CALL(1), EXIT, MOV_X(0, 1), EXIT } },
	{ "a global function that returns nothing known", "R0 !read_ok", XDP, { { INT } },
		{ { 3, GLOBAL } }, { MOV(1, 5), CALL(1), EXIT, EXIT } },
	/* The packet. */
	{ "packet after a function that leaves it", NULL, CLS, { { INT } }, { { 10, GLOBAL } },
		{ LDX(BPF_W, 6, 1, 76), LDX(BPF_W, 3, 1, 80), MOV_X(2, 6), ADD(2, 8), MOV(0, 0),
			JGT_X(2, 3, 3), MOV(1, 1), CALL(2), LDX(BPF_B, 0, 6, 7), EXIT,
			RETURN(8) } },
	{ "packet after a function that may move it", "R6 invalid mem access 'scalar'", CLS,
		{ { SK_BUFF } }, { { 9, GLOBAL } },
		{ LDX(BPF_W, 6, 1, 76), LDX(BPF_W, 3, 1, 80), MOV_X(2, 6), ADD(2, 8), MOV(0, 0),
			JGT_X(2, 3, 2), CALL(2), LDX(BPF_B, 0, 6, 7), EXIT, MOV(2, 0),
			HELPER(BPF_FUNC_skb_pull_data), RETURN(0) } },
	{ "packet after a function that may move it two calls on", "R6 invalid mem access 'scalar'",
		CLS, { { SK_BUFF } }, { { 9, GLOBAL }, { 11, STATIC } },
		{ LDX(BPF_W, 6, 1, 76), LDX(BPF_W, 3, 1, 80), MOV_X(2, 6), ADD(2, 8), MOV(0, 0),
			JGT_X(2, 3, 2), CALL(2), LDX(BPF_B, 0, 6, 7), EXIT, CALL(1), EXIT,
			MOV(2, 0), HELPER(BPF_FUNC_skb_pull_data), RETURN(0) } },
	{ "packet after a function with a tail call", "R6 invalid mem access 'scalar'", XDP,
		{ { XDP_MD } }, { { 9, GLOBAL } },
		{ LDX(BPF_W, 6, 1, 0), LDX(BPF_W, 3, 1, 4), MOV_X(2, 6), ADD(2, 8), MOV(0, 0),
			JGT_X(2, 3, 2), CALL(2), LDX(BPF_B, 0, 6, 7), EXIT, LD_PROGS(2), MOV(3, 0),
			HELPER(BPF_FUNC_tail_call), RETURN(0) } },
	{ "packet as memory of a function that may move it", "points into the packet", CLS,
		{ { INT_PTR }, { SK_BUFF } }, { { 10, GLOBAL } },
		{ MOV_X(6, 1), LDX(BPF_W, 1, 6, 76), LDX(BPF_W, 3, 6, 80), MOV_X(2, 1), ADD(2, 8),
			MOV(0, 0), JGT_X(2, 3, 2), MOV_X(2, 6), CALL(1), EXIT, MOV_X(6, 1),
			MOV_X(1, 2), MOV(2, 0), HELPER(BPF_FUNC_skb_pull_data), JEQ(6, 0, 1),
			LDX(BPF_W, 0, 6, 0), RETURN(0) },
		.ours = true },
	/* Dynptrs. */
	{ "dynptr read", NULL, XDP, { { DYNPTR_PTR } }, { { 8, GLOBAL } },
		{ FROM_XDP, CALL(1), EXIT, MOV_X(3, 1), MOV_X(1, 10), ADD(1, -8), MOV(2, 8),
			MOV(4, 1), MOV(5, 0), HELPER(BPF_FUNC_dynptr_read), LDX(BPF_W, 0, 10, -8),
			EXIT } },
	{ "no dynptr yet", "Expected an initialized dynptr as arg #0", XDP, { { DYNPTR_PTR } },
		{ { 4, GLOBAL } }, { MOV_X(1, 10), ADD(1, -16), CALL(1), EXIT, RETURN(0) } },
	{ "second half of a dynptr", "cannot pass in dynptr at an offset=-8", XDP,
		{ { DYNPTR_PTR } }, { { 9, GLOBAL } },
		{ FROM_XDP, ADD(1, 8), CALL(1), EXIT, RETURN(0) } },
	{ "context for a dynptr", "arg#0 expected pointer to stack or const struct bpf_dynptr", XDP,
		{ { DYNPTR_PTR } }, { { 2, GLOBAL } }, { CALL(1), EXIT, RETURN(0) } },
	{ "nothing for a dynptr", "arg#0 expected pointer to stack or const struct bpf_dynptr", XDP,
		{ { DYNPTR_PTR } }, { { 3, GLOBAL } }, { MOV(1, 0), CALL(1), EXIT, RETURN(0) } },
	{ "a look into a dynptr", "R1 invalid mem access 'dynptr_ptr'", XDP, { { DYNPTR_PTR } },
		{ { 8, GLOBAL } }, { FROM_XDP, CALL(1), EXIT, LDX(BPF_DW, 0, 1, 0), EXIT } },
	{ "dynptr of the caller's released", "cannot release unowned const bpf_dynptr", XDP,
		{ { DYNPTR_PTR } }, { { 8, GLOBAL } },
		{ FROM_XDP, CALL(1), EXIT, MOV(2, 0), HELPER(BPF_FUNC_ringbuf_submit_dynptr),
			RETURN(0) } },
	{ "dynptr that is tagged", "arg#0 has invalid combination of tags", XDP,
		{ { DYNPTR_PTR, "arg:nonnull" } }, { { 8, GLOBAL } },
		{ FROM_XDP, CALL(1), EXIT, RETURN(0) } },
	/* The function that exceptions would go to. */
	{ "exceptions go nowhere", "exception callback 'fourth' could not be found in BTF", XDP,
		{ { INT } }, { { 3, GLOBAL } }, { MOV(1, 0), CALL(1), EXIT, RETURN(0) },
		.main_tag = "exception_callback:fourth" },
	{ "exceptions go to two functions", "multiple exception callback tags", XDP, { { INT } },
		{ { 3, GLOBAL } }, { MOV(1, 0), CALL(1), EXIT, RETURN(0) },
		.main_tag = "exception_callback:second,exception_callback:third" },
	{ "exceptions go to a static function", "'second' must have global linkage", XDP,
		{ { INT } }, { { 3, STATIC } }, { MOV(1, 0), CALL(1), EXIT, RETURN(0) },
		.main_tag = "exception_callback:second" },
	{ "exceptions go to the main program", "invalid exception callback insn_off", XDP,
		{ { INT } }, { { 3, GLOBAL } }, { MOV(1, 0), CALL(1), EXIT, RETURN(0) },
		.main_tag = "exception_callback:first" },
	{ "exceptions go where calls go", "insn 1 cannot call exception cb directly", XDP,
		{ { INT } }, { { 3, GLOBAL } }, { MOV(1, 0), CALL(1), EXIT, RETURN(0) },
		.main_tag = "exception_callback:second" },
	{ "exceptions go to a function of two numbers", "only supports single integer argument",
		XDP, { { INT }, { INT } }, { { 4, GLOBAL } },
		{ MOV(1, 0), MOV(2, 0), CALL(1), EXIT, RETURN(0) },
		.main_tag = "exception_callback:second" },
	{ "exceptions go to a function that nothing calls", NULL, XDP, { { INT } },
		{ { 2, GLOBAL } }, { RETURN(1), RETURN(2) }, SECOND_CATCHES },
	{ "exceptions go to a function that is not safe", "invalid read from stack", XDP,
		{ { INT } }, { { 2, GLOBAL } }, { RETURN(1), LDX(BPF_B, 0, 10, 8), EXIT },
		SECOND_CATCHES },
	{ "exceptions go to a function that returns its stack", NULL, XDP, { { INT } },
		{ { 2, GLOBAL } }, { RETURN(1), MOV_X(0, 10), EXIT }, SECOND_CATCHES },
	{ "exceptions go to a function that makes tail calls", NULL, XDP, { { INT } },
		{ { 3, GLOBAL } },
		{ MOV(1, 4), THROW, EXIT, LD_PROGS(2), MOV(3, 0), MOV(1, 0), RETURN(2) },
		SECOND_CATCHES },
	/* Throwing. */
	{ "thrown by the main program", NULL, XDP, { { INT } }, { { 0, STATIC } },
		{ MOV(1, 64), THROW, LDX(BPF_B, 0, 10, 8), EXIT } },
	{ "thrown and not", NULL, XDP, { { INT } }, { { 0, STATIC } },
		{ LDX(BPF_W, 2, 1, 0), LDX(BPF_W, 3, 1, 4), JGT_X(3, 2, 2), MOV(1, 5), THROW,
			RETURN(6) } },
	{ "a negative number thrown", NULL, XDP, { { INT } }, { { 0, STATIC } },
		{ MOV(1, -7), THROW, EXIT } },
	{ "a pointer thrown", "R1 is not a scalar", XDP, { { INT } }, { { 0, STATIC } },
		{ THROW, EXIT } },
	{ "nothing thrown", "R1 is not a scalar", XDP, { { INT } }, { { 0, STATIC } },
		{ MOV(2, 2), MOV(1, 2), HELPER(BPF_FUNC_ktime_get_ns), THROW, EXIT } },
	{ "thrown by a program that may not", "bpf_throw is not allowed",
		BPF_PROG_TYPE_SOCKET_FILTER, { { INT } }, { { 0, STATIC } },
		{ MOV(1, 3), THROW, EXIT } },
	{ "thrown two calls down", NULL, XDP, { { INT } }, { { 4, STATIC }, { 8, STATIC } },
		{ MOV(1, 6), CALL(2), ADD(0, 1), EXIT, ADD(1, 1), CALL(2), ADD(0, 100), EXIT,
			JEQ(1, 0, 1), THROW, RETURN(4) } },
	{ "not thrown two calls down", NULL, XDP, { { INT } }, { { 4, STATIC }, { 8, STATIC } },
		{ MOV(1, 6), CALL(2), ADD(0, 1), EXIT, ADD(1, -6), CALL(2), ADD(0, 100), EXIT,
			JEQ(1, 0, 1), THROW, RETURN(4) } },
	{ "thrown by a global function", NULL, XDP, { { INT } }, { { 4, GLOBAL } },
		{ MOV(1, 6), CALL(2), ADD(0, 1), EXIT, JNE(1, 6, 1), THROW, MOV_X(0, 1), EXIT } },
	{ "not thrown by a global function", NULL, XDP, { { INT } }, { { 4, GLOBAL } },
		{ MOV(1, 6), CALL(2), ADD(0, 1), EXIT, JEQ(1, 6, 1), THROW, MOV_X(0, 1), EXIT } },
	{ "thrown by a static function of a global one", NULL, XDP, { { LONG } },
		{ { 4, GLOBAL }, { 8, STATIC } },
		{ MOV(1, 6), CALL(2), ADD(0, 1), EXIT, ADD(1, 1), CALL(2), ADD(0, 100), EXIT,
			JNE(1, 7, 1), THROW, MOV_X(0, 1), EXIT } },
	{ "thrown below a global function that only throws", NULL, XDP, { { INT } },
		{ { 4, GLOBAL }, { 6, STATIC } },
		{ MOV(1, 6), CALL(2), ADD(0, 1), EXIT, CALL(1), EXIT, MOV(1, 32), THROW, EXIT } },
	{ "thrown in the second of two calls", NULL, XDP, { { INT } }, { { 7, STATIC } },
		{ MOV(1, 1), CALL(5), MOV_X(6, 0), MOV(1, 0), CALL(2), MOV_X(0, 6), EXIT,
			JNE(1, 0, 2), MOV(1, 50), THROW, MOV_X(0, 1), EXIT } },
	{ "what the caller holds after a call that may throw", NULL, XDP, { { INT } },
		{ { 9, STATIC } },
		{ ST(BPF_DW, 10, -8, 7), MOV(6, 30), MOV(7, 1), MOV_X(1, 7), CALL(4), ADD_X(0, 6),
			LDX(BPF_DW, 1, 10, -8), ADD_X(0, 1), EXIT, ST(BPF_DW, 10, -8, 9), MOV(6, 5),
			JNE(1, 0, 2), MOV(1, 50), THROW, MOV(7, 4), RETURN(2) } },
	{ "caught", NULL, XDP, { { INT } }, { { 3, GLOBAL } },
		{ MOV(1, 25), THROW, EXIT, MOV_X(0, 1), ADD(0, 10), EXIT }, SECOND_CATCHES },
	{ "caught from two calls down", NULL, XDP, { { INT } }, { { 4, GLOBAL }, { 7, STATIC } },
		{ MOV(1, 25), CALL(5), ADD(0, 1), EXIT, MOV_X(0, 1), ADD(0, 10), EXIT, MOV(1, 7),
			THROW, EXIT },
		SECOND_CATCHES },
	{ "nothing to catch", NULL, XDP, { { INT } }, { { 4, GLOBAL }, { 7, STATIC } },
		{ MOV(1, 25), CALL(5), ADD(0, 1), EXIT, MOV_X(0, 1), ADD(0, 10), EXIT,
			JEQ(1, 25, 1), THROW, RETURN(8) },
		SECOND_CATCHES },
	{ "thrown where it is caught", "bpf_throw kfunc (insn 3) cannot be called from callback",
		XDP, { { INT } }, { { 2, GLOBAL } }, { RETURN(1), MOV(1, 3), THROW, EXIT },
		SECOND_CATCHES },
	{ "thrown by a callback", "bpf_throw kfunc (insn 9) cannot be called from callback", XDP,
		{ { INT } }, { { 7, STATIC } },
		{ LOOP(5), EXIT, JEQ(1, 2, 2), MOV(1, 2), THROW, RETURN(0) } },
	{ "thrown below a callback", "cannot be called from callback subprog 2", XDP, { { INT } },
		{ { 7, STATIC }, { 9, STATIC } },
		{ LOOP(5), EXIT, CALL(1), EXIT, JEQ(1, 2, 2), MOV(1, 2), THROW, RETURN(0) } },
	{ "thrown beside a callback", NULL, XDP, { { INT } }, { { 9, STATIC }, { 11, STATIC } },
		{ LOOP(7), MOV(1, 9), CALL(3), EXIT, RETURN(0), JEQ(1, 2, 1), THROW, RETURN(0) } },
	{ "thrown with a reference", "bpf_throw would lead to reference leak", XDP, { { INT } },
		{ { 0, STATIC } }, { NEW_ITERATOR, MOV(1, 2), THROW, EXIT } },
	{ "thrown with a reference of the caller's", "bpf_throw would lead to reference leak", XDP,
		{ { INT } }, { { 7, STATIC } },
		{ NEW_ITERATOR, CALL(1), EXIT, MOV(1, 2), THROW, EXIT } },
	{ "thrown by a global function with a reference of the caller's", NULL, XDP, { { INT } },
		{ { 12, GLOBAL } },
		{ NEW_ITERATOR, MOV(1, 6), CALL(5), END_ITERATOR, MOV(0, 1), EXIT, JNE(1, 6, 1),
			THROW, MOV_X(0, 1), EXIT } },
	{ "thrown without RCU", "bpf_throw cannot be used inside bpf_rcu_read_lock-ed region", XDP,
		{ { INT } }, { { 0, STATIC } }, { KFUNC(RCU_LOCK_CALL), MOV(1, 2), THROW, EXIT } },
	{ "thrown without preemption",
		"bpf_throw cannot be used inside bpf_preempt_disable-ed region", XDP, { { INT } },
		{ { 0, STATIC } }, { KFUNC(PREEMPT_DISABLE_CALL), MOV(1, 2), THROW, EXIT } },
	{ "thrown without interrupts",
		"bpf_throw cannot be used inside bpf_local_irq_save-ed region", XDP, { { INT } },
		{ { 0, STATIC } },
		{ MOV_X(1, 10), ADD(1, -8), KFUNC(IRQ_SAVE_CALL), MOV(1, 2), THROW, EXIT } },
	{ "thrown by a function that may end early", NULL, CLS, { { SK_BUFF } }, { { 3, GLOBAL } },
		{ CALL(2), ADD(0, 3), EXIT, MOV_X(6, 1),
			INSN(BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, 5000), MOV(1, 9), THROW, EXIT } },
	{ "thrown by a function that makes tail calls", NULL, XDP, { { XDP_MD } },
		{ { 3, GLOBAL } },
		{ CALL(2), ADD(0, 3), EXIT, LD_PROGS(2), MOV(3, 0), HELPER(BPF_FUNC_tail_call),
			MOV(1, 9), THROW, EXIT } },
	{ "packet load that ends the function", NULL, CLS, { { SK_BUFF } }, { { 3, GLOBAL } },
		{ CALL(2), ADD(0, 3), EXIT, MOV_X(6, 1),
			INSN(BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, 5000), RETURN(1) } },
};

static uint32_t length(const struct bpf_insn *insns, uint32_t count)
{
	static const struct bpf_insn nothing;

	while (count && !memcmp(&insns[count - 1], &nothing, sizeof(nothing)))
		count--;
	return count;
}

/* Ids by enum type. */
static void add_types(struct btf *btf, int ids[TYPES])
{
	ids[NONE] = 0;
	ids[INT] = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	ids[LONG] = btf__add_int(btf, "long", 8, BTF_INT_SIGNED);
	ids[ENUM] = btf__add_enum(btf, "e", 4);
	btf__add_enum_value(btf, "one", 1);
	ids[ENUM64] = btf__add_enum64(btf, "e64", 8, false);
	btf__add_enum64_value(btf, "big", 1ull << 40);
	ids[CONST_INT] = btf__add_const(btf, btf__add_typedef(btf, "number", ids[INT]));
	ids[XDP_MD] = btf__add_ptr(btf, btf__add_const(btf, btf__add_struct(btf, "xdp_md", 24)));
	ids[XDP_BUFF] = btf__add_ptr(btf, btf__add_struct(btf, "xdp_buff", 8));
	ids[SK_BUFF] = btf__add_ptr(btf, btf__add_struct(btf, "__sk_buff", 0));
	ids[VOID_PTR] = btf__add_ptr(btf, 0);
	ids[INT_PTR] = btf__add_ptr(btf, ids[INT]);
	ids[PAIR] = btf__add_struct(btf, "pair", 8);
	btf__add_field(btf, "a", ids[INT], 0, 0);
	btf__add_field(btf, "b", ids[INT], 32, 0);
	ids[PAIR_PTR] = btf__add_ptr(btf, ids[PAIR]);
	ids[ARRAY_PTR] = btf__add_ptr(btf, btf__add_array(btf, ids[INT], ids[INT], 3));
	ids[FWD_PTR] = btf__add_ptr(btf, btf__add_fwd(btf, "away", BTF_FWD_STRUCT));
	ids[PTR_PTR] = btf__add_ptr(btf, ids[FWD_PTR]);
	ids[FUNC_PTR] = btf__add_ptr(btf, btf__add_func_proto(btf, ids[INT]));
	ids[FLOAT_PTR] = btf__add_ptr(btf, btf__add_float(btf, "double", 8));
	ids[DYNPTR_PTR] = btf__add_ptr(
		btf, btf__add_const(btf, btf__add_fwd(btf, "bpf_dynptr", BTF_FWD_STRUCT)));
	ids[EMPTY_PTR] = btf__add_ptr(btf, btf__add_struct(btf, "empty", 0));
}

static void add_tags(struct btf *btf, int func, int arg, const char *tags)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", tags ? tags : "");
	for (char *rest = text, *tag; (tag = strsep(&rest, ",")) && tag[0];)
		btf__add_decl_tag(btf, tag, func, arg);
}

static int add_function(struct btf *btf, const int ids[TYPES], const char *name, int linkage,
	const struct arg *args)
{
	int proto = btf__add_func_proto(btf, ids[INT]), func;

	for (unsigned i = 0; args && args[i].type != NONE; i++)
		btf__add_func_param(btf, "arg", ids[args[i].type]);
	func = btf__add_func(btf, name, linkage, proto);
	for (unsigned i = 0; args && args[i].type != NONE; i++)
		add_tags(btf, func, (int)i, args[i].tag);
	return func;
}

static int load_types(
	enum side side, const struct row *row, struct bpf_func_info *infos, uint32_t *ret_count)
{
	static const char *const names[] = { "second", "third" };
	struct btf *btf = btf__new_empty();
	union bpf_attr attr;
	uint32_t size, count = 1;
	int ids[TYPES];
	long fd;

	add_types(btf, ids);
	infos[0] = (struct bpf_func_info){ 0, add_function(btf, ids, "first", GLOBAL, NULL) };
	add_tags(btf, (int)infos[0].type_id, -1, row->main_tag);
	for (unsigned i = 0; i < 2 && row->funcs[i].start; i++)
		infos[count++] = (struct bpf_func_info){ row->funcs[i].start,
			add_function(btf, ids, names[i], row->funcs[i].linkage,
				i ? (const struct arg[]){ { INT }, { NONE } } : row->args) };
	memset(&attr, 0, sizeof(attr));
	attr.btf = PTR(btf__raw_data(btf, &size));
	attr.btf_size = size;
	fd = call(side, BPF_BTF_LOAD, &attr, sizeof(attr));
	btf__free(btf);
	*ret_count = count;
	return (int)fd;
}

static int32_t number_of(enum kfunc kfunc)
{
	static const char *const names[KFUNCS] = {
		[FROM_XDP_CALL] = "bpf_dynptr_from_xdp",
		[THROW_CALL] = "bpf_throw",
		[ITER_NEW_CALL] = "bpf_iter_num_new",
		[ITER_DESTROY_CALL] = "bpf_iter_num_destroy",
		[RCU_LOCK_CALL] = "bpf_rcu_read_lock",
		[PREEMPT_DISABLE_CALL] = "bpf_preempt_disable",
		[IRQ_SAVE_CALL] = "bpf_local_irq_save",
	};
	static int numbers[KFUNCS];
	struct btf *btf = numbers[kfunc] ? NULL : btf__parse("/sys/kernel/btf/vmlinux", NULL);

	for (unsigned i = 0; btf && i < KFUNCS; i++)
		numbers[i] = btf__find_by_name_kind(btf, names[i], BTF_KIND_FUNC);
	btf__free(btf);
	return numbers[kfunc];
}

static long load(enum side side, const struct row *row, char *text, uint32_t size)
{
	struct bpf_func_info infos[3];
	uint32_t count;
	int types = load_types(side, row, infos, &count);
	int progs = map_new(side, BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1, 0);
	struct bpf_insn insns[sl_array_size(row->insns)];
	union bpf_attr attr;
	long ret;

	EXPECT_GE(types, 0);
	EXPECT_GE(progs, 0);
	memcpy(insns, row->insns, sizeof(insns));
	for (unsigned i = 0; i < sl_array_size(insns); i++) {
		if (insns[i].src_reg == BPF_PSEUDO_MAP_FD &&
			insns[i].code == (BPF_LD | BPF_IMM | BPF_DW))
			insns[i].imm = progs;
		if (insns[i].code == (BPF_JMP | BPF_CALL) &&
			insns[i].src_reg == BPF_PSEUDO_KFUNC_CALL)
			insns[i].imm = number_of((enum kfunc)insns[i].imm);
	}
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = row->prog_type;
	attr.insns = PTR(insns);
	attr.insn_cnt = length(insns, sl_array_size(insns));
	attr.license = PTR("GPL");
	attr.prog_btf_fd = (uint32_t)types;
	attr.func_info = PTR(infos);
	attr.func_info_cnt = count;
	attr.func_info_rec_size = sizeof(infos[0]);
	attr.log_level = 2;
	attr.log_buf = PTR(text);
	attr.log_size = size;
	text[0] = '\0';
	ret = call(side, BPF_PROG_LOAD, &attr, sizeof(attr));
	close(types);
	close(progs);
	return ret;
}

/* What it returns for a packet of 64 bytes; below 0 when it was not loaded. */
static int64_t result(enum side side, long fd)
{
	static uint8_t packet[64] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	union bpf_attr attr;
	long err;

	if (fd < 0)
		return fd;
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = PTR(packet);
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = 1;
	err = call(side, BPF_PROG_TEST_RUN, &attr, sizeof(attr));
	close((int)fd);
	return err ? err : (int64_t)attr.test.retval;
}

TEST(syscall_global_functions, verdicts_and_results)
{
	static char texts[SIDES][1 << 16];

	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		const struct row *row = &rows[i];
		int64_t ours = result(SLUICE, load(SLUICE, row, texts[SLUICE], sizeof(texts[0])));

		TRACE_PUSH("%s:\n%s", row->name, texts[SLUICE]);
		EXPECT_EQ(ours < 0, row->reason != NULL);
		if (row->reason)
			EXPECT_CONTAINS(texts[SLUICE], row->reason);
		if (oracle_permitted()) {
			long fd = load(KERNEL, row, texts[KERNEL], sizeof(texts[0]));

			TRACE_PUSH("the kernel's:\n%s", texts[KERNEL]);
			if (row->ours) {
				EXPECT_GE(fd, 0);
				close((int)fd);
			} else {
				EXPECT_EQ(ours, result(KERNEL, fd));
				if (row->reason)
					EXPECT_CONTAINS(texts[KERNEL], row->reason);
			}
			TRACE_POP();
		}
		TRACE_POP();
	}
}
