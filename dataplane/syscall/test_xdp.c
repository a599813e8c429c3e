#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "context.h"
#include "packet.h"
#include "prog.h"
#include "test_run.h"

enum {
	HEADROOM = 256, /* XDP_PACKET_HEADROOM */
	FRAME_HEADER = 40, /* of it, what the kernel keeps for its struct xdp_frame */
	FRAME_MAX = SL_TEST_PAGE - HEADROOM - SL_TEST_TAILROOM,
	ETHERNET_HEADER = 14,
	META_MAX = 255, /* bytes of metadata in front of a packet */
};

/* xdp_md as the caller gives it: data is where the packet begins after its metadata. */
static int check_md(const struct sl_call *call, const struct xdp_md *md)
{
	const union bpf_attr *attr = call->attr;

	if (!attr->test.ctx_in)
		return 0;
	if (md->data_meta || md->data_end != attr->test.data_size_in || md->data > md->data_end ||
		md->data % sizeof(uint32_t) || md->data > META_MAX)
		return -EINVAL;
	if (md->egress_ifindex || (!md->ingress_ifindex && md->rx_queue_index))
		return -EINVAL;
	return 0;
}

/* The kernel's own interfaces stand for ingress_ifindex; they have one queue for us. */
static int check_ingress(const struct xdp_md *md)
{
	char name[IF_NAMESIZE];

	if (!md->ingress_ifindex)
		return 0;
	if (!if_indextoname(md->ingress_ifindex, name))
		return -ENODEV;
	return md->rx_queue_index ? -EINVAL : 0;
}

static int run(const struct sl_call *call, struct sl_prog *prog, struct xdp_md *md,
	struct sl_test_packet *packet)
{
	struct sl_test_result result = { 0 };
	struct sl_ctx ctx = { 0 };
	int err;

	sl_packet_begin(&ctx, &packet->mbuf);
	ctx.head += FRAME_HEADER;
	ctx.data += md->data;
	ctx.ingress_ifindex = md->ingress_ifindex ? md->ingress_ifindex : SL_TEST_IFINDEX;
	ctx.rx_queue_index = md->rx_queue_index;
	ctx.len = packet->mbuf.pkt_len - md->data;
	packet->mbuf.data_off += md->data;
	packet->mbuf.data_len -= md->data;
	packet->mbuf.pkt_len -= md->data;
	err = sl_test_run(call, prog, &ctx, &result);
	if (err)
		return err;
	md->data = ctx.data - ctx.data_meta;
	md->data_end = ctx.data_end - ctx.data_meta;
	result.data = ctx.data_meta;
	result.len_bytes = ctx.data_end - ctx.data_meta;
	return sl_test_finish(call, &result, md, sizeof(*md));
}

int sl_test_run_xdp(const struct sl_call *call, struct sl_prog *prog)
{
	const union bpf_attr *attr = call->attr;
	struct sl_test_packet packet = { .buffer = NULL };
	uint32_t size = attr->test.data_size_in, headroom;
	struct xdp_md md;
	int err;

	if (prog->expected_attach_type == BPF_XDP_DEVMAP ||
		prog->expected_attach_type == BPF_XDP_CPUMAP)
		return -EINVAL;
	/* BPF_F_TEST_XDP_LIVE_FRAMES sends what it gets: that needs ports. */
	if (attr->test.flags || attr->test.batch_size)
		return -EINVAL;
	err = sl_test_read_ctx(call, &md, sizeof(md));
	if (!err)
		err = check_md(call, &md);
	if (err)
		return err;
	headroom = HEADROOM - md.data;
	if (size < ETHERNET_HEADER + md.data || size > FRAME_MAX + md.data)
		return -EINVAL;
	err = sl_test_packet_init(
		&packet, call, headroom, SL_TEST_PAGE - SL_TEST_TAILROOM - headroom - size);
	if (!err)
		err = check_ingress(&md);
	if (!err)
		err = run(call, prog, &md, &packet);
	free(packet.buffer);
	return err;
}
