#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "executable.h"
#include "map_options.h"
#include "verb.h"

static const char help[] =
	"Usage: sluice exec [--map [N=]MAP]... [--agent SOCKET] [OPTIONS] [--] [COMMAND...]\n"
	"\n"
	"Runs COMMAND (/bin/sh without one) with the descriptors of maps open, in the fashion\n"
	"of stdin, stdout and stderr. Its environment tells their numbers:\n"
	"\n"
	"  BPF_NUM_MAPS=COUNT\n"
	"  BPF_MAP0=FD, BPF_MAP1=FD, ...\n"
	"\n"
	"as 'tc exec bpf import' does. The number behind BPF_MAP is N, or without it the\n"
	"lowest free one in the order of the options; a map that an agent sent has the number\n"
	"that the author of its object file gave it. A map of --map is also there as\n"
	"BPF_MAP<its id>, where no other map has that number.\n"
	"\n"
	"COMMAND runs as under 'sluice run' where a map is Sluice's, so that its own bpf(2)\n"
	"reaches the map; a statically linked one runs as it is.\n"
	"\n"
	"MAP is 'name NAME' or NAME alone, 'id N', 'pinned PATH', or 'fd:N': see\n"
	"'sluice map --help', which is also the tool to read and write the maps with.\n"
	"\n"
	"Options:\n"
	"  --map [N=]MAP   open this map\n"
	"  --agent SOCKET  receive maps over a UNIX socket, as 'tc exec bpf import SOCKET'\n"
	"                  does: from 'sluice agent SOCKET', or from\n"
	"                  'tc filter ... bpf ... export SOCKET'\n"
	"  --wait SECONDS  how long to wait for them (default 10, 0: for ever)\n"
	"  --kernel        open maps of the running kernel instead of Sluice's\n"
	"\n"
	"Exit status: that of COMMAND; 1 when a map cannot be had, 2 for wrong arguments, 126\n"
	"and 127 when COMMAND cannot be run or is not there.\n"
	"\n"
	"Examples:\n"
	"  sluice exec --map flows -- sh -c 'sluice map dump fd:$BPF_MAP0'\n"
	"  sluice exec --map 7=pinned /sys/fs/bpf/routes -- ./routed\n"
	"  sluice exec --agent /run/maps.sock -- ./reader\n";

struct exec {
	struct sl_map_options options;
	const char *agent;
	long wait_s;
	struct sl_passed_maps maps;
};

/* What a signal must not leave behind. */
static const char *volatile bound_path;

static void unlink_and_die(int signal_number)
{
	if (bound_path)
		unlink(bound_path);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static void handle_signals(void (*handler)(int))
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct sigaction old;

		/* What nohup ignores stays ignored. */
		if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			signal(numbers[i], handler);
	}
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Another application may be at it: the name is free again when that one has got its maps. */
static int bind_in_turn(const char *path, long long deadline_ms)
{
	int fd;

	while ((fd = sl_map_socket_bind(path)) == -EADDRINUSE) {
		if (deadline_ms && now_ms() >= deadline_ms)
			break;
		usleep(10000);
	}
	return fd;
}

static int receive(struct exec *e)
{
	long long deadline_ms = e->wait_s ? now_ms() + e->wait_s * 1000LL : 0, left_ms = -1;
	int fd, err;

	handle_signals(unlink_and_die);
	fd = bind_in_turn(e->agent, deadline_ms);
	if (fd < 0)
		return sl_cli_fail("exec: %s: %s", e->agent, strerror(-fd));
	bound_path = e->agent;
	if (deadline_ms)
		left_ms = deadline_ms > now_ms() ? deadline_ms - now_ms() : 0;
	err = sl_map_socket_receive(fd, (int)left_ms, &e->maps);
	bound_path = NULL;
	unlink(e->agent);
	close(fd);
	handle_signals(SIG_DFL);
	if (err == -EAGAIN)
		return sl_cli_fail(
			"exec: %s: nobody sent maps in %ld seconds", e->agent, e->wait_s);
	if (err)
		return sl_cli_fail("exec: %s: %s", e->agent,
			err == -EPROTO ? "what came is no list of maps" : strerror(-err));
	return 0;
}

/* Those of a command around this one: their numbers would be mistaken for ours. */
static void clear_environment(void)
{
	extern char **environ;
	char name[32];

	for (char **v = environ; *v;) {
		size_t len = strcspn(*v, "=");

		if (strncmp(*v, "BPF_MAP", 7) != 0 || len <= 7 || len >= sizeof(name) ||
			strspn(*v + 7, "0123456789") != len - 7) {
			v++;
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int)len, *v);
		unsetenv(name);
		v = environ;
	}
}

static int set_variable(uint32_t number, int fd, bool replace)
{
	char name[32], value[16];

	snprintf(name, sizeof(name), "BPF_MAP%u", number);
	snprintf(value, sizeof(value), "%d", fd);
	return setenv(name, value, replace);
}

static uint32_t id_of(int fd)
{
	enum sl_client_target old = sl_client_use(sl_map_owner(fd));
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(fd, &info, &len);

	sl_client_use(old);
	return err ? 0 : info.id;
}

/* The descriptors as the command gets them: from 3 on, and open across exec. */
static int set_environment(struct exec *e, unsigned received)
{
	char count[16];

	clear_environment();
	for (unsigned i = 0; i < e->maps.count; i++) {
		int fd = fcntl(e->maps.fds[i], F_DUPFD, 3);

		if (fd < 0)
			return -errno;
		close(e->maps.fds[i]);
		e->maps.fds[i] = fd;
		if (set_variable(e->maps.ids[i], fd, true) != 0)
			return -errno;
	}
	for (unsigned i = received; i < e->maps.count; i++) {
		uint32_t id = id_of(e->maps.fds[i]);

		if (id && set_variable(id, e->maps.fds[i], false) != 0)
			return -errno;
	}
	snprintf(count, sizeof(count), "%u", e->maps.count);
	return setenv("BPF_NUM_MAPS", count, 1) ? -errno : 0;
}

/* Takes the options. 0, or an exit status, which is negative for one that ends well. */
static int take_options(struct exec *e, int *argc, char ***argv)
{
	while (*argc > 0 && (*argv)[0][0] == '-') {
		const char *name = *(*argv)++;
		char *end;

		--*argc;
		if (strcmp(name, "--") == 0)
			return 0;
		if (strcmp(name, "--help") == 0) {
			fputs(help, stdout);
			return -1;
		}
		if (strcmp(name, "--kernel") == 0) {
			sl_client_use(SL_CLIENT_KERNEL);
			continue;
		}
		if (strcmp(name, "--map") == 0) {
			int status = sl_map_options_take("exec", argc, argv, &e->options);

			if (status)
				return status;
			continue;
		}
		if (strcmp(name, "--agent") != 0 && strcmp(name, "--wait") != 0)
			return sl_cli_usage("exec: unknown option '%s'", name);
		if (*argc == 0)
			return sl_cli_usage("exec: nothing after '%s'", name);
		if (strcmp(name, "--agent") == 0) {
			e->agent = **argv;
		} else {
			e->wait_s = strtol(**argv, &end, 10);
			if (*end || end == **argv || e->wait_s < 0 || e->wait_s > 1000000)
				return sl_cli_usage("exec: '%s' is no time in seconds", **argv);
		}
		++*argv;
		--*argc;
	}
	return 0;
}

/* Whether the command's own bpf(2) must reach Sluice. */
static bool needs_run(const struct exec *e, const char *command)
{
	char path[PATH_MAX];

	/* A script's shell may well be static: what it starts then speaks for itself. */
	if (sl_executable_find(command, path, sizeof(path)) && sl_executable_is_static(path))
		return false;
	for (unsigned i = 0; i < e->maps.count; i++) {
		if (sl_map_owner(e->maps.fds[i]) != SL_CLIENT_KERNEL)
			return true;
	}
	return false;
}

/* Returns only when it fails. */
static int start(const struct exec *e, char **argv)
{
	size_t count = 0;
	char **run;
	int err;

	while (argv[count])
		count++;
	run = calloc(count + 4, sizeof(*run));
	if (!run)
		return sl_cli_fail("exec: %s", strerror(ENOMEM));
	run[0] = (char *)"sluice";
	run[1] = (char *)"run";
	run[2] = (char *)"--";
	memcpy(run + 3, argv, count * sizeof(*run));
	if (needs_run(e, argv[0]))
		execv("/proc/self/exe", run);
	else
		execvp(argv[0], argv);
	err = errno;
	free(run);
	sl_cli_fail("exec: %s: %s", argv[0], strerror(err));
	return err == ENOENT ? SL_EXIT_NOT_FOUND : SL_EXIT_CANNOT_EXECUTE;
}

int sl_cmd_exec(int argc, char **argv)
{
	static char *shell[] = { "/bin/sh", NULL };
	struct exec e = { .wait_s = 10 };
	unsigned received;
	int status, err;

	sl_client_use(SL_CLIENT_DAEMON);
	status = take_options(&e, &argc, &argv);
	if (status)
		return status < 0 ? 0 : status;
	if (e.options.count == 0 && !e.agent)
		return sl_cli_usage("exec: no map given (--map or --agent)");
	status = e.agent ? receive(&e) : 0;
	received = e.maps.count;
	if (status == 0)
		status = sl_map_options_open("exec", &e.options, &e.maps);
	if (status) {
		sl_passed_maps_done(&e.maps);
		return status;
	}
	err = set_environment(&e, received);
	if (err)
		return sl_cli_fail("exec: %s", strerror(-err));
	return start(&e, argc ? argv : shell);
}
