#include "module.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "logging.h"
#include "prog.h"

bool sl_dump_wanted(const char *what)
{
	const char *list = getenv("SLUICE_DUMP");
	size_t len = strlen(what);

	while (list) {
		if (strncmp(list, what, len) == 0 && (list[len] == ',' || !list[len]))
			return true;
		list = strchr(list, ',');
		list = list ? list + 1 : NULL;
	}
	return false;
}

static void dump_path(const struct sl_prog *prog, const char *suffix, char ret_path[PATH_MAX])
{
	const char *dir = getenv("SLUICE_DUMP_DIR");
	char tag[2 * sizeof(prog->tag) + 1];

	for (size_t i = 0; i < sizeof(prog->tag); i++)
		snprintf(tag + 2 * i, 3, "%02x", prog->tag[i]);
	snprintf(ret_path, PATH_MAX, "%s/prog_%.*s_%s%s", dir ? dir : ".", (int)sizeof(prog->name),
		prog->name, tag, suffix);
}

static void complain(const char *path, char *message)
{
	sl_log(SL_LOG_WARN, "jit: cannot dump to %s: %s", path, message ? message : "write error");
	LLVMDisposeMessage(message);
}

void sl_dump_ir(const struct sl_prog *prog, const char *what, LLVMModuleRef module)
{
	char path[PATH_MAX], suffix[16], *message = NULL;

	if (!sl_dump_wanted(what))
		return;
	snprintf(suffix, sizeof(suffix), ".%s.ll", what);
	dump_path(prog, suffix, path);
	if (LLVMPrintModuleToFile(module, path, &message))
		complain(path, message);
}

/* Code generation changes the module: this works on a copy. */
void sl_dump_asm(const struct sl_prog *prog, LLVMModuleRef module, LLVMTargetMachineRef target)
{
	LLVMModuleRef copy;
	char path[PATH_MAX], *message = NULL;

	if (!sl_dump_wanted("asm"))
		return;
	copy = LLVMCloneModule(module);
	dump_path(prog, ".s", path);
	if (LLVMTargetMachineEmitToFile(target, copy, path, LLVMAssemblyFile, &message))
		complain(path, message);
	LLVMDisposeModule(copy);
}

void sl_dump_object(const struct sl_prog *prog, LLVMMemoryBufferRef object)
{
	size_t len = LLVMGetBufferSize(object);
	char path[PATH_MAX];
	FILE *file;
	bool ok;

	if (!sl_dump_wanted("obj"))
		return;
	dump_path(prog, ".o", path);
	file = fopen(path, "we");
	ok = file && fwrite(LLVMGetBufferStart(object), 1, len, file) == len;
	if (file)
		ok = fclose(file) == 0 && ok;
	if (!ok)
		complain(path, NULL);
}
