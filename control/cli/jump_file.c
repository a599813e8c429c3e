#include "jump_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verb.h"

/* The form of the file, in JSON: what tools write, and json-c is in use already. */

enum { FILE_MAX = 16 << 20, DEPTH_MAX = 8 };

int sl_jump_fail(const struct sl_jump_file *file, const char *where, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return sl_cli_fail("jump: %s: %s%s%s", file->name, where, *where ? ": " : "", text);
}

int sl_jump_only(const struct sl_jump_file *file, const char *where, struct json_object *object,
	const char *const names[])
{
	json_object_object_foreach(object, key, value)
	{
		unsigned i = 0;

		(void)value;
		while (names[i] && strcmp(names[i], key) != 0)
			i++;
		if (!names[i])
			return sl_jump_fail(file, where, "there is no '%.64s' here", key);
	}
	return 0;
}

/* All of a stream, NUL-terminated; NULL with errno. */
static char *read_all(FILE *f, size_t *ret_len)
{
	char *text = malloc(FILE_MAX + 1);
	size_t len;

	if (!text)
		return NULL;
	len = fread(text, 1, FILE_MAX + 1, f);
	if (ferror(f) || len > FILE_MAX) {
		errno = ferror(f) ? errno : EFBIG;
		free(text);
		return NULL;
	}
	text[len] = 0;
	*ret_len = len;
	return text;
}

static char *read_file(const char *path, size_t *ret_len)
{
	bool is_stdin = strcmp(path, "-") == 0;
	FILE *f = is_stdin ? stdin : fopen(path, "re");
	char *text;
	int err;

	if (!f)
		return NULL;
	text = read_all(f, ret_len);
	err = errno;
	if (!is_stdin)
		fclose(f);
	errno = err;
	return text;
}

static unsigned line_of(const char *text, size_t offset)
{
	unsigned line = 1;

	for (size_t i = 0; i < offset && text[i]; i++)
		line += text[i] == '\n';
	return line;
}

static int parse(struct sl_jump_file *file, const char *text, size_t len)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	enum json_tokener_error err;
	int status = 0;

	if (!tokener)
		return sl_jump_fail(file, "", "%s", strerror(ENOMEM));
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	file->root = json_tokener_parse_ex(tokener, text, (int)len + 1);
	err = json_tokener_get_error(tokener);
	if (err != json_tokener_success)
		status = sl_jump_fail(file, "", "line %u: %s",
			line_of(text, json_tokener_get_parse_end(tokener)),
			json_tokener_error_desc(err));
	else if (json_tokener_get_parse_end(tokener) < len)
		status = sl_jump_fail(file, "", "line %u: something follows the end",
			line_of(text, json_tokener_get_parse_end(tokener)));
	json_tokener_free(tokener);
	return status;
}

static int check_form(struct sl_jump_file *file)
{
	const struct {
		const char *name;
		enum json_type type;
		struct json_object **ret;
	} parts[] = {
		{ "maps", json_type_object, &file->maps },
		{ "programs", json_type_object, &file->programs },
		{ "objects", json_type_object, &file->objects },
		{ "slots", json_type_array, &file->slots },
		{ "hooks", json_type_array, &file->hooks },
	};
	static const char *const names[] = { "maps", "programs", "objects", "slots", "hooks",
		NULL };

	if (!json_object_is_type(file->root, json_type_object))
		return sl_jump_fail(file, "", "not an object");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (json_object_object_get_ex(file->root, parts[i].name, parts[i].ret) &&
			!json_object_is_type(*parts[i].ret, parts[i].type))
			return sl_jump_fail(
				file, parts[i].name, "not an %s", json_type_to_name(parts[i].type));
	}
	if (!file->slots && !file->hooks)
		return sl_jump_fail(file, "", "there are no slots and no hooks");
	return sl_jump_only(file, "", file->root, names);
}

/* The text is parsed to its end, which a NUL in the middle is not. */
static int check_text(const struct sl_jump_file *file, const char *text, size_t len)
{
	const char *nul = memchr(text, 0, len);

	return nul ? sl_jump_fail(file, "", "line %u: a NUL", line_of(text, (size_t)(nul - text)))
		   : 0;
}

int sl_jump_file_read(const char *path, struct sl_jump_file *ret_file)
{
	const char *slash = strrchr(path, '/');
	size_t len = 0;
	char *text;
	int status;

	memset(ret_file, 0, sizeof(*ret_file));
	ret_file->name = strcmp(path, "-") == 0 ? "standard input" : path;
	if (slash && (size_t)(slash - path) < sizeof(ret_file->directory) - 1)
		snprintf(ret_file->directory, sizeof(ret_file->directory), "%.*s",
			(int)(slash - path) + 1, path);
	text = read_file(path, &len);
	if (!text)
		return sl_jump_fail(ret_file, "", "%s", strerror(errno));
	status = check_text(ret_file, text, len);
	if (!status)
		status = parse(ret_file, text, len);
	free(text);
	return status ? status : check_form(ret_file);
}

/* ---- parameters ---- */

static int slot_params(struct sl_jump_file *file, size_t i, struct json_object *ret)
{
	static const char *const names[] = { "map", "index", "program", NULL };
	struct json_object *slot = json_object_array_get_idx(file->slots, i), *map, *index, *prog;
	int map_fd, prog_fd = -1;
	char where[32];
	int64_t number;

	snprintf(where, sizeof(where), "slots[%zu]", i);
	if (!json_object_is_type(slot, json_type_object))
		return sl_jump_fail(file, where, "not an object");
	if (sl_jump_only(file, where, slot, names))
		return 1;
	if (!json_object_object_get_ex(slot, "map", &map))
		return sl_jump_fail(file, where, "'map' is missing");
	if (!json_object_object_get_ex(slot, "index", &index))
		return sl_jump_fail(file, where, "'index' is missing");
	number = json_object_get_int64(index);
	if (!json_object_is_type(index, json_type_int) || number < 0 || number > UINT32_MAX)
		return sl_jump_fail(
			file, where, "'index' is not a number from 0 to %u", UINT32_MAX);
	/* An empty slot is asked for by null, so that none is emptied by a mistake. */
	if (!json_object_object_get_ex(slot, "program", &prog))
		return sl_jump_fail(file, where, "'program' is missing (null empties the slot)");
	if (sl_jump_find(file, where, map, true, &map_fd) ||
		(prog && sl_jump_find(file, where, prog, false, &prog_fd)))
		return 1;
	json_object_array_add(ret, json_object_new_int(map_fd));
	json_object_array_add(ret, json_object_new_int64(number));
	json_object_array_add(ret, json_object_new_int(prog_fd));
	return 0;
}

/* Numbers and names are the daemon's to check. */
static int hook_params(struct sl_jump_file *file, size_t i, struct json_object *ret)
{
	static const char *const names[] = { "hook", "port", "program", "old", "priority", "handle",
		NULL };
	struct json_object *hook = json_object_array_get_idx(file->hooks, i), *value;
	char where[32];
	int fd;

	snprintf(where, sizeof(where), "hooks[%zu]", i);
	if (!json_object_is_type(hook, json_type_object))
		return sl_jump_fail(file, where, "not an object");
	if (sl_jump_only(file, where, hook, names))
		return 1;
	for (const char *const *name = names; *name; name++) {
		bool is_prog = strcmp(*name, "program") == 0 || strcmp(*name, "old") == 0;

		if (!json_object_object_get_ex(hook, *name, &value)) {
			if (name < &names[3])
				return sl_jump_fail(file, where, "'%s' is missing", *name);
			continue;
		}
		if (is_prog && sl_jump_find(file, where, value, false, &fd))
			return 1;
		json_object_object_add(
			ret, *name, is_prog ? json_object_new_int(fd) : json_object_get(value));
	}
	return 0;
}

int sl_jump_file_params(struct sl_jump_file *file, struct json_object **ret_params)
{
	struct json_object *params = json_object_new_object(), *slots = json_object_new_array(),
			   *hooks = json_object_new_array();
	int status = 0;

	json_object_object_add(params, "slots", slots);
	json_object_object_add(params, "hooks", hooks);
	for (size_t i = 0; !status && file->slots && i < json_object_array_length(file->slots);
		i++) {
		struct json_object *slot = json_object_new_array();

		json_object_array_add(slots, slot);
		status = slot_params(file, i, slot);
	}
	for (size_t i = 0; !status && file->hooks && i < json_object_array_length(file->hooks);
		i++) {
		struct json_object *hook = json_object_new_object();

		json_object_array_add(hooks, hook);
		status = hook_params(file, i, hook);
	}
	if (status)
		json_object_put(params);
	else
		*ret_params = params;
	return status;
}
