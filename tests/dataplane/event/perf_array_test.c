#include <errno.h>

#include "consumer.h"
#include "object.h"
#include "perf_event_array.h"
#include "rcu.h"
#include "test.h"

/* Events in the slots of a map: what the map takes, and who keeps an event alive. */

static uint8_t record[1 << 16];

static struct sl_map *new_array(uint32_t flags)
{
	union bpf_attr attr = { 0 };
	struct sl_map *map;

	sl_event_init();
	attr.map_type = BPF_MAP_TYPE_PERF_EVENT_ARRAY;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 2;
	attr.map_flags = flags;
	return sl_map_new(&attr, &map) == 0 ? map : NULL;
}

static int update(struct sl_map *map, uint32_t index, int fd)
{
	return map->ops->sys_update(map, &index, &fd, BPF_ANY);
}

TEST(perf_array, takes_events_only)
{
	struct perf_event_attr attr = usual_attr();
	struct sl_map *map = new_array(0);
	uint32_t index = 1;
	int fd, fds[2];

	ASSERT_TRUE(map);
	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-EBADF, update(map, 0, fds[0]));
	EXPECT_EQ(-EBADF, update(map, 0, 9999));
	EXPECT_EQ(-EBADF, update(map, 0, -1));
	fd = sluice_perf_event_open(&attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	EXPECT_EQ(-E2BIG, update(map, 2, fd));
	EXPECT_FALSE(sl_perf_event_array_slot(&map->desc, 1) != NULL);
	EXPECT_EQ(0, update(map, 1, fd));
	EXPECT_TRUE(sl_perf_event_array_slot(&map->desc, 1) != NULL);
	EXPECT_EQ(0, map->ops->sys_delete(map, &index));
	EXPECT_EQ(-ENOENT, map->ops->sys_delete(map, &index));
	close(fd);
	close(fds[0]);
	close(fds[1]);
	sl_map_unref(map);
	sl_rcu_barrier();
}

TEST(perf_array, slot_keeps_the_event_and_its_ring)
{
	struct perf_event_attr attr = usual_attr();
	struct sl_map *map = new_array(0);
	struct rte_mbuf mbuf;
	uint8_t packet[64] = { 0 };
	struct sl_ctx ctx = packet_context(&mbuf, packet, sizeof(packet));
	struct sl_perf_event *event;
	struct consumer c;

	ASSERT_TRUE(map);
	ASSERT_TRUE(consumer_open(&c, &attr, 1, PROT_READ | PROT_WRITE));
	sl_perf_event_unref(c.event);
	EXPECT_EQ(0, update(map, 0, c.fd));
	EXPECT_EQ(0, update(map, 1, c.fd));
	close(c.fd);
	usleep(20000);
	for (int i = 0; i < 2; i++) {
		sl_rcu_read_begin();
		event = sl_perf_event_array_slot(&map->desc, i);
		ASSERT_TRUE(event);
		EXPECT_EQ(0, sl_perf_output(event, &ctx, packet, 24, 0));
		sl_rcu_read_end();
		EXPECT_TRUE(consumer_next(c.page, record));
	}
	sl_map_unref(map);
	sl_rcu_barrier();
	EXPECT_EQ(0, sluice_perf_munmap(c.page, c.len_bytes));
}
