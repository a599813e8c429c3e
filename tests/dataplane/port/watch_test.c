#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <sluice/observe.h>

#include "bed.h"
#include "context.h"
#include "test.h"

/* Watches: who sees which packet where, what is said of it, and that no worker waits for a reader. */

enum { RECORDS = 64, SMALL_RING = 1 << 16 };

#define POINT(id) (1u << SLUICE_POINT_##id)

static uint64_t obey(struct sl_ctx *ctx, uint64_t tail_calls)
{
	return ctx->data[PAYLOAD];
}

/* The second byte of the payload tells TC. */
static uint64_t obey_tc(struct sl_ctx *ctx, uint64_t tail_calls)
{
	return ctx->data[PAYLOAD + 1];
}

/* What XDP does shows in the packet afterwards. */
static uint64_t obey_and_mark(struct sl_ctx *ctx, uint64_t tail_calls)
{
	uint64_t verdict = ctx->data[PAYLOAD];

	ctx->data[PAYLOAD + 2] = 0xee;
	return verdict;
}

static uint64_t odd_ones(struct sl_ctx *ctx, uint64_t tail_calls)
{
	return ctx->data[PAYLOAD + 3] & 1 ? 20 : 0;
}

struct seen {
	struct sluice_record record;
	uint8_t data[FRAME];
	uint16_t steps;
	struct sluice_step step[SLUICE_WATCH_STEPS];
};

struct reading {
	unsigned count;
	struct seen seen[RECORDS];
};

static int open_watch(struct sluice_watch_options options, struct sluice_watch **ret_watch)
{
	int fd, err;

	options.raw_filter_fd = -1;
	if (!options.filter_fd)
		options.filter_fd = -1;
	err = sluice_watch_open(&options, &fd);
	if (err)
		return err;
	err = sluice_watch_map(fd, ret_watch);
	close(fd);
	return err;
}

static void read_all(struct sluice_watch *watch, struct reading *r)
{
	const struct sluice_record *record;
	const struct sluice_path *path;
	const uint8_t *data;

	r->count = 0;
	while ((record = sluice_watch_next(watch, &path, &data))) {
		struct seen *s = &r->seen[r->count % RECORDS];

		s->record = *record;
		memcpy(s->data, data, record->captured < FRAME ? record->captured : FRAME);
		s->steps = path ? path->count : 0;
		if (path)
			memcpy(s->step, path->steps, path->count * sizeof(s->step[0]));
		r->count++;
	}
}

/* The one record at a point; NULL without, or with more. */
static const struct seen *at(const struct reading *r, enum sluice_point point)
{
	const struct seen *found = NULL;

	for (unsigned i = 0; i < r->count && i < RECORDS; i++) {
		if (r->seen[i].record.point != point)
			continue;
		EXPECT_TRUE(!found);
		found = &r->seen[i];
	}
	return found;
}

static bool begin(struct bed *bed)
{
	if (bed_open(bed, 2))
		return true;
	sl_test_fail(__FILE__, __LINE__, "no ports");
	return false;
}

TEST(watch, shows_a_packet_at_every_point_of_its_way)
{
	struct sluice_watch *watch;
	struct reading r;
	struct bed bed;

	ASSERT_TRUE(begin(&bed));
	ASSERT_EQ(0, attach_xdp(&bed.a, obey_and_mark));
	ASSERT_EQ(0, attach_tc(&bed.a, SLUICE_TC_INGRESS, obey_tc));
	ASSERT_EQ(0, sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex));
	ASSERT_EQ(0, open_watch((struct sluice_watch_options){ .points = 0xff }, &watch));
	send_one(&bed, frame_of(XDP_PASS, TC_ACT_OK));
	read_all(watch, &r);
	EXPECT_EQ(6, r.count);
	for (unsigned i = 0; i < r.count; i++)
		EXPECT_EQ(FRAME, r.seen[i].record.captured);
	ASSERT_TRUE(at(&r, SLUICE_POINT_RX) && at(&r, SLUICE_POINT_XDP_EXIT) &&
		    at(&r, SLUICE_POINT_INGRESS) && at(&r, SLUICE_POINT_INGRESS_EXIT) &&
		    at(&r, SLUICE_POINT_EGRESS) && at(&r, SLUICE_POINT_TX));
	EXPECT_MEMEQ(frame_of(XDP_PASS, TC_ACT_OK).bytes, at(&r, SLUICE_POINT_RX)->data, FRAME);
	EXPECT_EQ(SLUICE_RECORD_VERDICT, at(&r, SLUICE_POINT_RX)->record.flags);
	EXPECT_EQ(XDP_PASS, at(&r, SLUICE_POINT_RX)->record.verdict);
	EXPECT_EQ(0xee, at(&r, SLUICE_POINT_XDP_EXIT)->data[PAYLOAD + 2]);
	EXPECT_EQ(XDP_PASS, at(&r, SLUICE_POINT_XDP_EXIT)->record.verdict);
	EXPECT_EQ(SLUICE_RECORD_VERDICT, at(&r, SLUICE_POINT_INGRESS)->record.flags);
	EXPECT_EQ(TC_ACT_OK, at(&r, SLUICE_POINT_INGRESS)->record.verdict);
	EXPECT_EQ(TC_ACT_OK, at(&r, SLUICE_POINT_INGRESS_EXIT)->record.verdict);
	/* Nobody decides there. */
	EXPECT_EQ(0, at(&r, SLUICE_POINT_EGRESS)->record.flags);
	EXPECT_EQ(bed.b.ifindex, at(&r, SLUICE_POINT_EGRESS)->record.ifindex);
	EXPECT_EQ(bed.b.ifindex, at(&r, SLUICE_POINT_TX)->record.ifindex);
	EXPECT_EQ(0, at(&r, SLUICE_POINT_TX)->record.flags);
	sluice_watch_unmap(watch);
	bed_close(&bed);
}

TEST(watch, gives_each_packet_its_own_verdict_and_drops_their_reason)
{
	static const uint8_t verdicts[] = { XDP_PASS, XDP_DROP, XDP_TX, XDP_ABORTED, 77, XDP_DROP,
		XDP_REDIRECT, XDP_PASS };
	static const struct {
		uint8_t xdp, tc;
		enum sluice_counter reason;
	} rows[] = {
		{ XDP_DROP, 0, SLUICE_XDP_DROP },
		{ XDP_ABORTED, 0, SLUICE_XDP_ABORTED },
		{ 99, 0, SLUICE_XDP_INVALID },
		{ XDP_REDIRECT, 0, SLUICE_NO_PORT },
		{ XDP_PASS, TC_ACT_SHOT, SLUICE_INGRESS_SHOT },
		{ XDP_PASS, TC_ACT_STOLEN, SLUICE_INGRESS_STOLEN },
		{ XDP_PASS, TC_ACT_REDIRECT, SLUICE_NO_PORT },
	};
	struct sluice_watch *watch, *drops;
	struct reading r;
	struct bed bed;

	ASSERT_TRUE(begin(&bed));
	ASSERT_EQ(0, attach_xdp(&bed.a, obey));
	ASSERT_EQ(0, attach_tc(&bed.a, SLUICE_TC_INGRESS, obey_tc));
	ASSERT_EQ(0, open_watch((struct sluice_watch_options){ 0 }, &watch));
	ASSERT_EQ(0, open_watch((struct sluice_watch_options){ .points = POINT(DROP),
					.ifindex = bed.a.ifindex },
			     &drops));
	/* All at once, so that they come in one burst. */
	sluice_workers_stop();
	for (unsigned i = 0; i < sizeof(verdicts); i++)
		ring_send(&bed.a, frame_of(verdicts[i], 0).bytes, FRAME, 1);
	EXPECT_EQ(0, sluice_workers_start());
	settle(&bed.a, sizeof(verdicts));
	read_all(watch, &r);
	EXPECT_EQ(sizeof(verdicts), r.count);
	for (unsigned i = 0; i < r.count && i < sizeof(verdicts); i++) {
		EXPECT_EQ(verdicts[i], r.seen[i].record.verdict);
		EXPECT_EQ(verdicts[i], r.seen[i].data[PAYLOAD]);
		EXPECT_EQ(bed.a.ifindex, r.seen[i].record.ifindex);
	}
	read_all(drops, &r);
	EXPECT_EQ(5, r.count);
	for (unsigned i = 0; i < sl_array_size(rows); i++) {
		send_one(&bed, frame_of(rows[i].xdp, rows[i].tc));
		read_all(drops, &r);
		sl_test_trace_push(__FILE__, __LINE__, "row %u", i);
		EXPECT_EQ(1, r.count);
		EXPECT_EQ(SLUICE_POINT_DROP, r.seen[0].record.point);
		EXPECT_EQ(rows[i].reason, r.seen[0].record.reason);
		sl_test_trace_pop();
	}
	sluice_watch_unmap(watch);
	sluice_watch_unmap(drops);
	bed_close(&bed);
}

TEST(watch, shows_only_what_the_filter_and_the_length_let_through)
{
	struct sluice_watch_options options = { .snaplen = 16 };
	struct sluice_watch_counts counts;
	struct sluice_watch *watch;
	struct frame f = frame_of(XDP_PASS, 0);
	struct reading r;
	struct bed bed;
	int xdp;

	ASSERT_TRUE(begin(&bed));
	options.filter_fd = stand_in_fd(BPF_PROG_TYPE_SOCKET_FILTER, odd_ones);
	ASSERT_EQ(0, open_watch(options, &watch));
	close(options.filter_fd);
	for (unsigned i = 0; i < 10; i++) {
		f.bytes[PAYLOAD + 3] = (uint8_t)i;
		send_one(&bed, f);
	}
	read_all(watch, &r);
	EXPECT_EQ(5, r.count);
	for (unsigned i = 0; i < r.count; i++) {
		EXPECT_EQ(16, r.seen[i].record.captured);
		EXPECT_EQ(FRAME, r.seen[i].record.len);
		EXPECT_EQ(0, r.seen[i].record.flags);
	}
	sluice_watch_counts(watch, bed.a.ifindex, SLUICE_POINT_RX, &counts);
	EXPECT_EQ(10, counts.seen);
	EXPECT_EQ(5, counts.matched);
	EXPECT_EQ(0, counts.lost);
	sluice_watch_counts(watch, bed.b.ifindex, SLUICE_POINT_RX, &counts);
	EXPECT_EQ(0, counts.seen);
	sluice_watch_unmap(watch);
	xdp = stand_in_fd(BPF_PROG_TYPE_XDP, obey);
	options.filter_fd = xdp;
	EXPECT_EQ(-EINVAL, open_watch(options, &watch));
	close(xdp);
	bed_close(&bed);
}

TEST(watch, puts_a_vlan_tag_back_for_the_reader)
{
	static const uint8_t tag[] = { 0x81, 0x00, 0x30, 0x07 };
	struct sluice_watch *watch;
	uint8_t frame[FRAME + 4];
	struct reading r;
	struct bed bed;

	ASSERT_TRUE(begin(&bed));
	ASSERT_EQ(0, attach_tc(&bed.a, SLUICE_TC_INGRESS, obey_tc));
	ASSERT_EQ(0, sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex));
	ASSERT_EQ(
		0, open_watch((struct sluice_watch_options){ .points = POINT(INGRESS) | POINT(TX) },
			   &watch));
	memcpy(frame, frame_of(0, TC_ACT_OK).bytes, 12);
	memcpy(frame + 12, tag, sizeof(tag));
	memcpy(frame + 16, frame_of(0, TC_ACT_OK).bytes + 12, FRAME - 12);
	ring_send(&bed.a, frame, sizeof(frame), 1);
	settle(&bed.a, 1);
	read_all(watch, &r);
	EXPECT_EQ(2, r.count);
	for (unsigned i = 0; i < r.count; i++) {
		EXPECT_EQ(sizeof(frame), r.seen[i].record.len);
		EXPECT_MEMEQ(frame, r.seen[i].data, FRAME);
	}
	sluice_watch_unmap(watch);
	bed_close(&bed);
}

static unsigned ends_of(const struct seen *s, enum sluice_counter counter)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->steps; i++)
		if (s->step[i].kind == SLUICE_STEP_COUNT && s->step[i].value == (int)counter)
			n += s->step[i].id;
	return n;
}

TEST(watch, tells_a_packets_path)
{
	struct sluice_watch *watch;
	const struct seen *s;
	struct reading r;
	struct bed bed;

	ASSERT_TRUE(begin(&bed));
	ASSERT_EQ(0, attach_xdp(&bed.a, obey));
	ASSERT_EQ(0, attach_tc(&bed.a, SLUICE_TC_INGRESS, obey_tc));
	ASSERT_EQ(0, attach_tc(&bed.b, SLUICE_TC_EGRESS, obey_tc));
	ASSERT_EQ(0, sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex));
	ASSERT_EQ(0, open_watch((struct sluice_watch_options){ .paths = true }, &watch));
	send_one(&bed, frame_of(XDP_PASS, TC_ACT_OK));
	read_all(watch, &r);
	ASSERT_EQ(1, r.count);
	s = &r.seen[0];
	EXPECT_EQ(SLUICE_RECORD_PATH, s->record.kind);
	EXPECT_EQ(FRAME, s->record.captured);
	ASSERT_EQ(7, s->steps);
	for (unsigned i = 0; i < 3; i++) {
		EXPECT_EQ(SLUICE_STEP_RUN, s->step[2 * i].kind);
		EXPECT_EQ(i, s->step[2 * i].hook);
		EXPECT_EQ(i == 2 ? bed.b.ifindex : bed.a.ifindex, s->step[2 * i].ifindex);
		EXPECT_EQ(i ? TC_ACT_OK : XDP_PASS, s->step[2 * i].value);
		EXPECT_EQ(SLUICE_STEP_VERDICT, s->step[2 * i + 1].kind);
		EXPECT_EQ(i ? TC_ACT_OK : XDP_PASS, s->step[2 * i + 1].value);
	}
	EXPECT_EQ(SLUICE_STEP_COUNT, s->step[6].kind);
	EXPECT_EQ(SLUICE_TX, s->step[6].value);
	EXPECT_EQ(bed.b.ifindex, s->step[6].ifindex);
	send_one(&bed, frame_of(XDP_DROP, 0));
	read_all(watch, &r);
	ASSERT_EQ(1, r.count);
	EXPECT_EQ(3, r.seen[0].steps);
	EXPECT_EQ(1, ends_of(&r.seen[0], SLUICE_XDP_DROP));
	sluice_watch_unmap(watch);
	bed_close(&bed);
}

/* Every packet has exactly one end, whatever else a worker is busy with. */
static void check_path(const struct sluice_record *record, const struct sluice_path *path)
{
	int64_t ends = 0;

	for (unsigned i = 0; i < path->count; i++) {
		enum sluice_counter counter = (enum sluice_counter)path->steps[i].value;

		if (path->steps[i].kind != SLUICE_STEP_COUNT)
			continue;
		if (sluice_counter_kind(counter) == SLUICE_KIND_OUT ||
			counter == SLUICE_HANDED_OVER)
			ends += path->steps[i].id;
	}
	EXPECT_EQ(1, ends);
	EXPECT_EQ(FRAME, record->len);
}

TEST(watch, under_load_counts_what_it_saw_and_loses_no_packet)
{
	enum { SENT = 40000 };
	struct sluice_watch *paths, *packets, *full;
	struct sluice_watch_counts counts;
	const struct sluice_record *record;
	const struct sluice_path *path;
	uint64_t read_paths = 0, read_packets = 0, lost = 0;
	const uint8_t *data;
	struct bed bed;

	ASSERT_TRUE(begin(&bed));
	ASSERT_EQ(0, attach_xdp(&bed.a, obey));
	ASSERT_EQ(0, attach_xdp(&bed.b, obey));
	ASSERT_EQ(0, sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex));
	ASSERT_EQ(
		0, open_watch((struct sluice_watch_options){ .paths = true, .sample = 7 }, &paths));
	ASSERT_EQ(
		0, open_watch((struct sluice_watch_options){ .ring_bytes = SMALL_RING }, &packets));
	/* Its reader never comes. */
	ASSERT_EQ(0, open_watch((struct sluice_watch_options){ .ring_bytes = SMALL_RING,
					.points = 0xff },
			     &full));
	for (unsigned i = 0; i < SENT / 2; i += 20) {
		ring_send(&bed.a, frame_of(i % 3 ? XDP_PASS : XDP_DROP, 0).bytes, FRAME, 20);
		ring_send(&bed.b, frame_of(i % 3 ? XDP_TX : XDP_DROP, 0).bytes, FRAME, 20);
		while ((record = sluice_watch_next(paths, &path, &data))) {
			check_path(record, path);
			read_paths++;
		}
		for (unsigned n = 0; n < 25 && (record = sluice_watch_next(packets, &path, &data));
			n++) {
			read_packets++;
			lost += record->lost;
		}
		ring_receive_all(&bed.b);
	}
	settle(&bed.a, SENT / 2);
	settle(&bed.b, SENT / 2);
	while ((record = sluice_watch_next(packets, &path, &data))) {
		read_packets++;
		lost += record->lost;
	}
	while (sluice_watch_next(paths, &path, &data))
		read_paths++;
	sluice_watch_counts(packets, 0, SLUICE_POINT_RX, &counts);
	EXPECT_EQ(SENT, counts.seen);
	EXPECT_EQ(SENT, counts.matched);
	EXPECT_TRUE(counts.lost > 0);
	EXPECT_EQ(SENT, counts.lost + read_packets);
	EXPECT_TRUE(lost <= counts.lost);
	sluice_watch_counts(paths, 0, SLUICE_POINT_RX, &counts);
	EXPECT_EQ(SENT, counts.seen);
	EXPECT_EQ(counts.matched - counts.lost, read_paths);
	EXPECT_TRUE(counts.matched >= SENT / 7 && counts.matched <= SENT / 7 + 2);
	sluice_watch_counts(full, 0, SLUICE_POINT_COUNT, &counts);
	EXPECT_TRUE(counts.lost > SENT);
	EXPECT_EQ(SENT, counter_of(&bed.a, SLUICE_RX) + counter_of(&bed.b, SLUICE_RX));
	EXPECT_EQ(sum_of(SLUICE_KIND_IN), sum_of(SLUICE_KIND_OUT));
	sluice_watch_unmap(paths);
	sluice_watch_unmap(packets);
	sluice_watch_unmap(full);
	bed_close(&bed);
}

/* Whether a watch can be opened: they are limited, and each of ours is gone a moment after its end. */
static int open_soon(struct sluice_watch **ret_watch)
{
	int err = 0;

	for (unsigned i = 0; i < 1000; i++) {
		err = open_watch((struct sluice_watch_options){ .ring_bytes = 1 }, ret_watch);
		if (err != -ENOSPC)
			break;
		usleep(1000);
	}
	return err;
}

TEST(watch, ends_with_the_last_copy_of_its_descriptor)
{
	struct sluice_watch *watches[SLUICE_WATCHES], *more;
	struct bed bed;
	int status, fd = -1;
	pid_t child;

	ASSERT_TRUE(begin(&bed));
	for (unsigned i = 0; i < SLUICE_WATCHES; i++)
		ASSERT_EQ(0, open_soon(&watches[i]));
	EXPECT_EQ(-ENOSPC, open_watch((struct sluice_watch_options){ .ring_bytes = 1 }, &more));
	sluice_watch_unmap(watches[0]);
	ASSERT_EQ(0, open_soon(&watches[0]));
	sluice_watch_unmap(watches[0]);
	/* A reader that holds the only copy and is killed. */
	for (unsigned i = 0; i < 1000; i++) {
		const struct sluice_watch_options options = { .filter_fd = -1,
			.raw_filter_fd = -1 };

		if (sluice_watch_open(&options, &fd) == 0)
			break;
		usleep(1000);
	}
	ASSERT_TRUE(fd >= 0);
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	close(fd);
	EXPECT_EQ(-ENOSPC, open_watch((struct sluice_watch_options){ .ring_bytes = 1 }, &more));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	ASSERT_EQ(0, open_soon(&watches[0]));
	send_one(&bed, frame_of(XDP_PASS, 0));
	for (unsigned i = 0; i < SLUICE_WATCHES; i++)
		sluice_watch_unmap(watches[i]);
	bed_close(&bed);
}

TEST(watch, survives_readers_that_write_where_they_may_not)
{
	struct sluice_watch *watch;
	struct sluice_watch_options options = {
		.ring_bytes = SMALL_RING, .points = 0xff, .filter_fd = -1, .raw_filter_fd = -1
	};
	struct sluice_watch_area *area;
	const struct sluice_path *path;
	const uint8_t *data;
	size_t len;
	uint8_t *memory;
	struct bed bed;
	int fd;

	ASSERT_TRUE(begin(&bed));
	ASSERT_EQ(0, sluice_watch_open(&options, &fd));
	area = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_TRUE(area != MAP_FAILED);
	len = area->len_bytes;
	EXPECT_NE(0, ftruncate(fd, 4096));
	memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_TRUE(memory != (uint8_t *)MAP_FAILED);
	ASSERT_EQ(0, sluice_watch_map(fd, &watch));
	for (unsigned i = 0; i < 300; i++) {
		uint32_t seed = i * 2654435761u;

		/* All but the area's description, which the mapping has checked. */
		for (size_t at = area->ring_offset; at + 4 <= len; at += 4 * (1 + seed % 97))
			memcpy(memory + at, &seed, 4);
		ring_send(&bed.a, frame_of(XDP_PASS, 0).bytes, FRAME, 5);
		for (unsigned n = 0; n < 50 && sluice_watch_next(watch, &path, &data); n++)
			;
	}
	settle(&bed.a, 1500);
	EXPECT_EQ(1500, counter_of(&bed.a, SLUICE_RX));
	sluice_watch_unmap(watch);
	munmap(area, 4096);
	munmap(memory, len);
	close(fd);
	bed_close(&bed);
}

TEST(watch, refuses_what_makes_no_sense)
{
	struct sluice_watch *watch;
	struct bed bed;

	ASSERT_TRUE(begin(&bed));
	EXPECT_EQ(-ENODEV, open_watch((struct sluice_watch_options){ .ifindex = 4711 }, &watch));
	EXPECT_EQ(-EINVAL,
		open_watch((struct sluice_watch_options){ .points = 1u << SLUICE_POINT_COUNT },
			&watch));
	EXPECT_EQ(-E2BIG,
		open_watch((struct sluice_watch_options){ .ring_bytes = UINT32_MAX }, &watch));
	EXPECT_EQ(-EBADF, open_watch((struct sluice_watch_options){ .filter_fd = 9999 }, &watch));
	EXPECT_EQ(-EINVAL, sluice_watch_map(open("/dev/null", 0), &watch));
	bed_close(&bed);
}
