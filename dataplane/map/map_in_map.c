#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "btf_record.h"
#include "fd.h"
#include "type.h"

/*
 * What ARRAY_OF_MAPS and HASH_OF_MAPS share. All maps in one are alike in what programs are verified
 * and compiled with, so the verifier looks at a template in their place. The outer map holds a
 * reference to each; workers take none, because a map that left is freed after a grace period, like
 * everything that they may still look at.
 */

int sl_inner_template_new(int fd, struct sl_map **ret_template)
{
	struct sl_btf_record *record = NULL;
	struct sl_map *inner = NULL, *map;
	struct sl_object *obj;
	int err = sl_fd_get(fd, SL_OBJECT_MAP, &obj);

	if (err)
		return err;
	map = sl_map_of(obj);
	if (map->inner)
		err = -EINVAL;
	else if (map->ops->never_inner)
		err = -SL_ENOTSUPP;
	if (err)
		goto out;
	err = -ENOMEM;
	inner = aligned_alloc(SL_CACHE_LINE, sl_round_up(sizeof(*inner), (size_t)SL_CACHE_LINE));
	if (!inner)
		goto out;
	memset(inner, 0, sizeof(*inner));
	if (map->desc.record) {
		record = malloc(sizeof(*record));
		if (!record) {
			free(inner);
			goto out;
		}
		*record = *map->desc.record;
	}
	inner->ops = map->ops;
	inner->desc = map->desc;
	inner->desc.record = record;
	inner->desc.data = NULL;
	inner->desc.map = inner;
	inner->is_template = true;
	if (map->btf) {
		sl_object_ref(&map->btf->obj);
		inner->btf = inner->objects_btf = map->btf;
	}
	*ret_template = inner;
	err = 0;
out:
	sl_map_unref(map);
	return err;
}

void sl_inner_template_free(struct sl_map *inner)
{
	if (!inner)
		return;
	if (inner->btf)
		sl_object_unref(&inner->btf->obj);
	free((void *)inner->desc.record);
	free(inner);
}

/* Arrays may differ in length when they say so. */
static bool alike(const struct sl_map_desc *a, const struct sl_map_desc *b)
{
	if (a->type != b->type || a->key_size != b->key_size || a->value_size != b->value_size ||
		a->flags != b->flags || !sl_btf_record_equal(a->record, b->record))
		return false;
	return a->type != BPF_MAP_TYPE_ARRAY || (a->flags & BPF_F_INNER_MAP) ||
	       a->max_entries == b->max_entries;
}

int sl_inner_get(const struct sl_map *outer, const void *value, struct sl_map **ret_map)
{
	struct sl_object *obj;
	int fd, err;

	memcpy(&fd, value, sizeof(fd));
	err = sl_fd_get(fd, SL_OBJECT_MAP, &obj);
	if (err)
		return err;
	if (!alike(&outer->inner->desc, &sl_map_of(obj)->desc)) {
		sl_object_unref(obj);
		return -EINVAL;
	}
	*ret_map = sl_map_of(obj);
	return 0;
}
