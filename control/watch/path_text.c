#include "path_text.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <json-c/json.h>
#include <sluice/dataplane.h>

static const char *const hook_names[] = {
	[SLUICE_HOOK_XDP] = "xdp",
	[SLUICE_HOOK_INGRESS] = "ingress",
	[SLUICE_HOOK_EGRESS] = "egress",
	[SLUICE_HOOK_DEVMAP] = "devmap",
};

static const char *hook_name(uint8_t hook)
{
	return hook < sizeof(hook_names) / sizeof(hook_names[0]) ? hook_names[hook] : "?";
}

const char *sl_verdict_name(enum sluice_hook hook, int verdict, char buffer[16])
{
	static const char *const xdp[] = {
		[XDP_ABORTED] = "XDP_ABORTED",
		[XDP_DROP] = "XDP_DROP",
		[XDP_PASS] = "XDP_PASS",
		[XDP_TX] = "XDP_TX",
		[XDP_REDIRECT] = "XDP_REDIRECT",
	};
	static const char *const tc[] = {
		[TC_ACT_UNSPEC + 1] = "TC_ACT_UNSPEC",
		[TC_ACT_OK + 1] = "TC_ACT_OK",
		[TC_ACT_RECLASSIFY + 1] = "TC_ACT_RECLASSIFY",
		[TC_ACT_SHOT + 1] = "TC_ACT_SHOT",
		[TC_ACT_PIPE + 1] = "TC_ACT_PIPE",
		[TC_ACT_STOLEN + 1] = "TC_ACT_STOLEN",
		[TC_ACT_QUEUED + 1] = "TC_ACT_QUEUED",
		[TC_ACT_REPEAT + 1] = "TC_ACT_REPEAT",
		[TC_ACT_REDIRECT + 1] = "TC_ACT_REDIRECT",
		[TC_ACT_TRAP + 1] = "TC_ACT_TRAP",
	};

	if (hook == SLUICE_HOOK_XDP || hook == SLUICE_HOOK_DEVMAP) {
		if (verdict >= 0 && verdict <= XDP_REDIRECT)
			return xdp[verdict];
	} else if (verdict >= TC_ACT_UNSPEC && verdict <= TC_ACT_TRAP) {
		return tc[verdict + 1];
	}
	snprintf(buffer, 16, "%d", verdict);
	return buffer;
}

static const char *port_name(const struct sl_path_text *how, uint32_t ifindex, char buffer[16])
{
	const char *name = how->port_name(how->arg, ifindex);

	snprintf(buffer, 16, "port%u", ifindex);
	return name ?: buffer;
}

static void print_step(FILE *to, const struct sl_path_text *how, const struct sluice_step *step)
{
	char verdict[16], port[16];
	const char *counter;

	switch (step->kind) {
	case SLUICE_STEP_RUN:
		fprintf(to, " | %s %s: %.16s[%u]", port_name(how, step->ifindex, port),
			hook_name(step->hook), step->name, step->id);
		if (step->hook == SLUICE_HOOK_DEVMAP)
			fprintf(to, " %s", sl_verdict_name(step->hook, step->value, verdict));
		return;
	case SLUICE_STEP_JUMP:
		fprintf(to, " > %.16s[%u]", step->name, step->id);
		return;
	case SLUICE_STEP_VERDICT:
		fprintf(to, " %s", sl_verdict_name(step->hook, step->value, verdict));
		return;
	case SLUICE_STEP_REDIRECT:
		if (step->ifindex)
			fprintf(to, " to %s", port_name(how, step->ifindex, port));
		if (step->id)
			fprintf(to, " by map %u", step->id);
		return;
	default:
		counter = sluice_counter_name((enum sluice_counter)step->value);
		fprintf(to, " | %s%s%s", step->ifindex ? port_name(how, step->ifindex, port) : "",
			step->ifindex ? " " : "", counter ?: "?");
		if (step->id != 1)
			fprintf(to, " x%u", step->id);
	}
}

static uint64_t wall_ns(const struct sluice_watch_area *area, const struct sluice_record *record)
{
	return record->time_ns + (uint64_t)area->realtime_ns;
}

static void print_text(FILE *to, const struct sl_path_text *how,
	const struct sluice_watch_area *area, const struct sluice_record *record,
	const struct sluice_path *path, const char *summary)
{
	uint64_t ns = wall_ns(area, record);
	time_t seconds = (time_t)(ns / 1000000000);
	char port[16];
	struct tm tm;

	localtime_r(&seconds, &tm);
	fprintf(to, "%02d:%02d:%02d.%09u w%u %s q%u len %u %s", tm.tm_hour, tm.tm_min, tm.tm_sec,
		(unsigned)(ns % 1000000000), record->worker, port_name(how, record->ifindex, port),
		record->queue, record->len, summary);
	for (unsigned i = 0; i < path->count; i++)
		print_step(to, how, &path->steps[i]);
	if (path->missing)
		fprintf(to, " | %u steps more", path->missing);
	if (record->lost)
		fprintf(to, " (%u lost before)", record->lost);
	fputc('\n', to);
}

static struct json_object *step_json(const struct sl_path_text *how, const struct sluice_step *step)
{
	static const char *const kinds[] = { "run", "jump", "verdict", "redirect", "count" };
	struct json_object *o = json_object_new_object();
	char verdict[16], port[16];
	const char *counter = sluice_counter_name((enum sluice_counter)step->value);

	json_object_object_add(o, "step",
		json_object_new_string(
			step->kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[step->kind] : "?"));
	if (step->ifindex)
		json_object_object_add(
			o, "port", json_object_new_string(port_name(how, step->ifindex, port)));
	if (step->kind == SLUICE_STEP_RUN || step->kind == SLUICE_STEP_VERDICT)
		json_object_object_add(o, "hook", json_object_new_string(hook_name(step->hook)));
	if (step->kind == SLUICE_STEP_RUN || step->kind == SLUICE_STEP_JUMP) {
		json_object_object_add(o, "prog_id", json_object_new_int64(step->id));
		json_object_object_add(o, "prog",
			json_object_new_string_len(
				step->name, (int)strnlen(step->name, sizeof(step->name))));
	}
	if (step->kind == SLUICE_STEP_RUN)
		json_object_object_add(o, "returned", json_object_new_int(step->value));
	if (step->kind == SLUICE_STEP_VERDICT)
		json_object_object_add(o, "verdict",
			json_object_new_string(sl_verdict_name(step->hook, step->value, verdict)));
	if (step->kind == SLUICE_STEP_REDIRECT && step->id)
		json_object_object_add(o, "map_id", json_object_new_int64(step->id));
	if (step->kind == SLUICE_STEP_COUNT) {
		json_object_object_add(o, "counter", json_object_new_string(counter ?: "?"));
		json_object_object_add(o, "packets", json_object_new_int64(step->id));
	}
	return o;
}

static void print_json(FILE *to, const struct sl_path_text *how,
	const struct sluice_watch_area *area, const struct sluice_record *record,
	const struct sluice_path *path, const char *summary)
{
	struct json_object *o = json_object_new_object(), *steps = json_object_new_array();
	char port[16];

	json_object_object_add(o, "time_ns", json_object_new_int64((int64_t)wall_ns(area, record)));
	json_object_object_add(o, "worker", json_object_new_int(record->worker));
	json_object_object_add(
		o, "port", json_object_new_string(port_name(how, record->ifindex, port)));
	json_object_object_add(o, "queue", json_object_new_int(record->queue));
	json_object_object_add(o, "len", json_object_new_int64(record->len));
	json_object_object_add(o, "packet", json_object_new_string(summary));
	for (unsigned i = 0; i < path->count; i++)
		json_object_array_add(steps, step_json(how, &path->steps[i]));
	json_object_object_add(o, "path", steps);
	if (path->missing)
		json_object_object_add(o, "steps_missing", json_object_new_int(path->missing));
	if (record->lost)
		json_object_object_add(o, "lost_before", json_object_new_int64(record->lost));
	fprintf(to, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
}

void sl_path_print(FILE *to, const struct sl_path_text *how, const struct sluice_watch_area *area,
	const struct sluice_record *record, const struct sluice_path *path, const uint8_t *data)
{
	char summary[256];

	sl_packet_summary(data, record->captured, record->len, record->flags & SLUICE_RECORD_RAW,
		summary, sizeof(summary));
	if (how->json)
		print_json(to, how, area, record, path, summary);
	else
		print_text(to, how, area, record, path, summary);
}
