#include "supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "filter.h"
#include "inject.h"
#include "listener.h"
#include "pins.h"

/*
 * Three processes. The front is the one that was started: it passes signals on to the command, and
 * ends as that ends. The supervisor is its child; the command is the supervisor's, so that it and what
 * it starts are descendants of the supervisor, which a kernel with Yama lets no other process look
 * into. The supervisor adopts what the command leaves behind, for the same reason, and stays until
 * the last of them is gone. When the front is killed, the command is.
 *
 * When the supervisor is killed, the kernel answers ENOSYS in its place, and the front waits for the
 * command itself.
 */
struct report {
	enum { STARTED, ENDED, NOT_SUPERVISED } what;
	int value; /* the command's process, how it ended as wait(2) says, an errno */
};

/* What the processes have from before the fork. */
struct run {
	const struct sl_supervisor_options *options;
	int report[2]; /* the supervisor's end, the front's */
	sigset_t signals; /* as they were */
};

enum { EXIT_CANNOT_EXECUTE = 126, EXIT_NOT_FOUND = 127 };

static int send_fd(int socket, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(socket, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* A descriptor, or the errno that came instead of one; -ECONNRESET when nothing did. */
static int receive_fd(int socket)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	unsigned char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -ECONNRESET;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg)
		return -byte;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* The command's process: from here on it is told on. */
static void become_command(const struct run *run, int socket)
{
	char *const *argv = run->options->argv;
	int listener, err;
	unsigned char byte;

	sl_pins_mount();
	listener = sl_filter_install();
	if (listener < 0) {
		byte = (unsigned char)-listener;
		if (write(socket, &byte, 1) < 0)
			_exit(1);
		_exit(1);
	}
	if (send_fd(socket, listener) != 0 || read(socket, &byte, 1) != 1)
		_exit(1);
	sigprocmask(SIG_SETMASK, &run->signals, NULL);
	execvp(argv[0], argv);
	err = errno;
	run->options->fail("run: %s: %s", argv[0], strerror(err));
	_exit(err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE);
}

static void report(const struct run *run, int what, int value)
{
	struct report r = { .what = what, .value = value };

	/* Without a front there is nobody to tell. */
	send(run->report[0], &r, sizeof(r), MSG_NOSIGNAL);
}

/* Not to keep anything open, or busy, that the command's user waits for. */
static void let_go(bool errors_too)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (errors_too)
		dup2(null, STDERR_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

/* Takes the ends of all children that are there; the command's is reported. */
static void reap(const struct run *run, pid_t command, bool *ret_ended)
{
	for (;;) {
		int status = 0;
		pid_t pid;

		sl_injection_lock();
		pid = waitpid(-1, &status, WNOHANG | __WALL | __WNOTHREAD);
		sl_injection_unlock();
		if (pid <= 0)
			return;
		if (pid != command || WIFSTOPPED(status))
			continue;
		*ret_ended = true;
		report(run, ENDED, status);
		let_go(true);
	}
}

/* Until the last process that could call is gone. */
static void attend(const struct run *run, pid_t command, int done_fd)
{
	struct pollfd pfds[] = { { .events = POLLIN }, { .fd = done_fd, .events = POLLIN },
		{ .fd = run->report[0] } };
	bool ended = false, alone = false;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	pfds[0].fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	for (;;) {
		struct signalfd_siginfo info;

		poll(pfds, 3, -1);
		while (read(pfds[0].fd, &info, sizeof(info)) > 0)
			;
		reap(run, command, &ended);
		if (pfds[2].fd >= 0 && (pfds[2].revents & (POLLHUP | POLLERR))) {
			pfds[2].fd = -1;
			if (!ended)
				kill(command, SIGKILL);
		}
		if (pfds[1].revents & POLLIN) {
			pfds[1].fd = -1;
			alone = true;
		}
		if (alone && ended)
			return;
	}
}

static void supervise(const struct run *run)
{
	int sockets[2], listener, done_fd = eventfd(0, EFD_CLOEXEC), err;
	pid_t command;

	close(run->report[1]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (done_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0 ||
		(command = fork()) < 0) {
		report(run, NOT_SUPERVISED, errno);
		_exit(1);
	}
	if (command == 0) {
		close(sockets[0]);
		close(run->report[0]);
		become_command(run, sockets[1]);
	}
	close(sockets[1]);
	signal(SIGCHLD, SIG_DFL);
	/* Where it uses files with another's rights, it has none of root's groups. */
	if (geteuid() == 0)
		setgroups(0, NULL);
	listener = receive_fd(sockets[0]);
	err = listener < 0 ? listener : sl_listener_start(listener, done_fd);
	if (err) {
		report(run, NOT_SUPERVISED, -err);
		_exit(1);
	}
	report(run, STARTED, command);
	if (write(sockets[0], "", 1) != 1)
		_exit(1);
	close(sockets[0]);
	let_go(false);
	attend(run, command, done_fd);
	_exit(0);
}

/* Ends as the command did. */
static int end_as(int status)
{
	struct rlimit none = { 0, 0 };
	sigset_t set;
	int sig;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	sig = WTERMSIG(status);
	/* The command's core is enough. */
	setrlimit(RLIMIT_CORE, &none);
	signal(sig, SIG_DFL);
	raise(sig);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return 128 + sig;
}

/* What the terminal sends, it sends to the command as well. */
static void pass_on(int signal_fd, int pidfd)
{
	struct signalfd_siginfo info;

	while (read(signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (pidfd >= 0 && info.ssi_signo != SIGCHLD && info.ssi_code <= 0)
			syscall(SYS_pidfd_send_signal, pidfd, info.ssi_signo, NULL, 0);
	}
}

/* Once the supervisor is dead, the command, if there is one, is ours. */
static int wait_orphan(const struct run *run, pid_t supervisor, pid_t command)
{
	int status;

	waitpid(supervisor, &status, 0);
	if (command < 0 || waitpid(command, &status, 0) != command)
		return run->options->fail("run: the supervisor is dead");
	return end_as(status);
}

static int front(const struct run *run, const sigset_t *caught, pid_t supervisor)
{
	struct pollfd pfds[] = { { .events = POLLIN }, { .fd = run->report[1], .events = POLLIN } };
	int pidfd = -1;
	pid_t command = -1;

	close(run->report[0]);
	signal(SIGCHLD, SIG_DFL);
	pfds[0].fd = signalfd(-1, caught, SFD_CLOEXEC | SFD_NONBLOCK);
	for (;;) {
		struct report r;

		poll(pfds, 2, -1);
		pass_on(pfds[0].fd, pidfd);
		if (!pfds[1].revents)
			continue;
		if (recv(run->report[1], &r, sizeof(r), 0) != sizeof(r))
			return wait_orphan(run, supervisor, command);
		if (r.what == ENDED)
			return end_as(r.value);
		if (r.what == NOT_SUPERVISED)
			return run->options->fail("run: cannot supervise the command: %s%s",
				strerror(r.value),
				r.value == EBUSY    ? " (it is supervised already)"
				: r.value == EINVAL ? " (needs Linux 5.19)"
						    : "");
		command = r.value;
		pidfd = (int)syscall(SYS_pidfd_open, command, 0);
	}
}

int sl_supervisor_run(const struct sl_supervisor_options *options)
{
	static const int left_alone[] = { SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGSEGV, SIGBUS,
		SIGFPE, SIGILL, SIGABRT, SIGTRAP };
	struct run run = { .options = options };
	sigset_t caught;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, run.report) != 0)
		return options->fail("run: %s", strerror(errno));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigfillset(&caught);
	for (size_t i = 0; i < sizeof(left_alone) / sizeof(left_alone[0]); i++)
		sigdelset(&caught, left_alone[i]);
	sigprocmask(SIG_SETMASK, &caught, &run.signals);
	pid = fork();
	if (pid < 0)
		return options->fail("run: %s", strerror(errno));
	if (pid == 0) {
		sigset_t terminal;

		/* Stopped with the command's job it could not answer what is left of it. */
		sigemptyset(&terminal);
		sigaddset(&terminal, SIGTSTP);
		sigaddset(&terminal, SIGTTIN);
		sigaddset(&terminal, SIGTTOU);
		sigprocmask(SIG_BLOCK, &terminal, NULL);
		supervise(&run);
	}
	return front(&run, &caught, pid);
}
