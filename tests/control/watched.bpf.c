#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/*
 * Frames that say what becomes of them: byte 14 is XDP's verdict, byte 15 not zero asks for a tail
 * call, and byte 16 is the verdict of TC.
 */
int jump_first(struct xdp_md *ctx);
int jump_last(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = {
	.values = { [1] = (void *)&jump_first, [2] = (void *)&jump_last },
};

static __always_inline int byte_at(void *data, void *data_end, unsigned at)
{
	__u8 *byte = data + at;

	return (void *)(byte + 1) > data_end ? 0 : *byte;
}

SEC("xdp")
int watched_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;

	if (byte_at(data, data_end, 15))
		bpf_tail_call(ctx, &jumps, byte_at(data, data_end, 15) & 3);
	return byte_at(data, data_end, 14);
}

SEC("xdp")
int jump_last(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;

	return byte_at(data, data_end, 14);
}

SEC("xdp")
int jump_first(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 2);
	return XDP_ABORTED;
}

SEC("xdp")
int prints(struct xdp_md *ctx)
{
	bpf_printk("%d bytes of %d", (int)(ctx->data_end - ctx->data), 7);
	return XDP_PASS;
}

SEC("tc")
int watched_tc(struct __sk_buff *skb)
{
	return byte_at((void *)(long)skb->data, (void *)(long)skb->data_end, 16);
}

char _license[] SEC("license") = "GPL";
