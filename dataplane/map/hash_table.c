#include "hash_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "area.h"
#include "cpu.h"
#include "hash_key.h"
#include "objects.h"
#include "type.h"
#include "timer.h"
#include "value_copy.h"

/*
 * A hash table that is read without locks or retries and changed without locks by any number of
 * threads at a time.
 *
 * There are about twice as many buckets as entries, each the head of a singly linked list. The lists
 * are those of Harris (DISC 2001) and Michael (SPAA 2002): an element is deleted by marking its
 * `next`, which at the same time keeps everybody from linking something behind it, and is unlinked
 * afterwards, by whoever comes by first. Two things are our own:
 *
 *  - A new key is appended at the end of the list, not put at the head. Two threads that insert the
 *    same key have both seen the whole list without it, so both want to change the same NULL, and one
 *    of them fails and sees the other's element. A key is thus never in the map twice.
 *  - The value of an existing key is replaced by a new element: its `next` is set to the old
 *    element's, then the old one's `next` is changed to the new element, marked. That one store takes
 *    the old value out and puts the new one in. Readers that stand on the old element see the mark
 *    and go on, and the next element they meet is the new one: there is no instant without the key.
 *
 * A mark is on the link that leaves the element: heads of buckets are never marked. Whoever unlinks
 * an element retires it (hash_pool.h); a delete or update returns only when its element is unlinked.
 * Everybody runs in an RCU read section, so an element's memory is not reused while anyone may still
 * stand on it, which is also what makes the compare-and-swaps free of ABA, and what keeps pointers to
 * values that programs hold valid to the end of their run.
 *
 * A full LRU table evicts for a new key (hash_lru.c).
 *
 * An update that finds no free element, because all wait for their grace periods, overwrites the
 * value in place; an insertion fails with -ENOMEM. See hash_pool.h for how far away that is.
 *
 * Memory is backed at creation, unless the map is BPF_F_NO_PREALLOC: then a page is faulted in when
 * its first element is used, on a worker too, which is what that flag asks for.
 */

static_assert(offsetof(struct sl_hash, desc_rest) ==
		      offsetof(struct sl_map, desc) + sizeof(struct sl_map_desc),
	"the descriptor is contiguous");

/* More buckets than this the kernel refuses. */
#define BUCKETS_MAX (1u << 28)

struct place {
	uint64_t *link; /* that leads to elem, or the NULL at the end */
	struct sl_hash_elem *elem; /* NULL: no such key */
	uint64_t next; /* of elem, unmarked */
};

/* One line per element where it fits: a lookup that hits touches the bucket and this line. */
static uint32_t elem_stride(uint64_t size)
{
	uint32_t stride = 16;

	if (size > SL_CACHE_LINE)
		return sl_round_up(size, (uint64_t)SL_CACHE_LINE);
	while (stride < size)
		stride *= 2;
	return stride;
}

void sl_hash_seed(uint64_t seed[SL_HASH_SEEDS], bool zero)
{
	static const uint64_t zero_seed[SL_HASH_SEEDS] = { 0xbf58476d1ce4e5b9, 0x94d049bb133111eb,
		0x9e3779b97f4a7c15 };

	memcpy(seed, zero_seed, sizeof(zero_seed));
	if (!zero && getrandom(seed, sizeof(zero_seed), GRND_NONBLOCK) < 0)
		seed[2] ^= (uintptr_t)seed;
	seed[2] |= 1;
}

/* Buckets first, then elements, in one area. */
static int alloc_elems(struct sl_hash *h, uint64_t total)
{
	struct sl_hash_desc *d = sl_hash_desc_of(h);
	bool prealloc = !(d->map.flags & BPF_F_NO_PREALLOC);
	uint64_t bucket_bytes;
	uint8_t *area;

	d->shift = 63;
	d->bucket_count = 2;
	while (d->bucket_count < 2ull * d->map.max_entries) {
		d->bucket_count *= 2;
		d->shift--;
	}
	bucket_bytes =
		sl_round_up((uint64_t)d->bucket_count * sizeof(uint64_t), (uint64_t)SL_CACHE_LINE);
	h->area_bytes = bucket_bytes + total * d->elem_stride;
	area = sl_area_new(h->area_bytes,
		prealloc ? bucket_bytes + (uint64_t)d->map.max_entries * d->elem_stride : 0);
	if (!area)
		return -ENOMEM;
	d->buckets = (uint64_t *)area;
	d->map.data = area + bucket_bytes;
	return 0;
}

static int alloc_percpu(struct sl_hash *h, uint64_t total)
{
	struct sl_hash_desc *d = sl_hash_desc_of(h);
	uint64_t used = (uint64_t)d->map.max_entries * d->map.value_stride;

	if (!h->percpu)
		return 0;
	d->cpu_stride = sl_round_up(total * d->map.value_stride, (uint64_t)4096);
	h->percpu_bytes = d->cpu_stride * sl_cpu_count();
	d->percpu_values = sl_area_new(h->percpu_bytes, 0);
	if (!d->percpu_values)
		return -ENOMEM;
	for (unsigned cpu = 0; !(d->map.flags & BPF_F_NO_PREALLOC) && cpu < sl_cpu_count(); cpu++) {
		if (!sl_area_populate(d->percpu_values + cpu * d->cpu_stride, used))
			return -ENOMEM;
	}
	return 0;
}

int sl_hash_table_new(const union bpf_attr *attr, const struct sl_map_ops *ops, bool percpu,
	struct sl_map **ret_map)
{
	bool lru = attr->map_type == BPF_MAP_TYPE_LRU_HASH ||
		   attr->map_type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
	struct sl_hash_desc *d;
	struct sl_hash *h;
	uint64_t total;
	int err;

	if (attr->max_entries > BUCKETS_MAX / 2)
		return -E2BIG;
	h = sl_map_alloc(sizeof(*h), ops, attr);
	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->control_lock, NULL);
	h->percpu = percpu;
	h->value_bytes = ops == &sl_hash_of_maps_ops ? sizeof(struct sl_map *) : attr->value_size;
	d = sl_hash_desc_of(h);
	sl_hash_seed(d->seed, d->map.flags & BPF_F_ZERO_SEED);
	d->value_offset = sizeof(struct sl_hash_elem) + sl_round_up(attr->key_size + lru, 8u);
	d->elem_stride =
		elem_stride((uint64_t)d->value_offset + (percpu ? 0 : d->map.value_stride));
	total = sl_pool_total(attr->max_entries);
	err = alloc_elems(h, total);
	if (!err)
		err = alloc_percpu(h, total);
	if (!err)
		err = sl_pool_init(&h->pool, attr->max_entries);
	if (!err && lru)
		err = sl_lru_new(total, &h->lru);
	if (err)
		goto fail;
	*ret_map = &h->map;
	return 0;
fail:
	sl_hash_table_free(&h->map);
	return err;
}

/* The element is out of the map, or has a new value: its timer is off, what it held is dropped. */
static void drop_fields(
	const struct sl_hash *h, const struct sl_pool_cache *cache, struct sl_hash_elem *e)
{
	unsigned cpu = (unsigned)(cache - h->pool.caches), values = h->percpu ? sl_cpu_count() : 1;

	if (sl_likely(h->map.desc.record == NULL))
		return;
	if (!h->percpu)
		sl_timer_drop(&h->map.desc, sl_hash_value(h, e, 0));
	for (unsigned i = 0; i < values; i++)
		sl_map_value_drop(&h->map.desc, sl_hash_value(h, e, i),
			cpu < sl_cpu_count() ? cpu : SL_NO_CPU);
}

/* Of all elements that ever were in the map: one that is out of it may have got something since. */
static void drop_objects(struct sl_hash *h)
{
	uint64_t count = sl_min(h->pool.unused, (uint64_t)h->pool.total);

	if (!sl_btf_record_has(h->map.desc.record, SL_SPECIAL_HOLDS))
		return;
	for (uint64_t i = 0; i < count; i++)
		for (unsigned k = 0; k < (h->percpu ? sl_cpu_count() : 1); k++)
			sl_map_value_drop(&h->map.desc,
				sl_hash_value(h, sl_hash_elem_at(h, (uint32_t)i), k), SL_NO_CPU);
}

void sl_hash_table_free(struct sl_map *map)
{
	struct sl_hash *h = sl_hash_of(map);

	if (!h)
		return;
	drop_objects(h);
	sl_lru_free(h->lru);
	sl_pool_done(&h->pool);
	sl_area_free(sl_hash_desc_of(h)->percpu_values, h->percpu_bytes);
	sl_area_free(sl_hash_desc_of(h)->buckets, h->area_bytes);
	pthread_mutex_destroy(&h->control_lock);
	free(h);
}

uint64_t sl_hash_bucket(const struct sl_hash_desc *desc, const void *key)
{
	return sl_hash_key(key, desc->map.key_size, desc->seed) >> desc->shift;
}

static uint64_t *bucket_of(const struct sl_hash *h, const void *key)
{
	const struct sl_hash_desc *d = sl_hash_desc_of(h);

	return &d->buckets[sl_hash_bucket(d, key)];
}

static uint32_t number_of(const struct sl_hash *h, const struct sl_hash_elem *e)
{
	const struct sl_hash_desc *d = sl_hash_desc_of(h);

	return (uint64_t)((uint8_t *)e - (uint8_t *)d->map.data) / d->elem_stride;
}

/* What readers have not seen before is published by this: release; pairs with their acquire. */
static bool link_swap(uint64_t *link, uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(
		link, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

struct sl_hash_elem *sl_hash_find(const struct sl_hash *h, const void *key)
{
	uint64_t link = __atomic_load_n(bucket_of(h, key), __ATOMIC_ACQUIRE);

	while (link & ~SL_HASH_MARK) {
		struct sl_hash_elem *e = (struct sl_hash_elem *)(link & ~SL_HASH_MARK);

		link = __atomic_load_n(&e->next, __ATOMIC_ACQUIRE);
		if (!(link & SL_HASH_MARK) && sl_hash_key_equal(e->key, key, h->map.desc.key_size))
			return e;
	}
	return NULL;
}

/* The element has been unlinked, or never was published. */
static void retire(struct sl_hash *h, struct sl_pool_cache *cache, const struct sl_hash_elem *e)
{
	uint32_t number = number_of(h, e);

	if (h->lru)
		sl_lru_remove(h->lru, number);
	sl_pool_retire(&h->pool, cache, number);
}

/* Finds key's place, unlinking on the way what is marked. */
static void seek(
	struct sl_hash *h, struct sl_pool_cache *cache, const void *key, struct place *ret_place)
{
	uint32_t key_size = h->map.desc.key_size;
	uint64_t *bucket = bucket_of(h, key);
	uint64_t *link = bucket;
	uint64_t current = __atomic_load_n(link, __ATOMIC_ACQUIRE);

	while (current) {
		struct sl_hash_elem *e = (struct sl_hash_elem *)current;
		uint64_t next = __atomic_load_n(&e->next, __ATOMIC_ACQUIRE);

		if (next & SL_HASH_MARK) {
			next &= ~SL_HASH_MARK;
			if (link_swap(link, current, next)) {
				retire(h, cache, e);
				current = next;
			} else {
				link = bucket;
				current = __atomic_load_n(link, __ATOMIC_ACQUIRE);
			}
			continue;
		}
		if (sl_hash_key_equal(e->key, key, key_size)) {
			*ret_place = (struct place){ link, e, next };
			return;
		}
		link = &e->next;
		current = next;
	}
	*ret_place = (struct place){ link, NULL, 0 };
}

/* place->elem has just been marked, `next` is what follows it. */
static void unlink_elem(struct sl_hash *h, struct sl_pool_cache *cache, const void *key,
	const struct place *place, uint64_t next)
{
	struct place ignored;

	if (link_swap(place->link, (uintptr_t)place->elem, next))
		retire(h, cache, place->elem);
	else
		seek(h, cache, key, &ignored);
}

static void write_value(
	const struct sl_hash *h, struct sl_hash_elem *e, const void *value, uint32_t cpu)
{
	const struct sl_map_desc *desc = &h->map.desc;

	if (cpu != SL_HASH_ALL_CPUS) {
		sl_map_value_write(desc, sl_hash_value(h, e, cpu), value, h->value_bytes);
		return;
	}
	for (unsigned i = 0; i < sl_cpu_count(); i++)
		sl_map_value_write(desc, sl_hash_value(h, e, i),
			(const uint8_t *)value + (size_t)i * desc->value_stride,
			desc->value_stride);
}

/* A free element with key and value, or NULL. */
static struct sl_hash_elem *elem_new(struct sl_hash *h, struct sl_pool_cache *cache,
	const void *key, const void *value, uint32_t cpu)
{
	uint32_t number = sl_pool_get(&h->pool, cache);
	struct sl_hash_elem *e;

	if (sl_unlikely(number == SL_POOL_NONE))
		return NULL;
	e = sl_hash_elem_at(h, number);
	memcpy(e->key, key, h->map.desc.key_size);
	/* Whoever used the special fields of the element's last life is gone since. */
	drop_fields(h, cache, e);
	for (unsigned i = 0; i < (h->percpu ? sl_cpu_count() : 1); i++)
		sl_map_value_init(&h->map.desc, sl_hash_value(h, e, i));
	for (unsigned i = 0; h->percpu && cpu != SL_HASH_ALL_CPUS && i < sl_cpu_count(); i++)
		sl_value_zero(sl_hash_value(h, e, i), h->map.desc.value_size);
	write_value(h, e, value, cpu);
	if (h->lru)
		sl_lru_add(h->lru, number, sl_hash_used(e, h->map.desc.key_size));
	return e;
}

/* What one attempt needs and the next may reuse. */
struct attempt {
	const void *key, *value;
	uint32_t cpu;
	struct sl_hash_elem *elem; /* filled, not published */
	bool entered;
};

enum { RETRY = 1 };

/* 0 or RETRY. */
static int replace(struct sl_hash *h, struct sl_pool_cache *cache, struct attempt *a,
	const struct place *place)
{
	if (h->lru)
		sl_hash_set_used(place->elem, h->map.desc.key_size);
	if (!h->percpu && !a->elem)
		a->elem = elem_new(h, cache, a->key, a->value, a->cpu);
	if (h->percpu || !a->elem) {
		write_value(h, place->elem, a->value, a->cpu);
		/* What other CPUs' values hold is not this one's to drop. */
		if (!h->percpu)
			drop_fields(h, cache, place->elem);
		return 0;
	}
	if (h->lru)
		sl_hash_set_used(a->elem, h->map.desc.key_size);
	__atomic_store_n(&a->elem->next, place->next, __ATOMIC_RELAXED);
	if (!link_swap(&place->elem->next, place->next, (uintptr_t)a->elem | SL_HASH_MARK))
		return RETRY;
	drop_fields(h, cache, place->elem);
	unlink_elem(h, cache, a->key, place, (uintptr_t)a->elem);
	a->elem = NULL;
	return 0;
}

/* Room for one more, for the attempt: 0, -E2BIG, or -ENOMEM. */
static int enter(struct sl_hash *h, struct sl_pool_cache *cache)
{
	if (sl_pool_enter(&h->pool, cache))
		return 0;
	return h->lru ? sl_lru_evict(h, cache) : -E2BIG;
}

/* 0, RETRY, -E2BIG or -ENOMEM. */
static int append(struct sl_hash *h, struct sl_pool_cache *cache, struct attempt *a,
	const struct place *place)
{
	int err;

	/* Nothing is evicted for what then has no memory. */
	if (h->lru && !a->elem)
		a->elem = elem_new(h, cache, a->key, a->value, a->cpu);
	if (h->lru && !a->elem)
		return -ENOMEM;
	err = a->entered ? 0 : enter(h, cache);
	if (err)
		return err;
	a->entered = true;
	if (!a->elem)
		a->elem = elem_new(h, cache, a->key, a->value, a->cpu);
	if (!a->elem)
		return -ENOMEM;
	__atomic_store_n(&a->elem->next, 0, __ATOMIC_RELAXED);
	if (!link_swap(place->link, 0, (uintptr_t)a->elem))
		return RETRY;
	a->elem = NULL;
	a->entered = false;
	return 0;
}

long sl_hash_put(struct sl_hash *h, struct sl_pool_cache *cache, const void *key, const void *value,
	uint32_t cpu, uint64_t flags)
{
	struct attempt a = { .key = key, .value = value, .cpu = cpu };
	struct place place;
	int err;

	if (sl_unlikely(flags > BPF_EXIST))
		return -EINVAL;
	/* Lock-free: every retry is due to another thread's success. */
	do {
		seek(h, cache, key, &place);
		if (place.elem)
			err = flags == BPF_NOEXIST ? -EEXIST : replace(h, cache, &a, &place);
		else
			err = flags == BPF_EXIST ? -ENOENT : append(h, cache, &a, &place);
	} while (err == RETRY);
	/* An eviction may be looking at the key of one that it could see. */
	if (a.elem && h->lru)
		retire(h, cache, a.elem);
	else if (a.elem)
		sl_pool_put(cache, number_of(h, a.elem));
	if (a.entered)
		sl_pool_leave(cache);
	return err;
}

struct sl_hash_elem *sl_hash_take(struct sl_hash *h, struct sl_pool_cache *cache, const void *key)
{
	struct place place;

	do {
		seek(h, cache, key, &place);
		if (!place.elem)
			return NULL;
	} while (!link_swap(&place.elem->next, place.next, place.next | SL_HASH_MARK));
	drop_fields(h, cache, place.elem);
	sl_pool_leave(cache);
	unlink_elem(h, cache, key, &place, place.next);
	return place.elem;
}

bool sl_hash_take_elem(struct sl_hash *h, struct sl_pool_cache *cache, struct sl_hash_elem *e)
{
	struct place place;

	do {
		seek(h, cache, e->key, &place);
		if (place.elem != e)
			return false;
	} while (!link_swap(&e->next, place.next, place.next | SL_HASH_MARK));
	drop_fields(h, cache, e);
	unlink_elem(h, cache, e->key, &place, place.next);
	return true;
}
