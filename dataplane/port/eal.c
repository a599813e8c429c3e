#include "eal.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_debug.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_lcore.h>
#include <sluice/dataplane.h>

#include "cpu.h"
#include "logging.h"
#include "port.h"
#include "telemetry.h"
#include "worker.h"

/* Free hugepages below this are not worth asking for. */
enum { HUGE_MIN_MIB = 128, NO_HUGE_MIB = 256, ARGS_MAX = 64 };

static bool started, telemetry_wanted;

/* The line that DPDK is in the middle of, and the first error; under line_lock. */
static pthread_mutex_t line_lock = PTHREAD_MUTEX_INITIALIZER;
static char line[256], reason[256];
static size_t line_len;
static unsigned held;

/* With line_lock held. */
static void end_line(bool error)
{
	const char *text = line;

	line[line_len] = '\0';
	line_len = 0;
	if (error && held) {
		/* "EAL: cannot ..." and "eth_dev_close(): ...": whose line it is helps nobody. */
		const char *colon = strstr(line, "(): ");

		text = colon ? colon + 4 : line;
		if (!reason[0])
			snprintf(reason, sizeof(reason), "%s", text);
	}
	if (line[0])
		sl_log(error && !held ? SL_LOG_WARN : SL_LOG_DEBUG, "dpdk: %s", line);
}

static ssize_t log_write(void *cookie, const char *buf, size_t len)
{
	bool error = rte_log_cur_msg_loglevel() <= (int)RTE_LOG_ERR;

	(void)cookie;
	pthread_mutex_lock(&line_lock);
	for (size_t i = 0; i < len; i++) {
		if (buf[i] == '\n')
			end_line(error);
		else if (line_len < sizeof(line) - 1)
			line[line_len++] = buf[i];
	}
	pthread_mutex_unlock(&line_lock);
	return (ssize_t)len;
}

void sl_eal_hold(void)
{
	pthread_mutex_lock(&line_lock);
	held++;
	reason[0] = '\0';
	pthread_mutex_unlock(&line_lock);
}

const char *sl_eal_reason(const char *otherwise)
{
	return reason[0] ? reason : otherwise;
}

void sl_eal_release(void)
{
	pthread_mutex_lock(&line_lock);
	held--;
	pthread_mutex_unlock(&line_lock);
}

static int open_log(void)
{
	cookie_io_functions_t io = { .write = log_write };
	FILE *f = fopencookie(NULL, "w", io);

	if (!f)
		return -ENOMEM;
	setvbuf(f, NULL, _IOLBF, 0);
	return rte_openlog_stream(f) == 0 ? 0 : -ENOMEM;
}

/* The arguments for the EAL. */
struct args {
	int count;
	char *arg[ARGS_MAX + 1];
	bool full;
};

static void add_arg(struct args *args, const char *arg)
{
	if (args->count < ARGS_MAX)
		args->arg[args->count++] = strdup(arg);
	else
		args->full = true;
}

static bool has_option(int argc, char *const argv[], const char *const *names)
{
	for (int i = 0; i < argc; i++) {
		for (const char *const *n = names; *n; n++) {
			size_t len = strlen(*n);

			if (strncmp(argv[i], *n, len) != 0)
				continue;
			/* "-l" takes its value in the same word too, "--lcores" after a "=". */
			if ((*n)[1] != '-' || argv[i][len] == '\0' || argv[i][len] == '=')
				return true;
		}
	}
	return false;
}

static unsigned free_huge_mib(void)
{
	static const unsigned kib[] = { 2048, 1048576 };
	unsigned mib = 0;

	for (unsigned i = 0; i < sl_array_size(kib); i++) {
		unsigned pages = 0;
		char path[96];
		FILE *f;

		snprintf(path, sizeof(path),
			"/sys/kernel/mm/hugepages/hugepages-%ukB/free_hugepages", kib[i]);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%u", &pages) == 1)
			mib += pages * (kib[i] / 1024);
		fclose(f);
	}
	return mib;
}

static void add_memory(struct args *args)
{
	char mib[16];

	if (free_huge_mib() >= HUGE_MIN_MIB) {
		add_arg(args, "--in-memory");
		return;
	}
	snprintf(mib, sizeof(mib), "%u", (unsigned)NO_HUGE_MIB);
	add_arg(args, "--no-huge");
	add_arg(args, "-m");
	add_arg(args, mib);
	add_arg(args, "--no-shconf");
}

/*
 * Lcore 0 is the main one, on the first CPU that this process may use; the workers get the last
 * ones, and share the first with the main lcore only when there are too few.
 */
static void add_lcores(struct args *args, unsigned workers)
{
	unsigned cpus[SL_MAX_CPUS], n = 0;
	char text[RTE_MAX_LCORE * 12];
	size_t len;
	cpu_set_t set;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	for (unsigned cpu = 0; cpu < sl_min(sl_cpu_count(), (unsigned)CPU_SETSIZE); cpu++) {
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	}
	if (n == 0)
		return;
	if (!workers)
		workers = sl_max(n - 1, 1u);
	workers = sl_min(sl_min(workers, n), (unsigned)RTE_MAX_LCORE - 1);
	len = (size_t)snprintf(text, sizeof(text), "--lcores=0@%u", cpus[0]);
	for (unsigned i = 0; i < workers; i++)
		len += (size_t)snprintf(
			text + len, sizeof(text) - len, ",%u@%u", i + 1, cpus[n - workers + i]);
	add_arg(args, text);
}

static void build_args(struct args *args, unsigned workers, int argc, char *const argv[])
{
	static const char *const lcores[] = { "-l", "-c", "-s", "--lcores", "--main-lcore", NULL };
	static const char *const memory[] = { "-m", "-n", "--in-memory", "--no-huge", "--huge-dir",
		"--file-prefix", "--socket-mem", "--single-file-segments", "--legacy-mem",
		"--huge-unlink", "--proc-type", NULL };
	static const char *const telemetry[] = { "--telemetry", "--no-telemetry", NULL };

	add_arg(args, "sluice");
	for (int i = 0; i < argc; i++)
		add_arg(args, argv[i]);
	if (!has_option(argc, argv, lcores))
		add_lcores(args, workers);
	if (!has_option(argc, argv, memory))
		add_memory(args);
	if (!telemetry_wanted && !has_option(argc, argv, telemetry))
		add_arg(args, "--no-telemetry");
	if (argc == 0)
		add_arg(args, "--no-pci");
}

/*
 * Wrong arguments make the EAL print a page of usage on stdout, and getopt a line on stderr: keep
 * both, and take the line for the reason.
 */
static int init_quietly(struct args *args)
{
	int kept = memfd_create("eal", MFD_CLOEXEC);
	int out = dup(STDOUT_FILENO), err_fd = dup(STDERR_FILENO);
	int result, saved_optind = optind, saved_opterr = opterr;
	char *argv[ARGS_MAX + 1];
	ssize_t n;

	/* The EAL moves and replaces the pointers of its vector. */
	memcpy(argv, args->arg, sizeof(argv));
	opterr = 1;
	fflush(NULL);
	if (kept >= 0 && out >= 0 && err_fd >= 0) {
		dup2(kept, STDOUT_FILENO);
		dup2(kept, STDERR_FILENO);
	}
	result = rte_eal_init(args->count, argv);
	fflush(NULL);
	if (out >= 0)
		dup2(out, STDOUT_FILENO);
	if (err_fd >= 0)
		dup2(err_fd, STDERR_FILENO);
	close(out);
	close(err_fd);
	optind = saved_optind;
	opterr = saved_opterr;
	if (result < 0 && kept >= 0) {
		char text[sizeof(reason)];

		n = pread(kept, text, sizeof(text) - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		text[strcspn(text, "\n")] = '\0';
		/* Only getopt's line names the program first. */
		if (strncmp(text, "sluice: ", 8) == 0)
			snprintf(reason, sizeof(reason), "%s", text + 8);
	}
	if (kept >= 0)
		close(kept);
	return result;
}

/*
 * The EAL makes a directory for its run-time files whether it has any or not. Ours goes at once,
 * where it is empty and was not there before.
 */
static void remove_runtime_dir(bool was_there)
{
	char path[PATH_MAX];

	if (was_there)
		return;
	snprintf(path, sizeof(path), "%s", rte_eal_get_runtime_dir());
	if (rmdir(path) == 0 && strrchr(path, '/')) {
		*strrchr(path, '/') = '\0';
		rmdir(path);
	}
}

/* The telemetry socket, which is there, goes at the process's exit. */
static void remove_runtime_dir_at_exit(void)
{
	remove_runtime_dir(false);
}

/* Where the EAL puts that directory: for root, or for a user with or without a session. */
static bool runtime_dir_exists(int argc, char *const argv[])
{
	static const char option[] = "--file-prefix";
	const char *prefix = "rte";
	const char *session = getenv("XDG_RUNTIME_DIR");
	char path[PATH_MAX];

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], option) == 0 && i + 1 < argc)
			prefix = argv[i + 1];
		else if (strncmp(argv[i], option, sizeof(option) - 1) == 0 &&
			 argv[i][sizeof(option) - 1] == '=')
			prefix = argv[i] + sizeof(option);
	}
	snprintf(path, sizeof(path), "%s/dpdk/%s",
		getuid() == 0 ? "/var/run"
		: session     ? session
			      : "/tmp",
		prefix);
	return access(path, F_OK) == 0;
}

void sluice_eal_want_telemetry(void)
{
	telemetry_wanted = true;
}

int sluice_eal_start(unsigned workers, int argc, char *const argv[])
{
	static bool tried;
	bool dir_was_there = runtime_dir_exists(argc, argv);
	struct args args = { 0 };
	cpu_set_t affinity;
	int err;

	if (tried) {
		sl_log(SL_LOG_ERROR, "the EAL starts only once in a process");
		return -EALREADY;
	}
	build_args(&args, workers, argc, argv);
	err = args.full ? -E2BIG : open_log();
	if (err) {
		sl_log(SL_LOG_ERROR, "cannot start the EAL: %s", strerror(-err));
		goto out;
	}
	tried = true;
	/* Before the EAL asks for the same, so that it comes after. */
	if (telemetry_wanted && !dir_was_there)
		atexit(remove_runtime_dir_at_exit);
	sched_getaffinity(0, sizeof(affinity), &affinity);
	sl_eal_hold();
	if (init_quietly(&args) < 0) {
		err = rte_errno ? -rte_errno : -EINVAL;
		sl_log(SL_LOG_ERROR, "cannot start the EAL: %s", sl_eal_reason(strerror(-err)));
	}
	sl_eal_release();
	remove_runtime_dir(dir_was_there);
	/* The caller becomes the main lcore, which polls nothing: it may run anywhere. */
	pthread_setaffinity_np(pthread_self(), sizeof(affinity), &affinity);
	if (!err)
		err = sl_worker_init();
	started = !err;
	if (started) {
		sl_hook_start();
		sl_telemetry_register();
	}
out:
	for (int i = 0; i < args.count; i++)
		free(args.arg[i]);
	return err;
}

bool sl_eal_started(void)
{
	return started;
}

void sluice_eal_stop(void)
{
	if (!started)
		return;
	sluice_workers_stop();
	sl_port_remove_all();
	sl_eal_hold();
	rte_eal_cleanup();
	sl_eal_release();
	started = false;
}
