#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * An ordinary libbpf program: loads the object that is its argument, runs packets through it and
 * reads the events. Prints what it got; fails when an event is not as the program writes it.
 */
enum { PACKETS = 1000, PACKET_LEN = 64 };

struct event {
	uint64_t number;
	uint32_t magic;
	uint32_t len;
};

static unsigned char packet[PACKET_LEN];
static unsigned received, lost, wrong;

static void on_sample(void *arg, int cpu, void *data, uint32_t size)
{
	const struct event *e = data;

	(void)arg;
	(void)cpu;
	if (size < sizeof(*e) + 14 || e->magic != 0x51c2e || e->len != PACKET_LEN ||
		e->number != received || memcmp(e + 1, packet, 14) != 0)
		wrong++;
	received++;
}

static void on_lost(void *arg, int cpu, unsigned long long count)
{
	(void)arg;
	(void)cpu;
	lost += count;
}

static int run_packet(int prog_fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	return bpf_prog_test_run_opts(prog_fd, &opts) == 0 && opts.retval == 2 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct bpf_object *obj;
	struct perf_buffer *pb;
	int prog_fd, map_fd;

	if (argc != 2)
		return 2;
	for (unsigned i = 0; i < sizeof(packet); i++)
		packet[i] = i * 3;
	obj = bpf_object__open_file(argv[1], NULL);
	if (!obj || bpf_object__load(obj) != 0) {
		fprintf(stderr, "cannot load %s\n", argv[1]);
		return 1;
	}
	prog_fd = bpf_program__fd(bpf_object__find_program_by_name(obj, "count"));
	map_fd = bpf_object__find_map_fd_by_name(obj, "events");
	pb = perf_buffer__new(map_fd, 8, on_sample, on_lost, NULL, NULL);
	if (!pb) {
		fprintf(stderr, "perf_buffer__new: %s\n", strerror(errno));
		return 1;
	}
	for (unsigned i = 0; i < PACKETS; i++) {
		if (run_packet(prog_fd) != 0) {
			fprintf(stderr, "test run: %s\n", strerror(errno));
			return 1;
		}
		if (i % 10 == 9 && perf_buffer__poll(pb, 1000) <= 0) {
			fprintf(stderr, "nothing to read after packet %u\n", i);
			return 1;
		}
	}
	while (perf_buffer__poll(pb, 20) > 0)
		;
	perf_buffer__free(pb);
	bpf_object__close(obj);
	printf("received %u lost %u wrong %u\n", received, lost, wrong);
	return received == PACKETS && !wrong ? 0 : 1;
}
