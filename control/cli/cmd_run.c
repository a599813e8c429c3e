#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "executable.h"
#include "supervisor.h"
#include "verb.h"

/* Where the preload libraries are, from the directory of this executable: built, installed. */
static const char *const library_dirs[] = { "../shim", SLUICE_LIBDIR_FROM_BINDIR };

static bool find_library(const char *name, char *path, size_t size)
{
	char self[PATH_MAX], candidate[2 * PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len <= 0)
		return false;
	self[len] = 0;
	*strrchr(self, '/') = 0;
	for (size_t i = 0; i < sizeof(library_dirs) / sizeof(library_dirs[0]); i++) {
		char resolved[PATH_MAX];

		snprintf(candidate, sizeof(candidate), "%s/%s/%s", self, library_dirs[i], name);
		if (!realpath(candidate, resolved))
			continue;
		snprintf(path, size, "%s", resolved);
		return true;
	}
	return false;
}

/* In front of what the user preloads already. */
static int preload(const char *library)
{
	const char *old = getenv("LD_PRELOAD");
	char *value;
	int err;

	if (!old || !*old)
		return setenv("LD_PRELOAD", library, 1);
	if (asprintf(&value, "%s:%s", library, old) < 0)
		return -1;
	err = setenv("LD_PRELOAD", value, 1);
	free(value);
	return err;
}

static int supervise(char *const *argv)
{
	const struct sl_supervisor_options options = { .argv = argv, .fail = sl_cli_fail };

	return sl_supervisor_run(&options);
}

static const char help[] =
	"Usage: sluice run [--local | --seccomp] [--] COMMAND [ARGUMENTS]\n"
	"\n"
	"Runs COMMAND, an unmodified program, and what it starts, with its bpf(2),\n"
	"perf_event_open(2) and rtnetlink answered by sluiced. See sluice-run(1).\n"
	"\n"
	"Options:\n"
	"  --local    by a data plane of its own, inside the process and without ports\n"
	"  --seccomp  by a supervisor: for programs that are statically linked or make\n"
	"             system calls without libc, as those in Go do\n"
	"  --help     print this text\n"
	"\n"
	"Exit status: that of COMMAND; 1 when there is no daemon, 2 for wrong arguments,\n"
	"126 when COMMAND cannot be run so, 127 when it is not found.\n";

int sl_cmd_run(int argc, char **argv)
{
	char library[PATH_MAX], command[PATH_MAX], reason[SL_DAEMON_REASON];
	const char *name;
	bool local = false, seccomp = false;
	int i, err;

	if (sl_cli_helps(argc, argv, help))
		return 0;
	for (i = 0; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		if (strcmp(argv[i], "--local") == 0)
			local = true;
		else if (strcmp(argv[i], "--seccomp") == 0)
			seccomp = true;
		else
			return sl_cli_usage("run: unknown option '%s'", argv[i]);
	}
	if (local && seccomp)
		return sl_cli_usage("run: --local and --seccomp exclude each other");
	if (i >= argc)
		return sl_cli_usage("run: no command given");
	if (!local && sl_daemon_call("daemon.info", NULL, NULL, NULL, NULL, reason) != 0)
		return sl_cli_fail("run: %s", reason);
	if (seccomp)
		return supervise(argv + i);
	name = local ? SLUICE_LOCAL_LIBRARY : SLUICE_LIBRARY;
	if (!find_library(name, library, sizeof(library)))
		return sl_cli_fail("run: %s is not where sluice expects it", name);
	/* The loader splits the list at these. */
	if (strpbrk(library, " :"))
		return sl_cli_fail("run: cannot preload '%s': blank or colon in its path", library);
	if (preload(library) != 0)
		return sl_cli_fail("run: %s", strerror(errno));
	/* It would run, and load into the kernel. */
	if (sl_executable_find(argv[i], command, sizeof(command)) &&
		sl_executable_is_static(command)) {
		sl_cli_fail("run: %s is statically linked: its bpf(2) cannot be caught%s", argv[i],
			local ? "" : " (try --seccomp)");
		return SL_EXIT_CANNOT_EXECUTE;
	}
	execvp(argv[i], argv + i);
	err = errno;
	sl_cli_fail("run: %s: %s", argv[i], strerror(err));
	return err == ENOENT ? SL_EXIT_NOT_FOUND : SL_EXIT_CANNOT_EXECUTE;
}
