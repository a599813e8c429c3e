#include <errno.h>
#include <stdlib.h>

#include "command.h"
#include "map.h"
#include "prog.h"
#include "tcx.h"

/* With the maps' lock held. */
static int add_map(struct sl_prog *prog, struct sl_map *map)
{
	struct sl_map **maps;

	for (uint32_t i = 0; i < prog->used_map_count; i++) {
		if (prog->used_maps[i] == map)
			return 0;
	}
	maps = realloc(prog->used_maps, (prog->used_map_count + 1) * sizeof(struct sl_map *));
	if (!maps)
		return -ENOMEM;
	prog->used_maps = maps;
	maps[prog->used_map_count++] = sl_map_ref(map);
	return 0;
}

int sl_prog_bind_map(struct sl_prog *prog, struct sl_map *map)
{
	int err;

	sl_prog_lock_maps();
	err = add_map(prog, map);
	sl_prog_unlock_maps();
	return err;
}

int sl_prog_map_ids(struct sl_prog *prog, uint32_t **ret_ids, uint32_t *ret_count)
{
	uint32_t *ids;

	sl_prog_lock_maps();
	ids = malloc(sl_max(prog->used_map_count, 1u) * sizeof(*ids));
	for (uint32_t i = 0; ids && i < prog->used_map_count; i++)
		ids[i] = prog->used_maps[i]->obj.id;
	*ret_count = prog->used_map_count;
	sl_prog_unlock_maps();
	*ret_ids = ids;
	return ids ? 0 : -ENOMEM;
}

int sl_cmd_prog_bind_map(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct sl_prog *prog;
	struct sl_map *map;
	int err;

	if (attr->prog_bind_map.flags)
		return -EINVAL;
	err = sl_prog_get_by_fd(attr->prog_bind_map.prog_fd, &prog);
	if (err)
		return err;
	err = sl_map_get_by_fd(attr->prog_bind_map.map_fd, &map);
	if (!err) {
		err = sl_prog_bind_map(prog, map);
		sl_map_unref(map);
	}
	sl_object_unref(&prog->obj);
	return err;
}

/*
 * PROG_ATTACH, _DETACH and _QUERY serve tcx, and hooks that are not there (cgroups, sockets); XDP is
 * attached by links and by netlink. What remains is how the kernel refuses: attach types of
 * cgroups look for one behind the target's descriptor, others are unknown to these commands.
 */
static bool is_cgroup_type(uint32_t type)
{
	static const uint64_t types =
		1ull << BPF_CGROUP_INET_INGRESS | 1ull << BPF_CGROUP_INET_EGRESS |
		1ull << BPF_CGROUP_INET_SOCK_CREATE | 1ull << BPF_CGROUP_SOCK_OPS |
		1ull << BPF_CGROUP_DEVICE | 1ull << BPF_CGROUP_INET4_BIND |
		1ull << BPF_CGROUP_INET6_BIND | 1ull << BPF_CGROUP_INET4_CONNECT |
		1ull << BPF_CGROUP_INET6_CONNECT | 1ull << BPF_CGROUP_INET4_POST_BIND |
		1ull << BPF_CGROUP_INET6_POST_BIND | 1ull << BPF_CGROUP_SYSCTL |
		1ull << BPF_CGROUP_GETSOCKOPT | 1ull << BPF_CGROUP_SETSOCKOPT;

	return type < 64 && types >> type & 1;
}

int sl_cmd_prog_attach(const struct sl_call *call)
{
	struct sl_prog *prog;
	int err;

	if (sl_tcx_attach_type(call->attr->attach_type))
		return sl_tcx_prog_attach(call);
	if (call->attr->attach_type != BPF_XDP && !is_cgroup_type(call->attr->attach_type))
		return -EINVAL;
	err = sl_prog_get_by_fd(call->attr->attach_bpf_fd, &prog);
	if (err)
		return err;
	sl_object_unref(&prog->obj);
	return -EINVAL;
}

int sl_cmd_prog_detach(const struct sl_call *call)
{
	if (sl_tcx_attach_type(call->attr->attach_type))
		return sl_tcx_prog_detach(call);
	/* attach_flags, and relative_fd of newer headers, are for other hooks. */
	if (call->attr->attach_flags || sl_attr_u32(call->attr, SL_ATTR_RELATIVE_FD))
		return -EINVAL;
	return is_cgroup_type(call->attr->attach_type) ? -EBADF : -EINVAL;
}

int sl_cmd_prog_query(const struct sl_call *call)
{
	if (call->attr->query.query_flags & ~(uint32_t)BPF_F_QUERY_EFFECTIVE)
		return -EINVAL;
	if (sl_tcx_attach_type(call->attr->query.attach_type))
		return sl_tcx_prog_query(call);
	return is_cgroup_type(call->attr->query.attach_type) ? -EBADF : -EINVAL;
}
