#include "map_options.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verb.h"

/* "3=" in front of a map; moves *text behind it. */
static int64_t take_number(char **text)
{
	char *end;
	unsigned long long number;

	if (!isdigit((unsigned char)**text))
		return SL_MAP_NUMBER_ANY;
	number = strtoull(*text, &end, 10);
	if (*end != '=' || number > UINT32_MAX)
		return SL_MAP_NUMBER_ANY;
	*text = end + 1;
	return (int64_t)number;
}

int sl_map_options_take(
	const char *command, int *argc, char ***argv, struct sl_map_options *options)
{
	struct sl_map_option *o = &options->option[options->count];
	int status;

	if (options->count == SL_PASSED_MAX)
		return sl_cli_usage("%s: more than %u maps", command, SL_PASSED_MAX);
	o->number = *argc > 0 ? take_number(&(*argv)[0]) : SL_MAP_NUMBER_ANY;
	for (unsigned i = 0; o->number != SL_MAP_NUMBER_ANY && i < options->count; i++) {
		if (options->option[i].number == o->number)
			return sl_cli_usage(
				"%s: two maps have the number %lld", command, (long long)o->number);
	}
	status = sl_map_ref_take(command, argc, argv, &o->ref);
	options->count += status == 0;
	return status;
}

static bool is_taken(
	const struct sl_map_options *options, const struct sl_passed_maps *maps, uint32_t number)
{
	for (unsigned i = 0; i < maps->count; i++) {
		if (maps->ids[i] == number)
			return true;
	}
	for (unsigned i = 0; i < options->count; i++) {
		if (options->option[i].number == number)
			return true;
	}
	return false;
}

static int open_one(const char *command, const struct sl_map_options *options,
	const struct sl_map_option *o, struct sl_passed_maps *maps)
{
	enum sl_client_target old = sl_client_target();
	struct sl_map_handle map;
	uint32_t number = 0;
	char why[512];
	int fd;

	/* It is opened as `sluice map` would, which finds out what is no map. */
	if (sl_map_handle_open(&o->ref, &map, why, sizeof(why)) != 0)
		return sl_cli_fail("%s: %s", command, why);
	sl_client_use(old);
	fd = dup(map.fd);
	sl_map_handle_close(&map);
	if (fd < 0)
		return sl_cli_fail("%s: too many open files", command);
	if (o->number != SL_MAP_NUMBER_ANY) {
		number = (uint32_t)o->number;
	} else {
		while (is_taken(options, maps, number))
			number++;
	}
	if (sl_passed_maps_add(maps, number, fd) == 0)
		return 0;
	close(fd);
	return sl_cli_fail("%s: more than %u maps", command, SL_PASSED_MAX);
}

int sl_map_options_open(
	const char *command, const struct sl_map_options *options, struct sl_passed_maps *maps)
{
	for (unsigned i = 0; i < options->count; i++) {
		int status = open_one(command, options, &options->option[i], maps);

		if (status)
			return status;
	}
	return 0;
}
