#include "emit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "instrument.h"
#include "logging.h"
#include "prog.h"

#define MAX_FRAME 512 /* bytes: MAX_BPF_STACK */

LLVMValueRef sl_emit_const(struct sl_emitter *e, uint64_t value)
{
	return LLVMConstInt(e->i64, value, false);
}

LLVMTypeRef sl_emit_type(struct sl_emitter *e, unsigned bits)
{
	return bits == 64 ? e->i64 : LLVMIntTypeInContext(e->context, bits);
}

LLVMValueRef sl_emit_int(struct sl_emitter *e, unsigned bits, uint64_t value)
{
	if (bits < 64)
		value &= (1ull << bits) - 1;
	return LLVMConstInt(sl_emit_type(e, bits), value, false);
}

LLVMValueRef sl_emit_get(struct sl_emitter *e, unsigned reg)
{
	return LLVMBuildLoad2(e->builder, e->i64, e->regs[reg], "");
}

LLVMValueRef sl_emit_get_bits(struct sl_emitter *e, unsigned reg, unsigned bits)
{
	LLVMValueRef value = sl_emit_get(e, reg);

	return bits == 64 ? value : LLVMBuildTrunc(e->builder, value, sl_emit_type(e, bits), "");
}

void sl_emit_set(struct sl_emitter *e, unsigned reg, LLVMValueRef value)
{
	if (LLVMTypeOf(value) != e->i64)
		value = LLVMBuildZExt(e->builder, value, e->i64, "");
	LLVMBuildStore(e->builder, value, e->regs[reg]);
}

LLVMValueRef sl_emit_source(struct sl_emitter *e)
{
	if (e->row->imm)
		return sl_emit_int(e, e->row->bits, (uint64_t)(int64_t)e->insn->imm);
	return sl_emit_get_bits(e, e->insn->src_reg, e->row->bits);
}

LLVMBasicBlockRef sl_emit_new_block(struct sl_emitter *e, const char *name)
{
	return LLVMAppendBasicBlockInContext(e->context, e->fn, name);
}

LLVMBasicBlockRef sl_emit_block_at(struct sl_emitter *e, int64_t pc)
{
	LLVMBasicBlockRef before, block;

	if (pc >= e->func->start && pc < e->func->end && e->blocks[pc])
		return e->blocks[pc];
	before = LLVMGetInsertBlock(e->builder);
	block = sl_emit_new_block(e, "unreached");
	LLVMPositionBuilderAtEnd(e->builder, block);
	sl_instrument_unreached(e);
	sl_emit_return(e, sl_emit_const(e, 0));
	LLVMPositionBuilderAtEnd(e->builder, before);
	return block;
}

LLVMValueRef sl_emit_local(
	struct sl_emitter *e, LLVMTypeRef type, LLVMValueRef init, const char *name)
{
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder);
	LLVMValueRef end = LLVMGetBasicBlockTerminator(e->entry), local;

	if (end)
		LLVMPositionBuilderBefore(e->builder, end);
	local = LLVMBuildAlloca(e->builder, type, name);
	if (init)
		LLVMBuildStore(e->builder, init, local);
	LLVMPositionBuilderAtEnd(e->builder, before);
	return local;
}

LLVMValueRef sl_emit_unlikely(struct sl_emitter *e, LLVMValueRef cond)
{
	unsigned id = LLVMLookupIntrinsicID("llvm.expect", strlen("llvm.expect"));
	LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->module, id, &e->i1, 1);
	LLVMValueRef args[] = { cond, LLVMConstInt(e->i1, 0, false) };

	return LLVMBuildCall2(
		e->builder, LLVMIntrinsicGetType(e->context, id, &e->i1, 1), fn, args, 2, "");
}

void sl_emit_fail(struct sl_emitter *e, const char *why)
{
	if (!e->error)
		sl_log(SL_LOG_ERROR, "jit: program %s, instruction %u: %s", e->prog->name, e->pc,
			why);
	e->error = -EIO;
}

static bool is_seen(const struct sl_emitter *e, int64_t pc)
{
	return pc >= e->func->start && pc < e->func->end &&
	       e->facts->insns[pc].flags & SL_INSN_SEEN;
}

static void start_block(struct sl_emitter *e, int64_t pc)
{
	if (is_seen(e, pc) && !e->blocks[pc])
		e->blocks[pc] = sl_emit_new_block(e, "");
}

/* Blocks start where jumps lead to and after them. */
static void find_blocks(struct sl_emitter *e)
{
	start_block(e, e->func->start);
	for (uint32_t pc = e->func->start; pc < e->func->end; pc++) {
		const struct bpf_insn *insn = &e->prog->insns[pc];
		unsigned class = BPF_CLASS(insn->code), op = BPF_OP(insn->code);

		if (!is_seen(e, pc) || (class != BPF_JMP && class != BPF_JMP32) || op == BPF_CALL)
			continue;
		if (op != BPF_EXIT)
			start_block(e, sl_emit_jump_target(insn, pc));
		start_block(e, (int64_t)pc + 1);
	}
}

static void emit_insn(struct sl_emitter *e, uint32_t pc)
{
	e->pc = pc;
	e->insn = &e->prog->insns[pc];
	e->fact = &e->facts->insns[pc];
	e->row = sl_opcode_of(e->insn->code);
	if (!e->row || e->insn->dst_reg >= SL_EMIT_REGS || e->insn->src_reg >= SL_EMIT_REGS) {
		sl_emit_fail(e, "unknown instruction");
		return;
	}
	e->row->emit(e);
}

static void emit_body(struct sl_emitter *e)
{
	bool in_block = false;

	for (uint32_t pc = e->func->start; pc < e->func->end && !e->error; pc++) {
		LLVMBasicBlockRef block = e->blocks[pc];

		if (block) {
			if (in_block)
				LLVMBuildBr(e->builder, block);
			LLVMPositionBuilderAtEnd(e->builder, block);
			in_block = true;
		}
		if (!in_block || !is_seen(e, pc))
			continue;
		e->ended = false;
		emit_insn(e, pc);
		in_block = !e->ended;
		if (e->insn->code == (BPF_LD | BPF_IMM | BPF_DW))
			pc++;
	}
	/* A helper that never returns may be last; nothing else gets here. */
	if (in_block && !e->error) {
		sl_instrument_leave(e);
		sl_emit_return(e, sl_emit_const(e, 0));
	}
}

static uint32_t deepest(const struct sl_reg_fact *fact, int64_t off, uint32_t depth)
{
	int64_t at = fact->off + off;

	if (fact->kind != SL_MEM_STACK || !fact->own_frame || !fact->const_off)
		return depth;
	return at < -(int64_t)depth && at >= -MAX_FRAME ? (uint32_t)-at : depth;
}

/* Whatever is addressed must be in the frame: a slot outside it would be someone else's memory. */
static uint32_t frame_bytes(const struct sl_emitter *e)
{
	uint32_t depth = e->func->stack_bytes;

	for (uint32_t pc = e->func->start; pc < e->func->end; pc++) {
		const struct sl_insn_fact *fact = &e->facts->insns[pc];
		const struct sl_call_fact *call;

		depth = deepest(&fact->base, e->prog->insns[pc].off, depth);
		if (fact->call >= e->facts->call_count)
			continue;
		call = &e->facts->calls[fact->call];
		for (unsigned i = 0; i < sl_array_size(call->args); i++)
			depth = deepest(&call->args[i], 0, depth);
	}
	return sl_round_up(depth, 16u);
}

static void emit_frame(struct sl_emitter *e)
{
	LLVMBuilderRef b = e->builder;
	LLVMTypeRef type;
	LLVMValueRef at, end;

	e->stack = NULL;
	e->stack_bytes = frame_bytes(e);
	if (!e->stack_bytes) {
		sl_emit_set(e, BPF_REG_10, sl_emit_const(e, 0));
		return;
	}
	type = LLVMArrayType2(e->i8, e->stack_bytes);
	e->stack = LLVMBuildAlloca(b, type, "frame");
	LLVMSetAlignment(e->stack, 16);
	if (e->func->stack_uninit_read)
		LLVMBuildMemSet(b, e->stack, LLVMConstInt(e->i8, 0, false),
			sl_emit_const(e, e->stack_bytes), 16);
	end = sl_emit_const(e, e->stack_bytes);
	at = LLVMBuildInBoundsGEP2(b, e->i8, e->stack, &end, 1, "");
	sl_emit_set(e, BPF_REG_10, LLVMBuildPtrToInt(b, at, e->i64, ""));
}

static void emit_registers(struct sl_emitter *e)
{
	char name[8];

	for (unsigned i = 0; i < SL_EMIT_REGS; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		e->regs[i] = LLVMBuildAlloca(e->builder, e->i64, name);
	}
	if (e->is_main) {
		sl_emit_set(e, BPF_REG_1, LLVMBuildPtrToInt(e->builder, e->ctx, e->i64, ""));
		if (e->shares_tail_calls)
			sl_emit_ctx_store(
				e, offsetof(struct sl_ctx, tail_calls), LLVMGetParam(e->fn, 1));
		return;
	}
	for (unsigned i = 1; i <= 5; i++)
		sl_emit_set(e, i, LLVMGetParam(e->fn, i));
}

static void emit_function(struct sl_emitter *e, unsigned index)
{
	e->func = &e->facts->funcs[index];
	e->is_main = index == 0;
	e->fn = e->funcs[index];
	e->ctx = LLVMGetParam(e->fn, 0);
	e->may_goto = NULL;
	e->entry = sl_emit_new_block(e, "entry");
	LLVMPositionBuilderAtEnd(e->builder, e->entry);
	emit_registers(e);
	emit_frame(e);
	sl_instrument_enter(e);
	find_blocks(e);
	LLVMBuildBr(e->builder, sl_emit_block_at(e, e->func->start));
	emit_body(e);
}

static void add_attribute(
	struct sl_emitter *e, LLVMValueRef fn, unsigned at, const char *name, uint64_t value)
{
	unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));

	LLVMAddAttributeAtIndex(fn, at, LLVMCreateEnumAttribute(e->context, kind, value));
}

static void declare_functions(struct sl_emitter *e)
{
	char name[32];

	for (unsigned i = 0; i < e->facts->func_count; i++) {
		LLVMValueRef fn;

		snprintf(name, sizeof(name), i ? "sl_program_%u" : "sl_program", i);
		fn = LLVMAddFunction(e->module, name, sl_emit_func_type(e, i));
		if (i)
			LLVMSetLinkage(fn, LLVMInternalLinkage);
		add_attribute(e, fn, LLVMAttributeFunctionIndex, "nounwind", 0);
		/* A timer's callback has no context. */
		if (!e->facts->funcs[i].is_callback)
			add_attribute(e, fn, 1, "dereferenceable", sizeof(struct sl_ctx));
		/*
		 * Whatever else points into the context comes from this parameter, so that a field
		 * that was loaded stays loaded over stores elsewhere. Subprograms may get the
		 * context as an argument, too.
		 */
		if (!i)
			add_attribute(e, fn, 1, "noalias", 0);
		add_attribute(e, fn, 1, "align", _Alignof(struct sl_ctx));
		e->funcs[i] = fn;
		if (i && e->facts->funcs[i].has_tail_call)
			e->shares_tail_calls = true;
	}
}

static void init_types(struct sl_emitter *e, LLVMContextRef context)
{
	LLVMTypeRef params[6], result[2];

	e->context = context;
	e->i1 = LLVMInt1TypeInContext(context);
	e->i8 = LLVMInt8TypeInContext(context);
	e->i16 = LLVMInt16TypeInContext(context);
	e->i32 = LLVMInt32TypeInContext(context);
	e->i64 = LLVMInt64TypeInContext(context);
	e->ptr = LLVMPointerTypeInContext(context, 0);
	e->void_type = LLVMVoidTypeInContext(context);
	params[0] = e->ptr;
	for (unsigned i = 1; i < sl_array_size(params); i++)
		params[i] = e->i64;
	e->prog_type = LLVMFunctionType(e->i64, params, 2, false);
	e->func_type = LLVMFunctionType(e->i64, params, 6, false);
	result[0] = e->i64;
	result[1] = e->i1;
	e->throw_result = LLVMStructTypeInContext(context, result, 2, false);
	e->throw_type = LLVMFunctionType(e->throw_result, params, 6, false);
}

int sl_emit_program(struct sl_emitter *e, const struct sl_prog *prog, LLVMContextRef context)
{
	memset(e, 0, sizeof(*e));
	e->prog = prog;
	e->facts = prog->facts;
	e->checks = sl_instrument_wanted();
	e->funcs = calloc(e->facts->func_count, sizeof(*e->funcs));
	e->map_descs = calloc(prog->used_map_count + 1, sizeof(*e->map_descs));
	e->blocks = calloc(prog->insn_count, sizeof(*e->blocks));
	if (!e->funcs || !e->map_descs || !e->blocks)
		return -ENOMEM;
	init_types(e, context);
	e->module = LLVMModuleCreateWithNameInContext(prog->name[0] ? prog->name : "prog", context);
	e->builder = LLVMCreateBuilderInContext(context);
	sl_emit_memory_init(e);
	declare_functions(e);
	for (unsigned i = 0; i < e->facts->func_count && !e->error; i++)
		emit_function(e, i);
	return e->error;
}

void sl_emit_done(struct sl_emitter *e)
{
	if (e->builder)
		LLVMDisposeBuilder(e->builder);
	free(e->funcs);
	free(e->map_descs);
	free(e->blocks);
	free(e->natives);
}
