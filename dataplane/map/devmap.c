#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "area.h"
#include "redirect_target.h"
#include "type.h"

/*
 * DEVMAP and DEVMAP_HASH: ports by index or by any number. Both give programs a look at the entry,
 * which they cannot write to. The hash table is the kernel's: the number itself says the bucket.
 */
struct devmap_hash {
	struct sl_redirect_map head;
	pthread_mutex_t lock; /* writers */
	struct sl_redirect_target **buckets; /* links are read through sl_rcu_load */
	uint32_t bucket_count; /* a power of two */
	uint32_t count;
};

bool (*sl_redirect_port_exists)(uint32_t ifindex);

static int devmap_check(const union bpf_attr *attr)
{
	const uint32_t allowed = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;

	if (!sl_redirect_sizes_ok(attr) || (attr->map_flags & ~allowed))
		return -EINVAL;
	if (attr->map_type == BPF_MAP_TYPE_DEVMAP_HASH && attr->max_entries > 1u << 31)
		return -EINVAL;
	return 0;
}

/* Programs get the address of an entry. */
static void only_read(struct sl_map *map)
{
	map->desc.flags |= BPF_F_RDONLY_PROG;
}

static int devmap_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	int err = sl_redirect_array_new(attr, &sl_devmap_ops, ret_map);

	if (!err)
		only_read(*ret_map);
	return err;
}

static bool interface_exists(uint32_t ifindex)
{
	char name[IF_NAMESIZE];

	return (sl_redirect_port_exists && sl_redirect_port_exists(ifindex)) ||
	       if_indextoname(ifindex, name);
}

/* Whatever is wrong with the interface or the program, the kernel calls it invalid. */
static int target_new(struct sl_map *map, const void *value, struct sl_redirect_target **ret_target)
{
	uint32_t ifindex;
	int err;

	memcpy(&ifindex, value, sizeof(ifindex));
	if (!interface_exists(ifindex))
		return -EINVAL;
	err = sl_redirect_target_new(map, value, BPF_XDP_DEVMAP, ret_target);
	return err == -ENOMEM ? err : err ? -EINVAL : 0;
}

static int devmap_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);
	struct sl_redirect_target *target = NULL;
	struct bpf_devmap_val val = { 0 };
	int err = 0;

	if (flags > BPF_EXIST)
		return -EINVAL;
	if (index >= map->desc.max_entries)
		return -E2BIG;
	if (flags == BPF_NOEXIST)
		return -EEXIST;
	memcpy(&val, value, map->desc.value_size);
	if (val.ifindex)
		err = target_new(map, value, &target);
	else if (val.bpf_prog.fd > 0)
		err = -EINVAL;
	if (!err)
		sl_redirect_array_set(map, index, target);
	return err;
}

const struct sl_map_ops sl_devmap_ops = {
	.name = "devmap",
	.check = devmap_check,
	.new = devmap_new,
	.check_btf = sl_map_check_no_btf,
	.free = sl_redirect_array_free,
	.memory_bytes = sl_redirect_array_memory,
	.admit = sl_redirect_admit,
	.sys_lookup = sl_redirect_sys_lookup,
	.sys_update = devmap_update,
	.sys_delete = sl_redirect_array_delete,
	.next_key = sl_array_next_key,
	.lookup = sl_redirect_array_lookup,
	.desc_size = sizeof(struct sl_map_desc),
};

static struct devmap_hash *hash_of(const struct sl_map *map)
{
	return (struct devmap_hash *)map;
}

static size_t buckets_len(const struct devmap_hash *h)
{
	return (size_t)h->bucket_count * sizeof(struct sl_redirect_target *);
}

static void hash_free(struct sl_map *map)
{
	struct devmap_hash *h = hash_of(map);

	if (!h)
		return;
	for (uint32_t i = 0; h->buckets && i < h->bucket_count; i++)
		for (struct sl_redirect_target *t = h->buckets[i], *next; t; t = next) {
			next = t->next;
			sl_redirect_target_retire(t);
		}
	sl_area_free(h->buckets, buckets_len(h));
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static int hash_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct devmap_hash *h = sl_map_alloc(sizeof(*h), &sl_devmap_hash_ops, attr);

	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	for (h->bucket_count = 1; h->bucket_count < attr->max_entries;)
		h->bucket_count *= 2;
	h->buckets = sl_area_new(buckets_len(h), 0);
	if (!h->buckets) {
		hash_free(&h->head.map);
		return -ENOMEM;
	}
	only_read(&h->head.map);
	*ret_map = &h->head.map;
	return 0;
}

static uint64_t hash_memory(const struct sl_map *map)
{
	return sizeof(struct devmap_hash) + buckets_len(hash_of(map));
}

static struct sl_redirect_target **bucket_of(const struct devmap_hash *h, uint32_t key)
{
	return &h->buckets[key & (h->bucket_count - 1)];
}

static void *hash_lookup(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	uint32_t number = sl_array_index(key);
	struct sl_redirect_target *t = sl_rcu_load(*bucket_of(hash_of(desc->map), number));

	while (t && t->key != number)
		t = sl_rcu_load(t->next);
	return t;
}

/* With the lock held: takes the entry out of its bucket. NULL: there is none. */
static struct sl_redirect_target *unlink_key(struct devmap_hash *h, uint32_t key)
{
	struct sl_redirect_target **link = bucket_of(h, key), *t;

	while (*link && (*link)->key != key)
		link = &(*link)->next;
	t = *link;
	if (t)
		sl_rcu_store(*link, t->next);
	return t;
}

static int hash_put(struct devmap_hash *h, uint32_t key, struct sl_redirect_target *target)
{
	struct sl_redirect_target **bucket = bucket_of(h, key), *old = unlink_key(h, key);

	if (!old && h->count == h->head.map.desc.max_entries)
		return -E2BIG;
	h->count += !old;
	target->key = key;
	target->next = *bucket;
	sl_rcu_store(*bucket, target);
	sl_redirect_target_retire(old);
	return 0;
}

static int hash_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	struct devmap_hash *h = hash_of(map);
	struct sl_redirect_target *target = NULL;
	uint32_t ifindex;
	int err = 0;

	memcpy(&ifindex, value, sizeof(ifindex));
	if (flags > BPF_EXIST || !ifindex)
		return -EINVAL;
	pthread_mutex_lock(&h->lock);
	if ((flags & BPF_NOEXIST) && hash_lookup(&map->desc, NULL, key))
		err = -EEXIST;
	if (!err)
		err = target_new(map, value, &target);
	if (!err)
		err = hash_put(h, sl_array_index(key), target);
	pthread_mutex_unlock(&h->lock);
	if (err)
		sl_redirect_target_retire(target);
	return err;
}

static int hash_delete(struct sl_map *map, const void *key)
{
	struct devmap_hash *h = hash_of(map);
	struct sl_redirect_target *old;

	pthread_mutex_lock(&h->lock);
	old = unlink_key(h, sl_array_index(key));
	h->count -= old != NULL;
	pthread_mutex_unlock(&h->lock);
	sl_redirect_target_retire(old);
	return old ? 0 : -ENOENT;
}

/* The first entry from bucket `from` on. */
static const struct sl_redirect_target *first_from(const struct devmap_hash *h, uint64_t from)
{
	const struct sl_redirect_target *t = NULL;

	for (; !t && from < h->bucket_count; from++)
		t = sl_rcu_load(h->buckets[from]);
	return t;
}

static int hash_next_key(struct sl_map *map, const void *key, void *ret_next)
{
	const struct devmap_hash *h = hash_of(map);
	const struct sl_redirect_target *t = key ? hash_lookup(&map->desc, NULL, key) : NULL;

	if (!t)
		t = first_from(h, 0);
	else if (sl_rcu_load(t->next))
		t = sl_rcu_load(t->next);
	else
		t = first_from(h, (t->key & (h->bucket_count - 1)) + 1ull);
	if (!t)
		return -ENOENT;
	memcpy(ret_next, &t->key, sizeof(t->key));
	return 0;
}

const struct sl_map_ops sl_devmap_hash_ops = {
	.name = "devmap_hash",
	.check = devmap_check,
	.new = hash_new,
	.check_btf = sl_map_check_no_btf,
	.free = hash_free,
	.memory_bytes = hash_memory,
	.sys_lookup = sl_redirect_sys_lookup,
	.sys_update = hash_update,
	.sys_delete = hash_delete,
	.next_key = hash_next_key,
	.lookup = hash_lookup,
	.desc_size = sizeof(struct sl_map_desc),
};

/* *position: the bucket or index, above 32 bits for how deep in it. */
const struct sl_redirect_target *sl_redirect_next(const struct sl_map *map, uint64_t *position)
{
	bool hashed = map->desc.type == BPF_MAP_TYPE_DEVMAP_HASH;
	struct sl_redirect_target **heads =
		hashed ? hash_of(map)->buckets : ((struct sl_redirect_array *)map)->slots;
	uint32_t count = hashed ? hash_of(map)->bucket_count : map->desc.max_entries;
	uint32_t depth = (uint32_t)*position;

	for (uint64_t head = *position >> 32; head < count; head++, depth = 0) {
		const struct sl_redirect_target *t = sl_rcu_load(heads[head]);

		/* In an array nothing follows an entry. */
		for (uint32_t i = 0; t && i < depth; i++)
			t = sl_rcu_load(t->next);
		if (!t)
			continue;
		*position = head << 32 | (depth + 1);
		return t;
	}
	return NULL;
}
