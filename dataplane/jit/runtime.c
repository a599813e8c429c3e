#include "module.h"

#include <errno.h>
#include <llvm-c/BitReader.h>
#include <llvm-c/Linker.h>
#include <stdio.h>
#include <string.h>

#include "emit.h"
#include "helper.h"
#include "logging.h"
#include "prog.h"
#include "traits.h"

/* runtime_blob.S */
extern const char sl_runtime_bc[], sl_runtime_bc_end[];

/* What burst_bc.c calls, and what it offers. */
#define PROGRAM "sl_program"
#define BURST_XDP "sl_burst_xdp"

/* Function bodies are read only when they are linked, and link.sh has seen to it which are. */
static int read_runtime(LLVMContextRef context, LLVMModuleRef *ret_module)
{
	LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRange(
		sl_runtime_bc, sl_runtime_bc_end - sl_runtime_bc, "runtime", false);

	if (!LLVMGetBitcodeModuleInContext2(context, buffer, ret_module))
		return 0;
	sl_log(SL_LOG_ERROR, "jit: the runtime's bitcode is unreadable");
	return -EIO;
}

static uint32_t traits_of(const struct sl_facts *facts)
{
	bool tail_calls = false;
	uint32_t traits = 0;

	for (unsigned i = 0; i < facts->func_count; i++)
		tail_calls |= facts->funcs[i].has_tail_call;
	if (facts->changes_packet || tail_calls)
		traits |= SL_TRAIT_MOVES_PACKET;
	if (facts->may_redirect || tail_calls)
		traits |= SL_TRAIT_REDIRECTS;
	return traits;
}

/* What the templates know of the program. */
static void define_traits(struct sl_emitter *e)
{
	LLVMValueRef var = LLVMAddGlobal(e->module, e->i32, "sl_program_traits");
	uint32_t traits = 0;

	for (unsigned i = 0; i < e->unit_count; i++)
		traits |= traits_of(e->units[i].prog->facts);
	LLVMSetInitializer(var, sl_emit_int(e, 32, traits));
	LLVMSetGlobalConstant(var, true);
}

/* What the emitter named, or what the helpers' files say about each other. */
static const void *native_address(const struct sl_emitter *e, const char *symbol)
{
	const struct sl_helper_symbol *symbols;
	unsigned count;

	for (unsigned i = 0; i < e->native_count; i++) {
		if (strcmp(e->natives[i].symbol, symbol) == 0)
			return e->natives[i].address;
	}
	symbols = sl_helper_symbols(&count);
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(symbols[i].name, symbol) == 0)
			return symbols[i].address;
	}
	return NULL;
}

/* Native code and data are called and read at their address: near or not, without a stub. */
static void bind_native(struct sl_emitter *e, LLVMValueRef global)
{
	const void *address = native_address(e, LLVMGetValueName(global));

	if (address)
		LLVMReplaceAllUsesWith(
			global, LLVMConstIntToPtr(sl_emit_const(e, (uintptr_t)address), e->ptr));
}

static void bind_natives(struct sl_emitter *e)
{
	LLVMValueRef global;

	for (global = LLVMGetFirstFunction(e->module); global;
		global = LLVMGetNextFunction(global)) {
		if (LLVMIsDeclaration(global) && !LLVMGetIntrinsicID(global))
			bind_native(e, global);
	}
	for (global = LLVMGetFirstGlobal(e->module); global; global = LLVMGetNextGlobal(global)) {
		if (LLVMIsDeclaration(global))
			bind_native(e, global);
	}
}

static void rename_entry(LLVMModuleRef module, const char *from, const char *to)
{
	LLVMValueRef fn = LLVMGetNamedFunction(module, from);

	LLVMSetValueName2(fn, to, strlen(to));
	LLVMSetLinkage(fn, LLVMExternalLinkage);
}

static void hide_all(LLVMModuleRef module)
{
	for (LLVMValueRef fn = LLVMGetFirstFunction(module); fn; fn = LLVMGetNextFunction(fn)) {
		if (!LLVMIsDeclaration(fn))
			LLVMSetLinkage(fn, LLVMInternalLinkage);
	}
	for (LLVMValueRef var = LLVMGetFirstGlobal(module); var; var = LLVMGetNextGlobal(var)) {
		if (!LLVMIsDeclaration(var))
			LLVMSetLinkage(var, LLVMInternalLinkage);
	}
}

static void set_target(LLVMModuleRef module, LLVMTargetMachineRef target, LLVMModuleRef runtime)
{
	LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(target);
	char *triple = LLVMGetTargetMachineTriple(target);

	LLVMSetModuleDataLayout(module, layout);
	LLVMSetTarget(module, triple);
	LLVMSetModuleDataLayout(runtime, layout);
	LLVMSetTarget(runtime, triple);
	LLVMDisposeMessage(triple);
	LLVMDisposeTargetData(layout);
}

int sl_runtime_link(
	struct sl_emitter *e, LLVMTargetMachineRef target, struct sl_entries *ret_entries)
{
	static unsigned serial; /* any thread, atomically */
	unsigned number = __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED);
	bool has_burst = e->prog->type == BPF_PROG_TYPE_XDP;
	LLVMTypeRef any = LLVMFunctionType(e->void_type, NULL, 0, false);
	LLVMModuleRef runtime;
	int err = read_runtime(e->context, &runtime);

	if (err)
		return err;
	set_target(e->module, target, runtime);
	if (has_burst) {
		define_traits(e);
		sl_emit_declare(e, BURST_XDP, any, NULL);
	}
	if (LLVMLinkModules2(e->module, runtime)) {
		sl_log(SL_LOG_ERROR, "jit: program %s does not link with the runtime",
			e->prog->name);
		return -EIO;
	}
	bind_natives(e);
	hide_all(e->module);
	memset(ret_entries, 0, sizeof(*ret_entries));
	snprintf(ret_entries->run, SL_ENTRY_NAME_BYTES, "sl_run_%u", number);
	rename_entry(e->module, PROGRAM, ret_entries->run);
	if (has_burst) {
		snprintf(ret_entries->burst, SL_ENTRY_NAME_BYTES, "sl_burst_%u", number);
		rename_entry(e->module, BURST_XDP, ret_entries->burst);
	}
	return 0;
}
