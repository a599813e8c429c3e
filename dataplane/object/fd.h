#pragma once

#include "object.h"

/*
 * Descriptors are capabilities: each is an open file description of a sealed memfd whose inode
 * names an object. dup, fork, exec, SCM_RIGHTS work by themselves; an inotify watch tells when the
 * last copy of a description is gone, wherever it was.
 */

/*
 * A new close-on-exec descriptor that holds a reference to obj, through which programs of the
 * control side may do what `access` (O_RDONLY, O_WRONLY, O_RDWR) says. A negative errno on failure:
 * -EMFILE and -ENFILE also when the limits on inotify instances and watches are reached.
 * `memfd` is -1, or the memfd (as memfd_create returned it, never handed out itself) that holds the
 * object's mappable contents: the result is then a new description of that inode.
 */
SL_CONTROL int sl_fd_new(struct sl_object *obj, int memfd, int access);

/*
 * The object behind a descriptor, with a reference for the caller. -EBADF when fd is not open,
 * -EINVAL when it is not one of ours or of another type, as the kernel's __bpf_map_get does.
 */
SL_CONTROL int sl_fd_get(int fd, enum sl_object_type type, struct sl_object **ret_obj);

/* Same for whatever type it is; *ret_access is what sl_fd_new was told. */
SL_CONTROL int sl_fd_get_any(int fd, struct sl_object **ret_obj, int *ret_access);

/* Drops the references of descriptions that have been closed since; sluice_bpf calls it first. */
SL_CONTROL void sl_fd_reap(void);
