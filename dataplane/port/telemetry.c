#include "telemetry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_telemetry.h>
#include <sluice/stats.h>

#include "defs.h"

/*
 * Commands of DPDK's telemetry socket. Its answers hold at most 256 members, 512 elements and 16 KiB:
 * lists are of names or ids, and one thing is described at a time.
 */

static void add_fields(struct rte_tel_data *d, enum sluice_stat_kind kind, const void *stats)
{
	for (const struct sluice_stat_field *f = sluice_stat_fields(kind); f->name; f++)
		rte_tel_data_add_dict_u64(d, f->name, sluice_stat_value(stats, f));
}

/* Names of objects may have bytes that JSON does not: telemetry writes what it gets. */
static void add_text(struct rte_tel_data *d, const char *name, const char *text)
{
	char clean[RTE_TEL_MAX_STRING_LEN];
	size_t i;

	for (i = 0; text[i] && i < sizeof(clean) - 1; i++)
		clean[i] =
			text[i] < ' ' || text[i] > '~' || strchr("\"\\", text[i]) ? '_' : text[i];
	clean[i] = '\0';
	rte_tel_data_add_dict_string(d, name, clean);
}

/* The number that a command was given; -EINVAL when it is none. */
static int parse_number(const char *params, uint32_t *ret_number)
{
	unsigned long number;
	char *end;

	if (!params || *params < '0' || *params > '9')
		return -EINVAL;
	number = strtoul(params, &end, 10);
	if (*end || number > UINT32_MAX)
		return -EINVAL;
	*ret_number = (uint32_t)number;
	return 0;
}

static bool has_params(const char *params)
{
	return params && *params;
}

static int ports(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct sluice_port_info port = { 0 };

	if (has_params(params))
		return -EINVAL;
	rte_tel_data_start_array(d, RTE_TEL_STRING_VAL);
	while (sluice_port_next(port.ifindex, &port) == 0)
		rte_tel_data_add_array_string(d, port.name);
	return 0;
}

/* By name, or by number. */
static int find_port(const char *params, struct sluice_port_stats *ret_stats)
{
	struct sluice_port_stats stats = { 0 };
	uint32_t number;

	if (!has_params(params))
		return -EINVAL;
	if (parse_number(params, &number) != 0)
		number = 0;
	while (sluice_port_stats_next(stats.info.ifindex, &stats) == 0) {
		if (strcmp(stats.info.name, params) == 0 ||
			(number && stats.info.ifindex == number)) {
			*ret_stats = stats;
			return 0;
		}
	}
	return -ENODEV;
}

static int port_stats(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct sluice_port_stats stats;
	int err = find_port(params, &stats);

	if (err)
		return err;
	rte_tel_data_start_dict(d);
	add_text(d, "name", stats.info.name);
	rte_tel_data_add_dict_u64(d, "ifindex", stats.info.ifindex);
	add_fields(d, SLUICE_STAT_PORT, &stats);
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++)
		rte_tel_data_add_dict_u64(d, sluice_counter_name(i), stats.counters.value[i]);
	return 0;
}

static int workers(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct sluice_worker_stats stats;
	uint32_t worker;

	if (!has_params(params)) {
		rte_tel_data_start_array(d, RTE_TEL_INT_VAL);
		for (unsigned w = 0; w < sluice_workers_count(); w++)
			rte_tel_data_add_array_int(d, (int)w);
		return 0;
	}
	if (parse_number(params, &worker) != 0 || sluice_worker_stats(worker, &stats) != 0)
		return -EINVAL;
	rte_tel_data_start_dict(d);
	rte_tel_data_add_dict_u64(d, "cpu", stats.cpu);
	rte_tel_data_add_dict_u64(d, "running", stats.running);
	add_fields(d, SLUICE_STAT_WORKER, &stats);
	for (unsigned i = 0; i < SLUICE_BURST_BUCKETS; i++) {
		char name[32];

		snprintf(name, sizeof(name), "bursts_to_%u", 1u << i);
		rte_tel_data_add_dict_u64(d, name, stats.burst_sizes[i]);
	}
	return 0;
}

static int programs(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct sluice_prog_stats stats = { 0 };
	char tag[2 * BPF_TAG_SIZE + 1];
	uint32_t id;

	if (!has_params(params)) {
		rte_tel_data_start_array(d, RTE_TEL_U64_VAL);
		/* What finds no room in the answer is not in it. */
		while (sluice_prog_stats_next(stats.id, &stats) == 0 &&
			rte_tel_data_add_array_u64(d, stats.id) == 0)
			;
		return 0;
	}
	if (parse_number(params, &id) != 0 || !id || sluice_prog_stats_next(id - 1, &stats) != 0 ||
		stats.id != id)
		return -EINVAL;
	for (unsigned i = 0; i < BPF_TAG_SIZE; i++)
		snprintf(tag + 2 * i, 3, "%02x", stats.tag[i]);
	rte_tel_data_start_dict(d);
	rte_tel_data_add_dict_u64(d, "id", stats.id);
	add_text(d, "name", stats.name);
	add_text(d, "type", stats.type_name);
	add_text(d, "tag", tag);
	add_fields(d, SLUICE_STAT_PROG, &stats);
	return 0;
}

static int maps(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct sluice_map_stats stats = { 0 };
	uint32_t id;

	if (!has_params(params)) {
		rte_tel_data_start_array(d, RTE_TEL_U64_VAL);
		while (sluice_map_stats_next(stats.id, &stats) == 0 &&
			rte_tel_data_add_array_u64(d, stats.id) == 0)
			;
		return 0;
	}
	if (parse_number(params, &id) != 0 || !id || sluice_map_stats_next(id - 1, &stats) != 0 ||
		stats.id != id)
		return -EINVAL;
	rte_tel_data_start_dict(d);
	rte_tel_data_add_dict_u64(d, "id", stats.id);
	add_text(d, "name", stats.name);
	add_text(d, "type", stats.type_name);
	rte_tel_data_add_dict_u64(d, "key_size", stats.key_size);
	rte_tel_data_add_dict_u64(d, "value_size", stats.value_size);
	add_fields(d, SLUICE_STAT_MAP, &stats);
	return 0;
}

static int drops(const char *cmd, const char *params, struct rte_tel_data *d)
{
	struct sluice_port_stats stats;
	int err = has_params(params) ? find_port(params, &stats)
				     : sluice_counters_read(0, -1, &stats.counters);

	if (err)
		return err;
	rte_tel_data_start_dict(d);
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (sluice_counter_is_drop(i))
			rte_tel_data_add_dict_u64(
				d, sluice_counter_name(i), stats.counters.value[i]);
	}
	return 0;
}

static const struct {
	const char *command;
	telemetry_cb answer;
	const char *help;
} commands[] = {
	{ "/sluice/ports", ports, "Returns the names of all ports. Takes no parameters" },
	{ "/sluice/port/stats", port_stats,
		"Returns what is counted at a port. Parameters: name or number of the port" },
	{ "/sluice/workers", workers,
		"Returns the numbers of all workers, or what one has done. Parameters: number "
		"(optional)" },
	{ "/sluice/programs", programs,
		"Returns the ids of all programs, or a program's runs. Parameters: id (optional)" },
	{ "/sluice/maps", maps,
		"Returns the ids of all maps, or a map's size and losses. Parameters: id (optional)" },
	{ "/sluice/drops", drops,
		"Returns packets that were not delivered, by reason. Parameters: port (optional)" },
};

void sl_telemetry_register(void)
{
	for (unsigned i = 0; i < sl_array_size(commands); i++)
		rte_telemetry_register_cmd(
			commands[i].command, commands[i].answer, commands[i].help);
}
