#undef _FILE_OFFSET_BITS

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "paths.h"
#include "real.h"
#include "serve.h"

/*
 * Opening and walking. A directory's descriptor is a real one, so that everything which starts from
 * it works, in this process and after an exec. Files cannot be made in a bpf file system, and what
 * is there, pins, is not read.
 */

static int fail(int err)
{
	errno = err;
	return -1;
}

/* Once a pin has been opened with all checks of rights: it has nothing to read. */
static int opened(int fd, int flags)
{
	struct stat st;

	if (fd < 0 || (flags & O_PATH) || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return fail(EIO);
}

/* What O_CREAT says about what is there already, and what is not. 0: there is something to open. */
static int check_create(struct sl_bpffs_path *look, int flags)
{
	size_t len = strlen(look->path);
	bool slash = look->path[len - 1] == '/';
	struct stat st;
	int err;

	/* Of a path that ends in a slash, only the way to the last name is looked at. */
	while (look->real[len - 1] == '/')
		look->real[--len] = 0;
	sl_serve_inside++;
	err = -sl_bpffs_check_new(look);
	sl_serve_inside--;
	if (err && err != EEXIST && err != EACCES)
		return err;
	if (slash)
		return REAL(fstatat)(look->dir_fd, look->path, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
				       errno == ENOENT
			       ? EISDIR
			       : errno;
	if (err != EEXIST)
		return EACCES;
	if (flags & O_EXCL)
		return EEXIST;
	/* A link may lead to nothing. */
	if (REAL(fstatat)(look->dir_fd, look->path, &st, 0) != 0)
		return errno == ENOENT ? EACCES : errno;
	return S_ISDIR(st.st_mode) ? EISDIR : 0;
}

static int open_inside(struct sl_bpffs_path *look, int flags)
{
	int err, fd;

	if ((flags & O_TMPFILE) == O_TMPFILE) {
		fd = REAL(openat)(look->dir_fd, look->path, flags, 0600);
		if (fd >= 0)
			close(fd);
		return fd >= 0 ? fail(EOPNOTSUPP) : -1;
	}
	if (flags & O_CREAT) {
		err = check_create(look, flags);
		if (err)
			return fail(err);
	}
	return opened(REAL(openat)(look->dir_fd, look->path,
			      (flags | O_NONBLOCK) & ~(O_CREAT | O_EXCL | O_TRUNC)),
		flags);
}

static int open_any(int dir_fd, const char *path, int flags, mode_t mode)
{
	struct sl_bpffs_path look;
	int fd;

	if (!sl_path_look(dir_fd, path, &look))
		return -1;
	if (look.where == SL_BPFFS_INSIDE)
		return open_inside(&look, flags);
	if ((flags & (O_ACCMODE | O_PATH)) == O_RDONLY && look.where == SL_BPFFS_OUTSIDE) {
		fd = sl_path_open_mounts(path);
		if (fd >= 0)
			return fd;
	}
	return REAL(openat)(look.dir_fd, look.path, flags, mode);
}

static mode_t mode_of(int flags, va_list list)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = mode_of(flags, list);
	va_end(list);
	return open_any(AT_FDCWD, path, flags, mode);
}

int openat(int dir_fd, const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = mode_of(flags, list);
	va_end(list);
	return open_any(dir_fd, path, flags, mode);
}

int creat(const char *path, mode_t mode)
{
	return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int dir_fd, const char *path, int flags, ...) __attribute__((alias("openat")));
int creat64(const char *path, mode_t mode) __attribute__((alias("creat")));

/* The names that programs compiled with _FORTIFY_SOURCE know them by. */
int __open_2(const char *path, int flags);
int __openat_2(int dir_fd, const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat64_2(int dir_fd, const char *path, int flags);

int __open_2(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0);
}

int __openat_2(int dir_fd, const char *path, int flags)
{
	return open_any(dir_fd, path, flags, 0);
}

int __open64_2(const char *path, int flags) __attribute__((alias("__open_2")));
int __openat64_2(int dir_fd, const char *path, int flags) __attribute__((alias("__openat_2")));

bool sl_path_fopen(const char *path, const char *mode, FILE **ret_file)
{
	struct sl_bpffs_path look;
	int fd;

	*ret_file = NULL;
	if (!sl_path_look(AT_FDCWD, path, &look))
		return true;
	if (look.where == SL_BPFFS_INSIDE) {
		fd = open_inside(&look, *mode == 'r' ? O_RDONLY : O_WRONLY | O_CREAT);
		*ret_file = fd >= 0 ? fdopen(fd, mode) : NULL;
		return true;
	}
	fd = *mode == 'r' ? sl_path_open_mounts(path) : -1;
	*ret_file = fd >= 0 ? fdopen(fd, mode) : NULL;
	return *ret_file;
}

DIR *opendir(const char *path)
{
	struct sl_bpffs_path look;

	return sl_path_look(AT_FDCWD, path, &look) ? REAL(opendir)(look.path) : NULL;
}

#define SCANDIR(name, type)                                                                 \
	int name(const char *path, struct type ***list, int (*filter)(const struct type *), \
		int (*compare)(const struct type **, const struct type **))                 \
	{                                                                                   \
		struct sl_bpffs_path look;                                                  \
                                                                                            \
		if (!sl_path_look(AT_FDCWD, path, &look))                                   \
			return -1;                                                          \
		return REAL(name)(look.path, list, filter, compare);                        \
	}
SCANDIR(scandir, dirent)
SCANDIR(scandir64, dirent64)

FILE *setmntent(const char *path, const char *mode)
{
	int fd = sl_path_open_mounts(path);

	return fd >= 0 ? fdopen(fd, mode) : REAL(setmntent)(path, mode);
}

/* The program gets the paths that it knows. nftw() hands nothing on, so what does is the thread's. */

struct walk {
	__ftw_func_t file_fn;
	__nftw_func_t fn;
	struct walk *outer; /* a callback may walk */
};

static __thread struct walk *walk;

static const char *public_path(const char *path, char *buf, size_t size)
{
	bool inside;

	sl_serve_inside++;
	inside = sl_bpffs_public(path, buf, size);
	sl_serve_inside--;
	return inside ? buf : path;
}

static int on_nftw(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	char buf[PATH_MAX];
	const char *public = public_path(path, buf, sizeof(buf));
	struct FTW at = *ftw;

	/* The root's own name, which may differ in both, is the last of either. */
	if (public != path)
		at.base = (int)(strrchr(public, '/') + 1 - public);
	return walk->fn(public, st, kind, &at);
}

static int on_ftw(const char *path, const struct stat *st, int kind)
{
	char buf[PATH_MAX];

	return walk->file_fn(public_path(path, buf, sizeof(buf)), st, kind);
}

int nftw(const char *path, __nftw_func_t fn, int fds, int flags)
{
	struct walk mine = { .fn = fn, .outer = walk };
	struct sl_bpffs_path look;
	int ret;

	if (!sl_path_look(AT_FDCWD, path, &look))
		return -1;
	if (look.where == SL_BPFFS_OUTSIDE)
		return REAL(nftw)(path, fn, fds, flags);
	walk = &mine;
	ret = REAL(nftw)(look.path, on_nftw, fds, flags);
	walk = mine.outer;
	return ret;
}

int ftw(const char *path, __ftw_func_t fn, int fds)
{
	struct walk mine = { .file_fn = fn, .outer = walk };
	struct sl_bpffs_path look;
	int ret;

	if (!sl_path_look(AT_FDCWD, path, &look))
		return -1;
	if (look.where == SL_BPFFS_OUTSIDE)
		return REAL(ftw)(path, fn, fds);
	walk = &mine;
	ret = REAL(ftw)(look.path, on_ftw, fds);
	walk = mine.outer;
	return ret;
}

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "are one on 64-bit machines");
int nftw64(const char *path, __nftw64_func_t fn, int fds, int flags) __attribute__((alias("nftw")));
int ftw64(const char *path, __ftw64_func_t fn, int fds) __attribute__((alias("ftw")));

/* Its entries show the real paths, which lead to the same. */
FTS *fts_open(char *const *paths, int options, int (*compare)(const FTSENT **, const FTSENT **))
{
	size_t count = 0;
	char **real;
	FTS *ret = NULL;

	while (paths[count])
		count++;
	real = calloc(count + 1, sizeof(*real));
	for (size_t i = 0; real && i < count; i++) {
		struct sl_bpffs_path look;

		real[i] = strdup(sl_path_look(AT_FDCWD, paths[i], &look) ? look.path : paths[i]);
	}
	if (real)
		ret = REAL(fts_open)(real, options, compare);
	for (size_t i = 0; real && i < count; i++)
		free(real[i]);
	free(real);
	return ret;
}

FTS64 *fts64_open(char *const *paths, int options,
	int (*compare)(const FTSENT64 **, const FTSENT64 **)) __attribute__((alias("fts_open")));

/* libc's own opens directories past us; told what to use, it does not. */
#define GLOB(name, type, dir_type, stat_fn, lstat_fn)                                         \
	static void *name##_opendir(const char *path)                                         \
	{                                                                                     \
		return opendir(path);                                                         \
	}                                                                                     \
	static struct dir_type *name##_readdir(void *dir)                                     \
	{                                                                                     \
		return read##dir_type(dir);                                                   \
	}                                                                                     \
	static void name##_closedir(void *dir)                                                \
	{                                                                                     \
		closedir(dir);                                                                \
	}                                                                                     \
	int name(const char *pattern, int flags, int (*error)(const char *, int), type *list) \
	{                                                                                     \
		if (!(flags & GLOB_ALTDIRFUNC)) {                                             \
			list->gl_opendir = name##_opendir;                                    \
			list->gl_readdir = name##_readdir;                                    \
			list->gl_closedir = name##_closedir;                                  \
			list->gl_stat = stat_fn;                                              \
			list->gl_lstat = lstat_fn;                                            \
		}                                                                             \
		return REAL(name)(pattern, flags | GLOB_ALTDIRFUNC, error, list);             \
	}
#define readdirent readdir
#define readdirent64 readdir64
GLOB(glob, glob_t, dirent, stat, lstat)
GLOB(glob64, glob64_t, dirent64, stat64, lstat64)
