#include "loader.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "legacy.h"
#include "pins.h"
#include "sections.h"

enum { LOG_BYTES = 16 << 20 };

static_assert((int)SL_LOADER_WHY_MAX == (int)SL_WHY_MAX, "one buffer for both");

struct sl_loader {
	struct sl_elf_image image; /* libbpf's until the object is closed */
	struct sl_legacy_maps legacy;
	struct sl_loader_options options;
	struct bpf_object *object;
	struct sl_pins pins;
	char *log; /* the verifier's */
};

/* What libbpf complained of first: for what ends before the verifier. Second tries come later. */
static __thread char first_warning[SL_WHY_MAX];

static int listen_to_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN && !first_warning[0] && !strstr(format, "Retrying")) {
		va_list copy;

		va_copy(copy, args);
		vsnprintf(first_warning, sizeof(first_warning), format, copy);
		va_end(copy);
		first_warning[strcspn(first_warning, "\n")] = '\0';
	}
	if (!getenv("SLUICE_LOG") || level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, format, args);
}

static void begin_listening(void)
{
	first_warning[0] = '\0';
	libbpf_set_print(listen_to_libbpf);
}

static void put_warning(char *why)
{
	static const char prefix[] = "libbpf: ";
	const char *text = first_warning;

	if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
		text += sizeof(prefix) - 1;
	snprintf(why, SL_WHY_MAX, "%s", text);
}

/* As libbpf names objects that it opens by path: the file's name up to the first dot. */
static void object_name(const char *path, char *name, size_t size)
{
	const char *base = strrchr(path, '/');

	snprintf(name, size, "%s", base ? base + 1 : path);
	name[strcspn(name, ".")] = '\0';
}

static int open_object(struct sl_loader *loader, const char *path, char *why)
{
	char name[64];
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = name, .kernel_log_buf = loader->log,
		.kernel_log_size = LOG_BYTES);
	int err;

	object_name(path, name, sizeof(name));
	begin_listening();
	loader->object = bpf_object__open_mem(loader->image.bytes, loader->image.len, &opts);
	if (loader->object)
		return 0;
	err = errno;
	put_warning(why);
	/* libbpf has numbers of its own, above those of the system. */
	if (!why[0])
		snprintf(why, SL_WHY_MAX, "%s", err < 4000 ? strerror(err) : "not a BPF object");
	return err < 4000 ? -err : -ENOEXEC;
}

int sl_loader_open(const char *path, const struct sl_loader_options *options,
	struct sl_loader **ret_loader, char why[SL_LOADER_WHY_MAX])
{
	struct sl_loader *loader = calloc(1, sizeof(*loader));
	int err;

	why[0] = '\0';
	if (!loader)
		return -ENOMEM;
	if (options)
		loader->options = *options;
	loader->log = calloc(1, LOG_BYTES);
	err = loader->log ? sl_elf_image_read(path, &loader->image, why) : -ENOMEM;
	if (!err) {
		sl_sections_fix_entries(&loader->image);
		err = sl_legacy_rewrite(&loader->image, &loader->legacy, why);
	}
	if (!err && loader->legacy.count)
		err = sl_elf_image_seal(&loader->image);
	if (!err)
		err = open_object(loader, path, why);
	if (err) {
		if (!why[0])
			snprintf(why, SL_WHY_MAX, "%s", strerror(-err));
		sl_loader_free(loader);
		return err;
	}
	sl_sections_type(loader->object);
	*ret_loader = loader;
	return 0;
}

void sl_loader_free(struct sl_loader *loader)
{
	if (!loader)
		return;
	bpf_object__close(loader->object);
	sl_pins_done(&loader->pins);
	sl_legacy_done(&loader->legacy);
	sl_elf_image_done(&loader->image);
	free(loader->log);
	free(loader);
}

struct bpf_object *sl_loader_object(const struct sl_loader *loader)
{
	return loader->object;
}

/* The PROG_ARRAY and the slot that a section "ID/SLOT" is for; NULL for other names. */
static const struct sl_legacy_map *tail_call_of(
	const struct sl_loader *loader, const struct bpf_program *program, int *ret_slot)
{
	int id;

	if (sscanf(bpf_program__section_name(program), "%i/%i", &id, ret_slot) != 2)
		return NULL;
	for (unsigned i = 0; i < loader->legacy.count; i++)
		if (loader->legacy.maps[i].id == (uint32_t)id &&
			loader->legacy.maps[i].type == BPF_MAP_TYPE_PROG_ARRAY)
			return &loader->legacy.maps[i];
	return NULL;
}

void sl_loader_type_tail_calls(struct sl_loader *loader, enum bpf_prog_type type)
{
	struct bpf_program *program;
	int slot;

	bpf_object__for_each_program(program, loader->object)
	{
		if (bpf_program__type(program) == BPF_PROG_TYPE_UNSPEC &&
			tail_call_of(loader, program, &slot))
			bpf_program__set_type(program, type);
	}
}

static int fd_of(const struct sl_loader *loader, const struct sl_legacy_map *map)
{
	return bpf_object__find_map_fd_by_name(loader->object, map->name);
}

static int put_slot(const struct sl_loader *loader, const struct sl_legacy_map *map, int slot,
	int fd, char *why)
{
	uint32_t key = (uint32_t)slot;

	if (bpf_map_update_elem(fd_of(loader, map), &key, &fd, BPF_ANY) == 0)
		return 0;
	snprintf(why, SL_WHY_MAX, "slot %d of map %s: %s", slot, map->name, strerror(errno));
	return -errno;
}

static int fill_tail_calls(struct sl_loader *loader, char *why)
{
	struct bpf_program *program;
	int slot, err = 0;

	bpf_object__for_each_program(program, loader->object)
	{
		const struct sl_legacy_map *map = tail_call_of(loader, program, &slot);

		if (!err && map && bpf_program__fd(program) >= 0)
			err = put_slot(loader, map, slot, bpf_program__fd(program), why);
	}
	return err;
}

/* iproute2: a map with an id and a slot goes into the maps of maps whose template has that id. */
static int fill_maps_of_maps(struct sl_loader *loader, char *why)
{
	const struct sl_legacy_maps *maps = &loader->legacy;
	int err = 0;

	for (unsigned i = 0; !err && i < maps->count; i++) {
		const struct sl_legacy_map *inner = &maps->maps[i];

		if (!inner->id || inner->inner_id || inner->inner_idx == -1)
			continue;
		for (unsigned o = 0; !err && o < maps->count; o++) {
			const struct sl_legacy_map *outer = &maps->maps[o];

			if (sl_legacy_is_of_maps(outer) && outer->inner_id == inner->id)
				err = put_slot(
					loader, outer, inner->inner_idx, fd_of(loader, inner), why);
		}
	}
	return err;
}

/* The line in which the verifier says why; after it come numbers. */
static void put_reason(char *log, char *why)
{
	static const char *const numbers[] = { "processed ", "verification time", "stack depth",
		"mark_precise", NULL };
	char *save = NULL, *reason = NULL;

	for (char *line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *const *n = numbers;

		while (*n && strncmp(line, *n, strlen(*n)) != 0)
			n++;
		if (!*n)
			reason = line;
	}
	if (reason)
		snprintf(why, SL_WHY_MAX, "%s", reason);
}

static int load_object(struct sl_loader *loader, char *why)
{
	struct bpf_program *program;
	int err;

	bpf_object__for_each_program(program, loader->object)
	{
		if (bpf_program__type(program) == BPF_PROG_TYPE_UNSPEC)
			bpf_program__set_autoload(program, false);
	}
	begin_listening();
	err = bpf_object__load(loader->object);
	if (!err)
		return 0;
	put_reason(loader->log, why);
	if (!why[0])
		put_warning(why);
	return err > -4000 ? err : -EINVAL;
}

static enum sl_pins_mode pins_mode(const struct sl_loader *loader)
{
	if (loader->options.unpinned)
		return SL_PINS_NONE;
	return loader->options.pinned_before ? SL_PINS_FOUND : SL_PINS_MADE;
}

int sl_loader_load(struct sl_loader *loader, char why[SL_LOADER_WHY_MAX])
{
	int err;

	why[0] = '\0';
	err = sl_pins_take(&loader->pins, loader->object, &loader->legacy, &loader->image,
		pins_mode(loader), why);
	if (!err)
		err = load_object(loader, why);
	if (!err)
		err = fill_maps_of_maps(loader, why);
	if (!err)
		err = fill_tail_calls(loader, why);
	if (!err)
		err = sl_pins_put(&loader->pins, why);
	return err;
}
