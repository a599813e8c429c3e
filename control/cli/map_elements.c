#include "map_elements.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "scalar.h"

void sl_map_elements_init(
	struct sl_map_elements *elements, const struct sl_map_handle *map, bool with_values)
{
	*elements = (struct sl_map_elements){ .map = map, .with_values = with_values };
}

void sl_map_elements_done(struct sl_map_elements *elements)
{
	for (size_t i = 0; i < elements->object_count; i++) {
		close(elements->objects[i].fd);
		free(elements->objects[i].text);
	}
	free(elements->objects);
	free(elements->keys);
	free(elements->values);
	free(elements->cpus);
	free(elements->lines);
}

static bool resize(void *array, size_t count, size_t size)
{
	void **slot = array, *grown;

	grown = reallocarray(*slot, count, size ? size : 1);
	if (grown)
		*slot = grown;
	return grown;
}

static bool make_room(struct sl_map_elements *e)
{
	size_t capacity = e->capacity ? 2 * e->capacity : 16;

	if (e->count < e->capacity)
		return true;
	if (!resize(&e->keys, capacity, e->map->info.key_size) ||
		!resize(&e->values, capacity, e->with_values ? e->map->value_bytes : 1) ||
		!resize(&e->cpus, capacity, sizeof(*e->cpus)) ||
		!resize(&e->lines, capacity, sizeof(*e->lines)))
		return false;
	e->capacity = capacity;
	return true;
}

/* Each slot's program stays open until it is written. */
static void allow_many_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int open_object(
	enum sl_value_kind kind, const char *text, char *ret_reason, size_t reason_size)
{
	const char *colon = strchr(text, ':'), *rest = colon ? colon + 1 : text;
	uint32_t id;
	int fd;

	if (strncmp(text, "pinned:", 7) == 0) {
		fd = bpf_obj_get(rest);
	} else if (strncmp(text, "fd:", 3) == 0 &&
		   sl_scalar_parse_unsigned(rest, (uint8_t *)&id, sizeof(id)) == 0) {
		fd = dup((int)id);
		fd = fd < 0 ? -errno : fd;
	} else if ((!colon || strncmp(text, "id:", 3) == 0) &&
		   sl_scalar_parse_unsigned(rest, (uint8_t *)&id, sizeof(id)) == 0) {
		fd = kind == SL_VALUE_PROG ? bpf_prog_get_fd_by_id(id) : bpf_map_get_fd_by_id(id);
	} else {
		snprintf(ret_reason, reason_size, "'%s' is no %s (id:N, pinned:PATH or fd:N)", text,
			kind == SL_VALUE_PROG ? "program" : "map");
		return -EINVAL;
	}
	if (fd < 0)
		snprintf(ret_reason, reason_size, "%s: %s", text, strerror(-fd));
	return fd;
}

/* The value of a slot that holds a program or map: a descriptor. */
static int parse_object(struct sl_map_elements *e, const char *text, uint8_t *bytes,
	char *ret_reason, size_t reason_size)
{
	int fd;

	for (size_t i = 0; i < e->object_count; i++) {
		if (strcmp(e->objects[i].text, text) == 0) {
			memcpy(bytes, &e->objects[i].fd, sizeof(fd));
			return 0;
		}
	}
	if (e->object_count == 0)
		allow_many_descriptors();
	fd = open_object(e->map->holds, text, ret_reason, reason_size);
	if (fd < 0)
		return fd;
	if (!resize(&e->objects, e->object_count + 1, sizeof(*e->objects)) ||
		!(e->objects[e->object_count].text = strdup(text))) {
		close(fd);
		snprintf(ret_reason, reason_size, "no memory");
		return -ENOMEM;
	}
	e->objects[e->object_count++].fd = fd;
	memcpy(bytes, &fd, sizeof(fd));
	return 0;
}

static int parse_value(struct sl_map_elements *e, const char *text, uint8_t *bytes,
	char *ret_reason, size_t reason_size)
{
	enum sl_value_kind holds = e->map->holds;

	if (holds == SL_VALUE_PROG || holds == SL_VALUE_MAP)
		return parse_object(e, text, bytes, ret_reason, reason_size);
	if (holds == SL_VALUE_FD && strncmp(text, "fd:", 3) == 0)
		text += 3;
	return sl_value_parse(&e->map->value, text, bytes, ret_reason, reason_size);
}

static int parse_cpu(const struct sl_map_handle *map, const char *text, int *ret_cpu,
	char *ret_reason, size_t reason_size)
{
	uint32_t cpu;

	*ret_cpu = SL_ALL_CPUS;
	if (!text)
		return 0;
	if (*text == '@' && sl_scalar_parse_unsigned(text + 1, (uint8_t *)&cpu, sizeof(cpu)) == 0) {
		if (cpu < map->cpus) {
			*ret_cpu = (int)cpu;
			return 0;
		}
		if (map->cpus)
			snprintf(ret_reason, reason_size, "'%s': there are CPUs 0 to %u", text,
				map->cpus - 1);
		else
			snprintf(ret_reason, reason_size, "'%s': the map is not per CPU", text);
		return -EINVAL;
	}
	snprintf(ret_reason, reason_size, "'%s' is one word too many", text);
	return -EINVAL;
}

int sl_map_elements_add(struct sl_map_elements *e, const char *key, const char *value,
	const char *cpu, size_t line, char *ret_reason, size_t reason_size)
{
	const struct sl_map_handle *map = e->map;
	uint8_t *values;
	char why[192];
	int err;

	if (!make_room(e)) {
		snprintf(ret_reason, reason_size, "no memory");
		return -ENOMEM;
	}
	if (key) {
		err = sl_value_parse(
			&map->key, key, e->keys + e->count * map->info.key_size, why, sizeof(why));
		if (err) {
			snprintf(ret_reason, reason_size, "key: %s", why);
			return err;
		}
	}
	err = parse_cpu(map, cpu, &e->cpus[e->count], ret_reason, reason_size);
	if (err)
		return err;
	if (value) {
		values = e->values + e->count * map->value_bytes;
		memset(values, 0, map->value_bytes);
		err = parse_value(e, value, values, why, sizeof(why));
		if (err) {
			snprintf(ret_reason, reason_size, "value: %s", why);
			return err;
		}
		for (unsigned i = 1; i < map->cpus; i++)
			memcpy(values + (size_t)i * map->stride, values, map->stride);
	}
	e->lines[e->count++] = line;
	return 0;
}

/* The next word, which ends at a blank outside of quotes and brackets. NULL at the end. */
static char *next_word(char **text)
{
	char *start = *text + strspn(*text, " \t\r\n"), *end = start;
	bool quoted = false;
	int depth = 0;

	if (!*start || *start == '#')
		return NULL;
	for (; *end && (quoted || depth > 0 || !isspace((unsigned char)*end)); end++) {
		if (*end == '"')
			quoted = !quoted;
		else if (*end == '\\' && quoted && end[1])
			end++;
		else if (!quoted && (*end == '{' || *end == '['))
			depth++;
		else if (!quoted && (*end == '}' || *end == ']'))
			depth--;
	}
	*text = *end ? end + 1 : end;
	*end = 0;
	return start;
}

static int add_line(
	struct sl_map_elements *e, char *text, size_t line, char *ret_reason, size_t reason_size)
{
	const char *words[4] = { NULL };
	unsigned count = 0, wanted = (e->map->info.key_size > 0) + e->with_values;

	while (count < 4 && (words[count] = next_word(&text)))
		count++;
	if (count == 0)
		return 0;
	if (count < wanted || count > wanted + 1) {
		snprintf(ret_reason, reason_size, "%u words where %u are wanted", count, wanted);
		return -EINVAL;
	}
	return sl_map_elements_add(e, e->map->info.key_size ? words[0] : NULL,
		e->with_values ? words[wanted - 1] : NULL, words[wanted], line, ret_reason,
		reason_size);
}

int sl_map_elements_read(struct sl_map_elements *e, FILE *in, char *ret_reason, size_t reason_size)
{
	char *text = NULL, why[256];
	size_t size = 0, line = 0;
	int err = 0;

	while (err == 0 && getline(&text, &size, in) >= 0) {
		err = add_line(e, text, ++line, why, sizeof(why));
		if (err)
			snprintf(ret_reason, reason_size, "line %zu: %s", line, why);
	}
	if (err == 0 && ferror(in)) {
		err = -EIO;
		snprintf(ret_reason, reason_size, "cannot read: %s", strerror(errno));
	}
	free(text);
	return err;
}
