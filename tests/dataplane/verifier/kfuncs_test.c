#include <bpf/btf.h>
#include <stdlib.h>

#include "defs.h"
#include "kernel.h"
#include "sluice/bpf.h"
#include "test.h"

/*
 * Programs that call kernel functions, by the running kernel's numbers for them. Every row is loaded
 * on both sides: the verdict and its reason have to be the same, and so has the result of a run.
 */

#define R0 BPF_REG_0
#define R1 BPF_REG_1
#define R2 BPF_REG_2
#define R3 BPF_REG_3
#define R4 BPF_REG_4
#define R5 BPF_REG_5
#define R6 BPF_REG_6
#define R7 BPF_REG_7
#define R8 BPF_REG_8
#define R10 BPF_REG_10

#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define STX(size, dst, src, off) INSN(BPF_STX | BPF_MEM | (size), dst, src, off, 0)
#define ST(size, dst, off, imm) INSN(BPF_ST | BPF_MEM | (size), dst, 0, off, imm)
#define JMP_X(op, dst, src, off) INSN(BPF_JMP | (op) | BPF_X, dst, src, off, 0)
#define RETURN(n) MOV_K(R0, n), EXIT
#define FP(reg, off) MOV_X(reg, R10), ALU_K(BPF_ADD, reg, off)

enum name {
	NOTHING,
	ITER_NEW,
	ITER_NEXT,
	ITER_DESTROY,
	RCU_LOCK,
	RCU_UNLOCK,
	PREEMPT_DISABLE,
	PREEMPT_ENABLE,
	IRQ_SAVE,
	IRQ_RESTORE,
	CPUMASK_CREATE,
	NO_KFUNC,
	XDP_PULL_DATA,
	COPY_FROM_USER,
	BITS_NEW,
	FROM_SKB,
	FROM_SKB_RDONLY,
	FROM_XDP,
	SLICE,
	SLICE_RDWR,
	ADJUST,
	IS_NULL,
	IS_RDONLY,
	SIZE,
	CLONE,
	COPY,
	MEMSET,
	STRLEN,
	STRCHR,
	BITS_NEXT,
	BITS_DESTROY,
	RX_TIMESTAMP,
	FROM_SKB_META,
	PROBE,
	PROBE_STR,
	NAMES
};

static const char *const names[NAMES] = {
	[ITER_NEW] = "bpf_iter_num_new",
	[ITER_NEXT] = "bpf_iter_num_next",
	[ITER_DESTROY] = "bpf_iter_num_destroy",
	[RCU_LOCK] = "bpf_rcu_read_lock",
	[RCU_UNLOCK] = "bpf_rcu_read_unlock",
	[PREEMPT_DISABLE] = "bpf_preempt_disable",
	[PREEMPT_ENABLE] = "bpf_preempt_enable",
	[IRQ_SAVE] = "bpf_local_irq_save",
	[IRQ_RESTORE] = "bpf_local_irq_restore",
	[CPUMASK_CREATE] = "bpf_cpumask_create",
	[NO_KFUNC] = "schedule",
	[XDP_PULL_DATA] = "bpf_xdp_pull_data",
	[COPY_FROM_USER] = "bpf_copy_from_user_str",
	[BITS_NEW] = "bpf_iter_bits_new",
	[FROM_SKB] = "bpf_dynptr_from_skb",
	[FROM_SKB_RDONLY] = "bpf_dynptr_from_skb_rdonly",
	[FROM_XDP] = "bpf_dynptr_from_xdp",
	[SLICE] = "bpf_dynptr_slice",
	[SLICE_RDWR] = "bpf_dynptr_slice_rdwr",
	[ADJUST] = "bpf_dynptr_adjust",
	[IS_NULL] = "bpf_dynptr_is_null",
	[IS_RDONLY] = "bpf_dynptr_is_rdonly",
	[SIZE] = "bpf_dynptr_size",
	[CLONE] = "bpf_dynptr_clone",
	[COPY] = "bpf_dynptr_copy",
	[MEMSET] = "bpf_dynptr_memset",
	[STRLEN] = "bpf_strlen",
	[STRCHR] = "bpf_strchr",
	[BITS_NEXT] = "bpf_iter_bits_next",
	[BITS_DESTROY] = "bpf_iter_bits_destroy",
	[PROBE] = "bpf_probe_read_kernel_dynptr",
	[PROBE_STR] = "bpf_probe_read_kernel_str_dynptr",
	[FROM_SKB_META] = "bpf_dynptr_from_skb_meta",
	[RX_TIMESTAMP] = "bpf_xdp_metadata_rx_timestamp",
};

static uint32_t numbers[NAMES];

#define CALL(name) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, name)
#define NEW(off, start, end) FP(R1, off), MOV_K(R2, start), MOV_K(R3, end), CALL(ITER_NEW)
#define NEXT(off) FP(R1, off), CALL(ITER_NEXT)
#define DESTROY(off) FP(R1, off), CALL(ITER_DESTROY)
#define BITS(off, words, count) FP(R1, off), FP(R2, words), MOV_K(R3, count), CALL(BITS_NEW)
#define BITS_END(off) FP(R1, off), CALL(BITS_DESTROY)
/* Adds them to R6, a little mixed. */
#define SUM_BITS(off)                                                                  \
	FP(R1, off), CALL(BITS_NEXT), JMP_K(BPF_JEQ, R0, 0, 4), LDX(BPF_W, R1, R0, 0), \
		ALU_K(BPF_MUL, R6, 3), ALU_X(BPF_ADD, R6, R1), JA(-8)
/* 16 bytes of stack, a string of twelve, to `off` of the dynptr at fp-16. */
#define PROBED(name, off, size)                                                               \
	LD_IMM64(R1, 0x64636261), STX(BPF_DW, R10, R1, -40), ST(BPF_W, R10, -44, 0x68676665), \
		STX(BPF_W, R10, R1, -48), FP(R1, -16), MOV_K(R2, off), MOV_K(R3, size),       \
		FP(R4, -48), CALL(name)
#define SAVE(off) FP(R1, off), CALL(IRQ_SAVE)
#define RESTORE(off) FP(R1, off), CALL(IRQ_RESTORE)

/* The packet's dynptr at fp-16, from the context in R1. */
#define FROM(which) MOV_K(R2, 0), FP(R3, -16), CALL(FROM_##which)
/* r0 = 8 bytes of it, with fp-32 as the buffer */
#define BYTES(which, off) FP(R1, -16), MOV_K(R2, off), FP(R3, -32), MOV_K(R4, 8), CALL(which)
#define OF(name) FP(R1, -16), CALL(name)
#define UNLESS_NULL(reg) JMP_K(BPF_JNE, reg, 0, 2), RETURN(99)
#define WRITE(off, flags)                                                         \
	FP(R1, -16), MOV_K(R2, off), FP(R3, -40), MOV_K(R4, 8), MOV_K(R5, flags), \
		HELPER(BPF_FUNC_dynptr_write)

#define CLS BPF_PROG_TYPE_SCHED_CLS
#define ACT BPF_PROG_TYPE_SCHED_ACT
#define SOCK BPF_PROG_TYPE_SOCKET_FILTER
#define XDP BPF_PROG_TYPE_XDP
#define FRAG 3520 /* where the second piece of a packet of several begins, on both sides */
#define LOG_BYTES (1u << 22)
#define MAX_INSNS 64
#define LONG_PACKET 9000
#define ACCEPT NULL

struct row {
	const char *name;
	enum bpf_prog_type type;
	const char *reason; /* ACCEPT, or part of the log of both */
	struct bpf_insn insns[MAX_INSNS];
	const char *ours; /* refused only here, with this */
	bool proprietary;
	bool frags; /* XDP: a packet of several pieces */
};

static const struct row rows[] = {
	/* Iterators that go well. */
	{ "sum", XDP, ACCEPT,
		{ MOV_K(R6, 0), NEW(-8, 3, 9), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 3),
			LDX(BPF_W, R1, R0, 0), ALU_X(BPF_ADD, R6, R1), JA(-7), DESTROY(-8),
			MOV_X(R0, R6), EXIT } },
	{ "sum_on_cls", CLS, ACCEPT,
		{ MOV_K(R6, 0), NEW(-8, -3, 9), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 3),
			LDX(BPF_W, R1, R0, 0), ALU_X(BPF_ADD, R6, R1), JA(-7), DESTROY(-8),
			MOV_X(R0, R6), EXIT } },
	{ "on_act", ACT, ACCEPT, { NEW(-8, 0, 1), DESTROY(-8), RETURN(7) } },
	{ "on_socket", SOCK, ACCEPT, { NEW(-8, 0, 1), DESTROY(-8), RETURN(7) } },
	{ "empty", XDP, ACCEPT,
		{ NEW(-8, 5, 5), NEXT(-8), MOV_K(R6, 1), JMP_K(BPF_JEQ, R0, 0, 1), MOV_K(R6, 2),
			DESTROY(-8), MOV_X(R0, R6), EXIT } },
	{ "backwards", XDP, ACCEPT,
		{ NEW(-8, 5, 4), MOV_X(R6, R0), DESTROY(-8), MOV_X(R0, R6), EXIT } },
	{ "result_of_new_is_32_bits", XDP, ACCEPT,
		{ NEW(-8, 5, 4), MOV_X(R6, R0), DESTROY(-8), ALU_K(BPF_RSH, R6, 32), MOV_X(R0, R6),
			EXIT } },
	{ "backwards_has_no_elements", XDP, ACCEPT,
		{ MOV_K(R6, 0), NEW(-8, 5, 4), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 2), MOV_K(R6, 1),
			JA(-6), DESTROY(-8), MOV_X(R0, R6), EXIT } },
	{ "too_many", XDP, ACCEPT,
		{ NEW(-8, 0, 8 * 1024 * 1024 + 1), MOV_X(R6, R0), DESTROY(-8), MOV_X(R0, R6),
			EXIT } },
	{ "as_many_as_there_may_be", XDP, ACCEPT,
		{ NEW(-8, INT32_MIN, INT32_MIN + 8 * 1024 * 1024), MOV_X(R6, R0), NEXT(-8),
			JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_W, R6, R0, 0), DESTROY(-8), MOV_X(R0, R6),
			EXIT } },
	{ "up_to_the_last_number", XDP, ACCEPT,
		{ MOV_K(R6, 0), NEW(-8, INT32_MAX - 3, INT32_MAX), NEXT(-8),
			JMP_K(BPF_JEQ, R0, 0, 3), LDX(BPF_W, R1, R0, 0), ALU_K(BPF_ADD, R6, 1),
			JA(-7), DESTROY(-8), MOV_X(R0, R6), EXIT } },
	{ "next_after_the_end", XDP, ACCEPT,
		{ NEW(-8, 0, 1), NEXT(-8), NEXT(-8), NEXT(-8), MOV_K(R6, 3),
			JMP_K(BPF_JEQ, R0, 0, 1), MOV_K(R6, 4), DESTROY(-8), MOV_X(R0, R6),
			EXIT } },
	{ "early_end", XDP, ACCEPT,
		{ MOV_K(R6, 0), NEW(-8, 0, 100), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 4),
			LDX(BPF_W, R1, R0, 0), ALU_X(BPF_ADD, R6, R1), JMP_K(BPF_JGT, R1, 9, 1),
			JA(-8), DESTROY(-8), MOV_X(R0, R6), EXIT } },
	{ "nested", XDP, ACCEPT,
		{ MOV_K(R6, 0), NEW(-8, 0, 7), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 16),
			LDX(BPF_W, R7, R0, 0), NEW(-16, 0, 5), NEXT(-16), JMP_K(BPF_JEQ, R0, 0, 2),
			ALU_X(BPF_ADD, R6, R7), JA(-6), DESTROY(-16), JA(-20), DESTROY(-8),
			MOV_X(R0, R6), EXIT } },
	{ "one_after_the_other", XDP, ACCEPT,
		{ NEW(-8, 0, 7), DESTROY(-8), NEW(-8, 9, 12), NEXT(-8), MOV_K(R6, 0),
			JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_W, R6, R0, 0), DESTROY(-8), MOV_X(R0, R6),
			EXIT } },
	{ "index_into_stack", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -16, 0), ST(BPF_DW, R10, -24, 0), NEW(-8, 0, 10), NEXT(-8),
			JMP_K(BPF_JEQ, R0, 0, 7), LDX(BPF_W, R1, R0, 0), JMP_K(BPF_JGT, R1, 15, -6),
			FP(R2, -24), ALU_X(BPF_ADD, R2, R1), STX(BPF_B, R2, R1, 0), JA(-11),
			DESTROY(-8), LDX(BPF_B, R0, R10, -19), EXIT } },
	{ "in_function", XDP, ACCEPT,
		{ NEW(-8, 4, 7), FP(R1, -8), LOCAL_CALL(6), MOV_X(R6, R0), DESTROY(-8),
			MOV_X(R0, R6), EXIT, CALL(ITER_NEXT), JMP_K(BPF_JEQ, R0, 0, 1),
			LDX(BPF_W, R0, R0, 0), EXIT } },

	/* And those that do not. */
	{ "next_of_nothing", XDP, "variable ? access var_off=(0x0; 0xffffffffffffffff) disallowed",
		{ NEW(-8, 0, 3), CALL(ITER_NEXT), RETURN(0) } },
	{ "restore_of_nothing", XDP,
		"variable ? access var_off=(0x0; 0xffffffffffffffff) disallowed",
		{ SAVE(-8), CALL(IRQ_RESTORE), RETURN(0) } },
	{ "leak", XDP, "would lead to reference leak", { NEW(-8, 0, 3), RETURN(0) } },
	{ "not_new", XDP, "expected an initialized iter_num as arg #0", { NEXT(-8), RETURN(0) } },
	{ "destroyed_not_new", XDP, "expected an initialized iter_num as arg #0",
		{ ST(BPF_DW, R10, -8, 0), DESTROY(-8), RETURN(0) } },
	{ "twice_new", XDP, "expected uninitialized iter_num as arg #0",
		{ NEW(-8, 0, 3), NEW(-8, 0, 3), DESTROY(-8), RETURN(0) } },
	{ "twice_destroyed", XDP, "expected an initialized iter_num as arg #0",
		{ NEW(-8, 0, 3), DESTROY(-8), DESTROY(-8), RETURN(0) } },
	{ "next_when_destroyed", XDP, "expected an initialized iter_num as arg #0",
		{ NEW(-8, 0, 3), DESTROY(-8), NEXT(-8), RETURN(0) } },
	{ "another_place", XDP, "expected an initialized iter_num as arg #0",
		{ NEW(-8, 0, 3), DESTROY(-16), RETURN(0) } },
	{ "unaligned", XDP, "cannot pass in iter at an offset=-12", { NEW(-12, 0, 3), RETURN(0) } },
	{ "next_unaligned", XDP, "cannot pass in iter at an offset=-7",
		{ NEW(-8, 0, 3), NEXT(-7), RETURN(0) } },
	{ "off_the_stack", XDP, "invalid write to stack R1 off=-520 size=8",
		{ NEW(-520, 0, 3), RETURN(0) } },
	{ "above_the_stack", XDP, "cannot pass in iter at an offset=8",
		{ NEW(8, 0, 3), RETURN(0) } },
	{ "variable", XDP, "iter has to be at a constant offset",
		{ LDX(BPF_W, R6, R1, 12), ALU_K(BPF_AND, R6, 8), FP(R1, -16),
			ALU_X(BPF_ADD, R1, R6), MOV_K(R2, 0), MOV_K(R3, 1), CALL(ITER_NEW),
			RETURN(0) } },
	{ "not_on_the_stack", XDP, "arg#0 expected pointer to an iterator on stack",
		{ CALL(ITER_NEXT), RETURN(0) } },
	{ "not_a_pointer", XDP, "arg#0 expected pointer to an iterator on stack",
		{ MOV_K(R1, 0), CALL(ITER_NEXT), RETURN(0) } },
	{ "start_is_a_pointer", XDP, "R2 is not a scalar",
		{ FP(R1, -8), MOV_X(R2, R10), MOV_K(R3, 0), CALL(ITER_NEW), RETURN(0) } },
	{ "no_end", XDP, "R3 is not a scalar",
		{ FP(R1, -8), MOV_K(R2, 0), CALL(ITER_NEW), RETURN(0) } },
	{ "read", XDP, "invalid read from stack off -8+0 size 8",
		{ NEW(-8, 0, 3), LDX(BPF_DW, R6, R10, -8), DESTROY(-8), RETURN(0) } },
	{ "read_part", XDP, "invalid read from stack off -6+0 size 2",
		{ NEW(-8, 0, 3), LDX(BPF_H, R6, R10, -6), DESTROY(-8), RETURN(0) } },
	{ "read_somewhere", XDP, "invalid read from stack R2 var_off (0x0; 0x8)+",
		{ LDX(BPF_W, R6, R1, 12), ALU_K(BPF_AND, R6, 8), NEW(-8, 0, 3), FP(R2, -16),
			ALU_X(BPF_ADD, R2, R6), LDX(BPF_DW, R7, R2, 0), DESTROY(-8), RETURN(0) } },
	{ "overwritten", XDP, "expected an initialized iter_num as arg #0",
		{ NEW(-8, 0, 3), ST(BPF_DW, R10, -8, 0), DESTROY(-8), RETURN(0) } },
	{ "overwritten_in_part", XDP, "expected an initialized iter_num as arg #0",
		{ NEW(-8, 0, 3), ST(BPF_B, R10, -3, 0), DESTROY(-8), RETURN(0) } },
	{ "overwritten_somewhere", XDP, "expected an initialized iter_num as arg #0",
		{ LDX(BPF_W, R6, R1, 12), ALU_K(BPF_AND, R6, 7), NEW(-8, 0, 3), FP(R2, -16),
			ALU_X(BPF_ADD, R2, R6), ST(BPF_B, R2, 4, 0), DESTROY(-8), RETURN(0) } },
	{ "overwritten_and_forgotten", XDP, "Unreleased reference id=1",
		{ NEW(-8, 0, 3), ST(BPF_DW, R10, -8, 0), RETURN(0) } },
	{ "element_may_be_missing", XDP, "R0 invalid mem access 'scalar'",
		{ NEW(-8, 0, 3), NEXT(-8), LDX(BPF_W, R6, R0, 0), DESTROY(-8), RETURN(0) } },
	{ "element_is_4_bytes", XDP, "invalid access to memory, mem_size=4 off=0 size=8",
		{ NEW(-8, 0, 3), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 1), LDX(BPF_DW, R6, R0, 0),
			DESTROY(-8), RETURN(0) } },
	{ "element_written", XDP, "R0 cannot write into rdonly_mem",
		{ NEW(-8, 0, 3), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 1), ST(BPF_W, R0, 0, 9),
			DESTROY(-8), RETURN(0) } },
	{ "element_outlives_iterator", XDP, "R6 invalid mem access 'scalar'",
		{ NEW(-8, 0, 3), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 6), MOV_X(R6, R0), DESTROY(-8),
			LDX(BPF_W, R0, R6, 0), EXIT, DESTROY(-8), RETURN(0) } },
	{ "body_reads_what_only_the_first_round_has", XDP, "R7 invalid mem access 'scalar'",
		{ MOV_X(R7, R10), NEW(-8, 0, 3), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 3),
			LDX(BPF_DW, R1, R7, -16), MOV_K(R7, 0), JA(-7), DESTROY(-8), RETURN(0) } },
	{ "index_grows_into_the_iterator", XDP, "expected an initialized iter_num as arg #0",
		{ MOV_K(R6, 0), ST(BPF_DW, R10, -16, 0), NEW(-8, 0, 30), NEXT(-8),
			JMP_K(BPF_JEQ, R0, 0, 6), FP(R2, -16), ALU_X(BPF_ADD, R2, R6),
			ST(BPF_B, R2, 0, 1), ALU_K(BPF_ADD, R6, 1), JA(-10), DESTROY(-8),
			RETURN(0) } },
	{ "loop_beside_the_iterator", XDP, "infinite loop detected",
		{ LDX(BPF_W, R6, R1, 12), NEW(-8, 0, 3), JMP_K(BPF_JNE, R6, 0, -1), DESTROY(-8),
			RETURN(0) } },
	{ "new_in_the_loop_leaks", XDP, "Unreleased reference id=3 alloc_insn=13",
		{ NEW(-8, 0, 3), NEXT(-8), JMP_K(BPF_JEQ, R0, 0, 6), NEW(-16, 0, 1), JA(-10),
			DESTROY(-8), RETURN(0) } },

	/* Sections. */
	{ "rcu", XDP, ACCEPT, { CALL(RCU_LOCK), CALL(RCU_UNLOCK), RETURN(4) } },
	{ "rcu_left_open", XDP,
		"BPF_EXIT instruction in main prog cannot be used inside bpf_rcu_read_lock-ed region",
		{ CALL(RCU_LOCK), RETURN(0) } },
	{ "rcu_not_open", XDP, "unmatched rcu read unlock (kernel function bpf_rcu_read_unlock)",
		{ CALL(RCU_UNLOCK), RETURN(0) } },
	{ "rcu_nested", XDP, "nested rcu read lock (kernel function bpf_rcu_read_lock)",
		{ CALL(RCU_LOCK), CALL(RCU_LOCK), CALL(RCU_UNLOCK), CALL(RCU_UNLOCK), RETURN(0) } },
	{ "rcu_on_one_path", XDP, "cannot be used inside bpf_rcu_read_lock-ed region",
		{ LDX(BPF_W, R6, R1, 12), JMP_K(BPF_JEQ, R6, 0, 1), CALL(RCU_LOCK), RETURN(0) } },
	{ "rcu_across_function", XDP, ACCEPT,
		{ LOCAL_CALL(3), CALL(RCU_UNLOCK), RETURN(3), CALL(RCU_LOCK), RETURN(0) } },
	{ "ld_abs_in_rcu", CLS,
		"BPF_LD_[ABS|IND] cannot be used inside bpf_rcu_read_lock-ed region",
		{ MOV_X(R6, R1), CALL(RCU_LOCK), INSN(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 0),
			CALL(RCU_UNLOCK), RETURN(0) } },
	{ "preempt", XDP, ACCEPT, { CALL(PREEMPT_DISABLE), CALL(PREEMPT_ENABLE), RETURN(4) } },
	{ "preempt_nested", CLS, ACCEPT,
		{ CALL(PREEMPT_DISABLE), CALL(PREEMPT_DISABLE), CALL(PREEMPT_ENABLE),
			CALL(PREEMPT_ENABLE), RETURN(4) } },
	{ "preempt_left_off", XDP,
		"BPF_EXIT instruction in main prog cannot be used inside bpf_preempt_disable-ed region",
		{ CALL(PREEMPT_DISABLE), CALL(PREEMPT_DISABLE), CALL(PREEMPT_ENABLE), RETURN(0) } },
	{ "preempt_not_off", XDP,
		"unmatched attempt to enable preemption (kernel function bpf_preempt_enable)",
		{ CALL(PREEMPT_ENABLE), RETURN(0) } },
	{ "irq", XDP, ACCEPT, { SAVE(-8), RESTORE(-8), RETURN(4) } },
	{ "irq_nested", XDP, ACCEPT,
		{ SAVE(-8), SAVE(-16), RESTORE(-16), RESTORE(-8), RETURN(4) } },
	{ "irq_wrong_order", XDP,
		"cannot restore irq state out of order, expected id=2 acquired at insn_idx=5",
		{ SAVE(-8), SAVE(-16), RESTORE(-8), RESTORE(-16), RETURN(4) } },
	{ "irq_left_off", XDP,
		"BPF_EXIT instruction in main prog cannot be used inside bpf_local_irq_save-ed region",
		{ SAVE(-8), RETURN(0) } },
	{ "irq_twice", XDP, "expected uninitialized irq flag as arg#0",
		{ SAVE(-8), SAVE(-8), RESTORE(-8), RETURN(0) } },
	{ "irq_not_saved", XDP, "expected an initialized irq flag as arg#0",
		{ ST(BPF_DW, R10, -8, 0), RESTORE(-8), RETURN(0) } },
	{ "irq_overwritten", XDP, "expected an initialized irq flag as arg#0",
		{ SAVE(-8), ST(BPF_DW, R10, -8, 0), RESTORE(-8), RETURN(0) } },
	{ "irq_read", XDP, "invalid read from stack off -8+0 size 8",
		{ SAVE(-8), LDX(BPF_DW, R6, R10, -8), RESTORE(-8), RETURN(0) } },
	{ "irq_not_on_the_stack", XDP, "arg#0 doesn't point to an irq flag on stack",
		{ CALL(IRQ_SAVE), RETURN(0) } },
	{ "irq_as_iterator", XDP, "expected an initialized iter_num as arg #0",
		{ SAVE(-8), NEXT(-8), RETURN(0) } },

	/* What may be called. */
	{ "not_for_xdp", XDP, "calling kernel function bpf_cpumask_create is not allowed",
		{ CALL(CPUMASK_CREATE), RETURN(0) } },
	{ "not_for_cls", CLS, "calling kernel function bpf_xdp_pull_data is not allowed",
		{ CALL(XDP_PULL_DATA), RETURN(0) } },
	{ "no_kfunc", XDP, "calling kernel function schedule is not allowed",
		{ CALL(NO_KFUNC), RETURN(0) } },
	{ "not_a_function", XDP, "kernel btf_id 1 is not a function",
		{ INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 1, 1), RETURN(0) } },
	{ "no_such_type", XDP, "kernel btf_id 2147483647 is not a function",
		{ INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 1, INT32_MAX), RETURN(0) } },
	{ "no_such_type_nor_reached", XDP, "kernel btf_id 2147483647 is not a function",
		{ MOV_K(R6, 1), JMP_K(BPF_JEQ, R6, 1, 1),
			INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 1, INT32_MAX),
			RETURN(5) } },
	{ "negative", XDP, "kernel btf_id 4294967295 is not a function",
		{ INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 1, -1), RETURN(0) } },
	{ "module", XDP, "kfunc offset > 0 without fd_array is invalid",
		{ INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 2, 1), RETURN(0) } },
	{ "negative_offset", XDP, "negative offset disallowed for kernel module function call",
		{ INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, -1, 1), RETURN(0) } },
	{ "found_by_nobody", XDP, "invalid kernel function call not eliminated in verifier pass",
		{ CALL(NOTHING), RETURN(0) } },
	{ "found_by_nobody_nor_reached", XDP, ACCEPT,
		{ MOV_K(R6, 1), JMP_K(BPF_JEQ, R6, 1, 1), CALL(NOTHING), RETURN(5) } },
	{ "not_allowed_nor_reached", XDP, ACCEPT,
		{ MOV_K(R6, 1), JMP_K(BPF_JEQ, R6, 1, 1), CALL(CPUMASK_CREATE), RETURN(5) } },
	{ "sleeps", XDP, "program must be sleepable to call sleepable kfunc bpf_copy_from_user_str",
		{ CALL(COPY_FROM_USER), RETURN(0) } },
	{ "proprietary", XDP, "cannot call kernel function from non-GPL compatible program",
		{ CALL(RCU_LOCK), CALL(RCU_UNLOCK), RETURN(0) }, .proprietary = true },

	/* Dynptrs of packets. Of a bool, only the lowest byte is the kernel's answer. */
	{ "slice_of_xdp", XDP, ACCEPT,
		{ FROM(XDP), BYTES(SLICE, 3), UNLESS_NULL(R0), LDX(BPF_W, R0, R0, 4), EXIT } },
	{ "slice_of_skb", CLS, ACCEPT,
		{ FROM(SKB), BYTES(SLICE, 3), UNLESS_NULL(R0), LDX(BPF_W, R0, R0, 4), EXIT } },
	{ "slice_on_act", ACT, ACCEPT,
		{ FROM(SKB), BYTES(SLICE_RDWR, 30), UNLESS_NULL(R0), ST(BPF_DW, R0, 0, 77),
			RETURN(5) } },
	{ "slice_of_socket", SOCK, ACCEPT,
		{ FROM(SKB), BYTES(SLICE, 3), UNLESS_NULL(R0), LDX(BPF_W, R0, R0, 4), EXIT } },
	{ "slice_written", XDP, ACCEPT,
		{ FROM(XDP), BYTES(SLICE_RDWR, 20), UNLESS_NULL(R0), ST(BPF_DW, R0, 0, 77),
			RETURN(5) } },
	{ "slice_at_the_end", XDP, ACCEPT,
		{ FROM(XDP), BYTES(SLICE, 56), UNLESS_NULL(R0), LDX(BPF_W, R0, R0, 4), EXIT } },
	{ "slice_past_the_end", XDP, ACCEPT,
		{ FROM(XDP), BYTES(SLICE, 57), UNLESS_NULL(R0), RETURN(1) } },
	{ "slice_without_buffer", CLS, ACCEPT,
		{ FROM(SKB), FP(R1, -16), MOV_K(R2, 1), MOV_K(R3, 0), MOV_K(R4, 9), CALL(SLICE),
			UNLESS_NULL(R0), LDX(BPF_B, R0, R0, 8), EXIT } },
	{ "slice_of_one_piece", XDP, ACCEPT,
		{ FROM(XDP), BYTES(SLICE_RDWR, 8500), UNLESS_NULL(R0), ST(BPF_DW, R0, 0, 9),
			FP(R1, -32), RETURN(3) },
		.frags = true },
	{ "slice_of_two_pieces", XDP, ACCEPT,
		{ FROM(XDP), ST(BPF_DW, R10, -32, 0), BYTES(SLICE_RDWR, FRAG - 3), UNLESS_NULL(R0),
			ST(BPF_B, R0, 0, 9), LDX(BPF_W, R0, R10, -32), EXIT },
		.frags = true },
	{ "slice_of_two_pieces_without_buffer", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, FRAG - 3), MOV_K(R3, 0), MOV_K(R4, 9),
			CALL(SLICE), UNLESS_NULL(R0), LDX(BPF_B, R0, R0, 8), EXIT },
		.frags = true },
	{ "memset_of_two_pieces", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, FRAG - 300), MOV_K(R3, 700), MOV_K(R4, 0x1ee),
			CALL(MEMSET), EXIT },
		.frags = true },
	{ "copy_of_two_pieces", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, FRAG - 300), FP(R3, -16), MOV_K(R4, FRAG - 7),
			MOV_K(R5, 500), CALL(COPY), EXIT },
		.frags = true },
	{ "written_over_two_pieces", XDP, ACCEPT,
		{ FROM(XDP), ST(BPF_DW, R10, -40, 0x1234567), WRITE(FRAG - 2, 0), EXIT },
		.frags = true },
	{ "memset_too_long", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, 60), MOV_K(R3, 5), MOV_K(R4, 1), CALL(MEMSET),
			EXIT } },
	{ "copy", CLS, ACCEPT,
		{ FROM(SKB), FP(R1, -16), MOV_K(R2, 30), FP(R3, -16), MOV_K(R4, 20), MOV_K(R5, 20),
			CALL(COPY), EXIT } },
	{ "from_xdp_with_flags", XDP, ACCEPT, { MOV_K(R2, 1), FP(R3, -16), CALL(FROM_XDP), EXIT } },
	{ "nothing_with_flags", XDP, ACCEPT,
		{ MOV_K(R2, 1), FP(R3, -16), CALL(FROM_XDP), OF(IS_NULL), ALU_K(BPF_AND, R0, 1),
			EXIT } },
	{ "size_of_nothing", XDP, ACCEPT,
		{ MOV_K(R2, 1), FP(R3, -16), CALL(FROM_XDP), OF(SIZE), EXIT } },
	{ "size", SOCK, ACCEPT, { FROM(SKB), OF(SIZE), EXIT } },
	{ "read_only_on_socket", SOCK, ACCEPT,
		{ FROM(SKB), OF(IS_RDONLY), ALU_K(BPF_AND, R0, 1), EXIT } },
	{ "not_read_only_on_cls", CLS, ACCEPT,
		{ FROM(SKB), OF(IS_RDONLY), ALU_K(BPF_AND, R0, 1), EXIT } },
	{ "write_on_socket", SOCK, ACCEPT,
		{ FROM(SKB), ST(BPF_DW, R10, -40, 1), WRITE(0, 0), EXIT } },
	{ "write_with_flags", CLS, ACCEPT,
		{ FROM(SKB), ST(BPF_DW, R10, -40, 1), WRITE(8, BPF_F_INVALIDATE_HASH), EXIT } },
	{ "write_with_flags_on_xdp", XDP, ACCEPT,
		{ FROM(XDP), ST(BPF_DW, R10, -40, 1), WRITE(8, BPF_F_INVALIDATE_HASH), EXIT } },
	{ "read", CLS, ACCEPT,
		{ FROM(SKB), FP(R1, -40), MOV_K(R2, 8), FP(R3, -16), MOV_K(R4, 5), MOV_K(R5, 0),
			HELPER(BPF_FUNC_dynptr_read), LDX(BPF_W, R0, R10, -36), EXIT } },
	{ "data_of_a_packet", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, 0), MOV_K(R3, 8), HELPER(BPF_FUNC_dynptr_data),
			UNLESS_NULL(R0), RETURN(1) } },
	{ "adjusted", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, 10), MOV_K(R3, 30), CALL(ADJUST), OF(SIZE),
			MOV_X(R6, R0), BYTES(SLICE, 12), UNLESS_NULL(R0), LDX(BPF_B, R0, R0, 1),
			ALU_X(BPF_ADD, R0, R6), EXIT } },
	{ "adjusted_too_far", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, 10), MOV_K(R3, 65), CALL(ADJUST), EXIT } },
	{ "adjusted_backwards", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, 10), MOV_K(R3, 9), CALL(ADJUST), EXIT } },
	{ "cloned", CLS, ACCEPT,
		{ FROM(SKB), FP(R1, -16), FP(R2, -48), CALL(CLONE), FP(R1, -16), MOV_K(R2, 10),
			MOV_K(R3, 30), CALL(ADJUST), FP(R1, -48), CALL(SIZE), EXIT } },
	{ "slice_unchecked", XDP, "R0 invalid mem access 'rdonly_mem_or_null'",
		{ FROM(XDP), BYTES(SLICE, 3), LDX(BPF_W, R0, R0, 4), EXIT } },
	{ "writable_slice_unchecked", XDP, "R0 invalid mem access 'mem_or_null'",
		{ FROM(XDP), BYTES(SLICE_RDWR, 3), LDX(BPF_W, R0, R0, 4), EXIT } },
	{ "slice_read_only", XDP, "R0 cannot write into rdonly_mem",
		{ FROM(XDP), BYTES(SLICE, 3), UNLESS_NULL(R0), ST(BPF_B, R0, 0, 1), EXIT } },
	{ "past_the_slice", XDP, "invalid access to memory, mem_size=8 off=8 size=1",
		{ FROM(XDP), BYTES(SLICE, 3), UNLESS_NULL(R0), LDX(BPF_B, R0, R0, 8), EXIT } },
	{ "slice_of_unknown_size", XDP, "R4 must be a known constant",
		{ FROM(XDP), HELPER(BPF_FUNC_get_prandom_u32), MOV_X(R4, R0), ALU_K(BPF_AND, R4, 7),
			FP(R1, -16), MOV_K(R2, 0), FP(R3, -32), CALL(SLICE), RETURN(0) } },
	{ "slice_of_any_size", XDP, "arg#2 arg#3 memory, len pair leads to invalid memory access",
		{ FROM(XDP), HELPER(BPF_FUNC_get_prandom_u32), MOV_X(R4, R0), FP(R1, -16),
			MOV_K(R2, 0), FP(R3, -32), CALL(SLICE), RETURN(0) } },
	{ "small_buffer", XDP, "arg#2 arg#3 memory, len pair leads to invalid memory access",
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, 0), FP(R3, -4), MOV_K(R4, 8), CALL(SLICE),
			RETURN(0) } },
	{ "buffer_over_the_dynptr", XDP,
		"arg#2 arg#3 memory, len pair leads to invalid memory access",
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, 0), FP(R3, -16), MOV_K(R4, 8), CALL(SLICE),
			RETURN(0) } },
	{ "slice_of_no_dynptr", XDP, "Expected an initialized dynptr as arg #0",
		{ BYTES(SLICE, 0), RETURN(0) } },
	{ "slice_of_a_context", XDP, "arg#0 expected pointer to stack or const struct bpf_dynptr",
		{ MOV_K(R2, 0), MOV_K(R3, 0), MOV_K(R4, 8), CALL(SLICE), RETURN(0) } },
	{ "writable_slice_on_socket", SOCK, "the prog does not allow writes to packet data",
		{ FROM(SKB), BYTES(SLICE_RDWR, 0), RETURN(0) } },
	{ "slice_after_the_packet_moved", XDP, "R7 invalid mem access 'scalar'",
		{ MOV_X(R6, R1), FROM(XDP), BYTES(SLICE, 0), UNLESS_NULL(R0), MOV_X(R7, R0),
			MOV_X(R1, R6), MOV_K(R2, 0), HELPER(BPF_FUNC_xdp_adjust_head),
			LDX(BPF_B, R0, R7, 0), EXIT } },
	{ "slice_after_a_write_to_the_skb", CLS, "R7 invalid mem access 'scalar'",
		{ FROM(SKB), BYTES(SLICE, 0), UNLESS_NULL(R0), MOV_X(R7, R0),
			ST(BPF_DW, R10, -40, 1), WRITE(0, 0), LDX(BPF_B, R0, R7, 0), EXIT } },
	{ "slice_after_a_write_to_xdp", XDP, ACCEPT,
		{ FROM(XDP), BYTES(SLICE, 0), UNLESS_NULL(R0), MOV_X(R7, R0),
			ST(BPF_DW, R10, -40, 1), WRITE(0, 0), LDX(BPF_B, R0, R7, 0), EXIT } },
	{ "slice_after_the_dynptr", XDP, ACCEPT,
		{ FROM(XDP), BYTES(SLICE, 0), UNLESS_NULL(R0), ST(BPF_DW, R10, -16, 0),
			LDX(BPF_B, R0, R0, 0), EXIT } },
	{ "slice_of_the_clone_after_the_dynptr", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), FP(R2, -48), CALL(CLONE), FP(R1, -48), MOV_K(R2, 2),
			MOV_K(R3, 0), MOV_K(R4, 4), CALL(SLICE), UNLESS_NULL(R0),
			ST(BPF_DW, R10, -16, 0), LDX(BPF_B, R0, R0, 0), EXIT } },
	{ "from_xdp_on_cls", CLS, "calling kernel function bpf_dynptr_from_xdp is not allowed",
		{ FROM(XDP), RETURN(0) } },
	{ "from_skb_on_xdp", XDP, "calling kernel function bpf_dynptr_from_skb is not allowed",
		{ FROM(SKB), RETURN(0) } },
	{ "from_skb_read_only", SOCK,
		"calling kernel function bpf_dynptr_from_skb_rdonly is not allowed",
		{ FROM(SKB_RDONLY), RETURN(0) } },
	{ "from_another_pointer", XDP, "arg#0 expected pointer to ctx, but got fp",
		{ MOV_X(R1, R10), FROM(XDP), RETURN(0) } },
	{ "from_a_moved_context", XDP, "dereference of modified ctx ptr R1 off=4 disallowed",
		{ ALU_K(BPF_ADD, R1, 4), FROM(XDP), RETURN(0) } },
	{ "over_a_dynptr", XDP, ACCEPT,
		{ MOV_X(R6, R1), FROM(XDP), MOV_X(R1, R6), FROM(XDP), OF(SIZE), EXIT } },
	{ "clone_of_nothing", XDP, "Expected an initialized dynptr as arg #0",
		{ FP(R1, -16), FP(R2, -48), CALL(CLONE), RETURN(0) } },

	/* Bytes that are moved to where the program can look at them. */
	{ "pulled", XDP, ACCEPT,
		{ MOV_X(R6, R1), MOV_K(R2, FRAG + 100), CALL(XDP_PULL_DATA),
			JMP_K(BPF_JNE, R0, 0, 7), LDX(BPF_W, R1, R6, 0), LDX(BPF_W, R2, R6, 4),
			MOV_X(R3, R1), ALU_K(BPF_ADD, R3, FRAG + 100), JMP_X(BPF_JGT, R3, R2, 2),
			LDX(BPF_W, R0, R1, FRAG + 90), EXIT, MOV_K(R0, 77), EXIT },
		.frags = true },
	{ "pulled_32_bits", XDP, ACCEPT, { LD_IMM64(R2, -1), CALL(XDP_PULL_DATA), EXIT } },
	{ "pointer_after_a_pull", XDP, "R7 invalid mem access 'scalar'",
		{ LDX(BPF_W, R7, R1, 0), LDX(BPF_W, R2, R1, 4), MOV_X(R3, R7),
			ALU_K(BPF_ADD, R3, 8), JMP_X(BPF_JGT, R3, R2, 3), MOV_K(R2, 8),
			CALL(XDP_PULL_DATA), LDX(BPF_W, R0, R7, 0), RETURN(0) } },
	{ "pull_with_a_pointer", XDP, "R2 is not a scalar",
		{ MOV_X(R2, R10), CALL(XDP_PULL_DATA), EXIT } },
	{ "pull_on_no_context", XDP, "arg#0 expected pointer to ctx, but got fp",
		{ MOV_X(R1, R10), MOV_K(R2, 8), CALL(XDP_PULL_DATA), EXIT } },

	/* Iterators of two slots, over a copy of words anywhere. */
	{ "bits_of_a_word", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -24, 0x5009), BITS(-16, -24, 1), MOV_K(R6, 0), SUM_BITS(-16),
			BITS_END(-16), MOV_X(R0, R6), EXIT } },
	{ "bits_of_words", CLS, ACCEPT,
		{ ST(BPF_DW, R10, -24, 0x5009), ST(BPF_DW, R10, -32, -1), BITS(-16, -32, 2),
			MOV_K(R6, 0), SUM_BITS(-16), BITS_END(-16), MOV_X(R0, R6), EXIT } },
	{ "bits_of_nothing", XDP, ACCEPT,
		{ FP(R1, -16), MOV_K(R2, 0), MOV_K(R3, 1), CALL(BITS_NEW), MOV_X(R6, R0),
			BITS_END(-16), MOV_X(R0, R6), EXIT } },
	{ "bits_of_no_words", XDP, ACCEPT,
		{ BITS(-16, -32, 0), MOV_X(R6, R0), BITS_END(-16), MOV_X(R0, R6), EXIT } },
	{ "bits_of_too_many_words", XDP, ACCEPT,
		{ BITS(-16, -32, 512), MOV_X(R6, R0), BITS_END(-16), MOV_X(R0, R6), EXIT } },
	{ "bits_nowhere", XDP, ACCEPT,
		{ FP(R1, -16), MOV_K(R2, 1), MOV_K(R3, 1), CALL(BITS_NEW), MOV_X(R6, R0),
			BITS_END(-16), MOV_X(R0, R6), EXIT } },
	{ "words_of_bits_nowhere", XDP, ACCEPT,
		{ FP(R1, -16), MOV_K(R2, -8), MOV_K(R3, 3), CALL(BITS_NEW), MOV_X(R6, R0),
			BITS_END(-16), MOV_X(R0, R6), EXIT } },
	{ "words_of_bits_at_a_number", XDP, ACCEPT,
		{ FP(R1, -16), MOV_K(R2, 8), MOV_K(R3, 3), CALL(BITS_NEW), MOV_X(R6, R0),
			BITS_END(-16), MOV_X(R0, R6), EXIT } },
	{ "bits_without_an_end", XDP, "would lead to reference leak",
		{ BITS(-16, -32, 1), RETURN(0) } },
	{ "bits_in_half_the_room", XDP, "cannot pass in iter at an offset=-8",
		{ FP(R1, -8), MOV_K(R2, 0), MOV_K(R3, 1), CALL(BITS_NEW), RETURN(0) } },
	{ "bits_over_numbers", XDP, "expected uninitialized iter_bits as arg #0",
		{ ST(BPF_DW, R10, -16, 0), NEW(-8, 0, 3), FP(R1, -16), MOV_K(R2, 0), MOV_K(R3, 1),
			CALL(BITS_NEW), RETURN(0) } },
	{ "bits_over_numbers_where_no_stack_was", XDP, "Unreleased reference id=1",
		{ NEW(-8, 0, 3), FP(R1, -16), MOV_K(R2, 0), MOV_K(R3, 1), CALL(BITS_NEW),
			RETURN(0) } },
	{ "numbers_over_bits", XDP, "expected uninitialized iter_num as arg #0",
		{ BITS(-16, -32, 1), NEW(-8, 0, 3), RETURN(0) } },
	{ "numbers_of_bits", XDP, "expected an initialized iter_num as arg #0",
		{ BITS(-16, -32, 1), NEXT(-16), RETURN(0) } },
	{ "bits_at_their_other_half", XDP, "cannot pass in iter at an offset=-8",
		{ BITS(-16, -32, 1), FP(R1, -8), CALL(BITS_NEXT), RETURN(0) } },
	{ "bits_between_two", XDP, "expected an initialized iter_bits as arg #0",
		{ BITS(-16, -64, 1), BITS(-32, -64, 1), FP(R1, -24), CALL(BITS_NEXT), RETURN(0) } },
	{ "bits_overwritten_in_part", XDP, "expected an initialized iter_bits as arg #0",
		{ BITS(-16, -32, 1), ST(BPF_B, R10, -8, 0), BITS_END(-16), RETURN(0) } },
	{ "bits_read", XDP, "invalid read from stack",
		{ BITS(-16, -32, 1), LDX(BPF_DW, R0, R10, -16), BITS_END(-16), RETURN(0) } },
	{ "bits_again", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -24, 6), BITS(-16, -24, 1), BITS_END(-16), BITS(-16, -24, 1),
			MOV_K(R6, 0), SUM_BITS(-16), BITS_END(-16), MOV_X(R0, R6), EXIT } },

	/* What cannot be an address of the kernel is told from where nothing is. */
	{ "probe_read_kernel_of_null_8", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 8), MOV_K(R3, 0), HELPER(BPF_FUNC_probe_read_kernel),
			EXIT } },
	{ "probe_read_kernel_of_null_0", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 0), MOV_K(R3, 0), HELPER(BPF_FUNC_probe_read_kernel),
			EXIT } },
	{ "probe_read_kernel_of_the_first_page_8", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 8), MOV_K(R3, 4095), HELPER(BPF_FUNC_probe_read_kernel),
			EXIT } },
	{ "probe_read_kernel_of_the_first_page_0", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 0), MOV_K(R3, 4095), HELPER(BPF_FUNC_probe_read_kernel),
			EXIT } },
	{ "probe_read_kernel_of_the_last_byte_8", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 8), MOV_K(R3, -1), HELPER(BPF_FUNC_probe_read_kernel),
			EXIT } },
	{ "probe_read_kernel_of_the_last_byte_0", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 0), MOV_K(R3, -1), HELPER(BPF_FUNC_probe_read_kernel),
			EXIT } },
	{ "probe_read_kernel_of_no_address_8", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 8), LD_IMM64(R3, 0), ALU_K(BPF_OR, R3, 1),
			ALU_K(BPF_LSH, R3, 47), HELPER(BPF_FUNC_probe_read_kernel), EXIT } },
	{ "probe_read_kernel_of_no_address_0", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 0), LD_IMM64(R3, 0), ALU_K(BPF_OR, R3, 1),
			ALU_K(BPF_LSH, R3, 47), HELPER(BPF_FUNC_probe_read_kernel), EXIT } },
	{ "probe_read_kernel_str_of_null_8", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 8), MOV_K(R3, 0), HELPER(BPF_FUNC_probe_read_kernel_str),
			EXIT } },
	{ "probe_read_kernel_str_of_null_0", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 0), MOV_K(R3, 0), HELPER(BPF_FUNC_probe_read_kernel_str),
			EXIT } },
	{ "probe_read_kernel_str_of_the_first_page_8", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 8), MOV_K(R3, 4095), HELPER(BPF_FUNC_probe_read_kernel_str),
			EXIT } },
	{ "probe_read_kernel_str_of_the_first_page_0", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 0), MOV_K(R3, 4095), HELPER(BPF_FUNC_probe_read_kernel_str),
			EXIT } },
	{ "probe_read_kernel_str_of_the_last_byte_8", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 8), MOV_K(R3, -1), HELPER(BPF_FUNC_probe_read_kernel_str),
			EXIT } },
	{ "probe_read_kernel_str_of_the_last_byte_0", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 0), MOV_K(R3, -1), HELPER(BPF_FUNC_probe_read_kernel_str),
			EXIT } },
	{ "probe_read_kernel_str_of_no_address_8", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 8), LD_IMM64(R3, 0), ALU_K(BPF_OR, R3, 1),
			ALU_K(BPF_LSH, R3, 47), HELPER(BPF_FUNC_probe_read_kernel_str), EXIT } },
	{ "probe_read_kernel_str_of_no_address_0", XDP, ACCEPT,
		{ FP(R1, -8), MOV_K(R2, 0), LD_IMM64(R3, 0), ALU_K(BPF_OR, R3, 1),
			ALU_K(BPF_LSH, R3, 47), HELPER(BPF_FUNC_probe_read_kernel_str), EXIT } },

	/* Metadata of a packet that came past no XDP program. */
	{ "meta_is_empty", CLS, ACCEPT, { FROM(SKB_META), OF(SIZE), EXIT } },
	{ "meta_is_something", ACT, ACCEPT, { FROM(SKB_META), OF(IS_NULL), EXIT } },
	{ "meta_with_flags", CLS, ACCEPT,
		{ MOV_K(R2, 1), FP(R3, -16), CALL(FROM_SKB_META), EXIT } },
	{ "meta_on_xdp", XDP, "calling kernel function bpf_dynptr_from_skb_meta is not allowed",
		{ FROM(SKB_META), RETURN(0) } },
	{ "meta_on_socket", SOCK, "calling kernel function bpf_dynptr_from_skb_meta is not allowed",
		{ FROM(SKB_META), RETURN(0) } },
	{ "meta_slice", CLS, ACCEPT,
		{ FROM(SKB_META), BYTES(SLICE_RDWR, 0), UNLESS_NULL(R0), RETURN(7) } },
	{ "meta_written", CLS, ACCEPT,
		{ FROM(SKB_META), ST(BPF_DW, R10, -40, 1), WRITE(0, 0), EXIT } },
	{ "meta_data", CLS, ACCEPT,
		{ FROM(SKB_META), FP(R1, -16), MOV_K(R2, 0), MOV_K(R3, 1),
			HELPER(BPF_FUNC_dynptr_data), UNLESS_NULL(R0), RETURN(7) } },
	{ "meta_slice_after_a_write", CLS, "R7 invalid mem access 'scalar'",
		{ FROM(SKB_META), BYTES(SLICE, 0), UNLESS_NULL(R0), MOV_X(R7, R0),
			ST(BPF_DW, R10, -40, 1), WRITE(0, 0), LDX(BPF_B, R0, R7, 0), EXIT } },
	{ "meta_slice_after_the_packet_moved", CLS, "R7 invalid mem access 'scalar'",
		{ MOV_X(R6, R1), FROM(SKB_META), BYTES(SLICE, 0), UNLESS_NULL(R0), MOV_X(R7, R0),
			MOV_X(R1, R6), MOV_K(R2, 0), HELPER(BPF_FUNC_skb_pull_data),
			LDX(BPF_B, R0, R7, 0), EXIT } },

	/* Bytes from anywhere into the packet, over the ends of its pieces too. */
	{ "probed_bytes", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE, 3, 8), MOV_X(R6, R0), BYTES(SLICE, 0), MOV_X(R0, R6),
			EXIT } },
	{ "probed_string", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE_STR, 3, 8), MOV_X(R6, R0), BYTES(SLICE, 0), MOV_X(R0, R6),
			EXIT } },
	{ "probed_string_of_one", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE_STR, 3, 1), MOV_X(R6, R0), BYTES(SLICE, 0), MOV_X(R0, R6),
			EXIT } },
	{ "probed_nothing", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE, 3, 0), MOV_X(R6, R0), BYTES(SLICE, 0), MOV_X(R0, R6),
			EXIT } },
	{ "probed_no_string", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE_STR, 3, 0), MOV_X(R6, R0), BYTES(SLICE, 0), MOV_X(R0, R6),
			EXIT } },
	{ "probed_bytes_past_the_end", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE, 60, 8), MOV_X(R6, R0), BYTES(SLICE, 0), MOV_X(R0, R6),
			EXIT } },
	{ "probed_string_past_the_end", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE_STR, 60, 8), MOV_X(R6, R0), BYTES(SLICE, 0),
			MOV_X(R0, R6), EXIT } },
	{ "probed_bytes_over_pieces", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE, FRAG - 5, 16), MOV_X(R6, R0), BYTES(SLICE, 0),
			MOV_X(R0, R6), EXIT },
		.frags = true },
	{ "probed_string_over_pieces", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE_STR, FRAG - 5, 16), MOV_X(R6, R0), BYTES(SLICE, 0),
			MOV_X(R0, R6), EXIT },
		.frags = true },
	{ "probed_short_string_over_pieces", XDP, ACCEPT,
		{ FROM(XDP), PROBED(PROBE_STR, FRAG - 2, 12), MOV_X(R6, R0), BYTES(SLICE, 0),
			MOV_X(R0, R6), EXIT },
		.frags = true },
	{ "probed_at_null", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, 0), MOV_K(R3, 8), MOV_K(R4, 0), CALL(PROBE),
			EXIT } },
	{ "probed_string_at_null", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), MOV_K(R2, 0), MOV_K(R3, 8), MOV_K(R4, 0), CALL(PROBE_STR),
			EXIT } },
	{ "probed_without_a_dynptr", XDP, "Expected an initialized dynptr as arg #0",
		{ PROBED(PROBE, 0, 8), EXIT } },

	/* What the device notes is for programs that are bound to it, whether they ask or not. */
	{ "note_of_no_device", XDP, "metadata kfuncs require device-bound program",
		{ FP(R2, -8), CALL(RX_TIMESTAMP), RETURN(0) } },
	{ "note_never_asked_for", XDP, "metadata kfuncs require device-bound program",
		{ RETURN(0), CALL(RX_TIMESTAMP), RETURN(0) } },
	{ "note_on_cls", CLS, "metadata kfuncs require device-bound program",
		{ FP(R2, -8), CALL(RX_TIMESTAMP), RETURN(0) } },

	/* Strings may be anywhere. */
	{ "string_at_a_number", XDP, ACCEPT, { MOV_K(R1, 0), CALL(STRLEN), EXIT } },
	{ "string_on_the_stack", XDP, ACCEPT,
		{ ST(BPF_DW, R10, -8, 0x616161), FP(R1, -8), CALL(STRLEN), EXIT } },
	{ "string_in_pieces_of_stack", SOCK, ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), ST(BPF_B, R10, -16, 'a'), ST(BPF_B, R10, -15, 'b'),
			ST(BPF_H, R10, -14, 0x6161), ST(BPF_W, R10, -12, 0x61616161), FP(R1, -16),
			CALL(STRLEN), EXIT } },
	{ "string_in_the_context", CLS, ACCEPT,
		{ ALU_K(BPF_ADD, R1, 4), CALL(STRLEN), RETURN(0) } },
	{ "string_nowhere", XDP, ACCEPT, { MOV_K(R1, 0), CALL(STRLEN), CALL(STRLEN), RETURN(0) } },
	{ "character_that_is_a_pointer", XDP, "R2 is not a scalar",
		{ MOV_K(R1, 0), MOV_X(R2, R10), CALL(STRCHR), EXIT } },
	{ "result_is_32_bits", XDP, ACCEPT,
		{ MOV_K(R1, 0), CALL(STRLEN), ALU_K(BPF_RSH, R0, 32), EXIT } },
	{ "pointer_in_the_buffer", XDP, ACCEPT,
		{ MOV_X(R6, R1), FROM(XDP), BYTES(SLICE_RDWR, 0), UNLESS_NULL(R0),
			STX(BPF_DW, R10, R6, -32), ST(BPF_DW, R0, 0, 4096),
			LDX(BPF_DW, R1, R10, -32), LDX(BPF_W, R0, R1, 0), RETURN(0) },
		.ours = "R1 invalid mem access 'scalar'" },
	{ "dynptr_in_the_buffer", XDP, ACCEPT,
		{ MOV_X(R6, R1), FROM(XDP), FP(R1, -16), MOV_K(R2, 0), FP(R3, -32), MOV_K(R4, 16),
			CALL(SLICE_RDWR), UNLESS_NULL(R0), MOV_X(R7, R0), MOV_X(R1, R6),
			MOV_K(R2, 0), FP(R3, -32), CALL(FROM_XDP), ST(BPF_DW, R7, 0, 4096),
			RETURN(0) },
		.ours = "potential write to dynptr at off=-32 disallowed" },
	{ "buffer_of_a_function_that_ended", XDP, ACCEPT,
		{ FROM(XDP), FP(R1, -16), LOCAL_CALL(5), UNLESS_NULL(R0), LDX(BPF_B, R0, R0, 0),
			EXIT, MOV_K(R2, 0), FP(R3, -8), MOV_K(R4, 8), CALL(SLICE), EXIT },
		.ours = "R0 invalid mem access 'scalar'" },
};

struct side {
	long (*bpf)(int cmd, union bpf_attr *attr, unsigned int size);
	char *log;
};

static struct side kernel = { oracle_bpf }, sluice = { sluice_bpf };

static bool find_numbers(void)
{
	struct btf *btf = btf__parse("/sys/kernel/btf/vmlinux", NULL);

	for (unsigned i = 0; btf && i < NAMES; i++) {
		int id = names[i] ? btf__find_by_name_kind(btf, names[i], BTF_KIND_FUNC) : 0;

		numbers[i] = id > 0 ? (uint32_t)id : 0;
	}
	btf__free(btf);
	return numbers[ITER_NEW];
}

static uint32_t length(const struct row *row)
{
	static const struct bpf_insn nothing;
	uint32_t count = MAX_INSNS;

	while (count && !memcmp(&row->insns[count - 1], &nothing, sizeof(nothing)))
		count--;
	return count;
}

static bool is_kfunc_call(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_KFUNC_CALL;
}

/* With an offset of 1 the number is meant as it is. */
static void resolve(struct bpf_insn *insns, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!is_kfunc_call(&insns[i]))
			continue;
		if (insns[i].off == 0)
			insns[i].imm = (int32_t)numbers[insns[i].imm];
		else if (insns[i].off == 1)
			insns[i].off = 0;
	}
}

static int load(const struct side *side, const struct row *row)
{
	struct bpf_insn insns[MAX_INSNS];
	union bpf_attr attr;
	long fd;

	memcpy(insns, row->insns, sizeof(insns));
	resolve(insns, length(row));
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = row->type;
	attr.insns = (uint64_t)insns;
	attr.insn_cnt = length(row);
	attr.license = (uint64_t)(row->proprietary ? "none" : "GPL");
	attr.log_buf = (uint64_t)side->log;
	attr.log_size = LOG_BYTES;
	attr.prog_flags = row->frags ? BPF_F_XDP_HAS_FRAGS : 0;
	attr.log_level = 2;
	side->log[0] = '\0';
	fd = side->bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	return fd < 0 ? -errno : (int)fd;
}

/* The result, and in the upper half a sum over the packet. */
static int64_t run(const struct side *side, int fd, uint32_t len)
{
	static uint8_t packet[LONG_PACKET], out[LONG_PACKET];
	union bpf_attr attr;
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i++)
		packet[i] = (uint8_t)(i * 7 + i / 256);
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = (uint64_t)packet;
	attr.test.data_size_in = len;
	attr.test.data_out = (uint64_t)out;
	attr.test.data_size_out = sizeof(out);
	if (side->bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		return -errno;
	for (uint32_t i = 0; i < attr.test.data_size_out; i++)
		sum = sum * 31 + out[i];
	return attr.test.retval | (int64_t)(sum >> 1) << 32;
}

/* The retval of what is accepted, else the verdict. */
static int64_t check_side(const struct side *side, const struct row *row, const char *reason)
{
	int fd = load(side, row);
	int64_t result = fd;

	if (reason) {
		EXPECT_LT(fd, 0);
		EXPECT_CONTAINS(side->log, reason);
	} else {
		EXPECT_GE(fd, 0);
	}
	if (fd < 0)
		return result;
	result = run(side, fd, row->frags ? LONG_PACKET : 64);
	close(fd);
	return result;
}

static void check_row(const struct row *row)
{
	int64_t ours = check_side(&sluice, row, row->ours ? row->ours : row->reason), theirs;

	TRACE_PUSH("%s:\n%s", row->name, sluice.log);
	if (oracle_permitted() && !row->ours) {
		theirs = check_side(&kernel, row, row->reason);
		TRACE_PUSH("the kernel's:\n%s", kernel.log);
		EXPECT_EQ(ours, theirs);
		TRACE_POP();
	}
	TRACE_POP();
}

TEST(kfuncs, rows)
{
	if (!find_numbers())
		SKIP("the kernel does not show its BTF");
	sluice.log = malloc(LOG_BYTES);
	kernel.log = malloc(LOG_BYTES);
	for (unsigned i = 0; i < sl_array_size(rows); i++)
		check_row(&rows[i]);
	free(sluice.log);
	free(kernel.log);
}

/* A round of an iterator where as many branches are open as there may be. */
static int load_after_branches(const struct side *side, uint32_t branches)
{
	const struct bpf_insn begin[] = { NEW(-8, 0, 3), HELPER(BPF_FUNC_get_prandom_u32) },
			      end[] = { NEXT(-8), DESTROY(-8), RETURN(0) };
	static struct bpf_insn insns[9000];
	static char log[1 << 16];
	uint32_t count = sl_array_size(begin);
	union bpf_attr attr;
	long fd;

	memcpy(insns, begin, sizeof(begin));
	for (uint32_t i = 0; i < branches; i++)
		insns[count++] = JMP_K(BPF_JEQ, R0, (int32_t)i + 1, 0);
	memcpy(insns + count, end, sizeof(end));
	count += sl_array_size(end);
	for (uint32_t i = 0; i < count; i++)
		if (insns[i].code == (BPF_JMP | BPF_CALL) &&
			insns[i].src_reg == BPF_PSEUDO_KFUNC_CALL)
			insns[i].imm = (int32_t)numbers[insns[i].imm];
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = XDP;
	attr.insns = (uint64_t)insns;
	attr.insn_cnt = count;
	attr.license = (uint64_t)"GPL";
	attr.log_buf = (uint64_t)log;
	attr.log_size = sizeof(log);
	attr.log_level = 4;
	fd = side->bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}

TEST(kfuncs, iterator_among_open_branches)
{
	ORACLE_OR_SKIP();
	if (!find_numbers())
		SKIP("the kernel does not show its BTF");
	EXPECT_EQ(load_after_branches(&sluice, 8193), load_after_branches(&kernel, 8193));
	EXPECT_EQ(load_after_branches(&sluice, 8192), load_after_branches(&kernel, 8192));
	EXPECT_EQ(load_after_branches(&sluice, 8192), -ENOMEM);
}
