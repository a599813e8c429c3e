#include "pair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu.h"
#include "oracle.h"
#include "rcu.h"
#include "test.h"

/* The kernel's ENOTSUPP. */
enum { NOT_SUPPORTED = 524 };

static int kernel_elem(int cmd, struct pair *p, const void *key, const void *value, uint64_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = p->kernel;
	attr.key = (uintptr_t)key;
	attr.value = (uintptr_t)value;
	attr.flags = flags;
	return oracle_bpf(cmd, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int own_lookup(struct sl_map *map, const void *key, void *value, uint64_t flags)
{
	int err;

	sl_rcu_read_begin();
	err = map->ops->sys_lookup(map, key, value, flags);
	sl_rcu_read_end();
	return err;
}

int own_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	int err;

	sl_rcu_read_begin();
	err = map->ops->sys_update(map, key, value, flags);
	sl_rcu_read_end();
	return err;
}

int own_delete(struct sl_map *map, const void *key)
{
	int err;

	sl_rcu_read_begin();
	err = map->ops->sys_delete(map, key);
	sl_rcu_read_end();
	return err;
}

int own_next_key(struct sl_map *map, const void *key, void *next)
{
	int err;

	sl_rcu_read_begin();
	err = map->ops->next_key(map, key, next);
	sl_rcu_read_end();
	return err;
}

static uint32_t user_value_len(const union bpf_attr *attr)
{
	if (attr->map_type == BPF_MAP_TYPE_PERCPU_ARRAY ||
		attr->map_type == BPF_MAP_TYPE_PERCPU_HASH ||
		attr->map_type == BPF_MAP_TYPE_LRU_PERCPU_HASH)
		return sl_round_up(attr->value_size, 8u) * sl_cpu_count();
	return attr->value_size;
}

int pair_new(struct pair *p, const union bpf_attr *attr)
{
	union bpf_attr copy = *attr;
	int theirs, ours;

	memset(p, 0, sizeof(*p));
	p->kernel = oracle_bpf(BPF_MAP_CREATE, &copy, sizeof(copy));
	theirs = p->kernel < 0 ? -errno : 0;
	ours = sl_map_new(attr, &p->map);
	EXPECT_EQ(ours, theirs);
	if (ours == theirs && theirs == 0) {
		p->key_size = attr->key_size;
		p->value_len = user_value_len(attr);
		return 0;
	}
	pair_free(p);
	return theirs ? theirs : ours;
}

void pair_free(struct pair *p)
{
	if (p->kernel >= 0)
		close(p->kernel);
	sl_map_unref(p->map);
	p->kernel = -1;
	p->map = NULL;
}

int pair_lookup(struct pair *p, const void *key, uint64_t flags)
{
	uint8_t *theirs = calloc(2, p->value_len), *ours = theirs + p->value_len;
	int err = kernel_elem(BPF_MAP_LOOKUP_ELEM, p, key, theirs, flags);

	EXPECT_EQ(own_lookup(p->map, key, ours, flags), err);
	if (!err)
		EXPECT_MEMEQ(ours, theirs, p->value_len);
	free(theirs);
	return err;
}

int pair_update(struct pair *p, const void *key, const void *value, uint64_t flags)
{
	int err = kernel_elem(BPF_MAP_UPDATE_ELEM, p, key, value, flags);

	EXPECT_EQ(own_update(p->map, key, value, flags), err);
	return err;
}

int pair_delete(struct pair *p, const void *key)
{
	int err = kernel_elem(BPF_MAP_DELETE_ELEM, p, key, NULL, 0);

	EXPECT_EQ(own_delete(p->map, key), err);
	return err;
}

int pair_lookup_and_delete(struct pair *p, const void *key, uint64_t flags)
{
	uint8_t *theirs = calloc(2, p->value_len), *ours = theirs + p->value_len;
	int err = kernel_elem(BPF_MAP_LOOKUP_AND_DELETE_ELEM, p, key, theirs, flags);
	int own = -NOT_SUPPORTED;

	sl_rcu_read_begin();
	if (p->map->ops->sys_lookup_and_delete)
		own = p->map->ops->sys_lookup_and_delete(p->map, key, ours, flags);
	else if (flags)
		own = -EINVAL;
	sl_rcu_read_end();
	EXPECT_EQ(own, err);
	if (!err)
		EXPECT_MEMEQ(ours, theirs, p->value_len);
	free(theirs);
	return err;
}

static uint32_t count_keys(struct pair *p, bool kernel)
{
	uint8_t key[512], next[512];
	union bpf_attr attr;
	uint32_t n = 0;
	int err;

	for (;;) {
		if (kernel) {
			memset(&attr, 0, sizeof(attr));
			attr.map_fd = p->kernel;
			attr.key = n ? (uintptr_t)key : 0;
			attr.next_key = (uintptr_t)next;
			err = oracle_bpf(BPF_MAP_GET_NEXT_KEY, &attr, sizeof(attr)) < 0 ? -errno
											: 0;
		} else {
			err = own_next_key(p->map, n ? key : NULL, next);
		}
		if (err) {
			EXPECT_EQ(err, -ENOENT);
			return n;
		}
		n++;
		memcpy(key, next, p->key_size);
		pair_lookup(p, key, 0);
	}
}

void pair_compare_contents(struct pair *p)
{
	uint32_t theirs = count_keys(p, true), ours = count_keys(p, false);

	EXPECT_EQ(ours, theirs);
}
