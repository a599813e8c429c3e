#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>

#include "btf_record.h"
#include "caller.h"
#include "command.h"
#include "fd.h"
#include "map.h"
#include "map_element.h"

/* BPF_F_TOKEN_FD, newer than Debian 12's header. */
#define F_TOKEN_FD (1U << 16)

/* Size of a BTF type, behind typedefs and qualifiers; -EINVAL for what has none. */
static int64_t btf_size(const struct sl_btf *btf, uint32_t id)
{
	if (id == 0 || id >= btf__type_cnt(btf->btf))
		return -EINVAL;
	return btf__resolve_size(btf->btf, id);
}

/* What the types say of the map: their sizes, what the map type asks of them, special fields. */
static int check_types(struct sl_map *map, const struct sl_btf *btf, const union bpf_attr *attr)
{
	uint32_t key = attr->btf_key_type_id, value = attr->btf_value_type_id;
	struct sl_btf_record *record = NULL;
	int err;

	if (key ? btf_size(btf, key) != map->desc.key_size : !map->ops->check_btf)
		return -EINVAL;
	if (btf_size(btf, value) != map->desc.value_size)
		return -EINVAL;
	/* Types that make no sense as special fields are no such fields. */
	err = sl_btf_record_new(btf, value, map->desc.value_size, &record);
	if (err == -ENOMEM)
		return err;
	if (!err)
		err = sl_map_set_record(map, btf, record);
	else
		err = 0;
	return err || !map->ops->check_btf ? err : map->ops->check_btf(map, btf->btf, key, value);
}

static int attach_btf(struct sl_map *map, const union bpf_attr *attr)
{
	struct sl_object *obj;
	int err;

	err = sl_fd_get(attr->btf_fd, SL_OBJECT_BTF, &obj);
	if (err)
		return err;
	err = check_types(map, sl_btf_of(obj), attr);
	if (err) {
		sl_object_unref(obj);
		return err;
	}
	map->btf = sl_btf_of(obj);
	map->btf_key_type_id = attr->btf_key_type_id;
	map->btf_value_type_id = attr->btf_value_type_id;
	return 0;
}

static int check(const union bpf_attr *attr)
{
	int access = sl_access_of_flags(attr->map_flags);

	if (attr->btf_vmlinux_value_type_id)
		return -EINVAL;
	if (attr->btf_key_type_id && !attr->btf_value_type_id)
		return -EINVAL;
	if (attr->map_type != BPF_MAP_TYPE_BLOOM_FILTER && attr->map_extra)
		return -EINVAL;
	if (access < 0)
		return access;
	/* Tokens delegate what the kernel owns; there are none here. */
	if (attr->map_flags & F_TOKEN_FD)
		return fcntl(sl_caller_fd((int)sl_attr_u32(attr, SL_ATTR_MAP_TOKEN_FD)), F_GETFD) <
				       0
			       ? -EBADF
			       : -EINVAL;
	return 0;
}

int sl_cmd_map_create(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct sl_map *map;
	int err;

	err = check(attr);
	if (err)
		return err;
	err = sl_map_new(attr, &map);
	if (err)
		return err;
	err = sl_name_check(attr->map_name);
	if (!err && attr->map_ifindex) /* offload to a device */
		err = -EOPNOTSUPP;
	if (!err && (attr->btf_key_type_id || attr->btf_value_type_id))
		err = attach_btf(map, attr);
	if (!err)
		err = sl_object_publish(&map->obj);
	if (err) {
		sl_map_unref(map);
		return err;
	}
	return sl_fd_give(&map->obj, sl_access_of_flags(attr->map_flags));
}

int sl_cmd_map_freeze(const struct sl_call *call)
{
	struct sl_map *map;
	bool frozen = false;
	int err;

	err = sl_map_get_for(call->attr->map_fd, false, true, &map);
	if (err)
		return err;
	if (map->ops->freeze)
		err = map->ops->freeze(map);
	if (!err && !__atomic_compare_exchange_n(
			    &map->frozen, &frozen, true, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		err = -EBUSY;
	sl_map_unref(map);
	return err;
}
