#include "commands.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "logging.h"
#include "wire.h"

extern char **environ;

/* Where the sluice command is, from the directory of this executable: installed (bin/, sbin/), built. */
static const char *const command_dirs[] = { ".", "../bin", "../cli" };

static bool find_command_dir(char *ret_dir)
{
	char self[PATH_MAX], path[2 * PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len <= 0)
		return false;
	self[len] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < sizeof(command_dirs) / sizeof(command_dirs[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s/sluice", self, command_dirs[i]);
		if (access(path, X_OK) != 0 || !realpath(path, ret_dir))
			continue;
		*strrchr(ret_dir, '/') = '\0';
		return true;
	}
	return false;
}

/* The commands find "sluice" first of all, and all of them this daemon. */
static int prepare_environment(const char *dir, const char *socket_path)
{
	const char *old = getenv("PATH");
	char *path;
	int err;

	if (asprintf(&path, "%s:%s", dir, old && *old ? old : "/usr/sbin:/usr/bin:/sbin:/bin") < 0)
		return -ENOMEM;
	err = setenv("PATH", path, 1) || setenv(SL_WIRE_SOCKET_ENV, socket_path, 1) ? -errno : 0;
	free(path);
	return err;
}

static int start(char *line, pid_t *ret_pid)
{
	char *const argv[] = { "sluice", "run", "--", "/bin/sh", "-e", "-c", line, NULL };
	posix_spawnattr_t attr;
	sigset_t none;
	int err;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setpgroup(&attr, 0);
	err = posix_spawnp(ret_pid, argv[0], NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	return -err;
}

/* Until the command ends or somebody wants us to end: its status, or -EINTR. */
static int wait_for(pid_t pid, const sigset_t *signals)
{
	sigset_t wanted = *signals;
	int sig, status;

	sigaddset(&wanted, SIGCHLD);
	for (;;) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (sigwait(&wanted, &sig) != 0 || sig == SIGCHLD)
			continue;
		kill(-pid, SIGTERM);
		waitpid(pid, &status, 0);
		return -EINTR;
	}
}

static int run_line(char *line, const char *file, unsigned number, const sigset_t *signals)
{
	pid_t pid;
	int status = start(line, &pid);

	if (!status)
		status = wait_for(pid, signals);
	if (status == -EINTR)
		sl_log(SL_LOG_ERROR, "%s:%u: interrupted", file, number);
	else if (status < 0)
		sl_log(SL_LOG_ERROR, "%s:%u: %s", file, number, strerror(-status));
	else if (status)
		sl_log(SL_LOG_ERROR, "%s:%u: the command ended with status %d", file, number,
			status);
	return status ? 1 : 0;
}

/* One line, with those that it goes on in, without its end. NULL at the end of the file. */
static char *read_line(FILE *f, unsigned *number)
{
	char *line = NULL, *all = NULL;
	size_t size = 0, all_len = 0;
	ssize_t len;

	while ((len = getline(&line, &size, f)) >= 0) {
		bool more;
		char *longer;

		++*number;
		if (len > 0 && line[len - 1] == '\n')
			line[--len] = '\0';
		more = len > 0 && line[len - 1] == '\\';
		if (more)
			line[--len] = '\0';
		longer = realloc(all, all_len + (size_t)len + 1);
		if (!longer)
			break;
		all = longer;
		memcpy(all + all_len, line, (size_t)len + 1);
		all_len += (size_t)len;
		if (!more)
			break;
	}
	free(line);
	return all;
}

int sl_commands_run(const char *file, const char *socket_path, const sigset_t *signals)
{
	char dir[PATH_MAX], *line;
	unsigned number = 0;
	FILE *f = fopen(file, "re");
	int status;

	if (!f) {
		sl_log(SL_LOG_ERROR, "cannot read %s: %s", file, strerror(errno));
		return 1;
	}
	status = find_command_dir(dir) ? prepare_environment(dir, socket_path) : -ENOENT;
	if (status)
		sl_log(SL_LOG_ERROR, "cannot run the commands of %s: %s", file, strerror(-status));
	while (!status && (line = read_line(f, &number))) {
		const char *text = line + strspn(line, " \t");

		if (*text && *text != '#')
			status = run_line(line, file, number, signals);
		free(line);
	}
	fclose(f);
	return status ? 1 : 0;
}
