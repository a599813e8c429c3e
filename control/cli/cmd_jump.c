#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "client.h"
#include "daemon.h"
#include "jump_file.h"
#include "verb.h"

/* `sluice jump`: what is in jump tables and at hooks, replaced as one. docs/jump-tables.md. */

static const char help[] =
	"Usage: sluice jump apply FILE [--dry-run] [--json]\n"
	"       sluice jump show {id N | pinned PATH | name NAME} [--json]\n"
	"       sluice jump rollback [GENERATION] [--dry-run] [--json]\n"
	"       sluice jump list [--json]\n"
	"\n"
	"Jump tables are maps of type PROG_ARRAY. A generation replaces programs in many of\n"
	"their slots, in several tables, and programs at the hooks of ports, as one: each\n"
	"packet meets the old programs or the new ones, never some of both, and none is lost\n"
	"or overtaken. What cannot be replaced as a whole is refused, and nothing changes.\n"
	"\n"
	"apply FILE\n"
	"    Loads the object files that FILE names, checks everything, publishes it as the\n"
	"    next generation, and prints its number, and when all workers had adopted it.\n"
	"    FILE is JSON, '-' is standard input:\n"
	"\n"
	"    {\n"
	"      \"maps\": {\n"
	"        \"stages\": { \"pinned\": \"/sys/fs/bpf/stages\" }\n"
	"      },\n"
	"      \"programs\": {\n"
	"        \"pick\": { \"object\": \"lb.bpf.o\", \"section\": \"xdp/pick\" },\n"
	"        \"send\": { \"pinned\": \"/sys/fs/bpf/send\" },\n"
	"        \"lb\": { \"object\": \"lb.bpf.o\", \"function\": \"front\" }\n"
	"      },\n"
	"      \"objects\": {\n"
	"        \"lb.bpf.o\": { \"maps\": { \"stages\": \"stages\" } }\n"
	"      },\n"
	"      \"slots\": [\n"
	"        { \"map\": \"stages\", \"index\": 0, \"program\": \"pick\" },\n"
	"        { \"map\": \"stages\", \"index\": 1, \"program\": \"send\" },\n"
	"        { \"map\": \"stages\", \"index\": 2, \"program\": null }\n"
	"      ],\n"
	"      \"hooks\": [\n"
	"        { \"hook\": \"xdp\", \"port\": \"net0\", \"program\": \"lb\" }\n"
	"      ]\n"
	"    }\n"
	"\n"
	"    maps, programs   give names to what the rest speaks of: {\"pinned\": PATH},\n"
	"                     {\"id\": N} or {\"name\": NAME}, which can stand in their place\n"
	"                     too. A program may come from an object file, relative to FILE,\n"
	"                     by section or by function; with \"type\" if its section does\n"
	"                     not tell.\n"
	"    objects          maps of an object file that are to be existing ones.\n"
	"    slots            null empties a slot.\n"
	"    hooks            xdp; tcx/ingress and tcx/egress, with \"old\", the program whose\n"
	"                     place it is; tc/ingress and tc/egress, with \"priority\" and\n"
	"                     \"handle\" (1) of the filter. Programs are replaced, not\n"
	"                     attached; \"old\" says what must be there.\n"
	"\n"
	"show MAP\n"
	"    The programs in a table's slots.\n"
	"\n"
	"rollback [GENERATION]\n"
	"    Undoes all that generations after GENERATION have changed, or the last one, in\n"
	"    one step that is a generation itself. Refused when somebody has changed any of\n"
	"    it since. Generations before the last 16 are not kept.\n"
	"\n"
	"list\n"
	"    The generations that are kept.\n"
	"\n"
	"Options:\n"
	"    --dry-run   checks, and changes nothing\n"
	"    --json      the answer as JSON\n"
	"\n"
	"Exit status: 0; 1 when it was refused, with the reason in one line; 2 for usage.\n"
	"\n"
	"What is at ports, and rollbacks, are for root and the daemon's user. Others may\n"
	"change the tables that they have or can open; that is not kept for rollbacks.\n";

struct options {
	bool dry_run, json;
	const char *words[4];
	unsigned word_count;
};

static int parse_options(int argc, char **argv, struct options *ret)
{
	*ret = (struct options){ .word_count = 0 };
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--dry-run") == 0)
			ret->dry_run = true;
		else if (strcmp(argv[i], "--json") == 0)
			ret->json = true;
		else if (argv[i][0] == '-' && argv[i][1])
			return sl_cli_usage("jump: unknown option '%s'", argv[i]);
		else if (ret->word_count == sizeof(ret->words) / sizeof(ret->words[0]))
			return sl_cli_usage("jump: too many arguments");
		else
			ret->words[ret->word_count++] = argv[i];
	}
	return 0;
}

static void print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static uint64_t number(struct json_object *object, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(object, name, &value) ? json_object_get_uint64(value) : 0;
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void print_generation(struct json_object *g, bool dry_run)
{
	uint64_t slots = number(g, "slots"), maps = number(g, "maps"), hooks = number(g, "hooks");
	time_t at = (time_t)(number(g, "published_ns") / 1000000000u);
	struct json_object *back;
	char when[32] = "";
	struct tm tm;

	printf("generation %" PRIu64 ": %" PRIu64 " slot%s of %" PRIu64 " map%s, %" PRIu64
	       " hook%s",
		number(g, "generation"), slots, plural(slots), maps, plural(maps), hooks,
		plural(hooks));
	if (json_object_object_get_ex(g, "back_to", &back))
		printf(", back to generation %" PRIu64, json_object_get_uint64(back));
	if (dry_run) {
		puts("; would be published");
		return;
	}
	if (localtime_r(&at, &tm))
		strftime(when, sizeof(when), "%F %T", &tm);
	printf("; published %s after %.3f ms, adopted by all workers %.3f ms later\n", when,
		(double)number(g, "prepare_ns") / 1e6, (double)number(g, "adopt_ns") / 1e6);
}

/* Calls and prints. */
static int call(const char *method, struct json_object *params, const struct options *o,
	void (*print)(struct json_object *result, bool dry_run))
{
	char reason[SL_DAEMON_REASON];
	struct json_object *result;

	if (o->dry_run)
		json_object_object_add(params, "dry_run", json_object_new_boolean(true));
	if (sl_daemon_call(method, params, NULL, &result, NULL, reason) != 0)
		return sl_cli_fail("jump: %s", reason);
	if (o->json)
		print_json(result);
	else
		print(result, o->dry_run);
	json_object_put(result);
	return 0;
}

static int apply(const struct options *o)
{
	struct json_object *params;
	struct sl_jump_file file;
	int status;

	if (o->word_count != 1)
		return sl_cli_usage("jump apply: say one FILE");
	status = sl_jump_file_read(o->words[0], &file);
	if (!status)
		status = sl_jump_file_load(&file);
	if (!status)
		status = sl_jump_file_params(&file, &params);
	if (!status)
		status = call("jump.apply", params, o, print_generation);
	sl_jump_file_free(&file);
	return status;
}

static int rollback(const struct options *o)
{
	struct json_object *params;
	long long to = 0;
	char *end;

	if (o->word_count > 1)
		return sl_cli_usage("jump rollback: say one GENERATION at most");
	if (o->word_count) {
		errno = 0;
		to = strtoll(o->words[0], &end, 10);
		if (errno || *end || end == o->words[0] || to < 0)
			return sl_cli_usage(
				"jump rollback: '%s' is no number of a generation", o->words[0]);
	}
	params = json_object_new_object();
	if (o->word_count)
		json_object_object_add(params, "generation", json_object_new_int64(to));
	return call("jump.rollback", params, o, print_generation);
}

static void print_list(struct json_object *result, bool dry_run)
{
	struct json_object *all;

	if (!json_object_object_get_ex(result, "generations", &all))
		return;
	for (size_t i = 0; i < json_object_array_length(all); i++)
		print_generation(json_object_array_get_idx(all, i), dry_run);
	if (json_object_array_length(all) == 0)
		printf("none is kept; the last was %" PRIu64 "\n", number(result, "last"));
}

static int list(const struct options *o)
{
	if (o->word_count || o->dry_run)
		return sl_cli_usage("jump list: takes no arguments");
	return call("jump.list", json_object_new_object(), o, print_list);
}

/* ---- show ---- */

static struct json_object *slot_json(uint32_t index, uint32_t id)
{
	struct json_object *slot = json_object_new_object();
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);
	const char *type;

	json_object_object_add(slot, "index", json_object_new_int64(index));
	json_object_object_add(slot, "id", json_object_new_int64(id));
	/* It may have gone meanwhile, or be somebody else's. */
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) != 0)
		return slot;
	type = libbpf_bpf_prog_type_str((enum bpf_prog_type)info.type);
	json_object_object_add(slot, "type", json_object_new_string(type ? type : "?"));
	json_object_object_add(slot, "name", json_object_new_string(info.name));
	return slot;
}

static int read_slots(int fd, const struct bpf_map_info *info, struct json_object *ret)
{
	for (uint32_t i = 0; i < info->max_entries; i++) {
		uint32_t id;

		if (bpf_map_lookup_elem(fd, &i, &id) == 0)
			json_object_array_add(ret, slot_json(i, id));
		else if (errno != ENOENT)
			return sl_cli_fail("jump: map %u: %s", info->id, strerror(errno));
	}
	return 0;
}

static const char *text(struct json_object *object, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(object, name, &value) ? json_object_get_string(value)
							       : "-";
}

static void print_table(struct json_object *table)
{
	struct json_object *slots;

	json_object_object_get_ex(table, "slots", &slots);
	printf("map %" PRIu64 " '%s': %zu of %" PRIu64 " slots are set\n", number(table, "id"),
		text(table, "name"), json_object_array_length(slots), number(table, "max_entries"));
	for (size_t i = 0; i < json_object_array_length(slots); i++) {
		struct json_object *slot = json_object_array_get_idx(slots, i);

		printf("%8" PRIu64 "  program %" PRIu64 "  %s  %s\n", number(slot, "index"),
			number(slot, "id"), text(slot, "type"), text(slot, "name"));
	}
}

static int show_map(int fd, const struct options *o)
{
	struct json_object *table = json_object_new_object(), *slots = json_object_new_array();
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int status;

	json_object_object_add(table, "slots", slots);
	if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0)
		status = sl_cli_fail("jump: %s", strerror(errno));
	else if (info.type != BPF_MAP_TYPE_PROG_ARRAY)
		status = sl_cli_fail("jump: map %u '%s' is no PROG_ARRAY", info.id, info.name);
	else
		status = read_slots(fd, &info, slots);
	json_object_object_add(table, "id", json_object_new_int64(info.id));
	json_object_object_add(table, "name", json_object_new_string(info.name));
	json_object_object_add(table, "max_entries", json_object_new_int64(info.max_entries));
	if (!status && o->json)
		print_json(table);
	else if (!status)
		print_table(table);
	json_object_put(table);
	return status;
}

static int show(const struct options *o)
{
	struct sl_jump_file file = { .name = "show" };
	struct json_object *reference, *value;
	int fd, status;
	char *end;
	bool is_id;

	is_id = o->word_count == 2 && strcmp(o->words[0], "id") == 0;
	if (o->word_count != 2 || o->dry_run ||
		(!is_id && strcmp(o->words[0], "pinned") != 0 && strcmp(o->words[0], "name") != 0))
		return sl_cli_usage("jump show: say id N, pinned PATH or name NAME");
	if (is_id) {
		value = json_object_new_int64(strtoll(o->words[1], &end, 10));
		if (*end) {
			json_object_put(value);
			return sl_cli_usage("jump show: '%s' is no id", o->words[1]);
		}
	} else {
		value = json_object_new_string(o->words[1]);
	}
	reference = json_object_new_object();
	json_object_object_add(reference, o->words[0], value);
	status = sl_jump_find(&file, "", reference, true, &fd);
	if (!status)
		status = show_map(fd, o);
	json_object_put(reference);
	sl_jump_file_free(&file);
	return status;
}

static const struct {
	const char *name;
	int (*run)(const struct options *o);
} commands[] = {
	{ "apply", apply },
	{ "show", show },
	{ "rollback", rollback },
	{ "list", list },
};

static int quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	(void)level;
	(void)fmt;
	(void)args;
	return 0;
}

int sl_cmd_jump(int argc, char **argv)
{
	struct options o;
	int status;

	if (argc == 0)
		return sl_cli_usage("jump: say apply, show, rollback or list");
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
			(i == 0 && strcmp(argv[i], "help") == 0)) {
			fputs(help, stdout);
			return 0;
		}
	}
	status = parse_options(argc - 1, argv + 1, &o);
	if (status)
		return status;
	/* The one line that says what was wrong is ours. */
	libbpf_set_print(quiet);
	sl_client_use(SL_CLIENT_DAEMON);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, argv[0]) == 0)
			return commands[i].run(&o);
	}
	return sl_cli_usage("jump: unknown command '%s'", argv[0]);
}
