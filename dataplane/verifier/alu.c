#include "env.h"

#include <errno.h>
#include <inttypes.h>

/* Arithmetic: moves keep what a register holds, pointers move by scalars, the rest is reg.c's. */

static const char *const alu_strings[16] = {
	[BPF_ADD >> 4] = "+=",
	[BPF_SUB >> 4] = "-=",
	[BPF_MUL >> 4] = "*=",
	[BPF_DIV >> 4] = "/=",
	[BPF_OR >> 4] = "|=",
	[BPF_AND >> 4] = "&=",
	[BPF_LSH >> 4] = "<<=",
	[BPF_RSH >> 4] = ">>=",
	[BPF_NEG >> 4] = "neg",
	[BPF_MOD >> 4] = "%=",
	[BPF_XOR >> 4] = "^=",
	[BPF_MOV >> 4] = "=",
	[BPF_ARSH >> 4] = "s>>=",
	[BPF_END >> 4] = "endian",
};

/* A pointer plus this register stays where offsets cannot overflow. */
static bool offset_is_sane(
	struct sl_env *env, const struct sl_reg *reg, const struct sl_reg *pointer)
{
	const char *name = sl_reg_type_name(pointer);
	int64_t value = (int64_t)reg->var_off.value;

	if (sl_tnum_is_const(reg->var_off) &&
		(value >= SL_MAX_VAR_OFF || value <= -SL_MAX_VAR_OFF)) {
		sl_say(env, "math between %s pointer and %" PRId64 " is not allowed\n", name,
			value);
		return false;
	}
	/* A scalar has one when it is linked to another. */
	if (reg->off >= SL_MAX_VAR_OFF || reg->off <= -SL_MAX_VAR_OFF) {
		sl_say(env, "%s pointer offset %d is not allowed\n", name, reg->off);
		return false;
	}
	if (reg->smin == INT64_MIN) {
		sl_say(env,
			"math between %s pointer and register with unbounded min value is not "
			"allowed\n",
			name);
		return false;
	}
	if (reg->smin >= SL_MAX_VAR_OFF || reg->smin <= -SL_MAX_VAR_OFF) {
		sl_say(env, "value %" PRId64 " makes %s pointer be out of bounds\n", reg->smin,
			name);
		return false;
	}
	return true;
}

/* Pointers of this kind may move by this scalar. */
static bool may_move(const struct sl_reg *pointer, const struct sl_reg *scalar, uint8_t op)
{
	switch (pointer->type) {
	case SL_REG_CTX:
	case SL_REG_MAP_VALUE:
	case SL_REG_MAP_KEY:
	case SL_REG_STACK:
	case SL_REG_PACKET_META:
	case SL_REG_PACKET:
	case SL_REG_MEM:
	case SL_REG_OBJECT:
	case SL_REG_FUNC: /* to no use: a helper takes none that was moved */
	case SL_REG_DYNPTR:
	case SL_REG_CONN: /* to no use but by a constant */
		return true;
	case SL_REG_CONST_MAP:
		return sl_reg_is_zero(scalar) && op == BPF_ADD;
	default:
		return false;
	}
}

static int pointer_sub(struct sl_env *env, unsigned regno, struct sl_reg *dst,
	const struct sl_reg *pointer, const struct sl_reg *scalar)
{
	int64_t off = (int64_t)pointer->off - scalar->smin;

	if (pointer->type == SL_REG_STACK) {
		sl_say(env, "R%u subtraction from stack pointer prohibited\n", regno);
		return -EACCES;
	}
	if (sl_tnum_is_const(scalar->var_off) && off == (int32_t)off) {
		dst->off = (int32_t)off;
		return 0;
	}
	sl_reg_pointer_sub(dst, pointer, scalar);
	if (sl_reg_is_packet(pointer)) {
		dst->id = ++env->next_id;
		if (scalar->smin < 0)
			dst->range = 0;
	}
	return 0;
}

static void pointer_add(struct sl_env *env, struct sl_reg *dst, const struct sl_reg *pointer,
	const struct sl_reg *scalar)
{
	int64_t off = (int64_t)pointer->off + scalar->smin;

	if (sl_tnum_is_const(scalar->var_off) && off == (int32_t)off) {
		dst->off = (int32_t)off;
		return;
	}
	sl_reg_pointer_add(dst, pointer, scalar);
	/* What was proven readable lies before an unknown distance now. */
	if (sl_reg_is_packet(pointer)) {
		dst->id = ++env->next_id;
		dst->range = 0;
	}
}

/* regs[regno] = pointer OP scalar; one of the two is the register itself. */
static int move_pointer(struct sl_env *env, const struct bpf_insn *insn,
	const struct sl_reg *pointer_reg, const struct sl_reg *scalar_reg)
{
	struct sl_reg *dst = sl_env_reg(env, insn->dst_reg);
	struct sl_reg pointer = *pointer_reg, scalar = *scalar_reg, result;
	bool reversed = scalar_reg == dst;
	uint8_t op = BPF_OP(insn->code);
	int err = 0;

	if (!sl_reg_is_sane(&scalar)) {
		sl_reg_set_unknown(dst);
		return 0;
	}
	if (BPF_CLASS(insn->code) != BPF_ALU64) {
		if (op == BPF_SUB) {
			sl_reg_set_unknown(dst);
			return 0;
		}
		sl_say(env, "R%u 32-bit pointer arithmetic prohibited\n", insn->dst_reg);
		return -EACCES;
	}
	if (sl_reg_maybe_null(&pointer)) {
		sl_say(env, "R%u pointer arithmetic on %s prohibited, null-check it first\n",
			insn->dst_reg, sl_reg_type_name(&pointer));
		return -EACCES;
	}
	if (!may_move(&pointer, &scalar, op)) {
		sl_say(env, "R%u pointer arithmetic on %s prohibited\n", insn->dst_reg,
			sl_reg_type_name(&pointer));
		return -EACCES;
	}
	if (!offset_is_sane(env, &scalar, &pointer) || !offset_is_sane(env, &pointer, &pointer))
		return -EINVAL;
	result = pointer;
	switch (op) {
	case BPF_ADD:
		pointer_add(env, &result, &pointer, &scalar);
		break;
	case BPF_SUB:
		if (reversed) {
			sl_say(env, "R%u tried to subtract pointer from scalar\n", insn->dst_reg);
			return -EACCES;
		}
		err = pointer_sub(env, insn->dst_reg, &result, &pointer, &scalar);
		break;
	case BPF_AND:
	case BPF_OR:
	case BPF_XOR:
		sl_say(env, "R%u bitwise operator %s on pointer prohibited\n", insn->dst_reg,
			alu_strings[op >> 4]);
		return -EACCES;
	default:
		sl_say(env, "R%u pointer arithmetic with %s operator prohibited\n", insn->dst_reg,
			alu_strings[op >> 4]);
		return -EACCES;
	}
	if (err)
		return err;
	if (!offset_is_sane(env, &result, &pointer))
		return -EINVAL;
	sl_reg_sync(&result);
	*dst = result;
	return 0;
}

/*
 * dst is "what it was plus a constant" from now on, if it can be said: once, and for a sum of 32
 * bits only if `narrow`, since the upper half of what it was is lost.
 */
static void relink(
	struct sl_reg *dst, const struct bpf_insn *insn, const struct sl_reg *src, bool narrow)
{
	bool is32 = BPF_CLASS(insn->code) == BPF_ALU;
	uint8_t op = BPF_OP(insn->code);
	struct sl_tnum value = is32 ? sl_tnum_subreg(src->var_off) : src->var_off;
	int64_t off = is32 ? (int64_t)(int32_t)value.value : (int64_t)value.value;

	if ((op != BPF_ADD && op != BPF_SUB) || !dst->id || (dst->id & SL_ID_ADD_CONST) ||
		!sl_tnum_is_const(value) || (is32 && !narrow) || off != (int32_t)off ||
		(op == BPF_SUB && off == INT32_MIN) ||
		(BPF_SRC(insn->code) == BPF_X && insn->src_reg == insn->dst_reg)) {
		sl_reg_unlink(dst);
		return;
	}
	dst->id |= is32 ? SL_ID_ADD_CONST32 : SL_ID_ADD_CONST64;
	dst->off = (int32_t)(op == BPF_SUB ? -off : off);
}

/*
 * An all-or-nothing mask, as a compiler makes by spreading the sign, is about to be combined with a
 * constant: nothing in between can result, so both values are followed, each on its own.
 */
static int split_mask(struct sl_env *env, const struct bpf_insn *insn, const struct sl_reg *src)
{
	struct sl_reg *dst = sl_env_reg(env, insn->dst_reg), *other;
	uint8_t op = BPF_OP(insn->code);
	bool whole = dst->smin == -1 && dst->smax == 0;
	bool half = dst->s32_min == -1 && dst->s32_max == 0;
	struct sl_state *state;
	int err;

	if ((op != BPF_AND && op != BPF_OR) || !sl_tnum_is_const(src->var_off) || !(whole || half))
		return 0;
	err = sl_explore_push(env, env->insn, &state);
	if (err)
		return err;
	other = &sl_state_frame(state)->regs[insn->dst_reg];
	if (whole) {
		sl_reg_set_const(other, 0);
		sl_reg_set_const(dst, UINT64_MAX);
	} else {
		sl_reg_set_const32(other, 0);
		sl_reg_set_const32(dst, UINT32_MAX);
	}
	return 0;
}

static int two_operands(struct sl_env *env, const struct bpf_insn *insn)
{
	struct sl_reg *dst = sl_env_reg(env, insn->dst_reg);
	struct sl_reg *src = &env->fake[0];
	uint8_t op = BPF_OP(insn->code);
	bool narrow;
	int err;

	if (BPF_SRC(insn->code) == BPF_K) {
		sl_reg_set_const(src, (uint64_t)(int64_t)insn->imm);
		if (sl_reg_is_pointer(dst))
			return move_pointer(env, insn, dst, src);
	} else {
		src = sl_env_reg(env, insn->src_reg);
		if (sl_reg_is_pointer(src) && sl_reg_is_pointer(dst)) {
			if (op == BPF_SUB) {
				sl_reg_set_unknown(dst);
				return 0;
			}
			sl_say(env, "R%u pointer %s pointer prohibited\n", insn->dst_reg,
				alu_strings[op >> 4]);
			return -EACCES;
		}
		if (sl_reg_is_pointer(src)) {
			err = sl_mark_precise(env, insn->dst_reg);
			return err ? err : move_pointer(env, insn, src, dst);
		}
		if (sl_reg_is_pointer(dst)) {
			err = sl_mark_precise(env, insn->src_reg);
			return err ? err : move_pointer(env, insn, dst, src);
		}
		if (dst->precise) {
			err = sl_mark_precise(env, insn->src_reg);
			if (err)
				return err;
		}
	}
	/* dst may be src. */
	env->fake[1] = *src;
	err = split_mask(env, insn, &env->fake[1]);
	if (err)
		return err;
	narrow = dst->umax <= UINT32_MAX;
	sl_reg_alu(dst, &env->fake[1], insn);
	relink(dst, insn, &env->fake[1], narrow);
	return 0;
}

static void sign_extending_move(
	struct sl_env *env, const struct bpf_insn *insn, struct sl_reg *dst, struct sl_reg *src)
{
	bool same = src->umax < 1ULL << (insn->off - 1);

	if (same)
		sl_assign_id(env, src);
	*dst = *src;
	if (!same)
		sl_reg_unlink(dst);
	sl_reg_coerce_sext(dst, insn->off / 8, BPF_CLASS(insn->code) == BPF_ALU);
}

static int move_register(struct sl_env *env, const struct bpf_insn *insn)
{
	struct sl_reg *dst = sl_env_reg(env, insn->dst_reg);
	struct sl_reg *src = sl_env_reg(env, insn->src_reg);
	bool is_alu64 = BPF_CLASS(insn->code) == BPF_ALU64;

	if (is_alu64 && !insn->off) {
		sl_assign_id(env, src);
		*dst = *src;
		return 0;
	}
	if (src->type != SL_REG_SCALAR) {
		/* A part of an address is a number like any other. */
		sl_reg_set_unknown(dst);
	} else if (insn->off) {
		sign_extending_move(env, insn, dst, src);
	} else {
		bool fits = src->umax <= UINT32_MAX;

		if (fits)
			sl_assign_id(env, src);
		*dst = *src;
		if (!fits)
			sl_reg_unlink(dst);
	}
	if (!is_alu64) {
		sl_reg_zext32(dst);
		sl_reg_sync(dst);
	}
	return 0;
}

static int check_move(struct sl_env *env, const struct bpf_insn *insn)
{
	struct sl_reg *dst = sl_env_reg(env, insn->dst_reg);
	int err;

	if (BPF_SRC(insn->code) == BPF_X) {
		err = sl_check_read(env, insn->src_reg);
		if (err)
			return err;
	}
	err = sl_check_write(env, insn->dst_reg);
	if (err)
		return err;
	if (BPF_SRC(insn->code) == BPF_X)
		return move_register(env, insn);
	if (BPF_CLASS(insn->code) == BPF_ALU64)
		sl_reg_set_const(dst, (uint64_t)(int64_t)insn->imm);
	else
		sl_reg_set_const(dst, (uint32_t)insn->imm);
	return 0;
}

static int check_unary(struct sl_env *env, const struct bpf_insn *insn)
{
	struct sl_reg *dst = sl_env_reg(env, insn->dst_reg);
	int err = sl_check_read(env, insn->dst_reg);

	if (!err)
		err = sl_check_write(env, insn->dst_reg);
	if (err)
		return err;
	if (dst->type != SL_REG_SCALAR) {
		sl_reg_set_unknown(dst);
		return 0;
	}
	env->fake[1] = *dst;
	sl_reg_alu(dst, &env->fake[1], insn);
	sl_reg_unlink(dst);
	return 0;
}

int sl_check_alu(struct sl_env *env, const struct bpf_insn *insn)
{
	uint8_t op = BPF_OP(insn->code);
	int err;

	if (op == BPF_MOV)
		return check_move(env, insn);
	if (op == BPF_NEG || op == BPF_END)
		return check_unary(env, insn);
	if (BPF_SRC(insn->code) == BPF_X) {
		err = sl_check_read(env, insn->src_reg);
		if (err)
			return err;
	}
	err = sl_check_read(env, insn->dst_reg);
	if (err)
		return err;
	if (BPF_SRC(insn->code) == BPF_K) {
		int width = BPF_CLASS(insn->code) == BPF_ALU64 ? 64 : 32;

		if ((op == BPF_DIV || op == BPF_MOD) && !insn->imm) {
			sl_say(env, "div by zero\n");
			return -EINVAL;
		}
		if ((op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH) &&
			(insn->imm < 0 || insn->imm >= width)) {
			sl_say(env, "invalid shift %d\n", insn->imm);
			return -EINVAL;
		}
	}
	err = sl_check_write(env, insn->dst_reg);
	return err ? err : two_operands(env, insn);
}
