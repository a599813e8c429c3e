#pragma once

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

#define INSN(c, d, s, o, i) \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define MOV_K(dst, imm) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define MOV_X(dst, src) INSN(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define ALU_K(op, dst, imm) INSN(BPF_ALU64 | (op) | BPF_K, dst, 0, 0, imm)
#define ALU_X(op, dst, src) INSN(BPF_ALU64 | (op) | BPF_X, dst, src, 0, 0)
#define JMP_K(op, dst, imm, off) INSN(BPF_JMP | (op) | BPF_K, dst, 0, off, imm)
#define JA(off) INSN(BPF_JMP | BPF_JA, 0, 0, off, 0)
#define HELPER(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define LOCAL_CALL(off) INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, off)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define LD_IMM64(dst, imm) INSN(BPF_LD | BPF_IMM | BPF_DW, dst, 0, 0, imm), INSN(0, 0, 0, 0, 0)

/* What the kernel says of a program: 0 or a negative errno; its log in `log`. */
static inline int kernel_verify(enum bpf_prog_type type, const struct bpf_insn *insns,
	uint32_t count, uint32_t level, char *log, uint32_t size)
{
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = type;
	attr.insns = (uint64_t)insns;
	attr.insn_cnt = count;
	attr.license = (uint64_t)"GPL";
	attr.log_level = level;
	attr.log_buf = (uint64_t)log;
	attr.log_size = size;
	if (size)
		log[0] = '\0';
	fd = oracle_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}
