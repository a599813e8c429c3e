#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* Numbers packets and sends each one's number to user space, now in one way and now in another. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8192);
} records SEC(".maps");

struct record {
	__u64 number;
	__u32 magic, len;
};

__u64 packets;

SEC("xdp")
int send(struct xdp_md *ctx)
{
	__u64 number = __sync_fetch_and_add(&packets, 1);
	struct record r = { number, 0x51c2e, ctx->data_end - ctx->data }, *place;

	if (number % 2)
		return bpf_ringbuf_output(&records, &r, sizeof(r), 0) ? XDP_DROP : XDP_PASS;
	place = bpf_ringbuf_reserve(&records, sizeof(*place), 0);
	if (!place)
		return XDP_DROP;
	*place = r;
	bpf_ringbuf_submit(place, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
