#pragma once

#include <linux/bpf.h>

#include "defs.h"

struct sl_log;
struct sl_prog;

/*
 * What can be said of a program without values: where its functions start, which instructions
 * follow which, where exploration should keep states, which registers are still read later.
 *
 * The passes run in this order, each after the one before succeeded; their messages and errno are
 * the kernel's, in the kernel's order:
 *
 *	sl_cfg_new          an empty description of prog
 *	sl_cfg_find_funcs   functions; jumps stay inside theirs; each ends in exit or a jump
 *	  (func_info and line_info are checked here)
 *	sl_cfg_check_returns LD_ABS and tail calls only in functions that return a number
 *	sl_cfg_check_insns  opcodes exist, ld_imm64 is whole; calls `resolve` for those of maps
 *	sl_cfg_walk         everything is reachable; prune and jump points
 *	sl_cfg_analyse      order, loops, live registers
 */

#define SL_CFG_MAX_FUNCS 256 /* BPF_MAX_SUBPROGS of the kernel */

/* Constants newer than the system's linux/bpf.h. */
#define SL_BPF_MEMSX 0x80 /* BPF_LDX mode: sign-extending load */
#define SL_BPF_JCOND 0xe0 /* BPF_JMP: may_goto */
#define SL_BPF_LOAD_ACQ 0x100 /* BPF_ATOMIC imm */
#define SL_BPF_STORE_REL 0x110
#define SL_BPF_ADDR_SPACE_CAST 1 /* off of a 64-bit register move */

enum sl_cfg_flags {
	SL_CFG_PRUNE_POINT = 1 << 0, /* compare with earlier states here */
	SL_CFG_JUMP_POINT = 1 << 1, /* reached other than by fall-through: history is kept */
	SL_CFG_CHECKPOINT = 1 << 2, /* a state must be kept here whatever the heuristics say */
	SL_CFG_CALLS_CALLBACK = 1 << 3, /* helper that calls its callback before it returns */
	SL_CFG_JUMP_TARGET = 1 << 4, /* some jump instruction goes here */
	SL_CFG_SECOND_HALF = 1 << 5, /* of an ld_imm64: not an instruction */
	SL_CFG_ITER_NEXT = 1 << 6, /* call that takes an iterator's next element */
};

struct sl_cfg_insn {
	uint16_t live_in; /* bit n: the value of Rn before this instruction may be read */
	uint8_t flags; /* enum sl_cfg_flags */
	uint16_t func; /* index into funcs */
	/* Instructions of one loop nest share a number; a helper that calls back has its own. 0: none. */
	uint32_t scc;
};

struct sl_cfg_func {
	uint32_t start, end; /* instructions [start, end) */
	uint32_t postorder_start, postorder_end; /* part of sl_cfg.postorder */
	bool has_tail_call, has_ld_abs;
	bool is_callback; /* address taken by BPF_PSEUDO_FUNC */
	bool is_called; /* by BPF_PSEUDO_CALL */
	bool changes_packet; /* it or a function it calls, by helpers' flags, reachable or not */
	bool might_sleep;
};

struct sl_cfg {
	const struct sl_prog *prog;
	struct sl_cfg_insn *insns; /* one per instruction */
	struct sl_cfg_func funcs[SL_CFG_MAX_FUNCS + 1]; /* the main program first, by start */
	uint32_t func_count;
	int exception_func; /* that exceptions go to; -1 none */
	uint32_t *postorder; /* instructions, function after function, successors first */
	uint32_t postorder_count;
	uint32_t scc_count; /* scc numbers are 1 .. scc_count */
	uint32_t jump_scc_count; /* those of loops made of jumps come first: they are in the log */
};

SL_CONTROL int sl_cfg_new(const struct sl_prog *prog, struct sl_cfg **ret_cfg);
SL_CONTROL void sl_cfg_free(struct sl_cfg *cfg);

SL_CONTROL int sl_cfg_find_funcs(struct sl_cfg *cfg, struct sl_log *log);

/* A function that is not the main one ends early by LD_ABS or a tail call only if its BTF says int. */
SL_CONTROL int sl_cfg_check_returns(const struct sl_cfg *cfg, struct sl_log *log);

/*
 * resolve(arg, index) is called for every ld_imm64 that names a map (src_reg BPF_PSEUDO_MAP_FD,
 * _MAP_VALUE, _MAP_IDX, _MAP_IDX_VALUE) and refuses with a message and a negative errno.
 */
SL_CONTROL int sl_cfg_check_insns(struct sl_cfg *cfg, struct sl_log *log,
	int (*resolve)(void *arg, uint32_t index), void *arg);
SL_CONTROL int sl_cfg_walk(struct sl_cfg *cfg, struct sl_log *log);
/* Writes the live registers to the log at level 2. */
SL_CONTROL int sl_cfg_analyse(struct sl_cfg *cfg, struct sl_log *log);

/* Number of the function that starts at `index`, -ENOENT when none does. */
SL_CONTROL int sl_cfg_func_at(const struct sl_cfg *cfg, uint32_t index);

/*
 * Where execution can go from `index` inside its function: the next instruction first (after a
 * call: where it returns), then the jump's target. Returns how many.
 */
SL_CONTROL unsigned sl_cfg_successors(const struct sl_cfg *cfg, uint32_t index, uint32_t ret[2]);

/*
 * Reserved fields and register numbers of one instruction, for exploration when it gets there:
 * 0, or -EINVAL with the kernel's message. Leaves what depends on the program type or on values.
 */
SL_CONTROL int sl_insn_check(struct sl_log *log, const struct bpf_insn *insn);

/* Registers that an instruction reads and writes: bit n for Rn. Helper calls by their row. */
SL_CONTROL void sl_insn_regs(
	const struct bpf_insn *insn, enum bpf_prog_type type, uint16_t *ret_use, uint16_t *ret_def);

static inline bool sl_insn_is_ld_imm64(const struct bpf_insn *insn)
{
	return insn->code == (BPF_LD | BPF_IMM | BPF_DW);
}

static inline bool sl_insn_is_helper_call(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == 0;
}

static inline bool sl_insn_is_kfunc_call(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_KFUNC_CALL;
}

static inline bool sl_insn_is_local_call(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_CALL;
}

static inline bool sl_insn_is_func_address(const struct bpf_insn *insn)
{
	return sl_insn_is_ld_imm64(insn) && insn->src_reg == BPF_PSEUDO_FUNC;
}

static inline bool sl_insn_is_may_goto(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | SL_BPF_JCOND);
}
