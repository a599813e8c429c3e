#undef _FILE_OFFSET_BITS

#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "api.h"
#include "real.h"
#include "serve.h"

/*
 * The calls that take a path, or tell one: each is libc's with the path exchanged (bpffs/bpffs.h).
 * What is otherwise in a bpf file system, is said where it is done.
 */

#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void use_bpffs(void)
{
	if (sl_serve_api()->use_bpffs)
		sl_serve_api()->use_bpffs();
}

/*
 * libc's headers promise that paths are not NULL, which programs need not keep: the compiler must not
 * carry the promise to here.
 */
__attribute__((noipa)) bool sl_path_look(int dir_fd, const char *path, struct sl_bpffs_path *ret)
{
	int saved = errno, err = 0;

	if (sl_serve_inside || sl_bpffs_busy || !path) {
		ret->where = SL_BPFFS_OUTSIDE;
		ret->dir_fd = dir_fd;
		ret->path = path;
		return true;
	}
	sl_serve_inside++;
	pthread_once(&once, use_bpffs);
	err = sl_bpffs_look(dir_fd, path, ret);
	sl_serve_inside--;
	errno = err ? -err : saved;
	return !err;
}

/* A call with one path, relative to the working directory. */
#define CALL(type, name, failed, parameters, ...)                        \
	type name parameters                                             \
	{                                                                \
		struct sl_bpffs_path look;                               \
                                                                         \
		if (!sl_path_look(AT_FDCWD, path, &look))                \
			return failed;                                   \
		return REAL(name)(look.path __VA_OPT__(, ) __VA_ARGS__); \
	}

/* The same relative to a directory's descriptor. */
#define CALL_AT(name, parameters, ...)                                  \
	int name parameters                                             \
	{                                                               \
		struct sl_bpffs_path look;                              \
                                                                        \
		if (!sl_path_look(dir_fd, path, &look))                 \
			return -1;                                      \
		return REAL(name)(look.dir_fd, look.path, __VA_ARGS__); \
	}

CALL(int, access, -1, (const char *path, int mode), mode)
CALL(int, eaccess, -1, (const char *path, int mode), mode)
CALL(int, euidaccess, -1, (const char *path, int mode), mode)
CALL_AT(faccessat, (int dir_fd, const char *path, int mode, int flags), mode, flags)
CALL(int, chdir, -1, (const char *path))
CALL(int, mkdir, -1, (const char *path, mode_t mode), mode)
CALL_AT(mkdirat, (int dir_fd, const char *path, mode_t mode), mode)
CALL(int, rmdir, -1, (const char *path))
CALL(int, unlink, -1, (const char *path))
CALL_AT(unlinkat, (int dir_fd, const char *path, int flags), flags)
CALL(int, remove, -1, (const char *path))
CALL(int, chmod, -1, (const char *path, mode_t mode), mode)
CALL_AT(fchmodat, (int dir_fd, const char *path, mode_t mode, int flags), mode, flags)
CALL(int, chown, -1, (const char *path, uid_t uid, gid_t gid), uid, gid)
CALL(int, lchown, -1, (const char *path, uid_t uid, gid_t gid), uid, gid)
CALL_AT(fchownat, (int dir_fd, const char *path, uid_t uid, gid_t gid, int flags), uid, gid, flags)
CALL(int, truncate, -1, (const char *path, off_t len), len)
CALL(int, truncate64, -1, (const char *path, off64_t len), len)
CALL(int, utimes, -1, (const char *path, const struct timeval times[2]), times)
CALL_AT(utimensat, (int dir_fd, const char *path, const struct timespec times[2], int flags), times,
	flags)
CALL(int, statvfs, -1, (const char *path, struct statvfs *ret), ret)
CALL(int, statvfs64, -1, (const char *path, struct statvfs64 *ret), ret)
CALL(long, pathconf, -1, (const char *path, int name), name)
CALL(ssize_t, getxattr, -1, (const char *path, const char *name, void *value, size_t size), name,
	value, size)
CALL(ssize_t, lgetxattr, -1, (const char *path, const char *name, void *value, size_t size), name,
	value, size)
CALL(ssize_t, listxattr, -1, (const char *path, char *list, size_t size), list, size)
CALL(ssize_t, llistxattr, -1, (const char *path, char *list, size_t size), list, size)

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	struct sl_bpffs_path look;

	return sl_path_look(AT_FDCWD, path, &look) ? REAL(inotify_add_watch)(fd, look.path, mask)
						   : -1;
}

/* Directories and links have no size there, and take no blocks. */
#define STAT_DONE(ret, look, st)                                    \
	({                                                          \
		int sl_ret = (ret);                                 \
                                                                    \
		if (sl_ret == 0 && (look).where == SL_BPFFS_INSIDE) \
			(st)->st_size = (st)->st_blocks = 0;        \
		sl_ret;                                             \
	})

#define STAT(name, type)                                               \
	int name(const char *path, struct type *st)                    \
	{                                                              \
		struct sl_bpffs_path look;                             \
                                                                       \
		if (!sl_path_look(AT_FDCWD, path, &look))              \
			return -1;                                     \
		return STAT_DONE(REAL(name)(look.path, st), look, st); \
	}
#define STAT_AT(name, type)                                                                \
	int name(int dir_fd, const char *path, struct type *st, int flags)                 \
	{                                                                                  \
		struct sl_bpffs_path look;                                                 \
                                                                                           \
		if (!sl_path_look(dir_fd, path, &look))                                    \
			return -1;                                                         \
		return STAT_DONE(REAL(name)(look.dir_fd, look.path, st, flags), look, st); \
	}

STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)
STAT_AT(fstatat, stat)
STAT_AT(fstatat64, stat64)

int statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *st)
{
	struct sl_bpffs_path look;
	int ret;

	if (!sl_path_look(dir_fd, path, &look))
		return -1;
	ret = REAL(statx)(look.dir_fd, look.path, flags, mask, st);
	if (ret == 0 && look.where == SL_BPFFS_INSIDE)
		st->stx_size = st->stx_blocks = 0;
	return ret;
}

/* What programs that were linked before glibc 2.33 call. */
int __xstat(int version, const char *path, struct stat *st);
int __lxstat(int version, const char *path, struct stat *st);
int __fxstatat(int version, int dir_fd, const char *path, struct stat *st, int flags);
int __xstat64(int version, const char *path, struct stat64 *st);
int __lxstat64(int version, const char *path, struct stat64 *st);
int __fxstatat64(int version, int dir_fd, const char *path, struct stat64 *st, int flags);

#define OLD_STAT(suffix)                                                                       \
	int __xstat##suffix(int version, const char *path, struct stat##suffix *st)            \
	{                                                                                      \
		(void)version;                                                                 \
		return stat##suffix(path, st);                                                 \
	}                                                                                      \
	int __lxstat##suffix(int version, const char *path, struct stat##suffix *st)           \
	{                                                                                      \
		(void)version;                                                                 \
		return lstat##suffix(path, st);                                                \
	}                                                                                      \
	int __fxstatat##suffix(                                                                \
		int version, int dir_fd, const char *path, struct stat##suffix *st, int flags) \
	{                                                                                      \
		(void)version;                                                                 \
		return fstatat##suffix(dir_fd, path, st, flags);                               \
	}
OLD_STAT()
OLD_STAT(64)

#define AS_BPF_FS(ret)                                                                           \
	*(ret) = (__typeof__(*(ret)))                                                            \
	{                                                                                        \
		.f_type = BPF_FS_MAGIC, .f_bsize = 4096, .f_frsize = 4096, .f_namelen = NAME_MAX \
	}

int statfs(const char *path, struct statfs *fs)
{
	struct sl_bpffs_path look;
	int ret;

	if (!sl_path_look(AT_FDCWD, path, &look))
		return -1;
	ret = REAL(statfs)(look.path, fs);
	if (ret == 0 && look.where == SL_BPFFS_INSIDE)
		AS_BPF_FS(fs);
	return ret;
}

static bool is_inside(int fd)
{
	int saved = errno;
	bool inside;

	if (sl_serve_inside)
		return false;
	sl_serve_inside++;
	inside = sl_bpffs_holds(fd, NULL, 0);
	sl_serve_inside--;
	errno = saved;
	return inside;
}

int fstatfs(int fd, struct statfs *fs)
{
	int ret = REAL(fstatfs)(fd, fs);

	if (ret == 0 && is_inside(fd))
		AS_BPF_FS(fs);
	return ret;
}

_Static_assert(sizeof(struct statfs) == sizeof(struct statfs64), "are one on 64-bit machines");
int statfs64(const char *path, struct statfs64 *fs) __attribute__((alias("statfs")));
int fstatfs64(int fd, struct statfs64 *fs) __attribute__((alias("fstatfs")));

static int fail(int err)
{
	errno = err;
	return -1;
}

static int check_new(const struct sl_bpffs_path *look)
{
	int err;

	sl_serve_inside++;
	err = sl_bpffs_check_new(look);
	sl_serve_inside--;
	return err;
}

/* Neither devices nor plain files. */
int mknodat(int dir_fd, const char *path, mode_t mode, dev_t device)
{
	struct sl_bpffs_path look;
	int err;

	if (!sl_path_look(dir_fd, path, &look))
		return -1;
	if (look.where == SL_BPFFS_INSIDE) {
		err = check_new(&look);
		return fail(err ? -err : mode & S_IFMT & ~S_IFREG ? EPERM : EACCES);
	}
	return REAL(mknodat)(look.dir_fd, look.path, mode, device);
}

int mknod(const char *path, mode_t mode, dev_t device)
{
	return mknodat(AT_FDCWD, path, mode, device);
}

int mkfifoat(int dir_fd, const char *path, mode_t mode)
{
	return mknodat(dir_fd, path, mode | S_IFIFO, 0);
}

int mkfifo(const char *path, mode_t mode)
{
	return mkfifoat(AT_FDCWD, path, mode);
}

/* Between two file systems nothing moves. */
static bool same_fs(const struct sl_bpffs_path *a, const struct sl_bpffs_path *b)
{
	if (a->where != SL_BPFFS_INSIDE || b->where != SL_BPFFS_INSIDE)
		return a->where != SL_BPFFS_INSIDE && b->where != SL_BPFFS_INSIDE;
	return a->mount_len == b->mount_len && memcmp(a->path, b->path, a->mount_len) == 0;
}

/* As the kernel says it: first what is wrong with the one that must be there. */
static bool look_two(int from_fd, const char *from, struct sl_bpffs_path *ret_from, int to_fd,
	const char *to, struct sl_bpffs_path *ret_to)
{
	bool seen;
	int err;

	if (!sl_path_look(from_fd, from, ret_from))
		return false;
	seen = sl_path_look(to_fd, to, ret_to);
	if (seen && same_fs(ret_from, ret_to))
		return true;
	err = seen ? EXDEV : errno;
	if (REAL(faccessat)(
		    ret_from->dir_fd, ret_from->path, F_OK, AT_SYMLINK_NOFOLLOW | AT_EACCESS) == 0)
		errno = err;
	return false;
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	struct sl_bpffs_path a, b;

	if ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)))
		return fail(EINVAL);
	if (!look_two(from_fd, from, &a, to_fd, to, &b))
		return -1;
	if (a.where == SL_BPFFS_INSIDE && (flags & RENAME_WHITEOUT))
		return fail(EINVAL);
	return REAL(renameat2)(a.dir_fd, a.path, b.dir_fd, b.path, flags);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	struct sl_bpffs_path a, b;

	if (!look_two(from_fd, from, &a, to_fd, to, &b))
		return -1;
	return REAL(renameat)(a.dir_fd, a.path, b.dir_fd, b.path);
}

int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	struct sl_bpffs_path a, b;

	if (!look_two(from_fd, from, &a, to_fd, to, &b))
		return -1;
	return REAL(linkat)(a.dir_fd, a.path, b.dir_fd, b.path, flags);
}

int link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

__attribute__((noipa)) static bool is_absolute(const char *path)
{
	return path && *path == '/';
}

/* The kernel follows it by itself, so it leads to the real place; readlink() tells the other. */
int symlinkat(const char *target, int dir_fd, const char *path)
{
	struct sl_bpffs_path look, to;

	if (!sl_path_look(dir_fd, path, &look))
		return -1;
	if (look.where == SL_BPFFS_INSIDE && is_absolute(target)) {
		/* Whatever is wrong with it: nobody goes there now. */
		sl_path_look(AT_FDCWD, target, &to);
		target = to.path;
	}
	return REAL(symlinkat)(target, look.dir_fd, look.path);
}

int symlink(const char *target, const char *path)
{
	return symlinkat(target, AT_FDCWD, path);
}

static bool make_public(const char *real, char *ret_path, size_t size)
{
	bool ret;

	if (sl_serve_inside)
		return false;
	sl_serve_inside++;
	ret = sl_bpffs_public(real, ret_path, size);
	sl_serve_inside--;
	return ret;
}

ssize_t readlinkat(int dir_fd, const char *path, char *target, size_t size)
{
	char real[PATH_MAX], public[PATH_MAX];
	struct sl_bpffs_path look;
	ssize_t len;

	if (!sl_path_look(dir_fd, path, &look))
		return -1;
	/* What /proc/self/fd/N tells can be a path inside, too. */
	len = REAL(readlinkat)(look.dir_fd, look.path, real, sizeof(real) - 1);
	if (len > 0)
		real[len] = 0;
	/* Of others, libc answers to the caller's own buffer, be it a wrong one. */
	if (len < 0 || !make_public(real, public, sizeof(public)))
		return REAL(readlinkat)(look.dir_fd, look.path, target, size);
	if ((ssize_t)size <= 0)
		return fail(EINVAL);
	len = (ssize_t)strnlen(public, size);
	memcpy(target, public, (size_t)len);
	return len;
}

ssize_t readlink(const char *path, char *target, size_t size)
{
	return readlinkat(AT_FDCWD, path, target, size);
}

/* A path that libc tells, in a buffer of `size` bytes or memory of its own. */
static char *tell(char *real, char *buf, size_t size)
{
	char public[PATH_MAX];
	char *ret = buf;

	if (!real || !make_public(real, public, sizeof(public))) {
		if (!real || !buf)
			return real;
		snprintf(public, sizeof(public), "%s", real);
	}
	if (!buf)
		ret = strdup(public);
	else if (strlen(public) >= size)
		ret = (errno = ERANGE, NULL);
	else
		strcpy(buf, public);
	free(real);
	return ret;
}

char *realpath(const char *path, char *resolved)
{
	struct sl_bpffs_path look;

	if (!sl_path_look(AT_FDCWD, path, &look))
		return NULL;
	return tell(REAL(realpath)(look.path, NULL), resolved, PATH_MAX);
}

char *canonicalize_file_name(const char *path)
{
	return realpath(path, NULL);
}

char *getcwd(char *buf, size_t size)
{
	if (buf && size == 0)
		return (errno = EINVAL, NULL);
	/* Without a buffer the size is the memory's, and may be too small. */
	if (!buf && size > 0) {
		char *cwd = tell(REAL(getcwd)(NULL, 0), NULL, 0);

		if (!cwd || strlen(cwd) < size)
			return cwd;
		free(cwd);
		return (errno = ERANGE, NULL);
	}
	return tell(REAL(getcwd)(NULL, 0), buf, size);
}

char *get_current_dir_name(void)
{
	return tell(REAL(get_current_dir_name)(), NULL, 0);
}

/* The names that programs compiled with _FORTIFY_SOURCE know them by. */
char *__realpath_chk(const char *path, char *resolved, size_t size);
char *__getcwd_chk(char *buf, size_t size, size_t room);
ssize_t __readlink_chk(const char *path, char *target, size_t size, size_t room);
ssize_t __readlinkat_chk(int dir_fd, const char *path, char *target, size_t size, size_t room);

char *__realpath_chk(const char *path, char *resolved, size_t size)
{
	return size < PATH_MAX ? REAL(__realpath_chk)(path, resolved, size)
			       : realpath(path, resolved);
}

char *__getcwd_chk(char *buf, size_t size, size_t room)
{
	return size > room ? REAL(__getcwd_chk)(buf, size, room) : getcwd(buf, size);
}

ssize_t __readlink_chk(const char *path, char *target, size_t size, size_t room)
{
	return size > room ? REAL(__readlink_chk)(path, target, size, room)
			   : readlink(path, target, size);
}

ssize_t __readlinkat_chk(int dir_fd, const char *path, char *target, size_t size, size_t room)
{
	return size > room ? REAL(__readlinkat_chk)(dir_fd, path, target, size, room)
			   : readlinkat(dir_fd, path, target, size);
}
