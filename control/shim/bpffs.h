#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * The bpf file system of a private Sluice: it stands where the kernel's is usually mounted, and
 * exists inside this process only. Pins are the data plane's (object/pin.h), directories ours.
 */

enum sl_bpffs_node {
	SL_BPFFS_NONE,
	SL_BPFFS_DIRECTORY,
	SL_BPFFS_PIN,
};

/*
 * Whether `path` lies in it; then its absolute form without ".", ".." and repeated slashes is in
 * ret_path. A path that does not fit lies outside.
 */
bool sl_bpffs_resolve(const char *path, char *ret_path, size_t size);

/* What a resolved path is. */
enum sl_bpffs_node sl_bpffs_look_up(const char *path);

/* 0 or a negative errno, on a resolved path. */
int sl_bpffs_mkdir(const char *path);
int sl_bpffs_rmdir(const char *path);
int sl_bpffs_unlink(const char *path);
