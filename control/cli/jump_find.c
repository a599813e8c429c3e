#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "jump_file.h"
#include "verb.h"

/* Maps and programs that there are: by pin, by id, by name. */

static const char *kind(bool is_map)
{
	return is_map ? "map" : "program";
}

/* False when it is neither. */
static bool describe(int fd, bool is_map, uint32_t *ret_id, char name[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info prog = { 0 };
	struct bpf_map_info map = { 0 };
	uint32_t len = is_map ? sizeof(map) : sizeof(prog);
	char path[64], target[64] = "";

	/* The two commands' answers are not to be taken for each other. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof(target) - 1) < 0 ||
		!strstr(target, is_map ? "bpf-map" : "bpf-prog"))
		return false;
	if (bpf_obj_get_info_by_fd(fd, is_map ? (void *)&map : (void *)&prog, &len) != 0)
		return false;
	*ret_id = is_map ? map.id : prog.id;
	memcpy(name, is_map ? map.name : prog.name, BPF_OBJ_NAME_LEN);
	return true;
}

int sl_jump_keep(struct sl_jump_file *file, const char *where, bool is_map, int fd)
{
	char name[BPF_OBJ_NAME_LEN];
	struct sl_jump_fd *fds;
	uint32_t id;

	if (!describe(fd, is_map, &id, name)) {
		close(fd);
		sl_jump_fail(file, where, "that is no %s", kind(is_map));
		return -1;
	}
	for (unsigned i = 0; i < file->fd_count; i++) {
		if (file->fds[i].is_map == is_map && file->fds[i].id == id) {
			close(fd);
			return file->fds[i].fd;
		}
	}
	if (file->fd_count == file->fd_room) {
		unsigned room = file->fd_room ? 2 * file->fd_room : 64;

		fds = room <= SL_JUMP_FDS ? realloc(file->fds, room * sizeof(*fds)) : NULL;
		if (!fds) {
			close(fd);
			sl_jump_fail(file, where, "too many maps and programs");
			return -1;
		}
		file->fds = fds;
		file->fd_room = room;
	}
	file->fds[file->fd_count++] = (struct sl_jump_fd){ is_map, id, fd };
	return fd;
}

static int open_pin(struct sl_jump_file *file, const char *where, struct json_object *value,
	bool is_map, int *ret_fd)
{
	const char *path = json_object_get_string(value);
	int fd;

	if (!json_object_is_type(value, json_type_string))
		return sl_jump_fail(file, where, "'pinned' is not a string");
	fd = bpf_obj_get(path);
	if (fd < 0)
		return sl_jump_fail(file, where, "%s: %s", path, strerror(errno));
	*ret_fd = sl_jump_keep(file, where, is_map, fd);
	return *ret_fd < 0;
}

static int open_id(struct sl_jump_file *file, const char *where, struct json_object *value,
	bool is_map, int *ret_fd)
{
	int64_t id = json_object_get_int64(value);
	int fd;

	if (!json_object_is_type(value, json_type_int) || id < 1 || id > UINT32_MAX)
		return sl_jump_fail(file, where, "'id' is not a number from 1 to %u", UINT32_MAX);
	fd = is_map ? bpf_map_get_fd_by_id((uint32_t)id) : bpf_prog_get_fd_by_id((uint32_t)id);
	if (fd < 0)
		return sl_jump_fail(
			file, where, "%s %u: %s", kind(is_map), (uint32_t)id, strerror(errno));
	*ret_fd = sl_jump_keep(file, where, is_map, fd);
	return *ret_fd < 0;
}

static bool next_id(bool is_map, uint32_t *id)
{
	return (is_map ? bpf_map_get_next_id(*id, id) : bpf_prog_get_next_id(*id, id)) == 0;
}

/* The only one of this name, of those that the caller may open. */
static int open_name(struct sl_jump_file *file, const char *where, struct json_object *value,
	bool is_map, int *ret_fd)
{
	const char *wanted = json_object_get_string(value);
	uint32_t id = 0, found = 0, of;
	int result = -1;

	if (!json_object_is_type(value, json_type_string))
		return sl_jump_fail(file, where, "'name' is not a string");
	while (next_id(is_map, &id)) {
		int fd = is_map ? bpf_map_get_fd_by_id(id) : bpf_prog_get_fd_by_id(id);
		char name[BPF_OBJ_NAME_LEN];

		if (fd < 0)
			continue;
		/* Longer names are cut when they are given. */
		if (!describe(fd, is_map, &of, name) ||
			strncmp(name, wanted, BPF_OBJ_NAME_LEN - 1) != 0) {
			close(fd);
			continue;
		}
		if (result >= 0) {
			close(fd);
			close(result);
			return sl_jump_fail(file, where,
				"%ss %u and %u are named '%s': say which by id", kind(is_map),
				found, id, wanted);
		}
		result = fd;
		found = id;
	}
	if (result < 0)
		return sl_jump_fail(file, where, "no %s is named '%s'", kind(is_map), wanted);
	*ret_fd = sl_jump_keep(file, where, is_map, result);
	return *ret_fd < 0;
}

static const struct {
	const char *name;
	int (*open)(struct sl_jump_file *file, const char *where, struct json_object *value,
		bool is_map, int *ret_fd);
} ways[] = {
	{ "pinned", open_pin },
	{ "id", open_id },
	{ "name", open_name },
};

static int open_directly(struct sl_jump_file *file, const char *where,
	struct json_object *reference, bool is_map, int *ret_fd)
{
	static const char *const names[] = { "pinned", "id", "name", NULL };
	struct json_object *value;

	if (!json_object_is_type(reference, json_type_object))
		return sl_jump_fail(file, where, "does not say which %s", kind(is_map));
	if (sl_jump_only(file, where, reference, names))
		return 1;
	if (json_object_object_length(reference) == 1) {
		for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
			if (json_object_object_get_ex(reference, ways[i].name, &value))
				return ways[i].open(file, where, value, is_map, ret_fd);
		}
	}
	return sl_jump_fail(
		file, where, "a %s is named by one of pinned, id and name", kind(is_map));
}

int sl_jump_find(struct sl_jump_file *file, const char *where, struct json_object *reference,
	bool is_map, int *ret_fd)
{
	struct json_object *aliases = is_map ? file->maps : file->programs, *named, *object;
	const char *part = is_map ? "maps" : "programs";
	char at[128];

	if (!json_object_is_type(reference, json_type_string))
		return open_directly(file, where, reference, is_map, ret_fd);
	if (!aliases ||
		!json_object_object_get_ex(aliases, json_object_get_string(reference), &named))
		return sl_jump_fail(file, where, "there is no '%.64s' in \"%s\"",
			json_object_get_string(reference), part);
	snprintf(at, sizeof(at), "%s.%.64s", part, json_object_get_string(reference));
	if (!is_map && json_object_is_type(named, json_type_object) &&
		json_object_object_get_ex(named, "object", &object))
		return sl_jump_loaded(file, at, named, ret_fd);
	return open_directly(file, at, named, is_map, ret_fd);
}

void sl_jump_close(struct sl_jump_file *file)
{
	for (unsigned i = 0; i < file->fd_count; i++)
		close(file->fds[i].fd);
	free(file->fds);
}
