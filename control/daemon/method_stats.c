#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sluice/stats.h>

#include "method.h"

/*
 * stats.get: everything that sluice/stats.h has, figures under the names of its lists. What `sluice
 * stats --json` prints; docs/observability.md says what is promised of it.
 */

static void add_number(struct json_object *to, const char *name, uint64_t number)
{
	json_object_object_add(to, name, json_object_new_uint64(number));
}

static void add_text(struct json_object *to, const char *name, const char *text)
{
	json_object_object_add(to, name, json_object_new_string(text));
}

static void add_fields(struct json_object *to, enum sluice_stat_kind kind, const void *stats)
{
	for (const struct sluice_stat_field *f = sluice_stat_fields(kind); f->name; f++)
		add_number(to, f->name, sluice_stat_value(stats, f));
}

static struct json_object *counters_of(const struct sluice_counters *counters)
{
	struct json_object *all = json_object_new_object();

	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++)
		add_number(all, sluice_counter_name(i), counters->value[i]);
	return all;
}

static struct json_object *drops_of(const struct sluice_counters *counters)
{
	struct json_object *all = json_object_new_object();

	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (sluice_counter_is_drop(i))
			add_number(all, sluice_counter_name(i), counters->value[i]);
	}
	return all;
}

/* By hook and verdict. */
static struct json_object *verdicts_of(const struct sluice_counters *counters)
{
	struct json_object *all = json_object_new_object(), *of_hook;
	const char *hook, *verdict;

	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (!sluice_counter_verdict(i, &hook, &verdict))
			continue;
		if (!json_object_object_get_ex(all, hook, &of_hook)) {
			of_hook = json_object_new_object();
			json_object_object_add(all, hook, of_hook);
		}
		add_number(of_hook, verdict, counters->value[i]);
	}
	return all;
}

static struct json_object *hooks_of(uint32_t ifindex)
{
	struct json_object *all = json_object_new_array();
	struct sluice_hook_prog *progs = NULL;
	int count = sluice_hook_progs(ifindex, NULL, 0), room = count;

	if (count > 0)
		progs = calloc((size_t)count, sizeof(*progs));
	if (progs)
		count = sluice_hook_progs(ifindex, progs, (unsigned)room);
	for (int i = 0; progs && i < count && i < room; i++) {
		struct json_object *one = json_object_new_object();

		add_text(one, "hook", progs[i].hook);
		add_number(one, "position", progs[i].position);
		add_number(one, "id", progs[i].prog_id);
		json_object_array_add(all, one);
	}
	free(progs);
	return all;
}

static struct json_object *ports(void)
{
	struct json_object *all = json_object_new_array();
	struct sluice_port_stats stats = { 0 };

	while (sluice_port_stats_next(stats.info.ifindex, &stats) == 0) {
		struct json_object *one = json_object_new_object();
		const uint8_t *mac = stats.info.mac;
		char text[18];

		snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
			mac[2], mac[3], mac[4], mac[5]);
		add_text(one, "name", stats.info.name);
		add_number(one, "ifindex", stats.info.ifindex);
		add_text(one, "driver", stats.info.driver);
		add_text(one, "mac", text);
		add_number(one, "rx_queues", stats.info.rx_queues);
		add_number(one, "tx_queues", stats.info.tx_queues);
		add_fields(one, SLUICE_STAT_PORT, &stats);
		json_object_object_add(one, "verdicts", verdicts_of(&stats.counters));
		json_object_object_add(one, "drops_by_reason", drops_of(&stats.counters));
		json_object_object_add(one, "counters", counters_of(&stats.counters));
		json_object_object_add(one, "programs", hooks_of(stats.info.ifindex));
		json_object_array_add(all, one);
	}
	return all;
}

static struct json_object *workers(void)
{
	struct json_object *all = json_object_new_array();
	struct sluice_worker_stats stats;

	for (unsigned w = 0; sluice_worker_stats(w, &stats) == 0; w++) {
		struct json_object *one = json_object_new_object();
		struct json_object *sizes = json_object_new_array();

		add_number(one, "worker", stats.worker);
		add_number(one, "cpu", stats.cpu);
		json_object_object_add(one, "running", json_object_new_boolean(stats.running));
		add_fields(one, SLUICE_STAT_WORKER, &stats);
		for (unsigned i = 0; i < SLUICE_BURST_BUCKETS; i++) {
			struct json_object *size = json_object_new_object();

			add_number(size, "up_to", 1u << i);
			add_number(size, "bursts", stats.burst_sizes[i]);
			json_object_array_add(sizes, size);
		}
		json_object_object_add(one, "burst_sizes", sizes);
		json_object_array_add(all, one);
	}
	return all;
}

/* By those workers that have run it. */
static struct json_object *runs_of(uint32_t id)
{
	struct json_object *all = json_object_new_array();
	struct sluice_prog_runs runs;

	for (unsigned w = 0; w < sluice_workers_count(); w++) {
		struct json_object *one;

		if (sluice_prog_runs(id, w, &runs) != 0 || !runs.run_cnt)
			continue;
		one = json_object_new_object();
		add_number(one, "worker", w);
		add_number(one, "run_cnt", runs.run_cnt);
		add_number(one, "run_time_ns", runs.run_time_ns);
		add_number(one, "cycles", runs.cycles);
		json_object_array_add(all, one);
	}
	return all;
}

static struct json_object *programs(void)
{
	struct json_object *all = json_object_new_array();
	struct sluice_prog_stats stats = { 0 };

	while (sluice_prog_stats_next(stats.id, &stats) == 0) {
		struct json_object *one = json_object_new_object();
		char tag[2 * BPF_TAG_SIZE + 1];

		for (unsigned i = 0; i < BPF_TAG_SIZE; i++)
			snprintf(tag + 2 * i, 3, "%02x", stats.tag[i]);
		add_number(one, "id", stats.id);
		add_text(one, "name", stats.name);
		add_text(one, "type", stats.type_name);
		add_text(one, "tag", tag);
		add_fields(one, SLUICE_STAT_PROG, &stats);
		json_object_object_add(one, "workers", runs_of(stats.id));
		json_object_array_add(all, one);
	}
	return all;
}

static struct json_object *maps(void)
{
	struct json_object *all = json_object_new_array();
	struct sluice_map_stats stats = { 0 };

	while (sluice_map_stats_next(stats.id, &stats) == 0) {
		struct json_object *one = json_object_new_object();

		add_number(one, "id", stats.id);
		add_text(one, "name", stats.name);
		add_text(one, "type", stats.type_name);
		add_number(one, "key_size", stats.key_size);
		add_number(one, "value_size", stats.value_size);
		add_number(one, "max_entries", stats.max_entries);
		add_number(one, "memory_bytes", stats.memory_bytes);
		if (stats.has_entries)
			add_number(one, "entries", stats.entries);
		if (stats.has_lost_events)
			add_number(one, "lost_events", stats.lost_events);
		json_object_array_add(all, one);
	}
	return all;
}

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int sl_method_stats_get(struct sl_method_call *call)
{
	static const char *const none[] = { NULL };
	struct json_object *totals = json_object_new_object();
	struct sluice_counters counters;
	int err = sl_method_only(call, none);

	if (!err)
		err = sluice_counters_read(0, -1, &counters);
	if (err || !totals) {
		json_object_put(totals);
		return err ? err : -ENOMEM;
	}
	add_text(call->result, "version", SLUICE_VERSION);
	add_number(call->result, "time_ns", clock_ns());
	add_number(call->result, "cycles_hz", sluice_cycles_hz());
	json_object_object_add(call->result, "ports", ports());
	json_object_object_add(call->result, "workers", workers());
	json_object_object_add(call->result, "programs", programs());
	json_object_object_add(call->result, "maps", maps());
	/* Of ports that are gone, too. */
	json_object_object_add(totals, "drops_by_reason", drops_of(&counters));
	json_object_object_add(totals, "counters", counters_of(&counters));
	json_object_object_add(call->result, "totals", totals);
	return 0;
}
