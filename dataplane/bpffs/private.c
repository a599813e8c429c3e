#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bpffs.h"

/*
 * A root that is a process's own, and of the children that it forks: a directory in memory, or where
 * temporary files go. Each of these processes holds a shared lock on it, and the one that finds no
 * other holder when it exits removes it. What one has left behind that was killed, the next to make
 * such a directory removes.
 */

#define PREFIX "sluice-bpffs."

/* Younger than this one may not be locked yet. */
enum { YOUNG_S = 10, NAME_BYTES = 64 };

static char own[PATH_MAX];
static int own_fd = -1;

static void remove_own(void)
{
	if (own_fd < 0 || flock(own_fd, LOCK_EX | LOCK_NB) != 0)
		return;
	sl_bpffs_empty(own);
	rmdir(own);
	own_fd = -1;
}

static int open_locked(const char *dir, int how)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && flock(fd, how | LOCK_NB) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* A lock of its own: the one that a child inherits is the parent's. */
static void in_child(void)
{
	int fd;

	if (own_fd < 0)
		return;
	fd = open_locked(own, LOCK_SH);
	close(own_fd);
	own_fd = fd;
}

static void remove_if_left(const char *dir)
{
	struct stat st;
	int fd;

	if (lstat(dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
		time(NULL) - st.st_ctime < YOUNG_S)
		return;
	fd = open_locked(dir, LOCK_EX);
	if (fd < 0)
		return;
	sl_bpffs_empty(dir);
	rmdir(dir);
	close(fd);
}

static void sweep(const char *in)
{
	DIR *dir = opendir(in);
	char path[PATH_MAX];
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		if (strncmp(d->d_name, PREFIX, sizeof(PREFIX) - 1) == 0 &&
			snprintf(path, sizeof(path), "%s/%s", in, d->d_name) < (int)sizeof(path))
			remove_if_left(path);
	}
	if (dir)
		closedir(dir);
}

static int make_in(const char *in, char *ret_dir, size_t size)
{
	char path[PATH_MAX];

	if (!in || strlen(in) + NAME_BYTES > sizeof(path))
		return -ENOENT;
	snprintf(path, sizeof(path), "%s/" PREFIX "%u.XXXXXX", in, (unsigned)geteuid());
	if (!mkdtemp(path))
		return -errno;
	sweep(in);
	if (!realpath(path, own))
		return -errno;
	own_fd = open_locked(own, LOCK_SH);
	/* A process may change its user: what is inside has rights of its own. */
	chmod(own, 0711);
	snprintf(ret_dir, size, "%s", own);
	return 0;
}

static void at_first(void)
{
	pthread_atfork(NULL, NULL, in_child);
	atexit(remove_own);
}

int sl_bpffs_private_new(char *ret_dir, size_t size)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int err;

	pthread_once(&once, at_first);
	err = make_in("/dev/shm", ret_dir, size);
	if (err)
		err = make_in(getenv("TMPDIR"), ret_dir, size);
	return err ? make_in("/tmp", ret_dir, size) : 0;
}
