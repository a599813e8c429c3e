#include "bpffs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "list.h"
#include "pin.h"

static const char root[] = "/sys/fs/bpf";

/* More would be a program gone wild. */
enum { DIRECTORIES_MAX = 65536 };

struct directory {
	struct sl_list node;
	char path[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sl_list directories = SL_LIST_INIT(directories);
static unsigned count;

/* Appends the components of `from` to the absolute path of length *len. */
static bool append(char *to, size_t size, size_t *len, const char *from)
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

bool sl_bpffs_resolve(const char *path, char *ret_path, size_t size)
{
	size_t len = 0;
	char cwd[4096];

	if (!path)
		return false;
	if (*path != '/' && (!getcwd(cwd, sizeof(cwd)) || !append(ret_path, size, &len, cwd)))
		return false;
	if (!append(ret_path, size, &len, path))
		return false;
	return strncmp(ret_path, root, sizeof(root) - 1) == 0 &&
	       (ret_path[sizeof(root) - 1] == 0 || ret_path[sizeof(root) - 1] == '/');
}

/* With the lock held. */
static struct directory *find(const char *path, size_t len)
{
	struct directory *d;

	sl_list_for_each (d, &directories, node) {
		if (strncmp(d->path, path, len) == 0 && d->path[len] == 0)
			return d;
	}
	return NULL;
}

static bool is_directory(const char *path, size_t len)
{
	bool found;

	if (len == sizeof(root) - 1)
		return true;
	pthread_mutex_lock(&lock);
	found = find(path, len);
	pthread_mutex_unlock(&lock);
	return found;
}

enum sl_bpffs_node sl_bpffs_look_up(const char *path)
{
	struct sl_object *obj;

	if (is_directory(path, strlen(path)))
		return SL_BPFFS_DIRECTORY;
	if (sl_pin_get(path, &obj) != 0)
		return SL_BPFFS_NONE;
	sl_object_unref(obj);
	return SL_BPFFS_PIN;
}

int sl_bpffs_mkdir(const char *path)
{
	size_t len = strlen(path);
	struct directory *d;
	int err = 0;

	if (sl_bpffs_look_up(path) != SL_BPFFS_NONE)
		return -EEXIST;
	if (!is_directory(path, strrchr(path, '/') - path))
		return -ENOENT;
	d = malloc(sizeof(*d) + len + 1);
	if (!d)
		return -ENOMEM;
	memcpy(d->path, path, len + 1);
	pthread_mutex_lock(&lock);
	if (find(path, len))
		err = -EEXIST;
	else if (count >= DIRECTORIES_MAX)
		err = -ENOSPC;
	else {
		sl_list_add_tail(&directories, &d->node);
		count++;
	}
	pthread_mutex_unlock(&lock);
	if (err)
		free(d);
	return err;
}

int sl_bpffs_rmdir(const char *path)
{
	size_t len = strlen(path);
	struct directory *d;
	int err = 0;

	if (len == sizeof(root) - 1)
		return -EBUSY;
	pthread_mutex_lock(&lock);
	sl_list_for_each (d, &directories, node) {
		if (strncmp(d->path, path, len) == 0 && d->path[len] == '/')
			err = -ENOTEMPTY;
	}
	d = find(path, len);
	if (d && !err) {
		sl_list_del(&d->node);
		free(d);
		count--;
	}
	pthread_mutex_unlock(&lock);
	if (d)
		return err;
	return sl_bpffs_look_up(path) == SL_BPFFS_PIN ? -ENOTDIR : -ENOENT;
}

int sl_bpffs_unlink(const char *path)
{
	if (is_directory(path, strlen(path)))
		return -EISDIR;
	return sl_pin_del(path);
}
