#include "cfg.h"

#include <errno.h>

#include "log.h"
#include "prog.h"

/* Whether instructions are well-formed, one by one. */

#define JUMPS_OF(class, src)                                                              \
	[(class) | BPF_JEQ |                                                              \
		(src)] = true,                                                            \
		[(class) | BPF_JNE | (src)] = true, [(class) | BPF_JGT | (src)] = true,   \
		[(class) | BPF_JGE | (src)] = true, [(class) | BPF_JLT | (src)] = true,   \
		[(class) | BPF_JLE | (src)] = true, [(class) | BPF_JSGT | (src)] = true,  \
		[(class) | BPF_JSGE | (src)] = true, [(class) | BPF_JSLT | (src)] = true, \
		[(class) | BPF_JSLE | (src)] = true, [(class) | BPF_JSET | (src)] = true

#define ALU_OF(class, src)                                                              \
	[(class) | BPF_ADD |                                                            \
		(src)] = true,                                                          \
		[(class) | BPF_SUB | (src)] = true, [(class) | BPF_MUL | (src)] = true, \
		[(class) | BPF_DIV | (src)] = true, [(class) | BPF_OR | (src)] = true,  \
		[(class) | BPF_AND | (src)] = true, [(class) | BPF_LSH | (src)] = true, \
		[(class) | BPF_RSH | (src)] = true, [(class) | BPF_MOD | (src)] = true, \
		[(class) | BPF_XOR | (src)] = true, [(class) | BPF_MOV | (src)] = true, \
		[(class) | BPF_ARSH | (src)] = true

#define SIZES_OF(code)                                                             \
	[(code) | BPF_B] = true, [(code) | BPF_H] = true, [(code) | BPF_W] = true, \
		  [(code) | BPF_DW] = true

static const bool opcodes[256] = {
	ALU_OF(BPF_ALU, BPF_K),
	ALU_OF(BPF_ALU, BPF_X),
	ALU_OF(BPF_ALU64, BPF_K),
	ALU_OF(BPF_ALU64, BPF_X),
	[BPF_ALU | BPF_NEG] = true,
	[BPF_ALU64 | BPF_NEG] = true,
	[BPF_ALU | BPF_END | BPF_TO_LE] = true,
	[BPF_ALU | BPF_END | BPF_TO_BE] = true,
	[BPF_ALU64 | BPF_END | BPF_TO_LE] = true,
	JUMPS_OF(BPF_JMP, BPF_K),
	JUMPS_OF(BPF_JMP, BPF_X),
	JUMPS_OF(BPF_JMP32, BPF_K),
	JUMPS_OF(BPF_JMP32, BPF_X),
	[BPF_JMP | BPF_JA] = true,
	[BPF_JMP32 | BPF_JA] = true,
	[BPF_JMP | SL_BPF_JCOND] = true,
	[BPF_JMP | BPF_CALL] = true,
	[BPF_JMP | BPF_EXIT] = true,
	SIZES_OF(BPF_STX | BPF_MEM),
	SIZES_OF(BPF_STX | BPF_ATOMIC),
	SIZES_OF(BPF_ST | BPF_MEM),
	SIZES_OF(BPF_LDX | BPF_MEM),
	[BPF_LDX | SL_BPF_MEMSX | BPF_B] = true,
	[BPF_LDX | SL_BPF_MEMSX | BPF_H] = true,
	[BPF_LDX | SL_BPF_MEMSX | BPF_W] = true,
	[BPF_LD | BPF_IMM | BPF_DW] = true,
	[BPF_LD | BPF_ABS | BPF_B] = true,
	[BPF_LD | BPF_ABS | BPF_H] = true,
	[BPF_LD | BPF_ABS | BPF_W] = true,
	[BPF_LD | BPF_IND | BPF_B] = true,
	[BPF_LD | BPF_IND | BPF_H] = true,
	[BPF_LD | BPF_IND | BPF_W] = true,
};

static int check_ld_imm64(struct sl_cfg *cfg, struct sl_log *log, uint32_t index,
	int (*resolve)(void *arg, uint32_t index), void *arg)
{
	const struct bpf_insn *insn = &cfg->prog->insns[index];

	if (index + 1 >= cfg->prog->insn_count || insn[1].code || insn[1].dst_reg ||
		insn[1].src_reg || insn[1].off) {
		sl_vlog(log, "invalid bpf_ld_imm64 insn\n");
		return -EINVAL;
	}
	switch (insn->src_reg) {
	case 0:
	case BPF_PSEUDO_FUNC:
		return 0;
	case BPF_PSEUDO_MAP_FD:
	case BPF_PSEUDO_MAP_IDX:
		if (insn[1].imm == 0)
			return resolve(arg, index);
		break;
	case BPF_PSEUDO_MAP_VALUE:
	case BPF_PSEUDO_MAP_IDX_VALUE:
		return resolve(arg, index);
	}
	sl_vlog(log, "unrecognized bpf_ld_imm64 insn\n");
	return -EINVAL;
}

int sl_cfg_check_insns(struct sl_cfg *cfg, struct sl_log *log,
	int (*resolve)(void *arg, uint32_t index), void *arg)
{
	for (uint32_t i = 0; i < cfg->prog->insn_count; i++) {
		const struct bpf_insn *insn = &cfg->prog->insns[i];
		uint8_t mode = BPF_MODE(insn->code);

		if (BPF_CLASS(insn->code) == BPF_LDX &&
			((mode != BPF_MEM && mode != SL_BPF_MEMSX) || insn->imm != 0)) {
			sl_vlog(log, "BPF_LDX uses reserved fields\n");
			return -EINVAL;
		}
		if (sl_insn_is_ld_imm64(insn)) {
			int err = check_ld_imm64(cfg, log, i, resolve, arg);

			if (err)
				return err;
			i++;
		} else if (!opcodes[insn->code]) {
			sl_vlog(log, "unknown opcode %02x\n", insn->code);
			return -EINVAL;
		}
	}
	return 0;
}

/* The message of a check that failed, NULL when none did. */
static const char *check_alu(const struct bpf_insn *insn)
{
	bool is32 = BPF_CLASS(insn->code) == BPF_ALU, from_reg = BPF_SRC(insn->code) == BPF_X;
	uint8_t op = BPF_OP(insn->code);
	bool source_used = from_reg ? insn->imm != 0 : insn->src_reg != 0;

	switch (op) {
	case BPF_NEG:
		return insn->src_reg || insn->off || insn->imm ? "BPF_NEG" : NULL;
	case BPF_END:
		return insn->src_reg || insn->off ||
				       (insn->imm != 16 && insn->imm != 32 && insn->imm != 64)
			       ? "BPF_END"
			       : NULL;
	case BPF_MOV:
		if (from_reg && (insn->off == 8 || insn->off == 16 || (insn->off == 32 && !is32)))
			return source_used ? "BPF_MOV" : NULL;
		return source_used || insn->off ? "BPF_MOV" : NULL;
	case BPF_DIV:
	case BPF_MOD:
		return source_used || (insn->off & ~1) ? "BPF_ALU" : NULL;
	}
	return source_used || insn->off ? "BPF_ALU" : NULL;
}

static const char jump_fields[] = "BPF_JMP/JMP32";

static const char *check_jump(const struct bpf_insn *insn)
{
	bool is32 = BPF_CLASS(insn->code) == BPF_JMP32;
	bool regs = insn->src_reg || insn->dst_reg;

	switch (BPF_OP(insn->code)) {
	case BPF_CALL:
		return insn->dst_reg || insn->src_reg > BPF_PSEUDO_KFUNC_CALL ||
				       (insn->off && insn->src_reg != BPF_PSEUDO_KFUNC_CALL)
			       ? "BPF_CALL"
			       : NULL;
	case BPF_JA:
		return regs || (is32 ? insn->off : insn->imm) ? "BPF_JA" : NULL;
	case BPF_EXIT:
		return regs || insn->imm ? "BPF_EXIT" : NULL;
	case SL_BPF_JCOND:
		return NULL;
	}
	return (BPF_SRC(insn->code) == BPF_X ? insn->imm != 0 : insn->src_reg != 0) ? jump_fields
										    : NULL;
}

static const char *check_reserved(const struct bpf_insn *insn)
{
	uint8_t mode = BPF_MODE(insn->code);

	switch (BPF_CLASS(insn->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		return check_alu(insn);
	case BPF_JMP:
	case BPF_JMP32:
		return check_jump(insn);
	case BPF_ST:
		return insn->src_reg ? "BPF_ST" : NULL;
	case BPF_STX:
		return mode == BPF_MEM && insn->imm ? "BPF_STX" : NULL;
	case BPF_LD:
		if (mode == BPF_IMM)
			return insn->off ? "BPF_LD_IMM64" : NULL;
		return insn->dst_reg || insn->off || (mode == BPF_ABS && insn->src_reg)
			       ? "BPF_LD_[ABS|IND]"
			       : NULL;
	}
	return NULL;
}

static int check_atomic(struct sl_log *log, const struct bpf_insn *insn)
{
	bool word = BPF_SIZE(insn->code) == BPF_W || BPF_SIZE(insn->code) == BPF_DW;

	switch (insn->imm) {
	case BPF_ADD:
	case BPF_AND:
	case BPF_OR:
	case BPF_XOR:
	case BPF_ADD | BPF_FETCH:
	case BPF_AND | BPF_FETCH:
	case BPF_OR | BPF_FETCH:
	case BPF_XOR | BPF_FETCH:
	case BPF_XCHG:
	case BPF_CMPXCHG:
		if (word)
			return 0;
		sl_vlog(log, "invalid atomic operand size\n");
		return -EINVAL;
	case SL_BPF_LOAD_ACQ:
	case SL_BPF_STORE_REL:
		return 0;
	}
	sl_vlog(log, "BPF_ATOMIC uses invalid atomic opcode %02x\n", insn->imm);
	return -EINVAL;
}

static int check_registers(struct sl_log *log, const struct bpf_insn *insn)
{
	uint8_t class = BPF_CLASS(insn->code);
	/* Where src_reg is a number of its own kind. */
	bool pseudo = (class == BPF_LD && BPF_MODE(insn->code) == BPF_IMM) ||
		      BPF_OP(insn->code) == BPF_CALL;

	if (insn->src_reg >= MAX_BPF_REG && !(pseudo && class != BPF_LDX && class != BPF_STX)) {
		sl_vlog(log, "R%d is invalid\n", insn->src_reg);
		return -EINVAL;
	}
	if (insn->dst_reg >= MAX_BPF_REG) {
		sl_vlog(log, "R%d is invalid\n", insn->dst_reg);
		return -EINVAL;
	}
	return 0;
}

static int refuse_address_space_cast(struct sl_log *log, const struct bpf_insn *insn)
{
	if (insn->imm == 1 || insn->imm == 1 << 16)
		sl_vlog(log, "addr_space_cast insn can only be used in a program that has an "
			     "associated arena\n");
	else
		sl_vlog(log, "addr_space_cast insn can only convert between address space 1 and "
			     "0\n");
	return -EINVAL;
}

int sl_insn_check(struct sl_log *log, const struct bpf_insn *insn)
{
	const char *what = check_reserved(insn);
	int err = 0;

	/* Comparisons look at this operand before anything else. */
	if (insn->dst_reg >= MAX_BPF_REG && what == jump_fields)
		return check_registers(log, insn);
	if (insn->code == (BPF_ALU64 | BPF_MOV | BPF_X) && insn->off == SL_BPF_ADDR_SPACE_CAST)
		return refuse_address_space_cast(log, insn);
	if (what) {
		sl_vlog(log, "%s uses reserved fields\n", what);
		return -EINVAL;
	}
	if (sl_insn_is_may_goto(insn) && (insn->src_reg || insn->dst_reg || insn->imm)) {
		sl_vlog(log, "invalid may_goto imm %d\n", insn->imm);
		return -EINVAL;
	}
	if (BPF_CLASS(insn->code) == BPF_STX && BPF_MODE(insn->code) == BPF_ATOMIC)
		err = check_atomic(log, insn);
	return err ? err : check_registers(log, insn);
}
