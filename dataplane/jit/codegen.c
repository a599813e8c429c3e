#include "module.h"

#include <errno.h>
#include <llvm-c/Support.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <llvm/Config/llvm-config.h>
#include <pthread.h>
#include <stdio.h>

#include "logging.h"

/* The machine we run on, asked once. */
static struct {
	char *triple, *cpu, *features;
	LLVMTargetRef target;
	bool ok;
} host;
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

/*
 * The pass that moves AVX-512 masks to other registers takes time that grows with the square of a
 * block's length, half of all code generation for long programs, and finds nothing in ours. There
 * is no other switch for it, and an option that LLVM does not know would end the process: hence
 * the versions, which have been looked at.
 */
static void leave_out_passes(void)
{
#if defined(__x86_64__) && LLVM_VERSION_MAJOR >= 18 && LLVM_VERSION_MAJOR <= 20
	static const char *const args[] = { "sluice", "-disable-x86-domain-reassignment" };

	LLVMParseCommandLineOptions(sl_array_size(args), args, NULL);
#endif
}

/*
 * Loads from places that differ are faster one by one: many CPUs do a gather in microcode, or since
 * it had to be made safe, several times slower than that (Downfall). LLVM knows none of this of the
 * newest ones, and makes loops of map lookups into gathers.
 */
#ifdef __x86_64__
#define TUNING ",+prefer-no-gather,+prefer-no-scatter"
#else
#define TUNING ""
#endif

/* The caller owns the result; NULL when out of memory. */
static char *tuned_features(void)
{
	char *features = LLVMGetHostCPUFeatures(), *tuned = NULL;

	if (asprintf(&tuned, "%s" TUNING, features) < 0)
		tuned = NULL;
	LLVMDisposeMessage(features);
	return tuned;
}

static void find_host(void)
{
	char *message = NULL;

	if (LLVMInitializeNativeTarget() || LLVMInitializeNativeAsmPrinter() ||
		LLVMInitializeNativeAsmParser())
		return;
	leave_out_passes();
	host.triple = LLVMGetDefaultTargetTriple();
	host.cpu = LLVMGetHostCPUName();
	host.features = tuned_features();
	if (!host.features)
		return;
	if (LLVMGetTargetFromTriple(host.triple, &host.target, &message)) {
		sl_log(SL_LOG_ERROR, "jit: %s", message);
		LLVMDisposeMessage(message);
		return;
	}
	host.ok = true;
}

/* Idle target machines: as many as have compiled at one time, up to POOL. */
#define POOL 8
static LLVMTargetMachineRef idle[POOL];
static unsigned idle_count;
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;

int sl_codegen_get_target(LLVMTargetMachineRef *ret_target)
{
	LLVMTargetMachineRef target = NULL;

	pthread_once(&host_once, find_host);
	if (!host.ok)
		return -EIO;
	pthread_mutex_lock(&idle_lock);
	if (idle_count > 0)
		target = idle[--idle_count];
	pthread_mutex_unlock(&idle_lock);
	if (!target)
		target = LLVMCreateTargetMachine(host.target, host.triple, host.cpu, host.features,
			LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelSmall);
	if (!target)
		return -EIO;
	*ret_target = target;
	return 0;
}

void sl_codegen_put_target(LLVMTargetMachineRef target)
{
	pthread_mutex_lock(&idle_lock);
	if (idle_count < POOL) {
		idle[idle_count++] = target;
		target = NULL;
	}
	pthread_mutex_unlock(&idle_lock);
	if (target)
		LLVMDisposeTargetMachine(target);
}

/*
 * What of -O2 pays off for programs of this kind. The runtime's functions come optimised; the first
 * round makes SSA of the program's registers and stack, the next goes with inlining, from callees
 * to callers, and the rest works on what that brought together. Only loops are worth the passes
 * for loops, which are half of the time.
 */
#define INSTCOMBINE "instcombine<no-verify-fixpoint>"
#define FIRST "function<eager-inv>(lower-expect,sroa,early-cse,simplifycfg," INSTCOMBINE "),"
#define INLINE \
	"cgscc(inline,function<eager-inv>(sroa,early-cse<memssa>," INSTCOMBINE ",simplifycfg)),"
#define REST                                                                               \
	"globaldce,function<eager-inv>(jump-threading,correlated-propagation,simplifycfg," \
	"reassociate,"
#define LOOPS                                                                                \
	"loop-mssa(loop-rotate,licm)," INSTCOMBINE ",loop(indvars,loop-idiom,loop-deletion," \
	"loop-unroll-full),sroa,"
#define VALUES "gvn," INSTCOMBINE ",dse,"
#define LOOP_VECTORS "loop-vectorize,"
#define STRAIGHT_VECTORS "slp-vectorizer,"
#define LAST INSTCOMBINE ",simplifycfg<switch-to-lookup;sink-common-insts>)"

/* Vectors of unrolled loops: what they save of a checksum is not worth the time in long programs. */
#define MAX_STRAIGHT_VECTORS 512 /* instructions */

/* Loops stay loops in programs that have many: unrolled they take seconds. */
#define MAX_UNROLLED 8192 /* instructions */
#define LOOPS_KEPT "loop-mssa(loop-rotate,licm)," INSTCOMBINE ",loop(indvars,loop-deletion),sroa,"

static const char straight_pipeline[] = FIRST INLINE REST VALUES LAST;
static const char long_loop_pipeline[] = FIRST INLINE REST LOOPS VALUES LOOP_VECTORS LAST;
static const char kept_loop_pipeline[] = FIRST INLINE REST LOOPS_KEPT VALUES LAST;
static const char loop_pipeline[] =
	FIRST INLINE REST LOOPS VALUES LOOP_VECTORS STRAIGHT_VECTORS LAST;

/*
 * Beyond MAX_OPTIMIZED instructions only what makes SSA of registers and stack: the rest would take
 * seconds, and programs of this size are generated ones that nobody waits for at run time.
 */
#define MAX_OPTIMIZED 40000 /* instructions */

static const char huge_pipeline[] =
	"function<eager-inv>(sroa,early-cse,simplifycfg),always-inline,globaldce";

static const char *pipeline_for(unsigned insn_count, bool has_loops)
{
	if (insn_count > MAX_OPTIMIZED)
		return huge_pipeline;
	if (!has_loops)
		return straight_pipeline;
	if (insn_count > MAX_UNROLLED)
		return kept_loop_pipeline;
	return insn_count > MAX_STRAIGHT_VECTORS ? long_loop_pipeline : loop_pipeline;
}

int sl_codegen_optimize(
	LLVMModuleRef module, LLVMTargetMachineRef target, unsigned insn_count, bool has_loops)
{
	LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
	LLVMErrorRef error =
		LLVMRunPasses(module, pipeline_for(insn_count, has_loops), target, options);
	char *message;

	LLVMDisposePassBuilderOptions(options);
	if (!error)
		return 0;
	message = LLVMGetErrorMessage(error);
	sl_log(SL_LOG_ERROR, "jit: optimiser: %s", message);
	LLVMDisposeErrorMessage(message);
	return -EIO;
}

/*
 * The instruction selector and the register allocator take time that grows with the square of a
 * block's length: above this the quick ones, which are linear, generate the code.
 */
#define MAX_BLOCK 6000 /* LLVM instructions */

static bool has_long_block(LLVMModuleRef module)
{
	for (LLVMValueRef f = LLVMGetFirstFunction(module); f; f = LLVMGetNextFunction(f)) {
		for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b;
			b = LLVMGetNextBasicBlock(b)) {
			unsigned count = 0;

			for (LLVMValueRef i = LLVMGetFirstInstruction(b); i;
				i = LLVMGetNextInstruction(i))
				if (++count > MAX_BLOCK)
					return true;
		}
	}
	return false;
}

static int emit_object(
	LLVMModuleRef module, LLVMTargetMachineRef target, LLVMMemoryBufferRef *ret_object)
{
	char *message = NULL;

	if (!LLVMTargetMachineEmitToMemoryBuffer(
		    target, module, LLVMObjectFile, &message, ret_object))
		return 0;
	sl_log(SL_LOG_ERROR, "jit: code generator: %s", message);
	LLVMDisposeMessage(message);
	return -EIO;
}

int sl_codegen_object(LLVMModuleRef module, LLVMTargetMachineRef target, unsigned insn_count,
	LLVMMemoryBufferRef *ret_object)
{
	LLVMTargetMachineRef quick;
	int err;

	if (insn_count <= MAX_OPTIMIZED && !has_long_block(module))
		return emit_object(module, target, ret_object);
	quick = LLVMCreateTargetMachine(host.target, host.triple, host.cpu, host.features,
		LLVMCodeGenLevelNone, LLVMRelocPIC, LLVMCodeModelSmall);
	if (!quick)
		return -EIO;
	err = emit_object(module, quick, ret_object);
	LLVMDisposeTargetMachine(quick);
	return err;
}
