#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/*
 * The bpf file systems as programs see them: at /sys/fs/bpf, wherever the kernel has one mounted,
 * at the places that SLUICE_BPFFS names (with colons between), and where sl_bpffs_mount was asked for
 * one. Each is a real directory somewhere else, below one root: a daemon's, beside its socket, or
 * one in memory that is private to the process. Directories and symbolic links in it are real ones,
 * and a pin is a real, empty file, whose inode the data plane knows the object of (object/pin.h).
 *
 * So owners, modes, permissions, renames, links, listings, descriptors of directories and the
 * working directory are the kernel's own business, for all processes together. What is left to do
 * is to lead paths there and back, and what a bpf file system does otherwise: no dots in names, no
 * files but pins.
 *
 * Any thread may call any of this. Errors are negative errno.
 */

/*
 * Whose trees: a directory that exists. Before any other call, else -EBUSY. Without it SLUICE_BPFFS_ROOT
 * says it, and without that they are private.
 */
int sl_bpffs_set_root(const char *dir);
/* The one of the daemon with this socket. -ENAMETOOLONG. */
int sl_bpffs_root_of_socket(const char *socket_path, char *ret_dir, size_t size);
/* Its absolute path without links; made when it is a private one. NULL with errno. */
const char *sl_bpffs_root(void);

enum sl_bpffs_where {
	SL_BPFFS_OUTSIDE, /* the path is to be used as it is */
	SL_BPFFS_INSIDE, /* another one is, for the same place */
	SL_BPFFS_LEFT, /* another one is: relative to a directory inside, it leads out */
};

/* A path that has been looked at. */
struct sl_bpffs_path {
	enum sl_bpffs_where where;
	int dir_fd; /* for calls that take one */
	const char *path; /* what to use: the caller's, or `real` */
	size_t mount_len; /* inside: how much of `path` is the file system's root */
	char real[PATH_MAX];
};

/*
 * Looks at a path as openat(2) takes it. -EPERM: inside, and a name on the way has a dot; another error is
 * what the way to that name says. -ENAMETOOLONG.
 */
int sl_bpffs_look(int dir_fd, const char *path, struct sl_bpffs_path *ret);

/* The path that programs know the real path `path` by. False when it is not below the root. */
bool sl_bpffs_public(const char *path, char *ret_path, size_t size);
/* Whether the descriptor is of something inside; then, if wanted, its path. */
bool sl_bpffs_holds(int fd, char *ret_path, size_t size);

/* mount(2) and umount(2) of a bpf file system. What is in it goes with it. */
int sl_bpffs_mount(const char *dir, mode_t mode);
int sl_bpffs_unmount(const char *dir);
/* Where there is one: `index` from 0 up. False past the last. */
bool sl_bpffs_mounted(unsigned index, char *ret_dir, size_t size);

/*
 * Whether something new could be made at a path that has been looked at, by the kernel's rules and in
 * the order of its checks. -EPERM: it is outside, where there are no pins.
 */
int sl_bpffs_check_new(const struct sl_bpffs_path *path);

/*
 * BPF_OBJ_PIN: makes a file for a pin, whose name nobody sees until sl_bpffs_publish. Errors, and
 * their order, are the command's. Returns a descriptor.
 */
int sl_bpffs_place(int dir_fd, const char *path, struct sl_bpffs_path *ret);
int sl_bpffs_publish(int fd, const struct sl_bpffs_path *path);
/* BPF_OBJ_GET: a descriptor of the pin's file, with O_RDONLY, O_WRONLY or O_RDWR. */
int sl_bpffs_open(int dir_fd, const char *path, int access);

/*
 * How deep this thread is in what is below, which works on real paths: whoever catches calls lets them
 * through.
 */
extern __thread unsigned sl_bpffs_busy;

/* Removes what is in a directory. What cannot be removed stays. */
void sl_bpffs_empty(const char *dir);
/*
 * Calls fn for everything inside, with its path, its real one, and lstat(2)'s, until it returns false. A
 * directory comes before what is in it; more than 256 deep, nothing is looked at.
 */
void sl_bpffs_walk(bool (*fn)(const char *path, const char *real, const struct stat *st, void *arg),
	void *arg);
