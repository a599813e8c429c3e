#include "emit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "helper.h"
#include "instrument.h"
#include "map.h"
#include "prog.h"
#include "prog_array.h"

/*
 * Tail calls. The count of what is left is the main program's second parameter, in a register from
 * one program to the next. A subprogram may make tail calls too: only its own frame is replaced,
 * and when the target returns, its caller goes on and may make more, so the count must come back.
 * A program with such subprograms keeps it in the context and hands TAIL_CALLS_SHARED down with the
 * number; whoever gets the flag stores each new number into the context as well. The test for the
 * flag shares the comparison with the limit, so chains of plain programs do not pay for it; and so
 * does SL_TAIL_CALLS_TRACED.
 */
#define TAIL_CALLS_SHARED (1ull << 32)

LLVMValueRef sl_emit_declare(
	struct sl_emitter *e, const char *symbol, LLVMTypeRef type, const void *address)
{
	LLVMValueRef fn = LLVMGetNamedFunction(e->module, symbol);
	struct sl_native *natives;

	if (fn)
		return fn;
	if (address) {
		natives = realloc(e->natives, (e->native_count + 1) * sizeof(*natives));
		if (!natives) {
			sl_emit_fail(e, "out of memory");
			return LLVMAddFunction(e->module, symbol, type);
		}
		natives[e->native_count++] = (struct sl_native){ symbol, address };
		e->natives = natives;
	}
	return LLVMAddFunction(e->module, symbol, type);
}

int sl_emit_func_at(struct sl_emitter *e, int64_t pc)
{
	for (unsigned i = 0; i < e->facts->func_count; i++) {
		if (e->facts->funcs[i].start == pc)
			return i;
	}
	return -1;
}

static void emit_local_call(struct sl_emitter *e)
{
	int func = sl_emit_func_at(e, (int64_t)e->pc + 1 + e->insn->imm);
	LLVMValueRef args[6] = { e->ctx };

	if (func <= 0) {
		sl_emit_fail(e, "called function is not one");
		return;
	}
	for (unsigned i = 1; i <= 5; i++)
		args[i] = sl_emit_get(e, i);
	sl_emit_set(e, BPF_REG_0, sl_emit_func_call(e, (unsigned)func, args));
}

/* A private constant copy of what is constant of a map, for loads from it to fold. */
static LLVMValueRef map_desc(struct sl_emitter *e, uint32_t index)
{
	const struct sl_map *map = e->unit->maps[index];
	LLVMValueRef bytes;

	if (e->unit->map_descs[index])
		return e->unit->map_descs[index];
	bytes = LLVMConstStringInContext(
		e->context, (const char *)&map->desc, map->ops->desc_size, true);
	e->unit->map_descs[index] = LLVMAddGlobal(e->module, LLVMTypeOf(bytes), "map");
	LLVMSetInitializer(e->unit->map_descs[index], bytes);
	LLVMSetGlobalConstant(e->unit->map_descs[index], true);
	LLVMSetLinkage(e->unit->map_descs[index], LLVMPrivateLinkage);
	LLVMSetAlignment(e->unit->map_descs[index], _Alignof(struct sl_map));
	return e->unit->map_descs[index];
}

/* The map that the call works on on all paths, NULL when it is not one. */
static const struct sl_map *known_map(
	const struct sl_emitter *e, const struct sl_reg_fact *arg, uint32_t *ret_index)
{
	if (arg->kind != SL_MEM_MAP || arg->map >= e->unit->map_count)
		return NULL;
	*ret_index = arg->map;
	return e->unit->maps[arg->map];
}

/* Of a map that the program finds in a map of maps: what they have in common; else NULL. */
static const struct sl_map *known_template(
	const struct sl_emitter *e, const struct sl_reg_fact *arg)
{
	uint32_t outer = arg->map & ~SL_MAP_INNER;

	if (arg->kind != SL_MEM_MAP || !(arg->map & SL_MAP_INNER) || outer >= e->unit->map_count)
		return NULL;
	return e->unit->maps[outer]->inner;
}

static void set_field(struct sl_emitter *e, LLVMValueRef desc, size_t offset, uint32_t value)
{
	LLVMValueRef at = sl_emit_const(e, offset);

	LLVMBuildStore(e->builder, sl_emit_int(e, 32, value),
		LLVMBuildGEP2(e->builder, e->i8, desc, &at, 1, ""));
}

/*
 * The descriptor of an inner map, known only at run time but for what all of them have in common.
 * For a lookup, which is inlined, a copy in which that is constant: what remains of the copy are
 * loads of the few fields that differ. Others get the map's own.
 */
static LLVMValueRef inner_desc(
	struct sl_emitter *e, const struct sl_map *template, const struct sl_call_fact *call)
{
	LLVMValueRef offset = sl_emit_const(e, offsetof(struct sl_map, desc)), size, desc, copy;
	LLVMValueRef map = LLVMBuildIntToPtr(
		e->builder, sl_emit_argument(e, BPF_REG_1, &call->args[0]), e->ptr, "");
	const struct sl_map_desc *known = &template->desc;

	desc = LLVMBuildGEP2(e->builder, e->i8, map, &offset, 1, "");
	if (call->helper->map_op != SL_MAP_OP_LOOKUP || !template->ops->lookup_symbol)
		return desc;
	copy = sl_emit_local(e, LLVMArrayType2(e->i8, template->ops->desc_size), NULL, "inner");
	LLVMSetAlignment(copy, _Alignof(struct sl_map));
	size = sl_emit_const(e, template->ops->desc_size);
	LLVMBuildMemCpy(
		e->builder, copy, _Alignof(struct sl_map), desc, _Alignof(struct sl_map), size);
	set_field(e, copy, offsetof(struct sl_map_desc, key_size), known->key_size);
	set_field(e, copy, offsetof(struct sl_map_desc, value_size), known->value_size);
	set_field(e, copy, offsetof(struct sl_map_desc, value_stride), known->value_stride);
	set_field(e, copy, offsetof(struct sl_map_desc, flags), known->flags);
	if (known->type == BPF_MAP_TYPE_ARRAY && !(known->flags & BPF_F_INNER_MAP))
		set_field(e, copy, offsetof(struct sl_map_desc, max_entries), known->max_entries);
	return copy;
}

static LLVMValueRef pointer_argument(
	struct sl_emitter *e, unsigned reg, const struct sl_call_fact *call)
{
	return LLVMBuildIntToPtr(
		e->builder, sl_emit_argument(e, reg, &call->args[reg - 1]), e->ptr, "");
}

/* A map's own function instead of the helper that would look it up in the map's operations. */
static bool emit_map_operation(struct sl_emitter *e, const struct sl_call_fact *call)
{
	uint32_t index = 0;
	const struct sl_map *map = known_map(e, &call->args[0], &index);
	LLVMTypeRef params[] = { e->ptr, e->ptr, e->ptr, e->ptr, e->i64 }, type;
	LLVMValueRef args[5] = { NULL }, fn, result;
	const struct sl_map *template = known_template(e, &call->args[0]);
	const char *symbol = NULL;
	const void *address = NULL;
	unsigned count = 3;

	if (!map)
		map = template;
	switch (map ? call->helper->map_op : SL_MAP_OP_NONE) {
	case SL_MAP_OP_LOOKUP:
		symbol = map->ops->lookup_symbol, address = map->ops->lookup;
		break;
	case SL_MAP_OP_UPDATE:
		symbol = map->ops->update_symbol, address = map->ops->update;
		count = 5;
		break;
	case SL_MAP_OP_DELETE:
		symbol = map->ops->delete_symbol, address = map->ops->delete;
		break;
	case SL_MAP_OP_FOR_EACH:
		symbol = map->ops->for_each_symbol, address = map->ops->for_each;
		count = 5;
		break;
	case SL_MAP_OP_PUSH:
		symbol = map->ops->push_symbol, address = map->ops->push;
		params[3] = e->i64;
		count = 4;
		break;
	case SL_MAP_OP_POP:
		address = map->ops->pop;
		break;
	case SL_MAP_OP_PEEK:
		symbol = map->ops->peek_symbol, address = map->ops->peek;
		break;
	default:
		break;
	}
	if (!address)
		return false;
	args[0] = template ? inner_desc(e, template, call) : map_desc(e, index);
	args[1] = e->ctx;
	args[2] = pointer_argument(e, BPF_REG_2, call);
	if (count == 4)
		args[3] = sl_emit_argument(e, BPF_REG_3, &call->args[2]);
	if (count == 5) {
		args[3] = pointer_argument(e, BPF_REG_3, call);
		args[4] = sl_emit_argument(e, BPF_REG_4, &call->args[3]);
	}
	type = LLVMFunctionType(
		call->helper->map_op == SL_MAP_OP_LOOKUP ? e->ptr : e->i64, params, count, false);
	fn = symbol ? sl_emit_declare(e, symbol, type, address)
		    : LLVMConstIntToPtr(sl_emit_const(e, (uintptr_t)address), e->ptr);
	result = LLVMBuildCall2(e->builder, type, fn, args, count, "");
	if (call->helper->map_op == SL_MAP_OP_LOOKUP)
		result = LLVMBuildPtrToInt(e->builder, result, e->i64, "");
	sl_emit_set(e, BPF_REG_0, result);
	return true;
}

static void emit_helper_call(struct sl_emitter *e, const struct sl_call_fact *call)
{
	const struct sl_helper *helper = call->helper;
	LLVMValueRef args[6] = { e->ctx };

	if (emit_map_operation(e, call))
		return;
	for (unsigned i = 0; i < 5; i++) {
		if (call->given && i < 2)
			args[i + 1] = sl_emit_const(
				e, i ? (uintptr_t)call->given_record : call->given_size);
		else if (helper->args[i] != SL_ARG_NONE)
			args[i + 1] = sl_emit_argument(e, i + 1, &call->args[i]);
		else if (helper->flags & SL_HELPER_GETS_PROG)
			args[i + 1] = sl_emit_const(e, (uintptr_t)e->holder);
		else if (helper->flags & SL_HELPER_ALL_REGS)
			args[i + 1] = sl_emit_get(e, i + 1);
		else
			args[i + 1] = sl_emit_const(e, 0);
	}
	sl_emit_set(e, BPF_REG_0,
		LLVMBuildCall2(e->builder, e->func_type,
			sl_emit_declare(e, helper->symbol, e->func_type, helper->fn), args, 6, ""));
}

static void emit_checked_call(struct sl_emitter *e, const struct sl_call_fact *call)
{
	sl_instrument_arguments(e, call);
	emit_helper_call(e, call);
	sl_instrument_result(e, call);
}

void sl_emit_call(struct sl_emitter *e)
{
	const struct sl_call_fact *call =
		e->fact->call < e->facts->call_count ? &e->facts->calls[e->fact->call] : NULL;

	if (e->insn->src_reg == BPF_PSEUDO_CALL)
		emit_local_call(e);
	else if (e->insn->src_reg == 0 && e->insn->imm == BPF_FUNC_tail_call)
		sl_emit_tail_call(e);
	else if (call && call->throws)
		sl_emit_throw(e);
	else if (call && call->helper && call->helper->symbol)
		emit_checked_call(e, call);
	else
		sl_emit_fail(e, "no facts about a call");
}

/* The descriptor of the array: a constant for a known map, else that of the map in R2. */
static LLVMValueRef array_desc(struct sl_emitter *e)
{
	const struct sl_call_fact *call =
		e->fact->call < e->facts->call_count ? &e->facts->calls[e->fact->call] : NULL;
	struct sl_reg_fact unknown = { .kind = SL_MEM_NONE };
	uint32_t index = 0;

	if (call && known_map(e, &call->args[1], &index))
		return map_desc(e, index);
	return sl_emit_address(e, BPF_REG_2, &unknown, offsetof(struct sl_map, desc));
}

/*
 * The call below stands in every program that jumps, and nearly never happens. By the C convention it
 * would make all of them save registers for it, at nearly twice the cost of a jump. So it preserves
 * them itself: LLVM's preserve_most, all general registers but r11.
 */
#ifdef __x86_64__
#define NOTE_JUMP_CONVENTION LLVMPreserveMostCallConv
void sl_note_jump_preserving(void);
__attribute__((naked, used)) void sl_note_jump_preserving(void)
{
	__asm__("push %rax\n\tpush %rcx\n\tpush %rdx\n\tpush %rsi\n\tpush %rdi\n\t"
		"push %r8\n\tpush %r9\n\tpush %r10\n\t"
		"push %rbp\n\tmov %rsp, %rbp\n\tand $-16, %rsp\n\t"
		"call sl_prog_array_note_jump@PLT\n\t"
		"mov %rbp, %rsp\n\tpop %rbp\n\t"
		"pop %r10\n\tpop %r9\n\tpop %r8\n\t"
		"pop %rdi\n\tpop %rsi\n\tpop %rdx\n\tpop %rcx\n\tpop %rax\n\tret");
}
#else
#define NOTE_JUMP_CONVENTION LLVMCCallConv
#define sl_note_jump_preserving sl_prog_array_note_jump
#endif

/* Of a packet whose path is wanted, to be called with what is called for the slot, and the target. */
static void emit_note_jump(struct sl_emitter *e, LLVMValueRef count, LLVMValueRef *args,
	LLVMValueRef target, LLVMBasicBlockRef go)
{
	LLVMTypeRef params[] = { e->ptr, e->ptr, e->i64, e->ptr };
	LLVMTypeRef type = LLVMFunctionType(e->void_type, params, 4, false);
	LLVMValueRef flag = sl_emit_const(e, SL_TAIL_CALLS_TRACED), traced;
	LLVMValueRef note_args[] = { args[0], args[1], args[2], target };
	LLVMBasicBlockRef note = sl_emit_new_block(e, "tail.note");
	LLVMValueRef fn, call;

	traced = LLVMBuildICmp(e->builder, LLVMIntNE, LLVMBuildAnd(e->builder, count, flag, ""),
		sl_emit_const(e, 0), "");
	LLVMBuildCondBr(e->builder, traced, note, go);
	LLVMPositionBuilderAtEnd(e->builder, note);
	fn = sl_emit_declare(e, "sl_note_jump_preserving", type, sl_note_jump_preserving);
	LLVMSetFunctionCallConv(fn, NOTE_JUMP_CONVENTION);
	call = LLVMBuildCall2(e->builder, type, fn, note_args, 4, "");
	LLVMSetInstructionCallConv(call, NOTE_JUMP_CONVENTION);
	LLVMBuildBr(e->builder, go);
}

/*
 * Goes to `out` when nothing is left. Returns the number for the target, in a block of its own. `args`
 * are those that the target was found with.
 */
static LLVMValueRef emit_count_down(
	struct sl_emitter *e, LLVMBasicBlockRef out, LLVMValueRef *args, LLVMValueRef target)
{
	LLVMBuilderRef b = e->builder;
	bool in_ctx = e->shares_tail_calls;
	size_t offset = offsetof(struct sl_ctx, tail_calls);
	LLVMBasicBlockRef rare = sl_emit_new_block(e, "tail.rare");
	LLVMBasicBlockRef shared = sl_emit_new_block(e, "tail.shared");
	LLVMBasicBlockRef go = sl_emit_new_block(e, "tail.go");
	LLVMValueRef count, left, is_rare, low, is_none;

	count = in_ctx || !e->is_main ? sl_emit_ctx_load(e, offset, 64) : LLVMGetParam(e->fn, 1);
	left = LLVMBuildSub(b, count, sl_emit_const(e, 1), "");
	is_rare = LLVMBuildICmp(b, LLVMIntUGE, left, sl_emit_const(e, SL_TAIL_CALLS), "");
	LLVMBuildCondBr(b, sl_emit_unlikely(e, is_rare), rare, go);

	LLVMPositionBuilderAtEnd(b, rare);
	low = LLVMBuildTrunc(b, count, e->i32, "");
	is_none = LLVMBuildICmp(b, LLVMIntEQ, low, sl_emit_int(e, 32, 0), "");
	LLVMBuildCondBr(b, is_none, out, shared);

	LLVMPositionBuilderAtEnd(b, shared);
	sl_emit_ctx_store(e, offset, left);
	emit_note_jump(e, count, args, target, go);

	LLVMPositionBuilderAtEnd(b, go);
	if (in_ctx)
		sl_emit_ctx_store(e, offset, left);
	if (e->is_main)
		return left;
	return LLVMBuildOr(b, left, sl_emit_const(e, TAIL_CALLS_SHARED), "");
}

static void emit_count_failure(struct sl_emitter *e)
{
	LLVMValueRef run = LLVMBuildIntToPtr(
		e->builder, sl_emit_ctx_load(e, offsetof(struct sl_ctx, run), 64), e->ptr, "");
	LLVMValueRef offset = sl_emit_const(e, offsetof(struct sl_run, tail_failed));
	LLVMValueRef counter = LLVMBuildGEP2(e->builder, e->i8, run, &offset, 1, "");
	LLVMValueRef value = LLVMBuildLoad2(e->builder, e->i32, counter, "");

	LLVMBuildStore(
		e->builder, LLVMBuildAdd(e->builder, value, sl_emit_int(e, 32, 1), ""), counter);
}

/* Code in the slot and calls left: jump; else go on with the next instruction. */
void sl_emit_tail_call(struct sl_emitter *e)
{
	LLVMBuilderRef b = e->builder;
	LLVMTypeRef params[] = { e->ptr, e->ptr, e->i64 };
	LLVMTypeRef type = LLVMFunctionType(e->ptr, params, 3, false);
	LLVMBasicBlockRef jump = sl_emit_new_block(e, "tail.jump");
	LLVMBasicBlockRef out = sl_emit_new_block(e, "tail.out");
	LLVMValueRef target, left, args[3], result;

	args[0] = array_desc(e);
	args[1] = e->ctx;
	args[2] = sl_emit_get(e, BPF_REG_3);
	target = LLVMBuildCall2(b, type,
		sl_emit_declare(e, "sl_prog_array_slot", type, sl_prog_array_slot), args, 3, "");
	LLVMBuildCondBr(b, LLVMBuildIsNull(b, target, ""), out, jump);

	LLVMPositionBuilderAtEnd(b, jump);
	left = emit_count_down(e, out, args, target);
	args[0] = e->ctx;
	args[1] = left;
	sl_instrument_leave(e);
	result = LLVMBuildCall2(b, e->prog_type, target, args, 2, "");
	if (e->is_main)
		LLVMSetTailCallKind(result, LLVMTailCallKindMustTail);
	sl_emit_return(e, result);

	LLVMPositionBuilderAtEnd(b, out);
	emit_count_failure(e);
}

/* LD_ABS and LD_IND: past the packet's end the function returns 0. */
void sl_emit_packet_load(struct sl_emitter *e)
{
	LLVMBuilderRef b = e->builder;
	LLVMTypeRef params[] = { e->ptr, e->i64, e->i64, e->ptr }, type;
	LLVMBasicBlockRef missing = sl_emit_new_block(e, "ld.missing");
	LLVMBasicBlockRef found = sl_emit_new_block(e, "ld.found");
	LLVMValueRef args[4], failed, offset = sl_emit_int(e, 32, e->insn->imm);
	LLVMValueRef value = sl_emit_local(e, e->i64, NULL, "ld.value");

	if (BPF_MODE(e->insn->code) == BPF_IND)
		offset = LLVMBuildAdd(b, offset, sl_emit_get_bits(e, e->insn->src_reg, 32), "");
	type = LLVMFunctionType(e->i32, params, 4, false);
	args[0] = e->ctx;
	args[1] = LLVMBuildSExt(b, offset, e->i64, "");
	args[2] = sl_emit_const(e, e->row->op);
	args[3] = value;
	failed = LLVMBuildCall2(
		b, type, sl_emit_declare(e, "sl_packet_load", type, NULL), args, 4, "");
	failed = LLVMBuildICmp(b, LLVMIntNE, failed, sl_emit_int(e, 32, 0), "");
	LLVMBuildCondBr(b, sl_emit_unlikely(e, failed), missing, found);
	LLVMPositionBuilderAtEnd(b, missing);
	sl_instrument_leave(e);
	sl_emit_return(e, sl_emit_const(e, 0));
	LLVMPositionBuilderAtEnd(b, found);
	sl_emit_set(e, BPF_REG_0, LLVMBuildLoad2(b, e->i64, value, ""));
}
