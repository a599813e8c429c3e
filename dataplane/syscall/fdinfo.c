#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "fd.h"
#include "link.h"
#include "map.h"
#include "prog.h"

/* The lines that the kernel writes for a bpf object, which bpftool shows as memlock and frozen. */

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

char *sluice_fdinfo(int fd)
{
	struct sl_object *obj;
	char *text = NULL;
	size_t len;
	int access, err = sl_fd_get_any(fd, &obj, &access);
	FILE *out;

	if (err) {
		errno = -err;
		return NULL;
	}
	out = open_memstream(&text, &len);
	if (out) {
		print_object(out, obj);
		if (fclose(out) != 0) {
			free(text);
			text = NULL;
		}
	}
	sl_object_unref(obj);
	return text;
}
