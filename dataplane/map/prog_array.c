#include "prog_array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "area.h"
#include "cpu.h"
#include "fd.h"
#include "prog_array_step.h"
#include "prog_array_table.h"
#include "type.h"

/*
 * PROG_ARRAY, the jump table. Control threads change it under a lock, workers read it without.
 *
 * A slot is one pointer to code. A single update or delete replaces that pointer, so a packet in
 * flight runs the old program or the new one. A batch update must look like one step to every
 * packet although it changes many slots: it builds a whole new table, and every CPU has a view
 * pointer that is switched to it between two bursts, by its worker, or on its behalf when it has
 * none (prog_array_step.c). A program therefore sees one table for as long as it runs. The batch
 * returns when all CPUs have switched: until then the lock is held, so there are never more than
 * two tables, and single updates never have to choose.
 *
 * What was replaced is released after a grace period: programs because that is what dropping their
 * last reference does, tables through sl_rcu_call.
 */
static size_t table_len(uint32_t max_entries)
{
	return sizeof(struct sl_jump_table) + (size_t)max_entries * sizeof(sl_prog_fn);
}

/*
 * Tables come and go with every generation, and giving pages back to the system interrupts all
 * workers for their TLBs: what is smaller than this is the allocator's.
 */
enum { TABLE_AREA_BYTES = 64 << 10 };

static struct sl_jump_table *small_table_new(size_t len_bytes)
{
	size_t room = sl_round_up(len_bytes, (size_t)SL_CACHE_LINE);
	struct sl_jump_table *t = aligned_alloc(SL_CACHE_LINE, room);

	return t ? memset(t, 0, room) : NULL;
}

struct sl_jump_table *sl_jump_table_new(uint32_t max_entries)
{
	size_t len_bytes = table_len(max_entries);
	struct sl_jump_table *t = len_bytes < TABLE_AREA_BYTES ? small_table_new(len_bytes)
							       : sl_area_new(len_bytes, len_bytes);

	if (t)
		t->len_bytes = len_bytes;
	return t;
}

void sl_jump_table_free(struct sl_jump_table *table)
{
	if (table && table->len_bytes < TABLE_AREA_BYTES)
		free(table);
	else if (table)
		sl_area_free(table, table->len_bytes);
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
	struct sl_prog_array *a = sl_prog_array_of(map);

	if (!a)
		return;
	for (uint32_t i = 0; a->progs && i < map->desc.max_entries; i++)
		entry_put(a->progs[i]);
	sl_area_free(a->progs, progs_len(map));
	sl_jump_table_free(a->table);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static int prog_array_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct sl_prog_array *a = sl_map_alloc(sizeof(*a), &sl_prog_array_ops, attr);

	if (!a)
		return -ENOMEM;
	pthread_mutex_init(&a->lock, NULL);
	a->table = sl_jump_table_new(attr->max_entries);
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
	return sizeof(struct sl_prog_array) + table_len(map->desc.max_entries) + progs_len(map);
}

/* With the lock held. */
static int check_owner(struct sl_prog_array *a, const struct sl_prog *prog)
{
	return sl_prog_owner_check(&a->owner, prog, true);
}

static int prog_array_admit(struct sl_map *map, const struct sl_prog *prog)
{
	struct sl_prog_array *a = sl_prog_array_of(map);
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

int sl_prog_array_check_entry(struct sl_prog_array *array, struct sl_prog *prog)
{
	if (prog->type == BPF_PROG_TYPE_EXT || check_owner(array, prog))
		return -EINVAL;
	return sl_prog_use(prog, SL_PROG_IN_TABLE);
}

static void (*jump_hook)(const struct sl_ctx *ctx, const struct sl_prog *prog);

void sl_prog_array_set_jump_hook(void (*hook)(const struct sl_ctx *ctx, const struct sl_prog *prog))
{
	__atomic_store_n(&jump_hook, hook, __ATOMIC_RELAXED);
}

/*
 * A program whose reference a slot had until just now lives until the next quiescent state. In the
 * moment of an update the slot's program may be another one than the code that was found.
 */
void sl_prog_array_note_jump(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, uint64_t index, sl_prog_fn target)
{
	/* Programs have copies of descriptors; the views are the map's. */
	const struct sl_prog_array *a =
		sl_container_of((void *)((const struct sl_prog_array_desc *)desc)->views,
			struct sl_prog_array, views);
	const struct sl_prog *prog = sl_rcu_load(a->progs[(uint32_t)index]);
	void (*hook)(const struct sl_ctx *ctx, const struct sl_prog *prog) =
		__atomic_load_n(&jump_hook, __ATOMIC_RELAXED);

	if (hook)
		hook(ctx, prog && prog->own_code->run == target ? prog : NULL);
}

/*
 * With the lock held: puts prog (its reference goes to the slot, which the check allowed) and
 * returns what was there.
 */
static struct sl_prog *slot_swap(struct sl_prog_array *a, uint32_t index, struct sl_prog *prog)
{
	struct sl_prog *old = a->progs[index];

	sl_rcu_store(a->progs[index], prog);
	sl_rcu_store(a->table->slots.entries[index], prog ? prog->own_code->run : NULL);
	return old;
}

/* The value is the id of the program, as the kernel returns it. */
static int prog_array_sys_lookup(
	struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	struct sl_prog_array *a = sl_prog_array_of(map);
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
	struct sl_prog_array *a = sl_prog_array_of(map);
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
	err = sl_prog_array_check_entry(a, prog);
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
	struct sl_prog_array *a = sl_prog_array_of(map);
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

static void (*release_hook)(struct sl_map *map); /* written once */

void sl_prog_array_set_release_hook(void (*fn)(struct sl_map *map))
{
	sl_rcu_store(release_hook, fn);
}

/*
 * Programs refer to the arrays they jump through and arrays to the programs in them: without this
 * step such a circle would keep itself alive.
 */
static void prog_array_user_release(struct sl_map *map)
{
	void (*hook)(struct sl_map *map) = sl_rcu_load(release_hook);
	struct sl_prog_array *a = sl_prog_array_of(map);

	for (uint32_t i = 0; i < map->desc.max_entries; i++) {
		struct sl_prog *old;

		pthread_mutex_lock(&a->lock);
		old = a->progs[i] ? slot_swap(a, i, NULL) : NULL;
		pthread_mutex_unlock(&a->lock);
		entry_put(old);
	}
	if (hook)
		hook(map);
}

/* As the only user of the CPU. */
static int switch_cpu(unsigned cpu, void *step)
{
	sl_prog_step_switch(step, cpu);
	return 0;
}

/* The changes of a batch, with a reference to each program; on failure none is held. */
static int batch_get(struct sl_map *map, const uint8_t *keys, const uint8_t *values, uint32_t count,
	struct sl_slot_change *changes)
{
	uint32_t i;
	int err = 0;

	for (i = 0; i < count; i++) {
		changes[i].map = map;
		changes[i].index = sl_array_index(keys + i * 4);
		err = changes[i].index < map->desc.max_entries ? 0 : -E2BIG;
		if (!err)
			err = prog_get(values + i * 4, &changes[i].prog);
		if (err)
			break;
	}
	while (err && i > 0)
		prog_put(changes[--i].prog);
	return err;
}

/* All of the batch or nothing. The changes then hold what was replaced. */
static int batch_apply(struct sl_slot_change *changes, uint32_t count)
{
	struct sl_prog_step *step;
	uint32_t at;
	int err = sl_prog_step_new(changes, count, &step);

	if (err)
		return err;
	sl_prog_step_lock(step);
	err = sl_prog_step_check(step, &at);
	if (!err) {
		sl_prog_step_apply(step);
		sl_cpu_run_all(switch_cpu, step);
	}
	sl_prog_step_done(step);
	return err;
}

/* Beyond Linux, which has no batches for this type: all slots of the batch change as one. */
static int prog_array_sys_update_all(
	struct sl_map *map, const void *keys, const void *values, uint32_t count, uint64_t flags)
{
	struct sl_slot_change *changes;
	int err;

	if (flags != BPF_ANY)
		return -EINVAL;
	if (count == 0)
		return 0;
	changes = calloc(count, sizeof(*changes));
	if (!changes)
		return -ENOMEM;
	err = batch_get(map, keys, values, count, changes);
	if (err)
		goto out;
	err = batch_apply(changes, count);
	for (uint32_t i = 0; i < count; i++)
		prog_put(changes[i].prog);
out:
	free(changes);
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
