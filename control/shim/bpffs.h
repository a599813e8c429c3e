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
	SL_BPFFS_LINK, /* symbolic */
};

/*
 * Whether `path` lies in it; then its absolute form without ".", ".." and repeated slashes is in
 * ret_path, with links followed on the way but not at its end. One that does not fit lies outside.
 */
bool sl_bpffs_resolve(const char *path, char *ret_path, size_t size);

/* What a resolved path is. */
enum sl_bpffs_node sl_bpffs_look_up(const char *path);

/* Follows a link at the end of a resolved path; what it leads to outside is not there. */
void sl_bpffs_follow(char *path, size_t size);

/* 0 or a negative errno, on a resolved path. */
int sl_bpffs_mkdir(const char *path);
int sl_bpffs_rmdir(const char *path);
int sl_bpffs_unlink(const char *path);
int sl_bpffs_symlink(const char *target, const char *path);
/* As readlink(2): how many bytes of the target are in ret_target, without a NUL. */
int sl_bpffs_readlink(const char *path, char *ret_target, size_t size);
