#include "perf_event_array.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "area.h"
#include "cpu.h"
#include "type.h"

/*
 * PERF_EVENT_ARRAY: slots that workers read with one load and control threads change under a lock.
 * What an event is, is the event layer's business; this one holds references.
 */
struct perf_event_array {
	struct sl_map map;
	struct sl_perf_event **slots; /* struct sl_perf_event_array_desc goes on from map.desc */
	struct sl_perf_event_lost *lost;

	pthread_mutex_t lock; /* writers of slots */
};

static_assert(
	offsetof(struct perf_event_array, slots) - offsetof(struct perf_event_array, map.desc) ==
			offsetof(struct sl_perf_event_array_desc, slots) &&
		offsetof(struct perf_event_array, lost) -
				offsetof(struct perf_event_array, map.desc) ==
			offsetof(struct sl_perf_event_array_desc, lost),
	"the descriptor is contiguous");

static const struct sl_perf_event_source *source;

void sl_perf_event_array_set_source(const struct sl_perf_event_source *s)
{
	source = s;
}

static int check(const union bpf_attr *attr)
{
	if (attr->value_size != sizeof(uint32_t))
		return -EINVAL;
	if (attr->map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG))
		return -EINVAL;
	return sl_array_check(attr);
}

static size_t slots_len(const struct sl_map *map)
{
	return (size_t)map->desc.max_entries * sizeof(struct sl_perf_event *);
}

static size_t lost_len(void)
{
	return sl_cpu_count() * sizeof(struct sl_perf_event_lost);
}

/* Returns whether there was an event. */
static bool slot_set(struct perf_event_array *a, uint32_t index, struct sl_perf_event *event)
{
	struct sl_perf_event *old;

	pthread_mutex_lock(&a->lock);
	old = a->slots[index];
	sl_rcu_store(a->slots[index], event);
	pthread_mutex_unlock(&a->lock);
	if (old)
		source->put(old);
	return old;
}

static void clear(struct sl_map *map)
{
	struct perf_event_array *a = (struct perf_event_array *)map;

	for (uint32_t i = 0; a->slots && i < map->desc.max_entries; i++)
		slot_set(a, i, NULL);
}

static void perf_event_array_free(struct sl_map *map)
{
	struct perf_event_array *a = (struct perf_event_array *)map;

	if (!a)
		return;
	clear(map);
	sl_area_free(a->slots, slots_len(map));
	free(a->lost);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static int perf_event_array_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct perf_event_array *a = sl_map_alloc(sizeof(*a), &sl_perf_event_array_ops, attr);

	if (!a)
		return -ENOMEM;
	pthread_mutex_init(&a->lock, NULL);
	a->slots = sl_area_new(slots_len(&a->map), slots_len(&a->map));
	a->lost = aligned_alloc(SL_CACHE_LINE, lost_len());
	if (a->lost)
		memset(a->lost, 0, lost_len());
	if (!a->slots || !a->lost) {
		perf_event_array_free(&a->map);
		return -ENOMEM;
	}
	*ret_map = &a->map;
	return 0;
}

/*
 * An event belongs to whoever put it there and goes with the descriptor that he used, unless the
 * map was made to preserve them.
 */
static void user_release(struct sl_map *map)
{
	if (!(map->desc.flags & BPF_F_PRESERVE_ELEMS))
		clear(map);
}

static uint64_t memory_bytes(const struct sl_map *map)
{
	return sizeof(struct perf_event_array) + slots_len(map) + lost_len();
}

static uint64_t lost_events(const struct sl_map *map)
{
	const struct perf_event_array *a = (const struct perf_event_array *)map;
	uint64_t sum = 0;

	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
		sum += __atomic_load_n(&a->lost[cpu].count, __ATOMIC_RELAXED);
	return sum;
}

/* Write-only for user space. */
static int sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	return flags ? -EINVAL : -SL_ENOTSUPP;
}

static int sys_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);
	struct sl_perf_event *event;
	int fd, err;

	if (flags != BPF_ANY)
		return -EINVAL;
	if (index >= map->desc.max_entries)
		return -E2BIG;
	if (!source)
		return -EBADF;
	memcpy(&fd, value, sizeof(fd));
	err = source->get(fd, &event);
	if (err)
		return err;
	slot_set((struct perf_event_array *)map, index, event);
	return 0;
}

static int sys_delete(struct sl_map *map, const void *key)
{
	uint32_t index = sl_array_index(key);

	if (index >= map->desc.max_entries)
		return -E2BIG;
	return slot_set((struct perf_event_array *)map, index, NULL) ? 0 : -ENOENT;
}

const struct sl_map_ops sl_perf_event_array_ops = {
	.name = "perf_event_array",
	.check = check,
	.new = perf_event_array_new,
	.check_btf = sl_map_check_no_btf,
	.free = perf_event_array_free,
	.user_release = user_release,
	.memory_bytes = memory_bytes,
	.lost_events = lost_events,
	.sys_lookup = sys_lookup,
	.sys_update = sys_update,
	.sys_delete = sys_delete,
	.next_key = sl_array_next_key,
	.desc_size = sizeof(struct sl_perf_event_array_desc),
};
