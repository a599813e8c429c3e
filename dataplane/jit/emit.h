#pragma once

#include <linux/bpf.h>
#include <llvm-c/Core.h>

#include "defs.h"
#include "facts.h"

struct sl_field;
struct sl_map;
struct sl_opcode;
struct sl_prog;

/*
 * From a verified program to an LLVM module. The shape:
 *
 * - The main program is `uint64_t sl_program(struct sl_ctx *, uint64_t tail_calls)`; a subprogram
 *   or callback is an internal `uint64_t f(struct sl_ctx *, uint64_t r1, ..., uint64_t r5)`. The
 *   context of the run is handed down everywhere because every helper gets it.
 * - R0..R9 are 64-bit integers in allocas, which SROA turns into SSA values. R10 is the address of
 *   the frame, one byte array; what the facts know to be at a constant place in the running
 *   function's own frame is addressed from that array, so that SROA can split it too.
 * - An extension is emitted into the module of the program that it extends, its first function as one
 *   that is called: a call of the function in whose place it is goes there.
 * - Memory is tagged by what it is (stack, packet, map value, context): these do not alias.
 */

#define SL_EMIT_REGS 11

/* A program in a module: the one that is compiled, or an extension of it. */
struct sl_unit {
	const struct sl_prog *prog;
	struct sl_map *const *maps; /* prog->used_maps, or a copy that nobody changes */
	uint32_t map_count;
	LLVMValueRef *funcs; /* by facts->funcs; of an extended function what is in its place */
	LLVMValueRef *map_descs; /* by maps: constant copies of descriptors, made on use */
};

/* What a module is made of. */
struct sl_emit_source {
	const struct sl_prog *prog;
	struct sl_prog *const *extensions; /* by function of prog; NULL without */
	struct sl_map *const *maps; /* of prog, then of each extension; NULL: prog->used_maps */
	const struct sl_prog *holder; /* keeps the code alive: what timers refer to */
};

/* Emitted operations read and write these; one per compilation, used by one thread. */
struct sl_emitter {
	const struct sl_prog *prog; /* of the unit being emitted, then of the first one */
	const struct sl_facts *facts;
	const struct sl_prog *holder;
	struct sl_unit *units; /* the program first */
	unsigned unit_count;
	struct sl_unit *unit; /* being emitted */
	LLVMContextRef context;
	LLVMModuleRef module;
	LLVMBuilderRef builder;
	LLVMTypeRef i1, i8, i16, i32, i64, ptr, void_type;
	LLVMTypeRef prog_type, func_type; /* main program; subprograms, callbacks and helpers */
	LLVMTypeRef throw_result,
		throw_type; /* subprograms that may throw: with a flag if they did */
	/* The main function where a timer calls it as well, with a callback's arguments; or NULL */
	LLVMValueRef main_callback;
	struct sl_native *natives; /* what the module calls by name, and its native address */
	unsigned native_count;
	unsigned tbaa_kind;
	LLVMValueRef tbaa[SL_MEM_MIXED + 1]; /* by enum sl_mem_kind, NULL for untagged */
	bool checks; /* instrument.h: the code tests what was proved */
	LLVMValueRef check_map, check_size; /* a call's R1 and R2, until its result is there */
	bool shares_tail_calls; /* a subprogram makes tail calls: the count is in the context */
	int error;

	/* The function being emitted. */
	const struct sl_func_fact *func;
	bool is_main;
	LLVMValueRef fn;
	LLVMValueRef ctx; /* its first parameter */
	LLVMValueRef stack; /* [stack_bytes x i8], NULL without */
	uint32_t stack_bytes;
	LLVMValueRef may_goto; /* iterations left; made on use */
	LLVMValueRef regs[SL_EMIT_REGS];
	LLVMBasicBlockRef *blocks; /* by instruction of the unit, NULL where none starts */
	LLVMBasicBlockRef entry;

	/* The instruction being emitted. */
	uint32_t pc;
	const struct bpf_insn *insn;
	const struct sl_insn_fact *fact;
	const struct sl_opcode *row;
	bool ended; /* it ends its block */
};

/* A function that the module declares, with its address in this process. */
struct sl_native {
	const char *symbol;
	const void *address;
};

/* How an opcode is emitted: opcodes.c has one row per code. `op` is the emit function's own. */
struct sl_opcode {
	void (*emit)(struct sl_emitter *e);
	uint16_t op;
	uint8_t bits; /* 32 or 64: width of the operation; 8..64: of the access */
	bool imm; /* the source operand is the immediate */
};

/* The row of an opcode byte, NULL for one that does not exist. */
const struct sl_opcode *sl_opcode_of(uint8_t code);

/*
 * Makes the module of a program in e->context. The emitter is the caller's; sl_emit_done frees what it
 * holds but for the module, which is the caller's from then on. -EIO and a log line when the facts
 * and the program disagree.
 */
int sl_emit_program(
	struct sl_emitter *e, const struct sl_emit_source *source, LLVMContextRef context);
void sl_emit_done(struct sl_emitter *e);

/* Refuses the program: logs once, sl_emit_program then returns -EIO. */
void sl_emit_fail(struct sl_emitter *e, const char *why);

/* emit.c: registers, operands, blocks. */
LLVMValueRef sl_emit_const(struct sl_emitter *e, uint64_t value);
LLVMValueRef sl_emit_int(struct sl_emitter *e, unsigned bits, uint64_t value);
LLVMTypeRef sl_emit_type(struct sl_emitter *e, unsigned bits);
LLVMValueRef sl_emit_get(struct sl_emitter *e, unsigned reg);
LLVMValueRef sl_emit_get_bits(struct sl_emitter *e, unsigned reg, unsigned bits);
void sl_emit_set(struct sl_emitter *e, unsigned reg, LLVMValueRef value); /* zero-extends */
/* insn->imm or the source register, as wide as the row says. */
LLVMValueRef sl_emit_source(struct sl_emitter *e);
/* A block at instruction `pc`; past what the verifier saw one that returns 0. */
LLVMBasicBlockRef sl_emit_block_at(struct sl_emitter *e, int64_t pc);
LLVMBasicBlockRef sl_emit_new_block(struct sl_emitter *e, const char *name);
/* The instruction that a jump at `pc` goes to. */
int64_t sl_emit_jump_target(const struct bpf_insn *insn, uint32_t pc);
/* An alloca in the entry block, outside any loop, with its first value (NULL for none). */
LLVMValueRef sl_emit_local(
	struct sl_emitter *e, LLVMTypeRef type, LLVMValueRef init, const char *name);
/* Marks a value as unlikely to be true, for the layout of code. */
LLVMValueRef sl_emit_unlikely(struct sl_emitter *e, LLVMValueRef cond);

/* Returns from the function; from one that may throw as one that did not. */
void sl_emit_return(struct sl_emitter *e, LLVMValueRef value);

/* emit_throw.c */
/* The type of function `index`, and a call of it: its result, where it did return. */
LLVMTypeRef sl_emit_func_type(struct sl_emitter *e, unsigned index);
LLVMValueRef sl_emit_func_call(struct sl_emitter *e, unsigned index, LLVMValueRef args[6]);
/* bpf_throw: ends the program. */
void sl_emit_throw(struct sl_emitter *e);

/* emit_memory.c */
/* The address `off` bytes after what `reg` points to, which `fact` describes. */
LLVMValueRef sl_emit_address(
	struct sl_emitter *e, unsigned reg, const struct sl_reg_fact *fact, int64_t off);
/* The value of `reg` as an argument: an address in the own frame is taken from the frame. */
LLVMValueRef sl_emit_argument(struct sl_emitter *e, unsigned reg, const struct sl_reg_fact *fact);
/* The address of a field of struct sl_ctx, and an access to it. */
LLVMValueRef sl_emit_ctx_address(struct sl_emitter *e, size_t offset);
LLVMValueRef sl_emit_ctx_load(struct sl_emitter *e, size_t offset, unsigned bits);
void sl_emit_ctx_store(struct sl_emitter *e, size_t offset, LLVMValueRef value);
void sl_emit_tag(struct sl_emitter *e, LLVMValueRef access, enum sl_mem_kind kind);
void sl_emit_memory_init(struct sl_emitter *e);

/* emit_call.c */
/* A function of the runtime or of the process by name; `address` NULL when it is bitcode only. */
LLVMValueRef sl_emit_declare(
	struct sl_emitter *e, const char *symbol, LLVMTypeRef type, const void *address);
/* The number in facts->funcs of the function that starts at `pc`, -1 for none. */
int sl_emit_func_at(struct sl_emitter *e, int64_t pc);

/* Emit functions, named in opcodes.c. */
void sl_emit_binary(struct sl_emitter *e);
void sl_emit_shift(struct sl_emitter *e);
void sl_emit_divide(struct sl_emitter *e);
void sl_emit_negate(struct sl_emitter *e);
void sl_emit_move(struct sl_emitter *e);
void sl_emit_swap_to_le(struct sl_emitter *e);
void sl_emit_swap_to_be(struct sl_emitter *e);
void sl_emit_swap(struct sl_emitter *e);
void sl_emit_branch(struct sl_emitter *e);
void sl_emit_branch_bits(struct sl_emitter *e);
void sl_emit_jump(struct sl_emitter *e);
void sl_emit_may_goto(struct sl_emitter *e);
void sl_emit_exit(struct sl_emitter *e);
void sl_emit_load(struct sl_emitter *e);
void sl_emit_load_signed(struct sl_emitter *e);
void sl_emit_store(struct sl_emitter *e);
void sl_emit_atomic(struct sl_emitter *e);
void sl_emit_load_imm64(struct sl_emitter *e);
void sl_emit_packet_load(struct sl_emitter *e);
void sl_emit_call(struct sl_emitter *e);
void sl_emit_tail_call(struct sl_emitter *e);
