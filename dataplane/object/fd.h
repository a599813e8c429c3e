#pragma once

#include "object.h"

/*
 * Descriptors are capabilities: each is an open file description of a sealed memfd whose inode
 * names an object. dup, fork, exec, SCM_RIGHTS work by themselves; an inotify IN_CLOSE watch tells
 * when the last copy of a description is gone, wherever it was.
 */

/*
 * A new close-on-exec descriptor that holds a reference to obj. A negative errno on failure.
 * `memfd` is -1, or a memfd that holds the object's mappable contents: the result is then a new
 * description of that inode.
 */
SL_CONTROL int sl_fd_new(struct sl_object *obj, int memfd);

/*
 * The object behind a descriptor, with a reference for the caller. -EBADF when fd is not open or
 * is not one of ours, -EINVAL when it is of another type, as the kernel's __bpf_map_get does.
 */
SL_CONTROL int sl_fd_get(int fd, enum sl_object_type type, struct sl_object **ret_obj);

/* Same for whatever type it is. */
SL_CONTROL int sl_fd_get_any(int fd, struct sl_object **ret_obj);

/* Drops the references of descriptions that have been closed since; sluice_bpf calls it first. */
SL_CONTROL void sl_fd_reap(void);
