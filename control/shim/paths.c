#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bpffs.h"
#include "real.h"

/*
 * The calls by which programs look at and tidy up the paths that they pin to. Outside of the bpf
 * file system they are libc's.
 */

#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif

static int answer(int err)
{
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

static int local_statfs(const char *path, struct statfs *ret_fs)
{
	if (sl_bpffs_look_up(path) == SL_BPFFS_NONE)
		return answer(-ENOENT);
	*ret_fs = (struct statfs){ .f_type = BPF_FS_MAGIC, .f_bsize = 4096, .f_namelen = NAME_MAX };
	return 0;
}

int statfs(const char *path, struct statfs *fs)
{
	char local[PATH_MAX];

	if (sl_bpffs_resolve(path, local, sizeof(local))) {
		sl_bpffs_follow(local, sizeof(local));
		return local_statfs(local, fs);
	}
	return REAL(statfs)(path, fs);
}

int statfs64(const char *path, struct statfs64 *fs) __attribute__((alias("statfs")));

static int local_stat(const char *path, struct stat *ret_st)
{
	enum sl_bpffs_node node = sl_bpffs_look_up(path);

	if (node == SL_BPFFS_NONE)
		return answer(-ENOENT);
	*ret_st = (struct stat){
		.st_mode = node == SL_BPFFS_PIN    ? S_IFREG | 0600
			   : node == SL_BPFFS_LINK ? S_IFLNK | 0777
						   : S_IFDIR | 0700,
		.st_nlink = 1,
		.st_uid = geteuid(),
		.st_gid = getegid(),
		.st_blksize = 4096,
	};
	return 0;
}

int stat(const char *path, struct stat *st)
{
	char local[PATH_MAX];

	if (sl_bpffs_resolve(path, local, sizeof(local))) {
		sl_bpffs_follow(local, sizeof(local));
		return local_stat(local, st);
	}
	return REAL(stat)(path, st);
}

int lstat(const char *path, struct stat *st)
{
	char local[PATH_MAX];

	if (sl_bpffs_resolve(path, local, sizeof(local)))
		return local_stat(local, st);
	return REAL(lstat)(path, st);
}

int stat64(const char *path, struct stat64 *st) __attribute__((alias("stat")));
int lstat64(const char *path, struct stat64 *st) __attribute__((alias("lstat")));

static int local_access(char *path, size_t size)
{
	sl_bpffs_follow(path, size);
	return answer(sl_bpffs_look_up(path) == SL_BPFFS_NONE ? -ENOENT : 0);
}

int access(const char *path, int mode)
{
	char local[PATH_MAX];

	if (sl_bpffs_resolve(path, local, sizeof(local)))
		return local_access(local, sizeof(local));
	return REAL(access)(path, mode);
}

int faccessat(int dir_fd, const char *path, int mode, int flags)
{
	char local[PATH_MAX];

	if ((dir_fd == AT_FDCWD || *path == '/') && sl_bpffs_resolve(path, local, sizeof(local)))
		return local_access(local, sizeof(local));
	return REAL(faccessat)(dir_fd, path, mode, flags);
}

int mkdir(const char *path, mode_t mode)
{
	char local[PATH_MAX];

	if (sl_bpffs_resolve(path, local, sizeof(local)))
		return answer(sl_bpffs_mkdir(local));
	return REAL(mkdir)(path, mode);
}

int symlink(const char *target, const char *path)
{
	char local[PATH_MAX];

	if (sl_bpffs_resolve(path, local, sizeof(local)))
		return answer(sl_bpffs_symlink(target, local));
	return REAL(symlink)(target, path);
}

ssize_t readlink(const char *path, char *target, size_t size)
{
	char local[PATH_MAX];
	int ret;

	if (!sl_bpffs_resolve(path, local, sizeof(local)))
		return REAL(readlink)(path, target, size);
	ret = sl_bpffs_readlink(local, target, size);
	return ret < 0 ? answer(ret) : ret;
}

int rmdir(const char *path)
{
	char local[PATH_MAX];

	if (sl_bpffs_resolve(path, local, sizeof(local)))
		return answer(sl_bpffs_rmdir(local));
	return REAL(rmdir)(path);
}

int unlink(const char *path)
{
	char local[PATH_MAX];

	if (sl_bpffs_resolve(path, local, sizeof(local)))
		return answer(sl_bpffs_unlink(local));
	return REAL(unlink)(path);
}

int remove(const char *path)
{
	char local[PATH_MAX];

	if (!sl_bpffs_resolve(path, local, sizeof(local)))
		return REAL(remove)(path);
	if (sl_bpffs_look_up(local) == SL_BPFFS_DIRECTORY)
		return answer(sl_bpffs_rmdir(local));
	return answer(sl_bpffs_unlink(local));
}
