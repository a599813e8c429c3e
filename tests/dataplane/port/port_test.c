#include <sluice/bpf.h>
#include <sluice/dataplane.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>

#include <rte_mempool.h>

#include "bed.h"
#include "context.h"
#include "cpu.h"
#include "fd.h"
#include "link.h"
#include "prog.h"
#include "redirect.h"
#include "ring_port.h"
#include "stand_in.h"
#include "test.h"

/* XDP: the first payload byte is the verdict, the second the port to redirect to. */
static uint64_t xdp_by_payload(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	ctx->run->redirect_ifindex = ctx->data[PAYLOAD + 1];
	return ctx->data[PAYLOAD];
}

static uint64_t xdp_pass(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return XDP_PASS;
}

static uint64_t xdp_drop(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return XDP_DROP;
}

static uint64_t xdp_tx(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return XDP_TX;
}

/* Puts as many bytes before the packet as its payload says, the most there is for 255. */
static uint64_t xdp_push(struct sl_ctx *ctx, uint64_t tail_calls)
{
	uint32_t n = ctx->data[PAYLOAD];

	(void)tail_calls;
	if (n == 255)
		n = (uint32_t)(ctx->data - ctx->head);
	if (n > (uint32_t)(ctx->data - ctx->head))
		return XDP_ABORTED;
	ctx->data -= n;
	ctx->data_meta = ctx->data;
	memset(ctx->data, 0xaa, n);
	return XDP_TX;
}

/* TC: the first payload byte is the verdict, the second the port, the third the flags. */
static uint64_t tc_by_payload(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	ctx->run->redirect_ifindex = ctx->data[PAYLOAD + 1];
	ctx->run->redirect_flags = ctx->data[PAYLOAD + 2] & BPF_F_INGRESS;
	return ctx->data[PAYLOAD];
}

static uint64_t tc_ok(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return TC_ACT_OK;
}

static uint64_t tc_shot(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return TC_ACT_SHOT;
}

/* Clones to the port in the payload, marks the original, and lets it pass. */
static uint64_t tc_clone(struct sl_ctx *ctx, uint64_t tail_calls)
{
	int err = sl_clone_redirect(ctx, ctx->data[PAYLOAD + 1], 0);

	(void)tail_calls;
	ctx->data[PAYLOAD + 2] = (uint8_t)-err;
	ctx->data[PAYLOAD + 3] = 0xcc;
	return TC_ACT_OK;
}

/* What the last program on __sk_buff saw; written by a worker, read when it has stopped. */
static struct sl_ctx seen;

static uint64_t tc_note(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	seen = *ctx;
	return TC_ACT_OK;
}

TEST(port, xdp_verdicts)
{
	static const struct {
		uint8_t verdict, to; /* 1: port a, 2: port b, else no port */
		enum sluice_counter counter;
		unsigned out_a, out_b;
	} rows[] = {
		{ XDP_ABORTED, 0, SLUICE_XDP_ABORTED, 0, 0 },
		{ XDP_DROP, 0, SLUICE_XDP_DROP, 0, 0 },
		{ XDP_PASS, 0, SLUICE_XDP_PASS, 0, 0 },
		{ XDP_PASS, 0, SLUICE_KERNEL, 0, 0 },
		{ XDP_TX, 0, SLUICE_XDP_TX, 1, 0 },
		{ XDP_REDIRECT, 2, SLUICE_XDP_REDIRECT, 0, 1 },
		{ XDP_REDIRECT, 1, SLUICE_TX, 1, 0 },
		{ XDP_REDIRECT, 99, SLUICE_NO_PORT, 0, 0 },
		{ 5, 0, SLUICE_XDP_INVALID, 0, 0 },
		{ 255, 0, SLUICE_XDP_INVALID, 0, 0 },
	};
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(attach_xdp(&bed.a, xdp_by_payload), 0);
	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		uint64_t before = counter_of(&bed.a, rows[i].counter);
		uint32_t to = rows[i].to == 1   ? bed.a.ifindex
			      : rows[i].to == 2 ? bed.b.ifindex
						: rows[i].to;

		TRACE_PUSH("row %u", i);
		send_one(&bed, frame_of(rows[i].verdict, (uint8_t)to));
		EXPECT_EQ(counter_of(&bed.a, rows[i].counter), before + 1);
		EXPECT_EQ(ring_receive_all(&bed.a), rows[i].out_a);
		EXPECT_EQ(ring_receive_all(&bed.b), rows[i].out_b);
		TRACE_POP();
	}
	bed_close(&bed);
}

TEST(port, a_burst_of_mixed_verdicts_is_accounted_for)
{
	enum { ROUNDS = 200 };
	struct bed bed;
	uint64_t out;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(attach_xdp(&bed.a, xdp_by_payload), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		for (uint8_t v = 0; v < 6; v++) {
			struct frame f = frame_of(v, (uint8_t)bed.b.ifindex);

			ring_send(&bed.a, f.bytes, FRAME, v + 1u);
		}
		ring_receive_all(&bed.a);
		ring_receive_all(&bed.b);
	}
	settle(&bed.a, 21 * ROUNDS);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_RX), 21u * ROUNDS);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_XDP_ABORTED), 1u * ROUNDS);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_XDP_DROP), 2u * ROUNDS);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_KERNEL), 3u * ROUNDS);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_XDP_INVALID), 6u * ROUNDS);
	out = counter_of(&bed.a, SLUICE_TX) + counter_of(&bed.a, SLUICE_TX_FULL);
	EXPECT_EQ(out, 4u * ROUNDS);
	out = counter_of(&bed.b, SLUICE_TX) + counter_of(&bed.b, SLUICE_TX_FULL);
	EXPECT_EQ(out, 5u * ROUNDS);
	bed_close(&bed);
}

TEST(port, xdp_headroom_is_256_bytes)
{
	static const uint8_t pushes[] = { 0, 4, 128, 129, 254, 255 };
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(attach_xdp(&bed.a, xdp_push), 0);
	for (unsigned i = 0; i < sl_array_size(pushes); i++) {
		struct frame f = frame_of(pushes[i], 0);
		uint32_t n = pushes[i] == 255 ? 256 : pushes[i];
		uint8_t got[RING_FRAME_MAX] = { 0 };

		TRACE_PUSH("%u bytes", n);
		ring_send(&bed.a, f.bytes, FRAME, 1);
		EXPECT_EQ(ring_receive(&bed.a, got), FRAME + n);
		for (uint32_t b = 0; b < sl_min(n, (uint32_t)RING_FRAME_MAX); b++)
			EXPECT_EQ(got[b], 0xaa);
		if (n + FRAME <= RING_FRAME_MAX)
			EXPECT_MEMEQ(got + n, f.bytes, FRAME);
		TRACE_POP();
	}
	bed_close(&bed);
}

TEST(port, tc_verdicts)
{
	static const struct {
		int8_t verdict;
		uint8_t to; /* 1: port a, 2: port b, else no port */
		bool into; /* redirect to ingress */
		enum sluice_counter counter;
		enum sluice_counter end;
		unsigned out_a, out_b;
	} rows[] = {
		{ TC_ACT_UNSPEC, 0, false, SLUICE_INGRESS_UNSPEC, SLUICE_KERNEL, 0, 0 },
		{ TC_ACT_OK, 0, false, SLUICE_INGRESS_OK, SLUICE_KERNEL, 0, 0 },
		{ TC_ACT_SHOT, 0, false, SLUICE_INGRESS_SHOT, SLUICE_INGRESS_SHOT, 0, 0 },
		{ TC_ACT_STOLEN, 0, false, SLUICE_INGRESS_STOLEN, SLUICE_INGRESS_STOLEN, 0, 0 },
		{ TC_ACT_TRAP, 0, false, SLUICE_INGRESS_TRAP, SLUICE_INGRESS_TRAP, 0, 0 },
		{ TC_ACT_REDIRECT, 2, false, SLUICE_INGRESS_REDIRECT, SLUICE_INGRESS_REDIRECT, 0,
			1 },
		{ TC_ACT_REDIRECT, 1, false, SLUICE_INGRESS_REDIRECT, SLUICE_TX, 1, 0 },
		{ TC_ACT_REDIRECT, 2, true, SLUICE_INGRESS_REDIRECT, SLUICE_INGRESS_REDIRECT, 0,
			0 },
		{ TC_ACT_REDIRECT, 99, false, SLUICE_INGRESS_REDIRECT, SLUICE_NO_PORT, 0, 0 },
	};
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_by_payload), 0);
	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		uint64_t counter = counter_of(&bed.a, rows[i].counter);
		uint64_t end = counter_of(&bed.a, rows[i].end);
		uint32_t to = rows[i].to == 1   ? bed.a.ifindex
			      : rows[i].to == 2 ? bed.b.ifindex
						: rows[i].to;
		struct frame f = frame_of((uint8_t)rows[i].verdict, (uint8_t)to);

		TRACE_PUSH("row %u", i);
		/* As a byte, the verdict is not negative; TC_ACT_UNSPEC is any unknown one. */
		f.bytes[PAYLOAD + 2] = rows[i].into ? BPF_F_INGRESS : 0;
		send_one(&bed, f);
		EXPECT_EQ(counter_of(&bed.a, rows[i].counter), counter + 1);
		EXPECT_EQ(counter_of(&bed.a, rows[i].end), end + 1);
		EXPECT_EQ(ring_receive_all(&bed.a), rows[i].out_a);
		EXPECT_EQ(ring_receive_all(&bed.b), rows[i].out_b);
		TRACE_POP();
	}
	/* The one that was redirected into b. */
	EXPECT_EQ(counter_of(&bed.b, SLUICE_KERNEL), 1u);
	bed_close(&bed);
}

TEST(port, egress_filters_see_what_tc_redirects_but_not_what_xdp_does)
{
	struct bed bed;
	struct frame f;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(attach_tc(&bed.b, SLUICE_TC_EGRESS, tc_shot), 0);
	ASSERT_EQ(attach_xdp(&bed.a, xdp_by_payload), 0);
	send_one(&bed, frame_of(XDP_REDIRECT, (uint8_t)bed.b.ifindex));
	EXPECT_EQ(ring_receive_all(&bed.b), 1u);
	EXPECT_EQ(counter_of(&bed.b, SLUICE_EGRESS_SHOT), 0u);
	ASSERT_EQ(sluice_xdp_attach(bed.a.ifindex, -1, -1, 0), 0);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_by_payload), 0);
	f = frame_of(TC_ACT_REDIRECT, (uint8_t)bed.b.ifindex);
	send_one(&bed, f);
	EXPECT_EQ(ring_receive_all(&bed.b), 0u);
	EXPECT_EQ(counter_of(&bed.b, SLUICE_EGRESS_SHOT), 1u);
	bed_close(&bed);
}

TEST(port, pass_to_leads_through_the_other_ports_egress)
{
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex), 0);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(ring_receive_all(&bed.b), 1u);
	ASSERT_EQ(attach_tc(&bed.b, SLUICE_TC_EGRESS, tc_ok), 0);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(ring_receive_all(&bed.b), 1u);
	EXPECT_EQ(counter_of(&bed.b, SLUICE_EGRESS_OK), 1u);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_ok), 0);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(ring_receive_all(&bed.b), 1u);
	EXPECT_EQ(counter_of(&bed.b, SLUICE_EGRESS_OK), 2u);
	EXPECT_EQ(sluice_port_pass_to(bed.a.ifindex, 77), -ENODEV);
	bed_close(&bed);
}

TEST(port, a_redirect_loop_ends)
{
	struct bed bed;
	struct frame f;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_by_payload), 0);
	f = frame_of(TC_ACT_REDIRECT, (uint8_t)bed.a.ifindex);
	f.bytes[PAYLOAD + 2] = BPF_F_INGRESS;
	send_one(&bed, f);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_LOOP), 1u);
	bed_close(&bed);
}

TEST(port, tc_sees_the_vlan_tag_in_its_fields)
{
	static const uint8_t tagged[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2,
		0x81, 0x00, 0x60, 0x2a, 0x08, 0x00, 0x45, 1, 2, 3, 4, 5, 6, 7 };
	uint8_t got[RING_FRAME_MAX];
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex), 0);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_note), 0);
	ring_send(&bed.a, tagged, sizeof(tagged), 1);
	EXPECT_EQ(ring_receive(&bed.b, got), sizeof(tagged));
	EXPECT_MEMEQ(got, tagged, sizeof(tagged));
	sluice_workers_stop();
	EXPECT_EQ(seen.vlan_present, 1u);
	EXPECT_EQ(seen.vlan_tci, 0x602au);
	EXPECT_EQ(seen.vlan_proto, htons(ETH_P_8021Q));
	EXPECT_EQ(seen.protocol, htons(ETH_P_IP));
	EXPECT_EQ(seen.len, sizeof(tagged) - 4);
	EXPECT_EQ(seen.data_end - seen.data, (long)sizeof(tagged) - 4);
	EXPECT_EQ(seen.pkt_type, 1u); /* PACKET_BROADCAST */
	EXPECT_EQ(seen.ifindex, bed.a.ifindex);
	EXPECT_EQ(seen.ingress_ifindex, bed.a.ifindex);
	bed_close(&bed);
}

TEST(port, short_frames_do_no_harm)
{
	static const uint8_t tag_only[] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0x60 };
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex), 0);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_note), 0);
	for (uint32_t len = 1; len <= sizeof(tag_only); len++) {
		uint8_t got[RING_FRAME_MAX];

		TRACE_PUSH("%u bytes", len);
		ring_send(&bed.a, tag_only, len, 1);
		EXPECT_EQ(ring_receive(&bed.b, got), len);
		EXPECT_MEMEQ(got, tag_only, len);
		TRACE_POP();
	}
	bed_close(&bed);
}

TEST(port, clone_redirect_sends_a_copy)
{
	uint8_t clone[RING_FRAME_MAX], original[RING_FRAME_MAX];
	struct bed bed;
	struct frame f;

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(sluice_port_pass_to(bed.a.ifindex, bed.a.ifindex), 0);
	ASSERT_EQ(attach_tc(&bed.a, SLUICE_TC_INGRESS, tc_clone), 0);
	f = frame_of(0, (uint8_t)bed.b.ifindex);
	ring_send(&bed.a, f.bytes, FRAME, 1);
	EXPECT_EQ(ring_receive(&bed.b, clone), (uint32_t)FRAME);
	EXPECT_MEMEQ(clone, f.bytes, FRAME);
	EXPECT_EQ(ring_receive(&bed.a, original), (uint32_t)FRAME);
	EXPECT_EQ(original[PAYLOAD + 2], 0);
	EXPECT_EQ(original[PAYLOAD + 3], 0xcc);
	/* No such port: the original tells. */
	f = frame_of(0, 99);
	ring_send(&bed.a, f.bytes, FRAME, 1);
	EXPECT_EQ(ring_receive(&bed.a, original), (uint32_t)FRAME);
	EXPECT_EQ(original[PAYLOAD + 2], EINVAL);
	EXPECT_EQ(counter_of(&bed.b, SLUICE_CLONE), 1u);
	bed_close(&bed);
}

/* Packets of one worker go out by another's queue where a port has too few. */
TEST(port, fewer_tx_queues_than_workers)
{
	enum { PACKETS = 2000 };
	struct bed bed;
	unsigned got = 0;
	struct frame f;

	ASSERT_TRUE(bed_open(&bed, 1));
	ASSERT_EQ(attach_xdp(&bed.a, xdp_by_payload), 0);
	ASSERT_EQ(attach_xdp(&bed.b, xdp_by_payload), 0);
	/* The ports' RX queues belong to different workers, so one of the two hands over. */
	for (unsigned i = 0; i < PACKETS; i++) {
		f = frame_of(XDP_REDIRECT, (uint8_t)bed.b.ifindex);
		ring_send(&bed.a, f.bytes, FRAME, 1);
		ring_send(&bed.b, f.bytes, FRAME, 1);
		/* No more on the way than the ring takes. */
		do
			got += ring_receive_all(&bed.b);
		while (2 * i > got + 500);
	}
	for (unsigned i = 0; i < 1000 && got < 2 * PACKETS; i++) {
		got += ring_receive_all(&bed.b);
		usleep(1000);
	}
	EXPECT_EQ(got, 2u * PACKETS);
	if (sluice_workers_count() > 1)
		EXPECT_EQ(counter_of(&bed.b, SLUICE_HANDED_OVER), (uint64_t)PACKETS);
	bed_close(&bed);
}

static int attach_fd(struct bed *bed, int fd, int expected, uint32_t flags)
{
	return sluice_xdp_attach(bed->a.ifindex, fd, expected, flags);
}

TEST(port, xdp_attach_flags)
{
	struct bed bed;
	int one, two, tc;

	ASSERT_TRUE(bed_open(&bed, 2));
	one = stand_in_fd(BPF_PROG_TYPE_XDP, xdp_pass);
	two = stand_in_fd(BPF_PROG_TYPE_XDP, xdp_drop);
	tc = stand_in_fd(BPF_PROG_TYPE_SCHED_CLS, tc_ok);
	EXPECT_EQ(attach_fd(&bed, tc, -1, 0), -EINVAL);
	EXPECT_EQ(attach_fd(&bed, 12345, -1, 0), -EBADF);
	EXPECT_EQ(sluice_xdp_attach(99, one, -1, 0), -ENODEV);
	EXPECT_EQ(attach_fd(&bed, one, -1, XDP_FLAGS_UPDATE_IF_NOEXIST), 0);
	EXPECT_EQ(attach_fd(&bed, two, -1, XDP_FLAGS_UPDATE_IF_NOEXIST), -EBUSY);
	EXPECT_EQ(attach_fd(&bed, two, two, XDP_FLAGS_REPLACE), -EEXIST);
	EXPECT_EQ(attach_fd(&bed, two, one, XDP_FLAGS_REPLACE), 0);
	EXPECT_EQ(attach_fd(&bed, one, -1, 1u << 31), -EINVAL);
	EXPECT_EQ(attach_fd(&bed, -1, -1, 0), 0);
	close(one);
	close(two);
	close(tc);
	bed_close(&bed);
}

static struct sl_prog *prog_of(int fd)
{
	struct sl_object *obj = NULL;

	return sl_fd_get(fd, SL_OBJECT_PROG, &obj) == 0 ? sl_prog_of(obj) : NULL;
}

TEST(port, links_hold_the_hook)
{
	struct sl_prog *drop, *tx;
	struct sl_link *link, *other;
	struct bed bed;
	int drop_fd, tx_fd;

	ASSERT_TRUE(bed_open(&bed, 2));
	drop_fd = stand_in_fd(BPF_PROG_TYPE_XDP, xdp_drop);
	tx_fd = stand_in_fd(BPF_PROG_TYPE_XDP, xdp_tx);
	drop = prog_of(drop_fd);
	tx = prog_of(tx_fd);
	EXPECT_EQ(sl_link_new(drop, 99, BPF_XDP, 0, &link), -ENODEV);
	ASSERT_EQ(sl_link_new(drop, bed.a.ifindex, BPF_XDP, 0, &link), 0);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(counter_of(&bed.a, SLUICE_XDP_DROP), 1u);
	EXPECT_EQ(sl_link_new(tx, bed.a.ifindex, BPF_XDP, 0, &other), -EBUSY);
	EXPECT_EQ(attach_fd(&bed, tx_fd, -1, 0), -EBUSY);
	EXPECT_EQ(sl_link_update(link, tx, tx), -EPERM);
	EXPECT_EQ(sl_link_update(link, tx, drop), 0);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(ring_receive_all(&bed.a), 1u);
	sl_link_detach(link);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(counter_of(&bed.a, SLUICE_KERNEL), 1u);
	sl_object_unref(&link->obj);
	/* The last reference to a link empties its hook. */
	ASSERT_EQ(sl_link_new(drop, bed.a.ifindex, BPF_XDP, 0, &link), 0);
	sl_object_unref(&link->obj);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(counter_of(&bed.a, SLUICE_KERNEL), 2u);
	/* A program that was attached without a link keeps links out. */
	EXPECT_EQ(attach_fd(&bed, tx_fd, -1, 0), 0);
	EXPECT_EQ(sl_link_new(drop, bed.a.ifindex, BPF_XDP, 0, &link), -EBUSY);
	sl_object_unref(&drop->obj);
	sl_object_unref(&tx->obj);
	close(drop_fd);
	close(tx_fd);
	bed_close(&bed);
}

static void count_pool(struct rte_mempool *pool, void *arg)
{
	++*(unsigned *)arg;
}

static unsigned pools(void)
{
	unsigned n = 0;

	rte_mempool_walk(count_pool, &n);
	return n;
}

TEST(port, packets_outlive_their_port)
{
	uint8_t got[RING_FRAME_MAX];
	uint32_t ifindex;
	struct bed bed;
	unsigned before;

	ASSERT_TRUE(bed_open(&bed, 2));
	before = pools();
	ASSERT_EQ(sluice_port_add("net_null2,size=64", NULL, &ifindex), 0);
	ASSERT_EQ(sluice_port_pass_to(ifindex, bed.b.ifindex), 0);
	EXPECT_EQ(ring_receive(&bed.b, got), 64u);
	EXPECT_EQ(sluice_port_remove(ifindex), 0);
	EXPECT_EQ(pools(), before + 1);
	EXPECT_GT(ring_receive_all(&bed.b), 0u);
	/* Whoever comes next clears up. */
	ASSERT_EQ(sluice_port_add("net_null2,size=64", NULL, &ifindex), 0);
	EXPECT_EQ(pools(), before + 1);
	EXPECT_EQ(sluice_port_remove(ifindex), 0);
	EXPECT_EQ(pools(), before);
	bed_close(&bed);
}

/* A link ends with its port: whoever gets the port's number later is none of its business. */
TEST(port, a_removed_ports_link_leaves_the_next_port_alone)
{
	struct sl_prog *drop, *tx;
	struct sl_link *stale, *link;
	struct sluice_port_info info;
	struct bed bed;
	int drop_fd, tx_fd;
	uint32_t ifindex;

	ASSERT_TRUE(bed_open(&bed, 2));
	drop_fd = stand_in_fd(BPF_PROG_TYPE_XDP, xdp_drop);
	tx_fd = stand_in_fd(BPF_PROG_TYPE_XDP, xdp_tx);
	drop = prog_of(drop_fd);
	tx = prog_of(tx_fd);
	ifindex = bed.b.ifindex;
	ASSERT_EQ(sl_link_new(drop, ifindex, BPF_XDP, 0, &stale), 0);
	ring_port_close(&bed.b);
	EXPECT_EQ(sl_link_update(stale, tx, NULL), -ENOLINK);
	ASSERT_EQ(ring_port_open(&bed.b, 2), 0);
	ASSERT_EQ(bed.b.ifindex, ifindex);
	EXPECT_EQ(sl_link_update(stale, tx, NULL), -ENOLINK);
	ASSERT_EQ(sl_link_new(drop, ifindex, BPF_XDP, 0, &link), 0);
	EXPECT_EQ(sl_link_update(stale, tx, NULL), -ENOLINK);
	sl_object_unref(&stale->obj);
	ASSERT_EQ(sluice_port_next(ifindex - 1, &info), 0);
	EXPECT_EQ(info.xdp_prog_id, drop->obj.id);
	sl_object_unref(&link->obj);
	sl_object_unref(&drop->obj);
	sl_object_unref(&tx->obj);
	close(drop_fd);
	close(tx_fd);
	bed_close(&bed);
}

/* Replaces what is at the hooks of port a again and again. */
static void *replace(void *arg)
{
	struct bed *bed = arg;
	unsigned n = 0;

	while (!__atomic_load_n(&bed->done, __ATOMIC_ACQUIRE)) {
		static const sl_prog_fn fns[] = { xdp_pass, xdp_drop, xdp_tx };
		struct sluice_tc_filter filter = {
			.priority = 1 + n % 3,
			.handle = 1,
			.direct_action = true,
			.prog_fd = stand_in_fd(BPF_PROG_TYPE_SCHED_CLS, n % 2 ? tc_ok : tc_shot),
		};

		attach_xdp(&bed->a, fns[n % sl_array_size(fns)]);
		sluice_tc_add(bed->a.ifindex, SLUICE_TC_INGRESS, &filter, SLUICE_TC_REPLACE);
		close(filter.prog_fd);
		if (n % 5 == 4)
			sluice_tc_del(bed->a.ifindex, SLUICE_TC_INGRESS, 0, 0);
		n++;
		usleep(200);
	}
	return (void *)(uintptr_t)n;
}

TEST(port, replacing_programs_under_traffic_loses_nothing)
{
	enum { PACKETS = 100000, BURST = 50 };
	uint64_t in = sum_of(SLUICE_KIND_IN), out, got = 0;
	struct frame f = frame_of(0, 0);
	pthread_t thread;
	struct bed bed;
	void *replaced;

	ASSERT_TRUE(bed_open(&bed, 2));
	in = sum_of(SLUICE_KIND_IN);
	out = sum_of(SLUICE_KIND_OUT);
	EXPECT_EQ(in, out);
	bed.done = 0;
	ASSERT_EQ(pthread_create(&thread, NULL, replace, &bed), 0);
	for (unsigned i = 0; i < PACKETS / BURST; i++) {
		ring_send(&bed.a, f.bytes, FRAME, BURST);
		got += ring_receive_all(&bed.a);
	}
	settle(&bed.a, PACKETS);
	__atomic_store_n(&bed.done, 1, __ATOMIC_RELEASE);
	pthread_join(thread, &replaced);
	sluice_workers_stop();
	got += ring_receive_all(&bed.a);
	EXPECT_GT((uintptr_t)replaced, 20u);
	EXPECT_EQ(sum_of(SLUICE_KIND_IN) - in, (uint64_t)PACKETS);
	EXPECT_EQ(sum_of(SLUICE_KIND_OUT) - out, (uint64_t)PACKETS);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_RX), (uint64_t)PACKETS);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_TX), got);
	bed_close(&bed);
}

static int note_cpu(unsigned cpu, void *arg)
{
	*(unsigned *)arg = cpu;
	return 42;
}

TEST(port, control_threads_borrow_a_workers_cpu)
{
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++) {
		unsigned ran_on = 999;

		EXPECT_EQ(sl_cpu_run(cpu, note_cpu, &ran_on), 42);
		EXPECT_EQ(ran_on, cpu);
	}
	bed_close(&bed);
}

TEST(port, workers_start_and_stop_again)
{
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 2));
	EXPECT_EQ(attach_xdp(&bed.a, xdp_tx), 0);
	for (unsigned i = 0; i < 5; i++) {
		struct frame f = frame_of(0, 0);
		uint8_t got[RING_FRAME_MAX];

		EXPECT_EQ(sluice_workers_start(), 0);
		ring_send(&bed.a, f.bytes, FRAME, 1);
		EXPECT_EQ(ring_receive(&bed.a, got), (uint32_t)FRAME);
		sluice_workers_stop();
	}
	bed_close(&bed);
}

static void write_file(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "we");

	if (f) {
		fwrite(bytes, 1, len, f);
		fclose(f);
	}
}

TEST(port, bad_devargs_are_refused)
{
	static const char *const bad[] = {
		"net_pcap8,rx_pcap=/nonexistent/file.pcap",
		"net_pcap8,rx_pcap=/tmp/sluice-no.pcap",
		"net_pcap8,wrong=1",
		"net_nosuch0",
		"",
		"0000:ff:1f.7",
		"net_af_packet0,iface=sluice-none0",
	};
	uint32_t ifindex = 0;

	ASSERT_EQ(ring_eal(), 0);
	write_file("/tmp/sluice-no.pcap", "no capture", 10);
	for (unsigned i = 0; i < sl_array_size(bad); i++) {
		TRACE_PUSH("%s", bad[i]);
		EXPECT_LT(sluice_port_add(bad[i], NULL, &ifindex), 0);
		TRACE_POP();
	}
	unlink("/tmp/sluice-no.pcap");
	EXPECT_EQ(sluice_port_remove(31), -ENODEV);
	EXPECT_EQ(sluice_port_remove(0), -ENODEV);
	EXPECT_EQ(sluice_port_remove(UINT32_MAX), -ENODEV);
	EXPECT_EQ(sluice_eal_start(1, 0, NULL), -EALREADY);
}

/* A capture of `n` frames of 60 bytes. */
static void write_pcap(const char *path, unsigned n)
{
	static const struct {
		uint32_t magic;
		uint16_t major, minor;
		uint32_t zone, figures, snap, type;
	} head = { 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1 };
	FILE *f = fopen(path, "we");

	if (!f)
		return;
	fwrite(&head, sizeof(head), 1, f);
	for (unsigned i = 0; i < n; i++) {
		uint32_t record[4] = { i, 0, 60, 60 };
		struct frame frame = frame_of(XDP_TX, 0);

		fwrite(record, sizeof(record), 1, f);
		fwrite(frame.bytes, 60, 1, f);
	}
	fclose(f);
}

TEST(port, captures_are_replayed_and_written)
{
	enum { PACKETS = 5000 };
	char in[] = "/tmp/sluice-in-XXXXXX", out[] = "/tmp/sluice-out-XXXXXX", devargs[128];
	struct ring_port port = { 0 };
	struct stat st;

	ASSERT_EQ(ring_eal(), 0);
	close(mkstemp(in));
	close(mkstemp(out));
	write_pcap(in, PACKETS);
	snprintf(devargs, sizeof(devargs), "net_pcap0,rx_pcap=%s,tx_pcap=%s", in, out);
	ASSERT_EQ(sluice_port_add(devargs, NULL, &port.ifindex), 0);
	ASSERT_EQ(attach_xdp(&port, xdp_tx), 0);
	ASSERT_EQ(sluice_workers_start(), 0);
	settle(&port, PACKETS);
	sluice_workers_stop();
	EXPECT_EQ(counter_of(&port, SLUICE_RX), (uint64_t)PACKETS);
	EXPECT_EQ(counter_of(&port, SLUICE_TX), (uint64_t)PACKETS);
	EXPECT_EQ(sluice_port_remove(port.ifindex), 0);
	EXPECT_EQ(stat(out, &st), 0);
	EXPECT_EQ(st.st_size, 24 + PACKETS * (16 + 60));
	unlink(in);
	unlink(out);
	EXPECT_EQ(stand_in_wait(0), 0u);
}

/* Ports come and go, by devargs, while the workers run. */
TEST(port, ports_are_added_and_removed_under_traffic)
{
	struct sluice_port_info info;
	uint32_t ifindex = 0;

	ASSERT_EQ(ring_eal(), 0);
	ASSERT_EQ(sluice_workers_start(), 0);
	for (unsigned i = 0; i < 5; i++) {
		struct ring_port port = { 0 };

		ASSERT_EQ(sluice_port_add("net_null0,size=64", NULL, &port.ifindex), 0);
		EXPECT_EQ(sluice_port_add("net_null0", NULL, &ifindex), -EEXIST);
		EXPECT_EQ(sluice_port_next(0, &info), 0);
		EXPECT_STREQ(info.driver, "net_null");
		EXPECT_EQ(sluice_port_next(info.ifindex, &info), -ENOENT);
		ASSERT_EQ(attach_xdp(&port, xdp_drop), 0);
		usleep(5000);
		EXPECT_GT(counter_of(&port, SLUICE_XDP_DROP), 0u);
		EXPECT_EQ(sluice_port_remove(port.ifindex), 0);
	}
	sluice_workers_stop();
	EXPECT_EQ(sum_of(SLUICE_KIND_IN), sum_of(SLUICE_KIND_OUT));
	EXPECT_EQ(stand_in_wait(0), 0u);
}

TEST(port, nothing_is_left_behind)
{
	struct stat st;

	ASSERT_EQ(ring_eal(), 0);
	if (ring_runtime_dir_was_there)
		SKIP("/var/run/dpdk/rte is another process's");
	EXPECT_EQ(stat("/var/run/dpdk/rte", &st), -1);
}
