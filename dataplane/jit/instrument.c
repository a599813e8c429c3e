#include "instrument.h"

#include <stdlib.h>
#include <string.h>

#include "conntrack.h"
#include "context.h"
#include "helper.h"
#include "kfunc.h"
#include "map.h"
#include "prog.h"

bool sl_instrument_wanted(void)
{
	const char *wanted = getenv("SLUICE_JIT_CHECK");

	return wanted && strcmp(wanted, "1") == 0;
}

/* A call of one of the functions above: numbers but for the context, which is a pointer, too. */
static LLVMValueRef call(struct sl_emitter *e, const char *symbol, const void *address,
	LLVMTypeRef result, LLVMValueRef *args, unsigned count)
{
	LLVMTypeRef params[8], type;

	for (unsigned i = 0; i < count; i++)
		params[i] = LLVMTypeOf(args[i]);
	type = LLVMFunctionType(result, params, count, false);
	return LLVMBuildCall2(
		e->builder, type, sl_emit_declare(e, symbol, type, address), args, count, "");
}

void sl_instrument_enter(struct sl_emitter *e)
{
	LLVMValueRef args[3] = { e->ctx };

	if (!e->checks)
		return;
	args[1] = e->stack ? LLVMBuildPtrToInt(e->builder, e->stack, e->i64, "")
			   : sl_emit_const(e, 0);
	args[2] = sl_emit_const(e, e->stack_bytes);
	call(e, "sl_check_enter", sl_check_enter, e->void_type, args, 3);
}

void sl_instrument_leave(struct sl_emitter *e)
{
	if (e->checks)
		call(e, "sl_check_leave", sl_check_leave, e->void_type, NULL, 0);
}

static void give_up(struct sl_emitter *e)
{
	sl_instrument_leave(e);
	sl_emit_return(e, sl_emit_const(e, 0));
}

/* C's bool is a byte of which the lowest bit counts. */
static void stop_unless(struct sl_emitter *e, LLVMValueRef good)
{
	LLVMBasicBlockRef on = sl_emit_new_block(e, "check.good");
	LLVMBasicBlockRef stop = sl_emit_new_block(e, "check.bad");

	if (LLVMTypeOf(good) != e->i1)
		good = LLVMBuildTrunc(e->builder, good, e->i1, "");
	LLVMBuildCondBr(e->builder, good, on, stop);
	LLVMPositionBuilderAtEnd(e->builder, stop);
	give_up(e);
	LLVMPositionBuilderAtEnd(e->builder, on);
}

static uint64_t flags_of(const struct sl_emitter *e, const struct sl_reg_fact *fact)
{
	uint64_t flags = fact->kind;

	if (fact->own_frame)
		flags |= SL_CHECK_OWN_FRAME;
	if (fact->const_off)
		flags |= SL_CHECK_CONST_OFF;
	for (unsigned i = 0; i < e->facts->func_count; i++)
		if (e->facts->funcs[i].is_callback)
			flags |= SL_CHECK_LENIENT;
	return flags;
}

static void check_memory(struct sl_emitter *e, const struct sl_reg_fact *fact, LLVMValueRef address,
	int64_t off, LLVMValueRef len)
{
	LLVMValueRef args[] = { e->ctx, sl_emit_const(e, e->pc),
		sl_emit_const(e, flags_of(e, fact)), address, sl_emit_const(e, off), len };

	stop_unless(e, call(e, "sl_check_access", sl_check_access, e->i8, args, 6));
}

static void check_range(struct sl_emitter *e, LLVMValueRef value, uint64_t min, uint64_t max)
{
	LLVMValueRef args[] = { sl_emit_const(e, e->pc), value, sl_emit_const(e, min),
		sl_emit_const(e, max) };

	stop_unless(e, call(e, "sl_check_range", sl_check_range, e->i8, args, 4));
}

static void check_same(struct sl_emitter *e, LLVMValueRef value, LLVMValueRef other)
{
	check_range(e, LLVMBuildSub(e->builder, value, other, ""), 0, 0);
}

/* What is accessed is also what the register says, wherever the facts took it from. */
void sl_instrument_access(struct sl_emitter *e, unsigned base_regno)
{
	const struct sl_reg_fact *base = &e->fact->base;
	int64_t off = e->insn->off;
	LLVMValueRef address, used;

	if (!e->checks)
		return;
	if (base->kind == SL_MEM_MAP) {
		if (base->map < e->unit->map_count)
			check_same(e, sl_emit_get(e, base_regno),
				sl_emit_const(e, (uintptr_t)e->unit->maps[base->map]));
		return;
	}
	address = LLVMBuildAdd(e->builder, sl_emit_get(e, base_regno), sl_emit_const(e, off), "");
	if (!e->fact->field) {
		used = LLVMBuildPtrToInt(
			e->builder, sl_emit_address(e, base_regno, base, off), e->i64, "");
		check_same(e, address, used);
	}
	check_memory(e, base, address, base->off + off, sl_emit_const(e, e->row->bits / 8));
}

void sl_instrument_value(struct sl_emitter *e)
{
	LLVMValueRef args[2];

	if (!e->checks || e->fact->map >= e->unit->map_count ||
		(e->insn->src_reg != BPF_PSEUDO_MAP_VALUE &&
			e->insn->src_reg != BPF_PSEUDO_MAP_IDX_VALUE))
		return;
	args[0] = sl_emit_const(e, e->fact->imm - (uint32_t)e->insn[1].imm);
	args[1] = sl_emit_const(e, e->unit->maps[e->fact->map]->desc.value_size);
	call(e, "sl_check_object", sl_check_object, e->void_type, args, 2);
}

/* How much the helper may access: an argument's size in bytes, NULL for no memory. */
static LLVMValueRef memory_size(
	struct sl_emitter *e, const struct sl_call_fact *call, unsigned arg, bool *ret_or_null)
{
	const struct sl_helper *helper = call->helper;
	const struct sl_map *map = NULL;

	*ret_or_null = false;
	for (unsigned i = 0; i < arg; i++)
		if (helper->args[i] == SL_ARG_MAP && call->args[i].map < e->unit->map_count)
			map = e->unit->maps[call->args[i].map];
	switch (helper->args[arg]) {
	case SL_ARG_MAP_KEY:
		return map ? sl_emit_const(e, map->desc.key_size) : NULL;
	case SL_ARG_MAP_VALUE:
	case SL_ARG_MAP_VALUE_UNINIT:
		return map ? sl_emit_const(e, map->desc.value_size) : NULL;
	case SL_ARG_MEM_OR_NULL:
	case SL_ARG_MEM_UNINIT_OR_NULL:
		*ret_or_null = true;
		return sl_emit_get(e, BPF_REG_1 + arg + 1);
	case SL_ARG_MEM:
	case SL_ARG_MEM_WRITE:
	case SL_ARG_MEM_UNINIT:
		return sl_emit_get(e, BPF_REG_1 + arg + 1);
	case SL_ARG_MEM_FIXED:
	case SL_ARG_MEM_FIXED_UNINIT:
		return sl_emit_const(e, helper->fixed_size[arg]);
	case SL_ARG_LONG_PTR:
		return sl_emit_const(e, 8);
	case SL_ARG_INT_PTR:
		return sl_emit_const(e, 4);
	default:
		return NULL;
	}
}

static void check_argument(struct sl_emitter *e, const struct sl_call_fact *call_fact, unsigned arg)
{
	const struct sl_reg_fact *fact = &call_fact->args[arg];
	LLVMValueRef value = sl_emit_get(e, BPF_REG_1 + arg), size;
	bool or_null;

	switch (fact->kind) {
	case SL_MEM_SCALAR:
		if (fact->const_off)
			check_range(e, value, fact->off, fact->off);
		else if (fact->umin || fact->umax != UINT64_MAX)
			check_range(e, value, fact->umin, fact->umax);
		return;
	case SL_MEM_MAP:
		if (fact->map < e->unit->map_count)
			check_same(e, value, sl_emit_const(e, (uintptr_t)e->unit->maps[fact->map]));
		return;
	case SL_MEM_CTX:
		check_memory(e, fact, value, fact->off, sl_emit_const(e, 1));
		return;
	}
	size = memory_size(e, call_fact, arg, &or_null);
	if (size && !or_null && fact->kind != SL_MEM_NONE)
		check_memory(e, fact, value, fact->off, size);
}

/* How long the memory is that the call gives. */
static unsigned size_register(const struct sl_helper *helper)
{
	if (helper->ret != SL_RET_DYNPTR_MEM_OR_NULL)
		return BPF_REG_2;
	return helper->args[3] == SL_ARG_SLICE_SIZE ? BPF_REG_4 : BPF_REG_3;
}

void sl_instrument_arguments(struct sl_emitter *e, const struct sl_call_fact *call_fact)
{
	if (!e->checks)
		return;
	for (unsigned arg = 0; arg < 5 && call_fact->helper->args[arg] != SL_ARG_NONE; arg++)
		check_argument(e, call_fact, arg);
	/* The call destroys them. */
	e->check_map = sl_emit_get(e, BPF_REG_1);
	e->check_size = sl_emit_get(e, size_register(call_fact->helper));
}

/* How many bytes a call's result leads to that no argument's register tells; 0 for none. */
static uint64_t result_bytes(const struct sl_emitter *e, const struct sl_call_fact *call_fact)
{
	if (call_fact->helper->ret == SL_RET_CONN_OR_NULL ||
		call_fact->helper->ret == SL_RET_CONN_INIT_OR_NULL)
		return sl_conntrack_size();
	if (e->insn->src_reg == BPF_PSEUDO_KFUNC_CALL)
		return sl_container_of(call_fact->helper, const struct sl_kfunc, call)->result_size;
	if (call_fact->helper->ret == SL_RET_DYNPTR_MEM_OR_NULL)
		return (uint64_t)call_fact->args[2].off;
	return 0;
}

void sl_instrument_result(struct sl_emitter *e, const struct sl_call_fact *call_fact)
{
	LLVMValueRef args[2];
	uint64_t bytes;

	if (!e->checks)
		return;
	bytes = result_bytes(e, call_fact);
	if (bytes) {
		args[0] = sl_emit_get(e, BPF_REG_0);
		args[1] = sl_emit_const(e, bytes);
		call(e, "sl_check_object", sl_check_object, e->void_type, args, 2);
		return;
	}
	switch (call_fact->helper->ret) {
	case SL_RET_MAP_VALUE:
	case SL_RET_MAP_VALUE_OR_NULL:
		args[0] = LLVMBuildIntToPtr(e->builder, e->check_map, e->ptr, "");
		args[1] = sl_emit_get(e, BPF_REG_0);
		call(e, "sl_check_map_value", sl_check_map_value, e->void_type, args, 2);
		break;
	case SL_RET_ALLOC_MEM_OR_NULL:
	case SL_RET_DYNPTR_MEM_OR_NULL:
		args[0] = sl_emit_get(e, BPF_REG_0);
		args[1] = e->check_size;
		call(e, "sl_check_object", sl_check_object, e->void_type, args, 2);
		break;
	default:
		break;
	}
}

void sl_instrument_branch(struct sl_emitter *e, LLVMValueRef cond)
{
	uint8_t flags = e->fact->flags;
	LLVMValueRef taken;

	if (!e->checks || (flags & SL_INSN_TAKEN && flags & SL_INSN_NOT_TAKEN))
		return;
	taken = LLVMBuildZExt(e->builder, cond, e->i64, "");
	check_range(e, taken, !!(flags & SL_INSN_TAKEN), !!(flags & SL_INSN_TAKEN));
}

void sl_instrument_unreached(struct sl_emitter *e)
{
	LLVMValueRef pc = sl_emit_const(e, e->pc);

	if (!e->checks)
		return;
	call(e, "sl_check_dead", sl_check_dead, e->i8, &pc, 1);
	sl_instrument_leave(e);
}
