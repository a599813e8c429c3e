#include "prog_array.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "area.h"
#include "type.h"
#include "cpu.h"
#include "fd.h"
#include "prog_owner.h"

/*
 * PROG_ARRAY, the jump table. Control threads change it under a lock, workers read it without.
 *
 * A slot is one pointer to code. A single update or delete replaces that pointer, so a packet in
 * flight runs the old program or the new one. A batch update must look like one step to every
 * packet although it changes many slots: it builds a whole new table, and every CPU has a view
 * pointer that is switched to it between two bursts, by its worker, or on its behalf when it has
 * none (sl_cpu_run). A program therefore sees one table for as long as it runs. The batch returns
 * when all CPUs have switched: until then the lock is held, so there are never more than two
 * tables, and single updates never have to choose.
 *
 * What was replaced is released after a grace period: programs because that is what dropping their
 * last reference does, tables through sl_rcu_call.
 */
struct table {
	struct sl_rcu_head rcu;
	size_t len_bytes;
	struct sl_prog_table slots; /* last; read by workers */
};

struct prog_array {
	struct sl_map map;
	struct sl_prog_table *const
		*desc_views; /* struct sl_prog_array_desc goes on from map.desc */

	/* Under lock. */
	pthread_mutex_t lock;
	struct sl_prog_owner owner;
	struct table *table;
	struct sl_prog **progs; /* [max_entries], a reference each */

	/* Each written in the name of its CPU, see above; read by that CPU only. */
	struct sl_prog_table *views[SL_MAX_CPUS] sl_cache_aligned;
};

static_assert(offsetof(struct prog_array, desc_views) - offsetof(struct prog_array, map.desc) ==
		      offsetof(struct sl_prog_array_desc, views),
	"the descriptor is contiguous");

static struct prog_array *prog_array_of(const struct sl_map *map)
{
	return (struct prog_array *)map;
}

static size_t table_len(uint32_t max_entries)
{
	return sizeof(struct table) + (size_t)max_entries * sizeof(sl_prog_fn);
}

static struct table *table_new(uint32_t max_entries)
{
	size_t len_bytes = table_len(max_entries);
	struct table *t = sl_area_new(len_bytes, len_bytes);

	if (t)
		t->len_bytes = len_bytes;
	return t;
}

static void table_free(struct table *t)
{
	if (t)
		sl_area_free(t, t->len_bytes);
}

static void table_free_rcu(struct sl_rcu_head *head)
{
	table_free(sl_container_of(head, struct table, rcu));
}

static int prog_array_check_attr(const union bpf_attr *attr)
{
	if (attr->value_size != sizeof(uint32_t))
		return -EINVAL;
	if (attr->map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG))
		return -EINVAL;
	return sl_array_check(attr);
}

static void prog_put(struct sl_prog *prog)
{
	if (prog)
		sl_object_unref(&prog->obj);
}

/* A program that was in a slot. */
static void entry_put(struct sl_prog *prog)
{
	if (prog)
		sl_prog_unuse(prog, SL_PROG_IN_TABLE);
	prog_put(prog);
}

static size_t progs_len(const struct sl_map *map)
{
	return (size_t)map->desc.max_entries * sizeof(struct sl_prog *);
}

static void prog_array_free(struct sl_map *map)
{
	struct prog_array *a = prog_array_of(map);

	if (!a)
		return;
	for (uint32_t i = 0; a->progs && i < map->desc.max_entries; i++)
		entry_put(a->progs[i]);
	sl_area_free(a->progs, progs_len(map));
	table_free(a->table);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static int prog_array_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct prog_array *a = sl_map_alloc(sizeof(*a), &sl_prog_array_ops, attr);

	if (!a)
		return -ENOMEM;
	pthread_mutex_init(&a->lock, NULL);
	a->table = table_new(attr->max_entries);
	a->progs = sl_area_new(progs_len(&a->map), 0);
	if (!a->table || !a->progs) {
		prog_array_free(&a->map);
		return -ENOMEM;
	}
	for (unsigned cpu = 0; cpu < SL_MAX_CPUS; cpu++)
		a->views[cpu] = &a->table->slots;
	a->desc_views = a->views;
	*ret_map = &a->map;
	return 0;
}

/* Without a look at the table, which another thread's batch may be replacing. */
static uint64_t prog_array_memory_bytes(const struct sl_map *map)
{
	return sizeof(struct prog_array) + table_len(map->desc.max_entries) + progs_len(map);
}

/* With the lock held. */
static int check_owner(struct prog_array *a, const struct sl_prog *prog)
{
	return sl_prog_owner_check(&a->owner, prog, true);
}

static int prog_array_admit(struct sl_map *map, const struct sl_prog *prog)
{
	struct prog_array *a = prog_array_of(map);
	int err;

	pthread_mutex_lock(&a->lock);
	err = check_owner(a, prog);
	pthread_mutex_unlock(&a->lock);
	return err;
}

static int prog_get(const void *value, struct sl_prog **ret_prog)
{
	struct sl_object *obj;
	int fd, err;

	memcpy(&fd, value, sizeof(fd));
	err = sl_fd_get(fd, SL_OBJECT_PROG, &obj);
	if (err)
		return err;
	*ret_prog = sl_prog_of(obj);
	return 0;
}

/* With the lock held: whether a slot may have `prog`. */
static int check_entry(struct prog_array *a, struct sl_prog *prog)
{
	if (prog->type == BPF_PROG_TYPE_EXT || check_owner(a, prog))
		return -EINVAL;
	return sl_prog_use(prog, SL_PROG_IN_TABLE);
}

/*
 * With the lock held: puts prog (its reference goes to the slot, which check_entry allowed) and
 * returns what was there.
 */
static struct sl_prog *slot_swap(struct prog_array *a, uint32_t index, struct sl_prog *prog)
{
	struct sl_prog *old = a->progs[index];

	a->progs[index] = prog;
	sl_rcu_store(a->table->slots.entries[index], prog ? prog->own_code->run : NULL);
	return old;
}

/* The value is the id of the program, as the kernel returns it. */
static int prog_array_sys_lookup(
	struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	struct prog_array *a = prog_array_of(map);
	uint32_t index = sl_array_index(key), id = 0;

	if (flags)
		return -EINVAL;
	if (index >= map->desc.max_entries)
		return -ENOENT;
	pthread_mutex_lock(&a->lock);
	if (a->progs[index])
		id = a->progs[index]->obj.id;
	pthread_mutex_unlock(&a->lock);
	if (!id)
		return -ENOENT;
	memcpy(ret_value, &id, sizeof(id));
	return 0;
}

static int prog_array_sys_update(
	struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	struct prog_array *a = prog_array_of(map);
	uint32_t index = sl_array_index(key);
	struct sl_prog *prog, *old = NULL;
	int err;

	if (flags != BPF_ANY)
		return -EINVAL;
	if (index >= map->desc.max_entries)
		return -E2BIG;
	err = prog_get(value, &prog);
	if (err)
		return err;
	pthread_mutex_lock(&a->lock);
	err = check_entry(a, prog);
	if (!err)
		old = slot_swap(a, index, prog);
	pthread_mutex_unlock(&a->lock);
	if (err)
		prog_put(prog);
	entry_put(old);
	return err;
}

static int prog_array_sys_delete(struct sl_map *map, const void *key)
{
	struct prog_array *a = prog_array_of(map);
	uint32_t index = sl_array_index(key);
	struct sl_prog *old;

	if (index >= map->desc.max_entries)
		return -E2BIG;
	pthread_mutex_lock(&a->lock);
	old = slot_swap(a, index, NULL);
	pthread_mutex_unlock(&a->lock);
	entry_put(old);
	return old ? 0 : -ENOENT;
}

/*
 * Programs refer to the arrays they jump through and arrays to the programs in them: without this
 * step such a circle would keep itself alive.
 */
static void prog_array_user_release(struct sl_map *map)
{
	struct prog_array *a = prog_array_of(map);

	for (uint32_t i = 0; i < map->desc.max_entries; i++) {
		struct sl_prog *old;

		pthread_mutex_lock(&a->lock);
		old = a->progs[i] ? slot_swap(a, i, NULL) : NULL;
		pthread_mutex_unlock(&a->lock);
		entry_put(old);
	}
}

/* As the only user of the CPU. */
static int switch_view(unsigned cpu, void *arg)
{
	struct prog_array *a = arg;

	a->views[cpu] = &a->table->slots;
	return 0;
}

/* With the lock held: `table` becomes what every CPU sees; the old one goes. */
static void publish(struct prog_array *a, struct table *table)
{
	struct table *old = a->table;

	a->table = table;
	for (unsigned cpu = 0; cpu < sl_cpu_count(); cpu++)
		sl_cpu_run(cpu, switch_view, a);
	sl_rcu_call(&old->rcu, table_free_rcu);
}

/* Gets all programs of a batch; on failure none is held. */
static int batch_get(struct sl_map *map, const uint8_t *keys, const uint8_t *values, uint32_t count,
	struct sl_prog **progs)
{
	uint32_t i;
	int err = 0;

	for (i = 0; i < count; i++) {
		err = sl_array_index(keys + i * 4) < map->desc.max_entries ? 0 : -E2BIG;
		if (!err)
			err = prog_get(values + i * 4, &progs[i]);
		if (err)
			break;
	}
	while (err && i > 0)
		prog_put(progs[--i]);
	return err;
}

/* With the lock held: whether all of them may be in the table, which they then count as. */
static int batch_check(struct prog_array *a, uint32_t count, struct sl_prog **progs)
{
	struct sl_prog_owner before = a->owner;
	int err = 0;

	for (uint32_t i = 0; i < count; i++) {
		err = check_entry(a, progs[i]);
		if (!err)
			continue;
		while (i > 0)
			sl_prog_unuse(progs[--i], SL_PROG_IN_TABLE);
		a->owner = before;
		break;
	}
	return err;
}

/* With the lock held: all of the batch or nothing. progs then holds what was replaced. */
static int batch_apply(
	struct prog_array *a, const uint8_t *keys, uint32_t count, struct sl_prog **progs)
{
	struct table *table = table_new(a->map.desc.max_entries);
	int err = table ? batch_check(a, count, progs) : -ENOMEM;

	if (err) {
		table_free(table);
		return err;
	}
	memcpy(table->slots.entries, a->table->slots.entries,
		(size_t)a->map.desc.max_entries * sizeof(sl_prog_fn));
	for (uint32_t i = 0; i < count; i++) {
		uint32_t index = sl_array_index(keys + i * 4);
		struct sl_prog *old = a->progs[index];

		table->slots.entries[index] = progs[i]->own_code->run;
		a->progs[index] = progs[i];
		progs[i] = old;
	}
	publish(a, table);
	return 0;
}

/* Beyond Linux, which has no batches for this type: all slots of the batch change as one. */
static int prog_array_sys_update_all(
	struct sl_map *map, const void *keys, const void *values, uint32_t count, uint64_t flags)
{
	struct prog_array *a = prog_array_of(map);
	struct sl_prog **progs;
	int err;

	if (flags != BPF_ANY)
		return -EINVAL;
	if (count == 0)
		return 0;
	progs = calloc(count, sizeof(struct sl_prog *));
	if (!progs)
		return -ENOMEM;
	err = batch_get(map, keys, values, count, progs);
	if (err)
		goto out;
	pthread_mutex_lock(&a->lock);
	err = batch_apply(a, keys, count, progs);
	pthread_mutex_unlock(&a->lock);
	for (uint32_t i = 0; i < count; i++) {
		if (err)
			prog_put(progs[i]);
		else
			entry_put(progs[i]);
	}
out:
	free(progs);
	return err;
}

const struct sl_map_ops sl_prog_array_ops = {
	.name = "prog_array",
	.check = prog_array_check_attr,
	.new = prog_array_new,
	.free = prog_array_free,
	.user_release = prog_array_user_release,
	.memory_bytes = prog_array_memory_bytes,
	.admit = prog_array_admit,
	.sys_lookup = prog_array_sys_lookup,
	.sys_update = prog_array_sys_update,
	.sys_delete = prog_array_sys_delete,
	.next_key = sl_array_next_key,
	.batch = SL_MAP_BATCH_UPDATE,
	.sys_update_all = prog_array_sys_update_all,
	.never_inner = true,
	.desc_size = sizeof(struct sl_prog_array_desc),
};
