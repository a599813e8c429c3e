#include <errno.h>
#include <string.h>

#include "cpu.h"
#include "cpu_queue.h"
#include "redirect_target.h"
#include "type.h"

/* CPUMAP: queues to other CPUs (cpu_queue.h), by CPU. */

enum { QUEUE_MAX = 16384 };

static int cpumap_check(const union bpf_attr *attr)
{
	if (!sl_redirect_sizes_ok(attr) || (attr->map_flags & ~(uint32_t)BPF_F_NUMA_NODE))
		return -EINVAL;
	return attr->max_entries > SL_MAX_CPUS ? -E2BIG : 0;
}

static int cpumap_new(const union bpf_attr *attr, struct sl_map **ret_map)
{
	return sl_redirect_array_new(attr, &sl_cpumap_ops, ret_map);
}

static int cpumap_update(struct sl_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t cpu = sl_array_index(key), length;
	struct sl_redirect_target *target = NULL;
	int err = 0;

	memcpy(&length, value, sizeof(length));
	if (flags > BPF_EXIST)
		return -EINVAL;
	if (cpu >= map->desc.max_entries)
		return -E2BIG;
	if (flags == BPF_NOEXIST)
		return -EEXIST;
	if (length > QUEUE_MAX)
		return -EOVERFLOW;
	if (cpu >= sl_cpu_count())
		return -ENODEV;
	if (length)
		err = sl_redirect_target_new(map, value, BPF_XDP_CPUMAP, &target);
	if (length && !err)
		err = sl_cpu_queue_new(cpu, length, target->prog, &target->queue);
	/* The kernel's own answer to a program that does not fit. */
	if (err) {
		sl_redirect_target_retire(target);
		return -ENOMEM;
	}
	sl_redirect_array_set(map, cpu, target);
	return 0;
}

const struct sl_map_ops sl_cpumap_ops = {
	.name = "cpumap",
	.check = cpumap_check,
	.new = cpumap_new,
	.check_btf = sl_map_check_no_btf,
	.free = sl_redirect_array_free,
	.memory_bytes = sl_redirect_array_memory,
	.admit = sl_redirect_admit,
	.sys_lookup = sl_redirect_sys_lookup,
	.sys_update = cpumap_update,
	.sys_delete = sl_redirect_array_delete,
	.next_key = sl_array_next_key,
	.lookup = sl_redirect_array_lookup,
	.desc_size = sizeof(struct sl_map_desc),
};
