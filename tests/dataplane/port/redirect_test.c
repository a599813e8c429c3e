#include <linux/bpf.h>
#include <string.h>
#include <unistd.h>

#include "bed.h"
#include "context.h"
#include "fd.h"
#include "map.h"
#include "prog.h"
#include "rcu.h"
#include "test.h"

/* bpf_redirect_map: what a port does with packets for an entry of a map. */

static struct sl_map *asked_map;
static uint64_t asked_flags;

/* The first payload byte is the key. */
static uint64_t xdp_to_map(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	ctx->run->redirect_map = asked_map;
	ctx->run->redirect_entry =
		asked_map->ops->lookup(&asked_map->desc, ctx, &(uint32_t){ ctx->data[PAYLOAD] });
	ctx->run->redirect_flags = asked_flags;
	return XDP_REDIRECT;
}

/* Of an entry: marks the packet with the port that it leaves by; drops what says so. */
static uint64_t xdp_mark(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	ctx->data[PAYLOAD + 2] = (uint8_t)ctx->egress_ifindex;
	ctx->data[PAYLOAD + 3] = 0xdd;
	return ctx->data[PAYLOAD + 1] == 0xff ? XDP_DROP : XDP_PASS;
}

static struct sl_map *map_new(enum bpf_map_type type)
{
	struct sl_map *map = NULL;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = 4;
	attr.value_size = 8;
	attr.max_entries = 8;
	EXPECT_EQ(sl_map_new(&attr, &map), 0);
	return map;
}

static int put(struct sl_map *map, uint32_t key, uint32_t value, int fd)
{
	struct bpf_devmap_val val = { .ifindex = value, .bpf_prog.fd = fd };
	int err;

	sl_rcu_read_begin();
	err = map->ops->sys_update(map, &key, &val, BPF_ANY);
	sl_rcu_read_end();
	return err;
}

static int entry_program(enum bpf_attach_type type)
{
	int fd = stand_in_fd(BPF_PROG_TYPE_XDP, xdp_mark);
	struct sl_object *obj;

	if (sl_fd_get(fd, SL_OBJECT_PROG, &obj) == 0) {
		sl_prog_of(obj)->expected_attach_type = type;
		sl_object_unref(obj);
	}
	return fd;
}

static void open_with(struct bed *bed, enum bpf_map_type type)
{
	ASSERT_TRUE(bed_open(bed, 2));
	asked_map = map_new(type);
	asked_flags = 0;
	ASSERT_EQ(attach_xdp(&bed->a, xdp_to_map), 0);
}

static void close_with(struct bed *bed)
{
	sluice_workers_stop();
	sl_map_unref(asked_map);
	sl_rcu_barrier();
	bed_close(bed);
}

static void expect_entries_of(enum bpf_map_type type)
{
	struct bed bed;
	int fd;

	open_with(&bed, type);
	ASSERT_EQ(put(asked_map, 1, bed.b.ifindex, 0), 0);
	send_one(&bed, frame_of(1, 0));
	EXPECT_EQ(ring_receive_all(&bed.b), 1u);
	/* An entry that is not there, and one whose port is not. */
	send_one(&bed, frame_of(5, 0));
	EXPECT_EQ(counter_of(&bed.a, SLUICE_NO_MAP), 1u);
	EXPECT_EQ(ring_receive_all(&bed.b), 0u);
	/* A program on the way out. */
	fd = entry_program(BPF_XDP_DEVMAP);
	ASSERT_EQ(put(asked_map, 2, bed.b.ifindex, fd), 0);
	close(fd);
	{
		struct frame f = frame_of(2, 0);
		uint8_t out[RING_FRAME_MAX];

		ring_send(&bed.a, f.bytes, FRAME, 1);
		EXPECT_EQ(ring_receive(&bed.b, out), (uint32_t)FRAME);
		EXPECT_EQ(out[PAYLOAD + 2], (uint8_t)bed.b.ifindex);
		EXPECT_EQ(out[PAYLOAD + 3], 0xdd);
	}
	send_one(&bed, frame_of(2, 0xff));
	EXPECT_EQ(counter_of(&bed.a, SLUICE_REDIRECT_DROP), 1u);
	EXPECT_EQ(ring_receive_all(&bed.b), 0u);
	close_with(&bed);
}

TEST(redirect, an_entry_of_a_devmap_is_a_port_and_a_program)
{
	expect_entries_of(BPF_MAP_TYPE_DEVMAP);
}

TEST(redirect, an_entry_of_a_devmap_hash_is_a_port_and_a_program)
{
	expect_entries_of(BPF_MAP_TYPE_DEVMAP_HASH);
}

TEST(redirect, a_broadcast_sends_one_packet_per_entry)
{
	struct bed bed;

	open_with(&bed, BPF_MAP_TYPE_DEVMAP_HASH);
	asked_flags = BPF_F_BROADCAST;
	/* None yet. */
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(counter_of(&bed.a, SLUICE_NO_PORT), 1u);
	ASSERT_EQ(put(asked_map, 3, bed.a.ifindex, 0), 0);
	ASSERT_EQ(put(asked_map, 4, bed.b.ifindex, 0), 0);
	ASSERT_EQ(put(asked_map, 12, bed.b.ifindex, 0), 0);
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(ring_receive_all(&bed.a), 1u);
	EXPECT_EQ(ring_receive_all(&bed.b), 2u);
	EXPECT_EQ(counter_of(&bed.a, SLUICE_CLONE), 2u);
	asked_flags |= BPF_F_EXCLUDE_INGRESS;
	send_one(&bed, frame_of(0, 0));
	EXPECT_EQ(ring_receive_all(&bed.a), 0u);
	EXPECT_EQ(ring_receive_all(&bed.b), 2u);
	close_with(&bed);
}
