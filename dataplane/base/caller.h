#pragma once

#include <sys/types.h>

#include "defs.h"

/*
 * Who a call is answered for. Usually the thread that makes it, in this process: then there is no
 * struct sl_caller. A daemon answers other processes' calls; for the time of one it says here, for
 * its thread, how the caller's memory and descriptors are reached. Whatever takes an address or the
 * number of a descriptor from a caller goes through this.
 *
 * read, write and fd may block until the caller's side has answered, for a bounded time. So none of
 * them may be called with a lock held that others wait for.
 */
struct sl_caller;

struct sl_caller_ops {
	/* 0 or -EFAULT. */
	int (*read)(struct sl_caller *caller, void *dst, uint64_t address, size_t len);
	int (*write)(struct sl_caller *caller, uint64_t address, const void *src, size_t len);
	/* Our number for the caller's descriptor, open until the end of the call; -EBADF. */
	int (*fd)(struct sl_caller *caller, int fd);
	/* Whether nobody waits for the call's result any more. Does not block. */
	bool (*gone)(struct sl_caller *caller);
};

struct sl_caller {
	const struct sl_caller_ops *ops;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	bool privileged; /* as CAP_SYS_ADMIN is for bpf(2) */
};

/* For the calling thread, until the next call; NULL for itself. Returns what was before. */
SL_CONTROL struct sl_caller *sl_caller_set(struct sl_caller *caller);
/* NULL: this process. */
SL_ANY struct sl_caller *sl_caller(void);

/* Our number for a descriptor of the caller's; -EBADF. Of this process: fd itself, unchecked. */
SL_CONTROL int sl_caller_fd(int fd);

/* Whether a long call may as well end, with -EINTR, as the kernel's ends by a signal. */
SL_CONTROL bool sl_caller_is_gone(void);

/* This process's for itself, which may do everything. */
SL_CONTROL uid_t sl_caller_uid(void);
SL_CONTROL gid_t sl_caller_gid(void);
SL_CONTROL pid_t sl_caller_pid(void);
SL_CONTROL bool sl_caller_is_privileged(void);
