#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <json-c/json.h>

#include "client.h"
#include "map_elements.h"
#include "map_help.h"
#include "map_open.h"
#include "verb.h"

struct map_command {
	const char *name; /* of the verb: "get" */
	const char *key_types, *value_types;
	uint64_t flags;
	bool json, sum, raw, flags_given;
	struct sl_map_handle map;
	int argc; /* what follows the map */
	char **argv;
	int cpu; /* SL_ALL_CPUS, or the one asked for */
	bool first; /* nothing is printed yet */
};

static const struct {
	const char *name;
	uint64_t flags;
} flag_names[] = {
	{ "any", BPF_ANY },
	{ "noexist", BPF_NOEXIST },
	{ "exist", BPF_EXIST },
};

/* Adds what is a number, element by element. */
static struct json_object *sum_of(struct json_object *a, struct json_object *b)
{
	struct json_object *ret;

	switch (json_object_get_type(a)) {
	case json_type_int:
		return json_object_get_int64(a) < 0 || json_object_get_int64(b) < 0
			       ? json_object_new_int64(
					 json_object_get_int64(a) + json_object_get_int64(b))
			       : json_object_new_uint64(
					 json_object_get_uint64(a) + json_object_get_uint64(b));
	case json_type_double:
		return json_object_new_double(
			json_object_get_double(a) + json_object_get_double(b));
	case json_type_array:
		ret = json_object_new_array();
		for (size_t i = 0; i < json_object_array_length(a); i++)
			json_object_array_add(ret, sum_of(json_object_array_get_idx(a, i),
							   json_object_array_get_idx(b, i)));
		return ret;
	case json_type_object: {
		json_object_iter it;

		ret = json_object_new_object();
		json_object_object_foreachC(a, it)
		{
			struct json_object *other;

			if (json_object_object_get_ex(b, it.key, &other))
				json_object_object_add(ret, it.key, sum_of(it.val, other));
		}
		return ret;
	}
	default:
		return json_object_get(a);
	}
}

static struct json_object *show_cpu(
	const struct map_command *c, const uint8_t *values, unsigned cpu)
{
	return sl_value_show(&c->map.value, values + (size_t)cpu * c->map.stride);
}

static struct json_object *show_sum(const struct map_command *c, const uint8_t *values)
{
	struct json_object *sum = show_cpu(c, values, 0);

	for (unsigned i = 1; i < c->map.cpus; i++) {
		struct json_object *value = show_cpu(c, values, i), *both = sum_of(sum, value);

		json_object_put(sum);
		json_object_put(value);
		sum = both;
	}
	return sum;
}

static bool shows_all_cpus(const struct map_command *c)
{
	return c->map.cpus && c->cpu == SL_ALL_CPUS && !c->sum;
}

/* A value that is the same kind of thing on every kind of map. */
static struct json_object *show_value(const struct map_command *c, const uint8_t *values)
{
	struct json_object *array;

	if (c->sum && c->map.cpus)
		return show_sum(c, values);
	if (!shows_all_cpus(c))
		return show_cpu(c, values, c->cpu == SL_ALL_CPUS ? 0 : (unsigned)c->cpu);
	array = json_object_new_array();
	for (unsigned i = 0; i < c->map.cpus; i++) {
		struct json_object *one = json_object_new_object();

		json_object_object_add(one, "cpu", json_object_new_int((int)i));
		json_object_object_add(one, "value", show_cpu(c, values, i));
		json_object_array_add(array, one);
	}
	return array;
}

/* One line, which `sluice map set MAP -` reads: the key when there is one, the value, the CPU. */
static void print_line(
	const struct map_command *c, const uint8_t *key, struct json_object *value, int cpu)
{
	if (key) {
		struct json_object *shown = sl_value_show(&c->map.key, key);

		sl_value_print(&c->map.key, shown, stdout);
		json_object_put(shown);
	}
	if (key && value)
		putchar(' ');
	if (value)
		sl_value_print(&c->map.value, value, stdout);
	if (cpu != SL_ALL_CPUS)
		printf(" @%d", cpu);
	putchar('\n');
}

static void print_text(const struct map_command *c, const uint8_t *key, const uint8_t *values)
{
	for (unsigned i = 0; i < (shows_all_cpus(c) ? c->map.cpus : 1); i++) {
		struct json_object *value =
			shows_all_cpus(c) ? show_cpu(c, values, i) : show_value(c, values);

		print_line(c, key, value, shows_all_cpus(c) ? (int)i : SL_ALL_CPUS);
		json_object_put(value);
	}
}

static void print_json(struct json_object *value)
{
	fputs(json_object_to_json_string_ext(
		      value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
		stdout);
}

/* One of a list; the brackets are its caller's. */
static int print_element(void *ctx, const uint8_t *key, const uint8_t *values)
{
	struct map_command *c = ctx;
	struct json_object *element;

	if (!c->json) {
		print_text(c, key, values);
		return 0;
	}
	element = json_object_new_object();
	json_object_object_add(element, "key", sl_value_show(&c->map.key, key));
	json_object_object_add(element, "value", show_value(c, values));
	fputs(c->first ? "\n" : ",\n", stdout);
	c->first = false;
	print_json(element);
	json_object_put(element);
	return 0;
}

static int fail(const struct map_command *c, int err)
{
	const char *why = err == -ENOENT   ? "no such element"
			  : err == -EEXIST ? "the element exists"
			  : err == -E2BIG  ? "the map is full, or the key is past its end"
			  : err == -524    ? "the map does not support this"
					   : strerror(-err);

	return sl_cli_fail("map %s: %s", c->name, why);
}

/* What was not written all the way. */
static int fail_write(
	const struct map_command *c, const struct sl_map_elements *e, size_t done, int err)
{
	if (e->lines[done] == 0)
		return fail(c, err);
	fprintf(stderr, "sluice: map %s: line %zu: %s (%zu of %zu elements are done)\n", c->name,
		e->lines[done], strerror(err == -524 ? EOPNOTSUPP : -err), done, e->count);
	return 1;
}

/* The arguments after the map, or with "-" the lines of the standard input. */
static int take_elements(
	struct map_command *c, bool with_values, struct sl_map_elements *ret_elements)
{
	unsigned wanted = (c->map.info.key_size > 0) + with_values;
	char why[512];

	sl_map_elements_init(ret_elements, &c->map, with_values);
	if (c->argc == 1 && strcmp(c->argv[0], "-") == 0) {
		if (sl_map_elements_read(ret_elements, stdin, why, sizeof(why)) == 0)
			return 0;
		return sl_cli_fail("map %s: %s; nothing was done", c->name, why);
	}
	if (c->argc < (int)wanted || c->argc > (int)wanted + 1)
		return sl_cli_usage("map %s: %s", c->name,
			c->argc > (int)wanted + 1     ? "too many words"
			: c->argc == 0 && wanted == 2 ? "no key and no value given"
			: with_values                 ? "no value given"
						      : "no key given");
	if (sl_map_elements_add(ret_elements, c->map.info.key_size ? c->argv[0] : NULL,
		    with_values ? c->argv[wanted - 1] : NULL,
		    c->argc > (int)wanted ? c->argv[wanted] : NULL, 0, why, sizeof(why)) == 0)
		return 0;
	return sl_cli_usage("map %s: %s", c->name, why);
}

/* Two words for a program or map in a slot become one. */
static void join_object(struct map_command *c)
{
	static char joined[4096 + 16];
	const char *word;

	if (c->argc != 3 || (c->map.holds != SL_VALUE_PROG && c->map.holds != SL_VALUE_MAP))
		return;
	word = c->argv[1];
	if (strcmp(word, "id") != 0 && strcmp(word, "pinned") != 0 && strcmp(word, "fd") != 0)
		return;
	snprintf(joined, sizeof(joined), "%s:%s", word, c->argv[2]);
	c->argv[1] = joined;
	c->argc = 2;
}

static int map_set(struct map_command *c)
{
	struct sl_map_elements elements;
	size_t done;
	int status, err;

	join_object(c);
	status = take_elements(c, true, &elements);
	if (status == 0) {
		err = sl_map_elements_write(&elements, c->flags, &done);
		if (err)
			status = fail_write(c, &elements, done, err);
	}
	sl_map_elements_done(&elements);
	return status;
}

static bool is_keyless(const struct map_command *c)
{
	return c->map.info.key_size == 0;
}

/* A queue's or stack's next element. */
static int pop(struct map_command *c, bool remove)
{
	uint8_t *value = calloc(1, c->map.value_bytes);
	struct json_object *shown;
	int err = !value   ? -ENOMEM
		  : remove ? bpf_map_lookup_and_delete_elem(c->map.fd, NULL, value)
			   : bpf_map_lookup_elem(c->map.fd, NULL, value);

	if (err == 0) {
		shown = show_value(c, value);
		if (c->json) {
			print_json(shown);
			putchar('\n');
		} else {
			print_line(c, NULL, shown, SL_ALL_CPUS);
		}
		json_object_put(shown);
	}
	free(value);
	return err ? fail(c, err) : 0;
}

static int map_del(struct map_command *c)
{
	struct sl_map_elements elements;
	size_t done;
	int status, err;

	if (is_keyless(c) && c->argc == 0)
		return pop(c, true);
	status = take_elements(c, false, &elements);
	for (size_t i = 0; status == 0 && i < elements.count; i++) {
		if (elements.cpus[i] != SL_ALL_CPUS)
			status = sl_cli_usage("map del: an element goes on all CPUs at once");
	}
	if (status == 0) {
		err = sl_map_elements_write(&elements, 0, &done);
		if (err)
			status = fail_write(c, &elements, done, err);
	}
	sl_map_elements_done(&elements);
	return status;
}

static int get_one(struct map_command *c, const uint8_t *key)
{
	uint8_t *values = calloc(1, c->map.value_bytes);
	int err = values ? bpf_map_lookup_elem(c->map.fd, key, values) : -ENOMEM;

	if (err == 0 && c->json) {
		struct json_object *shown = show_value(c, values);

		print_json(shown);
		putchar('\n');
		json_object_put(shown);
	} else if (err == 0) {
		print_text(c, NULL, values);
	}
	free(values);
	return err ? fail(c, err) : 0;
}

static int get_list(struct map_command *c, const struct sl_map_elements *e)
{
	uint8_t *values = calloc(1, c->map.value_bytes);
	size_t missing = 0;
	int err = values ? 0 : -ENOMEM;

	c->first = true;
	if (c->json)
		putchar('[');
	for (size_t i = 0; err == 0 && i < e->count; i++) {
		const uint8_t *key = e->keys + i * c->map.info.key_size;

		err = bpf_map_lookup_elem(c->map.fd, key, values);
		c->cpu = e->cpus[i];
		if (err == 0)
			err = print_element(c, key, values);
		missing += err == -ENOENT;
		err = err == -ENOENT ? 0 : err;
	}
	if (c->json)
		puts("\n]");
	free(values);
	if (err)
		return fail(c, err);
	return missing ? sl_cli_fail(
				 "map get: %zu of %zu elements are not there", missing, e->count)
		       : 0;
}

static int map_get(struct map_command *c)
{
	struct sl_map_elements elements;
	int status;

	if (is_keyless(c) && c->argc == 0)
		return pop(c, false);
	status = take_elements(c, false, &elements);
	if (status == 0 && elements.count == 1 && elements.lines[0] == 0) {
		c->cpu = elements.cpus[0];
		status = get_one(c, elements.keys);
	} else if (status == 0) {
		status = get_list(c, &elements);
	}
	sl_map_elements_done(&elements);
	return status;
}

static int map_next(struct map_command *c)
{
	struct sl_map_elements elements = { 0 };
	uint8_t *next;
	int status = 0, err;

	if (is_keyless(c))
		return sl_cli_fail("map next: the map has no keys");
	if (c->argc > 1)
		return sl_cli_usage("map next: too many words");
	if (c->argc == 1)
		status = take_elements(c, false, &elements);
	if (status || (c->argc == 1 && elements.count != 1)) {
		sl_map_elements_done(&elements);
		return status ? status : sl_cli_usage("map next: one key is wanted");
	}
	next = calloc(1, c->map.info.key_size);
	err = next ? bpf_map_get_next_key(c->map.fd, elements.keys, next) : -ENOMEM;
	if (err == 0) {
		struct json_object *shown = sl_value_show(&c->map.key, next);

		if (c->json)
			print_json(shown);
		else
			sl_value_print(&c->map.key, shown, stdout);
		putchar('\n');
		json_object_put(shown);
	}
	free(next);
	sl_map_elements_done(&elements);
	return err == -ENOENT ? sl_cli_fail("map next: no more keys") : err ? fail(c, err) : 0;
}

static int map_dump(struct map_command *c)
{
	char why[256];
	int err, cpu = SL_ALL_CPUS;

	if (c->argc == 1 && c->map.cpus && c->argv[0][0] == '@') {
		char *end;

		cpu = (int)strtoul(c->argv[0] + 1, &end, 10);
		if (*end || end == c->argv[0] + 1 || (unsigned)cpu >= c->map.cpus)
			return sl_cli_usage("map dump: there is no CPU '%s'", c->argv[0]);
	} else if (c->argc > 0) {
		return sl_cli_usage("map dump: too many words");
	}
	if (is_keyless(c))
		return sl_cli_fail("map dump: the map has no keys to go by");
	c->cpu = cpu;
	c->first = true;
	if (c->json)
		putchar('[');
	err = sl_map_for_each(&c->map, print_element, c);
	if (c->json)
		puts(c->first ? "]" : "\n]");
	if (err == -EAGAIN) {
		snprintf(why, sizeof(why), "the map changes faster than it can be read");
		return sl_cli_fail("map dump: %s", why);
	}
	return err ? fail(c, err) : 0;
}

static const struct {
	const char *name;
	int (*run)(struct map_command *c);
} map_verbs[] = {
	{ "get", map_get },
	{ "set", map_set },
	{ "del", map_del },
	{ "next", map_next },
	{ "dump", map_dump },
};

enum {
	MAP_VERBS = sizeof(map_verbs) / sizeof(map_verbs[0]),
	FLAG_NAMES = sizeof(flag_names) / sizeof(flag_names[0])
};

static int set_flags(struct map_command *c, const char *name)
{
	for (unsigned i = 0; i < FLAG_NAMES; i++) {
		if (strcmp(flag_names[i].name, name) == 0) {
			c->flags = flag_names[i].flags;
			c->flags_given = true;
			return 0;
		}
	}
	return sl_cli_usage("map: --flags are any, noexist or exist, not '%s'", name);
}

/* Takes one option, and its value from the next argument. Returns how many were used, or -usage. */
static int take_option(struct map_command *c, int argc, char **argv)
{
	const char *name = argv[0];
	const char **types = strcmp(name, "--key") == 0     ? &c->key_types
			     : strcmp(name, "--value") == 0 ? &c->value_types
							    : NULL;

	if (strcmp(name, "--json") == 0)
		c->json = true;
	else if (strcmp(name, "--raw") == 0)
		c->raw = true;
	else if (strcmp(name, "--sum") == 0)
		c->sum = true;
	else if (strcmp(name, "--kernel") == 0)
		sl_client_use(SL_CLIENT_KERNEL);
	else if (!types && strcmp(name, "--flags") != 0)
		return -sl_cli_usage("map: unknown option '%s'", name);
	else if (argc < 2)
		return -sl_cli_usage("map: nothing after '%s'", name);
	else if (!types)
		return set_flags(c, argv[1]) ? -SL_EXIT_USAGE : 2;
	else
		*types = argv[1];
	return types ? 2 : 1;
}

/* Options may stand anywhere; what is left moves together. */
static int take_options(struct map_command *c)
{
	int kept = 0;

	for (int i = 0; i < c->argc;) {
		int used;

		if (strncmp(c->argv[i], "--", 2) != 0) {
			c->argv[kept++] = c->argv[i++];
			continue;
		}
		used = take_option(c, c->argc - i, c->argv + i);
		if (used < 0)
			return -used;
		i += used;
	}
	c->argc = kept;
	return 0;
}

static int set_types(struct map_command *c)
{
	char why[256];

	c->map.key.raw = c->map.value.raw = c->raw;
	if (c->key_types && sl_value_set_items(&c->map.key, c->key_types, why, sizeof(why)) != 0)
		return sl_cli_usage("map %s: --key: %s", c->name, why);
	if (c->value_types &&
		sl_value_set_items(&c->map.value, c->value_types, why, sizeof(why)) != 0)
		return sl_cli_usage("map %s: --value: %s", c->name, why);
	return 0;
}

int sl_cmd_map(int argc, char **argv)
{
	struct map_command c = { .argc = argc, .argv = argv, .cpu = SL_ALL_CPUS };
	struct sl_map_ref ref;
	char why[512];
	unsigned verb = 0;
	int status;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[0], "help") == 0) {
			fputs(sl_map_help, stdout);
			return 0;
		}
	}
	sl_client_use(SL_CLIENT_DAEMON);
	status = take_options(&c);
	if (status)
		return status;
	if (c.argc == 0)
		return sl_cli_usage("map: say get, set, del, next or dump");
	c.name = *c.argv++;
	c.argc--;
	while (verb < MAP_VERBS && strcmp(map_verbs[verb].name, c.name) != 0)
		verb++;
	if (verb == MAP_VERBS)
		return sl_cli_usage("map: unknown verb '%s'", c.name);
	if (c.flags_given && map_verbs[verb].run != map_set)
		return sl_cli_usage("map %s: --flags are for set", c.name);
	snprintf(why, sizeof(why), "map %s", c.name);
	status = sl_map_ref_take(why, &c.argc, &c.argv, &ref);
	if (status)
		return status;
	if (sl_map_handle_open(&ref, &c.map, why, sizeof(why)) != 0)
		return sl_cli_fail("map %s: %s", c.name, why);
	status = set_types(&c);
	if (status == 0)
		status = map_verbs[verb].run(&c);
	sl_map_handle_close(&c.map);
	if (fflush(stdout) != 0 && status == 0)
		status = sl_cli_fail("map %s: cannot write: %s", c.name, strerror(errno));
	return status;
}
