#include "bpffs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/*
 * The last name of a path, which may have slashes behind it; *ret_dir_len is what is before it. Empty:
 * there is none.
 */
static const char *last_name(const char *path, size_t *ret_dir_len)
{
	size_t end = strlen(path), start;

	while (end > 0 && path[end - 1] == '/')
		end--;
	start = end;
	while (start > 0 && path[start - 1] != '/')
		start--;
	*ret_dir_len = start;
	return path + start;
}

/* The directory in which the last name is. */
static void directory_of(const char *path, char ret_dir[PATH_MAX])
{
	size_t len;

	last_name(path, &len);
	snprintf(ret_dir, PATH_MAX, "%.*s", len ? (int)len : 1, len ? path : ".");
}

int sl_bpffs_check_new(const struct sl_bpffs_path *path)
{
	char dir[PATH_MAX], plain[PATH_MAX];
	size_t len = strlen(path->path);
	struct stat st;

	if (!len)
		return -ENOENT;
	/* Something is there even if it is no directory, as a slash at the end would have it. */
	while (len > 1 && path->path[len - 1] == '/')
		len--;
	snprintf(plain, sizeof(plain), "%.*s", (int)len, path->path);
	if (fstatat(path->dir_fd, plain, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	if (errno != ENOENT)
		return -errno;
	directory_of(path->path, dir);
	if (fstatat(path->dir_fd, dir, &st, 0) != 0)
		return -errno;
	if (path->path[len] == '/')
		return -ENOENT;
	if (path->where != SL_BPFFS_INSIDE)
		return -EPERM;
	return faccessat(path->dir_fd, dir, W_OK | X_OK, AT_EACCESS) == 0 ? 0 : -errno;
}

int sl_bpffs_place(int dir_fd, const char *path, struct sl_bpffs_path *ret)
{
	char dir[PATH_MAX];
	int err, fd;

	err = sl_bpffs_look(dir_fd, path, ret);
	if (!err)
		err = sl_bpffs_check_new(ret);
	if (err)
		return err;
	directory_of(ret->path, dir);
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd >= 0 ? fd : errno == EISDIR ? -EOPNOTSUPP : -errno;
}

int sl_bpffs_publish(int fd, const struct sl_bpffs_path *path)
{
	char link[40];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, link, path->dir_fd, path->path, AT_SYMLINK_FOLLOW) == 0 ? 0
											: -errno;
}

/* Opened again with the rights that are asked for: now nobody can exchange what is there. */
static int reopen(int fd, int access)
{
	char link[40];
	int file;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	file = open(link, access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return file >= 0 ? file : -errno;
}

int sl_bpffs_open(int dir_fd, const char *path, int access)
{
	struct sl_bpffs_path look;
	struct stat st;
	int fd, ret;

	if (!*path)
		return -ENOENT;
	ret = sl_bpffs_look(dir_fd, path, &look);
	if (ret)
		return ret;
	fd = openat(look.dir_fd, look.path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* A directory, or no bpf file system at all. */
	ret = -EACCES;
	if (look.where == SL_BPFFS_INSIDE && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		ret = reopen(fd, access);
	close(fd);
	return ret;
}
