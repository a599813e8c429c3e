#pragma once

#include <linux/bpf.h>

#include "context.h"
#include "facts.h"
#include "prog.h"

/*
 * Programs with hand-made facts, so that the JIT is tested without the verifier: every instruction
 * is reached, every branch goes both ways, nothing is known of any pointer.
 */
struct jit_fixture {
	struct sl_prog prog;
	struct sl_facts facts;
	struct sl_insn_fact insn_facts[4096];
	struct sl_func_fact funcs[8];
	struct sl_call_fact calls[64];
	struct sl_run run;
	struct sl_ctx ctx;
};

/* One function over all instructions; more are added to facts.funcs by the test. */
void jit_fixture_init(struct jit_fixture *fx, const struct bpf_insn *insns, unsigned count);
/* Starts subprogram `func` at instruction `start`; the one before ends there. */
void jit_fixture_add_func(struct jit_fixture *fx, unsigned start);
/* A context over len bytes at data. */
void jit_fixture_packet(struct jit_fixture *fx, uint8_t *data, unsigned len_bytes);
/* Compiles, runs once, frees. */
uint64_t jit_fixture_run(struct jit_fixture *fx);

/* xdp_md's data and data_end, which loads from the context are checked against. */
extern const struct sl_field jit_fixture_data, jit_fixture_data_end;

/* Runs an XDP program on the packet in the kernel; false when it refuses it. */
bool jit_kernel_run(const struct bpf_insn *insns, unsigned count, uint8_t *data, unsigned len_bytes,
	uint32_t *ret_result);

#define INSN(code_, dst, src, off_, imm_)    \
	((struct bpf_insn){ .code = (code_), \
		.dst_reg = (dst),            \
		.src_reg = (src),            \
		.off = (off_),               \
		.imm = (imm_) })
#define MOV_K(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define MOV_X(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define ALU_K(op, dst, imm) INSN(BPF_ALU64 | (op) | BPF_K, dst, 0, 0, imm)
#define ALU_X(op, dst, src) INSN(BPF_ALU64 | (op) | BPF_X, dst, src, 0, 0)
#define LDX(size, dst, src, off) INSN(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define STX(size, dst, src, off) INSN(BPF_STX | BPF_MEM | (size), dst, src, off, 0)
#define JMP_K(op, dst, imm, off) INSN(BPF_JMP | (op) | BPF_K, dst, 0, off, imm)
#define JMP_X(op, dst, src, off) INSN(BPF_JMP | (op) | BPF_X, dst, src, off, 0)
#define CALL_LOCAL(off) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, off)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
