#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/bpf.h>

#include "api.h"
#include "daemon.h"
#include "remote.h"
#include "verb.h"

static const char help[] =
	"Usage: sluice prog dump ir PROG\n"
	"       sluice prog dump xlated|jited PROG [ARGUMENTS OF BPFTOOL]\n"
	"\n"
	"Shows what one of the daemon's programs is made of. PROG is 'id N', 'pinned PATH' or 'name NAME'\n"
	"(the word 'dump ir' may stand behind it, too: 'sluice prog dump id 7 ir').\n"
	"\n"
	"  ir       LLVM's intermediate representation after optimisation, from which the machine code\n"
	"           is made: maps and helpers are inlined. It is compiled anew to be shown.\n"
	"  xlated   the instructions, by bpftool\n"
	"  jited    the machine code, by bpftool\n"
	"\n"
	"'sluice run -- bpftool prog ...' does the rest: list, show, pin, attach, run, profile.\n"
	"\n"
	"Exit status: 0; 1 for a failure; 2 for wrong arguments.\n";

static long call_bpf(int cmd, union bpf_attr *attr)
{
	long ret = sl_api_daemon.bpf(cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : ret;
}

static int fd_by_id(uint32_t id)
{
	union bpf_attr attr = { .prog_id = id };

	return (int)call_bpf(BPF_PROG_GET_FD_BY_ID, &attr);
}

static bool is_named(int fd, const char *name)
{
	struct bpf_prog_info info = { 0 };
	union bpf_attr attr = { 0 };

	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	return call_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0 &&
	       strncmp(info.name, name, sizeof(info.name) - 1) == 0;
}

/* -ENOTUNIQ when there are several. */
static int fd_by_name(const char *name)
{
	union bpf_attr attr = { 0 };
	int found = -ENOENT;

	while (call_bpf(BPF_PROG_GET_NEXT_ID, &attr) == 0) {
		int fd = fd_by_id(attr.next_id);

		attr.start_id = attr.next_id;
		if (fd < 0)
			continue;
		if (!is_named(fd, name)) {
			close(fd);
		} else if (found >= 0) {
			close(fd);
			close(found);
			return -ENOTUNIQ;
		} else {
			found = fd;
		}
	}
	return found;
}

static int fd_by_path(const char *path)
{
	union bpf_attr attr = { 0 };

	attr.pathname = (uintptr_t)path;
	return (int)call_bpf(BPF_OBJ_GET, &attr);
}

/* The descriptor; -EINVAL for words that name nothing. */
static int find_prog(const char *kind, const char *value)
{
	char *end;
	unsigned long id;

	if (strcmp(kind, "pinned") == 0)
		return fd_by_path(value);
	if (strcmp(kind, "name") == 0)
		return fd_by_name(value);
	id = strtoul(value, &end, 10);
	if (strcmp(kind, "id") != 0 || end == value || *end || *value == '-' || id > UINT32_MAX)
		return -EINVAL;
	return fd_by_id((uint32_t)id);
}

static int copy(int fd)
{
	char buffer[65536];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		if (fwrite(buffer, 1, (size_t)n, stdout) != (size_t)n)
			break;
	if (n != 0 || fflush(stdout) != 0)
		return sl_cli_fail("prog: cannot copy the text: %s", strerror(errno));
	return 0;
}

static int dump_ir(const char *kind, const char *value)
{
	struct json_object *params = json_object_new_object();
	struct sl_daemon_fds fds = { .count = 0 };
	char reason[SL_DAEMON_REASON];
	int prog = find_prog(kind, value), err, status;

	if (prog == -EINVAL)
		status = sl_cli_usage("prog: '%s %s' is not a program", kind, value);
	else if (prog == -ENOTUNIQ)
		status = sl_cli_fail("prog: several programs are named %s", value);
	else
		status = prog < 0 ? sl_cli_fail("prog: no program %s %s: %s", kind, value,
					    strerror(-prog))
				  : 0;
	if (status) {
		json_object_put(params);
		return status;
	}
	json_object_object_add(params, "prog_fd", json_object_new_int(prog));
	err = sl_daemon_call("prog.ir", params, NULL, NULL, &fds, reason);
	close(prog);
	if (err || fds.count != 1)
		return sl_cli_fail("prog: %s", err ? reason : "the daemon's answer makes no sense");
	status = copy(fds.fds[0]);
	close(fds.fds[0]);
	return status;
}

/* bpftool knows how to print them. */
static int dump_by_bpftool(int argc, char **argv)
{
	char **args = calloc((size_t)argc + 4, sizeof(*args));
	int status;

	if (!args)
		return sl_cli_fail("prog: %s", strerror(ENOMEM));
	args[0] = "--";
	args[1] = access("/usr/sbin/bpftool", X_OK) == 0 ? "/usr/sbin/bpftool" : "bpftool";
	args[2] = "prog";
	for (int i = 0; i < argc; i++)
		args[3 + i] = argv[i];
	/* Does not come back when it could be started. */
	status = sl_cmd_run(argc + 3, args);
	free(args);
	return status;
}

static bool is_form(const char *word)
{
	return strcmp(word, "ir") == 0 || strcmp(word, "xlated") == 0 || strcmp(word, "jited") == 0;
}

/* dump FORM KIND VALUE ..., or dump KIND VALUE FORM. */
int sl_cmd_prog(int argc, char **argv)
{
	char *ordered[4];

	if (argc >= 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
		fputs(help, stdout);
		return 0;
	}
	if (argc < 1)
		return sl_cli_usage("prog: no command given (see 'sluice prog --help')");
	if (strcmp(argv[0], "dump") != 0)
		return sl_cli_usage(
			"prog: unknown command '%s' (see 'sluice prog --help')", argv[0]);
	if (argc == 4 && !is_form(argv[1]) && is_form(argv[3])) {
		ordered[0] = argv[0];
		ordered[1] = argv[3];
		ordered[2] = argv[1];
		ordered[3] = argv[2];
		argv = ordered;
	}
	if (argc < 4 || !is_form(argv[1]))
		return sl_cli_usage(
			"prog: not 'dump ir|xlated|jited PROG' (see 'sluice prog --help')");
	if (strcmp(argv[1], "ir") != 0)
		return dump_by_bpftool(argc, argv);
	if (argc > 4)
		return sl_cli_usage("prog: unexpected argument '%s'", argv[4]);
	return dump_ir(argv[2], argv[3]);
}
