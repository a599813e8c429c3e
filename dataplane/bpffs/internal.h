#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What the files of this folder share. */

/* A new directory that goes with the last process that uses it. 0 or a negative errno. */
int sl_bpffs_private_new(char *ret_dir, size_t size);

/*
 * If an absolute path, without dots and doubled slashes, is a place of a bpf file system: its
 * directory in the root, which is made if need be and possible.
 */
bool sl_bpffs_mount_at(const char *path, size_t len, char *ret_real, size_t size);
/* The place that a name in the root stands for. */
bool sl_bpffs_mount_of_name(const char *name, size_t len, char *ret_path, size_t size);

/* NULL as long as no path has asked for one. */
const char *sl_bpffs_known_root(void);
bool sl_bpffs_root_is_private(void);

/* Joins components, resolving ".", ".." and repeated slashes: appends to the path of length *len. */
bool sl_bpffs_append(char *to, size_t size, size_t *len, const char *from);
