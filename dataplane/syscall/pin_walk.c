#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sluice/pin.h>

#include "bpffs.h"
#include "fd.h"
#include "map.h"
#include "pin.h"
#include "prog.h"

static int root_fd = -1;

/* Of a directory that was there: nobody else may have prepared it, and nobody else have it now. */
static int check_root(const char *dir)
{
	struct stat st;

	root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (root_fd < 0 || fstat(root_fd, &st) != 0)
		return -errno;
	if (st.st_uid != geteuid())
		return -EPERM;
	return flock(root_fd, LOCK_EX | LOCK_NB) == 0 ? 0 : -EBUSY;
}

static void make_mounts(gid_t group)
{
	char place[PATH_MAX];
	struct sl_bpffs_path look;

	for (unsigned i = 0; sl_bpffs_mounted(i, place, sizeof(place)); i++) {
		if (sl_bpffs_look(AT_FDCWD, place, &look) != 0 || look.where != SL_BPFFS_INSIDE ||
			group == (gid_t)-1)
			continue;
		if (chown(look.path, (uid_t)-1, group) == 0)
			chmod(look.path, 01770);
	}
}

int sluice_bpffs_start(const char *dir, gid_t group)
{
	mode_t mask = umask(0022);
	int err = mkdir(dir, 0755) == 0 || errno == EEXIST ? 0 : -errno;

	umask(mask);
	if (!err)
		err = check_root(dir);
	if (!err)
		err = sl_bpffs_set_root(dir);
	if (err) {
		if (root_fd >= 0)
			close(root_fd);
		root_fd = -1;
		return err;
	}
	sl_bpffs_empty(dir);
	make_mounts(group);
	return 0;
}

void sluice_bpffs_stop(void)
{
	if (root_fd < 0)
		return;
	sl_bpffs_empty(sl_bpffs_root());
	rmdir(sl_bpffs_root());
	close(root_fd);
	root_fd = -1;
	sl_fd_reap();
}

struct walk {
	bool (*fn)(const struct sluice_pin *pin, void *arg);
	void *arg;
};

static bool visit(const char *path, const char *real, const struct stat *st, void *arg)
{
	static const char *const kinds[SL_OBJECT_TYPES] = {
		[SL_OBJECT_MAP] = "map", [SL_OBJECT_PROG] = "prog", [SL_OBJECT_LINK] = "link"
	};
	struct walk *walk = arg;
	struct sluice_pin pin = { .path = path, .name = "" };
	struct sl_object *obj;
	bool go_on;

	(void)real;
	if (!S_ISREG(st->st_mode) || sl_pin_get(st, &obj) != 0)
		return true;
	pin.kind = kinds[obj->type];
	pin.id = obj->id;
	pin.uid = st->st_uid;
	pin.gid = st->st_gid;
	pin.mode = st->st_mode & 07777;
	if (obj->type == SL_OBJECT_MAP)
		pin.name = sl_map_of(obj)->name;
	else if (obj->type == SL_OBJECT_PROG)
		pin.name = sl_prog_of(obj)->name;
	go_on = walk->fn(&pin, walk->arg);
	sl_object_unref(obj);
	return go_on;
}

void sluice_pin_walk(bool (*fn)(const struct sluice_pin *pin, void *arg), void *arg)
{
	struct walk walk = { fn, arg };

	sl_fd_reap();
	sl_bpffs_walk(visit, &walk);
}
