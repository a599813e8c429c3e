#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* Drains a USER_RINGBUF, as the test asks for, and writes down what was in it. */

#define RING_BYTES 4096

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, RING_BYTES);
} ring SEC(".maps");

extern __u32 bpf_dynptr_size(const struct bpf_dynptr *dynptr) __ksym;

__u64 flags;
__s64 result, nested;
__u64 samples, bytes, hash;

struct state {
	__u64 seen;
};

static long on_nothing(struct bpf_dynptr *sample, void *arg)
{
	return 0;
}

static long on_sample(struct bpf_dynptr *sample, void *arg)
{
	struct state *state = arg;
	__u8 head[8] = { 0 }, *first;
	__s64 read;

	samples++;
	state->seen++;
	bytes += bpf_dynptr_size(sample);
	read = bpf_dynptr_read(head, sizeof(head), sample, 0, 0);
	hash = (hash ^ *(__u64 *)head ^ (__u64)read) * 0x9e3779b97f4a7c15;
	first = bpf_dynptr_data(sample, 0, 1);
	if (!first)
		return 0;
	/* The first byte says what else there is to do. */
	if (*first == 0xfe)
		nested = bpf_user_ringbuf_drain(&ring, on_nothing, NULL, 0);
	if (*first == 0xfd)
		result = bpf_dynptr_write(sample, 1, head, sizeof(head), 0);
	return *first == 0xff;
}

SEC("xdp")
int drain(struct xdp_md *ctx)
{
	struct state state = { 0 };

	result = 0;
	result += bpf_user_ringbuf_drain(&ring, on_sample, &state, flags);
	return (int)state.seen;
}

char _license[] SEC("license") = "GPL";
