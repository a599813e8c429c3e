#include "figures.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const sort_names[SL_SORTS] = {
	[SL_SORT_PACKETS] = "packets",
	[SL_SORT_CYCLES] = "cycles",
	[SL_SORT_DROPS] = "drops",
	[SL_SORT_NAME] = "name",
};

const char *sl_figures_sort_name(unsigned sort)
{
	return sort < SL_SORTS ? sort_names[sort] : NULL;
}

/* Members of answers. What is not there is 0, "" or empty. */

static struct json_object *member(struct json_object *of, const char *name)
{
	struct json_object *found = NULL;

	json_object_object_get_ex(of, name, &found);
	return found;
}

static uint64_t number(struct json_object *of, const char *name)
{
	return json_object_get_uint64(member(of, name));
}

static const char *text(struct json_object *of, const char *name)
{
	const char *found = json_object_get_string(member(of, name));

	return found ? found : "";
}

static size_t length(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

/* The element of list `name` in `all` that has the same `key`; NULL when it was not there. */
static struct json_object *same(
	struct json_object *all, const char *name, const char *key, struct json_object *as)
{
	struct json_object *list = member(all, name), *found;
	uint64_t wanted = number(as, key);

	for (size_t i = 0; i < length(list); i++) {
		found = json_object_array_get_idx(list, i);
		if (number(found, key) == wanted)
			return found;
	}
	return NULL;
}

/* What is made from: an element, the same one before, and how to see the difference. */
struct pair {
	struct json_object *before, *now;
	double seconds; /* 1 where figures are since the start */
};

static double grown_by(const struct pair *p, const char *name)
{
	uint64_t before = number(p->before, name), now = number(p->now, name);

	/* It began anew. */
	if (now < before)
		before = 0;
	return (double)(now - before);
}

static double rate(const struct pair *p, const char *name)
{
	return grown_by(p, name) / p->seconds;
}

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

static struct sl_figures_row *add(struct sl_figures_list *list)
{
	struct sl_figures_row *more = realloc(list->rows, (list->count + 1) * sizeof(*list->rows));

	if (!more)
		return NULL;
	list->rows = more;
	more += list->count++;
	*more = (struct sl_figures_row){ .type = "" };
	return more;
}

static void append(char *to, size_t size, const char *what, const char *more)
{
	size_t len = strlen(to);

	snprintf(to + len, size - len, "%s%s", what, more);
}

/* The members of an object that have grown, the most first, as " pass 90% drop 10%". */
static void describe_shares(char *to, size_t size, struct pair p)
{
	struct share {
		const char *name;
		double count;
	} shares[16];
	unsigned n = 0;
	double sum = 0;

	if (!p.now)
		return;
	json_object_object_foreach(p.now, name, value)
	{
		double count = grown_by(&p, name);

		(void)value;
		if (count <= 0 || n == sizeof(shares) / sizeof(shares[0]))
			continue;
		sum += count;
		shares[n++] = (struct share){ name, count };
	}
	for (unsigned shown = 0; shown < n; shown++) {
		unsigned most = 0;
		char part[64];

		for (unsigned i = 1; i < n; i++)
			most = shares[i].count > shares[most].count ? i : most;
		snprintf(part, sizeof(part), "%s %.0f%%", shares[most].name,
			100 * shares[most].count / sum);
		append(to, size, " ", part);
		shares[most].count = 0;
	}
}

/* "xdp drop 90% pass 10% ingress ok 100%". */
static void describe_verdicts(char *to, size_t size, const struct pair *port)
{
	struct json_object *hooks = member(port->now, "verdicts");

	to[0] = '\0';
	if (!hooks)
		return;
	json_object_object_foreach(hooks, hook, verdicts)
	{
		struct pair p = { member(member(port->before, "verdicts"), hook), verdicts, 1 };
		char shares[128] = "";

		describe_shares(shares, sizeof(shares), p);
		if (!shares[0])
			continue;
		append(to, size, to[0] ? " " : "", hook);
		append(to, size, "", shares);
	}
}

static int add_port(struct sl_figures *f, const struct pair *p)
{
	struct sl_figures_row *row = add(&f->ports);

	if (!row)
		return -ENOMEM;
	snprintf(row->name, sizeof(row->name), "%s", text(p->now, "name"));
	row->packets = rate(p, "receive_packets");
	row->sent = rate(p, "transmit_packets");
	row->drops = rate(p, "drops");
	row->missed = rate(p, "receive_missed") + rate(p, "receive_errors");
	describe_verdicts(row->text, sizeof(row->text), p);
	f->received += row->packets;
	f->sent += row->sent;
	f->dropped += row->drops;
	f->missed += row->missed;
	return 0;
}

/* The port's drops, a row for each reason that there was. */
static int add_drops(struct sl_figures *f, const struct pair *port)
{
	struct pair p = { member(port->before, "drops_by_reason"),
		member(port->now, "drops_by_reason"), port->seconds };

	if (!p.now)
		return 0;
	json_object_object_foreach(p.now, reason, value)
	{
		struct sl_figures_row *row;

		if (json_object_get_uint64(value) == 0)
			continue;
		row = add(&f->drops);
		if (!row)
			return -ENOMEM;
		snprintf(row->name, sizeof(row->name), "%s", text(port->now, "name"));
		snprintf(row->text, sizeof(row->text), "%s", reason);
		row->drops = row->packets = rate(&p, reason);
		row->total = json_object_get_uint64(value);
	}
	return 0;
}

static int add_worker(struct sl_figures *f, const struct pair *p)
{
	struct sl_figures_row *row = add(&f->workers);
	double busy = rate(p, "busy_cycles"), idle = rate(p, "idle_cycles");

	if (!row)
		return -ENOMEM;
	row->id = number(p->now, "worker");
	snprintf(row->name, sizeof(row->name), "%llu", (unsigned long long)row->id);
	snprintf(row->text, sizeof(row->text), "%llu", (unsigned long long)number(p->now, "cpu"));
	row->packets = rate(p, "packets");
	row->cycles = ratio(busy, row->packets);
	row->busy = ratio(busy, busy + idle);
	row->burst = ratio(row->packets, rate(p, "bursts"));
	row->missed = rate(p, "empty_polls");
	return 0;
}

/* "port0 xdp, port1 tc_ingress": where a program is. */
static void describe_hooks(char *to, size_t size, struct json_object *all, uint64_t id)
{
	struct json_object *ports = member(all, "ports");

	to[0] = '\0';
	for (size_t i = 0; i < length(ports); i++) {
		struct json_object *port = json_object_array_get_idx(ports, i);
		struct json_object *programs = member(port, "programs");

		for (size_t j = 0; j < length(programs); j++) {
			struct json_object *at = json_object_array_get_idx(programs, j);

			if (number(at, "id") != id)
				continue;
			append(to, size, to[0] ? ", " : "", text(port, "name"));
			append(to, size, " ", text(at, "hook"));
		}
	}
}

static int add_program(struct sl_figures *f, struct json_object *all, const struct pair *p)
{
	struct sl_figures_row *row = add(&f->programs);
	double ns = rate(p, "run_time_ns");

	if (!row)
		return -ENOMEM;
	snprintf(row->name, sizeof(row->name), "%s", text(p->now, "name"));
	row->id = number(p->now, "id");
	row->type = text(p->now, "type");
	row->packets = rate(p, "run_cnt");
	row->cycles = ratio(rate(p, "cycles"), row->packets);
	row->busy = f->rates ? ns / 1e9 : 0;
	describe_hooks(row->text, sizeof(row->text), all, row->id);
	return 0;
}

/* A map that has lost events. */
static int add_events(struct sl_figures *f, const struct pair *p)
{
	uint64_t lost = number(p->now, "lost_events");
	struct sl_figures_row *row;

	f->map_count++;
	if (!lost)
		return 0;
	row = add(&f->events);
	if (!row)
		return -ENOMEM;
	snprintf(row->name, sizeof(row->name), "%s", text(p->now, "name"));
	row->id = number(p->now, "id");
	row->type = text(p->now, "type");
	row->drops = row->packets = rate(p, "lost_events");
	row->total = lost;
	f->lost_events += row->drops;
	return 0;
}

static int add_all(struct sl_figures *f, struct json_object *before, struct json_object *now)
{
	static const struct {
		const char *list, *key;
	} lists[] = { { "ports", "ifindex" }, { "workers", "worker" }, { "programs", "id" },
		{ "maps", "id" } };
	int err = 0;

	for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
		struct json_object *list = member(now, lists[l].list);

		if (!json_object_is_type(list, json_type_array))
			return -EPROTO;
		for (size_t i = 0; !err && i < length(list); i++) {
			struct json_object *one = json_object_array_get_idx(list, i);
			struct pair p = { same(before, lists[l].list, lists[l].key, one), one,
				f->seconds };

			if (l == 0)
				err = add_port(f, &p);
			if (l == 0 && !err)
				err = add_drops(f, &p);
			if (l == 1)
				err = add_worker(f, &p);
			if (l == 2)
				err = add_program(f, now, &p);
			if (l == 3)
				err = add_events(f, &p);
		}
	}
	return err;
}

struct order {
	enum sl_figures_sort sort;
	bool reverse;
};

static double sort_value(const struct sl_figures_row *row, enum sl_figures_sort sort)
{
	switch (sort) {
	case SL_SORT_CYCLES:
		return row->cycles;
	case SL_SORT_DROPS:
		return row->drops + row->missed;
	default:
		return row->packets;
	}
}

static int compare(const void *a, const void *b, void *arg)
{
	const struct sl_figures_row *x = a, *y = b;
	const struct order *order = arg;
	double p = sort_value(x, order->sort), q = sort_value(y, order->sort);
	int result = p < q ? 1 : p > q ? -1 : 0;

	if (order->sort == SL_SORT_NAME || result == 0)
		result = strcmp(x->name, y->name);
	if (result == 0)
		result = x->id < y->id ? -1 : x->id > y->id;
	return order->reverse ? -result : result;
}

int sl_figures_make(struct sl_figures *ret_figures, struct json_object *before,
	struct json_object *now, enum sl_figures_sort sort, bool reverse)
{
	uint64_t then_ns = number(before, "time_ns"), now_ns = number(now, "time_ns");
	struct sl_figures f = { .rates = before && now_ns > then_ns, .seconds = 1 };
	struct sl_figures_list *lists[] = { &f.ports, &f.workers, &f.programs, &f.drops,
		&f.events };
	struct order order = { sort, reverse };
	int err;

	if (f.rates)
		f.seconds = (double)(now_ns - then_ns) / 1e9;
	err = add_all(&f, f.rates ? before : NULL, now);
	if (err) {
		sl_figures_done(&f);
		return err;
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		if (lists[i]->count)
			qsort_r(lists[i]->rows, lists[i]->count, sizeof(struct sl_figures_row),
				compare, &order);
	}
	*ret_figures = f;
	return 0;
}

void sl_figures_done(struct sl_figures *f)
{
	free(f->ports.rows);
	free(f->workers.rows);
	free(f->programs.rows);
	free(f->drops.rows);
	free(f->events.rows);
	*f = (struct sl_figures){ 0 };
}
