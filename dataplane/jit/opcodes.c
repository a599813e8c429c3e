#include "emit.h"

/* Codes that the system's linux/bpf.h is too old to name (RFC 9669, and Linux 6.8 to 6.14). */
#define MEMSX 0x80
#define JCOND 0xe0

/* Both operand forms and both widths of an arithmetic operation. */
#define ALU(bpf_op, fn, llvm_op)                                                                 \
	[BPF_ALU64 | (bpf_op) |                                                                  \
		BPF_K] = { fn, .op = (llvm_op), .bits = 64, .imm = true },                       \
		[BPF_ALU64 | (bpf_op) | BPF_X] = { fn, .op = (llvm_op), .bits = 64 },            \
		[BPF_ALU | (bpf_op) | BPF_K] = { fn, .op = (llvm_op), .bits = 32, .imm = true }, \
		[BPF_ALU | (bpf_op) | BPF_X] = { fn, .op = (llvm_op), .bits = 32 }

#define JUMP(bpf_op, fn, predicate)                                                   \
	[BPF_JMP | (bpf_op) |                                                         \
		BPF_K] = { fn, .op = (predicate), .bits = 64, .imm = true },          \
		[BPF_JMP | (bpf_op) | BPF_X] = { fn, .op = (predicate), .bits = 64 }, \
		[BPF_JMP32 | (bpf_op) |                                               \
			BPF_K] = { fn, .op = (predicate), .bits = 32, .imm = true },  \
		[BPF_JMP32 | (bpf_op) | BPF_X] = { fn, .op = (predicate), .bits = 32 }

#define SIZES(class_mode, fn, with_imm)                                                 \
	[(class_mode) | BPF_B] = { fn, .bits = 8, .imm = (with_imm) },                  \
			[(class_mode) | BPF_H] = { fn, .bits = 16, .imm = (with_imm) }, \
			[(class_mode) | BPF_W] = { fn, .bits = 32, .imm = (with_imm) }, \
			[(class_mode) | BPF_DW] = { fn, .bits = 64, .imm = (with_imm) }

#define PACKET(mode)                                                                      \
	[BPF_LD | (mode) |                                                                \
		BPF_B] = { sl_emit_packet_load, .op = 1, .bits = 8 },                     \
		[BPF_LD | (mode) | BPF_H] = { sl_emit_packet_load, .op = 2, .bits = 16 }, \
		[BPF_LD | (mode) | BPF_W] = { sl_emit_packet_load, .op = 4, .bits = 32 }

static const struct sl_opcode opcodes[256] = {
	ALU(BPF_ADD, sl_emit_binary, LLVMAdd),
	ALU(BPF_SUB, sl_emit_binary, LLVMSub),
	ALU(BPF_MUL, sl_emit_binary, LLVMMul),
	ALU(BPF_OR, sl_emit_binary, LLVMOr),
	ALU(BPF_AND, sl_emit_binary, LLVMAnd),
	ALU(BPF_XOR, sl_emit_binary, LLVMXor),
	ALU(BPF_LSH, sl_emit_shift, LLVMShl),
	ALU(BPF_RSH, sl_emit_shift, LLVMLShr),
	ALU(BPF_ARSH, sl_emit_shift, LLVMAShr),
	ALU(BPF_DIV, sl_emit_divide, LLVMUDiv),
	ALU(BPF_MOD, sl_emit_divide, LLVMURem),
	ALU(BPF_MOV, sl_emit_move, 0),
	[BPF_ALU64 | BPF_NEG] = { sl_emit_negate, .bits = 64 },
	[BPF_ALU | BPF_NEG] = { sl_emit_negate, .bits = 32 },
	[BPF_ALU | BPF_END | BPF_TO_LE] = { sl_emit_swap_to_le },
	[BPF_ALU | BPF_END | BPF_TO_BE] = { sl_emit_swap_to_be },
	[BPF_ALU64 | BPF_END] = { sl_emit_swap },

	JUMP(BPF_JEQ, sl_emit_branch, LLVMIntEQ),
	JUMP(BPF_JNE, sl_emit_branch, LLVMIntNE),
	JUMP(BPF_JGT, sl_emit_branch, LLVMIntUGT),
	JUMP(BPF_JGE, sl_emit_branch, LLVMIntUGE),
	JUMP(BPF_JLT, sl_emit_branch, LLVMIntULT),
	JUMP(BPF_JLE, sl_emit_branch, LLVMIntULE),
	JUMP(BPF_JSGT, sl_emit_branch, LLVMIntSGT),
	JUMP(BPF_JSGE, sl_emit_branch, LLVMIntSGE),
	JUMP(BPF_JSLT, sl_emit_branch, LLVMIntSLT),
	JUMP(BPF_JSLE, sl_emit_branch, LLVMIntSLE),
	JUMP(BPF_JSET, sl_emit_branch_bits, 0),
	[BPF_JMP | BPF_JA] = { sl_emit_jump },
	[BPF_JMP32 | BPF_JA] = { sl_emit_jump },
	[BPF_JMP | JCOND] = { sl_emit_may_goto },
	[BPF_JMP | BPF_CALL] = { sl_emit_call },
	[BPF_JMP | BPF_EXIT] = { sl_emit_exit },

	SIZES(BPF_LDX | BPF_MEM, sl_emit_load, false),
	[BPF_LDX | MEMSX | BPF_B] = { sl_emit_load_signed, .bits = 8 },
	[BPF_LDX | MEMSX | BPF_H] = { sl_emit_load_signed, .bits = 16 },
	[BPF_LDX | MEMSX | BPF_W] = { sl_emit_load_signed, .bits = 32 },
	SIZES(BPF_STX | BPF_MEM, sl_emit_store, false),
	SIZES(BPF_ST | BPF_MEM, sl_emit_store, true),
	SIZES(BPF_STX | BPF_ATOMIC, sl_emit_atomic, false),
	[BPF_LD | BPF_IMM | BPF_DW] = { sl_emit_load_imm64, .bits = 64 },
	PACKET(BPF_ABS),
	PACKET(BPF_IND),
};

const struct sl_opcode *sl_opcode_of(uint8_t code)
{
	return opcodes[code].emit ? &opcodes[code] : NULL;
}
