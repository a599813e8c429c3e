#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "bed.h"
#include "context.h"
#include "tap_ring.h"
#include "test.h"

/* Taps: who is shown what, what becomes of it, and that nobody waits. */

/* What the filter saw last, by whether the packet came or went. */
static struct seen {
	unsigned calls;
	uint32_t len, pkt_type, ifindex, ingress_ifindex, vlan_present, vlan_tci, vlan_proto,
		protocol;
	uint32_t cb;
	uint8_t first_payload;
} seen[2];

static uint32_t verdict_bytes; /* what the filter returns */

static uint64_t filter(struct sl_ctx *ctx, uint64_t tail_calls)
{
	struct seen *s = &seen[ctx->pkt_type == PACKET_OUTGOING];

	*s = (struct seen){ .calls = s->calls + 1,
		.len = ctx->len,
		.pkt_type = ctx->pkt_type,
		.ifindex = ctx->ifindex,
		.ingress_ifindex = ctx->ingress_ifindex,
		.vlan_present = ctx->vlan_present,
		.vlan_tci = ctx->vlan_tci,
		.vlan_proto = ctx->vlan_proto,
		.protocol = ctx->protocol,
		.cb = ctx->cb[0],
		.first_payload = ctx->data[PAYLOAD] };
	ctx->cb[0] = 77;
	return verdict_bytes;
}

static uint32_t cb_at_tc;

static uint64_t classify(struct sl_ctx *ctx, uint64_t tail_calls)
{
	cb_at_tc = ctx->cb[0];
	ctx->cb[0] = 5;
	return TC_ACT_OK;
}

/* The verdict that the frame asks for. */
static uint64_t xdp(struct sl_ctx *ctx, uint64_t tail_calls)
{
	return ctx->data[PAYLOAD];
}

static int add_tap(struct ring_port *port, uint32_t ring_bytes, uint32_t *ret_tap)
{
	const struct sluice_tap_options options = { .ring_bytes = ring_bytes };
	int fd = stand_in_fd(BPF_PROG_TYPE_SOCKET_FILTER, filter);
	int err = sluice_tap_add(port->ifindex, fd, &options, ret_tap);

	close(fd);
	return err;
}

/* The last packet read, and how many. */
struct reading {
	unsigned count, outgoing;
	uint32_t captured, len;
	uint8_t data[FRAME * 2];
};

static void note(const struct sluice_tap_packet *packet, void *arg)
{
	struct reading *r = arg;

	r->count++;
	r->outgoing += packet->outgoing;
	r->captured = packet->captured;
	r->len = packet->len;
	memcpy(r->data, packet->data,
		packet->captured < sizeof(r->data) ? packet->captured : sizeof(r->data));
	EXPECT_TRUE(packet->time_ns > 1600000000ull * 1000000000ull);
}

static struct sluice_tap_counters counters_of_tap(uint32_t tap)
{
	struct sluice_tap_counters c = { 0 };

	EXPECT_EQ(0, sluice_tap_counters(tap, &c));
	return c;
}

static void begin(struct bed *bed)
{
	memset(seen, 0, sizeof(seen));
	verdict_bytes = 20;
	cb_at_tc = 0;
	if (!bed_open(bed, 2))
		sl_test_fail(__FILE__, __LINE__, "no ports");
}

TEST(tap, sees_what_comes_and_what_goes)
{
	struct bed bed;
	struct reading r = { 0 };
	uint32_t in, out;

	begin(&bed);
	ASSERT_EQ(0, sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex));
	ASSERT_EQ(0, add_tap(&bed.a, 1, &in));
	ASSERT_EQ(0, add_tap(&bed.b, 1, &out));
	send_one(&bed, frame_of(XDP_PASS, 0));
	EXPECT_EQ(1, seen[0].calls);
	EXPECT_EQ(FRAME, seen[0].len);
	EXPECT_EQ(PACKET_OTHERHOST, seen[0].pkt_type);
	EXPECT_EQ(bed.a.ifindex, seen[0].ifindex);
	EXPECT_EQ(bed.a.ifindex, seen[0].ingress_ifindex);
	EXPECT_EQ(htons(0x88b5), seen[0].protocol);
	EXPECT_EQ(1, seen[1].calls);
	EXPECT_EQ(bed.b.ifindex, seen[1].ifindex);
	EXPECT_EQ(bed.a.ifindex, seen[1].ingress_ifindex);
	EXPECT_EQ(1, sluice_tap_read(in, 100, note, &r));
	EXPECT_EQ(0, r.outgoing);
	EXPECT_EQ(20, r.captured);
	EXPECT_EQ(FRAME, r.len);
	EXPECT_MEMEQ(frame_of(XDP_PASS, 0).bytes, r.data, 20);
	EXPECT_EQ(1, sluice_tap_read(out, 100, note, &r));
	EXPECT_EQ(1, r.outgoing);
	EXPECT_EQ(0, sluice_tap_read(out, 100, note, &r));
	EXPECT_EQ(0, sluice_tap_del(in));
	EXPECT_EQ(0, sluice_tap_del(out));
	send_one(&bed, frame_of(XDP_PASS, 0));
	EXPECT_EQ(1, seen[0].calls);
	bed_close(&bed);
}

TEST(tap, sees_no_packet_that_xdp_takes)
{
	static const uint8_t verdicts[] = { XDP_DROP, XDP_ABORTED, XDP_TX };
	struct bed bed;
	uint32_t tap;

	begin(&bed);
	ASSERT_EQ(0, attach_xdp(&bed.a, xdp));
	ASSERT_EQ(0, add_tap(&bed.a, 1, &tap));
	for (unsigned i = 0; i < sizeof(verdicts); i++)
		send_one(&bed, frame_of(verdicts[i], 0));
	EXPECT_EQ(0, counters_of_tap(tap).seen);
	send_one(&bed, frame_of(XDP_PASS, 0));
	EXPECT_EQ(1, counters_of_tap(tap).seen);
	EXPECT_EQ(0, sluice_tap_del(tap));
	bed_close(&bed);
}

TEST(tap, keeps_as_much_as_the_program_says)
{
	static const struct {
		uint32_t verdict, kept;
	} rows[] = { { 0, 0 }, { 1, 1 }, { FRAME, FRAME }, { FRAME + 1, FRAME },
		{ UINT32_MAX, FRAME } };
	struct bed bed;
	uint32_t tap;

	begin(&bed);
	ASSERT_EQ(0, add_tap(&bed.a, 1, &tap));
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct reading r = { 0 };

		verdict_bytes = rows[i].verdict;
		send_one(&bed, frame_of(0, (uint8_t)i));
		EXPECT_EQ(rows[i].kept != 0, sluice_tap_read(tap, 10, note, &r));
		EXPECT_EQ(rows[i].kept, r.captured);
	}
	EXPECT_EQ(5, counters_of_tap(tap).seen);
	EXPECT_EQ(4, counters_of_tap(tap).accepted);
	EXPECT_EQ(1 + 3 * FRAME, counters_of_tap(tap).bytes);
	EXPECT_EQ(0, sluice_tap_del(tap));
	bed_close(&bed);
}

TEST(tap, a_full_ring_loses_and_counts)
{
	struct bed bed;
	struct reading r = { 0 };
	uint32_t tap, counting;
	struct frame f = frame_of(0, 0);

	begin(&bed);
	verdict_bytes = FRAME;
	ASSERT_EQ(0, add_tap(&bed.a, 1, &tap));
	ASSERT_EQ(0, add_tap(&bed.a, 0, &counting));
	ring_send(&bed.a, f.bytes, FRAME, 3000);
	settle(&bed.a, 3000);
	EXPECT_EQ(3000, counters_of_tap(tap).accepted);
	/* 64 KiB of records of 32 + 64 bytes. */
	EXPECT_EQ(3000 - (1 << 16) / 96, counters_of_tap(tap).lost);
	while (sluice_tap_read(tap, 100, note, &r) > 0)
		;
	EXPECT_EQ((1 << 16) / 96, r.count);
	ring_send(&bed.a, f.bytes, FRAME, 500);
	settle(&bed.a, 3500);
	EXPECT_EQ(500, sluice_tap_read(tap, 1000, note, &r));
	EXPECT_EQ(3500, counters_of_tap(counting).accepted);
	EXPECT_EQ(0, counters_of_tap(counting).lost);
	EXPECT_EQ(0, sluice_tap_read(counting, 100, note, &r));
	EXPECT_EQ(0, sluice_tap_del(tap));
	EXPECT_EQ(0, sluice_tap_del(counting));
	bed_close(&bed);
}

TEST(tap, a_tag_is_metadata_and_comes_back)
{
	struct bed bed;
	struct reading r = { 0 };
	struct frame f = frame_of(0, 0);
	uint32_t tap;

	begin(&bed);
	verdict_bytes = FRAME;
	memcpy(f.bytes + 12, "\x81\x00\x20\x2a\x88\xb5", 6);
	ASSERT_EQ(0, add_tap(&bed.a, 1, &tap));
	send_one(&bed, f);
	EXPECT_EQ(1, seen[0].vlan_present);
	EXPECT_EQ(0x202a, seen[0].vlan_tci);
	EXPECT_EQ(htons(0x8100), seen[0].vlan_proto);
	EXPECT_EQ(htons(0x88b5), seen[0].protocol);
	EXPECT_EQ(FRAME - 4, seen[0].len);
	EXPECT_EQ(1, sluice_tap_read(tap, 10, note, &r));
	EXPECT_EQ(FRAME, r.captured);
	EXPECT_EQ(FRAME, r.len);
	EXPECT_MEMEQ(f.bytes, r.data, FRAME);
	EXPECT_EQ(0, sluice_tap_del(tap));
	bed_close(&bed);
}

TEST(tap, programs_do_not_meet_in_the_control_block)
{
	struct bed bed;
	uint32_t tap, out;

	begin(&bed);
	ASSERT_EQ(0, sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex));
	ASSERT_EQ(0, add_tap(&bed.a, 0, &tap));
	ASSERT_EQ(0, add_tap(&bed.b, 0, &out));
	ASSERT_EQ(0, attach_tc(&bed.a, SLUICE_TC_INGRESS, classify));
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(0, cb_at_tc);
	EXPECT_EQ(0, seen[1].cb);
	EXPECT_EQ(0, sluice_tap_del(tap));
	EXPECT_EQ(0, sluice_tap_del(out));
	bed_close(&bed);
}

TEST(tap, errors)
{
	struct bed bed;
	uint32_t all[SLUICE_TAPS + 1], id = 0;
	struct sluice_tap_counters c;
	unsigned n = 0;
	int fd, err = 0;

	begin(&bed);
	fd = stand_in_fd(BPF_PROG_TYPE_SCHED_CLS, filter);
	EXPECT_EQ(-EINVAL, sluice_tap_add(bed.a.ifindex, fd, NULL, &id));
	EXPECT_EQ(-EBADF, sluice_tap_add(bed.a.ifindex, -1, NULL, &id));
	close(fd);
	EXPECT_EQ(-ENODEV, add_tap(&(struct ring_port){ .ifindex = 31 }, 0, &id));
	EXPECT_EQ(-E2BIG, add_tap(&bed.a, UINT32_MAX, &id));
	EXPECT_EQ(-ENOENT, sluice_tap_del(1));
	EXPECT_EQ(-ENOENT, sluice_tap_counters(0, &c));
	EXPECT_EQ(-ENOENT, sluice_tap_read(SLUICE_TAPS + 1, 1, note, NULL));
	while (!err && n <= SLUICE_TAPS)
		err = add_tap(&bed.a, 0, &all[n++]);
	EXPECT_EQ(-ENOSPC, err);
	EXPECT_EQ(SLUICE_TAPS + 1, n);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(SLUICE_TAPS, seen[0].calls);
	for (unsigned i = 0; i < SLUICE_TAPS; i++)
		EXPECT_EQ(0, sluice_tap_del(all[i]));
	bed_close(&bed);
}

/* Comes and goes while packets flow, and outlives its port. */
TEST(tap, comes_and_goes_under_traffic)
{
	struct bed bed;
	struct reading r = { 0 };
	struct frame f = frame_of(0, 0);
	uint32_t tap;

	begin(&bed);
	for (unsigned i = 0; i < 50; i++) {
		ring_send(&bed.a, f.bytes, FRAME, 100);
		ASSERT_EQ(0, add_tap(&bed.a, 1, &tap));
		ring_send(&bed.a, f.bytes, FRAME, 100);
		EXPECT_EQ(0, sluice_tap_del(tap));
	}
	settle(&bed.a, 50 * 200);
	ASSERT_EQ(0, add_tap(&bed.a, 1, &tap));
	send_one(&bed, f);
	sluice_workers_stop();
	ring_port_close(&bed.a);
	EXPECT_EQ(1, sluice_tap_read(tap, 10, note, &r));
	EXPECT_EQ(0, sluice_tap_del(tap));
	ring_port_close(&bed.b);
	EXPECT_EQ(0, stand_in_wait(0));
}

enum { RECORDS = 30000 };

static void *produce(void *arg)
{
	struct sl_tap_ring *ring = arg;
	unsigned state = 1;

	for (uint32_t i = 0; i < RECORDS;) {
		uint32_t len = state % 1500;
		struct sl_tap_record *record = sl_tap_ring_reserve(ring, len);

		if (!record) {
			sched_yield();
			continue;
		}
		record->len = i++;
		memset(record + 1, (uint8_t)i, len);
		sl_tap_ring_publish(ring, record);
		state = state * 1103515245 + 12345;
	}
	return NULL;
}

TEST(tap_ring, keeps_order_and_bytes_between_two_threads)
{
	struct sl_tap_ring *ring = sl_tap_ring_new(1 << 13);
	unsigned state = 1, wrong = 0;
	pthread_t thread;

	ASSERT_TRUE(ring != NULL);
	ASSERT_EQ(0, pthread_create(&thread, NULL, produce, ring));
	for (uint32_t i = 0; i < RECORDS;) {
		const struct sl_tap_record *record = sl_tap_ring_peek(ring);
		const uint8_t *bytes = (const uint8_t *)(record + 1);

		if (!record) {
			sched_yield();
			continue;
		}
		wrong += record->captured != state % 1500 || record->len != i++;
		for (uint32_t b = 0; b < record->captured; b += 97)
			wrong += bytes[b] != (uint8_t)i;
		state = state * 1103515245 + 12345;
		sl_tap_ring_release(ring, record);
	}
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(sl_tap_ring_peek(ring) == NULL);
	EXPECT_TRUE(sl_tap_ring_reserve(ring, 1 << 13) == NULL);
	pthread_join(thread, NULL);
	sl_tap_ring_free(ring);
}
