#include "map_element.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "btf_record.h"
#include "command.h"
#include "cpu.h"
#include "fd.h"
#include "map.h"
#include "user.h"

int sl_map_get_for(int fd, bool read, bool write, struct sl_map **ret_map)
{
	struct sl_object *obj;
	struct sl_map *map;
	int access, err;

	err = sl_fd_get_any(fd, &obj, &access);
	if (err)
		return err;
	if (obj->type != SL_OBJECT_MAP) {
		sl_object_unref(obj);
		return -EINVAL;
	}
	map = sl_map_of(obj);
	if ((read && access == O_WRONLY) ||
		(write &&
			(access == O_RDONLY || __atomic_load_n(&map->frozen, __ATOMIC_ACQUIRE)))) {
		sl_object_unref(obj);
		return -EPERM;
	}
	*ret_map = map;
	return 0;
}

static bool is_percpu(const struct sl_map *map)
{
	switch (map->desc.type) {
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
		return true;
	default:
		return false;
	}
}

static bool holds_fds(const struct sl_map *map)
{
	switch (map->desc.type) {
	case BPF_MAP_TYPE_PROG_ARRAY:
	case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
	case BPF_MAP_TYPE_CGROUP_ARRAY:
	case BPF_MAP_TYPE_ARRAY_OF_MAPS:
	case BPF_MAP_TYPE_HASH_OF_MAPS:
		return true;
	default:
		return false;
	}
}

size_t sl_map_user_value_size(const struct sl_map *map)
{
	if (is_percpu(map))
		return (size_t)sl_round_up(map->desc.value_size, 8u) * sl_cpu_count();
	return holds_fds(map) ? sizeof(uint32_t) : map->desc.value_size;
}

int sl_map_flags_check(const struct sl_map *map, uint64_t flags)
{
	return (flags & BPF_F_LOCK) && !sl_btf_record_has(map->desc.record, SL_SPECIAL_SPIN_LOCK)
		       ? -EINVAL
		       : 0;
}

/* That an update waits for room before it fails. */
enum { GRACE_PERIODS_MAX = 16 };

int sl_map_do_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	int err;

	if (!map->ops->sys_lookup)
		return holds_fds(map) ? -SL_ENOTSUPP : -EOPNOTSUPP;
	sl_rcu_read_begin();
	err = map->ops->sys_lookup(map, key, ret_value, flags);
	sl_rcu_read_end();
	return err;
}

/* When the caller is told, no program sees the map that was replaced. */
static void wait_for_programs(const struct sl_map *map)
{
	if (map->inner)
		sl_rcu_synchronize();
}

int sl_map_do_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	int err;

	if (!map->ops->sys_update)
		return -EOPNOTSUPP;
	for (unsigned waits = 0;; waits++) {
		sl_rcu_read_begin();
		err = map->ops->sys_update(map, key, value, flags);
		sl_rcu_read_end();
		if (err != -ENOMEM || waits == GRACE_PERIODS_MAX) {
			wait_for_programs(map);
			return err;
		}
		/* What programs delete fast comes back after a grace period; we may wait for it. */
		sl_rcu_synchronize();
	}
}

int sl_map_do_delete(struct sl_map *map, const void *key)
{
	int err;

	if (!map->ops->sys_delete)
		return -EOPNOTSUPP;
	sl_rcu_read_begin();
	err = map->ops->sys_delete(map, key);
	sl_rcu_read_end();
	wait_for_programs(map);
	return err;
}

int sl_map_do_next_key(struct sl_map *map, const void *key, void *ret_next)
{
	int err;

	if (!map->ops->next_key)
		return -EOPNOTSUPP;
	sl_rcu_read_begin();
	err = map->ops->next_key(map, key, ret_next);
	sl_rcu_read_end();
	return err;
}

/* Key and value of one command, in our memory. */
struct element {
	struct sl_map *map;
	uint8_t *key, *value;
	size_t value_size;
};

static void element_done(struct element *e)
{
	free(e->key);
	free(e->value);
	sl_map_unref(e->map);
}

/* With the map already taken; on failure everything is given back. */
static int element_init(struct element *e, struct sl_map *map, uint64_t key_address)
{
	int err;

	*e = (struct element){ .map = map, .value_size = sl_map_user_value_size(map) };
	e->key = malloc(sl_max(map->desc.key_size, 1u));
	e->value = malloc(sl_max(e->value_size, (size_t)1));
	if (!e->key || !e->value)
		err = -ENOMEM;
	else if (map->desc.key_size == 0)
		err = key_address ? -EINVAL : 0;
	else
		err = sl_user_read(e->key, key_address, map->desc.key_size);
	if (err)
		element_done(e);
	return err;
}

int sl_cmd_map_lookup(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct element e;
	struct sl_map *map;
	int err;

	if (attr->flags & ~(uint64_t)BPF_F_LOCK)
		return -EINVAL;
	err = sl_map_get_for(attr->map_fd, true, false, &map);
	if (err)
		return err;
	err = sl_map_flags_check(map, attr->flags);
	if (err) {
		sl_map_unref(map);
		return err;
	}
	err = element_init(&e, map, attr->key);
	if (err)
		return err;
	if (map->ops->lookup_reads_value)
		err = sl_user_read(e.value, attr->value, e.value_size);
	if (!err)
		err = sl_map_do_lookup(map, e.key, e.value, attr->flags);
	if (!err)
		err = sl_user_write(attr->value, e.value, e.value_size);
	element_done(&e);
	return err;
}

int sl_cmd_map_update(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct element e;
	struct sl_map *map;
	int err;

	err = sl_map_get_for(attr->map_fd, false, true, &map);
	if (err)
		return err;
	err = sl_map_flags_check(map, attr->flags);
	if (err) {
		sl_map_unref(map);
		return err;
	}
	err = element_init(&e, map, attr->key);
	if (err)
		return err;
	err = sl_user_read(e.value, attr->value, e.value_size);
	if (!err)
		err = sl_map_do_update(map, e.key, e.value, attr->flags);
	element_done(&e);
	return err;
}

int sl_cmd_map_delete(const struct sl_call *call)
{
	struct element e;
	struct sl_map *map;
	int err;

	err = sl_map_get_for(call->attr->map_fd, false, true, &map);
	if (err)
		return err;
	err = element_init(&e, map, call->attr->key);
	if (err)
		return err;
	err = sl_map_do_delete(map, e.key);
	element_done(&e);
	return err;
}

int sl_cmd_map_next_key(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct element e;
	struct sl_map *map;
	uint8_t *next;
	int err;

	err = sl_map_get_for(attr->map_fd, true, false, &map);
	if (err)
		return err;
	/* No key asks for the first; reading none is what key_size 0 does as well. */
	if (attr->key) {
		err = element_init(&e, map, attr->key);
		if (err)
			return err;
	} else {
		e = (struct element){ .map = map };
	}
	next = malloc(sl_max(map->desc.key_size, 1u));
	err = next ? sl_map_do_next_key(map, e.key, next) : -ENOMEM;
	if (!err)
		err = sl_user_write(attr->next_key, next, map->desc.key_size);
	free(next);
	element_done(&e);
	return err;
}

int sl_cmd_map_lookup_and_delete(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct element e;
	struct sl_map *map;
	int err;

	if (attr->flags & ~(uint64_t)BPF_F_LOCK)
		return -EINVAL;
	err = sl_map_get_for(attr->map_fd, true, true, &map);
	if (err)
		return err;
	err = sl_map_flags_check(map, attr->flags);
	if (err) {
		sl_map_unref(map);
		return err;
	}
	err = element_init(&e, map, attr->key);
	if (err)
		return err;
	err = -SL_ENOTSUPP;
	if (map->ops->sys_lookup_and_delete) {
		sl_rcu_read_begin();
		err = map->ops->sys_lookup_and_delete(map, e.key, e.value, attr->flags);
		sl_rcu_read_end();
	}
	if (!err)
		err = sl_user_write(attr->value, e.value, e.value_size);
	element_done(&e);
	return err;
}
