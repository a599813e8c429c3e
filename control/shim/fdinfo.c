#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api.h"
#include "paths.h"
#include "real.h"
#include "serve.h"

/*
 * /proc/self/fdinfo/N of a descriptor of ours: the kernel's lines, then those that it writes for a
 * bpf object, which bpftool shows as memlock and frozen.
 */

/* The number in /proc/self/fdinfo/N, -1 for any other path. */
static int fdinfo_of(const char *path)
{
	static const char prefix[] = "/proc/self/fdinfo/";
	char *end;
	long fd;

	if (!path || strncmp(path, prefix, sizeof(prefix) - 1) != 0)
		return -1;
	fd = strtol(path + sizeof(prefix) - 1, &end, 10);
	return *end || end == path + sizeof(prefix) - 1 || fd > INT32_MAX ? -1 : fd;
}

/* A stream of the kernel's text and ours; NULL when it cannot be had. */
static FILE *open_fdinfo(FILE *kernels, const char *lines)
{
	int memfd = memfd_create("fdinfo", MFD_CLOEXEC);
	FILE *out = memfd >= 0 ? fdopen(memfd, "r+") : NULL;
	char buf[4096];
	size_t len;

	if (!out) {
		if (memfd >= 0)
			close(memfd);
		return NULL;
	}
	while ((len = fread(buf, 1, sizeof(buf), kernels)) > 0)
		fwrite(buf, 1, len, out);
	fputs(lines, out);
	rewind(out);
	return out;
}

FILE *fopen(const char *path, const char *mode)
{
	int fd = fdinfo_of(path), saved = errno;
	FILE *kernels, *ours;
	char *lines;

	if (sl_path_fopen(path, mode, &ours))
		return ours;
	kernels = REAL(fopen)(path, mode);
	if (fd < 0 || !kernels || sl_serve_inside)
		return kernels;
	sl_serve_inside++;
	lines = sl_serve_api()->fdinfo(fd);
	ours = lines ? open_fdinfo(kernels, lines) : NULL;
	sl_serve_inside--;
	free(lines);
	if (ours)
		fclose(kernels);
	errno = saved;
	return ours ? ours : kernels;
}

FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));
