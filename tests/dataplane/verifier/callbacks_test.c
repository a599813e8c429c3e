#include <bpf/btf.h>
#include <stdlib.h>

#include "defs.h"
#include "kernel.h"
#include "sluice/bpf.h"
#include "test.h"

/*
 * Programs with callbacks, which need BTF that says where their functions are. Every row is loaded
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
#define R9 BPF_REG_9
#define R10 BPF_REG_10

#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define STX(size, dst, src, off) INSN(BPF_STX | BPF_MEM | (size), dst, src, off, 0)
#define ST(size, dst, off, imm) INSN(BPF_ST | BPF_MEM | (size), dst, 0, off, imm)
#define JMP_X(op, dst, src, off) INSN(BPF_JMP | (op) | BPF_X, dst, src, off, 0)
#define MAY_GOTO(off) INSN(BPF_JMP | 0xe0, 0, 0, off, 0)
#define LD_MAP(dst, which) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, which), INSN(0, 0, 0, 0, 0)
/* The function behind the nth EXIT, the main program's being the first. */
#define LD_FUNC(dst, n) \
	INSN(BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_FUNC, 0, n), INSN(0, 0, 0, 0, 0)
#define CALL_FUNC(n) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, n)
#define RETURN(n) MOV_K(R0, n), EXIT

/* bpf_loop(rounds, function n, fp + off, 0) */
#define LOOP(rounds, n, off)                                                                      \
	MOV_K(R1, rounds), LD_FUNC(R2, n), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, off), MOV_K(R4, 0), \
		HELPER(BPF_FUNC_loop)
/* bpf_for_each_map_elem(which, function n, fp + off, 0) */
#define FOR_EACH(which, n, off)                                                                   \
	LD_MAP(R1, which), LD_FUNC(R2, n), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, off), MOV_K(R4, 0), \
		HELPER(BPF_FUNC_for_each_map_elem)
/* The callback adds what is in `reg` to the number that its context, `ctx`, points to. */
#define ADD_TO(ctx, reg) LDX(BPF_DW, R0, ctx, 0), ALU_X(BPF_ADD, R0, reg), STX(BPF_DW, ctx, R0, 0)
#define RETURN_SUM LDX(BPF_DW, R0, R10, -8), EXIT

enum map {
	M_ARRAY,
	M_HASH,
	M_PERCPU_ARRAY,
	M_PERCPU_HASH,
	M_PROGS,
	M_TIMERS,
	M_LOCKS,
	M_USER_RING,
	M_RING,
	MAPS
};

/* R6: a value { u64; struct bpf_timer; } of M_TIMERS. */
#define TIMER_VALUE                                                                           \
	ST(BPF_DW, R10, -8, 0), LD_MAP(R1, M_TIMERS), MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -8), \
		HELPER(BPF_FUNC_map_lookup_elem), JMP_K(BPF_JNE, R0, 0, 2), RETURN(0),        \
		MOV_X(R6, R0)
/* Sets function n as the callback of the timer at R6 + off. */
#define SET_CALLBACK(n, off) \
	MOV_X(R1, R6), ALU_K(BPF_ADD, R1, off), LD_FUNC(R2, n), HELPER(BPF_FUNC_timer_set_callback)

/* R0: a socket or NULL, of the packet in R1. */
#define FIND_SOCKET                                                                               \
	ST(BPF_DW, R10, -8, 0), ST(BPF_DW, R10, -16, 0), MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -16), \
		MOV_K(R3, 12), MOV_K(R4, 0), MOV_K(R5, 0), HELPER(BPF_FUNC_sk_lookup_tcp)
#define TAIL_CALL LD_MAP(R2, M_PROGS), MOV_K(R3, 0), HELPER(BPF_FUNC_tail_call)

#define LOG_BYTES (1u << 22)
#define MAX_INSNS 64
#define MAX_FUNCS 8

#define ACCEPT NULL

struct row {
	const char *name, *reason; /* ACCEPT, or part of the log of both */
	struct bpf_insn insns[MAX_INSNS];
	bool global, no_btf; /* the functions' linkage; no func_info */
	bool any_errno; /* both refuse, each in its own way */
	bool ours_only; /* the kernel trips over it */
	bool kernel_accepts; /* what would bring it down: loaded there, and not run */
	uint8_t globals; /* bit n: function n is global, whatever `global` says */
};

struct side {
	long (*bpf)(int cmd, union bpf_attr *attr, unsigned int size);
	int maps[MAPS], btf[2]; /* by linkage */
	char *log;
};

/* bpf_user_ringbuf_drain(which, function n, fp + off, flags); the callback gets the sample in R1 */
#define DRAIN(which, n, off, flags)                                                 \
	LD_MAP(R1, which), LD_FUNC(R2, n), MOV_X(R3, R10), ALU_K(BPF_ADD, R3, off), \
		MOV_K(R4, flags), HELPER(BPF_FUNC_user_ringbuf_drain)
#define DATA(at, len) MOV_K(R2, at), MOV_K(R3, len), HELPER(BPF_FUNC_dynptr_data)

static const struct row rows[] = {
	{ "loop_sum", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), LOOP(10, 1, -8), RETURN_SUM, ADD_TO(R2, R1),
			RETURN(0) } },
	{ "loop_count", ACCEPT, { LOOP(10, 1, 0), EXIT, RETURN(0) } },
	{ "loop_not_at_all", ACCEPT, { LOOP(0, 1, 0), EXIT, RETURN(1) } },
	{ "loop_stop", ACCEPT,
		{ LOOP(10, 1, 0), EXIT, JMP_K(BPF_JGE, R1, 4, 2), RETURN(0), RETURN(1) } },
	{ "loop_flags", ACCEPT,
		{ MOV_K(R1, 3), LD_FUNC(R2, 1), MOV_K(R3, 0), MOV_K(R4, 1), HELPER(BPF_FUNC_loop),
			EXIT, RETURN(0) } },
	{ "loop_rounds_limit", ACCEPT, { LOOP(8 * 1024 * 1024, 1, 0), EXIT, RETURN(1) } },
	{ "loop_too_many_rounds", ACCEPT, { LOOP(8 * 1024 * 1024 + 1, 1, 0), EXIT, RETURN(1) } },
	/* As a helper it would look at 32 bits, in place it does not. */
	{ "loop_rounds_past_32_bits", ACCEPT,
		{ MOV_K(R1, 1), ALU_K(BPF_LSH, R1, 32), ALU_K(BPF_ADD, R1, 3), LD_FUNC(R2, 1),
			MOV_K(R3, 0), MOV_K(R4, 0), HELPER(BPF_FUNC_loop), EXIT, RETURN(0) } },
	{ "loop_unknown_rounds", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), LDX(BPF_W, R1, R1, 0), LD_FUNC(R2, 1), MOV_X(R3, R10),
			ALU_K(BPF_ADD, R3, -8), MOV_K(R4, 0), HELPER(BPF_FUNC_loop), RETURN_SUM,
			ADD_TO(R2, R1), RETURN(0) } },
	{ "loop_no_context", ACCEPT,
		{ MOV_K(R1, 3), LD_FUNC(R2, 1), MOV_K(R3, 0), MOV_K(R4, 0), HELPER(BPF_FUNC_loop),
			EXIT, MOV_X(R0, R2), EXIT } },
	{ "loop_nested", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), LOOP(5, 1, -8), RETURN_SUM, MOV_X(R6, R2), MOV_K(R1, 7),
			LD_FUNC(R2, 2), MOV_X(R3, R6), MOV_K(R4, 0), HELPER(BPF_FUNC_loop),
			RETURN(0), ADD_TO(R2, R1), RETURN(0) } },
	{ "loop_two_functions", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), LDX(BPF_W, R6, R1, 0), LD_FUNC(R2, 1),
			JMP_K(BPF_JGT, R6, 100, 2), LD_FUNC(R2, 2), MOV_K(R1, 6), MOV_X(R3, R10),
			ALU_K(BPF_ADD, R3, -8), MOV_K(R4, 0), HELPER(BPF_FUNC_loop), RETURN_SUM,
			ADD_TO(R2, R1), RETURN(0), ALU_K(BPF_MUL, R1, 3), ADD_TO(R2, R1),
			RETURN(0) } },
	{ "loop_in_function", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), MOV_X(R1, R10), ALU_K(BPF_ADD, R1, -8), CALL_FUNC(1),
			RETURN_SUM, MOV_X(R3, R1), MOV_K(R1, 4), LD_FUNC(R2, 2), MOV_K(R4, 0),
			HELPER(BPF_FUNC_loop), RETURN(0), ADD_TO(R2, R1), RETURN(0) } },
	{ "function_called_both_ways", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), MOV_K(R1, 40), MOV_X(R2, R10), ALU_K(BPF_ADD, R2, -8),
			CALL_FUNC(1), LOOP(4, 1, -8), RETURN_SUM, ADD_TO(R2, R1), RETURN(0) } },
	{ "loop_context_through_stack", ACCEPT,
		{ STX(BPF_DW, R10, R1, -8), ST(BPF_DW, R10, -16, 0), LOOP(3, 1, -16),
			LDX(BPF_DW, R0, R10, -16), EXIT, LDX(BPF_DW, R3, R2, 8),
			LDX(BPF_W, R3, R3, 0), LDX(BPF_DW, R0, R2, 0), ALU_X(BPF_ADD, R0, R3),
			STX(BPF_DW, R2, R0, 0), RETURN(0) } },
	{ "loop_result_as_index", ACCEPT,
		{ ST(BPF_DW, R10, -16, 1), ST(BPF_DW, R10, -8, 2), LOOP(1, 1, 0),
			JMP_K(BPF_JGT, R0, 1, 5), ALU_K(BPF_LSH, R0, 3), MOV_X(R1, R10),
			ALU_X(BPF_ADD, R1, R0), LDX(BPF_DW, R0, R1, -16), EXIT, RETURN(0),
			RETURN(0) } },
	{ "callee_saved_registers", ACCEPT,
		{ MOV_K(R6, 7), ST(BPF_DW, R10, -8, 0), LOOP(5, 1, -8), MOV_X(R0, R6), EXIT,
			MOV_K(R6, 9), RETURN(0) } },
	{ "packet_moves_in_callback", "R6 invalid mem access 'scalar'",
		{ LDX(BPF_W, R6, R1, 76), LDX(BPF_W, R7, R1, 80), MOV_X(R2, R6),
			ALU_K(BPF_ADD, R2, 14), JMP_X(BPF_JGT, R2, R7, 10),
			STX(BPF_DW, R10, R1, -8), LOOP(2, 1, -8), LDX(BPF_B, R0, R6, 0), EXIT,
			RETURN(0), LDX(BPF_DW, R1, R2, 0), MOV_K(R2, 20),
			HELPER(BPF_FUNC_skb_pull_data), RETURN(0) } },
	{ "returns_2",
		"At callback return the register R0 has smin=2 smax=2 should have been in [0, 1]",
		{ LOOP(10, 1, 0), EXIT, RETURN(2) } },
	{ "returns_anything",
		"At callback return the register R0 has unknown scalar value should have been in [0, 1]",
		{ LOOP(10, 1, 0), EXIT, MOV_X(R0, R1), EXIT } },
	{ "returns_pointer", "R0 not a scalar value",
		{ LOOP(10, 1, 0), EXIT, FOR_EACH(M_ARRAY, 2, 0), LD_MAP(R0, M_ARRAY), EXIT,
			RETURN(0) } },
	{ "returns_stack", "cannot return stack pointer to the caller",
		{ LOOP(10, 1, 0), EXIT, MOV_X(R0, R2), EXIT } },
	{ "returns_nothing", "R0 not a scalar value", { LOOP(10, 1, 0), EXIT, EXIT } },
	{ "not_a_function", "R2 type=scalar expected=func",
		{ MOV_K(R1, 1), MOV_K(R2, 0), MOV_K(R3, 0), MOV_K(R4, 0), HELPER(BPF_FUNC_loop),
			EXIT } },
	{ "function_moved", "dereference of modified func ptr R2 off=8 disallowed",
		{ LD_FUNC(R2, 1), ALU_K(BPF_ADD, R2, 8), MOV_K(R1, 1), MOV_K(R3, 0), MOV_K(R4, 0),
			HELPER(BPF_FUNC_loop), EXIT, RETURN(0) } },
	{ "function_moved_and_back", ACCEPT,
		{ LD_FUNC(R2, 1), ALU_K(BPF_ADD, R2, 8), ALU_K(BPF_SUB, R2, 8), MOV_K(R1, 6),
			MOV_K(R3, 0), MOV_K(R4, 0), HELPER(BPF_FUNC_loop), EXIT, RETURN(0) } },
	{ "function_compared", ACCEPT,
		{ LD_FUNC(R2, 1), JMP_K(BPF_JNE, R2, 0, 2), RETURN(9), RETURN(1), RETURN(0) } },
	{ "function_read", "R2 invalid mem access 'func'",
		{ LD_FUNC(R2, 1), LDX(BPF_DW, R0, R2, 0), EXIT, RETURN(0) } },
	{ "context_not_stack", "R3 type=ctx expected=fp",
		{ MOV_X(R3, R1), MOV_K(R1, 1), LD_FUNC(R2, 1), MOV_K(R4, 0), HELPER(BPF_FUNC_loop),
			EXIT, RETURN(0) } },
	{ "context_is_a_number", "R3 type=scalar expected=fp",
		{ MOV_K(R3, 1), MOV_K(R1, 1), LD_FUNC(R2, 1), MOV_K(R4, 0), HELPER(BPF_FUNC_loop),
			EXIT, RETURN(0) } },
	{ "flags_missing", "R4 !read_ok",
		{ MOV_K(R1, 1), LD_FUNC(R2, 1), MOV_K(R3, 0), HELPER(BPF_FUNC_loop), EXIT,
			RETURN(0) } },
	{ "context_missing_in_callback", "R2 invalid mem access 'scalar'",
		{ MOV_K(R1, 3), LD_FUNC(R2, 1), MOV_K(R3, 0), MOV_K(R4, 0), HELPER(BPF_FUNC_loop),
			EXIT, LDX(BPF_DW, R0, R2, 0), RETURN(0) } },
	{ "unused_argument", "R3 !read_ok", { LOOP(2, 1, 0), EXIT, MOV_X(R0, R3), RETURN(0) } },
	{ "main_as_callback", "the call stack of 8 frames is too deep",
		{ LD_FUNC(R2, 0), RETURN(0) } },
	{ "global_function", "callback function not static", { LOOP(10, 1, 0), EXIT, RETURN(0) },
		.global = true },
	{ "no_func_info", "missing btf func_info", { LOOP(10, 1, 0), EXIT, RETURN(0) },
		.no_btf = true },
	/* What one round leaves behind is unsafe in the next. */
	{ "unsafe_in_second_round", "R1 type=scalar expected=",
		{ MOV_X(R1, R10), ALU_K(BPF_ADD, R1, -16), STX(BPF_DW, R10, R1, -8),
			ST(BPF_DW, R10, -16, 0), LOOP(100, 1, -8), RETURN(0),
			LDX(BPF_DW, R1, R2, 0), ST(BPF_DW, R2, 0, 0x1234), MOV_X(R6, R2),
			MOV_K(R2, 8), MOV_K(R3, 0), MOV_K(R4, 0), MOV_K(R5, 0),
			HELPER(BPF_FUNC_csum_diff), RETURN(0) } },
	{ "unsafe_after_no_round",
		"math between fp pointer and register with unbounded min value is not allowed",
		{ HELPER(BPF_FUNC_get_prandom_u32), STX(BPF_DW, R10, R0, -8), LOOP(100, 1, -8),
			LDX(BPF_DW, R1, R10, -8), MOV_X(R2, R10), ALU_X(BPF_ADD, R2, R1),
			LDX(BPF_B, R0, R2, -64), EXIT, ST(BPF_DW, R2, 0, 0), RETURN(0) } },
	{ "index_grows", "R1 max value is outside of the allowed memory range",
		{ ST(BPF_DW, R10, -8, 0), LOOP(100, 1, -8), LD_MAP(R1, M_ARRAY), RETURN(0),
			LDX(BPF_DW, R6, R2, 0), ALU_K(BPF_ADD, R6, 1), STX(BPF_DW, R2, R6, 0),
			MOV_X(R7, R6), ST(BPF_DW, R10, -8, 0), LD_MAP(R1, M_ARRAY), MOV_X(R2, R10),
			ALU_K(BPF_ADD, R2, -8), HELPER(BPF_FUNC_map_lookup_elem),
			JMP_K(BPF_JNE, R0, 0, 2), RETURN(0), JMP_K(BPF_JGT, R7, 50, 3),
			MOV_X(R1, R0), ALU_X(BPF_ADD, R1, R7), LDX(BPF_B, R0, R1, 0), RETURN(0) } },
	{ "endless_callback", "infinite loop detected",
		{ LOOP(100, 1, 0), RETURN(0), MOV_K(R0, 0), JA(-2) } },
	{ "calls_itself_by_loop", "the call stack of 9 frames is too deep",
		{ LOOP(2, 1, 0), RETURN(0), LOOP(2, 1, 0), RETURN(0) } },
	{ "stack_of_both", "combined stack size of 2 calls is",
		{ ST(BPF_DW, R10, -264, 0), LOOP(2, 1, 0), RETURN(0), ST(BPF_DW, R10, -256, 0),
			RETURN(0) } },
	{ "leaks_stack_to_caller", "cannot spill pointers to stack into stack frame of the caller",
		{ LOOP(2, 1, -8), RETURN(0), STX(BPF_DW, R2, R10, 0), RETURN(0) } },
	/* The kernel finds no writer of the R0 that another program returns. */
	{ "tail_call_in_callback", "",
		{ STX(BPF_DW, R10, R1, -8), LOOP(3, 1, -8), EXIT, LDX(BPF_DW, R1, R2, 0),
			LD_MAP(R2, M_PROGS), MOV_K(R3, 0), HELPER(BPF_FUNC_tail_call), RETURN(0) },
		.any_errno = true },
	{ "tail_call_after_r0",
		"At callback return the register R0 has unknown scalar value should have been in [0, 1]",
		{ STX(BPF_DW, R10, R1, -8), LOOP(3, 1, -8), EXIT, MOV_K(R0, 0),
			LDX(BPF_DW, R1, R2, 0), LD_MAP(R2, M_PROGS), MOV_K(R3, 0),
			HELPER(BPF_FUNC_tail_call), RETURN(0) } },
	/* What the caller holds it still gives back: another program takes the function's place. */
	{ "tail_call_while_the_caller_holds", ACCEPT,
		{ MOV_X(R6, R1), FIND_SOCKET, MOV_X(R7, R0), MOV_X(R1, R6), CALL_FUNC(1),
			JMP_K(BPF_JEQ, R7, 0, 2), MOV_X(R1, R7), HELPER(BPF_FUNC_sk_release),
			RETURN(0), TAIL_CALL, RETURN(0) } },
	{ "packet_load_while_the_caller_holds", ACCEPT,
		{ MOV_X(R6, R1), FIND_SOCKET, MOV_X(R7, R0), MOV_X(R1, R6), CALL_FUNC(1),
			JMP_K(BPF_JEQ, R7, 0, 2), MOV_X(R1, R7), HELPER(BPF_FUNC_sk_release),
			RETURN(0), MOV_X(R6, R1), INSN(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 4),
			RETURN(0) } },
	{ "tail_call_of_a_function_that_holds",
		"BPF_EXIT instruction in main prog would lead to "
		"reference leak",
		{ CALL_FUNC(1), RETURN(0), MOV_X(R6, R1), FIND_SOCKET, MOV_X(R7, R0), MOV_X(R1, R6),
			TAIL_CALL, JMP_K(BPF_JEQ, R7, 0, 2), MOV_X(R1, R7),
			HELPER(BPF_FUNC_sk_release), RETURN(0) } },
	{ "packet_load_in_callback", ACCEPT,
		{ STX(BPF_DW, R10, R1, -8), LOOP(3, 1, -8), EXIT, MOV_K(R0, 0),
			LDX(BPF_DW, R6, R2, 0), INSN(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 4),
			RETURN(0) },
		.ours_only = true },
	{ "packet_load_past_end_in_callback", ACCEPT,
		{ STX(BPF_DW, R10, R1, -8), LOOP(3, 1, -8), EXIT, MOV_K(R0, 0),
			LDX(BPF_DW, R6, R2, 0), INSN(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 4000),
			RETURN(1) },
		.ours_only = true },

	{ "array", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), FOR_EACH(M_ARRAY, 1, -8), RETURN_SUM,
			LDX(BPF_W, R5, R2, 0), ADD_TO(R4, R5), LDX(BPF_DW, R5, R3, 0),
			ADD_TO(R4, R5), RETURN(0) } },
	{ "array_count", ACCEPT, { FOR_EACH(M_ARRAY, 1, 0), EXIT, RETURN(0) } },
	{ "array_stop", ACCEPT, { FOR_EACH(M_ARRAY, 1, 0), EXIT, RETURN(1) } },
	{ "percpu_array", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), FOR_EACH(M_PERCPU_ARRAY, 1, -8), RETURN_SUM,
			LDX(BPF_DW, R5, R3, 0), ADD_TO(R4, R5), RETURN(0) } },
	{ "hash", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), FOR_EACH(M_HASH, 1, -8), RETURN_SUM,
			LDX(BPF_W, R5, R2, 0), ADD_TO(R4, R5), LDX(BPF_DW, R5, R3, 0),
			ADD_TO(R4, R5), RETURN(0) } },
	{ "percpu_hash", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), FOR_EACH(M_PERCPU_HASH, 1, -8), RETURN_SUM,
			LDX(BPF_DW, R5, R3, 0), ADD_TO(R4, R5), RETURN(0) } },
	{ "value_written", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), FOR_EACH(M_ARRAY, 1, 0), FOR_EACH(M_ARRAY, 2, -8),
			RETURN_SUM, LDX(BPF_DW, R0, R3, 0), ALU_K(BPF_ADD, R0, 5),
			STX(BPF_DW, R3, R0, 0), RETURN(0), LDX(BPF_DW, R5, R3, 0), ADD_TO(R4, R5),
			RETURN(0) } },
	{ "either_map", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), LDX(BPF_W, R6, R1, 0), LD_MAP(R1, M_ARRAY),
			JMP_K(BPF_JGT, R6, 100, 2), LD_MAP(R1, M_HASH), LD_FUNC(R2, 1),
			MOV_X(R3, R10), ALU_K(BPF_ADD, R3, -8), MOV_K(R4, 0),
			HELPER(BPF_FUNC_for_each_map_elem), RETURN_SUM, LDX(BPF_DW, R5, R3, 0),
			ADD_TO(R4, R5), RETURN(0) } },
	{ "map_argument_used", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), FOR_EACH(M_ARRAY, 1, -8), RETURN_SUM, MOV_X(R6, R4),
			HELPER(BPF_FUNC_map_lookup_elem), JMP_K(BPF_JEQ, R0, 0, 4),
			LDX(BPF_DW, R5, R0, 0), ADD_TO(R6, R5), RETURN(0) } },
	{ "for_each_flags", ACCEPT,
		{ LD_MAP(R1, M_ARRAY), LD_FUNC(R2, 1), MOV_K(R3, 0), MOV_K(R4, 1),
			HELPER(BPF_FUNC_for_each_map_elem), EXIT, RETURN(0) } },
	{ "for_each_hash_flags", ACCEPT,
		{ LD_MAP(R1, M_HASH), LD_FUNC(R2, 1), MOV_K(R3, 0), MOV_K(R4, 1),
			HELPER(BPF_FUNC_for_each_map_elem), EXIT, RETURN(0) } },
	{ "key_written", "write to change key R2 not allowed",
		{ FOR_EACH(M_HASH, 1, 0), EXIT, ST(BPF_W, R2, 0, 1), RETURN(0) } },
	{ "behind_key", "invalid access to map key, key_size=4 off=4 size=1",
		{ FOR_EACH(M_HASH, 1, 0), EXIT, LDX(BPF_B, R0, R2, 4), RETURN(0) } },
	{ "behind_value", "invalid access to map value, value_size=16 off=16 size=1",
		{ FOR_EACH(M_ARRAY, 1, 0), EXIT, LDX(BPF_B, R0, R3, 16), RETURN(0) } },
	{ "fifth_argument", "R5 !read_ok",
		{ FOR_EACH(M_ARRAY, 1, 0), EXIT, MOV_X(R0, R5), RETURN(0) } },
	{ "for_each_returns_3",
		"At callback return the register R0 has smin=3 smax=3 should have been in [0, 1]",
		{ FOR_EACH(M_HASH, 1, 0), EXIT, RETURN(3) } },
	{ "not_a_walkable_map", "callback function not allowed for map",
		{ FOR_EACH(M_PROGS, 1, 0), EXIT, RETURN(0) } },
	{ "not_a_map", "R1 type=ctx expected=map_ptr",
		{ LD_FUNC(R2, 1), MOV_K(R3, 0), MOV_K(R4, 0), HELPER(BPF_FUNC_for_each_map_elem),
			EXIT, RETURN(0) } },

	{ "timer", ACCEPT, { TIMER_VALUE, SET_CALLBACK(1, 8), EXIT, RETURN(0) } },
	{ "timer_not_set_up", ACCEPT,
		{ TIMER_VALUE, MOV_X(R1, R6), ALU_K(BPF_ADD, R1, 8), MOV_K(R2, 1), MOV_K(R3, 0),
			HELPER(BPF_FUNC_timer_start), EXIT } },
	{ "timer_callback_returns_1",
		"At async callback return the register R0 has smin=1 smax=1 should have been in [0, 0]",
		{ TIMER_VALUE, SET_CALLBACK(1, 8), EXIT, RETURN(1) } },
	{ "timer_callback_returns_map", "the register R0 is not a known value (map_ptr)",
		{ TIMER_VALUE, SET_CALLBACK(1, 8), EXIT, MOV_X(R0, R1), EXIT } },
	{ "timer_callback_has_three_arguments", "R4 !read_ok",
		{ TIMER_VALUE, SET_CALLBACK(1, 8), EXIT, MOV_X(R0, R4), RETURN(0) } },
	{ "timer_callback_writes_key", "write to change key R2 not allowed",
		{ TIMER_VALUE, SET_CALLBACK(1, 8), EXIT, ST(BPF_W, R2, 0, 0), RETURN(0) } },
	{ "timer_callback_uses_value", ACCEPT,
		{ TIMER_VALUE, SET_CALLBACK(1, 8), EXIT, LDX(BPF_W, R1, R2, 0),
			STX(BPF_DW, R3, R1, 0), RETURN(0) } },
	{ "timer_callback_sets_itself", ACCEPT,
		{ TIMER_VALUE, SET_CALLBACK(1, 8), EXIT, MOV_X(R6, R3), SET_CALLBACK(1, 8),
			RETURN(0) } },
	{ "timer_callback_is_endless", "infinite loop detected",
		{ TIMER_VALUE, SET_CALLBACK(1, 8), EXIT, MOV_K(R0, 0), JA(-2) } },
	{ "timer_callback_has_its_own_stack", ACCEPT,
		{ ST(BPF_DW, R10, -400, 0), TIMER_VALUE, SET_CALLBACK(1, 8), EXIT,
			ST(BPF_DW, R10, -400, 0), RETURN(0) } },
	{ "timer_elsewhere", "off 0 doesn't point to 'struct bpf_timer' that is at 8",
		{ TIMER_VALUE, SET_CALLBACK(1, 0), EXIT, RETURN(0) } },
	{ "timer_at_unknown_place", "R1 doesn't have constant offset. bpf_timer has to be at the",
		{ TIMER_VALUE, HELPER(BPF_FUNC_get_prandom_u32), ALU_K(BPF_AND, R0, 8),
			ALU_X(BPF_ADD, R6, R0), SET_CALLBACK(1, 0), EXIT, RETURN(0) } },
	{ "timer_in_map_without_btf", "has to have BTF in order to use bpf_timer",
		{ ST(BPF_DW, R10, -8, 0), LD_MAP(R1, M_ARRAY), MOV_X(R2, R10),
			ALU_K(BPF_ADD, R2, -8), HELPER(BPF_FUNC_map_lookup_elem),
			JMP_K(BPF_JNE, R0, 0, 2), RETURN(0), MOV_X(R6, R0), SET_CALLBACK(1, 0),
			EXIT, RETURN(0) } },
	{ "timer_of_another_map",
		"timer pointer in R1 map_uid=0 doesn't match map pointer in R2 map_uid=0",
		{ TIMER_VALUE, MOV_X(R1, R6), ALU_K(BPF_ADD, R1, 8), LD_MAP(R2, M_ARRAY),
			MOV_K(R3, 1), HELPER(BPF_FUNC_timer_init), EXIT } },
	{ "timer_on_stack", "R1 type=fp expected=map_value",
		{ MOV_X(R1, R10), ALU_K(BPF_ADD, R1, -16), HELPER(BPF_FUNC_timer_cancel), EXIT } },
	{ "timer_written", "bpf_timer cannot be accessed directly by load/store",
		{ TIMER_VALUE, ST(BPF_DW, R6, 8, 0), RETURN(0) } },

	{ "may_goto_ends_a_loop", ACCEPT,
		{ MOV_K(R0, 0), MAY_GOTO(3), ALU_K(BPF_ADD, R0, 1), JMP_K(BPF_JEQ, R0, 77, 1),
			JA(-4), EXIT } },
	{ "may_goto_nothing", ACCEPT, { MOV_K(R0, 3), MAY_GOTO(0), EXIT } },
	{ "may_goto_itself", "infinite loop detected",
		{ MOV_K(R0, 0), JA(1), MAY_GOTO(-2), MAY_GOTO(-2), EXIT } },
	{ "may_goto_widened", "R0 min value is outside of the allowed memory range",
		{ MOV_K(R6, 0), ST(BPF_DW, R10, -8, 0), LD_MAP(R1, M_ARRAY), MOV_X(R2, R10),
			ALU_K(BPF_ADD, R2, -8), HELPER(BPF_FUNC_map_lookup_elem),
			JMP_K(BPF_JNE, R0, 0, 2), RETURN(0), MAY_GOTO(2), ALU_K(BPF_ADD, R6, 1),
			JA(-3), ALU_X(BPF_ADD, R0, R6), LDX(BPF_B, R0, R0, 0), EXIT } },
	{ "may_goto_in_callback", ACCEPT,
		{ LOOP(3, 1, 0), EXIT, MOV_K(R6, 0), MAY_GOTO(3), ALU_K(BPF_ADD, R6, 1),
			JMP_K(BPF_JEQ, R6, 9, 1), JA(-4), RETURN(0) } },
	/* Both are "some value of this map" to the kernel. */
	{ "lock_of_another_element", "bpf_spin_unlock of different lock",
		{ FOR_EACH(M_LOCKS, 1, 0), EXIT, STX(BPF_DW, R10, R3, -8), FOR_EACH(M_LOCKS, 2, -8),
			RETURN(0), LDX(BPF_DW, R6, R4, 0), MOV_X(R7, R3), MOV_X(R1, R6),
			ALU_K(BPF_ADD, R1, 8), HELPER(BPF_FUNC_spin_lock), MOV_X(R1, R7),
			ALU_K(BPF_ADD, R1, 8), HELPER(BPF_FUNC_spin_unlock), RETURN(0) },
		.kernel_accepts = true },
	{ "lock_of_the_element", ACCEPT,
		{ FOR_EACH(M_LOCKS, 1, 0), EXIT, MOV_X(R6, R3), MOV_X(R1, R6),
			ALU_K(BPF_ADD, R1, 8), HELPER(BPF_FUNC_spin_lock), MOV_X(R1, R6),
			ALU_K(BPF_ADD, R1, 8), HELPER(BPF_FUNC_spin_unlock), RETURN(0) } },
	/* Function 1, global, calls function 2, which calls function 1. */
	{ "recursion_of_a_global_function", "the call stack of 8 frames is too deep",
		{ CALL_FUNC(1), EXIT, LOOP(1, 2, 0), EXIT, CALL_FUNC(1), RETURN(0) },
		.globals = 2 },
	{ "recursion_past_a_timer_callback", "the call stack of 8 frames is too deep",
		{ TIMER_VALUE, SET_CALLBACK(2, 8), CALL_FUNC(1), EXIT, LOOP(1, 2, 0), EXIT,
			CALL_FUNC(1), RETURN(0) },
		.globals = 2, .kernel_accepts = true },
	{ "timer_callback_is_main", ACCEPT, { TIMER_VALUE, SET_CALLBACK(0, 8), RETURN(0) } },
	{ "loop_callback_is_main", "frames is too deep", { LOOP(1, 0, 0), RETURN(0) } },
	{ "may_goto_operands", "invalid may_goto imm 1",
		{ MOV_K(R0, 0), INSN(BPF_JMP | 0xe0, 0, 0, 0, 1), EXIT } },
	{ "may_goto_registers", "invalid may_goto imm 0",
		{ MOV_K(R0, 0), INSN(BPF_JMP | 0xe0, 1, 0, 0, 0), EXIT } },
	{ "drain_nothing", ACCEPT, { DRAIN(M_USER_RING, 1, 0, 0), EXIT, RETURN(0) } },
	{ "drain_flags", ACCEPT, { DRAIN(M_USER_RING, 1, 0, 4), EXIT, RETURN(0) } },
	{ "drain_wakes", ACCEPT, { DRAIN(M_USER_RING, 1, 0, 3), EXIT, RETURN(0) } },
	{ "drain_reads", ACCEPT,
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, DATA(0, 8), JMP_K(BPF_JNE, R0, 0, 2),
			RETURN(0), LDX(BPF_DW, R1, R0, 0), RETURN(1) } },
	{ "drain_writes_its_data", ACCEPT,
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, DATA(0, 8), JMP_K(BPF_JNE, R0, 0, 2),
			RETURN(0), ST(BPF_DW, R0, 0, 1), RETURN(1) } },
	{ "drain_context", ACCEPT,
		{ ST(BPF_DW, R10, -8, 5), DRAIN(M_USER_RING, 1, -8, 0), RETURN_SUM,
			ST(BPF_DW, R2, 0, 6), RETURN(0) } },
	{ "drain_in_drain", ACCEPT,
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, DRAIN(M_USER_RING, 2, 0, 0), RETURN(0),
			RETURN(0) } },
	{ "drain_of_a_ring", "cannot pass map_type 27 into func bpf_user_ringbuf_drain#209",
		{ DRAIN(M_RING, 1, 0, 0), EXIT, RETURN(0) } },
	{ "lookup_in_a_user_ring", "invalid zero-sized read",
		{ LD_MAP(R1, M_USER_RING), MOV_X(R2, R10), HELPER(BPF_FUNC_map_lookup_elem),
			RETURN(0) } },
	{ "drain_returns_2",
		"At callback return the register R0 has smin=2 smax=2 should have been in [0, 1]",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, RETURN(2) } },
	{ "drain_before_the_dynptr", "negative offset dynptr_ptr ptr R1 off=-16 disallowed",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, ALU_K(BPF_ADD, R1, -16), DATA(0, 8),
			RETURN(0) } },
	{ "drain_behind_the_dynptr", "dereference of modified dynptr_ptr ptr R1 off=16 disallowed",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, ALU_K(BPF_ADD, R1, 16), DATA(0, 8),
			RETURN(0) } },
	{ "drain_somewhere_in_the_dynptr", "variable dynptr_ptr access var_off=",
		{ DRAIN(M_USER_RING, 1, -8, 0), EXIT, MOV_X(R6, R1),
			HELPER(BPF_FUNC_get_prandom_u32), ALU_K(BPF_AND, R0, 8), MOV_X(R1, R6),
			ALU_X(BPF_ADD, R1, R0), DATA(0, 8), RETURN(0) } },
	{ "drain_and_back_to_the_dynptr", ACCEPT,
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, ALU_K(BPF_ADD, R1, 16), ALU_K(BPF_SUB, R1, 16),
			DATA(0, 8), RETURN(0) } },
	{ "drain_writes_the_dynptr", "R1 invalid mem access 'dynptr_ptr'",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, ST(BPF_DW, R1, 0, 0), RETURN(0) } },
	{ "drain_reads_the_dynptr", "R1 invalid mem access 'dynptr_ptr'",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, LDX(BPF_DW, R0, R1, 0), RETURN(0) } },
	{ "drain_without_a_context", "R2 invalid mem access 'scalar'",
		{ LD_MAP(R1, M_USER_RING), LD_FUNC(R2, 1), MOV_K(R3, 0), MOV_K(R4, 0),
			HELPER(BPF_FUNC_user_ringbuf_drain), EXIT, ST(BPF_DW, R2, 0, 0),
			RETURN(0) } },
	{ "drain_third_argument", "R3 !read_ok",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, MOV_X(R0, R3), RETURN(0) } },
	{ "drain_discards", "cannot release unowned const bpf_dynptr",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, MOV_K(R2, 0),
			HELPER(BPF_FUNC_ringbuf_discard_dynptr), RETURN(0) } },
	{ "drain_submits", "cannot release unowned const bpf_dynptr",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, MOV_K(R2, 0),
			HELPER(BPF_FUNC_ringbuf_submit_dynptr), RETURN(0) } },
	{ "drain_reserves_into_it", "Dynptr has to be an uninitialized dynptr",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, MOV_X(R4, R1), LD_MAP(R1, M_RING),
			MOV_K(R2, 8), MOV_K(R3, 0), HELPER(BPF_FUNC_ringbuf_reserve_dynptr),
			RETURN(0) } },
	{ "drain_keeps_the_dynptr", "R1 type=scalar expected=fp",
		{ ST(BPF_DW, R10, -8, 0), DRAIN(M_USER_RING, 1, -8, 0), LDX(BPF_DW, R1, R10, -8),
			JMP_K(BPF_JEQ, R1, 0, 3), DATA(0, 8), RETURN(0), STX(BPF_DW, R2, R1, 0),
			RETURN(0) } },
	{ "drain_keeps_half_the_dynptr", ACCEPT,
		{ ST(BPF_DW, R10, -8, 0), DRAIN(M_USER_RING, 1, -8, 0), RETURN(0),
			STX(BPF_W, R2, R1, 0), RETURN(0) } },
	{ "drain_spills_the_dynptr", "R1 type=scalar expected=fp",
		{ DRAIN(M_USER_RING, 1, 0, 0), EXIT, STX(BPF_DW, R10, R1, -8),
			LDX(BPF_DW, R1, R10, -8), DATA(0, 8), RETURN(0) } },
	{ "drain_ctx_is_not_stack", "R3 type=ctx expected=fp",
		{ MOV_X(R3, R1), LD_MAP(R1, M_USER_RING), LD_FUNC(R2, 1), MOV_K(R4, 0),
			HELPER(BPF_FUNC_user_ringbuf_drain), EXIT, RETURN(0) } },
};

static struct side kernel = { oracle_bpf }, sluice = { sluice_bpf };

static int create_map(const struct side *side, enum map which)
{
	static const enum bpf_map_type types[MAPS] = {
		[M_ARRAY] = BPF_MAP_TYPE_ARRAY,
		[M_HASH] = BPF_MAP_TYPE_HASH,
		[M_PERCPU_ARRAY] = BPF_MAP_TYPE_PERCPU_ARRAY,
		[M_PERCPU_HASH] = BPF_MAP_TYPE_PERCPU_HASH,
		[M_PROGS] = BPF_MAP_TYPE_PROG_ARRAY,
		[M_TIMERS] = BPF_MAP_TYPE_ARRAY,
		[M_LOCKS] = BPF_MAP_TYPE_ARRAY,
		[M_USER_RING] = BPF_MAP_TYPE_USER_RINGBUF,
		[M_RING] = BPF_MAP_TYPE_RINGBUF,
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = types[which];
	attr.key_size = 4;
	attr.value_size = which == M_PROGS ? 4 : 16;
	attr.max_entries = 8;
	if (which == M_USER_RING || which == M_RING) {
		attr.key_size = attr.value_size = 0;
		attr.max_entries = 4096;
	}
	if (which == M_TIMERS || which == M_LOCKS) {
		attr.value_size = which == M_TIMERS ? 24 : 16;
		attr.btf_fd = (uint32_t)side->btf[0];
		attr.btf_key_type_id = 1;
		attr.btf_value_type_id = which == M_TIMERS ? 6 : 8;
	}
	return (int)side->bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

static void fill_map(const struct side *side, enum map which)
{
	uint64_t values[2 * 256] = { 0 };
	union bpf_attr attr;

	for (uint32_t key = 0; key < 5; key++) {
		for (unsigned i = 0; i < sl_array_size(values); i++)
			values[i] = 1000 * which + 10 * key + 3;
		memset(&attr, 0, sizeof(attr));
		attr.map_fd = (uint32_t)side->maps[which];
		attr.key = (uint64_t)&key;
		attr.value = (uint64_t)values;
		EXPECT_EQ(side->bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)), 0);
	}
}

/*
 * Types 1: int, 2: int(void), 3: the functions, of the given linkage, 6: the value with a timer, 8: the
 * one with a lock, 9: a global function.
 */
static int load_btf(const struct side *side, bool global)
{
	struct btf *btf = btf__new_empty();
	union bpf_attr attr;
	const void *data;
	uint32_t size;
	int fd;

	btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	btf__add_func_proto(btf, 1);
	btf__add_func(btf, "func", global ? BTF_FUNC_GLOBAL : BTF_FUNC_STATIC, 2);
	btf__add_int(btf, "u64", 8, 0);
	btf__add_struct(btf, "bpf_timer", 16);
	btf__add_field(btf, "a", 4, 0, 0);
	btf__add_field(btf, "b", 4, 64, 0);
	btf__add_struct(btf, "value", 24);
	btf__add_field(btf, "count", 4, 0, 0);
	btf__add_field(btf, "timer", 5, 64, 0);
	btf__add_struct(btf, "bpf_spin_lock", 4);
	btf__add_field(btf, "val", 1, 0, 0);
	btf__add_struct(btf, "locked", 16);
	btf__add_field(btf, "count", 4, 0, 0);
	btf__add_field(btf, "lock", 7, 64, 0);
	btf__add_func(btf, "global_func", BTF_FUNC_GLOBAL, 2);
	data = btf__raw_data(btf, &size);
	memset(&attr, 0, sizeof(attr));
	attr.btf = (uint64_t)data;
	attr.btf_size = size;
	fd = (int)side->bpf(BPF_BTF_LOAD, &attr, sizeof(attr));
	btf__free(btf);
	return fd;
}

static void begin(struct side *side)
{
	side->log = malloc(LOG_BYTES);
	for (int i = 0; i < 2; i++)
		side->btf[i] = load_btf(side, i);
	for (enum map i = 0; i < MAPS; i++) {
		side->maps[i] = create_map(side, i);
		EXPECT_GE(side->maps[i], 0);
		if (i < M_PROGS)
			fill_map(side, i);
	}
}

static void end(struct side *side)
{
	for (enum map i = 0; i < MAPS; i++)
		close(side->maps[i]);
	for (int i = 0; i < 2; i++)
		close(side->btf[i]);
	free(side->log);
}

static uint32_t length(const struct row *row)
{
	static const struct bpf_insn nothing;
	uint32_t count = MAX_INSNS;

	while (count && !memcmp(&row->insns[count - 1], &nothing, sizeof(nothing)))
		count--;
	return count;
}

/*
 * Where the functions start: by what is referred to, in the order of the numbers. A function's number
 * is how many functions are before it; one begins behind an EXIT that nothing jumps over.
 */
static unsigned find_funcs(const struct row *row, uint32_t count, uint32_t *starts)
{
	unsigned funcs = 1, wanted = 0;
	int64_t reach = 0;

	starts[0] = 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct bpf_insn *insn = &row->insns[i];
		bool names = insn->src_reg == BPF_PSEUDO_FUNC &&
			     insn->code == (BPF_LD | BPF_IMM | BPF_DW);

		names |= insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_CALL;
		if (names && (unsigned)insn->imm > wanted)
			wanted = (unsigned)insn->imm;
	}
	for (uint32_t i = 0; i < count; i++) {
		const struct bpf_insn *insn = &row->insns[i];
		uint8_t class = BPF_CLASS(insn->code), op = BPF_OP(insn->code);

		if ((class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT &&
			(int64_t)i + insn->off > reach)
			reach = (int64_t)i + insn->off;
		if (insn->code == (BPF_JMP | BPF_EXIT) && reach < i && funcs <= wanted)
			starts[funcs++] = i + 1;
	}
	return funcs;
}

static int load(const struct side *side, const struct row *row, bool with_log)
{
	uint32_t count = length(row), starts[MAX_FUNCS];
	unsigned funcs = find_funcs(row, count, starts);
	struct bpf_func_info info[MAX_FUNCS];
	struct bpf_insn insns[MAX_INSNS];
	union bpf_attr attr;
	long fd;

	memcpy(insns, row->insns, sizeof(insns));
	for (uint32_t i = 0; i < count; i++) {
		bool wide = insns[i].code == (BPF_LD | BPF_IMM | BPF_DW);

		if (wide && insns[i].src_reg == BPF_PSEUDO_MAP_FD)
			insns[i].imm = side->maps[insns[i].imm];
		else if ((wide && insns[i].src_reg == BPF_PSEUDO_FUNC) ||
			 (insns[i].code == (BPF_JMP | BPF_CALL) &&
				 insns[i].src_reg == BPF_PSEUDO_CALL))
			insns[i].imm = (int32_t)starts[insns[i].imm] - (int32_t)i - 1;
		i += wide;
	}
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SCHED_CLS;
	attr.insns = (uint64_t)insns;
	attr.insn_cnt = count;
	attr.license = (uint64_t)"GPL";
	for (unsigned i = 0; i < funcs; i++)
		info[i] = (struct bpf_func_info){ .insn_off = starts[i],
			.type_id = row->globals >> i & 1 ? 9 : 3 };
	if (!row->no_btf) {
		attr.prog_btf_fd = (uint32_t)side->btf[row->global];
		attr.func_info_rec_size = sizeof(info[0]);
		attr.func_info = (uint64_t)info;
		attr.func_info_cnt = funcs;
	}
	side->log[0] = '\0';
	if (with_log) {
		attr.log_buf = (uint64_t)side->log;
		attr.log_size = LOG_BYTES;
		attr.log_level = 2;
	}
	fd = side->bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	return fd < 0 ? -errno : (int)fd;
}

static int64_t run(const struct side *side, int fd)
{
	uint8_t packet[64] = { 0 };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.data_in = (uint64_t)packet;
	attr.test.data_size_in = sizeof(packet);
	if (side->bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		return -errno;
	return attr.test.retval;
}

/* The retval of what is accepted, else the verdict. */
static int64_t check_side(const struct side *side, const struct row *row)
{
	int fd = load(side, row, true);
	int64_t result = fd;

	if (row->kernel_accepts && side == &kernel) {
		EXPECT_GE(fd, 0);
		if (fd >= 0)
			close(fd);
		return fd;
	}
	if (row->reason) {
		EXPECT_LT(fd, 0);
		EXPECT_CONTAINS(side->log, row->reason);
	} else {
		EXPECT_GE(fd, 0);
	}
	if (fd < 0)
		return result;
	result = run(side, fd);
	close(fd);
	return result;
}

TEST(callbacks, rows)
{
	begin(&sluice);
	if (oracle_permitted())
		begin(&kernel);
	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		int64_t ours, theirs;

		ours = check_side(&sluice, &rows[i]);
		TRACE_PUSH("%s:\n%s", rows[i].name, sluice.log);
		if (oracle_permitted() && !rows[i].ours_only) {
			theirs = check_side(&kernel, &rows[i]);
			TRACE_PUSH("the kernel's:\n%s", kernel.log);
			if (!rows[i].any_errno && !rows[i].kernel_accepts)
				EXPECT_EQ(ours, theirs);
			TRACE_POP();
		}
		TRACE_POP();
	}
	end(&sluice);
	if (oracle_permitted())
		end(&kernel);
}
