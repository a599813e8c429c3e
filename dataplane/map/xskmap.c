#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "area.h"
#include "caller.h"
#include "type.h"
#include "xsk.h"

/*
 * XSKMAP: AF_XDP sockets by index. A slot does not hold its socket: as in the kernel one that is
 * closed disappears from all maps. Slots are written under the sockets' lock.
 */
struct xskmap {
	struct sl_map map;
	struct sl_list node; /* of all, under the sockets' lock */
	struct sl_xsk **slots; /* read through sl_rcu_load */
};

static struct sl_list maps = SL_LIST_INIT(maps);

static int xskmap_check(const union bpf_attr *attr)
{
	const uint32_t allowed = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;

	return attr->max_entries == 0 || attr->key_size != 4 || attr->value_size != 4 ||
			       (attr->map_flags & ~allowed)
		       ? -EINVAL
		       : 0;
}

static struct xskmap *xskmap_of(const struct sl_map *map)
{
	return (struct xskmap *)map;
}

static size_t slots_len(const struct sl_map *map)
{
	return (size_t)map->desc.max_entries * sizeof(struct sl_xsk *);
}

static void forget(struct sl_xsk *xsk)
{
	struct xskmap *m;

	sl_list_for_each (m, &maps, node) {
		for (uint32_t i = 0; i < m->map.desc.max_entries; i++) {
			if (m->slots[i] == xsk)
				sl_rcu_store(m->slots[i], NULL);
		}
	}
}

static void xskmap_free(struct sl_map *map)
{
	struct xskmap *m = xskmap_of(map);

	if (!m)
		return;
	sl_xsk_lock();
	sl_list_del(&m->node);
	sl_xsk_unlock();
	sl_area_free(m->slots, slots_len(map));
	free(m);
}

static int xskmap_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct xskmap *m = sl_map_alloc(sizeof(*m), &sl_xskmap_ops, attr);

	if (!m)
		return -ENOMEM;
	sl_list_init(&m->node);
	m->slots = sl_area_new(slots_len(&m->map), 0);
	if (!m->slots) {
		xskmap_free(&m->map);
		return -ENOMEM;
	}
	sl_xsk_lock();
	sl_list_add_tail(&maps, &m->node);
	sl_xsk_forget = forget;
	sl_xsk_unlock();
	*ret_map = &m->map;
	return 0;
}

static uint64_t xskmap_memory(const struct sl_map *map)
{
	return sizeof(struct xskmap) + slots_len(map);
}

static int xskmap_sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	return flags ? -EINVAL : -EOPNOTSUPP;
}

/* With the lock held. */
static int put(struct sl_xsk **slot, struct sl_xsk *xsk, uint64_t flags)
{
	if (*slot == xsk)
		return 0;
	if (*slot && flags == BPF_NOEXIST)
		return -EEXIST;
	if (!*slot && flags == BPF_EXIST)
		return -ENOENT;
	sl_rcu_store(*slot, xsk);
	return 0;
}

static int xskmap_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);
	struct sl_xsk *xsk;
	struct stat st;
	int fd, err;

	memcpy(&fd, value, sizeof(fd));
	if (flags > BPF_EXIST)
		return -EINVAL;
	if (index >= map->desc.max_entries)
		return -E2BIG;
	/* A caller's descriptor, and a file that takes its time to answer, not with the lock held. */
	fd = sl_caller_fd(fd);
	if (fd < 0 || fstat(fd, &st) != 0)
		return -EBADF;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	sl_xsk_lock();
	err = sl_xsk_find(fd, &xsk);
	if (!err)
		err = put(&xskmap_of(map)->slots[index], xsk, flags);
	sl_xsk_unlock();
	return err;
}

static int xskmap_delete(struct sl_map *map, const void *key)
{
	uint32_t index = sl_array_index(key);

	if (index >= map->desc.max_entries)
		return -EINVAL;
	sl_xsk_lock();
	sl_rcu_store(xskmap_of(map)->slots[index], NULL);
	sl_xsk_unlock();
	return 0;
}

static void *xskmap_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	uint32_t index = sl_array_index(key);

	return index < desc->max_entries ? sl_rcu_load(xskmap_of(desc->map)->slots[index]) : NULL;
}

const struct sl_map_ops sl_xskmap_ops = {
	.name = "xskmap",
	.check = xskmap_check,
	.new = xskmap_new,
	.check_btf = sl_map_check_no_btf,
	.free = xskmap_free,
	.memory_bytes = xskmap_memory,
	.sys_lookup = xskmap_sys_lookup,
	.sys_update = xskmap_update,
	.sys_delete = xskmap_delete,
	.next_key = sl_array_next_key,
	.lookup = xskmap_lookup,
	.desc_size = sizeof(struct sl_map_desc),
};
