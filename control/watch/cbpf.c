#include "cbpf.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <linux/bpf.h>
#include <linux/filter.h>

/*
 * The accumulator is R0, where BPF_LD_ABS puts what it reads; the index register and all that must
 * survive such a load are in registers that it leaves alone. The words of memory are on the stack.
 * A load from beyond the packet ends either kind of program with 0.
 */
enum { A = BPF_REG_0, T = BPF_REG_1, CTX = BPF_REG_6, X = BPF_REG_7, SAVED_A = BPF_REG_8 };

/* At most: BPF_MAXINSNS instructions of no more than 8 each, and what is around them. */
enum { MOST = 8, AROUND = 32, WORD = 4 };

struct fixup {
	unsigned at; /* instruction whose jump it is */
	unsigned to; /* classic instruction; UINT_MAX: to the end that returns 0 */
};

struct conversion {
	const struct sock_filter *filter;
	unsigned filter_count;
	struct bpf_insn *insns;
	unsigned count;
	unsigned *starts; /* by classic instruction */
	bool *reached;
	struct fixup *fixups;
	unsigned fixup_count;
};

static void emit(struct conversion *c, uint8_t code, uint8_t dst, uint8_t src, int32_t imm)
{
	c->insns[c->count++] =
		(struct bpf_insn){ .code = code, .dst_reg = dst, .src_reg = src, .imm = imm };
}

static void emit_memory(
	struct conversion *c, uint8_t code, uint8_t dst, uint8_t src, int16_t offset)
{
	c->insns[c->count++] =
		(struct bpf_insn){ .code = code, .dst_reg = dst, .src_reg = src, .off = offset };
}

static void jump(
	struct conversion *c, uint8_t code, uint8_t dst, uint8_t src, uint32_t imm, unsigned to)
{
	c->fixups[c->fixup_count++] = (struct fixup){ c->count, to };
	emit(c, code, dst, src, (int32_t)imm);
}

#define TO_ZERO UINT_MAX

static void set_int(struct conversion *c, uint8_t reg, uint32_t value)
{
	emit(c, BPF_ALU | BPF_MOV | BPF_K, reg, 0, (int32_t)value);
}

static void copy(struct conversion *c, uint8_t to, uint8_t from)
{
	emit(c, BPF_ALU | BPF_MOV | BPF_X, to, from, 0);
}

static int16_t slot(uint32_t index)
{
	return (int16_t)(-WORD * (int)(index + 1));
}

/* No packet is as long; above it eBPF has negative offsets, which mean something else. */
static int32_t beyond(uint32_t offset)
{
	return offset > INT32_MAX ? INT32_MAX : (int32_t)offset;
}

static void load_absolute(struct conversion *c, uint8_t size, uint32_t offset)
{
	emit(c, BPF_LD | BPF_ABS | size, 0, 0, beyond(offset));
}

static void load_indirect(struct conversion *c, uint8_t size, uint32_t offset)
{
	copy(c, T, X);
	emit(c, BPF_ALU64 | BPF_ADD | BPF_K, T, 0, beyond(offset));
	jump(c, BPF_JMP | BPF_JGT | BPF_K, T, 0, INT32_MAX, TO_ZERO);
	emit(c, BPF_LD | BPF_IND | size, 0, T, 0);
}

static int load(struct conversion *c, const struct sock_filter *f)
{
	uint8_t size = BPF_SIZE(f->code);

	switch (BPF_MODE(f->code)) {
	case BPF_IMM:
		set_int(c, A, f->k);
		return 0;
	case BPF_ABS:
		load_absolute(c, size, f->k);
		return 0;
	case BPF_IND:
		load_indirect(c, size, f->k);
		return 0;
	case BPF_MEM:
		emit_memory(c, BPF_LDX | BPF_MEM | BPF_W, A, BPF_REG_10, slot(f->k));
		return 0;
	case BPF_LEN:
		emit_memory(c, BPF_LDX | BPF_MEM | BPF_W, A, CTX, offsetof(struct __sk_buff, len));
		return 0;
	default:
		return -EINVAL;
	}
}

static int load_index(struct conversion *c, const struct sock_filter *f)
{
	switch (BPF_MODE(f->code)) {
	case BPF_IMM:
		set_int(c, X, f->k);
		return 0;
	case BPF_MEM:
		emit_memory(c, BPF_LDX | BPF_MEM | BPF_W, X, BPF_REG_10, slot(f->k));
		return 0;
	case BPF_LEN:
		emit_memory(c, BPF_LDX | BPF_MEM | BPF_W, X, CTX, offsetof(struct __sk_buff, len));
		return 0;
	case BPF_MSH:
		/* The length of an IPv4 header. */
		copy(c, SAVED_A, A);
		load_absolute(c, BPF_B, f->k);
		emit(c, BPF_ALU | BPF_AND | BPF_K, A, 0, 0xf);
		emit(c, BPF_ALU | BPF_LSH | BPF_K, A, 0, 2);
		copy(c, X, A);
		copy(c, A, SAVED_A);
		return 0;
	default:
		return -EINVAL;
	}
}

static int store(struct conversion *c, const struct sock_filter *f, uint8_t from)
{
	emit_memory(c, BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, from, slot(f->k));
	return 0;
}

/* eBPF takes a shift modulo 32; here nothing is left. */
static void shift_by_index(struct conversion *c, uint8_t op)
{
	c->insns[c->count++] = (struct bpf_insn){
		.code = BPF_JMP32 | BPF_JGT | BPF_K, .dst_reg = X, .off = 2, .imm = 31
	};
	emit(c, BPF_ALU | op | BPF_X, A, X, 0);
	c->insns[c->count++] = (struct bpf_insn){ .code = BPF_JMP | BPF_JA, .off = 1 };
	set_int(c, A, 0);
}

static int compute(struct conversion *c, const struct sock_filter *f)
{
	uint8_t op = BPF_OP(f->code);
	bool by_index = BPF_SRC(f->code) == BPF_X;

	switch (op) {
	case BPF_DIV:
	case BPF_MOD:
		if (by_index)
			jump(c, BPF_JMP32 | BPF_JEQ | BPF_K, X, 0, 0, TO_ZERO);
		else if (f->k == 0)
			return -EINVAL;
		break;
	case BPF_LSH:
	case BPF_RSH:
		if (by_index) {
			shift_by_index(c, op);
			return 0;
		}
		if (f->k > 31)
			return -EINVAL;
		break;
	case BPF_NEG:
		emit(c, BPF_ALU | BPF_NEG, A, 0, 0);
		return 0;
	case BPF_ADD:
	case BPF_SUB:
	case BPF_MUL:
	case BPF_AND:
	case BPF_OR:
	case BPF_XOR:
		break;
	default:
		return -EINVAL;
	}
	if (by_index)
		emit(c, BPF_ALU | op | BPF_X, A, X, 0);
	else
		emit(c, BPF_ALU | op | BPF_K, A, 0, (int32_t)f->k);
	return 0;
}

static int branch(struct conversion *c, const struct sock_filter *f, unsigned at)
{
	uint8_t op = BPF_OP(f->code), source = BPF_SRC(f->code);

	if (op == BPF_JA) {
		jump(c, BPF_JMP | BPF_JA, 0, 0, 0, at + 1 + f->k);
		return 0;
	}
	if (op != BPF_JEQ && op != BPF_JGT && op != BPF_JGE && op != BPF_JSET)
		return -EINVAL;
	jump(c, BPF_JMP32 | op | source, A, source == BPF_X ? X : 0, source == BPF_X ? 0 : f->k,
		at + 1 + f->jt);
	if (f->jf)
		jump(c, BPF_JMP | BPF_JA, 0, 0, 0, at + 1 + f->jf);
	return 0;
}

static int give_back(struct conversion *c, const struct sock_filter *f)
{
	if (BPF_RVAL(f->code) == BPF_K)
		set_int(c, A, f->k);
	else if (BPF_RVAL(f->code) != BPF_A)
		return -EINVAL;
	emit(c, BPF_JMP | BPF_EXIT, 0, 0, 0);
	return 0;
}

static int convert_one(struct conversion *c, unsigned at)
{
	const struct sock_filter *f = &c->filter[at];

	switch (BPF_CLASS(f->code)) {
	case BPF_LD:
		return load(c, f);
	case BPF_LDX:
		return load_index(c, f);
	case BPF_ST:
		return store(c, f, A);
	case BPF_STX:
		return store(c, f, X);
	case BPF_ALU:
		return compute(c, f);
	case BPF_JMP:
		return branch(c, f, at);
	case BPF_RET:
		return give_back(c, f);
	default:
		if (BPF_MISCOP(f->code) == BPF_TAX)
			copy(c, X, A);
		else
			copy(c, A, X);
		return 0;
	}
}

static bool uses_memory(const struct sock_filter *f)
{
	unsigned class = BPF_CLASS(f->code);

	return class == BPF_ST || class == BPF_STX ||
	       ((class == BPF_LD || class == BPF_LDX) && BPF_MODE(f->code) == BPF_MEM);
}

/* Marks what can be reached (the verifier takes nothing else) and the words of memory in use. */
static int reach(struct conversion *c, uint32_t *ret_words)
{
	c->reached[0] = true;
	*ret_words = 0;
	for (unsigned i = 0; i < c->filter_count; i++) {
		const struct sock_filter *f = &c->filter[i];
		uint64_t targets[2] = { i + 1ull, i + 1ull };

		if (!c->reached[i])
			continue;
		if (uses_memory(f)) {
			if (f->k >= BPF_MEMWORDS)
				return -EINVAL;
			*ret_words |= 1u << f->k;
		}
		if (BPF_CLASS(f->code) == BPF_RET)
			continue;
		if (BPF_CLASS(f->code) == BPF_JMP && BPF_OP(f->code) == BPF_JA) {
			targets[0] = targets[1] += f->k;
		} else if (BPF_CLASS(f->code) == BPF_JMP) {
			targets[0] += f->jt;
			targets[1] += f->jf;
		}
		for (unsigned t = 0; t < 2; t++) {
			if (targets[t] >= c->filter_count)
				return -EINVAL;
			c->reached[targets[t]] = true;
		}
	}
	return 0;
}

static int patch(struct conversion *c, unsigned zero_at)
{
	for (unsigned i = 0; i < c->fixup_count; i++) {
		const struct fixup *f = &c->fixups[i];
		unsigned to = f->to == TO_ZERO ? zero_at : c->starts[f->to];

		if (to - f->at - 1 > INT16_MAX)
			return -E2BIG;
		c->insns[f->at].off = (int16_t)(to - f->at - 1);
	}
	return 0;
}

static int convert(struct conversion *c)
{
	bool to_zero = false;
	uint32_t words;
	int err = reach(c, &words);

	if (err)
		return err;
	emit(c, BPF_ALU64 | BPF_MOV | BPF_X, CTX, BPF_REG_1, 0);
	set_int(c, A, 0);
	set_int(c, X, 0);
	for (unsigned i = 0; i < BPF_MEMWORDS; i++)
		if (words & 1u << i)
			emit_memory(c, BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, A, slot(i));
	for (unsigned i = 0; !err && i < c->filter_count; i++) {
		c->starts[i] = c->count;
		if (c->reached[i])
			err = convert_one(c, i);
	}
	if (err)
		return err;
	for (unsigned i = 0; i < c->fixup_count; i++)
		to_zero |= c->fixups[i].to == TO_ZERO;
	if (to_zero) {
		set_int(c, A, 0);
		emit(c, BPF_JMP | BPF_EXIT, 0, 0, 0);
	}
	return patch(c, c->count - 2);
}

int sl_cbpf_convert(const struct sock_filter *filter, unsigned count, struct bpf_insn **ret_insns,
	unsigned *ret_count)
{
	struct conversion c = { .filter = filter, .filter_count = count };
	int err = -ENOMEM;

	if (count == 0 || count > BPF_MAXINSNS)
		return -EINVAL;
	c.insns = calloc(count * MOST + AROUND, sizeof(*c.insns));
	c.starts = calloc(count, sizeof(*c.starts));
	c.reached = calloc(count, sizeof(*c.reached));
	c.fixups = calloc(count * 2, sizeof(*c.fixups));
	if (c.insns && c.starts && c.reached && c.fixups)
		err = convert(&c);
	free(c.starts);
	free(c.reached);
	free(c.fixups);
	if (err) {
		free(c.insns);
		return err;
	}
	*ret_insns = c.insns;
	*ret_count = c.count;
	return 0;
}
