#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpffs.h"

/*
 * Which places are bpf file systems. A place's directory in the root has its path for a name, with
 * slashes written as dashes; what other processes have mounted by the time that the list is first
 * looked at is found by these.
 */
enum { PLACES_MAX = 256 };

static const char usual[] = "/sys/fs/bpf";

static char *places[PLACES_MAX];
static unsigned place_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool ready;

bool sl_bpffs_append(char *to, size_t size, size_t *len, const char *from)
{
	while (*from) {
		size_t n = strcspn(from, "/");

		if (n == 2 && memcmp(from, "..", 2) == 0) {
			while (*len > 0 && to[--*len] != '/')
				;
		} else if (n > 0 && !(n == 1 && *from == '.')) {
			if (*len + 1 + n >= size)
				return false;
			to[(*len)++] = '/';
			memcpy(to + *len, from, n);
			*len += n;
		}
		from += n;
		from += strspn(from, "/");
	}
	to[*len] = 0;
	return true;
}

/* The place in the list that a path is; with the lock held. */
static char **find(const char *path, size_t len)
{
	for (unsigned i = 0; i < place_count; i++)
		if (strncmp(places[i], path, len) == 0 && places[i][len] == 0)
			return &places[i];
	return NULL;
}

static bool add(const char *place)
{
	char path[PATH_MAX];
	size_t len = 0;

	if (*place != '/' || !sl_bpffs_append(path, sizeof(path), &len, place) || len == 0)
		return false;
	if (find(path, len))
		return true;
	if (place_count == PLACES_MAX || !(places[place_count] = strdup(path)))
		return false;
	place_count++;
	return true;
}

/* A place as /proc/mounts writes it, with blanks and the like as octal numbers. */
static void add_escaped(char *place)
{
	char *to = place;

	for (const char *from = place; *from; to++) {
		unsigned c;

		if (sscanf(from, "\\%3o", &c) == 1) {
			*to = (char)c;
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = 0;
	add(place);
}

/*
 * The kernel's own. Read by plain system calls: fopen() may be the preload library's, which asks
 * this file what to answer.
 */
static void add_kernels(void)
{
	int fd = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);
	char place[PATH_MAX], *line, *end, *buf = NULL;
	size_t len = 0, room = 0;
	ssize_t got = 1;

	while (fd >= 0 && got > 0) {
		if (room - len < 4096) {
			char *more = realloc(buf, room + 65536 + 1);

			if (!more)
				break;
			buf = more;
			room += 65536;
		}
		got = read(fd, buf + len, room - len);
		len += got > 0 ? (size_t)got : 0;
	}
	if (fd >= 0)
		close(fd);
	if (buf)
		buf[len] = 0;
	for (line = buf; line && *line; line = end + 1) {
		end = strchr(line, '\n');
		if (!end)
			break;
		*end = 0;
		if (sscanf(line, "%*s %4095s bpf ", place) == 1 && strstr(line, " bpf "))
			add_escaped(place);
	}
	free(buf);
}

static void add_mounted(void)
{
	const char *root = sl_bpffs_known_root();
	char path[PATH_MAX];
	struct dirent *d;
	DIR *dir = root && !sl_bpffs_root_is_private() ? opendir(root) : NULL;

	while (dir && (d = readdir(dir)))
		if (sl_bpffs_mount_of_name(d->d_name, strlen(d->d_name), path, sizeof(path)))
			add(path);
	if (dir)
		closedir(dir);
}

/* Takes the lock. */
static void enter(void)
{
	const char *more = getenv("SLUICE_BPFFS");
	char *copy, *save, *place;

	pthread_mutex_lock(&lock);
	if (ready)
		return;
	ready = true;
	add(usual);
	copy = more ? strdup(more) : NULL;
	for (place = copy ? strtok_r(copy, ":", &save) : NULL; place;
		place = strtok_r(NULL, ":", &save))
		add(place);
	free(copy);
	add_kernels();
	add_mounted();
}

static bool is_place(const char *path, size_t len)
{
	bool found;

	enter();
	found = find(path, len) != NULL;
	pthread_mutex_unlock(&lock);
	return found;
}

/* As systemd names mount units: "/" is "-", and what is a dash itself, or a backslash, in hex. */
static bool name_of(const char *path, size_t len, char *ret_name, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		bool hex = path[i] == '-' || path[i] == '\\';

		if (n + 5 > size)
			return false;
		if (hex)
			n += (size_t)snprintf(ret_name + n, size - n, "\\x%02x", path[i]);
		else
			ret_name[n++] = path[i] == '/' ? '-' : path[i];
	}
	ret_name[n] = 0;
	return true;
}

bool sl_bpffs_mount_of_name(const char *name, size_t len, char *ret_path, size_t size)
{
	size_t n = 0;

	if (len == 0 || *name != '-')
		return false;
	for (size_t i = 0; i < len && n + 1 < size;) {
		unsigned c;

		if (len - i >= 4 && sscanf(name + i, "\\x%2x", &c) == 1) {
			ret_path[n++] = (char)c;
			i += 4;
		} else {
			ret_path[n++] = name[i] == '-' ? '/' : name[i];
			i++;
		}
	}
	ret_path[n] = 0;
	return n + 1 < size;
}

/* The directory in the root for a place; it need not exist. */
static bool directory_of(const char *path, size_t len, char *ret_real, size_t size)
{
	const char *root = sl_bpffs_root();
	char name[NAME_MAX + 1];
	size_t root_len;

	if (!root || !name_of(path, len, name, sizeof(name)))
		return false;
	root_len = strlen(root);
	if (root_len + 1 + strlen(name) >= size)
		return false;
	memcpy(ret_real, root, root_len);
	ret_real[root_len] = '/';
	strcpy(ret_real + root_len + 1, name);
	return true;
}

bool sl_bpffs_mount_at(const char *path, size_t len, char *ret_real, size_t size)
{
	if (!is_place(path, len) || !directory_of(path, len, ret_real, size))
		return false;
	/* As systemd mounts it. Where that is another user's to decide, the path is not there. */
	if (access(ret_real, F_OK) != 0)
		mkdir(ret_real, 0700);
	return true;
}

int sl_bpffs_mount(const char *dir, mode_t mode)
{
	char path[PATH_MAX], real[PATH_MAX];
	bool added;

	if (!realpath(dir, path))
		return -errno;
	/* A path of this library's own is inside already. */
	if (sl_bpffs_public(path, real, sizeof(real)))
		return -EBUSY;
	if (!directory_of(path, strlen(path), real, sizeof(real)))
		return -ENAMETOOLONG;
	if (mkdir(real, 0700) != 0)
		return errno == EEXIST ? -EBUSY : errno == EACCES ? -EPERM : -errno;
	enter();
	added = add(path);
	pthread_mutex_unlock(&lock);
	/* The process's umask has no say in the mode. */
	if (added && chmod(real, mode & 07777) == 0)
		return 0;
	rmdir(real);
	return -ENOMEM;
}

int sl_bpffs_unmount(const char *dir)
{
	char path[PATH_MAX], real[PATH_MAX];
	size_t len = 0;
	char **place;

	if (*dir != '/' || !sl_bpffs_append(path, sizeof(path), &len, dir) || !is_place(path, len))
		return -EINVAL;
	if (!directory_of(path, len, real, sizeof(real)))
		return -ENAMETOOLONG;
	if (access(sl_bpffs_root(), W_OK) != 0)
		return -EPERM;
	sl_bpffs_empty(real);
	if (rmdir(real) != 0 && errno != ENOENT)
		return -errno;
	enter();
	place = find(path, len);
	if (place) {
		free(*place);
		*place = places[--place_count];
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

bool sl_bpffs_mounted(unsigned index, char *ret_dir, size_t size)
{
	bool found;

	enter();
	found = index < place_count;
	if (found)
		snprintf(ret_dir, size, "%s", places[index]);
	pthread_mutex_unlock(&lock);
	return found;
}
