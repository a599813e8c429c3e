#include "notified.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

enum { PAGE = 4096 };

static struct sl_notified *notified_of(struct sl_space *space)
{
	return (struct sl_notified *)((char *)space - offsetof(struct sl_notified, space));
}

static bool is_waiting(const struct sl_notified *n)
{
	return ioctl(n->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n->id) == 0;
}

/*
 * Copies what there is up to the first page that is not: the number of bytes, or a negative errno.
 * Reading is checked afterwards, writing before: the number of a thread is not used again that fast.
 */
static ssize_t copy(struct sl_notified *n, uint64_t address, void *here, size_t len, bool to_thread)
{
	struct iovec local = { here, len }, remote = { (void *)(uintptr_t)address, len };
	ssize_t done;

	if (to_thread && !is_waiting(n))
		return -ESRCH;
	done = to_thread ? process_vm_writev(n->tid, &local, 1, &remote, 1, 0)
			 : process_vm_readv(n->tid, &local, 1, &remote, 1, 0);
	if (done < 0)
		return -errno;
	return to_thread || is_waiting(n) ? done : -ESRCH;
}

static int read_memory(struct sl_space *space, void *dst, uint64_t address, size_t len)
{
	ssize_t done = len ? copy(notified_of(space), address, dst, len, false) : 0;

	return done == (ssize_t)len ? 0 : -EFAULT;
}

static int write_memory(struct sl_space *space, uint64_t address, const void *src, size_t len)
{
	ssize_t done =
		len ? copy(notified_of(space), address, (void *)(uintptr_t)src, len, true) : 0;

	return done == (ssize_t)len ? 0 : -EFAULT;
}

static int take(struct sl_space *space, int fd)
{
	return sl_notified_take_fd(notified_of(space), fd);
}

static void drop(struct sl_space *space, int taken)
{
	(void)space;
	close(taken);
}

static const struct sl_space_ops space_ops = {
	.read = read_memory, .write = write_memory, .take = take, .drop = drop
};

void sl_notified_init(struct sl_notified *n, int listener, const struct seccomp_notif *request)
{
	*n = (struct sl_notified){
		.space = { .ops = &space_ops },
		.listener = listener,
		.id = request->id,
		.tid = (pid_t)request->pid,
		.data = &request->data,
		.pidfd = -1,
	};
}

int sl_notified_identify(struct sl_notified *n)
{
	char path[64], line[256];
	unsigned found = 0, pid = 0, uid = 0, gid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", n->tid);
	f = fopen(path, "re");
	if (!f)
		return -ESRCH;
	while (found < 3 && fgets(line, sizeof(line), f)) {
		/* The second number is the effective one. */
		found += sscanf(line, "Tgid: %u", &pid) == 1 ||
			 sscanf(line, "Uid: %*u %u", &uid) == 1 ||
			 sscanf(line, "Gid: %*u %u", &gid) == 1;
	}
	fclose(f);
	if (found < 3 || !is_waiting(n))
		return -ESRCH;
	n->actor = (struct sl_wire_actor){ .pid = pid, .uid = uid, .gid = gid };
	if (geteuid() == 0)
		n->space.actor = &n->actor;
	return 0;
}

void sl_notified_done(struct sl_notified *n)
{
	if (!n->answered)
		sl_notified_answer(n, -ENOSYS);
	if (n->pidfd >= 0)
		close(n->pidfd);
}

/* Of the thread, which may have descriptors of its own, where the kernel has that (6.9). */
static int open_pidfd(struct sl_notified *n)
{
	int fd = (int)syscall(SYS_pidfd_open, n->tid, PIDFD_THREAD);

	if (fd < 0 && errno == EINVAL)
		fd = (int)syscall(SYS_pidfd_open, n->actor.pid, 0);
	if (fd < 0)
		return -errno;
	if (!is_waiting(n)) {
		close(fd);
		return -ESRCH;
	}
	n->pidfd = fd;
	return 0;
}

int sl_notified_take_fd(struct sl_notified *n, int fd)
{
	int err = n->pidfd < 0 ? open_pidfd(n) : 0, taken;

	if (err)
		return err;
	if (fd < 0)
		return -EBADF;
	taken = (int)syscall(SYS_pidfd_getfd, n->pidfd, fd, 0);
	return taken < 0 ? -errno : taken;
}

int sl_notified_read_string(struct sl_notified *n, uint64_t address, char *ret_text, size_t size)
{
	size_t len = 0;

	while (len < size) {
		/* Up to the end of the page: what is behind it may not be there. */
		size_t part = PAGE - (address + len) % PAGE;
		ssize_t done;

		if (part > size - len)
			part = size - len;
		done = copy(n, address + len, ret_text + len, part, false);
		if (done <= 0)
			return -EFAULT;
		if (memchr(ret_text + len, 0, (size_t)done))
			return 0;
		len += (size_t)done;
	}
	return -ENAMETOOLONG;
}

static int add_fd(struct sl_notified *n, int fd, int at, uint32_t fd_flags, uint32_t flags)
{
	struct seccomp_notif_addfd add = {
		.id = n->id,
		.flags = flags | (at >= 0 ? SECCOMP_ADDFD_FLAG_SETFD : 0),
		.srcfd = (uint32_t)fd,
		.newfd = at >= 0 ? (uint32_t)at : 0,
		.newfd_flags = fd_flags,
	};
	int number = ioctl(n->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);

	return number < 0 ? -errno : number;
}

int sl_notified_lend_fd(struct sl_notified *n, int fd)
{
	return add_fd(n, fd, -1, O_CLOEXEC, 0);
}

static void respond(struct sl_notified *n, int64_t result, uint32_t flags)
{
	struct seccomp_notif_resp response = {
		.id = n->id,
		.val = result < 0 ? 0 : result,
		.error = result < 0 ? (int)result : 0,
		.flags = flags,
	};

	/* It fails when the thread is dead: nobody to tell. */
	n->answered = true;
	ioctl(n->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

void sl_notified_answer(struct sl_notified *n, int64_t result)
{
	respond(n, result, 0);
}

void sl_notified_continue(struct sl_notified *n)
{
	respond(n, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

void sl_notified_give_fd(struct sl_notified *n, int fd, int at, bool close_on_exec)
{
	int number = add_fd(n, fd, at, close_on_exec ? O_CLOEXEC : 0, SECCOMP_ADDFD_FLAG_SEND);

	if (number >= 0)
		n->answered = true;
	else if (number != -ENOENT) /* EMFILE is the thread's error */
		sl_notified_answer(n, number);
}

bool sl_notified_fd_is(struct sl_notified *n, int fd, enum sl_fd_kind kind)
{
	static const char *const prefixes[] = {
		[SL_FD_EVENT] = "pipe:", [SL_FD_MAP] = "/memfd:bpf-map"
	};
	char path[64], target[64];
	ssize_t len;

	if (fd < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", n->tid, fd);
	len = readlink(path, target, sizeof(target) - 1);
	if (len < 0)
		return false;
	target[len] = '\0';
	return strncmp(target, prefixes[kind], strlen(prefixes[kind])) == 0 && is_waiting(n);
}

bool sl_notified_fd_stat(struct sl_notified *n, int fd, struct stat *ret_st)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", n->tid, fd);
	return fd >= 0 && stat(path, ret_st) == 0 && is_waiting(n);
}

int sl_notified_locate(struct sl_notified *n, int dir_fd, char *path, size_t size)
{
	char link[64], dir[PATH_MAX];
	size_t path_len = strlen(path);
	ssize_t len;

	if (*path == '/')
		return 0;
	if (dir_fd == AT_FDCWD)
		snprintf(link, sizeof(link), "/proc/%d/cwd", n->tid);
	else
		snprintf(link, sizeof(link), "/proc/%d/fd/%d", n->tid, dir_fd);
	len = readlink(link, dir, sizeof(dir) - 1);
	if (len <= 0 || !is_waiting(n))
		return -EBADF;
	if (*dir != '/')
		return -ENOTDIR;
	if ((size_t)len + 1 + path_len >= size)
		return -ENAMETOOLONG;
	memmove(path + len + 1, path, path_len + 1);
	memcpy(path, dir, (size_t)len);
	path[len] = path_len ? '/' : '\0';
	return 0;
}
