#include "bpffs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/*
 * Walks over trees that other users may change meanwhile: a directory is opened by its name in its
 * parent's descriptor, and not if it has become a link.
 */
enum { DEPTH_MAX = 256 }; /* one descriptor each */

__thread unsigned sl_bpffs_busy;

struct walk {
	bool (*fn)(const char *path, const char *real, const struct stat *st, void *arg);
	void *arg;
	char real[PATH_MAX];
	size_t len;
	unsigned depth;
};

static DIR *open_directory(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (fd >= 0 && !dir)
		close(fd);
	return dir;
}

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static bool visit_all(struct walk *w, int parent, const char *name);

static bool visit(struct walk *w, int parent, const char *name)
{
	char public[PATH_MAX];
	size_t before = w->len, len = strlen(name);
	struct stat st;
	bool go_on = true;

	if (w->len + 1 + len >= sizeof(w->real) ||
		fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return true;
	w->real[w->len] = '/';
	memcpy(w->real + w->len + 1, name, len + 1);
	w->len += 1 + len;
	if (sl_bpffs_public(w->real, public, sizeof(public)))
		go_on = w->fn(public, w->real, &st, w->arg);
	if (go_on && S_ISDIR(st.st_mode) && w->depth < DEPTH_MAX)
		go_on = visit_all(w, parent, name);
	w->len = before;
	w->real[before] = 0;
	return go_on;
}

static bool visit_all(struct walk *w, int parent, const char *name)
{
	DIR *dir = open_directory(parent, name);
	struct dirent *d;
	bool go_on = true;

	w->depth++;
	while (dir && go_on && (d = readdir(dir)))
		if (!is_dot(d->d_name))
			go_on = visit(w, dirfd(dir), d->d_name);
	w->depth--;
	if (dir)
		closedir(dir);
	return go_on;
}

void sl_bpffs_walk(
	bool (*fn)(const char *path, const char *real, const struct stat *st, void *arg), void *arg)
{
	const char *root = sl_bpffs_known_root();
	struct walk w = { .fn = fn, .arg = arg };

	if (!root)
		return;
	strcpy(w.real, root);
	w.len = strlen(root);
	sl_bpffs_busy++;
	visit_all(&w, AT_FDCWD, root);
	sl_bpffs_busy--;
}

/* Moves a directory's directories up and removes the rest, so that depth does not matter. */
static void flatten(int top, const char *name, unsigned *number)
{
	DIR *dir = open_directory(top, name);
	struct dirent *d;

	if (!dir && errno == EACCES && fchmodat(top, name, 0700, 0) == 0)
		dir = open_directory(top, name);
	while (dir && (d = readdir(dir))) {
		char to[32];

		if (is_dot(d->d_name) || unlinkat(dirfd(dir), d->d_name, 0) == 0)
			continue;
		do
			snprintf(to, sizeof(to), ".%u", ++*number);
		while (renameat2(dirfd(dir), d->d_name, top, to, RENAME_NOREPLACE) != 0 &&
			errno == EEXIST);
	}
	if (dir)
		closedir(dir);
}

void sl_bpffs_empty(const char *path)
{
	unsigned number = 0;
	struct dirent *d;
	bool some = true;
	DIR *dir;

	sl_bpffs_busy++;
	dir = open_directory(AT_FDCWD, path);
	/* A pass may see what it has moved itself, or not. One that removes nothing is the last. */
	while (dir && some) {
		some = false;
		rewinddir(dir);
		while ((d = readdir(dir))) {
			if (is_dot(d->d_name))
				continue;
			if (unlinkat(dirfd(dir), d->d_name, 0) == 0) {
				some = true;
				continue;
			}
			flatten(dirfd(dir), d->d_name, &number);
			some |= unlinkat(dirfd(dir), d->d_name, AT_REMOVEDIR) == 0;
		}
	}
	if (dir)
		closedir(dir);
	sl_bpffs_busy--;
}
