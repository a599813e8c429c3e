#include "module.h"

#include <errno.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>

#include "logging.h"

/* The machine we run on, asked once. */
static struct {
	char *triple, *cpu, *features;
	LLVMTargetRef target;
	bool ok;
} host;
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

static void find_host(void)
{
	char *message = NULL;

	if (LLVMInitializeNativeTarget() || LLVMInitializeNativeAsmPrinter() ||
		LLVMInitializeNativeAsmParser())
		return;
	host.triple = LLVMGetDefaultTargetTriple();
	host.cpu = LLVMGetHostCPUName();
	host.features = LLVMGetHostCPUFeatures();
	if (LLVMGetTargetFromTriple(host.triple, &host.target, &message)) {
		sl_log(SL_LOG_ERROR, "jit: %s", message);
		LLVMDisposeMessage(message);
		return;
	}
	host.ok = true;
}

int sl_codegen_target(LLVMTargetMachineRef *ret_target)
{
	pthread_once(&host_once, find_host);
	if (!host.ok)
		return -EIO;
	*ret_target = LLVMCreateTargetMachine(host.target, host.triple, host.cpu, host.features,
		LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelJITDefault);
	return *ret_target ? 0 : -EIO;
}

/*
 * What -O2 does and pays off for programs of this kind. The runtime's functions come optimised;
 * the first round makes SSA of the program's registers and stack, the second works on what
 * inlining brought together.
 */
static const char pipeline[] =
	"function<eager-inv>(sroa,early-cse,simplifycfg,instcombine<no-verify-fixpoint>,"
	"simplifycfg),"
	"cgscc(inline),globaldce,"
	"function<eager-inv>(sroa,early-cse<memssa>,simplifycfg,instcombine<no-verify-fixpoint>,"
	"jump-threading,correlated-propagation,simplifycfg,reassociate,"
	"loop-mssa(loop-simplifycfg,licm,loop-rotate,licm),simplifycfg,"
	"instcombine<no-verify-fixpoint>,loop(indvars,loop-deletion,loop-unroll-full),sroa,"
	"gvn,sccp,instcombine<no-verify-fixpoint>,dse,adce,"
	"loop-vectorize,slp-vectorizer,vector-combine,loop-unroll<O2>,"
	"instcombine<no-verify-fixpoint>,simplifycfg<switch-to-lookup;sink-common-insts>)";

int sl_codegen_optimize(LLVMModuleRef module, LLVMTargetMachineRef target, unsigned insn_count)
{
	LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
	LLVMErrorRef error = LLVMRunPasses(module, pipeline, target, options);
	char *message;

	LLVMDisposePassBuilderOptions(options);
	if (!error)
		return 0;
	message = LLVMGetErrorMessage(error);
	sl_log(SL_LOG_ERROR, "jit: optimiser: %s", message);
	LLVMDisposeErrorMessage(message);
	return -EIO;
}

int sl_codegen_object(
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
