#include "pins.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

/*
 * The place of an object's own pins. iproute2 hashes the file with SHA-1; who looks for the pins of
 * an object here has the object, too.
 */
static uint64_t identity_of(const struct sl_elf_image *image)
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */

	for (size_t i = 0; i < image->len; i++)
		hash = (hash ^ image->bytes[i]) * 0x100000001b3;
	return hash;
}

static const struct sl_legacy_map *legacy_of(const struct sl_legacy_maps *maps, const char *name)
{
	for (unsigned i = 0; i < maps->count; i++)
		if (strcmp(maps->maps[i].name, name) == 0)
			return &maps->maps[i];
	return NULL;
}

/* Where a map is to be pinned, in memory of the caller's; NULL for nowhere. */
static char *path_of(const struct bpf_map *map, const struct sl_legacy_maps *legacy,
	const struct sl_elf_image *image)
{
	const char *by_name = bpf_map__pin_path(map), *name = bpf_map__name(map);
	const struct sl_legacy_map *old = legacy_of(legacy, name);
	char *path = NULL;

	if (by_name)
		return strdup(by_name);
	if (old && old->pinning == SL_PIN_GLOBAL_NS)
		return asprintf(&path, "/sys/fs/bpf/tc/globals/%s", name) < 0 ? NULL : path;
	if (old && old->pinning == SL_PIN_OBJECT_NS)
		return asprintf(&path, "/sys/fs/bpf/tc/%016" PRIx64 "/%s", identity_of(image),
			       name) < 0
			       ? NULL
			       : path;
	return NULL;
}

static bool is_like(const struct bpf_map *map, const struct bpf_map_info *info)
{
	return info->type == bpf_map__type(map) && info->key_size == bpf_map__key_size(map) &&
	       info->value_size == bpf_map__value_size(map) &&
	       info->max_entries == bpf_map__max_entries(map) &&
	       info->map_flags == bpf_map__map_flags(map);
}

/* Nobody can write through what a load that may be given up gets. */
static int open_pin(const char *path, enum sl_pins_mode mode)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = mode == SL_PINS_FOUND ? BPF_F_RDONLY : 0);

	return bpf_obj_get_opts(path, &opts);
}

static int take(struct sl_pin_wish *wish, enum sl_pins_mode mode, char *why)
{
	int fd = open_pin(wish->path, mode);
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	int err = 0;

	if (fd < 0 && errno == ENOENT && mode == SL_PINS_MADE)
		return 0;
	if (fd < 0) {
		err = -errno;
		snprintf(why, SL_WHY_MAX, "map %s is to be pinned at %s: %s",
			bpf_map__name(wish->map), wish->path, strerror(-err));
		return err;
	}
	if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0)
		err = -errno;
	else if (!is_like(wish->map, &info))
		err = -EINVAL;
	else
		err = bpf_map__reuse_fd(wish->map, fd);
	if (err)
		snprintf(why, SL_WHY_MAX, "map %s: what is pinned at %s is of another kind",
			bpf_map__name(wish->map), wish->path);
	wish->taken = !err;
	close(fd);
	return err;
}

int sl_pins_take(struct sl_pins *pins, struct bpf_object *object,
	const struct sl_legacy_maps *legacy, const struct sl_elf_image *image,
	enum sl_pins_mode mode, char why[SL_WHY_MAX])
{
	struct bpf_map *map;
	unsigned maps = 0;
	int err = 0;

	bpf_object__for_each_map(map, object) maps++;
	pins->wishes = calloc(maps + 1, sizeof(*pins->wishes));
	if (!pins->wishes)
		return -ENOMEM;
	bpf_object__for_each_map(map, object)
	{
		struct sl_pin_wish *wish = &pins->wishes[pins->count];

		wish->path = mode == SL_PINS_NONE ? NULL : path_of(map, legacy, image);
		bpf_map__set_pin_path(map, NULL);
		if (err || !wish->path)
			continue;
		wish->map = map;
		pins->count++;
		err = take(wish, mode, why);
	}
	return err;
}

/* As iproute2 and libbpf do; what cannot be made, the pin will say. */
static void make_directories(char *path)
{
	char *slash = path;

	while ((slash = strchr(slash + 1, '/'))) {
		*slash = 0;
		mkdir(path, 0700);
		*slash = '/';
	}
}

int sl_pins_put(struct sl_pins *pins, char why[SL_WHY_MAX])
{
	for (unsigned i = 0; i < pins->count; i++) {
		const struct sl_pin_wish *wish = &pins->wishes[i];

		if (!wish->taken)
			make_directories(wish->path);
		if (wish->taken || bpf_obj_pin(bpf_map__fd(wish->map), wish->path) == 0)
			continue;
		snprintf(why, SL_WHY_MAX, "cannot pin map %s at %s: %s", bpf_map__name(wish->map),
			wish->path, strerror(errno));
		return -errno;
	}
	return 0;
}

void sl_pins_done(struct sl_pins *pins)
{
	for (unsigned i = 0; i < pins->count; i++)
		free(pins->wishes[i].path);
	free(pins->wishes);
	*pins = (struct sl_pins){ 0 };
}
