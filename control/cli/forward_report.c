#include "forward.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verb.h"

uint32_t sl_forward_port(const char *name)
{
	struct sluice_port_info info = { 0 };
	char *end;
	unsigned long number = strtoul(name, &end, 10);

	while (sluice_port_next(info.ifindex, &info) == 0) {
		if (strcmp(info.name, name) == 0)
			return info.ifindex;
		if (end != name && !*end && number == info.ifindex)
			return info.ifindex;
	}
	return 0;
}

static void print_port(const struct sluice_port_info *info)
{
	struct sluice_counters c;

	if (sluice_counters_read(info->ifindex, -1, &c) != 0)
		return;
	printf("%u %s (%s)\n", info->ifindex, info->name, info->driver);
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		if (c.value[i])
			printf("  %-20s %15" PRIu64 "\n", sluice_counter_name(i), c.value[i]);
	}
}

void sl_forward_print(double seconds)
{
	struct sluice_port_info info = { 0 };
	struct sluice_counters all;
	uint64_t in, out;

	while (sluice_port_next(info.ifindex, &info) == 0)
		print_port(&info);
	if (sluice_counters_read(0, -1, &all) != 0)
		return;
	in = sluice_counters_sum(&all, SLUICE_KIND_IN);
	out = sluice_counters_sum(&all, SLUICE_KIND_OUT);
	printf("%" PRIu64 " packets in, %" PRIu64 " accounted for, %.2f Mpps in %.2f s\n", in, out,
		(double)all.value[SLUICE_RX] / seconds * 1e-6, seconds);
}

static void write_counters(FILE *f, const struct sluice_counters *c)
{
	const char *separator = "";

	fputc('{', f);
	for (unsigned i = 0; i < SLUICE_COUNTER_COUNT; i++) {
		fprintf(f, "%s\"%s\": %" PRIu64, separator, sluice_counter_name(i), c->value[i]);
		separator = ", ";
	}
	fputc('}', f);
}

static void write_ports(FILE *f)
{
	struct sluice_port_info info = { 0 };
	const char *separator = "";

	while (sluice_port_next(info.ifindex, &info) == 0) {
		struct sluice_counters c = { 0 };

		sluice_counters_read(info.ifindex, -1, &c);
		/* A device's name has no character that JSON would want escaped. */
		fprintf(f,
			"%s\n    {\"ifindex\": %u, \"name\": \"%s\", \"driver\": \"%s\", "
			"\"rx_queues\": %u, \"tx_queues\": %u, \"counters\": ",
			separator, info.ifindex, info.name, info.driver, info.rx_queues,
			info.tx_queues);
		write_counters(f, &c);
		fputc('}', f);
		separator = ",";
	}
}

static double cpu_seconds(void)
{
	double sum = 0;

	for (unsigned w = 0; w < sluice_workers_count(); w++) {
		unsigned cpu;
		uint64_t ns;

		if (sluice_worker_times(w, &cpu, &ns) == 0)
			sum += (double)ns * 1e-9;
	}
	return sum;
}

int sl_forward_write_json(const char *path, const struct sl_forward_spec *spec, double seconds)
{
	struct sluice_counters all = { 0 };
	bool to_stdout = strcmp(path, "-") == 0;
	FILE *f = to_stdout ? stdout : fopen(path, "we");
	int failed;

	if (!f)
		return sl_cli_fail("forward: cannot write %s: %s", path, strerror(errno));
	sluice_counters_read(0, -1, &all);
	fprintf(f,
		"{\n  \"seconds\": %.6f,\n  \"worker_cpu_seconds\": %.6f,\n  \"workers\": %u,\n"
		"  \"packets_in\": %" PRIu64 ",\n  \"packets_accounted\": %" PRIu64
		",\n  \"mpps\": %.6f,\n  \"counters\": ",
		seconds, cpu_seconds(), sluice_workers_count(),
		sluice_counters_sum(&all, SLUICE_KIND_IN),
		sluice_counters_sum(&all, SLUICE_KIND_OUT),
		(double)all.value[SLUICE_RX] / seconds * 1e-6);
	write_counters(f, &all);
	fputs(",\n  \"ports\": [", f);
	write_ports(f);
	fputs("\n  ]", f);
	sl_forward_tap_write_json(f, spec);
	fputs("\n}\n", f);
	failed = ferror(f);
	failed |= to_stdout ? fflush(f) : fclose(f);
	return failed ? sl_cli_fail("forward: cannot write %s", path) : 0;
}
