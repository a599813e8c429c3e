#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "type.h"

/*
 * XSKMAP: AF_XDP sockets by index. A socket takes packets from the kernel's driver queues; there is
 * none that could take them from a port here, so every slot stays empty, and bpf_redirect_map gives
 * the verdict that the program names for that.
 */
static int xskmap_check(const union bpf_attr *attr)
{
	const uint32_t allowed = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;

	return attr->max_entries == 0 || attr->key_size != 4 || attr->value_size != 4 ||
			       (attr->map_flags & ~allowed)
		       ? -EINVAL
		       : 0;
}

static int xskmap_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	*ret_map = sl_map_alloc(sizeof(struct sl_map), &sl_xskmap_ops, attr);
	return *ret_map ? 0 : -ENOMEM;
}

static void xskmap_free(struct sl_map *map)
{
	free(map);
}

static uint64_t xskmap_memory(const struct sl_map *map)
{
	return sizeof(*map);
}

static int xskmap_sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	return flags ? -EINVAL : -EOPNOTSUPP;
}

/* The kernel's answers for what is no AF_XDP socket, and for one that receives nothing. */
static int xskmap_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	struct stat st;
	int fd;

	memcpy(&fd, value, sizeof(fd));
	if (flags > BPF_EXIST)
		return -EINVAL;
	if (sl_array_index(key) >= map->desc.max_entries)
		return -E2BIG;
	if (fstat(fd, &st) != 0)
		return -EBADF;
	return S_ISSOCK(st.st_mode) ? -EOPNOTSUPP : -ENOTSOCK;
}

static int xskmap_delete(struct sl_map *map, const void *key)
{
	return sl_array_index(key) < map->desc.max_entries ? 0 : -EINVAL;
}

static void *xskmap_lookup(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	return NULL;
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
