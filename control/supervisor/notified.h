#pragma once

#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "space.h"
#include "wire.h"

/*
 * One call that a thread waits for the answer of. The kernel holds the thread; but it may be killed at
 * any time, and its number belong to another one then. So whatever is opened by that number is used
 * only after the kernel has said that the call is still being waited for.
 */
struct sl_notified {
	struct sl_space space; /* the thread's: addresses and descriptors */
	int listener;
	uint64_t id;
	pid_t tid; /* as we see it, whatever PID namespace it is in */
	const struct seccomp_data *data;
	struct sl_wire_actor actor; /* what the daemon is told of the process, when we are root */
	int pidfd; /* -1: not asked for yet */
	bool answered;
};

void sl_notified_init(
	struct sl_notified *notified, int listener, const struct seccomp_notif *request);
/*
 * Finds out who it is that calls. A command that root runs may become another user, and is that for the
 * daemon then. -ESRCH when it is gone.
 */
int sl_notified_identify(struct sl_notified *notified);
/* Answers with ENOSYS if nobody has. */
void sl_notified_done(struct sl_notified *notified);

/* A descriptor of ours for the thread's `fd`, close-on-exec; -EBADF, -EPERM when it may not be had. */
int sl_notified_take_fd(struct sl_notified *notified, int fd);
/* A string with its end; -EFAULT, -ENAMETOOLONG. */
int sl_notified_read_string(
	struct sl_notified *notified, uint64_t address, char *ret_text, size_t size);
/* A copy of our `fd` for the thread, which goes on waiting: its number; negative errno. */
int sl_notified_lend_fd(struct sl_notified *notified, int fd);

/* The thread goes on with what the call returns: a result or a negative errno. */
void sl_notified_answer(struct sl_notified *notified, int64_t result);
/* The kernel carries the call out. */
void sl_notified_continue(struct sl_notified *notified);
/* The result is a copy of our `fd`, which stays ours. At the number `at`, unless that is -1. */
void sl_notified_give_fd(struct sl_notified *notified, int fd, int at, bool close_on_exec);

/* What the thread's `fd` can be, by the looks of it: only the daemon knows whether it is. */
enum sl_fd_kind { SL_FD_EVENT, SL_FD_MAP };
bool sl_notified_fd_is(struct sl_notified *notified, int fd, enum sl_fd_kind kind);
/* The file behind it; false when there is none. */
bool sl_notified_fd_stat(struct sl_notified *notified, int fd, struct stat *ret_st);

/*
 * Makes a path, as openat(2) takes it, an absolute one, in place; an empty one is `dir_fd` itself. 0 or a
 * negative errno.
 */
int sl_notified_locate(struct sl_notified *notified, int dir_fd, char *path, size_t size);
