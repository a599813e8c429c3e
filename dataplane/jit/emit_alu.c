#include "emit.h"

#include <string.h>

/* Intrinsics are looked up by name: their numbers change between LLVM versions. */
static LLVMValueRef byte_swap(struct sl_emitter *e, LLVMValueRef value)
{
	LLVMTypeRef type = LLVMTypeOf(value);
	unsigned id = LLVMLookupIntrinsicID("llvm.bswap", strlen("llvm.bswap"));
	LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->module, id, &type, 1);

	return LLVMBuildCall2(
		e->builder, LLVMIntrinsicGetType(e->context, id, &type, 1), fn, &value, 1, "");
}

void sl_emit_binary(struct sl_emitter *e)
{
	LLVMValueRef dst = sl_emit_get_bits(e, e->insn->dst_reg, e->row->bits);

	sl_emit_set(e, e->insn->dst_reg,
		LLVMBuildBinOp(e->builder, e->row->op, dst, sl_emit_source(e), ""));
}

/* The amount is taken modulo the width, as RFC 9669 and both x86 and arm64 have it. */
void sl_emit_shift(struct sl_emitter *e)
{
	unsigned bits = e->row->bits;
	LLVMValueRef dst = sl_emit_get_bits(e, e->insn->dst_reg, bits);
	LLVMValueRef amount =
		LLVMBuildAnd(e->builder, sl_emit_source(e), sl_emit_int(e, bits, bits - 1), "");

	sl_emit_set(e, e->insn->dst_reg, LLVMBuildBinOp(e->builder, e->row->op, dst, amount, ""));
}

/*
 * LLVM leaves x / 0 and INT_MIN / -1 undefined, BPF defines both: x / 0 = 0, x % 0 = x,
 * INT_MIN / -1 = INT_MIN, x % -1 = 0. The division itself runs with a divisor of 1 in these cases.
 */
void sl_emit_divide(struct sl_emitter *e)
{
	LLVMBuilderRef b = e->builder;
	unsigned bits = e->row->bits;
	bool is_signed = e->insn->off == 1, is_div = e->row->op == LLVMUDiv;
	LLVMValueRef dst = sl_emit_get_bits(e, e->insn->dst_reg, bits), src = sl_emit_source(e);
	LLVMValueRef zero = sl_emit_int(e, bits, 0), one = sl_emit_int(e, bits, 1);
	LLVMValueRef is_zero = LLVMBuildICmp(b, LLVMIntEQ, src, zero, "");
	LLVMValueRef is_minus = NULL, safe = LLVMBuildSelect(b, is_zero, one, src, ""), result;
	LLVMOpcode op = is_signed ? (is_div ? LLVMSDiv : LLVMSRem) : (LLVMOpcode)e->row->op;

	if (is_signed) {
		is_minus = LLVMBuildICmp(b, LLVMIntEQ, src,
			LLVMConstInt(sl_emit_type(e, bits), UINT64_MAX, true), "");
		safe = LLVMBuildSelect(b, is_minus, one, safe, "");
	}
	result = LLVMBuildBinOp(b, op, dst, safe, "");
	if (is_signed && is_div)
		result = LLVMBuildSelect(b, is_minus, LLVMBuildNeg(b, dst, ""), result, "");
	result = LLVMBuildSelect(b, is_zero, is_div ? zero : dst, result, "");
	sl_emit_set(e, e->insn->dst_reg, result);
}

void sl_emit_negate(struct sl_emitter *e)
{
	LLVMValueRef dst = sl_emit_get_bits(e, e->insn->dst_reg, e->row->bits);

	sl_emit_set(e, e->insn->dst_reg, LLVMBuildNeg(e->builder, dst, ""));
}

/* MOV, and MOVSX where `off` holds the width of the source. */
void sl_emit_move(struct sl_emitter *e)
{
	LLVMValueRef value = sl_emit_source(e);
	LLVMTypeRef type = LLVMTypeOf(value);

	if (!e->row->imm && e->insn->off) {
		value = sl_emit_get_bits(e, e->insn->src_reg, e->insn->off);
		value = LLVMBuildSExt(e->builder, value, type, "");
	}
	sl_emit_set(e, e->insn->dst_reg, value);
}

/* Keeps the low imm bits, with their bytes reversed where `swap`. */
static void emit_end(struct sl_emitter *e, bool swap)
{
	LLVMValueRef value = sl_emit_get_bits(e, e->insn->dst_reg, e->insn->imm);

	sl_emit_set(e, e->insn->dst_reg, swap ? byte_swap(e, value) : value);
}

void sl_emit_swap_to_le(struct sl_emitter *e)
{
	emit_end(e, __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__);
}

void sl_emit_swap_to_be(struct sl_emitter *e)
{
	emit_end(e, __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
}

void sl_emit_swap(struct sl_emitter *e)
{
	emit_end(e, true);
}
