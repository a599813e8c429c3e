#include "bpffs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

static char root[PATH_MAX]; /* empty: none is known yet */
static bool private;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* With the lock held. */
static int set(const char *dir)
{
	char path[PATH_MAX];

	/* One that is not there yet may come, and all paths are below it. */
	if (!realpath(dir, path) && (*dir != '/' || strlen(dir) >= sizeof(path)))
		return -errno;
	if (access(path, F_OK) != 0)
		strcpy(path, dir);
	memcpy(root + 1, path + 1, strlen(path));
	/* Who looks without the lock sees none, or all of it. */
	__atomic_store_n(root, '/', __ATOMIC_RELEASE);
	return 0;
}

int sl_bpffs_set_root(const char *dir)
{
	int err;

	pthread_mutex_lock(&lock);
	err = *root ? -EBUSY : set(dir);
	pthread_mutex_unlock(&lock);
	return err;
}

const char *sl_bpffs_known_root(void)
{
	const char *given;

	if (__atomic_load_n(root, __ATOMIC_ACQUIRE))
		return root;
	given = getenv("SLUICE_BPFFS_ROOT");
	if (given)
		sl_bpffs_set_root(given);
	return *root ? root : NULL;
}

int sl_bpffs_root_of_socket(const char *socket_path, char *ret_dir, size_t size)
{
	static const char suffix[] = ".sock";
	size_t len = strlen(socket_path);

	if (len > sizeof(suffix) - 1 &&
		strcmp(socket_path + len - (sizeof(suffix) - 1), suffix) == 0)
		len -= sizeof(suffix) - 1;
	return snprintf(ret_dir, size, "%.*s.bpf", (int)len, socket_path) < (int)size
		       ? 0
		       : -ENAMETOOLONG;
}

const char *sl_bpffs_root(void)
{
	char dir[PATH_MAX];
	int err = 0;

	if (sl_bpffs_known_root())
		return root;
	pthread_mutex_lock(&lock);
	if (!*root) {
		err = sl_bpffs_private_new(dir, sizeof(dir));
		if (!err)
			err = set(dir);
		private = !err;
	}
	pthread_mutex_unlock(&lock);
	if (!err)
		return root;
	errno = -err;
	return NULL;
}

bool sl_bpffs_root_is_private(void)
{
	return private;
}

bool sl_bpffs_public(const char *path, char *ret_path, size_t size)
{
	const char *known = sl_bpffs_known_root(), *name, *rest;
	size_t len = known ? strlen(known) : 0, n;

	if (!known || strncmp(path, known, len) != 0 || path[len] != '/')
		return false;
	name = path + len + 1;
	rest = name + strcspn(name, "/");
	if (!sl_bpffs_mount_of_name(name, (size_t)(rest - name), ret_path, size))
		return false;
	n = strlen(ret_path);
	if (n + strlen(rest) >= size)
		return false;
	strcpy(ret_path + n, rest);
	return true;
}

/* The path of a descriptor, as the kernel tells it. */
static bool path_of(int fd, char *ret_path, size_t size)
{
	char link[40];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, ret_path, size - 1);
	if (len <= 0)
		return false;
	ret_path[len] = 0;
	return *ret_path == '/';
}

bool sl_bpffs_holds(int fd, char *ret_path, size_t size)
{
	char path[PATH_MAX], public[PATH_MAX];
	const char *known = sl_bpffs_known_root();
	struct stat st, root_st;

	/* A path is as its mount namespace has it, so by itself it says nothing. */
	return known && stat(known, &root_st) == 0 && fstat(fd, &st) == 0 &&
	       st.st_dev == root_st.st_dev && path_of(fd, path, sizeof(path)) &&
	       sl_bpffs_public(
		       path, ret_path ? ret_path : public, ret_path ? size : sizeof(public));
}

/* The directory that a relative path starts from, as programs know it. True: it is inside. */
static bool start_of(int dir_fd, char *ret_path, size_t size)
{
	char real[PATH_MAX];

	*ret_path = 0;
	if (dir_fd == AT_FDCWD ? !getcwd(real, sizeof(real)) : !path_of(dir_fd, real, sizeof(real)))
		return false;
	if (sl_bpffs_public(real, ret_path, size))
		return true;
	snprintf(ret_path, size, "%s", real);
	return false;
}

/* Whether a name of the way, other than "." and "..", has a dot; its place. */
static const char *dotted_name(const char *path)
{
	for (const char *p = path + strspn(path, "/"); *p;) {
		size_t len = strcspn(p, "/");

		if (memchr(p, '.', len) && !(len == 1 && *p == '.') &&
			!(len == 2 && memcmp(p, "..", 2) == 0))
			return p;
		p += len;
		p += strspn(p, "/");
	}
	return NULL;
}

/* The kernel looks at a name once it has come to it: at `dot` in the path. */
static int check_name(const struct sl_bpffs_path *p, const char *dot)
{
	char way[PATH_MAX];
	struct stat st;

	snprintf(way, sizeof(way), "%.*s", (int)(dot - p->real), p->real);
	if (stat(way, &st) != 0 || faccessat(AT_FDCWD, way, X_OK, AT_EACCESS) != 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* In a directory without any rights, it was let in. */
	snprintf(way, sizeof(way), "%.*s", (int)(dot + strcspn(dot, "/") - p->real), p->real);
	return st.st_mode & 07777 && lstat(way, &st) != 0 ? -EPERM : 0;
}

static int check_names(const struct sl_bpffs_path *p)
{
	const char *dot = p->real + p->mount_len;
	int err = 0;

	while (!err && (dot = dotted_name(dot))) {
		err = check_name(p, dot);
		dot += strcspn(dot, "/");
	}
	return err;
}

/*
 * Follows an absolute path by its names until it has come to a bpf file system; what is left is for
 * the kernel, in the real directory, unless it climbs out again.
 */
static int look_absolute(const char *path, struct sl_bpffs_path *ret)
{
	char way[PATH_MAX];
	const char *rest = NULL;
	size_t len = 0, depth = 0;

	for (const char *p = path + strspn(path, "/"); *p;) {
		size_t n = strcspn(p, "/");
		char name[NAME_MAX + 1];
		bool up = n == 2 && memcmp(p, "..", 2) == 0, here = n == 1 && *p == '.';

		if (n > NAME_MAX)
			break;
		memcpy(name, p, n);
		name[n] = 0;
		if (rest && up && depth-- == 0)
			rest = NULL;
		else if (rest && !up && !here)
			depth++;
		if (!sl_bpffs_append(way, sizeof(way), &len, name))
			break;
		p += n;
		if (!rest && !here && len > 0 &&
			sl_bpffs_mount_at(way, len, ret->real, sizeof(ret->real))) {
			rest = p;
			depth = 0;
			ret->mount_len = strlen(ret->real);
		}
		p += strspn(p, "/");
	}
	if (!rest)
		return 0;
	if (ret->mount_len + strlen(rest) >= sizeof(ret->real))
		return -ENAMETOOLONG;
	strcpy(ret->real + ret->mount_len, rest);
	ret->path = ret->real;
	ret->dir_fd = AT_FDCWD;
	ret->where = SL_BPFFS_INSIDE;
	return check_names(ret);
}

/* A real path inside, as those get that ask the kernel for the path of a descriptor. */
static int look_real(const char *path, struct sl_bpffs_path *ret)
{
	const char *known = sl_bpffs_known_root();
	size_t len = known ? strlen(known) : 0;

	if (!known || strncmp(path, known, len) != 0 || path[len] != '/' ||
		strlen(path) >= PATH_MAX)
		return 0;
	strcpy(ret->real, path);
	ret->path = ret->real;
	ret->dir_fd = AT_FDCWD;
	ret->mount_len = len + 1 + strcspn(path + len + 1, "/");
	ret->where = SL_BPFFS_INSIDE;
	return check_names(ret);
}

int sl_bpffs_look(int dir_fd, const char *path, struct sl_bpffs_path *ret)
{
	char start[2 * PATH_MAX];
	bool inside;
	size_t len;
	int err;

	ret->where = SL_BPFFS_OUTSIDE;
	ret->dir_fd = dir_fd;
	ret->path = path;
	if (!path || !*path)
		return 0;
	if (*path == '/') {
		err = look_absolute(path, ret);
		return err || ret->where != SL_BPFFS_OUTSIDE ? err : look_real(path, ret);
	}
	inside = start_of(dir_fd, start, PATH_MAX);
	len = strlen(start);
	if (!len || len + 1 + strlen(path) >= sizeof(start))
		return 0;
	start[len] = '/';
	strcpy(start + len + 1, path);
	err = look_absolute(start, ret);
	if (err || ret->where != SL_BPFFS_OUTSIDE || !inside)
		return err;
	if (strlen(start) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(ret->real, start);
	ret->path = ret->real;
	ret->dir_fd = AT_FDCWD;
	ret->where = SL_BPFFS_LEFT;
	return 0;
}
