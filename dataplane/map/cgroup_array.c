#include "cgroup_array.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "area.h"
#include "caller.h"
#include "type.h"

/*
 * CGROUP_ARRAY: cgroups by index, for programs that ask whether they run below one. They all run in
 * this process, so a slot holds the answer, found when the cgroup is put there, and not the cgroup.
 */
struct cgroup_array {
	struct sl_map map; /* desc.data: a byte per slot, enum sl_cgroup_slot */
};

static int check(const union bpf_attr *attr)
{
	if (attr->value_size != sizeof(uint32_t) ||
		(attr->map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)))
		return -EINVAL;
	return sl_array_check(attr);
}

static void array_free(struct sl_map *map)
{
	if (!map)
		return;
	sl_area_free(map->desc.data, map->desc.max_entries);
	free(map);
}

static int array_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	struct sl_map *map = sl_map_alloc(sizeof(struct cgroup_array), &sl_cgroup_array_ops, attr);

	if (!map)
		return -ENOMEM;
	map->desc.data = sl_area_new(attr->max_entries, attr->max_entries);
	if (!map->desc.data) {
		array_free(map);
		return -ENOMEM;
	}
	*ret_map = map;
	return 0;
}

static uint64_t memory_bytes(const struct sl_map *map)
{
	return sizeof(struct cgroup_array) + map->desc.max_entries;
}

static bool is_cgroup2(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

/* Where the first hierarchy of version 2 is mounted. */
static bool find_mount(char *path, size_t size)
{
	char line[1024], point[512];
	bool found = false;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, " - cgroup2 ") &&
			sscanf(line, "%*s %*s %*s %*s %511s", point) == 1;
	fclose(f);
	return found && (size_t)snprintf(path, size, "%s", point) < size;
}

/* This process's cgroup as a directory, -1 when it cannot be found. */
static int open_own(void)
{
	char mount[512], line[1024], path[2048];
	FILE *f = fopen("/proc/self/cgroup", "re");
	bool found = false;

	if (!f)
		return -1;
	while (!found && fgets(line, sizeof(line), f))
		found = strncmp(line, "0::", 3) == 0;
	fclose(f);
	if (!found || !find_mount(mount, sizeof(mount)))
		return -1;
	line[strcspn(line, "\n")] = '\0';
	snprintf(path, sizeof(path), "%s%s", mount, line + 3);
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Up from this process's cgroup, until it is found or the hierarchy ends. */
static bool runs_below(const struct stat *cgroup)
{
	int fd = open_own();
	bool below = false;

	while (fd >= 0 && is_cgroup2(fd) && !below) {
		int parent = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		struct stat st;

		below = fstat(fd, &st) == 0 && st.st_dev == cgroup->st_dev &&
			st.st_ino == cgroup->st_ino;
		close(fd);
		fd = parent;
	}
	if (fd >= 0)
		close(fd);
	return below;
}

/* A cgroup by its directory, opened in any way; -EBADF for all else that may be behind a descriptor. */
static int slot_of(int fd, uint8_t *ret_slot)
{
	struct stat st;

	fd = sl_caller_fd(fd);
	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode) || !is_cgroup2(fd))
		return -EBADF;
	*ret_slot = runs_below(&st) ? SL_CGROUP_BELOW : SL_CGROUP_ELSEWHERE;
	return 0;
}

static uint8_t *slots_of(const struct sl_map *map)
{
	return map->desc.data;
}

static int sys_lookup(struct sl_map *map, const void *key, void *ret_value, uint64_t flags)
{
	return flags ? -EINVAL : -SL_ENOTSUPP;
}

static int sys_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t index = sl_array_index(key);
	uint8_t slot;
	int fd, err;

	if (flags != BPF_ANY)
		return -EINVAL;
	if (index >= map->desc.max_entries)
		return -E2BIG;
	memcpy(&fd, value, sizeof(fd));
	err = slot_of(fd, &slot);
	if (!err)
		__atomic_store_n(&slots_of(map)[index], slot, __ATOMIC_RELAXED);
	return err;
}

static int sys_delete(struct sl_map *map, const void *key)
{
	uint32_t index = sl_array_index(key);

	if (index >= map->desc.max_entries)
		return -E2BIG;
	return __atomic_exchange_n(&slots_of(map)[index], SL_CGROUP_NONE, __ATOMIC_RELAXED)
		       ? 0
		       : -ENOENT;
}

const struct sl_map_ops sl_cgroup_array_ops = {
	.name = "cgroup_array",
	.check = check,
	.new = array_new,
	.check_btf = sl_map_check_no_btf,
	.free = array_free,
	.memory_bytes = memory_bytes,
	.sys_lookup = sys_lookup,
	.sys_update = sys_update,
	.sys_delete = sys_delete,
	.next_key = sl_array_next_key,
	.never_inner = true,
	.desc_size = sizeof(struct sl_map_desc),
};
