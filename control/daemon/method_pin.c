#include <stdio.h>
#include <string.h>

#include <sluice/pin.h>

#include "method.h"

struct list {
	const struct sl_caller *peer;
	const char *below;
	struct json_object *pins;
};

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	while (len > 0 && dir[len - 1] == '/')
		len--;
	return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static bool add(const struct sluice_pin *pin, void *arg)
{
	struct list *list = arg;
	struct json_object *row;
	char mode[8];

	if (!is_below(pin->path, list->below) ||
		(!list->peer->privileged && pin->uid != list->peer->uid))
		return true;
	row = json_object_new_object();
	snprintf(mode, sizeof(mode), "%04o", (unsigned)pin->mode);
	json_object_object_add(row, "path", json_object_new_string(pin->path));
	json_object_object_add(row, "kind", json_object_new_string(pin->kind));
	json_object_object_add(row, "id", json_object_new_int64(pin->id));
	json_object_object_add(row, "name", json_object_new_string(pin->name));
	json_object_object_add(row, "uid", json_object_new_int64(pin->uid));
	json_object_object_add(row, "gid", json_object_new_int64(pin->gid));
	json_object_object_add(row, "mode", json_object_new_string(mode));
	json_object_array_add(list->pins, row);
	return true;
}

/* An unprivileged peer sees its own: others' may be in directories that it may not look into. */
int sl_method_pin_list(struct sl_method_call *call)
{
	static const char *const names[] = { "path", NULL };
	struct list list = { .peer = call->peer, .below = "/" };
	int err = sl_method_string(call, "path", false, &list.below);

	if (!err)
		err = sl_method_only(call, names);
	if (err)
		return err;
	list.pins = json_object_new_array();
	sluice_pin_walk(add, &list);
	json_object_object_add(call->result, "pins", list.pins);
	return 0;
}
