#include "perf_event_array.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oracle.h"
#include "pair.h"
#include "rcu.h"
#include "test.h"

/* Events of the test: descriptors from 1000 on are the kernel's descriptor plus 1000. */
struct sl_perf_event {
	int refs;
};

static struct sl_perf_event events[2];

static int event_get(int fd, struct sl_perf_event **ret_event)
{
	if (fd < 1000 || fd > 1001)
		return -EBADF;
	*ret_event = &events[fd - 1000];
	events[fd - 1000].refs++;
	return 0;
}

static void event_put(struct sl_perf_event *event)
{
	event->refs--;
}

static const struct sl_perf_event_source source = { .get = event_get, .put = event_put };

static union bpf_attr attr_of(uint32_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_PERF_EVENT_ARRAY;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 4;
	attr.map_flags = flags;
	return attr;
}

static int kernel_event(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_BPF_OUTPUT,
		.sample_type = PERF_SAMPLE_RAW,
	};

	return syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
}

static int kernel_update(int map, uint32_t key, int event, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	attr.key = (uintptr_t)&key;
	attr.value = (uintptr_t)&event;
	attr.flags = flags;
	return oracle_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

TEST(perf_event_array, updates_answer_as_the_kernel_does)
{
	static const struct {
		uint32_t key;
		bool event;
		int other;
		uint64_t flags;
	} rows[] = {
		{ 0, true, 0, BPF_ANY },
		{ 0, true, 0, BPF_ANY },
		{ 3, true, 0, BPF_ANY },
		{ 4, true, 0, BPF_ANY },
		{ UINT32_MAX, true, 0, BPF_ANY },
		{ 1, true, 0, BPF_NOEXIST },
		{ 0, true, 0, BPF_EXIST },
		{ 1, true, 0, BPF_F_LOCK },
		{ 1, false, -1, BPF_ANY },
		{ 1, false, 0, BPF_ANY },
		{ 9, false, -1, BPF_ANY },
	};
	union bpf_attr attr = attr_of(0);
	struct pair p;
	int event;

	ORACLE_OR_SKIP();
	event = kernel_event();
	if (event < 0)
		SKIP("perf_event_open is not permitted to this user");
	sl_perf_event_array_set_source(&source);
	ASSERT_EQ(pair_new(&p, &attr), 0);
	for (size_t i = 0; i < sl_array_size(rows); i++) {
		int ours = rows[i].event ? 1000 : rows[i].other;
		int theirs = rows[i].event ? event : rows[i].other;

		TRACE_PUSH("row %zu", i);
		EXPECT_EQ(own_update(p.map, &rows[i].key, &ours, rows[i].flags),
			kernel_update(p.kernel, rows[i].key, theirs, rows[i].flags));
		TRACE_POP();
	}
	for (uint32_t key = 0; key < 6; key++) {
		pair_lookup(&p, &key, 0);
		pair_lookup(&p, &key, BPF_F_LOCK);
		pair_lookup_and_delete(&p, &key, 0);
		pair_delete(&p, &key);
		pair_delete(&p, &key);
	}
	EXPECT_EQ(events[0].refs, 0);
	pair_free(&p);
	close(event);
}

TEST(perf_event_array, slots_hold_a_reference_until_user_space_lets_go)
{
	static const uint32_t flags[] = { 0, BPF_F_PRESERVE_ELEMS };

	sl_perf_event_array_set_source(&source);
	for (size_t i = 0; i < sl_array_size(flags); i++) {
		union bpf_attr attr = attr_of(flags[i]);
		struct sl_map *map;
		uint32_t key = 2;
		int fd = 1001;

		ASSERT_EQ(sl_map_new(&attr, &map), 0);
		EXPECT_TRUE(!sl_perf_event_array_slot(&map->desc, key));
		ASSERT_EQ(own_update(map, &key, &fd, BPF_ANY), 0);
		ASSERT_EQ(own_update(map, &key, &fd, BPF_ANY), 0);
		EXPECT_EQ(events[1].refs, 1);
		EXPECT_TRUE(sl_perf_event_array_slot(&map->desc, key) == &events[1]);
		map->ops->user_release(map);
		EXPECT_EQ(events[1].refs, flags[i] ? 1 : 0);
		sl_map_unref(map);
		sl_rcu_barrier();
		EXPECT_EQ(events[1].refs, 0);
	}
}
