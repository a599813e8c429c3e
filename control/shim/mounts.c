#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "paths.h"
#include "real.h"
#include "serve.h"

/* Mounting bpf file systems, and the lists of what is mounted. */

/* How a list of the kernel's looks, and which word of a line is the place. */
static const struct list {
	const char *path;
	unsigned place; /* words before it */
	const char *kind; /* what stands in a bpf file system's line only */
	const char *line; /* the one of ours: what comes before and behind the place */
	const char *rest;
} lists[] = {
	{ "/proc/mounts", 1, " bpf ", "bpf ", " bpf rw,nosuid,nodev,noexec,relatime 0 0\n" },
	{ "/proc/self/mounts", 1, " bpf ", "bpf ", " bpf rw,nosuid,nodev,noexec,relatime 0 0\n" },
	{ "/etc/mtab", 1, " bpf ", "bpf ", " bpf rw,nosuid,nodev,noexec,relatime 0 0\n" },
	{ "/proc/self/mountinfo", 4, " - bpf ", "9999 1 0:9999 / ",
		" rw,nosuid,nodev,noexec,relatime - bpf bpf rw\n" },
};

static const struct list *list_of(const char *path)
{
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (strcmp(lists[i].path, path) == 0)
			return &lists[i];
	return NULL;
}

/* Blanks and the like in octal numbers, as the kernel writes a place. */
static void put_place(FILE *out, const char *place)
{
	for (; *place; place++) {
		if (strchr(" \t\n\\", *place))
			fprintf(out, "\\%03o", *place);
		else
			fputc(*place, out);
	}
}

/* The kernel's bpf file systems are hidden by ours, which are at the same places. */
static void put_kernels(FILE *out, int fd, const struct list *list)
{
	char *line = NULL;
	size_t size = 0;
	FILE *in = fdopen(fd, "r");

	if (!in) {
		close(fd);
		return;
	}
	while (getline(&line, &size, in) > 0)
		if (!strstr(line, list->kind))
			fputs(line, out);
	free(line);
	fclose(in);
}

static int open_mounts(const struct list *list)
{
	int kernels = REAL(openat)(AT_FDCWD, list->path, O_RDONLY | O_CLOEXEC);
	int memfd = kernels >= 0 ? memfd_create("mounts", MFD_CLOEXEC) : -1, fd;
	FILE *out = memfd >= 0 ? fdopen(memfd, "w") : NULL;
	char place[PATH_MAX];

	if (!out) {
		if (kernels >= 0)
			close(kernels);
		if (memfd >= 0)
			close(memfd);
		return -1;
	}
	put_kernels(out, kernels, list);
	for (unsigned i = 0; sl_bpffs_mounted(i, place, sizeof(place)); i++) {
		fputs(list->line, out);
		put_place(out, place);
		fputs(list->rest, out);
	}
	fflush(out);
	fd = dup(memfd);
	fclose(out);
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	return fd;
}

int sl_path_open_mounts(const char *path)
{
	const struct list *list = sl_serve_inside || !path ? NULL : list_of(path);
	int saved = errno, fd;

	if (!list)
		return -1;
	sl_serve_inside++;
	fd = open_mounts(list);
	sl_serve_inside--;
	if (fd >= 0)
		errno = saved;
	return fd;
}

static int answer(int err)
{
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

static bool is_inside(const char *path)
{
	struct sl_bpffs_path look;

	return path && sl_path_look(AT_FDCWD, path, &look) && look.where == SL_BPFFS_INSIDE;
}

/*
 * bpftool and iproute2 mount a bpf file system where they are told to pin and none is: they make the
 * place private, then mount. That it is none of the kernel's mount points stays unsaid, or they would
 * make it one.
 */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
	const void *data)
{
	const char *mode = data ? strstr(data, "mode=") : NULL;
	int err;

	if (sl_serve_inside || !target)
		return REAL(mount)(source, target, type, flags, data);
	if (type && strcmp(type, "bpf") == 0 && !(flags & (MS_REMOUNT | MS_BIND | MS_MOVE))) {
		sl_serve_inside++;
		err = sl_bpffs_mount(target, mode ? (mode_t)strtoul(mode + 5, NULL, 8) : 01777);
		sl_serve_inside--;
		return answer(err);
	}
	if (flags == (MS_PRIVATE | MS_REC) && strcmp(target, "/") != 0 && source && !*source)
		return 0;
	if (is_inside(target))
		return answer(
			flags & (MS_PRIVATE | MS_SHARED | MS_SLAVE | MS_REMOUNT) ? 0 : -EINVAL);
	return REAL(mount)(source, target, type, flags, data);
}

int umount2(const char *target, int flags)
{
	int err;

	if (!is_inside(target))
		return REAL(umount2)(target, flags);
	sl_serve_inside++;
	err = sl_bpffs_unmount(target);
	sl_serve_inside--;
	return answer(err);
}

int umount(const char *target)
{
	return umount2(target, 0);
}
