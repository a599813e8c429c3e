#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "map.h"
#include "map_element.h"
#include "user.h"

/* The batch commands of maps: many elements per call, and how many were done in batch.count. */

static int put_count(const struct sl_call *call, uint32_t count)
{
	return sl_call_put(call, batch.count, count);
}

/* A map for a batch command, if its type takes it. */
static int get_map(const struct sl_call *call, uint32_t bit, struct sl_map **ret_map)
{
	bool read = bit & (SL_MAP_BATCH_LOOKUP | SL_MAP_BATCH_LOOKUP_AND_DELETE);
	struct sl_map *map;
	int err;

	err = sl_map_get_for(call->attr->batch.map_fd, read, bit != SL_MAP_BATCH_LOOKUP, &map);
	if (err)
		return err;
	if (!(map->ops->batch & bit))
		err = -SL_ENOTSUPP;
	else if (call->attr->batch.elem_flags & ~(uint64_t)BPF_F_LOCK)
		err = -EINVAL;
	else
		err = sl_map_flags_check(map, call->attr->batch.elem_flags);
	if (err) {
		sl_map_unref(map);
		return err;
	}
	*ret_map = map;
	return 0;
}

/* Along next_key: an element that goes meanwhile is left out. */
static int lookup_by_keys(const struct sl_call *call, struct sl_map *map)
{
	uint32_t key_size = map->desc.key_size, done = 0;
	size_t value_size = sl_map_user_value_size(map);
	uint8_t *prev = malloc(key_size), *key = malloc(key_size), *value = malloc(value_size);
	bool have_prev = call->attr->batch.in_batch != 0;
	int err = prev && key && value ? 0 : -ENOMEM;

	if (!err && have_prev)
		err = sl_user_read(prev, call->attr->batch.in_batch, key_size);
	while (!err && done < call->attr->batch.count) {
		uint8_t *used = prev;

		err = sl_map_do_next_key(map, have_prev ? prev : NULL, key);
		if (err)
			break;
		err = sl_map_do_lookup(map, key, value, call->attr->batch.elem_flags);
		if (!err)
			err = sl_user_write(
				call->attr->batch.keys + (uint64_t)done * key_size, key, key_size);
		if (!err)
			err = sl_user_write(
				call->attr->batch.values + done * value_size, value, value_size);
		if (!err)
			done++;
		else if (err == -ENOENT)
			err = 0;
		else
			break;
		prev = key;
		key = used;
		have_prev = true;
	}
	if (err != -EFAULT && err != -ENOMEM) {
		if (put_count(call, done) ||
			(done && sl_user_write(call->attr->batch.out_batch, prev, key_size)))
			err = -EFAULT;
	}
	free(prev);
	free(key);
	free(value);
	return err;
}

/* By the type's own positions. */
static int lookup_by_position(const struct sl_call *call, struct sl_map *map, bool delete_too)
{
	const union bpf_attr *attr = call->attr;
	size_t value_size = sl_map_user_value_size(map);
	uint32_t count = attr->batch.count, position = 0;
	uint8_t *keys, *values;
	int err = 0;

	if (attr->batch.in_batch)
		err = sl_user_read(&position, attr->batch.in_batch, sizeof(position));
	if (err)
		return err;
	/* No more than the map holds can come back. */
	count = sl_min(count, map->desc.max_entries);
	keys = malloc((size_t)count * map->desc.key_size);
	values = malloc(count * value_size);
	if (!keys || !values) {
		err = -ENOMEM;
		goto out;
	}
	sl_rcu_read_begin();
	err = map->ops->sys_lookup_batch(
		map, &position, keys, values, &count, attr->batch.elem_flags, delete_too);
	sl_rcu_read_end();
	if (err && err != -ENOENT) {
		if (err == -ENOSPC && put_count(call, 0))
			err = -EFAULT;
		goto out;
	}
	if (sl_user_write(attr->batch.keys, keys, (size_t)count * map->desc.key_size) ||
		sl_user_write(attr->batch.values, values, count * value_size) ||
		sl_user_write(attr->batch.out_batch, &position, sizeof(position)) ||
		put_count(call, count))
		err = -EFAULT;
out:
	free(keys);
	free(values);
	return err;
}

static int lookup(const struct sl_call *call, uint32_t bit)
{
	struct sl_map *map;
	int err = get_map(call, bit, &map);

	if (err)
		return err;
	if (map->ops->sys_lookup_batch && call->attr->batch.flags)
		err = -EINVAL;
	else if (call->attr->batch.count == 0)
		err = 0;
	else if (put_count(call, 0))
		err = -EFAULT;
	else if (map->ops->sys_lookup_batch)
		err = lookup_by_position(call, map, bit == SL_MAP_BATCH_LOOKUP_AND_DELETE);
	else
		err = lookup_by_keys(call, map);
	sl_map_unref(map);
	return err;
}

int sl_cmd_map_lookup_batch(const struct sl_call *call)
{
	return lookup(call, SL_MAP_BATCH_LOOKUP);
}

int sl_cmd_map_lookup_and_delete_batch(const struct sl_call *call)
{
	return lookup(call, SL_MAP_BATCH_LOOKUP_AND_DELETE);
}

/* All of it or nothing, for a type whose readers shall never see a part. */
static int update_all(const struct sl_call *call, struct sl_map *map)
{
	const union bpf_attr *attr = call->attr;
	size_t value_size = sl_map_user_value_size(map);
	uint32_t count = attr->batch.count;
	uint8_t *keys, *values;
	int err;

	if (count > map->desc.max_entries)
		return -E2BIG;
	keys = malloc((size_t)count * map->desc.key_size);
	values = malloc(count * value_size);
	if (!keys || !values)
		err = -ENOMEM;
	else if (sl_user_read(keys, attr->batch.keys, (size_t)count * map->desc.key_size) ||
		 sl_user_read(values, attr->batch.values, count * value_size))
		err = -EFAULT;
	else
		err = map->ops->sys_update_all(map, keys, values, count, attr->batch.elem_flags);
	free(keys);
	free(values);
	if (put_count(call, err ? 0 : count))
		err = -EFAULT;
	return err;
}

enum { CHUNK_BYTES = 65536 };

/* A part of the caller's elements. */
struct chunk {
	size_t key_size, value_size; /* the latter 0 when there are no values */
	uint8_t *keys, *values;
	uint32_t first, count, at_most;
};

static int read_elements(struct chunk *c, const union bpf_attr *attr, uint32_t count)
{
	int err = sl_user_read(
		c->keys, attr->batch.keys + c->first * c->key_size, count * c->key_size);

	c->count = count;
	return err ? err
		   : sl_user_read(c->values, attr->batch.values + c->first * c->value_size,
			     count * c->value_size);
}

/* Where memory ends too early, element by element: the kernel changes those before that. */
static int read_chunk(struct chunk *c, const union bpf_attr *attr, uint32_t first)
{
	uint32_t count = sl_min(c->at_most, attr->batch.count - first);
	int err;

	c->first = first;
	err = read_elements(c, attr, count);
	if (err && count > 1) {
		c->at_most = 1;
		err = read_elements(c, attr, 1);
	}
	return err;
}

/* One by one, up to the first that fails. `values` 0: deletes. */
static int change_each(const struct sl_call *call, struct sl_map *map, bool update)
{
	const union bpf_attr *attr = call->attr;
	struct chunk c = { .key_size = map->desc.key_size,
		.value_size = update ? sl_map_user_value_size(map) : 0 };
	uint32_t done;
	int err;

	c.at_most = (uint32_t)sl_max(CHUNK_BYTES / (c.key_size + c.value_size), (size_t)1);
	c.keys = malloc(c.at_most * c.key_size);
	c.values = malloc(c.at_most * c.value_size + 1);
	err = c.keys && c.values ? 0 : -ENOMEM;
	for (done = 0; !err && done < attr->batch.count;) {
		if (done == c.first + c.count)
			err = read_chunk(&c, attr, done);
		if (!err) {
			const uint8_t *key = c.keys + (done - c.first) * c.key_size;
			const uint8_t *value = c.values + (done - c.first) * c.value_size;

			err = update ? sl_map_do_update(map, key, value, attr->batch.elem_flags)
				     : sl_map_do_delete(map, key);
		}
		if (!err)
			done++;
	}
	free(c.keys);
	free(c.values);
	if (put_count(call, done))
		err = -EFAULT;
	return err;
}

int sl_cmd_map_update_batch(const struct sl_call *call)
{
	struct sl_map *map;
	int err = get_map(call, SL_MAP_BATCH_UPDATE, &map);

	if (err)
		return err;
	if (call->attr->batch.count == 0)
		err = 0;
	else if (map->ops->sys_update_all)
		err = update_all(call, map);
	else
		err = change_each(call, map, true);
	sl_map_unref(map);
	return err;
}

int sl_cmd_map_delete_batch(const struct sl_call *call)
{
	struct sl_map *map;
	int err = get_map(call, SL_MAP_BATCH_DELETE, &map);

	if (err)
		return err;
	if (call->attr->batch.count > 0)
		err = change_each(call, map, false);
	sl_map_unref(map);
	return err;
}
