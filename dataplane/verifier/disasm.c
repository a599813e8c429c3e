#include "cfg.h"
#include "facts.h"
#include "helper.h"
#include "kfunc.h"
#include "log.h"
#include "prog.h"

/* One instruction in the kernel's notation. */

#define MOV_PERCPU (-1) /* off of a move that only the kernel itself writes */

static const char *const alu_ops[16] = {
	[BPF_ADD >> 4] = "+=",
	[BPF_SUB >> 4] = "-=",
	[BPF_MUL >> 4] = "*=",
	[BPF_DIV >> 4] = "/=",
	[BPF_OR >> 4] = "|=",
	[BPF_AND >> 4] = "&=",
	[BPF_LSH >> 4] = "<<=",
	[BPF_RSH >> 4] = ">>=",
	[BPF_MOD >> 4] = "%=",
	[BPF_XOR >> 4] = "^=",
	[BPF_MOV >> 4] = "=",
	[BPF_ARSH >> 4] = "s>>=",
};

static const char *const jump_ops[16] = {
	[BPF_JEQ >> 4] = "==",
	[BPF_JGT >> 4] = ">",
	[BPF_JLT >> 4] = "<",
	[BPF_JGE >> 4] = ">=",
	[BPF_JLE >> 4] = "<=",
	[BPF_JSET >> 4] = "&",
	[BPF_JNE >> 4] = "!=",
	[BPF_JSGT >> 4] = "s>",
	[BPF_JSLT >> 4] = "s<",
	[BPF_JSGE >> 4] = "s>=",
	[BPF_JSLE >> 4] = "s<=",
	[SL_BPF_JCOND >> 4] = "(null)", /* of a kind that does not exist */
};

static const char *const sizes[4] = {
	[BPF_W >> 3] = "u32",
	[BPF_H >> 3] = "u16",
	[BPF_B >> 3] = "u8",
	[BPF_DW >> 3] = "u64",
};

static const char *const signed_sizes[4] = {
	[BPF_W >> 3] = "s32",
	[BPF_H >> 3] = "s16",
	[BPF_B >> 3] = "s8",
	[BPF_DW >> 3] = "s64",
};

static const char *const atomic_ops[16] = {
	[BPF_ADD >> 4] = "add",
	[BPF_AND >> 4] = "and",
	[BPF_OR >> 4] = "or",
	[BPF_XOR >> 4] = "xor",
};

static const char *size_of(const struct bpf_insn *insn)
{
	return sizes[BPF_SIZE(insn->code) >> 3];
}

static void put_unary(struct sl_log *log, const struct bpf_insn *insn, char width)
{
	if (BPF_OP(insn->code) == BPF_NEG)
		sl_vlog(log, "%c%d = -%c%d\n", width, insn->dst_reg, width, insn->dst_reg);
	else
		sl_vlog(log, "r%d = %s%d r%d\n", insn->dst_reg,
			BPF_CLASS(insn->code) == BPF_ALU64 ? "bswap"
			: BPF_SRC(insn->code) == BPF_TO_BE ? "be"
							   : "le",
			insn->imm, insn->dst_reg);
}

static const char *sign_extension(const struct bpf_insn *insn)
{
	if (BPF_OP(insn->code) != BPF_MOV)
		return "";
	return insn->off == 8 ? "(s8)" : insn->off == 16 ? "(s16)" : insn->off == 32 ? "(s32)" : "";
}

static void put_alu(struct sl_log *log, const struct bpf_insn *insn)
{
	char width = BPF_CLASS(insn->code) == BPF_ALU ? 'w' : 'r';
	uint8_t op = BPF_OP(insn->code);
	const char *sign = (op == BPF_DIV || op == BPF_MOD) && insn->off == 1 ? "s" : "";

	if (op == BPF_END || op == BPF_NEG)
		put_unary(log, insn, width);
	else if (insn->code == (BPF_ALU64 | BPF_MOV | BPF_X) && insn->off == SL_BPF_ADDR_SPACE_CAST)
		sl_vlog(log, "r%d = addr_space_cast(r%d, %u, %u)\n", insn->dst_reg, insn->src_reg,
			(uint32_t)insn->imm >> 16, (uint16_t)insn->imm);
	else if (insn->code == (BPF_ALU64 | BPF_MOV | BPF_X) && insn->off == MOV_PERCPU)
		sl_vlog(log, "r%d = &(void __percpu *)(r%d)\n", insn->dst_reg, insn->src_reg);
	else if (BPF_SRC(insn->code) == BPF_X)
		sl_vlog(log, "%c%d %s%s %s%c%d\n", width, insn->dst_reg, sign, alu_ops[op >> 4],
			sign_extension(insn), width, insn->src_reg);
	else
		sl_vlog(log, "%c%d %s%s %d\n", width, insn->dst_reg, sign, alu_ops[op >> 4],
			insn->imm);
}

static void put_atomic(struct sl_log *log, const struct bpf_insn *insn)
{
	const char *size = size_of(insn), *wide = BPF_SIZE(insn->code) == BPF_DW ? "64" : "";
	const char *name = atomic_ops[BPF_OP((uint32_t)insn->imm) >> 4];
	int dst = insn->dst_reg, src = insn->src_reg, off = insn->off;

	switch (insn->imm) {
	case BPF_ADD:
	case BPF_AND:
	case BPF_OR:
	case BPF_XOR:
		sl_vlog(log, "(%02x) lock *(%s *)(r%d %+d) %s r%d\n", insn->code, size, dst, off,
			alu_ops[insn->imm >> 4], src);
		break;
	case BPF_ADD | BPF_FETCH:
	case BPF_AND | BPF_FETCH:
	case BPF_OR | BPF_FETCH:
	case BPF_XOR | BPF_FETCH:
		sl_vlog(log, "(%02x) r%d = atomic%s_fetch_%s((%s *)(r%d %+d), r%d)\n", insn->code,
			src, wide, name, size, dst, off, src);
		break;
	case BPF_XCHG:
		sl_vlog(log, "(%02x) r%d = atomic%s_xchg((%s *)(r%d %+d), r%d)\n", insn->code, src,
			wide, size, dst, off, src);
		break;
	case BPF_CMPXCHG:
		sl_vlog(log, "(%02x) r0 = atomic%s_cmpxchg((%s *)(r%d %+d), r0, r%d)\n", insn->code,
			wide, size, dst, off, src);
		break;
	case SL_BPF_LOAD_ACQ:
		sl_vlog(log, "(%02x) r%d = load_acquire((%s *)(r%d %+d))\n", insn->code, dst, size,
			src, off);
		break;
	case SL_BPF_STORE_REL:
		sl_vlog(log, "(%02x) store_release((%s *)(r%d %+d), r%d)\n", insn->code, size, dst,
			off, src);
		break;
	default:
		sl_vlog(log, "BUG_%02x\n", insn->code);
	}
}

static void put_store(struct sl_log *log, const struct bpf_insn *insn)
{
	bool immediate = BPF_CLASS(insn->code) == BPF_ST;

	if (!immediate && BPF_MODE(insn->code) == BPF_ATOMIC)
		put_atomic(log, insn);
	else if (BPF_MODE(insn->code) != BPF_MEM)
		sl_vlog(log, immediate ? "BUG_st_%02x\n" : "BUG_%02x\n", insn->code);
	else
		sl_vlog(log, "(%02x) *(%s *)(r%d %+d) = %s%d\n", insn->code, size_of(insn),
			insn->dst_reg, insn->off, immediate ? "" : "r",
			immediate ? insn->imm : insn->src_reg);
}

static void put_load(struct sl_log *log, const struct bpf_insn *insn)
{
	bool is_signed = BPF_MODE(insn->code) == SL_BPF_MEMSX;

	if (!is_signed && BPF_MODE(insn->code) != BPF_MEM)
		sl_vlog(log, "BUG_ldx_%02x\n", insn->code);
	else
		sl_vlog(log, "(%02x) r%d = *(%s *)(r%d %+d)\n", insn->code, insn->dst_reg,
			(is_signed ? signed_sizes : sizes)[BPF_SIZE(insn->code) >> 3],
			insn->src_reg, insn->off);
}

/* A map's number is replaced by its address, as it will be when the program runs. */
static uint64_t imm64_of(const struct sl_prog *prog, unsigned index)
{
	const struct bpf_insn *insn = &prog->insns[index];
	const struct sl_insn_fact *fact = prog->facts ? &prog->facts->insns[index] : NULL;

	switch (insn->src_reg) {
	case BPF_PSEUDO_MAP_FD:
	case BPF_PSEUDO_MAP_IDX:
		if (fact && fact->map < prog->used_map_count)
			return (uint64_t)prog->used_maps[fact->map];
		break;
	case BPF_PSEUDO_MAP_VALUE:
	case BPF_PSEUDO_MAP_IDX_VALUE:
		if (fact)
			return fact->imm;
		break;
	}
	return (uint32_t)insn[0].imm | (uint64_t)(uint32_t)insn[1].imm << 32;
}

static void put_ld(struct sl_log *log, const struct sl_prog *prog, unsigned index)
{
	const struct bpf_insn *insn = &prog->insns[index];

	if (BPF_MODE(insn->code) == BPF_ABS)
		sl_vlog(log, "(%02x) r0 = *(%s *)skb[%d]\n", insn->code, size_of(insn), insn->imm);
	else if (BPF_MODE(insn->code) == BPF_IND)
		sl_vlog(log, "(%02x) r0 = *(%s *)skb[r%d + %d]\n", insn->code, size_of(insn),
			insn->src_reg, insn->imm);
	else if (sl_insn_is_ld_imm64(insn))
		sl_vlog(log, "(%02x) r%d = 0x%llx\n", insn->code, insn->dst_reg,
			(unsigned long long)imm64_of(prog, index));
	else
		sl_vlog(log, "BUG_ld_%02x\n", insn->code);
}

static void put_call(struct sl_log *log, const struct bpf_insn *insn)
{
	const struct sl_helper *helper;
	char name[128];

	if (insn->src_reg == BPF_PSEUDO_CALL) {
		sl_vlog(log, "call pc%+d\n", insn->imm);
		return;
	}
	if (insn->src_reg == BPF_PSEUDO_KFUNC_CALL) {
		sl_kfunc_name((uint32_t)insn->imm, name, sizeof(name));
		sl_vlog(log, "call %s#%d\n", name, insn->imm);
		return;
	}
	helper = insn->src_reg == 0 ? sl_helper_by_id((uint32_t)insn->imm) : NULL;
	sl_vlog(log, "call %s#%d\n",
		helper           ? helper->name
		: insn->imm == 0 ? "bpf_unspec"
				 : "unknown",
		insn->imm);
}

static void put_jump(struct sl_log *log, const struct bpf_insn *insn)
{
	bool is32 = BPF_CLASS(insn->code) == BPF_JMP32;
	char width = is32 ? 'w' : 'r';
	uint8_t op = BPF_OP(insn->code);

	if (op == BPF_CALL)
		put_call(log, insn);
	else if (op == BPF_EXIT)
		sl_vlog(log, "exit\n");
	else if (op == BPF_JA && is32)
		sl_vlog(log, "gotol pc%+d\n", insn->imm);
	else if (op == BPF_JA)
		sl_vlog(log, "goto pc%+d\n", insn->off);
	else if (op == SL_BPF_JCOND && insn->src_reg == 0)
		sl_vlog(log, "may_goto pc%+d\n", insn->off);
	else if (BPF_SRC(insn->code) == BPF_X)
		sl_vlog(log, "if %c%d %s %c%d goto pc%+d\n", width, insn->dst_reg,
			jump_ops[op >> 4], width, insn->src_reg, insn->off);
	else
		sl_vlog(log, "if %c%d %s 0x%x goto pc%+d\n", width, insn->dst_reg,
			jump_ops[op >> 4], (uint32_t)insn->imm, insn->off);
}

void sl_vlog_insn(struct sl_log *log, const struct sl_prog *prog, unsigned index)
{
	const struct bpf_insn *insn = &prog->insns[index];

	if (!log->user || log->user->level == 0)
		return;
	switch (BPF_CLASS(insn->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		sl_vlog(log, "(%02x) ", insn->code);
		put_alu(log, insn);
		break;
	case BPF_JMP:
	case BPF_JMP32:
		sl_vlog(log, "(%02x) ", insn->code);
		put_jump(log, insn);
		break;
	case BPF_ST:
	case BPF_STX:
		put_store(log, insn);
		break;
	case BPF_LDX:
		put_load(log, insn);
		break;
	default:
		put_ld(log, prog, index);
	}
}
