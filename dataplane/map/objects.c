#include "objects.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "area.h"
#include "background.h"
#include "cpu.h"
#include "hash_pool.h"
#include "object_graph.h"
#include "rcu.h"
#include "spin_lock.h"

/*
 * Objects come in sizes. Those of one size are an area of address space with a pool of numbers over
 * it (hash_pool.h): every CPU takes from a cache of its own, what is given back is reused after a
 * grace period, and nobody allocates or waits. So a program that found an object in a list may look
 * at it to the end of its run, whoever drops it meanwhile. The areas are never unmapped.
 *
 * The memory behind an area comes ahead of its use: some when a program is loaded that wants objects
 * of the size, more from the background thread as numbers are handed out for the first time.
 *
 * An object that is dropped may hold others, in lists, trees and pointers. They are dropped after it,
 * in a loop: chains can be long.
 */

struct header {
	const struct sl_btf_record *record; /* NULL: nothing special in it */
	struct header *next; /* of those that are being dropped */
	uint32_t number;
	uint32_t class;
};

/* Bytes of object and header. */
static const uint32_t strides[] = { 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4112 };

enum { CLASSES = sizeof(strides) / sizeof(strides[0]) };

/* Address space of one size, and how much of it is backed ahead of use. */
#define CLASS_BYTES (256u << 20)
#define OBJECTS_MAX (1u << 20)
#define AHEAD_BYTES (1u << 20)

static struct class
{
	uint8_t *area; /* release, after everything else; NULL until a program wants the size */
	struct sl_pool pool;
	size_t len_bytes, backed_bytes; /* the second under `lock` */
} classes[CLASSES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* News less drops, by CPU: single writer, racy readers. */
static struct {
	int64_t count;
} sl_cache_aligned counts[SL_MAX_CPUS];

static unsigned class_of(uint32_t size_bytes)
{
	uint32_t bytes = size_bytes + (uint32_t)sizeof(struct header);
	unsigned i = 0;

	while (i < CLASSES && strides[i] < bytes)
		i++;
	return i;
}

/* With `lock` held: memory for what is about to be handed out. Whether there was something to do. */
static bool back_ahead(struct class *c, uint32_t stride)
{
	uint64_t used = __atomic_load_n(&c->pool.unused, __ATOMIC_RELAXED) * stride;
	size_t step = sl_min(c->len_bytes - c->backed_bytes, (size_t)AHEAD_BYTES);

	if (used + AHEAD_BYTES / 2 < c->backed_bytes || !step)
		return false;
	if (!sl_area_populate(c->area + c->backed_bytes, step))
		return false;
	c->backed_bytes += step;
	return true;
}

static bool poll(void *arg)
{
	bool busy = false;

	(void)arg;
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < CLASSES; i++)
		if (classes[i].area)
			busy |= back_ahead(&classes[i], strides[i]);
	pthread_mutex_unlock(&lock);
	return busy;
}

static int open_class(struct class *c, uint32_t stride)
{
	uint32_t count = sl_min(CLASS_BYTES / stride, OBJECTS_MAX);
	uint8_t *area;
	int err = sl_pool_init(&c->pool, count);

	if (err)
		return err;
	c->len_bytes = sl_round_up((size_t)c->pool.total * stride, (size_t)4096);
	area = sl_area_new(c->len_bytes, sl_min(c->len_bytes, (size_t)AHEAD_BYTES));
	if (!area) {
		sl_pool_done(&c->pool);
		return -ENOMEM;
	}
	c->backed_bytes = sl_min(c->len_bytes, (size_t)AHEAD_BYTES);
	__atomic_store_n(&c->area, area, __ATOMIC_RELEASE);
	return 0;
}

int sl_objects_prepare(uint32_t size_bytes)
{
	static bool polling;
	unsigned i = class_of(size_bytes);
	int err = 0;

	if (i == CLASSES)
		return 0;
	pthread_mutex_lock(&lock);
	if (!classes[i].area)
		err = open_class(&classes[i], strides[i]);
	pthread_mutex_unlock(&lock);
	if (!err && !__atomic_exchange_n(&polling, true, __ATOMIC_RELAXED))
		err = sl_background_add_poll(poll, NULL);
	return err;
}

static struct header *header_of(void *object)
{
	return (struct header *)object - 1;
}

void *sl_object_new(uint32_t size_bytes, const struct sl_btf_record *record, unsigned cpu)
{
	unsigned i = size_bytes <= SL_OBJECT_BYTES_MAX ? class_of(size_bytes) : CLASSES;
	struct class *c;
	struct header *h;
	uint8_t *area;
	uint32_t number;
	uint32_t one = 1;

	if (sl_unlikely(i == CLASSES))
		return NULL;
	c = &classes[i];
	area = __atomic_load_n(&c->area, __ATOMIC_ACQUIRE);
	number = area ? sl_pool_get(&c->pool, &c->pool.caches[cpu]) : SL_POOL_NONE;
	if (sl_unlikely(number == SL_POOL_NONE))
		return NULL;
	h = (struct header *)(area + (uint64_t)number * strides[i]);
	*h = (struct header){ .record = record, .number = number, .class = i };
	memset(h + 1, 0, size_bytes);
	if (sl_btf_record_has(record, SL_SPECIAL_REFCOUNT))
		memcpy((uint8_t *)(h + 1) + record->refcount_offset, &one, sizeof(one));
	counts[cpu].count++;
	return h + 1;
}

void *sl_object_of(void *within)
{
	const uint8_t *at = within;

	for (unsigned i = 0; i < CLASSES; i++) {
		uint8_t *area = __atomic_load_n(&classes[i].area, __ATOMIC_ACQUIRE);

		if (area && at >= area && at < area + classes[i].len_bytes)
			return area + (size_t)(at - area) / strides[i] * strides[i] +
			       sizeof(struct header);
	}
	return NULL;
}

static uint32_t *refcount_of(void *object)
{
	const struct sl_btf_record *record = header_of(object)->record;

	if (!sl_btf_record_has(record, SL_SPECIAL_REFCOUNT))
		return NULL;
	return (uint32_t *)((uint8_t *)object + record->refcount_offset);
}

void *sl_object_acquire(void *object)
{
	uint32_t *refcount = refcount_of(object);
	uint32_t count = refcount ? __atomic_load_n(refcount, __ATOMIC_RELAXED) : 0;

	do {
		if (!count)
			return NULL;
	} while (!__atomic_compare_exchange_n(
		refcount, &count, count + 1, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return object;
}

/* Gives back one reference; with the last one the object joins those that are dropped. */
static void release(void *object, struct header **dropped)
{
	uint32_t *refcount = refcount_of(object);
	struct header *h = header_of(object);

	if (refcount && __atomic_sub_fetch(refcount, 1, __ATOMIC_ACQ_REL))
		return;
	h->next = *dropped;
	*dropped = h;
}

static void release_chain(
	const struct sl_special_field *field, void *chain, struct header **dropped)
{
	while (chain) {
		uint8_t *node = chain;
		const void **owner = field->type == SL_SPECIAL_LIST_HEAD
					     ? &((struct sl_list_node *)chain)->owner
					     : &((struct sl_rb_node *)chain)->owner;

		memcpy(&chain, node, sizeof(chain));
		sl_node_set_owner(owner, NULL);
		release(node - field->node_offset, dropped);
	}
}

static void take_field(uint8_t *value, const struct sl_special_field *field, uint32_t *spin_lock,
	struct header **dropped)
{
	void *at = value + field->offset, *object;

	if (field->type & SL_SPECIAL_KPTR_REF) {
		object = __atomic_exchange_n((void **)at, NULL, __ATOMIC_ACQ_REL);
		if (object)
			release(object, dropped);
	} else if (field->type & SL_SPECIAL_GRAPH_ROOT) {
		if (spin_lock)
			sl_spin_lock(spin_lock);
		object = field->type == SL_SPECIAL_LIST_HEAD ? sl_list_take_all(at)
							     : sl_rbtree_take_all(at);
		if (spin_lock)
			sl_spin_unlock(spin_lock);
		release_chain(field, object, dropped);
	}
}

static void take_fields(const struct sl_btf_record *record, uint8_t *value, struct header **dropped)
{
	uint32_t *spin_lock = NULL;

	if (sl_btf_record_has(record, SL_SPECIAL_SPIN_LOCK))
		spin_lock = (uint32_t *)(value +
					 sl_btf_record_find(record, SL_SPECIAL_SPIN_LOCK)->offset);
	for (uint32_t i = 0; record && i < record->count; i++)
		take_field(value, &record->fields[i], spin_lock, dropped);
}

static void drop_all(struct header *dropped, unsigned cpu)
{
	while (dropped) {
		struct header *h = dropped;
		struct class *c = &classes[h->class];

		dropped = h->next;
		take_fields(h->record, (uint8_t *)(h + 1), &dropped);
		counts[cpu].count--;
		sl_pool_retire(&c->pool, &c->pool.caches[cpu], h->number);
	}
}

void sl_object_drop(void *object, unsigned cpu)
{
	struct header *dropped = NULL;

	release(object, &dropped);
	drop_all(dropped, cpu);
}

void sl_objects_drop_fields(const struct sl_btf_record *record, void *value, unsigned cpu)
{
	struct header *dropped = NULL;

	take_fields(record, value, &dropped);
	drop_all(dropped, cpu);
}

struct value_drop {
	const struct sl_btf_record *record;
	void *value;
};

static int drop_value(unsigned cpu, void *arg)
{
	const struct value_drop *drop = arg;

	sl_objects_drop_fields(drop->record, drop->value, cpu);
	return 0;
}

/* Whether there is anything in the value to drop: mostly not, and then no lock is taken. */
static bool holds_objects(const struct sl_btf_record *record, const uint8_t *value)
{
	for (uint32_t i = 0; i < record->count; i++)
		if ((record->fields[i].type & SL_SPECIAL_HOLDS) &&
			__atomic_load_n((const uintptr_t *)(value + record->fields[i].offset),
				__ATOMIC_ACQUIRE))
			return true;
	return false;
}

void sl_map_value_drop(const struct sl_map_desc *desc, void *value, unsigned cpu)
{
	struct value_drop drop = { .record = desc->record, .value = value };

	if (!desc->record || !holds_objects(desc->record, value))
		return;
	if (cpu != SL_NO_CPU)
		drop_value(cpu, &drop);
	else
		sl_cpu_run_undisturbed(drop_value, &drop);
}

uint64_t sl_objects_count(void)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < SL_MAX_CPUS; i++)
		sum += __atomic_load_n(&counts[i].count, __ATOMIC_RELAXED);
	return (uint64_t)sum;
}
