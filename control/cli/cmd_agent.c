#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "map_options.h"
#include "verb.h"

/*
 * In iproute2's protocol both who imports maps and who wants an export bind the name of the socket,
 * and who has maps connects to it. So the agent, while it has maps, watches the name: each
 * application that binds it gets the maps. Who may do that is who may make the name in its
 * directory, and of those only root and the agent's own user.
 */

static const char help[] =
	"Usage: sluice agent SOCKET [--map [N=]MAP]... [--receive PATH] [--kernel]\n"
	"\n"
	"Holds the descriptors of maps, so that the maps outlive the applications that use\n"
	"them, and hands them out to each application that asks at SOCKET, in the protocol of\n"
	"iproute2:\n"
	"\n"
	"  tc exec bpf import SOCKET run COMMAND\n"
	"  sluice exec --agent SOCKET -- COMMAND\n"
	"\n"
	"Those who ask at once are served in turn: 'sluice exec' waits for the name to be\n"
	"free, tc says that it is in use. Applications of root and of the agent's own user are\n"
	"served.\n"
	"\n"
	"The maps are those of --map (see 'sluice exec --help'), and those that a loader\n"
	"exports:\n"
	"\n"
	"  tc filter add dev DEV ingress bpf object-file OBJ export SOCKET\n"
	"\n"
	"An agent without maps waits at SOCKET for one such export and then serves it; with\n"
	"--receive it takes exports at PATH all the time, and each replaces the maps of the\n"
	"same number. An iproute2 that was built with libbpf, as Debian's is, exports no maps:\n"
	"use --map with what it has pinned.\n"
	"\n"
	"Options:\n"
	"  --map [N=]MAP    hold this map; N is its number in BPF_MAP<N>, else 0, 1, ...\n"
	"  --receive PATH   take exports here\n"
	"  --kernel         open maps of the running kernel instead of Sluice's\n"
	"\n"
	"It runs in the foreground, tells on the standard error what it holds and whom it\n"
	"cannot serve, and ends on SIGTERM or SIGINT with exit status 0, when the names of its\n"
	"sockets are gone too. Exit status 1 when a map or a socket cannot be had, 2 for wrong\n"
	"arguments.\n";

enum {
	/* Between the name of a socket and its being open; after that nobody has it open. */
	REFUSED_RETRY_MS = 10,
	REFUSED_MAX = 100,
	/* Who got the maps removes the name; if that ends before, the agent does. */
	SERVED_CHECK_MS = 100,
};

struct agent {
	const char *path, *receive_path;
	struct sl_map_options options;
	struct sl_passed_maps maps;
	int signal_fd, watch_fd, receive_fd;
	bool at_path; /* receive_fd is bound to `path`, not to receive_path */
	bool asked; /* somebody may have bound `path` */
	bool served; /* and has got the maps, but the name may still be there */
	unsigned refused;
};

static void say(const struct agent *a, const char *what)
{
	fprintf(stderr, "sluice agent: %s: %s\n", a->path, what);
}

static void tell_maps(const struct agent *a)
{
	fprintf(stderr, "sluice agent: %s: %u map%s to hand out\n", a->path, a->maps.count,
		a->maps.count == 1 ? "" : "s");
}

/* Sends to who has bound the name, if any; who has got the maps is only looked at. */
static void serve(struct agent *a)
{
	int err = a->asked ? sl_map_socket_send(a->path, &a->maps) : sl_map_socket_probe(a->path);

	if (err == -ECONNREFUSED && a->refused++ < REFUSED_MAX)
		return;
	a->asked = false;
	a->served = err == 0;
	a->refused = 0;
	if (err == -ECONNREFUSED) {
		say(a, "removed the socket of an application that ended");
		unlink(a->path);
	} else if (err == -EPERM) {
		say(a, "refused: the socket is another user's");
	} else if (err && err != -ENOENT) {
		say(a, strerror(-err));
	}
}

/* How long until something is to be looked at that sends no event. */
static int check_ms(const struct agent *a)
{
	return a->refused ? REFUSED_RETRY_MS : a->served ? SERVED_CHECK_MS : -1;
}

static void stop_receiving(struct agent *a)
{
	if (a->receive_fd < 0)
		return;
	unlink(a->at_path ? a->path : a->receive_path);
	close(a->receive_fd);
	a->receive_fd = -1;
}

static void receive(struct agent *a)
{
	struct sl_passed_maps got;
	int err = sl_map_socket_receive(a->receive_fd, 0, &got);

	if (err == -EAGAIN || err == -EINTR)
		return;
	if (err) {
		say(a, err == -EPROTO ? "what came is no list of maps" : strerror(-err));
		return;
	}
	for (unsigned i = 0; i < got.count; i++) {
		if (sl_passed_maps_add(&a->maps, got.ids[i], got.fds[i]) != 0) {
			say(a, "more maps came than can be held");
			close(got.fds[i]);
		}
	}
	memcpy(a->maps.object, got.object, sizeof(got.object));
	if (a->at_path)
		stop_receiving(a);
	tell_maps(a);
	a->asked = true;
}

/* Whether one of the events is about the name. */
static void read_events(struct agent *a, const char *name)
{
	_Alignas(struct inotify_event) char buf[4096];
	ssize_t len;

	while ((len = read(a->watch_fd, buf, sizeof(buf))) > 0) {
		for (char *p = buf; p < buf + len;) {
			const struct inotify_event *event = (const struct inotify_event *)p;

			if (event->mask & IN_Q_OVERFLOW || strcmp(event->name, name) == 0)
				a->asked = true;
			p += sizeof(*event) + event->len;
		}
	}
}

static int run(struct agent *a)
{
	char copy[PATH_MAX], *name;

	snprintf(copy, sizeof(copy), "%s", a->path);
	name = basename(copy);
	a->asked = true;
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = a->signal_fd, .events = POLLIN },
			{ .fd = a->watch_fd, .events = POLLIN },
			{ .fd = a->receive_fd, .events = POLLIN },
		};

		if ((a->asked || a->served) && a->maps.count && !(a->receive_fd >= 0 && a->at_path))
			serve(a);
		if (poll(fds, 3, check_ms(a)) < 0 && errno != EINTR)
			return sl_cli_fail("agent: %s", strerror(errno));
		if (fds[0].revents)
			return 0;
		if (fds[1].revents)
			read_events(a, name);
		if (fds[2].revents)
			receive(a);
	}
}

static int watch(struct agent *a)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", a->path);
	a->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (a->watch_fd < 0 ||
		inotify_add_watch(a->watch_fd, dirname(copy), IN_CREATE | IN_MOVED_TO) < 0)
		return sl_cli_fail("agent: %s: %s", a->path, strerror(errno));
	return 0;
}

static int start_receiving(struct agent *a)
{
	const char *path = a->receive_path ? a->receive_path : a->path;

	if (!a->receive_path && a->maps.count)
		return 0;
	a->at_path = !a->receive_path;
	a->receive_fd = sl_map_socket_bind(path);
	if (a->receive_fd >= 0)
		return 0;
	return sl_cli_fail("agent: %s: %s", path, strerror(-a->receive_fd));
}

static int start(struct agent *a)
{
	sigset_t ends;
	int status;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	a->signal_fd = signalfd(-1, &ends, SFD_CLOEXEC);
	if (a->signal_fd < 0)
		return sl_cli_fail("agent: %s", strerror(errno));
	status = sl_map_options_open("agent", &a->options, &a->maps);
	if (status == 0)
		status = watch(a);
	return status ? status : start_receiving(a);
}

static int take_options(struct agent *a, int argc, char **argv)
{
	while (argc > 0) {
		const char *name = *argv++;
		int status = 0;

		argc--;
		if (strcmp(name, "--kernel") == 0) {
			sl_client_use(SL_CLIENT_KERNEL);
		} else if (strcmp(name, "--map") == 0) {
			status = sl_map_options_take("agent", &argc, &argv, &a->options);
		} else if (strcmp(name, "--receive") == 0) {
			if (argc == 0)
				return sl_cli_usage("agent: nothing after '%s'", name);
			a->receive_path = *argv++;
			argc--;
		} else if (*name == '-') {
			return sl_cli_usage("agent: unknown option '%s'", name);
		} else if (a->path) {
			return sl_cli_usage("agent: two sockets given");
		} else {
			a->path = name;
		}
		if (status)
			return status;
	}
	if (!a->path)
		return sl_cli_usage("agent: no socket given");
	if (a->receive_path && strcmp(a->receive_path, a->path) == 0)
		return sl_cli_usage("agent: maps cannot be received where they are handed out");
	return 0;
}

int sl_cmd_agent(int argc, char **argv)
{
	struct agent a = { .signal_fd = -1, .watch_fd = -1, .receive_fd = -1 };
	int status;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			fputs(help, stdout);
			return 0;
		}
	}
	sl_client_use(SL_CLIENT_DAEMON);
	status = take_options(&a, argc, argv);
	if (status == 0)
		status = start(&a);
	if (status == 0) {
		if (a.maps.count)
			tell_maps(&a);
		else
			say(&a, "waiting for maps");
		status = run(&a);
	}
	stop_receiving(&a);
	sl_passed_maps_done(&a.maps);
	if (a.watch_fd >= 0)
		close(a.watch_fd);
	if (a.signal_fd >= 0)
		close(a.signal_fd);
	return status;
}
