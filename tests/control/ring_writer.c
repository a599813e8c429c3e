#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/*
 * An ordinary libbpf program: loads the object that is its argument, writes samples for it into the
 * ring until that is full, and has it drain them.
 */
enum { ROUNDS = 100, SAMPLE_LEN = 40 };

static int drain(int prog_fd)
{
	static unsigned char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	return bpf_prog_test_run_opts(prog_fd, &opts) == 0 ? (int)opts.retval : -1;
}

static unsigned fill(struct user_ring_buffer *ring)
{
	unsigned count = 0;
	void *sample;

	while ((sample = user_ring_buffer__reserve(ring, SAMPLE_LEN))) {
		memset(sample, 0, SAMPLE_LEN);
		user_ring_buffer__submit(ring, sample);
		count++;
	}
	return count;
}

int main(int argc, char **argv)
{
	struct user_ring_buffer *ring;
	struct bpf_object *obj;
	unsigned sent = 0, drained = 0;
	int prog_fd;

	if (argc != 2)
		return 2;
	obj = bpf_object__open_file(argv[1], NULL);
	if (!obj || bpf_object__load(obj) != 0) {
		fprintf(stderr, "cannot load %s\n", argv[1]);
		return 1;
	}
	prog_fd = bpf_program__fd(bpf_object__find_program_by_name(obj, "drain"));
	ring = user_ring_buffer__new(bpf_object__find_map_fd_by_name(obj, "ring"), NULL);
	if (!ring) {
		fprintf(stderr, "user_ring_buffer__new: %s\n", strerror(errno));
		return 1;
	}
	for (unsigned i = 0; i < ROUNDS; i++) {
		int count;

		sent += fill(ring);
		count = drain(prog_fd);
		if (count <= 0) {
			fprintf(stderr, "drain: %d\n", count);
			return 1;
		}
		drained += (unsigned)count;
	}
	user_ring_buffer__free(ring);
	bpf_object__close(obj);
	printf("sent %u drained %u\n", sent, drained);
	return sent == drained && sent > ROUNDS ? 0 : 1;
}
