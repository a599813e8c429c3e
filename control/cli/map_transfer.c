#include "map_elements.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

/*
 * Elements between a map and this process. In batches where the map has them: over a socket that is
 * the difference between seconds and minutes for a large table.
 */
enum {
	BATCH = 4096,
	BATCH_BYTES = 4 << 20,
	ENOTSUPP_KERNEL = 524,
};

static size_t batch_size(const struct sl_map_handle *map)
{
	size_t element = map->info.key_size + (size_t)map->value_bytes;
	size_t fit = BATCH_BYTES / (element ? element : 1);

	return fit > BATCH ? BATCH : fit ? fit : 1;
}

/* One CPU's value of an element: the others' stay what they are. */
static int write_one_cpu(const struct sl_map_handle *map, const uint8_t *key, const uint8_t *value,
	int cpu, uint64_t flags)
{
	uint8_t *values = calloc(1, map->value_bytes);
	int err;

	if (!values)
		return -ENOMEM;
	err = bpf_map_lookup_elem(map->fd, key, values);
	if (err == 0 || err == -ENOENT) {
		memcpy(values + (size_t)cpu * map->stride, value, map->stride);
		err = bpf_map_update_elem(map->fd, key, values, flags);
	}
	free(values);
	return err;
}

static int write_single(const struct sl_map_elements *e, size_t i, uint64_t flags)
{
	const struct sl_map_handle *map = e->map;
	const uint8_t *key = map->info.key_size ? e->keys + i * map->info.key_size : NULL;
	const uint8_t *value = e->values + i * map->value_bytes;

	if (!e->with_values)
		return bpf_map_delete_elem(map->fd, key);
	if (e->cpus[i] != SL_ALL_CPUS)
		return write_one_cpu(map, key, value, e->cpus[i], flags);
	return bpf_map_update_elem(map->fd, key, value, flags);
}

static int write_batch(const struct sl_map_elements *e, size_t first, size_t count)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t done = (uint32_t)count;

	return bpf_map_update_batch(e->map->fd, e->keys + first * e->map->info.key_size,
		e->values + first * e->map->value_bytes, &done, &opts);
}

static bool can_batch(const struct sl_map_elements *e, uint64_t flags)
{
	if (!e->with_values || flags || e->count < 2 || !e->map->info.key_size)
		return false;
	for (size_t i = 0; i < e->count; i++) {
		if (e->cpus[i] != SL_ALL_CPUS)
			return false;
	}
	return true;
}

static bool is_unsupported(int err)
{
	return err == -ENOTSUPP_KERNEL || err == -EOPNOTSUPP || err == -EINVAL;
}

int sl_map_elements_write(struct sl_map_elements *e, uint64_t flags, size_t *ret_done)
{
	bool batches = can_batch(e, flags), whole = e->map->holds == SL_VALUE_PROG;
	size_t chunk = whole ? e->count : batch_size(e->map);

	*ret_done = 0;
	while (*ret_done < e->count) {
		size_t count = e->count - *ret_done < chunk ? e->count - *ret_done : chunk;
		int err = batches ? write_batch(e, *ret_done, count) : -EOPNOTSUPP;

		if (err == 0) {
			*ret_done += count;
			continue;
		}
		/* A generation is refused whole. Of others, one by one shows which element it is. */
		if (whole && err != -ENOTSUPP_KERNEL && err != -EOPNOTSUPP)
			return err;
		batches = batches && !is_unsupported(err);
		for (; count > 0; count--, ++*ret_done) {
			err = write_single(e, *ret_done, flags);
			if (err)
				return err;
		}
	}
	return 0;
}

/* Fewer system calls, and what is deleted meanwhile does not confuse it. */
static int for_each_batch(const struct sl_map_handle *map, sl_map_element_fn fn, void *ctx)
{
	uint32_t key_size = map->info.key_size, token_size = key_size > 8 ? key_size : 8;
	size_t capacity = batch_size(map);
	uint8_t *token = calloc(2, token_size), *keys = malloc(capacity * key_size);
	uint8_t *values = malloc(capacity * map->value_bytes);
	bool first = true;
	int err = token && keys && values ? 0 : -ENOMEM, ret = 0;

	while (err == 0 && ret == 0) {
		uint32_t count = (uint32_t)capacity;

		err = bpf_map_lookup_batch(map->fd, first ? NULL : token, token + token_size, keys,
			values, &count, NULL);
		if (err == -ENOSPC) {
			/* A bucket that is larger than this. */
			capacity *= 2;
			free(keys);
			free(values);
			keys = malloc(capacity * key_size);
			values = malloc(capacity * map->value_bytes);
			err = keys && values ? 0 : -ENOMEM;
			continue;
		}
		if (err && err != -ENOENT)
			break;
		for (uint32_t i = 0; ret == 0 && i < count && i < capacity; i++)
			ret = fn(ctx, keys + (size_t)i * key_size,
				values + (size_t)i * map->value_bytes);
		memcpy(token, token + token_size, token_size);
		first = false;
	}
	free(token);
	free(keys);
	free(values);
	/* The first one tells whether the map has batches at all. */
	return ret ? ret : err == -ENOENT ? 0 : first && is_unsupported(err) ? -EOPNOTSUPP : err;
}

static int for_each_single(const struct sl_map_handle *map, sl_map_element_fn fn, void *ctx)
{
	uint32_t key_size = map->info.key_size;
	uint64_t limit = 2 * (uint64_t)map->info.max_entries + 16;
	uint8_t *keys = calloc(2, key_size), *value = malloc(map->value_bytes);
	int err = keys && value ? bpf_map_get_next_key(map->fd, NULL, keys) : -ENOMEM;

	while (err == 0) {
		err = bpf_map_lookup_elem(map->fd, keys, value);
		/* Deleted meanwhile, or a slot that is empty. */
		if (err == 0)
			err = fn(ctx, keys, value);
		else if (err == -ENOENT)
			err = 0;
		/* A key that is gone leads back to the first one. */
		if (err == 0 && limit-- == 0)
			err = -EAGAIN;
		if (err)
			break;
		err = bpf_map_get_next_key(map->fd, keys, keys + key_size);
		memcpy(keys, keys + key_size, key_size);
		if (err == -ENOENT)
			break;
	}
	free(keys);
	free(value);
	return err == -ENOENT ? 0 : err;
}

int sl_map_for_each(const struct sl_map_handle *map, sl_map_element_fn fn, void *ctx)
{
	int err = map->holds == SL_VALUE_PLAIN ? for_each_batch(map, fn, ctx) : -EOPNOTSUPP;

	return err == -EOPNOTSUPP ? for_each_single(map, fn, ctx) : err;
}
