#include "jit.h"

#include <errno.h>
#include <llvm-c/Analysis.h>
#include <string.h>
#include <time.h>

#include "emit.h"
#include "logging.h"
#include "module.h"
#include "prog.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static int verify(const struct sl_prog *prog, LLVMModuleRef module)
{
	char *message = NULL;
	bool broken = LLVMVerifyModule(module, LLVMReturnStatusAction, &message);

	if (broken)
		sl_log(SL_LOG_ERROR, "jit: program %s: %s", prog->name, message);
	LLVMDisposeMessage(message);
	return broken ? -EIO : 0;
}

/* Whether anything reached jumps back. */
static bool jumps_back(const struct sl_prog *prog)
{
	for (uint32_t i = 0; i < prog->insn_count; i++) {
		unsigned class = BPF_CLASS(prog->insns[i].code), op = BPF_OP(prog->insns[i].code);

		if ((class == BPF_JMP || class == BPF_JMP32) && op != BPF_CALL && op != BPF_EXIT &&
			prog->facts->insns[i].flags & SL_INSN_SEEN &&
			sl_emit_jump_target(&prog->insns[i], i) <= i)
			return true;
	}
	return false;
}

/*
 * What the passes are chosen by. The code of an extension by itself never runs: it is made to know
 * that it can be, so the quick ones do.
 */
static void measure(const struct sl_emitter *e, uint32_t *ret_insn_count, bool *ret_has_loops)
{
	*ret_insn_count = 0;
	*ret_has_loops = false;
	for (unsigned i = 0; i < e->unit_count; i++) {
		*ret_insn_count += e->units[i].prog->insn_count;
		*ret_has_loops |= jumps_back(e->units[i].prog);
	}
	if (e->prog->type == BPF_PROG_TYPE_EXT)
		*ret_insn_count = UINT32_MAX;
}

/* When the phases ended. */
struct times {
	uint64_t start, emitted, linked, optimized;
};

/* Emit, link, optimise. */
static int make_module(struct sl_emitter *e, const struct sl_emit_source *source,
	LLVMContextRef context, LLVMTargetMachineRef target, struct sl_entries *ret_entries,
	uint32_t *ret_insn_count, struct times *ret_times)
{
	const struct sl_prog *prog = source->prog;
	bool has_loops;
	int err;

	ret_times->start = now_ns();
	err = sl_emit_program(e, source, context);
	if (err)
		return err;
	measure(e, ret_insn_count, &has_loops);
	sl_dump_ir(prog, "ir", e->module);
	err = verify(prog, e->module);
	ret_times->emitted = now_ns();
	if (!err)
		err = sl_runtime_link(e, target, ret_entries);
	ret_times->linked = now_ns();
	if (!err)
		err = sl_codegen_optimize(e->module, target, *ret_insn_count, has_loops);
	ret_times->optimized = now_ns();
	return err;
}

/* The same, then generate and load. */
static int compile(struct sl_emitter *e, const struct sl_emit_source *source,
	LLVMContextRef context, LLVMTargetMachineRef target, struct sl_code **ret_code)
{
	const struct sl_prog *prog = source->prog;
	LLVMMemoryBufferRef object;
	struct sl_entries entries;
	struct sl_code *code;
	struct times times;
	uint32_t insn_count;
	int err = make_module(e, source, context, target, &entries, &insn_count, &times);

	if (err)
		return err;
	sl_dump_ir(prog, "opt", e->module);
	sl_dump_asm(prog, e->module, target);
	err = sl_codegen_object(e->module, target, insn_count, &object);
	if (err)
		return err;
	sl_dump_object(prog, object);
	err = sl_load_object(object, &entries, &code);
	if (err)
		return err;
	code->emit_ns = times.emitted - times.start;
	code->link_ns = times.linked - times.emitted;
	code->optimize_ns = times.optimized - times.linked;
	code->codegen_ns = now_ns() - times.optimized;
	*ret_code = code;
	return 0;
}

static void log_times(const struct sl_prog *prog, const struct sl_code *code)
{
	sl_log(SL_LOG_DEBUG,
		"jit: program %s, %u instructions: %u bytes; emit %u us, link %u us, optimize %u us, "
		"generate %u us",
		prog->name, prog->insn_count, code->text_len_bytes,
		(unsigned)(code->emit_ns / 1000), (unsigned)(code->link_ns / 1000),
		(unsigned)(code->optimize_ns / 1000), (unsigned)(code->codegen_ns / 1000));
}

/* The optimised module as text. */
static int print_module(struct sl_emitter *e, const struct sl_emit_source *source,
	LLVMContextRef context, LLVMTargetMachineRef target, char **ret_text)
{
	struct sl_entries entries;
	struct times times;
	uint32_t insn_count;
	char *text;
	int err = make_module(e, source, context, target, &entries, &insn_count, &times);

	if (err)
		return err;
	text = LLVMPrintModuleToString(e->module);
	*ret_text = strdup(text);
	LLVMDisposeMessage(text);
	return *ret_text ? 0 : -ENOMEM;
}

/* Into code, or (ret_code NULL) into text. */
static int compile_source(
	const struct sl_emit_source *source, struct sl_code **ret_code, char **ret_text)
{
	LLVMContextRef context;
	LLVMTargetMachineRef target;
	struct sl_emitter e;
	int err = sl_codegen_get_target(&target);

	if (err)
		return err;
	context = LLVMContextCreate();
	err = ret_code ? compile(&e, source, context, target, ret_code)
		       : print_module(&e, source, context, target, ret_text);
	sl_emit_done(&e);
	if (e.module)
		LLVMDisposeModule(e.module);
	LLVMContextDispose(context);
	sl_codegen_put_target(target);
	if (!err && ret_code)
		log_times(source->prog, *ret_code);
	return err;
}

int sl_jit_compile(struct sl_prog *prog)
{
	const struct sl_emit_source source = { .prog = prog, .holder = prog };
	struct sl_code *code;
	int err = compile_source(&source, &code, NULL);

	if (err)
		return err;
	prog->code = prog->own_code = code;
	return 0;
}

int sl_jit_link(
	const struct sl_prog *prog, struct sl_prog *const *extensions, struct sl_prog *linked)
{
	const struct sl_emit_source source = {
		.prog = prog,
		.extensions = extensions,
		.maps = linked->used_maps,
		.holder = linked,
	};
	struct sl_code *code;
	int err = compile_source(&source, &code, NULL);

	if (err)
		return err;
	linked->code = linked->own_code = code;
	return 0;
}

int sl_jit_print(const struct sl_prog *prog, char **ret_text)
{
	const struct sl_emit_source source = { .prog = prog, .holder = prog };
	int err;

	sl_prog_lock_maps();
	err = compile_source(&source, NULL, ret_text);
	sl_prog_unlock_maps();
	return err;
}

void sl_jit_free(struct sl_code *code)
{
	if (code)
		sl_load_free(code);
}
