/*
 * updates [RATE]: what updates from the control side cost the packets. Two workers look one key up
 * per packet (net_null), while this thread changes the table RATE times a second, or does not, in
 * turn. Rates are per second of the workers' CPU time, so that the machine may have two CPUs only.
 * Then the same for generations of jump tables and hooks (updates_swaps.c); RATE 0: only these.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sluice/dataplane.h>

#include "stats.h"
#include "updates.h"
#include "updates.skel.h"

enum { ROUNDS = 9, WORKERS = 2, ROUND_MS = 300 };

static const struct {
	const char *name;
	enum bpf_map_type type;
	uint32_t flags;
} types[] = {
	{ "hash", BPF_MAP_TYPE_HASH, 0 },
	{ "hash, no_prealloc", BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC },
	{ "lru_hash", BPF_MAP_TYPE_LRU_HASH, 0 },
	{ "lpm_trie", BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC },
};

static void fail(const char *what)
{
	fprintf(stderr, "updates: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Key number n, as the program draws them; routes are /24. */
static void change(int table, enum bpf_map_type type, uint32_t n, bool there)
{
	uint32_t key[2] = { 32, (n % UPDATES_ENTRIES * 0x9e3779b1u) & 0xffffff };
	uint64_t value = n;

	if (type == BPF_MAP_TYPE_LPM_TRIE)
		key[0] = 24;
	if (there ? bpf_map_update_elem(table, key, &value, BPF_ANY)
		  : bpf_map_delete_elem(table, key))
		if (errno != ENOENT)
			fail(there ? "update" : "delete");
}

/* For ROUND_MS: a deletion and an insertion in turn, `rate` of both a second. Returns how many. */
static unsigned changes(int table, enum bpf_map_type type, unsigned rate)
{
	static uint32_t n;
	double start = wall_ns();
	unsigned made = 0;

	for (;;) {
		double passed_ms = (wall_ns() - start) / 1e6;

		if (passed_ms >= ROUND_MS)
			return made;
		for (; made < rate / 1e3 * passed_ms; made++, n++)
			change(table, type, n / 2 * 2654435u, n % 2);
		usleep(100);
	}
}

static uint64_t workers_ns(void)
{
	uint64_t sum = 0, ns;
	unsigned cpu;

	for (unsigned w = 0; w < sluice_workers_count(); w++)
		if (sluice_worker_times(w, &cpu, &ns) == 0)
			sum += ns;
	return sum;
}

/* Packets per microsecond of CPU time; *ret_made gets the number of changes. */
static double measure(int table, enum bpf_map_type type, unsigned rate, double *ret_made)
{
	struct sluice_counters before, after;
	uint64_t start_ns = workers_ns();
	double start = wall_ns();
	unsigned made;

	sluice_counters_read(0, -1, &before);
	made = changes(table, type, rate);
	*ret_made = made / ((wall_ns() - start) / 1e9);
	sluice_counters_read(0, -1, &after);
	return (after.value[SLUICE_RX] - before.value[SLUICE_RX]) * 1e3 /
	       (double)(workers_ns() - start_ns);
}

static void run(unsigned which, uint32_t port, unsigned rate)
{
	enum bpf_map_type type = types[which].type;
	double quiet[ROUNDS], busy[ROUNDS], loss[ROUNDS], made[ROUNDS], none;
	struct updates_bpf *object = updates_bpf__open();
	struct summary s[4];
	int table;

	if (!object)
		fail("open");
	bpf_map__set_type(object->maps.table, type);
	bpf_map__set_map_flags(object->maps.table, types[which].flags);
	if (updates_bpf__load(object) != 0 ||
		sluice_xdp_attach(port, bpf_program__fd(object->progs.look_up), -1, 0) != 0)
		fail(types[which].name);
	table = bpf_map__fd(object->maps.table);
	for (uint32_t n = 0; n < UPDATES_ENTRIES; n++)
		change(table, type, n, true);
	for (int round = -1; round < ROUNDS; round++) {
		int i = round < 0 ? 0 : round;

		quiet[i] = measure(table, type, 0, &none);
		busy[i] = measure(table, type, rate, &made[i]);
		loss[i] = (1 - busy[i] / quiet[i]) * 100;
	}
	s[0] = summarize(quiet, ROUNDS);
	s[1] = summarize(busy, ROUNDS);
	s[2] = summarize(loss, ROUNDS);
	s[3] = summarize(made, ROUNDS);
	printf("%-18s %8.2f %8.2f %8.0f %7.1f %7.1f..%-7.1f\n", types[which].name, s[0].median,
		s[1].median, s[3].median, s[2].median, s[2].min, s[2].max);
	fflush(stdout);
	sluice_xdp_attach(port, -1, -1, 0);
	updates_bpf__destroy(object);
}

int main(int argc, char **argv)
{
	/* The main thread shares a CPU with a worker where there are two. */
	char *eal[] = { "--lcores", "0@0,1@0,2@1", "--no-pci", "--log-level=*:error" };
	unsigned rate = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
	uint32_t port;
	bool ok;

	if (argc > 2) {
		fprintf(stderr, "usage: updates [RATE]\n");
		return 2;
	}
	if (sluice_eal_start(WORKERS, sizeof(eal) / sizeof(eal[0]), eal) != 0 ||
		sluice_port_add("net_null0,size=64", NULL, &port) != 0 ||
		sluice_workers_start() != 0)
		return 1;
	printf("%-18s %8s %8s %8s %7s %16s\n", "type", "Mpps", "updated", "per s", "loss %",
		"min..max");
	for (unsigned i = 0; rate && i < sizeof(types) / sizeof(types[0]); i++)
		run(i, port, rate);
	sluice_workers_stop();
	sluice_port_remove(port);
	ok = updates_swaps();
	sluice_eal_stop();
	return ok ? 0 : 1;
}
