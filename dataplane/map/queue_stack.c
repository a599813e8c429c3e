#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "area.h"
#include "cpu.h"
#include "spin_lock.h"
#include "type.h"

/*
 * QUEUE and STACK: a ring of max_entries + 1 values, pushed at `head`, taken from `tail` (QUEUE) or
 * from `head` (STACK), under a spin lock held for one copy of a value. Workers may wait for it, so
 * control threads have a worker do their operations, as with the locks in values (spin_lock.h).
 */
struct queue {
	struct sl_map map;
	size_t len_bytes;
	uint32_t slots;
	/* Under lock. */
	uint32_t lock sl_cache_aligned;
	uint32_t head, tail;
};

enum what { PUSH, POP, PEEK };

/* What the kernel can allocate in one piece. */
#define VALUE_MAX (4u << 20)

static int check(const union bpf_attr *attr)
{
	const uint32_t allowed = BPF_F_NUMA_NODE | SL_MAP_ACCESS_FLAGS;

	if (attr->max_entries == 0 || attr->key_size != 0 || attr->value_size == 0 ||
		(attr->map_flags & ~allowed) || !sl_map_access_ok(attr->map_flags))
		return -EINVAL;
	return attr->value_size > VALUE_MAX ? -E2BIG : 0;
}

static void queue_free(struct sl_map *map)
{
	struct queue *q = (struct queue *)map;

	if (!q)
		return;
	sl_area_free(map->desc.data, q->len_bytes);
	free(q);
}

static int new_of(const union bpf_attr *attr, const struct sl_map_ops *ops, struct sl_map **ret_map)
{
	struct queue *q;

	/* One slot more than that many is beyond the ring's counters. */
	if (attr->max_entries == UINT32_MAX)
		return -ENOMEM;
	q = sl_map_alloc(sizeof(*q), ops, attr);
	if (!q)
		return -ENOMEM;
	q->slots = attr->max_entries + 1;
	q->len_bytes = (size_t)q->slots * q->map.desc.value_stride;
	q->map.desc.data = sl_area_new(q->len_bytes, q->len_bytes);
	if (!q->map.desc.data) {
		queue_free(&q->map);
		return -ENOMEM;
	}
	*ret_map = &q->map;
	return 0;
}

static int queue_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	return new_of(attr, &sl_queue_ops, ret_map);
}

static int stack_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	return new_of(attr, &sl_stack_ops, ret_map);
}

static uint64_t memory_bytes(const struct sl_map *map)
{
	return sizeof(struct queue) + ((const struct queue *)map)->len_bytes;
}

static uint8_t *slot(const struct queue *q, uint32_t index)
{
	return (uint8_t *)q->map.desc.data + (uint64_t)index * q->map.desc.value_stride;
}

static uint32_t after(const struct queue *q, uint32_t index)
{
	return index + 1 == q->slots ? 0 : index + 1;
}

static uint32_t before(const struct queue *q, uint32_t index)
{
	return index ? index - 1 : q->slots - 1;
}

/* BPF_EXIST makes room by dropping the oldest value. With the lock held. */
static long push_locked(struct queue *q, const void *value, uint64_t flags)
{
	if (after(q, q->head) == q->tail) {
		if (!(flags & BPF_EXIST))
			return -E2BIG;
		q->tail = after(q, q->tail);
	}
	memcpy(slot(q, q->head), value, q->map.desc.value_size);
	q->head = after(q, q->head);
	return 0;
}

static long get_locked(struct queue *q, void *to, bool take)
{
	bool stack = q->map.desc.type == BPF_MAP_TYPE_STACK;
	uint32_t index = stack ? before(q, q->head) : q->tail;

	if (q->head == q->tail) {
		memset(to, 0, q->map.desc.value_size);
		return -ENOENT;
	}
	memcpy(to, slot(q, index), q->map.desc.value_size);
	if (take && stack)
		q->head = index;
	else if (take)
		q->tail = after(q, index);
	return 0;
}

static long push(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *value, uint64_t flags)
{
	struct queue *q = (struct queue *)desc->map;
	long err;

	if ((flags & BPF_NOEXIST) || flags > BPF_EXIST)
		return -EINVAL;
	sl_spin_lock(&q->lock);
	err = push_locked(q, value, flags);
	sl_spin_unlock(&q->lock);
	return err;
}

static long get(const struct sl_map_desc *desc, void *to, bool take)
{
	struct queue *q = (struct queue *)desc->map;
	long err;

	sl_spin_lock(&q->lock);
	err = get_locked(q, to, take);
	sl_spin_unlock(&q->lock);
	return err;
}

static long pop(const struct sl_map_desc *desc, const struct sl_ctx *ctx, void *to)
{
	return get(desc, to, true);
}

static long peek(const struct sl_map_desc *desc, const struct sl_ctx *ctx, void *to)
{
	return get(desc, to, false);
}

struct request {
	struct sl_map *map;
	enum what what;
	const void *value;
	void *to;
	uint64_t flags;
};

static int run(unsigned cpu, void *arg)
{
	const struct request *r = arg;

	return r->what == PUSH ? push(&r->map->desc, NULL, r->value, r->flags)
			       : get(&r->map->desc, r->to, r->what == POP);
}

static int sys_peek(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	struct request r = { .map = map, .what = PEEK, .to = ret_value };

	return flags ? -EINVAL : sl_cpu_run_undisturbed(run, &r);
}

static int sys_pop(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	struct request r = { .map = map, .what = POP, .to = ret_value };

	return flags ? -EINVAL : sl_cpu_run_undisturbed(run, &r);
}

static int sys_push(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	struct request r = { .map = map, .what = PUSH, .value = value, .flags = flags };

	return sl_cpu_run_undisturbed(run, &r);
}

static int sys_delete(struct sl_map *map, const void *key)
{
	return -EINVAL;
}

static int next_key(struct sl_map *map, const void *key, void *ret_next)
{
	return -EINVAL;
}

#define OPS                                                                                       \
	.check = check, .free = queue_free, .memory_bytes = memory_bytes, .sys_lookup = sys_peek, \
	.sys_update = sys_push, .sys_delete = sys_delete, .sys_lookup_and_delete = sys_pop,       \
	.next_key = next_key, .push = push, .pop = pop, .peek = peek,                             \
	.desc_size = sizeof(struct sl_map_desc)

const struct sl_map_ops sl_queue_ops = { .name = "queue", .new = queue_new, OPS };
const struct sl_map_ops sl_stack_ops = { .name = "stack", .new = stack_new, OPS };
