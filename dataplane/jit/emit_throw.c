#include "emit.h"
#include "instrument.h"

/*
 * Exceptions. A subprogram that may throw returns two numbers, in two registers: the second one says
 * whether the first is its result or what was thrown. Its callers look at that after each call and
 * return at once in turn, up to the main program, which ends with the thrown number or with what the
 * program's function for exceptions makes of it. Which functions may throw is known before anything
 * is compiled, so those that do not are as they would be without exceptions, and where a function is
 * inlined the flag is a constant.
 */

LLVMTypeRef sl_emit_func_type(struct sl_emitter *e, unsigned index)
{
	if (!index)
		return e->unit == e->units ? e->prog_type : e->func_type;
	return e->facts->funcs[index].may_throw ? e->throw_type : e->func_type;
}

/* A program's first function, an extension's as well: exceptions go no further. */
static bool is_first(const struct sl_emitter *e)
{
	return e->func == e->facts->funcs;
}

static void return_pair(struct sl_emitter *e, LLVMValueRef value, bool thrown)
{
	LLVMValueRef pair = LLVMGetPoison(e->throw_result);

	pair = LLVMBuildInsertValue(e->builder, pair, value, 0, "");
	pair = LLVMBuildInsertValue(e->builder, pair, LLVMConstInt(e->i1, thrown, false), 1, "");
	LLVMBuildRet(e->builder, pair);
}

void sl_emit_return(struct sl_emitter *e, LLVMValueRef value)
{
	if (!is_first(e) && e->func->may_throw)
		return_pair(e, value, false);
	else
		LLVMBuildRet(e->builder, value);
}

static void throw(struct sl_emitter * e, LLVMValueRef value)
{
	LLVMValueRef args[6] = { e->ctx, value };

	if (!is_first(e)) {
		sl_instrument_leave(e);
		return_pair(e, value, true);
		return;
	}
	for (unsigned i = 2; i < 6; i++)
		args[i] = sl_emit_const(e, 0);
	if (e->facts->exception_func > 0)
		value = LLVMBuildCall2(e->builder, e->func_type,
			e->unit->funcs[e->facts->exception_func], args, 6, "");
	sl_instrument_leave(e);
	LLVMBuildRet(e->builder, value);
}

LLVMValueRef sl_emit_func_call(struct sl_emitter *e, unsigned index, LLVMValueRef args[6])
{
	/* Of what is there, which may be an extension: that does not throw past itself. */
	LLVMTypeRef type = LLVMGlobalGetValueType(e->unit->funcs[index]);
	LLVMValueRef result = LLVMBuildCall2(e->builder, type, e->unit->funcs[index], args, 6, "");
	LLVMBasicBlockRef thrown, on;
	LLVMValueRef value, flag;

	if (type != e->throw_type)
		return result;
	value = LLVMBuildExtractValue(e->builder, result, 0, "");
	flag = LLVMBuildExtractValue(e->builder, result, 1, "");
	thrown = sl_emit_new_block(e, "thrown");
	on = sl_emit_new_block(e, "");
	LLVMBuildCondBr(e->builder, sl_emit_unlikely(e, flag), thrown, on);
	LLVMPositionBuilderAtEnd(e->builder, thrown);
	throw(e, value);
	LLVMPositionBuilderAtEnd(e->builder, on);
	return value;
}

void sl_emit_throw(struct sl_emitter *e)
{
	throw(e, sl_emit_get(e, BPF_REG_1));
	e->ended = true;
}
