#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/stats.h>

/*
 * The text of one moment: everything is read first, since all series of a metric must stand together.
 *
 * OpenMetrics 1.0 and Prometheus' older text format differ in little: the older one names a counter's
 * family with its _total, has no units, calls info metrics gauges, and has no end mark.
 */
struct page {
	FILE *out;
	bool openmetrics;

	struct sluice_port_stats *ports;
	struct sluice_worker_stats *workers;
	struct sluice_prog_stats *progs;
	struct sluice_map_stats *maps;
	struct sluice_hook_prog *hooks;
	unsigned port_count, worker_count, prog_count, map_count, hook_count;
	unsigned all_progs, all_maps, all_hooks; /* with those that have no room */
};

enum type { COUNTER, GAUGE, INFO, HISTOGRAM };

static const char *const type_names[] = { "counter", "gauge", "info", "histogram" };
static const char *const older_suffix[] = { "_total", "", "_info", "" };

static void family(
	struct page *p, enum type type, const char *name, const char *unit, const char *help)
{
	if (p->openmetrics) {
		fprintf(p->out, "# TYPE %s %s\n", name, type_names[type]);
		if (*unit)
			fprintf(p->out, "# UNIT %s %s\n", name, unit);
		fprintf(p->out, "# HELP %s %s.\n", name, help);
		return;
	}
	fprintf(p->out, "# HELP %s%s %s.\n", name, older_suffix[type], help);
	fprintf(p->out, "# TYPE %s%s %s\n", name, older_suffix[type],
		type_names[type == INFO ? GAUGE : type]);
}

/* What a label's value may not have as it is: quotes, backslashes, ends of lines, and no UTF-8. */
static void put_value(FILE *out, const char *value)
{
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;

		if (c == '\n')
			fputs("\\n", out);
		else if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else
			fputc(c < ' ' || c > '~' ? '_' : c, out);
	}
}

struct label {
	const char *name, *value;
};

enum { LABELS_MAX = 6 };

/* Up to the value. `labels` ends with a NULL name. */
static void series(FILE *out, const char *name, const char *suffix, const struct label *labels)
{
	fprintf(out, "%s%s", name, suffix);
	for (unsigned i = 0; labels[i].name; i++) {
		fprintf(out, "%c%s=\"", i ? ',' : '{', labels[i].name);
		put_value(out, labels[i].value);
		fputc('"', out);
	}
	fputs(labels[0].name ? "} " : " ", out);
}

static void number(FILE *out, enum sluice_stat_unit unit, uint64_t value)
{
	if (unit == SLUICE_UNIT_NS)
		fprintf(out, "%" PRIu64 ".%09" PRIu64 "\n", value / 1000000000, value % 1000000000);
	else
		fprintf(out, "%" PRIu64 "\n", value);
}

static void sample(struct page *p, const char *name, const char *suffix, const struct label *labels,
	uint64_t value)
{
	series(p->out, name, suffix, labels);
	number(p->out, SLUICE_UNIT_NONE, value);
}

static void single(
	struct page *p, const char *name, const char *unit, const char *help, uint64_t value)
{
	static const struct label none[1];

	family(p, GAUGE, name, unit, help);
	sample(p, name, "", none, value);
}

/* The things of a kind, one after the other, with the labels that tell them apart. */
struct kind {
	const char *prefix;
	size_t size;
	/* False: this one has no such figure. */
	bool (*has)(const void *stats, const struct sluice_stat_field *field);
	void (*labels)(const void *stats, struct label *labels, char *text);
};

enum { TEXT_MAX = 32 };

static bool always(const void *stats, const struct sluice_stat_field *field)
{
	return true;
}

static void port_labels(const void *stats, struct label *labels, char *text)
{
	labels[0] = (struct label){ "port", ((const struct sluice_port_stats *)stats)->info.name };
}

static void worker_labels(const void *stats, struct label *labels, char *text)
{
	const struct sluice_worker_stats *worker = stats;

	snprintf(text, TEXT_MAX, "%u", worker->worker);
	snprintf(text + TEXT_MAX, TEXT_MAX, "%u", worker->cpu);
	labels[0] = (struct label){ "worker", text };
	labels[1] = (struct label){ "cpu", text + TEXT_MAX };
}

static void prog_labels(const void *stats, struct label *labels, char *text)
{
	const struct sluice_prog_stats *prog = stats;

	snprintf(text, TEXT_MAX, "%u", prog->id);
	labels[0] = (struct label){ "id", text };
	labels[1] = (struct label){ "name", prog->name };
}

static void map_labels(const void *stats, struct label *labels, char *text)
{
	const struct sluice_map_stats *map = stats;

	snprintf(text, TEXT_MAX, "%u", map->id);
	labels[0] = (struct label){ "id", text };
	labels[1] = (struct label){ "name", map->name };
}

static bool map_has(const void *stats, const struct sluice_stat_field *field)
{
	const struct sluice_map_stats *map = stats;

	if (field->offset == offsetof(struct sluice_map_stats, entries))
		return map->has_entries;
	if (field->offset == offsetof(struct sluice_map_stats, lost_events))
		return map->has_lost_events;
	return true;
}

static const struct kind kinds[SLUICE_STAT_KINDS] = {
	[SLUICE_STAT_PORT] = { "sluice_port_", sizeof(struct sluice_port_stats), always,
		port_labels },
	[SLUICE_STAT_WORKER] = { "sluice_worker_", sizeof(struct sluice_worker_stats), always,
		worker_labels },
	[SLUICE_STAT_PROG] = { "sluice_program_", sizeof(struct sluice_prog_stats), always,
		prog_labels },
	[SLUICE_STAT_MAP] = { "sluice_map_", sizeof(struct sluice_map_stats), map_has, map_labels },
};

static const char *const unit_names[] = {
	[SLUICE_UNIT_NONE] = "",
	[SLUICE_UNIT_PACKETS] = "packets",
	[SLUICE_UNIT_BYTES] = "bytes",
	[SLUICE_UNIT_CYCLES] = "cycles",
	[SLUICE_UNIT_NS] = "seconds",
};

static void put_field(struct page *p, const struct kind *kind,
	const struct sluice_stat_field *field, const char *things, unsigned count)
{
	bool counter = field->type == SLUICE_STAT_COUNTER;
	char name[96];

	snprintf(name, sizeof(name), "%s%s", kind->prefix, field->metric);
	family(p, counter ? COUNTER : GAUGE, name, unit_names[field->unit], field->help);
	for (unsigned i = 0; i < count; i++) {
		const void *stats = things + i * kind->size;
		struct label labels[LABELS_MAX] = { 0 };
		char text[2 * TEXT_MAX];

		if (!kind->has(stats, field))
			continue;
		kind->labels(stats, labels, text);
		series(p->out, name, counter ? "_total" : "", labels);
		number(p->out, field->unit, sluice_stat_value(stats, field));
	}
}

static void put_fields(
	struct page *p, enum sluice_stat_kind kind, const void *things, unsigned count)
{
	for (const struct sluice_stat_field *f = sluice_stat_fields(kind); f->name; f++) {
		if (f->metric)
			put_field(p, &kinds[kind], f, things, count);
	}
}

/* One series per port and counter of those that `pick` gives labels. */
static void put_counters(struct page *p, const char *name, const char *help,
	bool (*pick)(enum sluice_counter counter, struct label *labels))
{
	family(p, COUNTER, name, "", help);
	for (unsigned i = 0; i < p->port_count; i++) {
		for (unsigned c = 0; c < SLUICE_COUNTER_COUNT; c++) {
			struct label labels[LABELS_MAX] = { { "port", p->ports[i].info.name } };

			if (pick(c, labels + 1))
				sample(p, name, "_total", labels, p->ports[i].counters.value[c]);
		}
	}
}

static bool pick_verdict(enum sluice_counter counter, struct label *labels)
{
	labels[0].name = "hook";
	labels[1].name = "verdict";
	return sluice_counter_verdict(counter, &labels[0].value, &labels[1].value);
}

static bool pick_drop(enum sluice_counter counter, struct label *labels)
{
	*labels = (struct label){ "reason", sluice_counter_name(counter) };
	return sluice_counter_is_drop(counter);
}

static bool pick_arrival(enum sluice_counter counter, struct label *labels)
{
	*labels = (struct label){ "from", sluice_counter_name(counter) };
	return sluice_counter_kind(counter) == SLUICE_KIND_IN;
}

static bool pick_delivery(enum sluice_counter counter, struct label *labels)
{
	*labels = (struct label){ "to", sluice_counter_name(counter) };
	return sluice_counter_kind(counter) == SLUICE_KIND_OUT && !sluice_counter_is_drop(counter);
}

static bool pick_step(enum sluice_counter counter, struct label *labels)
{
	const char *hook, *verdict;

	*labels = (struct label){ "step", sluice_counter_name(counter) };
	return sluice_counter_kind(counter) == SLUICE_KIND_STEP &&
	       !sluice_counter_verdict(counter, &hook, &verdict);
}

static void put_ports(struct page *p)
{
	family(p, INFO, "sluice_port", "", "A port");
	for (unsigned i = 0; i < p->port_count; i++) {
		const struct sluice_port_info *info = &p->ports[i].info;
		char ifindex[16];
		struct label labels[] = { { "port", info->name }, { "ifindex", ifindex },
			{ "driver", info->driver }, { 0 } };

		snprintf(ifindex, sizeof(ifindex), "%u", info->ifindex);
		sample(p, "sluice_port", "_info", labels, 1);
	}
	put_fields(p, SLUICE_STAT_PORT, p->ports, p->port_count);
	put_counters(p, "sluice_port_verdicts", "What programs at a hook decided", pick_verdict);
	put_counters(p, "sluice_port_drops",
		"Packets that ended at a port without being delivered, by reason", pick_drop);
	put_counters(
		p, "sluice_port_arrivals", "Packets that came to be, by where from", pick_arrival);
	put_counters(p, "sluice_port_deliveries", "Packets that were delivered, by where to",
		pick_delivery);
	put_counters(p, "sluice_port_steps", "What happened to packets on their way", pick_step);
}

static void put_burst_sizes(struct page *p)
{
	static const char name[] = "sluice_worker_burst_packets";

	family(p, HISTOGRAM, name, "packets", "Packets of a burst that a queue gave");
	for (unsigned i = 0; i < p->worker_count; i++) {
		const struct sluice_worker_stats *worker = &p->workers[i];
		struct label labels[LABELS_MAX] = { 0 };
		char text[2 * TEXT_MAX], bound[16];
		uint64_t sum = 0;

		worker_labels(worker, labels, text);
		for (unsigned b = 0; b < SLUICE_BURST_BUCKETS; b++) {
			snprintf(bound, sizeof(bound), "%u.0", 1u << b);
			labels[2] = (struct label){ "le", bound };
			sum += worker->burst_sizes[b];
			sample(p, name, "_bucket", labels, sum);
		}
		labels[2].value = "+Inf";
		sample(p, name, "_bucket", labels, sum);
		labels[2].name = NULL;
		sample(p, name, "_count", labels, sum);
		sample(p, name, "_sum", labels, worker->packets);
	}
}

static void put_programs(struct page *p)
{
	family(p, INFO, "sluice_program", "", "A program that is at a hook or has run");
	for (unsigned i = 0; i < p->prog_count; i++) {
		const struct sluice_prog_stats *prog = &p->progs[i];
		char tag[2 * BPF_TAG_SIZE + 1], id[16];
		struct label labels[] = { { "id", id }, { "name", prog->name },
			{ "type", prog->type_name }, { "tag", tag }, { 0 } };

		snprintf(id, sizeof(id), "%u", prog->id);
		for (unsigned b = 0; b < BPF_TAG_SIZE; b++)
			snprintf(tag + 2 * b, 3, "%02x", prog->tag[b]);
		sample(p, "sluice_program", "_info", labels, 1);
	}
	put_fields(p, SLUICE_STAT_PROG, p->progs, p->prog_count);
}

static const char *port_name(const struct page *p, uint32_t ifindex)
{
	for (unsigned i = 0; i < p->port_count; i++) {
		if (p->ports[i].info.ifindex == ifindex)
			return p->ports[i].info.name;
	}
	return "";
}

static const char *prog_name(const struct page *p, uint32_t id)
{
	for (unsigned i = 0; i < p->prog_count; i++) {
		if (p->progs[i].id == id)
			return p->progs[i].name;
	}
	return "";
}

static void put_hooks(struct page *p)
{
	family(p, INFO, "sluice_hook_program", "",
		"A program at a hook of a port; a packet meets position 0 first");
	for (unsigned i = 0; i < p->hook_count; i++) {
		const struct sluice_hook_prog *at = &p->hooks[i];
		char position[16], id[16];
		struct label labels[] = { { "port", port_name(p, at->ifindex) },
			{ "hook", at->hook }, { "position", position }, { "id", id },
			{ "name", prog_name(p, at->prog_id) }, { 0 } };

		snprintf(position, sizeof(position), "%u", at->position);
		snprintf(id, sizeof(id), "%u", at->prog_id);
		sample(p, "sluice_hook_program", "_info", labels, 1);
	}
}

static void put_maps(struct page *p)
{
	family(p, INFO, "sluice_map", "", "A map");
	for (unsigned i = 0; i < p->map_count; i++) {
		const struct sluice_map_stats *map = &p->maps[i];
		char id[16];
		struct label labels[] = { { "id", id }, { "name", map->name },
			{ "type", map->type_name }, { 0 } };

		snprintf(id, sizeof(id), "%u", map->id);
		sample(p, "sluice_map", "_info", labels, 1);
	}
	put_fields(p, SLUICE_STAT_MAP, p->maps, p->map_count);
}

/* Room for one more of *things, which has `count` of them; NULL when out of memory. */
static void *grow(void **things, unsigned count, size_t size)
{
	/* Doubled at powers of two. */
	if ((count & (count - 1)) == 0) {
		void *more = realloc(*things, (count ? 2 * (size_t)count : 1) * size);

		if (!more)
			return NULL;
		*things = more;
	}
	return (char *)*things + count * size;
}

static bool read_hooks(struct page *p, uint32_t ifindex)
{
	int count = sluice_hook_progs(ifindex, NULL, 0), filled;
	struct sluice_hook_prog *hooks;

	if (count <= 0)
		return true;
	p->all_hooks += (unsigned)count;
	if (count > (int)(SL_METRICS_HOOKS - p->hook_count))
		count = (int)(SL_METRICS_HOOKS - p->hook_count);
	if (!count)
		return true;
	hooks = realloc(p->hooks, (p->hook_count + (size_t)count) * sizeof(*hooks));
	if (!hooks)
		return false;
	p->hooks = hooks;
	filled = sluice_hook_progs(ifindex, hooks + p->hook_count, (unsigned)count);
	if (filled > 0)
		p->hook_count += (unsigned)(filled < count ? filled : count);
	return true;
}

static bool read_ports(struct page *p)
{
	struct sluice_port_stats stats = { 0 }, *to;

	while (sluice_port_stats_next(stats.info.ifindex, &stats) == 0) {
		to = grow((void **)&p->ports, p->port_count, sizeof(stats));
		if (!to || !read_hooks(p, stats.info.ifindex))
			return false;
		*to = stats;
		p->port_count++;
	}
	return true;
}

static bool read_workers(struct page *p)
{
	struct sluice_worker_stats stats, *to;

	for (unsigned w = 0; sluice_worker_stats(w, &stats) == 0; w++) {
		to = grow((void **)&p->workers, p->worker_count, sizeof(stats));
		if (!to)
			return false;
		*to = stats;
		p->worker_count++;
	}
	return true;
}

static bool is_at_hook(const struct page *p, uint32_t id)
{
	for (unsigned i = 0; i < p->hook_count; i++) {
		if (p->hooks[i].prog_id == id)
			return true;
	}
	return false;
}

/* Programs that nothing runs make no series. */
static bool read_progs(struct page *p)
{
	struct sluice_prog_stats stats = { 0 }, *to;

	while (sluice_prog_stats_next(stats.id, &stats) == 0) {
		p->all_progs++;
		if (p->prog_count == SL_METRICS_PROGS ||
			(!stats.run_cnt && !is_at_hook(p, stats.id)))
			continue;
		to = grow((void **)&p->progs, p->prog_count, sizeof(stats));
		if (!to)
			return false;
		*to = stats;
		p->prog_count++;
	}
	return true;
}

static bool read_maps(struct page *p)
{
	struct sluice_map_stats stats = { 0 }, *to;

	while (sluice_map_stats_next(stats.id, &stats) == 0) {
		p->all_maps++;
		if (p->map_count == SL_METRICS_MAPS)
			continue;
		to = grow((void **)&p->maps, p->map_count, sizeof(stats));
		if (!to)
			return false;
		*to = stats;
		p->map_count++;
	}
	return true;
}

static void put_all(struct page *p)
{
	static const struct label build[] = { { "version", SLUICE_VERSION }, { 0 } };

	family(p, INFO, "sluice_build", "", "This Sluice");
	sample(p, "sluice_build", "_info", build, 1);
	single(p, "sluice_cycles_hertz", "hertz", "Cycles per second of the time-stamp counter",
		sluice_cycles_hz());
	single(p, "sluice_ports", "", "Ports", p->port_count);
	single(p, "sluice_workers", "", "Workers", p->worker_count);
	single(p, "sluice_programs", "", "Programs that are loaded", p->all_progs);
	single(p, "sluice_maps", "", "Maps that there are", p->all_maps);
	single(p, "sluice_programs_not_shown", "",
		"Programs without series of their own: they do not run, or there are too many",
		p->all_progs - p->prog_count);
	single(p, "sluice_maps_not_shown", "", "Maps without series: there are too many",
		p->all_maps - p->map_count);
	single(p, "sluice_hook_programs_not_shown", "",
		"Programs at hooks without series: there are too many",
		p->all_hooks - p->hook_count);
	put_ports(p);
	put_fields(p, SLUICE_STAT_WORKER, p->workers, p->worker_count);
	put_burst_sizes(p);
	put_programs(p);
	put_hooks(p);
	put_maps(p);
	if (p->openmetrics)
		fputs("# EOF\n", p->out);
}

char *sl_metrics_text(enum sl_metrics_format format, size_t *ret_len)
{
	struct page p = { .openmetrics = format == SL_METRICS_OPENMETRICS };
	char *text = NULL;
	bool good;

	p.out = open_memstream(&text, ret_len);
	if (!p.out)
		return NULL;
	good = read_ports(&p) && read_workers(&p) && read_progs(&p) && read_maps(&p);
	if (good)
		put_all(&p);
	good &= !ferror(p.out);
	if (fclose(p.out) != 0 || !good) {
		free(text);
		text = NULL;
	}
	free(p.ports);
	free(p.workers);
	free(p.progs);
	free(p.maps);
	free(p.hooks);
	return text;
}
