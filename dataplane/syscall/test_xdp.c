#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "caller.h"
#include "command.h"
#include "context.h"
#include "packet.h"
#include "prog.h"
#include "test_run.h"

enum {
	HEADROOM = 256, /* XDP_PACKET_HEADROOM */
	FRAME_HEADER = 40, /* of it, what the kernel keeps for its struct xdp_frame */
	ETHERNET_HEADER = 14,
	META_MAX = HEADROOM - FRAME_HEADER,
	LIVE_HEADER = 112, /* of a live packet's page, the kernel's struct xdp_page_head */
	LIVE_BATCH = 64, /* NAPI_POLL_WEIGHT */
	LIVE_BATCH_MAX = 256,
	LIVE_TRIES = 1000, /* for mbufs, a millisecond apart */
};

/*
 * xdp_md as the caller gives it: data is where the packet begins after its metadata, data_end where
 * its first buffer ends.
 */
static int check_md(const struct sl_call *call, const struct xdp_md *md)
{
	const union bpf_attr *attr = call->attr;

	if (!attr->test.ctx_in)
		return 0;
	if (md->data_meta || md->data_end > attr->test.data_size_in || md->data > md->data_end ||
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

int (*sl_test_live)(const struct sl_test_live *live, uint32_t count, uint32_t *ret_done);

/* All of them, batch by batch. */
static int run_batches(const struct sl_call *call, const struct sl_test_live *live)
{
	uint32_t left = sl_max(call->attr->test.repeat, 1u);
	uint32_t batch = call->attr->test.batch_size ? call->attr->test.batch_size : LIVE_BATCH;
	unsigned tries = 0;

	while (left > 0) {
		uint32_t done;
		int err = sl_test_live(live, sl_min(left, batch), &done);

		if (err)
			return err;
		left -= done;
		tries = done ? 0 : tries + 1;
		if (tries > LIVE_TRIES)
			return -ENOMEM;
		if (!done)
			usleep(1000);
	}
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int run_live(const struct sl_call *call, struct sl_prog *prog, struct xdp_md *md,
	struct sl_test_packet *packet)
{
	const struct rte_mbuf *m = packet->mbufs;
	struct sl_test_live live = {
		.prog = prog,
		.packet = (const uint8_t *)m->buf_addr + m->data_off,
		.len_bytes = m->data_len,
		.meta_len = md->data,
		.ifindex = md->ingress_ifindex ? md->ingress_ifindex : SL_TEST_IFINDEX,
	};
	struct sl_test_result result = { 0 };
	uint64_t start_ns = now_ns(), each_ns;
	int err = sl_test_live ? run_batches(call, &live) : -ENODEV;

	if (!err)
		err = sl_test_packet_gather(
			packet, live.packet, live.packet + live.len_bytes, &result);
	if (err)
		return err;
	each_ns = (now_ns() - start_ns) / sl_max(call->attr->test.repeat, 1u);
	result.duration_ns = (uint32_t)sl_min(each_ns, (uint64_t)UINT32_MAX);
	err = sl_test_finish(call, &result, md, sizeof(*md));
	free(result.data);
	return err;
}

/* The kernel's limits for them. */
static int check_live(const struct sl_call *call, const struct xdp_md *md)
{
	const union bpf_attr *attr = call->attr;
	uint32_t max = SL_TEST_PAGE - (HEADROOM - md->data) - LIVE_HEADER - SL_TEST_TAILROOM;

	if (attr->test.ctx_in && (attr->test.data_out || attr->test.ctx_out))
		return -EINVAL;
	return attr->test.data_size_in > max ? -EINVAL : 0;
}

static int run(const struct sl_call *call, struct sl_prog *prog, struct xdp_md *md,
	struct sl_test_packet *packet)
{
	struct sl_test_result result = { 0 };
	struct rte_mbuf *m = packet->mbufs;
	struct sl_ctx ctx = { 0 };
	int err;

	sl_packet_begin(&ctx, m);
	ctx.head = (uint8_t *)m->buf_addr + FRAME_HEADER;
	ctx.data += md->data;
	ctx.ingress_ifindex = md->ingress_ifindex ? md->ingress_ifindex : SL_TEST_IFINDEX;
	ctx.rx_queue_index = md->rx_queue_index;
	ctx.len = m->pkt_len - md->data;
	m->data_off += md->data;
	m->data_len -= md->data;
	m->pkt_len -= md->data;
	err = sl_test_run(call, prog, &ctx, &result);
	if (!err)
		err = sl_test_packet_gather(packet, ctx.data_meta, ctx.data_end, &result);
	if (err)
		return err;
	md->data = ctx.data - ctx.data_meta;
	md->data_end = ctx.data_end - ctx.data_meta;
	err = sl_test_finish(call, &result, md, sizeof(*md));
	free(result.data);
	return err;
}

int sl_test_run_xdp(const struct sl_call *call, struct sl_prog *prog)
{
	const union bpf_attr *attr = call->attr;
	uint32_t size = attr->test.data_size_in, headroom, linear_max, linear;
	struct sl_test_packet packet;
	struct xdp_md md;
	bool live;
	int err;

	if (prog->expected_attach_type == BPF_XDP_DEVMAP ||
		prog->expected_attach_type == BPF_XDP_CPUMAP)
		return -EINVAL;
	if (attr->test.flags & ~BPF_F_TEST_XDP_LIVE_FRAMES)
		return -EINVAL;
	/* It runs on packets of its device. */
	if (prog->bound_device)
		return -EINVAL;
	live = attr->test.flags & BPF_F_TEST_XDP_LIVE_FRAMES;
	/* They leave by ports. */
	if (live && !sl_caller_is_privileged())
		return -EPERM;
	if (attr->test.batch_size > (live ? LIVE_BATCH_MAX : 0))
		return live ? -E2BIG : -EINVAL;
	err = sl_test_read_ctx(call, &md, sizeof(md));
	if (!err)
		err = check_md(call, &md);
	if (!err && live)
		err = check_live(call, &md);
	if (err)
		return err;
	headroom = HEADROOM - md.data;
	linear_max = SL_TEST_PAGE - headroom - SL_TEST_TAILROOM;
	linear = sl_min(attr->test.ctx_in ? md.data_end : size, linear_max);
	if (size < ETHERNET_HEADER + md.data)
		return -EINVAL;
	err = sl_test_packet_init(&packet, call, headroom, linear, linear_max - linear);
	if (!err && live) {
		err = run_live(call, prog, &md, &packet);
	} else if (!err) {
		err = check_ingress(&md);
		if (!err)
			err = run(call, prog, &md, &packet);
	}
	free(packet.buffer);
	return err;
}
