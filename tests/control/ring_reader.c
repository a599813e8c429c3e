#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>

/*
 * An ordinary libbpf program: loads the object that is its argument, runs packets through it and
 * reads the records from the ring, now waiting for them and now not.
 */
enum { PACKETS = 2000, PACKET_LEN = 64 };

struct record {
	uint64_t number;
	uint32_t magic, len;
};

static unsigned char packet[PACKET_LEN];
static unsigned received, wrong;

static int on_record(void *arg, void *data, size_t size)
{
	const struct record *r = data;

	(void)arg;
	if (size != sizeof(*r) || r->magic != 0x51c2e || r->len != PACKET_LEN ||
		r->number != received)
		wrong++;
	received++;
	return 0;
}

static int run_packet(int prog_fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	return bpf_prog_test_run_opts(prog_fd, &opts) == 0 && opts.retval == 2 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct bpf_object *obj;
	struct ring_buffer *rb;
	int prog_fd;

	if (argc != 2)
		return 2;
	obj = bpf_object__open_file(argv[1], NULL);
	if (!obj || bpf_object__load(obj) != 0) {
		fprintf(stderr, "cannot load %s\n", argv[1]);
		return 1;
	}
	prog_fd = bpf_program__fd(bpf_object__find_program_by_name(obj, "send"));
	rb = ring_buffer__new(
		bpf_object__find_map_fd_by_name(obj, "records"), on_record, NULL, NULL);
	if (!rb) {
		fprintf(stderr, "ring_buffer__new: %s\n", strerror(errno));
		return 1;
	}
	for (unsigned i = 0; i < PACKETS; i++) {
		if (run_packet(prog_fd) != 0) {
			fprintf(stderr, "packet %u: %s\n", i, strerror(errno));
			return 1;
		}
		if (i % 20 == 19 && ring_buffer__poll(rb, 1000) <= 0) {
			fprintf(stderr, "nothing to read after packet %u\n", i);
			return 1;
		}
		if (i % 20 == 9)
			ring_buffer__consume(rb);
	}
	if (ring_buffer__poll(rb, 0) != 0) {
		fprintf(stderr, "more to read than there is\n");
		return 1;
	}
	ring_buffer__free(rb);
	bpf_object__close(obj);
	printf("received %u wrong %u\n", received, wrong);
	return received == PACKETS && !wrong ? 0 : 1;
}
