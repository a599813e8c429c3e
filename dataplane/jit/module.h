#pragma once

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#include "defs.h"

struct sl_emitter;
struct sl_code;
struct sl_prog;

/* Names of a module's entry functions. */
#define SL_ENTRY_NAME_BYTES 40
struct sl_entries {
	char run[SL_ENTRY_NAME_BYTES];
	char burst[SL_ENTRY_NAME_BYTES]; /* empty without */
};

/* What happens to an emitted module, in this order. All return -EIO after one log line. */

/*
 * runtime.c: links in what the module calls of the runtime (maps, helpers, entries), which is
 * embedded as bitcode, and binds the rest to native functions. Afterwards only the entries are
 * visible from outside, under names of their own; all modules share one name space.
 */
int sl_runtime_link(
	struct sl_emitter *e, LLVMTargetMachineRef target, struct sl_entries *ret_entries);

/*
 * codegen.c: for this machine's CPU. A target machine belongs to one compilation at a time; they are
 * dear and kept for the next one.
 */
int sl_codegen_get_target(LLVMTargetMachineRef *ret_target);
void sl_codegen_put_target(LLVMTargetMachineRef target);
int sl_codegen_optimize(
	LLVMModuleRef module, LLVMTargetMachineRef target, unsigned insn_count, bool has_loops);
int sl_codegen_object(LLVMModuleRef module, LLVMTargetMachineRef target, unsigned insn_count,
	LLVMMemoryBufferRef *ret_object);

/* load.c: takes the object over, also on failure. */
int sl_load_object(
	LLVMMemoryBufferRef object, const struct sl_entries *entries, struct sl_code **ret_code);
void sl_load_free(struct sl_code *code);

/* dump.c: what SLUICE_DUMP asks for ("ir", "opt", "asm", "obj") goes into SLUICE_DUMP_DIR. */
bool sl_dump_wanted(const char *what);
void sl_dump_ir(const struct sl_prog *prog, const char *what, LLVMModuleRef module);
void sl_dump_asm(const struct sl_prog *prog, LLVMModuleRef module, LLVMTargetMachineRef target);
void sl_dump_object(const struct sl_prog *prog, LLVMMemoryBufferRef object);
