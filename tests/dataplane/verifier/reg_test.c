#include "reg.h"

#include "random.h"
#include "test.h"

#define ROUNDS 60000

/* The instruction set's arithmetic on numbers, written down independently of the analysis. */
static uint64_t sign_extend(uint64_t value, unsigned bits)
{
	return (uint64_t)((int64_t)(value << (64 - bits)) >> (64 - bits));
}

static uint64_t swap(uint64_t value, unsigned bits, bool to_be)
{
	if (!to_be)
		return bits == 64 ? value : value & ((1ULL << bits) - 1);
	return __builtin_bswap64(value) >> (64 - bits);
}

static uint64_t divide(uint64_t a, uint64_t b, bool is_signed, bool is32)
{
	if (b == 0)
		return 0;
	if (!is_signed)
		return a / b;
	if (is32)
		return (uint32_t)((int32_t)b == -1 ? 0 - a : (uint32_t)((int32_t)a / (int32_t)b));
	return (int64_t)b == -1 ? 0 - a : (uint64_t)((int64_t)a / (int64_t)b);
}

static uint64_t concrete_alu(uint64_t a, uint64_t b, const struct bpf_insn *insn)
{
	bool is32 = BPF_CLASS(insn->code) == BPF_ALU;
	unsigned bits = is32 ? 32 : 64;
	uint64_t result;

	if (BPF_OP(insn->code) == BPF_END)
		return swap(a, (unsigned)insn->imm, !is32 || BPF_SRC(insn->code));
	if (is32) {
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	switch (BPF_OP(insn->code)) {
	case BPF_ADD:
		result = a + b;
		break;
	case BPF_SUB:
		result = a - b;
		break;
	case BPF_MUL:
		result = a * b;
		break;
	case BPF_DIV:
		result = divide(a, b, insn->off, is32);
		break;
	case BPF_MOD:
		result = b ? a - divide(a, b, insn->off, is32) * b : a;
		break;
	case BPF_OR:
		result = a | b;
		break;
	case BPF_AND:
		result = a & b;
		break;
	case BPF_XOR:
		result = a ^ b;
		break;
	case BPF_LSH:
		result = a << (b & (bits - 1));
		break;
	case BPF_RSH:
		result = a >> (b & (bits - 1));
		break;
	case BPF_ARSH:
		result = is32 ? (uint64_t)((int32_t)a >> (b & 31))
			      : (uint64_t)((int64_t)a >> (b & 63));
		break;
	case BPF_NEG:
		result = 0 - a;
		break;
	default:
		result = insn->off ? sign_extend(b, (unsigned)insn->off) : b;
	}
	return is32 ? (uint32_t)result : result;
}

static void random_alu_insn(struct sl_random *random, struct bpf_insn *insn, uint64_t *operand)
{
	static const uint8_t ops[] = { BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR, BPF_AND, BPF_LSH,
		BPF_RSH, BPF_NEG, BPF_MOD, BPF_XOR, BPF_MOV, BPF_ARSH, BPF_END };
	static const int16_t sext[] = { 0, 8, 16, 32 };
	static const int32_t swaps[] = { 16, 32, 64 };
	uint8_t op = ops[random_below(random, sl_array_size(ops))];
	bool is32 = random_below(random, 2);

	*insn = (struct bpf_insn){ .code = (is32 ? BPF_ALU : BPF_ALU64) | op };
	if (op == BPF_END) {
		insn->imm = swaps[random_below(random, 3)];
		insn->code |= is32 && random_below(random, 2) ? BPF_X : 0;
		return;
	}
	if (op == BPF_NEG)
		return;
	if (op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH)
		*operand = random_below(random, is32 ? 32 : 64);
	if (random_below(random, 2)) {
		insn->imm = (int32_t)*operand;
		*operand = (uint64_t)(int64_t)insn->imm;
		return;
	}
	insn->code |= BPF_X;
	if (op == BPF_MOV)
		insn->off = sext[random_below(random, is32 ? 3 : 4)];
	if (op == BPF_DIV || op == BPF_MOD)
		insn->off = (int16_t)random_below(random, 2);
}

TEST(reg, sync_keeps_every_value)
{
	struct sl_random random = { 1 };
	struct sl_reg reg;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t value = random_value(&random);

		random_reg(&random, value, &reg);
		if (!reg_holds(&reg, value) || !sl_reg_is_sane(&reg))
			FAIL_NOW("round %d: lost %#lx", i, value);
	}
}

TEST(reg, alu_holds_every_result)
{
	struct sl_random random = { 2 };

	for (int i = 0; i < 4 * ROUNDS; i++) {
		uint64_t a = random_value(&random), b = random_value(&random), result;
		struct sl_reg dst, src;
		struct bpf_insn insn;

		random_alu_insn(&random, &insn, &b);
		random_reg(&random, a, &dst);
		random_reg(&random, b, &src);
		result = concrete_alu(a, b, &insn);
		sl_reg_alu(&dst, &src, &insn);
		if (!reg_holds(&dst, result))
			FAIL_NOW("round %d: opcode %#x off %d: %#lx, %#lx gives %#lx", i, insn.code,
				insn.off, a, b, result);
	}
}

TEST(reg, coercion_holds_the_value)
{
	struct sl_random random = { 3 };

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t value = random_value(&random);
		unsigned size = 1u << random_below(&random, 3);
		struct sl_reg reg, copy;

		random_reg(&random, value, &reg);
		copy = reg;
		sl_reg_coerce_zext(&copy, size);
		if (!reg_holds(&copy, value & ((1ULL << (8 * size)) - 1)))
			FAIL_NOW("round %d: %#lx cut to %u bytes", i, value, size);
		sl_reg_coerce_sext(&reg, size, false);
		if (!reg_holds(&reg, sign_extend(value, 8 * size)))
			FAIL_NOW("round %d: %#lx extended from %u bytes", i, value, size);
	}
}

static bool concrete_jump(uint64_t a, uint64_t b, uint8_t op, bool is32)
{
	int64_t sa = is32 ? (int32_t)a : (int64_t)a, sb = is32 ? (int32_t)b : (int64_t)b;

	if (is32) {
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	switch (op) {
	case BPF_JEQ:
		return a == b;
	case BPF_JNE:
		return a != b;
	case BPF_JSET:
		return a & b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	case BPF_JLT:
		return a < b;
	case BPF_JLE:
		return a <= b;
	case BPF_JSGT:
		return sa > sb;
	case BPF_JSGE:
		return sa >= sb;
	case BPF_JSLT:
		return sa < sb;
	default:
		return sa <= sb;
	}
}

static const uint8_t jumps[] = { BPF_JEQ, BPF_JNE, BPF_JSET, BPF_JGT, BPF_JGE, BPF_JLT, BPF_JLE,
	BPF_JSGT, BPF_JSGE, BPF_JSLT, BPF_JSLE };

TEST(reg, branches_keep_every_pair)
{
	struct sl_random random = { 4 };

	for (int i = 0; i < 4 * ROUNDS; i++) {
		uint64_t a = random_value(&random), b = random_value(&random);
		uint8_t op = jumps[random_below(&random, sl_array_size(jumps))];
		bool is32 = random_below(&random, 2), taken;
		struct sl_reg regs[2][2];
		int outcome;

		if (random_below(&random, 3) == 0)
			b = a + random_below(&random, 3) - 1;
		random_reg(&random, a, &regs[0][0]);
		random_reg(&random, b, &regs[0][1]);
		regs[1][0] = regs[0][0];
		regs[1][1] = regs[0][1];
		taken = concrete_jump(a, b, op, is32);
		outcome = sl_reg_branch(&regs[0][0], &regs[0][1], op, is32);
		if (outcome >= 0 && outcome != taken)
			FAIL_NOW("round %d: op %#x of %#lx, %#lx said to be %d", i, op, a, b,
				outcome);
		sl_reg_refine(&regs[1][0], &regs[1][1], &regs[0][0], &regs[0][1], op, is32);
		if (!reg_holds(&regs[taken][0], a) || !reg_holds(&regs[taken][1], b))
			FAIL_NOW("round %d: op %#x lost %#lx, %#lx", i, op, a, b);
	}
}

TEST(reg, pointer_offsets_hold_the_sum)
{
	struct sl_random random = { 5 };

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t base = random_value(&random), scalar = random_value(&random);
		struct sl_reg ptr, offset, sum, difference;

		random_reg(&random, base, &ptr);
		random_reg(&random, scalar, &offset);
		ptr.type = SL_REG_PACKET;
		ptr.off = (int32_t)random_u64(&random);
		sl_reg_pointer_add(&sum, &ptr, &offset);
		sl_reg_pointer_sub(&difference, &ptr, &offset);
		if (!reg_holds(&sum, base + ptr.off + scalar - sum.off))
			FAIL_NOW("round %d: %#lx + %#lx", i, base, scalar);
		if (!reg_holds(&difference, base + ptr.off - scalar - difference.off))
			FAIL_NOW("round %d: %#lx - %#lx", i, base, scalar);
		EXPECT_EQ(sum.type, SL_REG_PACKET);
	}
}

TEST(reg, null_checks_of_pointers_are_decided)
{
	struct sl_reg pointer, zero;

	sl_reg_set_pointer(&pointer, SL_REG_MAP_VALUE);
	sl_reg_set_const(&zero, 0);
	EXPECT_EQ(sl_reg_branch(&pointer, &zero, BPF_JEQ, false), 0);
	EXPECT_EQ(sl_reg_branch(&zero, &pointer, BPF_JNE, false), 1);
	EXPECT_EQ(sl_reg_branch(&pointer, &zero, BPF_JGT, false), -1);
	pointer.flags = SL_REG_OR_NULL;
	EXPECT_EQ(sl_reg_branch(&pointer, &zero, BPF_JEQ, false), -1);
}
