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

/* More would be a program gone wild; as many links in a row are a loop. */
enum { DIRECTORIES_MAX = 65536, LINKS_MAX = 8 };

/* A directory, or a symbolic link. */
struct directory {
	struct sl_list node;
	char *target; /* of a link, as it was given; NULL for a directory */
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

static bool is_in(const char *path)
{
	return strncmp(path, root, sizeof(root) - 1) == 0 &&
	       (path[sizeof(root) - 1] == 0 || path[sizeof(root) - 1] == '/');
}

/* The first link on the way, with the lock held: at the end of the path only if `last`. */
static const struct directory *link_on(const char *path, bool last)
{
	const struct directory *d;

	sl_list_for_each (d, &directories, node) {
		size_t len = strlen(d->path);

		if (d->target && strncmp(d->path, path, len) == 0 &&
			(path[len] == '/' || (last && path[len] == 0)))
			return d;
	}
	return NULL;
}

/* Puts a link's target in its place. False: there is none, or it does not fit. */
static bool follow_one(char *path, size_t size, bool last)
{
	const struct directory *d;
	char to[4096];
	size_t len = 0;
	bool done = false;

	pthread_mutex_lock(&lock);
	d = link_on(path, last);
	if (d) {
		size_t parent = (size_t)(strrchr(d->path, '/') - d->path);

		if (*d->target != '/') {
			memcpy(to, d->path, parent);
			len = parent;
		}
		done = append(to, sizeof(to), &len, d->target) &&
		       append(to, sizeof(to), &len, path + strlen(d->path)) && len < size;
	}
	pthread_mutex_unlock(&lock);
	if (done)
		memcpy(path, to, len + 1);
	return done;
}

void sl_bpffs_follow(char *path, size_t size)
{
	for (int i = 0; i < LINKS_MAX && follow_one(path, size, true); i++)
		;
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
	if (!is_in(ret_path))
		return false;
	for (int i = 0; i < LINKS_MAX && follow_one(ret_path, size, false); i++)
		;
	return is_in(ret_path);
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

/* What of ours is there. */
static enum sl_bpffs_node node_of(const char *path, size_t len)
{
	const struct directory *d;
	enum sl_bpffs_node node = SL_BPFFS_NONE;

	if (len == sizeof(root) - 1)
		return SL_BPFFS_DIRECTORY;
	pthread_mutex_lock(&lock);
	d = find(path, len);
	if (d)
		node = d->target ? SL_BPFFS_LINK : SL_BPFFS_DIRECTORY;
	pthread_mutex_unlock(&lock);
	return node;
}

enum sl_bpffs_node sl_bpffs_look_up(const char *path)
{
	enum sl_bpffs_node node = node_of(path, strlen(path));
	struct sl_object *obj;

	if (node != SL_BPFFS_NONE)
		return node;
	if (sl_pin_get(path, &obj) != 0)
		return SL_BPFFS_NONE;
	sl_object_unref(obj);
	return SL_BPFFS_PIN;
}

/* With the lock held. */
static int remember(const char *path, char *target)
{
	size_t len = strlen(path);
	struct directory *d;

	if (find(path, len))
		return -EEXIST;
	if (count >= DIRECTORIES_MAX)
		return -ENOSPC;
	d = malloc(sizeof(*d) + len + 1);
	if (!d)
		return -ENOMEM;
	memcpy(d->path, path, len + 1);
	d->target = target;
	sl_list_add_tail(&directories, &d->node);
	count++;
	return 0;
}

static void forget(struct directory *d)
{
	sl_list_del(&d->node);
	free(d->target);
	free(d);
	count--;
}

/* A directory, or with a target, which it takes over, a link. */
static int make(const char *path, char *target)
{
	int err;

	if (sl_bpffs_look_up(path) != SL_BPFFS_NONE)
		return -EEXIST;
	if (node_of(path, (size_t)(strrchr(path, '/') - path)) != SL_BPFFS_DIRECTORY)
		return -ENOENT;
	pthread_mutex_lock(&lock);
	err = remember(path, target);
	pthread_mutex_unlock(&lock);
	return err;
}

int sl_bpffs_mkdir(const char *path)
{
	return make(path, NULL);
}

int sl_bpffs_symlink(const char *target, const char *path)
{
	char *copy = *target ? strdup(target) : NULL;
	int err = copy ? make(path, copy) : *target ? -ENOMEM : -ENOENT;

	if (err)
		free(copy);
	return err;
}

int sl_bpffs_readlink(const char *path, char *ret_target, size_t size)
{
	const struct directory *d;
	int ret = -EINVAL;

	if (sl_bpffs_look_up(path) == SL_BPFFS_NONE)
		return -ENOENT;
	pthread_mutex_lock(&lock);
	d = find(path, strlen(path));
	if (d && d->target) {
		size_t len = strlen(d->target);

		ret = (int)(len < size ? len : size);
		memcpy(ret_target, d->target, (size_t)ret);
	}
	pthread_mutex_unlock(&lock);
	return ret;
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
	if (d && d->target)
		err = -ENOTDIR;
	if (d && !err)
		forget(d);
	pthread_mutex_unlock(&lock);
	if (d)
		return err;
	return sl_bpffs_look_up(path) == SL_BPFFS_PIN ? -ENOTDIR : -ENOENT;
}

int sl_bpffs_unlink(const char *path)
{
	enum sl_bpffs_node node = node_of(path, strlen(path));
	struct directory *d;

	if (node == SL_BPFFS_DIRECTORY)
		return -EISDIR;
	if (node == SL_BPFFS_NONE)
		return sl_pin_del(path);
	pthread_mutex_lock(&lock);
	d = find(path, strlen(path));
	if (d)
		forget(d);
	pthread_mutex_unlock(&lock);
	return d ? 0 : -ENOENT;
}
