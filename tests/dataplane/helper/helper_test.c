#include <errno.h>
#include <string.h>

#include "row.h"
#include "test.h"
#include "test_packet.h"

static struct test_packet packet;

TEST(xdp_adjust_head, keeps_an_ethernet_header_and_the_headroom)
{
	static const struct {
		int offset;
		int64_t ret;
	} rows[] = {
		{ 0, 0 },
		{ 50, 0 },
		{ 51, -EINVAL },
		{ -TEST_HEADROOM, 0 },
		{ -TEST_HEADROOM - 1, -EINVAL },
		{ INT32_MIN, -EINVAL },
		{ INT32_MAX, -EINVAL },
	};

	for (size_t i = 0; i < sl_array_size(rows); i++) {
		test_packet_init(&packet, false, NULL, 64);
		TRACE_PUSH("offset %d", rows[i].offset);
		EXPECT_EQ(sl_bpf_xdp_adjust_head(&packet.ctx, 0, (uint32_t)rows[i].offset, 0, 0, 0),
			rows[i].ret);
		EXPECT_EQ(packet.ctx.data - packet.ctx.head,
			TEST_HEADROOM + (rows[i].ret ? 0 : rows[i].offset));
		TRACE_POP();
	}
}

TEST(xdp_adjust_meta, is_aligned_and_bounded)
{
	test_packet_init(&packet, false, NULL, 64);
	EXPECT_EQ(sl_bpf_xdp_adjust_meta(&packet.ctx, 0, (uint32_t)-3, 0, 0, 0), -EACCES);
	EXPECT_EQ(sl_bpf_xdp_adjust_meta(&packet.ctx, 0, (uint32_t)-256, 0, 0, 0), -EACCES);
	EXPECT_EQ(sl_bpf_xdp_adjust_meta(&packet.ctx, 0, (uint32_t)-260, 0, 0, 0), -EINVAL);
	EXPECT_EQ(sl_bpf_xdp_adjust_meta(&packet.ctx, 0, 4, 0, 0, 0), -EINVAL);
	EXPECT_EQ(sl_bpf_xdp_adjust_meta(&packet.ctx, 0, (uint32_t)-8, 0, 0, 0), 0);
	memcpy(packet.ctx.data_meta, "metadata", 8);
	/* Moves with the packet's start. */
	EXPECT_EQ(sl_bpf_xdp_adjust_head(&packet.ctx, 0, (uint32_t)-100, 0, 0, 0), 0);
	EXPECT_EQ(packet.ctx.data - packet.ctx.data_meta, 8);
	EXPECT_MEMEQ(packet.ctx.data_meta, "metadata", 8);
	EXPECT_EQ(sl_bpf_xdp_adjust_head(&packet.ctx, 0, (uint32_t)-150, 0, 0, 0), -EINVAL);
}

TEST(xdp_adjust_tail, clears_what_it_adds)
{
	static const uint8_t zeros[100];

	test_packet_init(&packet, false, NULL, 64);
	memset(packet.ctx.data_end, 0xee, 200);
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, 100, 0, 0, 0), 0);
	EXPECT_EQ(packet.ctx.data_end - packet.ctx.data, 164);
	EXPECT_MEMEQ(packet.ctx.data + 64, zeros, 100);
	EXPECT_EQ(*packet.ctx.data_end, 0xee);
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, (uint32_t)-151, 0, 0, 0), -EINVAL);
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, sizeof(packet.buf), 0, 0, 0), -EINVAL);
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, (uint32_t)-150, 0, 0, 0), 0);
	EXPECT_EQ(sl_bpf_xdp_get_buff_len(&packet.ctx, 0, 0, 0, 0, 0), 14);
}

TEST(redirect, flags_by_program_type)
{
	test_packet_init(&packet, false, NULL, 64);
	EXPECT_EQ(sl_bpf_redirect(&packet.ctx, 7, 0, 0, 0, 0), XDP_REDIRECT);
	EXPECT_EQ(packet.run.redirect_ifindex, 7);
	EXPECT_EQ(sl_bpf_redirect(&packet.ctx, 7, BPF_F_INGRESS, 0, 0, 0), XDP_ABORTED);
	test_packet_init(&packet, true, NULL, 64);
	EXPECT_EQ(sl_bpf_redirect(&packet.ctx, 9, BPF_F_INGRESS, 0, 0, 0), 7);
	EXPECT_EQ(packet.run.redirect_ifindex, 9);
	EXPECT_EQ(packet.run.redirect_flags, BPF_F_INGRESS);
	EXPECT_EQ(sl_bpf_redirect(&packet.ctx, 9, 2, 0, 0, 0), 2);
	EXPECT_EQ(sl_bpf_clone_redirect(&packet.ctx, 0, 1, 2, 0, 0), -EINVAL);
}

/* Ethernet, IPv4, UDP; ends of the flow swapped on demand. */
static void make_udp(uint8_t *frame, bool swapped)
{
	static const uint8_t ends[2][6] = { { 10, 0, 0, 1, 0x12, 0x34 }, { 10, 0, 0, 2, 0, 53 } };

	memset(frame, 0, 64);
	frame[12] = 8;
	frame[14] = 0x45;
	frame[23] = 17;
	memcpy(frame + 26, ends[swapped], 4);
	memcpy(frame + 30, ends[!swapped], 4);
	memcpy(frame + 34, ends[swapped] + 4, 2);
	memcpy(frame + 36, ends[!swapped] + 4, 2);
}

TEST(hash, is_of_the_flow_and_symmetric)
{
	uint8_t frame[64];
	uint32_t hash;

	make_udp(frame, false);
	test_packet_init(&packet, true, frame, sizeof(frame));
	hash = sl_bpf_get_hash_recalc(&packet.ctx, 0, 0, 0, 0, 0);
	EXPECT_NE(hash, 0);
	EXPECT_EQ(packet.ctx.hash, hash);
	frame[50]++; /* payload */
	test_packet_init(&packet, true, frame, sizeof(frame));
	EXPECT_EQ(sl_bpf_get_hash_recalc(&packet.ctx, 0, 0, 0, 0, 0), hash);
	make_udp(frame, true);
	test_packet_init(&packet, true, frame, sizeof(frame));
	EXPECT_EQ(sl_bpf_get_hash_recalc(&packet.ctx, 0, 0, 0, 0, 0), hash);
	frame[37]++; /* port */
	test_packet_init(&packet, true, frame, sizeof(frame));
	EXPECT_NE(sl_bpf_get_hash_recalc(&packet.ctx, 0, 0, 0, 0, 0), hash);
	EXPECT_EQ(sl_bpf_set_hash(&packet.ctx, 0, 42, 0, 0, 0), 0);
	EXPECT_EQ(sl_bpf_get_hash_recalc(&packet.ctx, 0, 0, 0, 0, 0), 42);
	sl_bpf_set_hash_invalid(&packet.ctx, 0, 0, 0, 0, 0);
	EXPECT_EQ(packet.ctx.hash, 0);
}

TEST(prandom, differs_and_is_32_bits)
{
	uint64_t last = 0;

	test_packet_init(&packet, false, NULL, 64);
	for (int i = 0; i < 100; i++) {
		uint64_t next = sl_bpf_get_prandom_u32(&packet.ctx, 0, 0, 0, 0, 0);

		EXPECT_LE(next, UINT32_MAX);
		EXPECT_NE(next, last);
		last = next;
	}
}

TEST(context, begin_skb_reads_the_frame)
{
	static const uint8_t frame[64] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6,
		0x86, 0xdd };

	test_packet_init(&packet, true, frame, sizeof(frame));
	EXPECT_EQ(packet.ctx.protocol, 0xdd86);
	EXPECT_EQ(packet.ctx.pkt_type, 1);
	EXPECT_EQ(packet.ctx.len, 64);
	EXPECT_EQ(packet.ctx.vlan_present, 0);
	packet.mbuf.ol_flags = RTE_MBUF_F_RX_VLAN_STRIPPED | RTE_MBUF_F_RX_RSS_HASH;
	packet.mbuf.vlan_tci = 0x2005;
	packet.mbuf.hash.rss = 77;
	sl_packet_begin_skb(&packet.ctx, &packet.mbuf);
	EXPECT_EQ(packet.ctx.vlan_present, 1);
	EXPECT_EQ(packet.ctx.vlan_tci, 0x2005);
	EXPECT_EQ(packet.ctx.vlan_proto, 0x0081);
	EXPECT_EQ(packet.ctx.hash, 77);
}

/* The packet cut into three: [0, 20), [20, 23), [23, len). */
static struct rte_mbuf more[2];
static uint8_t more_bytes[2][256];

static void make_segments(bool is_skb, unsigned len)
{
	static const unsigned cuts[] = { 20, 23 };

	test_packet_init(&packet, is_skb, NULL, len);
	memset(more, 0, sizeof(more));
	for (unsigned i = 0; i < 2; i++) {
		unsigned end = i ? len : cuts[1];

		more[i].buf_addr = more_bytes[i];
		more[i].buf_len = sizeof(more_bytes[i]);
		more[i].data_len = end - cuts[i];
		memcpy(more_bytes[i], packet.ctx.data + cuts[i], more[i].data_len);
	}
	memset(packet.ctx.data + cuts[0], 0xee, len - cuts[0]);
	packet.mbuf.data_len = cuts[0];
	packet.mbuf.nb_segs = 3;
	packet.mbuf.next = &more[0];
	more[0].next = &more[1];
	if (is_skb)
		sl_packet_begin_skb(&packet.ctx, &packet.mbuf);
	else
		sl_packet_begin(&packet.ctx, &packet.mbuf);
}

static uint64_t load(unsigned offset, void *to, unsigned len)
{
	return packet.ctx.is_skb
		       ? sl_bpf_skb_load_bytes(&packet.ctx, 0, offset, (uint64_t)to, len, 0)
		       : sl_bpf_xdp_load_bytes(&packet.ctx, 0, offset, (uint64_t)to, len, 0);
}

TEST(segments, bytes_are_reached_wherever_they_lie)
{
	uint8_t bytes[65], expected[64];

	for (unsigned is_skb = 0; is_skb < 2; is_skb++) {
		make_segments(is_skb, 64);
		for (unsigned offset = 0; offset < 64; offset++) {
			for (unsigned len = 1; offset + len <= 64; len++) {
				for (unsigned i = 0; i < len; i++)
					expected[i] = offset + i;
				ASSERT_EQ(load(offset, bytes, len), 0);
				ASSERT_MEMEQ(bytes, expected, len);
			}
			EXPECT_NE(load(offset, bytes, 65 - offset), 0);
		}
	}
}

TEST(segments, stores_go_across)
{
	static const char text[] = "0123456789";
	uint8_t bytes[10];

	make_segments(true, 64);
	EXPECT_EQ(sl_bpf_skb_store_bytes(&packet.ctx, 0, 17, (uint64_t)text, 10, 0), 0);
	EXPECT_EQ(load(17, bytes, 10), 0);
	EXPECT_MEMEQ(bytes, text, 10);
	EXPECT_MEMEQ(more_bytes[0], text + 3, 3);
	EXPECT_EQ(sl_bpf_skb_store_bytes(&packet.ctx, 0, 60, (uint64_t)text, 10, 0), -EFAULT);
	EXPECT_EQ(sl_bpf_l3_csum_replace(&packet.ctx, 0, 22, 0x3635, 0x3635, 2), 0);
}

TEST(segments, pull_makes_bytes_linear)
{
	make_segments(true, 64);
	EXPECT_EQ(sl_bpf_skb_pull_data(&packet.ctx, 0, 65, 0, 0, 0), -ENOMEM);
	EXPECT_EQ(sl_bpf_skb_pull_data(&packet.ctx, 0, 0, 0, 0, 0), 0);
	EXPECT_EQ(packet.ctx.data_end - packet.ctx.data, 20);
	EXPECT_EQ(sl_bpf_skb_pull_data(&packet.ctx, 0, 30, 0, 0, 0), 0);
	EXPECT_EQ(packet.ctx.data_end - packet.ctx.data, 30);
	EXPECT_EQ(packet.mbuf.nb_segs, 2);
	EXPECT_EQ(packet.ctx.len, 64);
	for (unsigned i = 0; i < 30; i++)
		EXPECT_EQ(packet.ctx.data[i], i);
	sl_packet_end(&packet.ctx);
	EXPECT_EQ(packet.mbuf.pkt_len, 64);
	EXPECT_EQ(sl_bpf_skb_change_tail(&packet.ctx, 0, 70, 0, 0, 0), 0);
	EXPECT_EQ(packet.mbuf.nb_segs, 1);
	EXPECT_EQ(packet.ctx.data_end - packet.ctx.data, 70);
	EXPECT_EQ(packet.ctx.data[63], 63);
	EXPECT_EQ(packet.ctx.data[64], 0);
	sl_packet_end(&packet.ctx);
	EXPECT_EQ(packet.mbuf.pkt_len, 70);
}

/* What others see as well, or is no segment of its own, is not written to. */
TEST(segments, xdp_grows_the_last)
{
	make_segments(false, 64);
	more[1].refcnt = 1;
	more[1].buf_len = more[1].data_off + more[1].data_len + 5;
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, 6, 0, 0, 0), -EINVAL);
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, 2, 0, 0, 0), 0);
	EXPECT_EQ(sl_bpf_xdp_get_buff_len(&packet.ctx, 0, 0, 0, 0, 0), 66);
	more[1].refcnt = 2;
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, 1, 0, 0, 0), -EINVAL);
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, 0, 0, 0, 0), 0);
	more[1].refcnt = 1;
	more[1].ol_flags = RTE_MBUF_F_INDIRECT;
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, 1, 0, 0, 0), -EINVAL);
	more[1].ol_flags = 0;
	EXPECT_EQ(sl_bpf_xdp_get_buff_len(&packet.ctx, 0, 0, 0, 0, 0), 66);
}

TEST(segments, xdp_shrinks_from_the_last)
{
	make_segments(false, 64);
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, (uint32_t)-51, 0, 0, 0), -EINVAL);
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, (uint32_t)-42, 0, 0, 0), 0);
	EXPECT_EQ(packet.mbuf.nb_segs, 2);
	EXPECT_EQ(sl_bpf_xdp_get_buff_len(&packet.ctx, 0, 0, 0, 0, 0), 22);
	EXPECT_EQ(sl_bpf_xdp_adjust_tail(&packet.ctx, 0, (uint32_t)-8, 0, 0, 0), 0);
	EXPECT_EQ(packet.mbuf.nb_segs, 1);
	EXPECT_EQ(packet.ctx.data_end - packet.ctx.data, 14);
	sl_packet_end(&packet.ctx);
	EXPECT_EQ(packet.mbuf.pkt_len, 14);
}

/* The verifier lets a pointer that may be NULL through together with any size. */
TEST(null_memory, is_nothing_whatever_its_size)
{
	test_packet_init(&packet, true, NULL, 64);
	EXPECT_EQ(sl_bpf_csum_diff(&packet.ctx, 0, 8, 0, 8, 0x1234),
		sl_bpf_csum_diff(&packet.ctx, 0, 0, 0, 0, 0x1234));
	EXPECT_EQ(
		sl_bpf_redirect_neigh(&packet.ctx, 1, 0, sizeof(struct bpf_redir_neigh), 0, 0), 2);
	EXPECT_EQ(sl_bpf_trace_vprintk(&packet.ctx, (uint64_t)"%d", 3, 0, 8, 0), (uint64_t)-EINVAL);
}
