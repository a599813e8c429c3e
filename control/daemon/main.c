#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <sluice/dataplane.h>
#include <sluice/pin.h>
#include <sluice/state.h>

#include "bpffs.h"
#include "commands.h"
#include "logging.h"
#include "metrics_http.h"
#include "server.h"
#include "wire.h"

static const char help[] =
	"Usage: sluiced [EAL OPTIONS] -- [OPTIONS]\n"
	"       sluiced [OPTIONS]\n"
	"\n"
	"Runs DPDK ports and workers, and answers bpf(2) for the programs that are started with\n"
	"'sluice run'. Stays in the foreground; SIGTERM or SIGINT ends it.\n"
	"\n"
	"Options:\n"
	"  --socket PATH    the control socket (" SL_WIRE_SOCKET ", or $" SL_WIRE_SOCKET_ENV ")\n"
	"  --group NAME     the group that may use it (sluice, if there is one)\n"
	"  --config FILE    commands to run at the start, one per line, as one would type them:\n"
	"                   sluice port add ..., ip link set ... xdp ..., tc filter add ...\n"
	"  --state DIR      keep what is pinned there when the daemon ends, and take it from there when\n"
	"                   it starts (a directory in memory, as /run/sluice/state)\n"
	"  --workers N      how many workers (one per CPU but the first)\n"
	"  --metrics ADDRESS:PORT\n"
	"                   serve figures to monitoring systems at http://ADDRESS:PORT/metrics, in\n"
	"                   the format of OpenMetrics; ADDRESS is a number, 127.0.0.1 when left out\n"
	"  --twin try|require|none\n"
	"                   whether the EAL's ports are interfaces of the kernel's too: where the\n"
	"                   daemon may make them (try, the default), or else do not start\n"
	"  --version        print the version\n"
	"  --help           print this text\n";

struct options {
	struct sl_server_options server;
	const char *config, *group, *metrics, *state;
	unsigned workers;
	struct sluice_port_options ports; /* those of the EAL */
	int eal_argc;
	char **eal_argv;
};

static int usage(const char *fmt, ...)
{
	va_list args;

	fputs("sluiced: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputs(" (try 'sluiced --help')\n", stderr);
	return 2;
}

static int parse_workers(const char *text, unsigned *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || *text == '-' || value > 1024)
		return usage("bad number of workers '%s'", text);
	*ret = (unsigned)value;
	return 0;
}

static int parse_twin(const char *text, enum sluice_kernel_twin *ret)
{
	static const char *const words[] = {
		[SLUICE_TWIN_NONE] = "none",
		[SLUICE_TWIN_TRY] = "try",
		[SLUICE_TWIN_REQUIRE] = "require",
	};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i], text) == 0) {
			*ret = (enum sluice_kernel_twin)i;
			return 0;
		}
	}
	return usage("bad value '%s' of --twin", text);
}

/* 0, an exit status, or -1 to exit with 0. */
static int parse_own(struct options *o, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "group", required_argument, NULL, 'g' },
		{ "config", required_argument, NULL, 'c' },
		{ "twin", required_argument, NULL, 't' },
		{ "state", required_argument, NULL, 'S' },
		{ "workers", required_argument, NULL, 'w' },
		{ "metrics", required_argument, NULL, 'm' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option, status = 0;

	optind = 1;
	opterr = 0;
	while (!status && (option = getopt_long(argc, argv, "+:hV", long_options, NULL)) != -1) {
		switch (option) {
		case 's':
			o->server.path = optarg;
			break;
		case 'g':
			o->group = optarg;
			break;
		case 'c':
			o->config = optarg;
			break;
		case 't':
			status = parse_twin(optarg, &o->ports.kernel_twin);
			break;
		case 'S':
			o->state = optarg;
			break;
		case 'w':
			status = parse_workers(optarg, &o->workers);
			break;
		case 'm':
			o->metrics = optarg;
			if (sl_metrics_check(optarg) != 0)
				status = usage(
					"bad address '%s': ADDRESS:PORT, as in 127.0.0.1:9464",
					optarg);
			break;
		case 'V':
			puts("sluiced " SLUICE_VERSION);
			return -1;
		case 'h':
			fputs(help, stdout);
			return -1;
		case ':':
			return usage("'%s' needs a value", argv[optind - 1]);
		default:
			return usage("unknown option '%s'", argv[optind - 1]);
		}
	}
	if (!status && optind < argc)
		return usage("unexpected argument '%s'", argv[optind]);
	return status;
}

/* What is before "--" is the EAL's; without one, everything is ours. */
static int parse(struct options *o, int argc, char **argv)
{
	int split = 1;

	while (split < argc && strcmp(argv[split], "--") != 0)
		split++;
	if (split == argc)
		return parse_own(o, argc, argv);
	o->eal_argc = split - 1;
	o->eal_argv = argv + 1;
	return parse_own(o, argc - split, argv + split);
}

static int find_group(struct options *o)
{
	struct group *group = getgrnam(o->group ? o->group : "sluice");

	o->server.group = group ? group->gr_gid : (gid_t)-1;
	if (!group && o->group) {
		fprintf(stderr, "sluiced: there is no group '%s'\n", o->group);
		return 1;
	}
	return 0;
}

/* The directory of the usual socket is ours to make. */
static void make_directory(const char *path)
{
	char dir[4096];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return;
	*slash = '\0';
	mkdir(dir, 0755);
}

/* The bpf file systems that clients share: beside the socket. */
static int start_bpffs(const struct sl_server_options *server)
{
	char dir[PATH_MAX];
	int err = sl_bpffs_root_of_socket(server->path, dir, sizeof(dir));

	if (!err)
		err = sluice_bpffs_start(dir, server->group);
	if (err)
		sl_log(SL_LOG_ERROR, "cannot keep pins in %s: %s", dir,
			err == -EBUSY ? "another daemon does" : strerror(-err));
	return err;
}

/* A state that is bad has been said to be, and put away: without it one can start as well. */
static void load_state(const char *dir)
{
	struct sluice_state_report r;

	if (dir && sluice_state_load(dir, &r) == 0)
		sl_log(r.left_out ? SL_LOG_WARN : SL_LOG_INFO,
			"took %u maps with %" PRIu64
			" entries, %u programs and %u pins from %s; left out: %u",
			r.maps, r.entries, r.progs, r.pins, dir, r.left_out);
}

static int save_state(const char *dir)
{
	struct sluice_state_report r;
	int err;

	if (!dir)
		return 0;
	/* Nothing may change any more. */
	sluice_workers_stop();
	err = sluice_state_save(dir, &r);
	if (err)
		sl_log(SL_LOG_ERROR, "cannot keep what is pinned in %s: %s", dir, strerror(-err));
	else
		sl_log(r.left_out ? SL_LOG_WARN : SL_LOG_INFO,
			"kept %u maps with %" PRIu64
			" entries, %u programs and %u pins in %s; left out: %u",
			r.maps, r.entries, r.progs, r.pins, dir, r.left_out);
	return err ? 1 : 0;
}

/* While clients are served. *ret_alone: nobody is any more. */
static int run(const struct options *o, const sigset_t *signals, bool *ret_alone)
{
	int status = 0, sig;

	if (o->config)
		status = sl_commands_run(o->config, o->server.path, signals);
	if (!status) {
		sd_notify(0, "READY=1");
		sigwait(signals, &sig);
	}
	sd_notify(0, "STOPPING=1");
	*ret_alone = sl_server_stop();
	return status;
}

static int serve(const struct options *o, const sigset_t *signals)
{
	bool alone = true;
	int status;

	make_directory(o->server.path);
	if (o->metrics && sl_metrics_start(o->metrics) != 0)
		return 1;
	if (start_bpffs(&o->server) != 0) {
		sl_metrics_stop();
		return 1;
	}
	load_state(o->state);
	status = sl_server_start(&o->server) == 0 ? run(o, signals, &alone) : 1;
	if (save_state(o->state) != 0)
		status = 1;
	sluice_bpffs_stop();
	sl_metrics_stop();
	/* A thread that is left would find what it uses gone. What is the process's, the kernel takes. */
	if (!alone)
		_exit(status);
	return status;
}

/*
 * Clients' calls, LLVM among them, run on the CPUs that no worker has, where there are such: all
 * threads that come from now on inherit it.
 */
static void leave_workers_alone(void)
{
	unsigned cpu, count = sluice_workers_count();
	uint64_t cpu_ns;
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
		return;
	for (unsigned i = 0; i < count; i++) {
		if (sluice_worker_times(i, &cpu, &cpu_ns) == 0)
			CPU_CLR(cpu, &cpus);
	}
	if (CPU_COUNT(&cpus) > 0)
		sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* A shell's limit is for one program; there are as many as clients have objects. */
static void raise_limit(void)
{
	enum { ENOUGH = 65536 };
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= ENOUGH)
		return;
	limit.rlim_cur = limit.rlim_max < ENOUGH ? limit.rlim_max : ENOUGH;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	const char *path = getenv(SL_WIRE_SOCKET_ENV);
	struct options o = { .server.path = path && *path ? path : SL_WIRE_SOCKET,
		.ports = { .kernel_twin = SLUICE_TWIN_TRY, .beside_kernel = true } };
	sigset_t signals, blocked;
	int status = parse(&o, argc, argv);

	if (status)
		return status < 0 ? 0 : status;
	status = find_group(&o);
	if (status)
		return status;
	/* Before there are threads: all of them leave these to the main thread. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	blocked = signals;
	sigaddset(&blocked, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGPIPE, SIG_IGN);
	raise_limit();
	sluice_eal_want_telemetry();
	if (sluice_eal_start(o.workers, o.eal_argc, o.eal_argv) != 0)
		return 1;
	leave_workers_alone();
	/* Those that the EAL's options name; others come and go by command. */
	status = sluice_port_add_all(&o.ports) >= 0 && sluice_workers_start() == 0
			 ? serve(&o, &signals)
			 : 1;
	sluice_eal_stop();
	return status;
}
