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

static void emit_function(struct sl_emitter *e, unsigned index, LLVMValueRef fn)
{
	e->func = &e->facts->funcs[index];
	e->is_main = e->unit == e->units && index == 0 && fn != e->main_callback;
	e->fn = fn;
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
	memset(&e->blocks[e->func->start], 0, (e->func->end - e->func->start) * sizeof(*e->blocks));
}

static void add_attribute(
	struct sl_emitter *e, LLVMValueRef fn, unsigned at, const char *name, uint64_t value)
{
	unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));

	LLVMAddAttributeAtIndex(fn, at, LLVMCreateEnumAttribute(e->context, kind, value));
}

static LLVMValueRef declare_function(struct sl_emitter *e, unsigned index)
{
	bool is_extension = e->unit != e->units, is_main = !is_extension && index == 0;
	LLVMValueRef fn;
	char name[48];

	if (is_main)
		snprintf(name, sizeof(name), "sl_program");
	else if (is_extension)
		snprintf(name, sizeof(name), "sl_extension_%u_%u", (unsigned)(e->unit - e->units),
			index);
	else
		snprintf(name, sizeof(name), "sl_program_%u", index);
	fn = LLVMAddFunction(e->module, name, sl_emit_func_type(e, index));
	if (!is_main)
		LLVMSetLinkage(fn, LLVMInternalLinkage);
	add_attribute(e, fn, LLVMAttributeFunctionIndex, "nounwind", 0);
	/* A timer's callback has no context. */
	if (!e->facts->funcs[index].is_callback)
		add_attribute(e, fn, 1, "dereferenceable", sizeof(struct sl_ctx));
	/*
	 * Whatever else points into the context comes from this parameter, so that a field that was
	 * loaded stays loaded over stores elsewhere. Subprograms may get the context as an
	 * argument, too.
	 */
	if (is_main)
		add_attribute(e, fn, 1, "noalias", 0);
	add_attribute(e, fn, 1, "align", _Alignof(struct sl_ctx));
	if (!is_main && e->facts->funcs[index].has_tail_call)
		e->shares_tail_calls = true;
	return fn;
}

/* From here on instructions are those of this unit. */
static void enter_unit(struct sl_emitter *e, unsigned index)
{
	e->unit = &e->units[index];
	e->prog = e->unit->prog;
	e->facts = e->prog->facts;
}

static void declare_functions(struct sl_emitter *e)
{
	for (unsigned unit = 0; unit < e->unit_count; unit++) {
		enter_unit(e, unit);
		for (unsigned i = 0; i < e->facts->func_count; i++)
			e->unit->funcs[i] = declare_function(e, i);
	}
}

/* The entry of a program whose main function is another's: R1 is the context. */
static void emit_extended_entry(struct sl_emitter *e, LLVMValueRef extension)
{
	LLVMValueRef fn = e->unit->funcs[0], args[6] = { LLVMGetParam(fn, 0) };

	e->is_main = true;
	e->fn = fn;
	e->ctx = args[0];
	LLVMPositionBuilderAtEnd(e->builder, sl_emit_new_block(e, "entry"));
	if (e->shares_tail_calls)
		sl_emit_ctx_store(e, offsetof(struct sl_ctx, tail_calls), LLVMGetParam(fn, 1));
	args[1] = LLVMBuildPtrToInt(e->builder, e->ctx, e->i64, "");
	for (unsigned i = 2; i < sl_array_size(args); i++)
		args[i] = sl_emit_const(e, 0);
	LLVMBuildRet(e->builder,
		LLVMBuildCall2(e->builder, e->func_type, extension, args, sl_array_size(args), ""));
}

/* Calls of what is extended go to the extension; nothing is left then that calls the original. */
static void place_extensions(struct sl_emitter *e, struct sl_prog *const *extensions)
{
	unsigned unit = 1;

	enter_unit(e, 0);
	for (unsigned i = 0; extensions && i < e->facts->func_count; i++) {
		if (!extensions[i])
			continue;
		if (i == 0) {
			emit_extended_entry(e, e->units[unit].funcs[0]);
		} else {
			LLVMDeleteFunction(e->unit->funcs[i]);
			e->unit->funcs[i] = e->units[unit].funcs[0];
		}
		unit++;
	}
}

static void emit_functions(struct sl_emitter *e, struct sl_prog *const *extensions)
{
	for (unsigned unit = 0; unit < e->unit_count; unit++) {
		enter_unit(e, unit);
		for (unsigned i = 0; i < e->facts->func_count && !e->error; i++) {
			if (unit > 0 || !extensions || !extensions[i])
				emit_function(e, i, e->unit->funcs[i]);
		}
	}
	enter_unit(e, 0);
	if (e->main_callback && !e->error)
		emit_function(e, 0, e->main_callback);
}

/* Called as a program it has a context, as a callback three arguments: it is compiled twice. */
static void declare_main_callback(struct sl_emitter *e)
{
	const struct sl_func_fact *main_func;

	enter_unit(e, 0);
	main_func = &e->facts->funcs[0];
	if (!main_func->is_callback)
		return;
	if (main_func->may_throw) {
		sl_emit_fail(e, "a callback throws");
		return;
	}
	e->main_callback = LLVMAddFunction(e->module, "sl_program_callback", e->func_type);
	LLVMSetLinkage(e->main_callback, LLVMInternalLinkage);
	add_attribute(e, e->main_callback, LLVMAttributeFunctionIndex, "nounwind", 0);
	e->shares_tail_calls |= main_func->has_tail_call;
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

static int add_unit(struct sl_emitter *e, const struct sl_prog *prog, struct sl_map *const *maps,
	uint32_t count)
{
	struct sl_unit *unit = &e->units[e->unit_count++];

	*unit = (struct sl_unit){ .prog = prog, .maps = maps, .map_count = count };
	unit->funcs = calloc(prog->facts->func_count, sizeof(*unit->funcs));
	unit->map_descs = calloc(count + 1, sizeof(*unit->map_descs));
	return unit->funcs && unit->map_descs ? 0 : -ENOMEM;
}

static int add_units(struct sl_emitter *e, const struct sl_emit_source *source)
{
	const struct sl_prog *prog = source->prog;
	unsigned func_count = source->extensions ? prog->facts->func_count : 0;
	struct sl_map *const *maps = source->maps;
	uint32_t insns_max = prog->insn_count;
	int err;

	e->units = calloc(func_count + 1, sizeof(*e->units));
	if (!e->units)
		return -ENOMEM;
	err = maps ? add_unit(e, prog, maps, prog->facts->map_count)
		   : add_unit(e, prog, prog->used_maps, prog->used_map_count);
	for (unsigned i = 0; !err && i < func_count; i++) {
		const struct sl_prog *extension = source->extensions[i];
		const struct sl_unit *before = &e->units[e->unit_count - 1];

		if (!extension)
			continue;
		insns_max = sl_max(insns_max, extension->insn_count);
		err = add_unit(e, extension, before->maps + before->map_count,
			extension->facts->map_count);
	}
	e->blocks = calloc(insns_max, sizeof(*e->blocks));
	return err || e->blocks ? err : -ENOMEM;
}

int sl_emit_program(
	struct sl_emitter *e, const struct sl_emit_source *source, LLVMContextRef context)
{
	const struct sl_prog *prog = source->prog;
	int err;

	memset(e, 0, sizeof(*e));
	e->holder = source->holder;
	e->checks = sl_instrument_wanted();
	err = add_units(e, source);
	if (err)
		return err;
	init_types(e, context);
	e->module = LLVMModuleCreateWithNameInContext(prog->name[0] ? prog->name : "prog", context);
	e->builder = LLVMCreateBuilderInContext(context);
	sl_emit_memory_init(e);
	declare_functions(e);
	declare_main_callback(e);
	place_extensions(e, source->extensions);
	emit_functions(e, source->extensions);
	return e->error;
}

void sl_emit_done(struct sl_emitter *e)
{
	if (e->builder)
		LLVMDisposeBuilder(e->builder);
	for (unsigned i = 0; i < e->unit_count; i++) {
		free(e->units[i].funcs);
		free(e->units[i].map_descs);
	}
	free(e->units);
	free(e->blocks);
	free(e->natives);
}
