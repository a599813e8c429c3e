#include "figures.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * The tables. Columns have fixed widths that fit into 80; the last one, text, gets what is left. A
 * figure is in units that leave it four digits: 1234, 12.3k, 1.23M.
 */
struct printer {
	unsigned width;
	void (*put)(void *arg, const char *line, bool heading);
	void *arg;
};

enum { LINE_MAX_BYTES = 512 };

/* Names come from programs and users: what a terminal would take for a command is not shown. */
static void clean(char *line)
{
	for (; *line; line++) {
		if ((unsigned char)*line < ' ' || *line == 0x7f)
			*line = '?';
	}
}

static void put(const struct printer *p, bool heading, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void put(const struct printer *p, bool heading, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	size_t len;
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	clean(line);
	len = strlen(line);
	if (len > p->width)
		len = p->width;
	while (len && line[len - 1] == ' ')
		len--;
	line[len] = '\0';
	p->put(p->arg, line, heading);
}

struct shown {
	char text[16];
};

static struct shown show(double value)
{
	static const char units[] = " kMGTPE";
	struct shown s;
	unsigned unit = 0;

	while (value >= 9999.5 / (unit ? 10 : 1) && units[unit + 1]) {
		value /= 1000;
		unit++;
	}
	if (!unit)
		snprintf(s.text, sizeof(s.text),
			value < 9.995 && value != (double)(long)value ? "%.2f" : "%.0f", value);
	else
		snprintf(s.text, sizeof(s.text), "%.*f%c",
			value < 9.995   ? 2
			: value < 99.95 ? 1
					: 0,
			value, units[unit]);
	return s;
}

#define S(value) show(value).text

static void print_ports(const struct printer *p, const struct sl_figures *f)
{
	put(p, true, "%-15s %8s %8s %8s %8s  %s", "PORT", "RX", "TX", "DROP", "MISSED", "VERDICTS");
	for (unsigned i = 0; i < f->ports.count; i++) {
		const struct sl_figures_row *r = &f->ports.rows[i];

		put(p, false, "%-15.15s %8s %8s %8s %8s  %s", r->name, S(r->packets), S(r->sent),
			S(r->drops), S(r->missed), r->text);
	}
}

static void print_workers(const struct printer *p, const struct sl_figures *f)
{
	put(p, true, "%s", "");
	put(p, true, "%-7s %5s %8s %7s %10s %9s %11s", "WORKER", "CPU", "PACKETS", "BUSY",
		"CYCLES/PKT", "PKT/BURST", "EMPTY POLLS");
	for (unsigned i = 0; i < f->workers.count; i++) {
		const struct sl_figures_row *r = &f->workers.rows[i];

		put(p, false, "%-7s %5s %8s %6.1f%% %10s %9.1f %11s", r->name, r->text,
			S(r->packets), 100 * r->busy, S(r->cycles), r->burst, S(r->missed));
	}
}

static void print_programs(const struct printer *p, const struct sl_figures *f)
{
	put(p, true, "%s", "");
	put(p, true, "%6s %-15s %-10s %8s %10s %6s  %s", "ID", "PROGRAM", "TYPE", "RUNS",
		"CYCLES/RUN", "CPU", "AT");
	for (unsigned i = 0; i < f->programs.count; i++) {
		const struct sl_figures_row *r = &f->programs.rows[i];
		char cpu[16] = "";

		if (f->rates)
			snprintf(cpu, sizeof(cpu), "%.1f%%", 100 * r->busy);
		put(p, false, "%6llu %-15.15s %-10.10s %8s %10s %6s  %s", (unsigned long long)r->id,
			r->name, r->type, S(r->packets), S(r->cycles), cpu, r->text);
	}
}

/* Packets and events that went nowhere, if there were any. */
static void print_losses(const struct printer *p, const struct sl_figures *f)
{
	if (f->drops.count) {
		put(p, true, "%s", "");
		put(p, true, "%-15s %-24s %8s %10s", "DROPS AT", "REASON", f->rates ? "NOW" : "",
			"TOTAL");
	}
	for (unsigned i = 0; i < f->drops.count; i++) {
		const struct sl_figures_row *r = &f->drops.rows[i];

		put(p, false, "%-15.15s %-24.24s %8s %10s", r->name, r->text,
			f->rates ? S(r->drops) : "", S((double)r->total));
	}
	if (f->events.count) {
		put(p, true, "%s", "");
		put(p, true, "%6s %-15s %-17s %8s %10s", "ID", "EVENTS LOST BY", "TYPE",
			f->rates ? "NOW" : "", "TOTAL");
	}
	for (unsigned i = 0; i < f->events.count; i++) {
		const struct sl_figures_row *r = &f->events.rows[i];

		put(p, false, "%6llu %-15.15s %-17.17s %8s %10s", (unsigned long long)r->id,
			r->name, r->type, f->rates ? S(r->drops) : "", S((double)r->total));
	}
}

void sl_figures_print(const struct sl_figures *f, unsigned width,
	void (*put_line)(void *arg, const char *line, bool heading), void *arg)
{
	const struct printer p = { width, put_line, arg };

	put(&p, false, "%u ports, %u workers, %u programs, %u maps; packets %s", f->ports.count,
		f->workers.count, f->programs.count, f->map_count,
		f->rates ? "a second" : "since the start");
	put(&p, false, "received %s, sent %s, dropped %s, missed by devices %s; events lost %s",
		S(f->received), S(f->sent), S(f->dropped), S(f->missed), S(f->lost_events));
	put(&p, false, "%s", "");
	print_ports(&p, f);
	print_workers(&p, f);
	print_programs(&p, f);
	print_losses(&p, f);
}
