#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "jump_file.h"
#include "loader.h"
#include "verb.h"

/* Programs out of object files: each file is loaded once, whatever number of programs it is for. */

/* Object files are relative to the file that names them. */
static char *path_of(const struct sl_jump_file *file, const char *name)
{
	char *path;

	if (asprintf(&path, "%s%s", name[0] == '/' ? "" : file->directory, name) < 0)
		return NULL;
	return path;
}

static struct sl_jump_object *find_object(struct sl_jump_file *file, const char *path)
{
	for (unsigned i = 0; i < file->object_count; i++) {
		if (strcmp(file->loaded[i].path, path) == 0)
			return &file->loaded[i];
	}
	return NULL;
}

static int open_object(struct sl_jump_file *file, const char *where, const char *name,
	struct sl_jump_object **ret_object)
{
	/* What is pinned would outlive a refusal. */
	const struct sl_loader_options options = { .pinned_before = true };
	char why[SL_LOADER_WHY_MAX], *path = path_of(file, name);
	struct sl_jump_object *object;

	if (!path)
		return sl_jump_fail(file, where, "%s", strerror(ENOMEM));
	*ret_object = find_object(file, path);
	if (*ret_object || file->object_count == SL_JUMP_OBJECTS) {
		free(path);
		return *ret_object ? 0 : sl_jump_fail(file, where, "too many object files");
	}
	object = &file->loaded[file->object_count];
	if (sl_loader_open(path, &options, &object->loader, why) != 0) {
		free(path);
		return sl_jump_fail(file, where, "cannot open %s: %s", name, why);
	}
	object->path = path;
	file->object_count++;
	*ret_object = object;
	return 0;
}

/* A string member; NULL without. */
static int get_string(struct sl_jump_file *file, const char *where, struct json_object *program,
	const char *name, const char **ret)
{
	struct json_object *value;

	*ret = NULL;
	if (!json_object_object_get_ex(program, name, &value))
		return 0;
	if (!json_object_is_type(value, json_type_string))
		return sl_jump_fail(file, where, "'%s' is not a string", name);
	*ret = json_object_get_string(value);
	return 0;
}

/* By section or by function, and there must be one only. */
static int find_program(struct sl_jump_file *file, const char *where, struct json_object *program,
	struct bpf_program **ret_prog)
{
	struct sl_jump_object *object;
	const char *path, *section, *function;
	struct bpf_program *p;

	if (get_string(file, where, program, "object", &path) ||
		get_string(file, where, program, "section", &section) ||
		get_string(file, where, program, "function", &function))
		return 1;
	if (!path || !section == !function)
		return sl_jump_fail(file, where,
			"a program of an object file is named by section or by function");
	if (open_object(file, where, path, &object))
		return 1;
	*ret_prog = NULL;
	bpf_object__for_each_program(p, sl_loader_object(object->loader))
	{
		if (strcmp(section ? section : function,
			    section ? bpf_program__section_name(p) : bpf_program__name(p)) != 0)
			continue;
		if (*ret_prog)
			return sl_jump_fail(file, where,
				"several programs are in section %s: name one by function",
				section);
		*ret_prog = p;
	}
	if (!*ret_prog)
		return sl_jump_fail(file, where, "%s has no %s %s", path,
			section ? "section" : "function", section ? section : function);
	return 0;
}

/* Of what kind it is, where its section does not tell. */
static int set_type(struct sl_jump_file *file, const char *where, struct json_object *program,
	struct bpf_program *p)
{
	enum bpf_attach_type attach;
	enum bpf_prog_type type;
	const char *name;

	if (get_string(file, where, program, "type", &name))
		return 1;
	if (name) {
		if (libbpf_prog_type_by_name(name, &type, &attach) != 0)
			return sl_jump_fail(file, where, "'%.32s' is no type of program", name);
		bpf_program__set_type(p, type);
		bpf_program__set_expected_attach_type(p, attach);
	}
	if (bpf_program__type(p) == BPF_PROG_TYPE_UNSPEC)
		return sl_jump_fail(file, where,
			"section %s does not tell the type: say it (\"type\": \"xdp\")",
			bpf_program__section_name(p));
	return 0;
}

/*
 * A table that is there already is not to change by a load: the object gets a descriptor that nobody
 * can write through. Programs may, whatever their descriptors are.
 */
static int reuse_map(struct bpf_map *map, int fd)
{
	LIBBPF_OPTS(bpf_get_fd_by_id_opts, opts, .open_flags = BPF_F_RDONLY);
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int read_only, err;

	if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0)
		return -errno;
	read_only = bpf_map_get_fd_by_id_opts(info.id, &opts);
	if (read_only < 0)
		return -errno;
	err = bpf_map__reuse_fd(map, read_only);
	close(read_only);
	return err;
}

/* {"OBJECT FILE": {"maps": {"map in it": the map that it is to be}}} */
static int reuse_maps(struct sl_jump_file *file, const char *name, struct json_object *description)
{
	static const char *const names[] = { "maps", NULL };
	struct sl_jump_object *object;
	struct json_object *maps;
	char where[128];

	snprintf(where, sizeof(where), "objects.%.64s", name);
	if (!json_object_is_type(description, json_type_object) ||
		!json_object_object_get_ex(description, "maps", &maps) ||
		!json_object_is_type(maps, json_type_object))
		return sl_jump_fail(file, where, "not {\"maps\": {...}}");
	if (sl_jump_only(file, where, description, names) ||
		open_object(file, where, name, &object))
		return 1;
	json_object_object_foreach(maps, key, reference)
	{
		struct bpf_map *map =
			bpf_object__find_map_by_name(sl_loader_object(object->loader), key);
		int fd, err;

		if (!map)
			return sl_jump_fail(file, where, "there is no map '%.64s' in it", key);
		if (sl_jump_find(file, where, reference, true, &fd))
			return 1;
		err = reuse_map(map, fd);
		if (err)
			return sl_jump_fail(file, where, "map '%.64s': %s", key, strerror(-err));
		bpf_map__set_pin_path(map, NULL);
	}
	return 0;
}

static int prepare_programs(struct sl_jump_file *file)
{
	static const char *const names[] = { "object", "section", "function", "type", NULL };

	if (!file->programs)
		return 0;
	json_object_object_foreach(file->programs, key, program)
	{
		struct json_object *value;
		struct bpf_program *p;
		char where[128];

		snprintf(where, sizeof(where), "programs.%.64s", key);
		if (!json_object_is_type(program, json_type_object))
			return sl_jump_fail(file, where, "not an object");
		if (!json_object_object_get_ex(program, "object", &value))
			continue;
		if (sl_jump_only(file, where, program, names) ||
			find_program(file, where, program, &p) || set_type(file, where, program, p))
			return 1;
	}
	return 0;
}

int sl_jump_file_load(struct sl_jump_file *file)
{
	char why[SL_LOADER_WHY_MAX];
	int status = prepare_programs(file);

	if (status)
		return status;
	if (file->objects) {
		json_object_object_foreach(file->objects, name, description)
		{
			if (reuse_maps(file, name, description))
				return 1;
		}
	}
	for (unsigned i = 0; i < file->object_count; i++) {
		int err = sl_loader_load(file->loaded[i].loader, why);

		if (err)
			return sl_jump_fail(file, "", "cannot load %s: %s", file->loaded[i].path,
				why[0] ? why : strerror(-err));
	}
	return 0;
}

int sl_jump_loaded(
	struct sl_jump_file *file, const char *where, struct json_object *program, int *ret_fd)
{
	struct bpf_program *p;
	int fd;

	if (find_program(file, where, program, &p))
		return 1;
	fd = dup(bpf_program__fd(p));
	if (fd < 0)
		return sl_jump_fail(file, where, "%s", strerror(errno));
	*ret_fd = sl_jump_keep(file, where, false, fd);
	return *ret_fd < 0;
}

void sl_jump_file_free(struct sl_jump_file *file)
{
	for (unsigned i = 0; i < file->object_count; i++) {
		sl_loader_free(file->loaded[i].loader);
		free(file->loaded[i].path);
	}
	sl_jump_close(file);
	json_object_put(file->root);
}
