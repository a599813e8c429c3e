#pragma once

#include "defs.h"

struct sl_field;
struct sl_helper;
struct sl_map;

/*
 * What the verifier proved about each instruction, over all paths that reach it. The JIT lowers
 * from this and never guesses: an instruction that no path reached is not compiled, a branch that
 * no path took is not there, a memory access has one kind.
 */

/* Where a pointer points. MIXED: to several of the kinds below on different paths. */
enum sl_mem_kind {
	SL_MEM_NONE, /* not a pointer, or never seen */
	SL_MEM_SCALAR,
	SL_MEM_NULL,
	SL_MEM_STACK,
	SL_MEM_CTX,
	SL_MEM_PACKET, /* data or data_meta */
	SL_MEM_PACKET_END,
	SL_MEM_MAP_VALUE,
	SL_MEM_MAP, /* the map itself */
	SL_MEM_OBJECT, /* memory a helper returned, sockets, ... */
	SL_MEM_FUNC,
	SL_MEM_MIXED,
};

/* What is known of a register at an instruction. */
struct sl_reg_fact {
	uint8_t kind; /* enum sl_mem_kind */
	bool const_off; /* off is the same on all paths (pointer), or value is (scalar) */
	bool own_frame; /* SL_MEM_STACK: of the running function, not of a caller */
	uint32_t map; /* SL_MEM_MAP, SL_MEM_MAP_VALUE: index into used_maps, or SL_MAP_MIXED */
	int64_t off; /* bytes from the base: for the stack from the frame pointer (< 0), for
				 * a scalar its value */
	uint64_t umin, umax; /* scalar: unsigned 64-bit range */
};

#define SL_MAP_MIXED UINT32_MAX
#define SL_MAP_INNER (1u << 31) /* a map of maps' index: one of the maps in it */
#define SL_NO_CALL UINT32_MAX

struct sl_call_fact {
	const struct sl_helper *helper; /* NULL: a local call or tail call */
	bool throws; /* does not return */
	/* R1 and R2 are these instead of what the registers hold. */
	bool given;
	uint32_t given_size;
	const void *given_record;
	struct sl_reg_fact args[5]; /* R1..R5 before the call */
};

enum sl_insn_flags {
	SL_INSN_SEEN = 1 << 0, /* some path reaches it */
	SL_INSN_TAKEN = 1 << 1, /* conditional jump: some path takes it */
	SL_INSN_NOT_TAKEN = 1 << 2, /* some path falls through */
	SL_INSN_JUMP_TARGET = 1 << 3,
	SL_INSN_FUNC_START = 1 << 4,
};

struct sl_insn_fact {
	uint8_t flags; /* enum sl_insn_flags */
	struct sl_reg_fact base; /* load, store, atomic: the address register, without insn->off */
	const struct sl_field *field; /* context access: the row; NULL otherwise */
	uint32_t call; /* index into calls, or SL_NO_CALL */
	uint32_t map; /* ld_imm64 of a map (or of its value): index into used_maps */
	uint64_t imm; /* ld_imm64: the value, or the address of a map's value */
};

#define SL_MAX_ARGS 5

/* What BTF declares of an argument. */
enum sl_sig_kind {
	SL_SIG_SCALAR,
	SL_SIG_CTX,
	SL_SIG_DYNPTR, /* one that is initialised, and not to be released or made anew */
	SL_SIG_MEM, /* size_bytes of memory that may be read and written */
};

struct sl_sig_arg {
	uint8_t kind; /* enum sl_sig_kind */
	bool or_null;
	uint32_t size_bytes;
};

struct sl_func_fact {
	uint32_t start, end; /* instructions [start, end) */
	uint32_t stack_bytes; /* deepest access below the frame pointer */
	bool stack_uninit_read; /* reads slots that a path has not written: zero the frame */
	bool has_tail_call, has_ld_abs;
	bool is_callback; /* address taken by BPF_PSEUDO_FUNC */
	bool may_throw; /* it or a function that it calls; never a callback */

	/* For who wants to put an extension in its place. */
	bool unreliable; /* the instructions do not go with the declaration */
	bool changes_packet, might_sleep; /* it or what it calls, reached or not */
	uint8_t arg_count;
	struct sl_sig_arg args[SL_MAX_ARGS];
};

struct sl_facts {
	struct sl_insn_fact *insns; /* one per instruction of the program */
	struct sl_call_fact *calls;
	struct sl_func_fact *funcs; /* the main program first, by start */
	uint32_t call_count, func_count;
	int exception_func; /* number of the function that exceptions go to; -1 none */
	uint32_t map_count; /* of used_maps; there may be more by now */
	bool changes_packet; /* some reachable helper moves data, data_end or data_meta */
	bool may_redirect;
	bool finds_sockets; /* and has said so: sl_sock_want */
	bool writes_ctx;
};
