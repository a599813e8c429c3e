#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpffs.h"
#include "client.h"
#include "daemon.h"
#include "remote_pin.h"
#include "verb.h"

static const char *text_of(struct json_object *row, const char *name)
{
	return json_object_get_string(json_object_object_get(row, name));
}

static void print_pins(struct json_object *pins)
{
	if (json_object_array_length(pins) == 0)
		return;
	printf("%-5s %6s %-16s %6s %6s %4s %s\n", "KIND", "ID", "NAME", "UID", "GID", "MODE",
		"PATH");
	for (size_t i = 0; i < json_object_array_length(pins); i++) {
		struct json_object *row = json_object_array_get_idx(pins, i);
		const char *name = text_of(row, "name");

		printf("%-5s %6s %-16s %6s %6s %4s %s\n", text_of(row, "kind"), text_of(row, "id"),
			*name ? name : "-", text_of(row, "uid"), text_of(row, "gid"),
			text_of(row, "mode"), text_of(row, "path"));
	}
}

static int list(const char *path, bool json)
{
	struct json_object *params = json_object_new_object(), *result = NULL, *pins;
	char reason[SL_DAEMON_REASON];

	if (path)
		json_object_object_add(params, "path", json_object_new_string(path));
	if (sl_daemon_call("pin.list", params, NULL, &result, NULL, reason) != 0)
		return sl_cli_fail("pin list: %s", reason);
	pins = json_object_object_get(result, "pins");
	if (json)
		puts(json_object_to_json_string_ext(pins, JSON_C_TO_STRING_PRETTY));
	else
		print_pins(pins);
	json_object_put(result);
	return 0;
}

/* By this user's own rights, as rm(1) would: the daemon sees that the file is gone. */
static int remove_pin(const char *path)
{
	struct sl_bpffs_path look;
	struct stat st;
	int err;

	if (sl_daemon_call("daemon.info", NULL, NULL, NULL, NULL, (char[SL_DAEMON_REASON]){ 0 }) !=
		0)
		return sl_cli_fail("pin rm: no daemon answers");
	sl_remote_use_bpffs();
	err = sl_bpffs_look(AT_FDCWD, path, &look);
	if (err)
		return sl_cli_fail("pin rm: %s: %s", path, strerror(-err));
	if (look.where != SL_BPFFS_INSIDE)
		return sl_cli_fail("pin rm: %s: not in a bpf file system", path);
	if (lstat(look.path, &st) != 0)
		return sl_cli_fail("pin rm: %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return sl_cli_fail("pin rm: %s: not a pin", path);
	if (unlink(look.path) != 0)
		return sl_cli_fail("pin rm: %s: %s", path, strerror(errno));
	return 0;
}

static const char help[] =
	"Usage: sluice pin list [--json] [PATH]\n"
	"       sluice pin rm PATH\n"
	"\n"
	"Shows the maps, programs and links that are pinned, below PATH or everywhere, and\n"
	"removes a pin. Pins hold their object when no process does.\n"
	"\n"
	"Options:\n"
	"  --json  kind, id, name, owner, mode and path, as a JSON array\n"
	"  --help  print this text\n"
	"\n"
	"Exit status: 0; 1 when it fails, 2 for wrong arguments.\n";

int sl_cmd_pin(int argc, char **argv)
{
	const char *what = argc > 0 ? argv[0] : NULL, *path = NULL;
	bool json = false, rm = what && strcmp(what, "rm") == 0;

	if (sl_cli_helps(argc, argv, help))
		return 0;
	if (!what)
		return sl_cli_usage("pin: say list or rm");
	if (!rm && strcmp(what, "list") != 0)
		return sl_cli_usage("pin: '%s' is neither list nor rm", what);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0 && !rm)
			json = true;
		else if (*argv[i] == '-')
			return sl_cli_usage("pin %s: unknown option '%s'", what, argv[i]);
		else if (path)
			return sl_cli_usage("pin %s: unexpected argument '%s'", what, argv[i]);
		else
			path = argv[i];
	}
	if (path && *path != '/')
		return sl_cli_usage("pin %s: '%s' is not an absolute path", what, path);
	if (rm && !path)
		return sl_cli_usage("pin rm: no path given");
	return rm ? remove_pin(path) : list(path, json);
}
