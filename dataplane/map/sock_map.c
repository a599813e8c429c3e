#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "caller.h"
#include "type.h"

/*
 * SOCKMAP and SOCKHASH: the kernel's sockets by index or by key. There are none in the data plane,
 * and none is taken from user space: a program would find it there and have nothing to send through
 * it. So all slots stay empty, and programs find nothing.
 */

/* What a program can have on its stack. */
enum { KEY_MAX = 512 };

static int check(const union bpf_attr *attr)
{
	const uint32_t allowed = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
	bool hash = attr->map_type == BPF_MAP_TYPE_SOCKHASH;

	if (attr->max_entries == 0 || attr->key_size == 0 || (!hash && attr->key_size != 4) ||
		(attr->value_size != sizeof(uint32_t) && attr->value_size != sizeof(uint64_t)) ||
		(attr->map_flags & ~allowed))
		return -EINVAL;
	if (!hash)
		return 0;
	if (attr->key_size > KEY_MAX)
		return -E2BIG;
	/* The kernel's buckets: as many as entries, up to a power of two, and their memory. */
	return attr->max_entries > 1u << 31 ? -EINVAL : 0;
}

static int sock_map_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	*ret_map = sl_map_alloc(sizeof(struct sl_map), sl_map_ops_of(attr->map_type), attr);
	return *ret_map ? 0 : -ENOMEM;
}

static void sock_map_free(struct sl_map *map)
{
	free(map);
}

static uint64_t memory_bytes(const struct sl_map *map)
{
	return sizeof(*map);
}

/* A socket's number takes eight bytes. */
static int sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	if (flags)
		return -EINVAL;
	return map->desc.value_size == sizeof(uint64_t) ? -ENOENT : -ENOSPC;
}

static int sys_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	uint64_t fd = 0;
	struct stat st;
	int open_flags, ours;

	memcpy(&fd, value, map->desc.value_size);
	if (fd > INT_MAX)
		return -EINVAL;
	ours = sl_caller_fd((int)fd);
	open_flags = ours < 0 ? -1 : fcntl(ours, F_GETFL);
	if (open_flags < 0 || (open_flags & O_PATH) || fstat(ours, &st) != 0)
		return -EBADF;
	return S_ISSOCK(st.st_mode) ? -EOPNOTSUPP : -ENOTSOCK;
}

static int sockmap_delete(struct sl_map *map, const void *key)
{
	return -EINVAL;
}

static int sockhash_delete(struct sl_map *map, const void *key)
{
	return -ENOENT;
}

static int sockhash_next_key(struct sl_map *map, const void *key, void *ret_next)
{
	return -ENOENT;
}

static void *lookup(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	return NULL;
}

/* With a socket, which no program can have. */
static long update(const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key,
	const void *value, uint64_t flags)
{
	return -EINVAL;
}

static long sockmap_prog_delete(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	return -EINVAL;
}

static long sockhash_prog_delete(
	const struct sl_map_desc *desc, const struct sl_ctx *ctx, const void *key)
{
	return -ENOENT;
}

#define OPS                                                                            \
	.check = check, .new = sock_map_new, .check_btf = sl_map_check_no_btf,         \
	.free = sock_map_free, .memory_bytes = memory_bytes, .sys_lookup = sys_lookup, \
	.sys_update = sys_update, .lookup = lookup, .update = update,                  \
	.desc_size = sizeof(struct sl_map_desc)

const struct sl_map_ops sl_sockmap_ops = { .name = "sockmap",
	.sys_delete = sockmap_delete,
	.next_key = sl_array_next_key,
	.delete = sockmap_prog_delete,
	OPS };
const struct sl_map_ops sl_sockhash_ops = { .name = "sockhash",
	.sys_delete = sockhash_delete,
	.next_key = sockhash_next_key,
	.delete = sockhash_prog_delete,
	OPS };
