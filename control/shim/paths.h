#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "bpffs.h"

/*
 * Looks at a path that the program gave to a call. False: the call fails, errno says how. Inside of
 * our own code, and for no path at all, everything is outside.
 */
bool sl_path_look(int dir_fd, const char *path, struct sl_bpffs_path *ret);

/* A file of /proc that lists mount points, the kernel's, with ours: a descriptor of the text. -1: it
 * is another file, or cannot be had. */
int sl_path_open_mounts(const char *path);

/* fopen(3) of a path inside, or of such a file: whether it is one, and the result. */
bool sl_path_fopen(const char *path, const char *mode, FILE **ret_file);
