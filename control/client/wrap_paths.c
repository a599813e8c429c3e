#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "api.h"
#include "bpffs.h"
#include "client.h"
#include "serve.h"

/*
 * As wrap.c, for what libbpf and our own code do around a pin: look whether its directory is in a bpf
 * file system, make the directory, and take the pin away.
 */
int __real_mkdir(const char *path, mode_t mode);
int __real_rmdir(const char *path);
int __real_unlink(const char *path);
int __real_statfs(const char *path, struct statfs *fs);

int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_statfs64(const char *path, struct statfs *fs);
int __wrap_rmdir(const char *path);
int __wrap_unlink(const char *path);
int __wrap_statfs(const char *path, struct statfs *fs);

static bool look(const char *path, struct sl_bpffs_path *ret)
{
	int err;

	ret->where = SL_BPFFS_OUTSIDE;
	ret->path = path;
	if (sl_serve_inside || sl_client_target() == SL_CLIENT_KERNEL)
		return true;
	sl_serve_inside++;
	if (sl_serve_api()->use_bpffs)
		sl_serve_api()->use_bpffs();
	err = sl_bpffs_look(AT_FDCWD, path, ret);
	sl_serve_inside--;
	if (err)
		errno = -err;
	return !err;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
	struct sl_bpffs_path at;

	return look(path, &at) ? __real_mkdir(at.path, mode) : -1;
}

int __wrap_rmdir(const char *path)
{
	struct sl_bpffs_path at;

	return look(path, &at) ? __real_rmdir(at.path) : -1;
}

int __wrap_unlink(const char *path)
{
	struct sl_bpffs_path at;

	return look(path, &at) ? __real_unlink(at.path) : -1;
}

int __wrap_statfs(const char *path, struct statfs *fs)
{
	struct sl_bpffs_path at;
	int ret;

	if (!look(path, &at))
		return -1;
	ret = __real_statfs(at.path, fs);
	if (ret == 0 && at.where == SL_BPFFS_INSIDE)
		fs->f_type = (__typeof__(fs->f_type))BPF_FS_MAGIC;
	return ret;
}

int __wrap_statfs64(const char *path, struct statfs *fs) __attribute__((alias("__wrap_statfs")));
