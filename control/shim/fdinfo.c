#undef _FILE_OFFSET_BITS

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fd.h"
#include "link.h"
#include "map.h"
#include "prog.h"
#include "real.h"

/*
 * /proc/self/fdinfo/N of a descriptor of ours: the kernel's lines, then those that it writes for a
 * bpf object, which bpftool shows as memlock and frozen.
 */

static void print_map(FILE *out, const struct sl_map *map)
{
	const struct sl_map_desc *d = &map->desc;

	fprintf(out,
		"map_type:\t%u\nkey_size:\t%u\nvalue_size:\t%u\nmax_entries:\t%u\n"
		"map_flags:\t0x%x\nmap_extra:\t0x%" PRIx64 "\nmemlock:\t%" PRIu64
		"\nmap_id:\t%u\nfrozen:\t%u\n",
		d->type, d->key_size, d->value_size, d->max_entries, d->flags, map->map_extra,
		map->ops->memory_bytes ? map->ops->memory_bytes(map) : 0, map->obj.id, map->frozen);
}

static void print_prog(FILE *out, const struct sl_prog *prog)
{
	size_t insns_len = prog->insn_count * sizeof(struct bpf_insn);

	fprintf(out, "prog_type:\t%u\nprog_jited:\t%u\nprog_tag:\t", prog->type,
		prog->own_code != NULL);
	for (unsigned i = 0; i < sizeof(prog->tag); i++)
		fprintf(out, "%02x", prog->tag[i]);
	fprintf(out, "\nmemlock:\t%zu\nprog_id:\t%u\nverified_insns:\t%u\n",
		sl_round_up(insns_len, (size_t)sysconf(_SC_PAGESIZE)), prog->obj.id,
		prog->verified_insns);
}

static void print_object(FILE *out, struct sl_object *obj)
{
	switch (obj->type) {
	case SL_OBJECT_MAP:
		print_map(out, sl_map_of(obj));
		break;
	case SL_OBJECT_PROG:
		print_prog(out, sl_prog_of(obj));
		break;
	case SL_OBJECT_BTF:
		fprintf(out, "btf_id:\t%u\n", obj->id);
		break;
	case SL_OBJECT_LINK:
		fprintf(out, "link_id:\t%u\n", obj->id);
		break;
	default:
		break;
	}
}

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
static FILE *open_fdinfo(FILE *kernels, struct sl_object *obj)
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
	print_object(out, obj);
	rewind(out);
	return out;
}

FILE *fopen(const char *path, const char *mode)
{
	int fd = fdinfo_of(path), saved = errno, access;
	struct sl_object *obj;
	FILE *kernels, *ours;

	kernels = REAL(fopen)(path, mode);
	if (fd < 0 || !kernels || sl_fd_get_any(fd, &obj, &access) != 0)
		return kernels;
	ours = open_fdinfo(kernels, obj);
	sl_object_unref(obj);
	if (!ours)
		return kernels;
	fclose(kernels);
	errno = saved;
	return ours;
}

FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));
