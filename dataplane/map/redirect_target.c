#include "redirect_target.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "area.h"
#include "cpu_queue.h"
#include "fd.h"
#include "prog.h"
#include "type.h"

enum { VALUE_ALONE = 4, VALUE_AND_PROG = 8 };

bool sl_redirect_sizes_ok(const union bpf_attr *attr)
{
	return attr->max_entries != 0 && attr->key_size == sizeof(uint32_t) &&
	       (attr->value_size == VALUE_ALONE || attr->value_size == VALUE_AND_PROG);
}

static pthread_mutex_t owners_lock = PTHREAD_MUTEX_INITIALIZER;

int sl_redirect_admit(struct sl_map *map, const struct sl_prog *prog)
{
	struct sl_redirect_map *head = sl_container_of(map, struct sl_redirect_map, map);
	int err;

	pthread_mutex_lock(&owners_lock);
	err = sl_prog_owner_check(&head->owner, prog, false);
	pthread_mutex_unlock(&owners_lock);
	return err;
}

static int get_prog(
	struct sl_map *map, int fd, enum bpf_attach_type attach_type, struct sl_prog **ret_prog)
{
	struct sl_object *obj;
	struct sl_prog *prog;
	int err = sl_fd_get(fd, SL_OBJECT_PROG, &obj);

	if (err)
		return err;
	prog = sl_prog_of(obj);
	if (prog->type != BPF_PROG_TYPE_XDP || prog->expected_attach_type != attach_type ||
		sl_redirect_admit(map, prog) != 0) {
		sl_object_unref(obj);
		return -EINVAL;
	}
	*ret_prog = prog;
	return 0;
}

int sl_redirect_target_new(struct sl_map *map, const void *value, enum bpf_attach_type attach_type,
	struct sl_redirect_target **ret_target)
{
	struct bpf_devmap_val val = { 0 };
	struct sl_redirect_target *target = calloc(1, sizeof(*target));
	int err = 0;

	if (!target)
		return -ENOMEM;
	memcpy(&val, value, map->desc.value_size);
	target->value = val.ifindex;
	if (val.bpf_prog.fd > 0)
		err = get_prog(map, val.bpf_prog.fd, attach_type, &target->prog);
	if (err) {
		free(target);
		return err;
	}
	target->prog_id = target->prog ? target->prog->obj.id : 0;
	*ret_target = target;
	return 0;
}

static void destroy(struct sl_redirect_target *target)
{
	if (target) {
		sl_cpu_queue_close(target->queue);
		if (target->prog)
			sl_object_unref(&target->prog->obj);
	}
	free(target);
}

static void destroy_rcu(struct sl_rcu_head *head)
{
	destroy(sl_container_of(head, struct sl_redirect_target, rcu));
}

void sl_redirect_target_retire(struct sl_redirect_target *target)
{
	if (target)
		sl_rcu_call(&target->rcu, destroy_rcu);
}

static struct sl_redirect_array *array_of(const struct sl_map *map)
{
	return (struct sl_redirect_array *)map;
}

static size_t slots_len(const struct sl_map *map)
{
	return (size_t)map->desc.max_entries * sizeof(struct sl_redirect_target *);
}

int sl_redirect_array_new(
	const union bpf_attr *attr, const struct sl_map_ops *ops, struct sl_map **ret_map)
{
	struct sl_redirect_array *a = sl_map_alloc(sizeof(*a), ops, attr);

	if (!a)
		return -ENOMEM;
	a->slots = sl_area_new(slots_len(&a->head.map), 0);
	if (!a->slots) {
		sl_redirect_array_free(&a->head.map);
		return -ENOMEM;
	}
	*ret_map = &a->head.map;
	return 0;
}

void sl_redirect_array_free(struct sl_map *map)
{
	struct sl_redirect_array *a = array_of(map);

	if (!a)
		return;
	for (uint32_t i = 0; a->slots && i < map->desc.max_entries; i++)
		destroy(a->slots[i]);
	sl_area_free(a->slots, slots_len(map));
	free(a);
}

uint64_t sl_redirect_array_memory(const struct sl_map *map)
{
	return sizeof(struct sl_redirect_array) + slots_len(map);
}

void sl_redirect_array_set(struct sl_map *map, uint32_t index, struct sl_redirect_target *target)
{
	/* Release for readers of the entry, acquire for whoever destroys the old one. */
	sl_redirect_target_retire(
		__atomic_exchange_n(&array_of(map)->slots[index], target, __ATOMIC_ACQ_REL));
}

int sl_redirect_array_delete(struct sl_map *map, const void *key)
{
	uint32_t index = sl_array_index(key);

	if (index >= map->desc.max_entries)
		return -EINVAL;
	sl_redirect_array_set(map, index, NULL);
	return 0;
}

void *sl_redirect_array_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	uint32_t index = sl_array_index(key);

	return index < desc->max_entries ? sl_rcu_load(array_of(desc->map)->slots[index]) : NULL;
}

int sl_redirect_sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	const void *target;

	if (flags)
		return -EINVAL;
	target = map->ops->lookup(&map->desc, NULL, key);
	if (!target)
		return -ENOENT;
	memcpy(ret_value, target, map->desc.value_size);
	return 0;
}
