#include "module.h"

#include <errno.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Object.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "logging.h"
#include "prog_layout.h"

/*
 * One ORC session for the process: it places objects into executable memory and binds what is left
 * to bind (memcpy and the like). A resource tracker per program frees its memory.
 */
static LLVMOrcLLJITRef jit;
static pthread_once_t jit_once = PTHREAD_ONCE_INIT;

struct loaded_code {
	struct sl_code code;
	LLVMOrcResourceTrackerRef tracker;
};

static int fail(LLVMErrorRef error)
{
	char *message = LLVMGetErrorMessage(error);

	sl_log(SL_LOG_ERROR, "jit: loader: %s", message);
	LLVMDisposeErrorMessage(message);
	return -EIO;
}

/* The same errors come back to the caller, who logs them in one line. */
static void ignore(void *arg, LLVMErrorRef error)
{
	LLVMConsumeError(error);
}

static void start_jit(void)
{
	LLVMOrcDefinitionGeneratorRef process;
	LLVMOrcLLJITRef made;
	LLVMErrorRef error = LLVMOrcCreateLLJIT(&made, NULL);

	if (error) {
		fail(error);
		return;
	}
	error = LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
		&process, LLVMOrcLLJITGetGlobalPrefix(made), NULL, NULL);
	if (error) {
		fail(error);
		LLVMConsumeError(LLVMOrcDisposeLLJIT(made));
		return;
	}
	LLVMOrcExecutionSessionSetErrorReporter(
		LLVMOrcLLJITGetExecutionSession(made), ignore, NULL);
	LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(made), process);
	jit = made;
}

/* Length of the code section, and where in it `symbol` is. */
static int measure_text(LLVMMemoryBufferRef object, const char *symbol, uint64_t *ret_len_bytes,
	uint64_t *ret_offset)
{
	char *message = NULL;
	LLVMBinaryRef binary = LLVMCreateBinary(object, NULL, &message);
	LLVMSectionIteratorRef section;
	LLVMSymbolIteratorRef it;
	int err = -EIO;

	if (!binary) {
		sl_log(SL_LOG_ERROR, "jit: loader: %s", message);
		LLVMDisposeMessage(message);
		return -EIO;
	}
	section = LLVMObjectFileCopySectionIterator(binary);
	it = LLVMObjectFileCopySymbolIterator(binary);
	for (; !LLVMObjectFileIsSymbolIteratorAtEnd(binary, it); LLVMMoveToNextSymbol(it)) {
		if (strcmp(LLVMGetSymbolName(it), symbol) != 0)
			continue;
		LLVMMoveToContainingSection(section, it);
		*ret_len_bytes = LLVMGetSectionSize(section);
		*ret_offset = LLVMGetSymbolAddress(it);
		err = 0;
		break;
	}
	LLVMDisposeSymbolIterator(it);
	LLVMDisposeSectionIterator(section);
	LLVMDisposeBinary(binary);
	return err;
}

static int look_up(const char *name, LLVMOrcExecutorAddress *ret_address)
{
	LLVMErrorRef error = LLVMOrcLLJITLookup(jit, ret_address, name);

	return error ? fail(error) : 0;
}

static int find_entries(struct loaded_code *loaded, const struct sl_entries *entries)
{
	LLVMOrcExecutorAddress run, burst = 0;
	int err = look_up(entries->run, &run);

	if (!err && entries->burst[0])
		err = look_up(entries->burst, &burst);
	if (err)
		return err;
	loaded->code.run = (sl_prog_fn)run;
	loaded->code.burst = (sl_burst_fn)burst;
	return 0;
}

int sl_load_object(
	LLVMMemoryBufferRef object, const struct sl_entries *entries, struct sl_code **ret_code)
{
	struct loaded_code *loaded = calloc(1, sizeof(*loaded));
	LLVMOrcJITDylibRef dylib;
	LLVMErrorRef error;
	uint64_t len_bytes, offset;
	int err = loaded ? 0 : -ENOMEM;

	pthread_once(&jit_once, start_jit);
	if (!err && !jit)
		err = -EIO;
	if (!err)
		err = measure_text(object, entries->run, &len_bytes, &offset);
	if (err) {
		LLVMDisposeMemoryBuffer(object);
		free(loaded);
		return err;
	}
	dylib = LLVMOrcLLJITGetMainJITDylib(jit);
	loaded->tracker = LLVMOrcJITDylibCreateResourceTracker(dylib);
	error = LLVMOrcLLJITAddObjectFileWithRT(jit, loaded->tracker, object);
	err = error ? fail(error) : find_entries(loaded, entries);
	if (err) {
		sl_load_free(&loaded->code);
		return err;
	}
	loaded->code.text = (const char *)loaded->code.run - offset;
	loaded->code.text_len_bytes = len_bytes;
	*ret_code = &loaded->code;
	return 0;
}

void sl_load_free(struct sl_code *code)
{
	struct loaded_code *loaded = sl_container_of(code, struct loaded_code, code);
	LLVMOrcExecutionSessionRef session = LLVMOrcLLJITGetExecutionSession(jit);
	LLVMErrorRef error = LLVMOrcResourceTrackerRemove(loaded->tracker);

	if (error)
		fail(error);
	LLVMOrcReleaseResourceTracker(loaded->tracker);
	LLVMOrcSymbolStringPoolClearDeadEntries(
		LLVMOrcExecutionSessionGetSymbolStringPool(session));
	free(loaded);
}
