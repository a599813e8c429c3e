#include <bpf/btf.h>
#include <errno.h>
#include <string.h>

#include "table.h"

/*
 * struct nf_conn as the running kernel's BTF has it. The tuple in it is taken as known, and checked:
 * its layout is the same in all kernels that give programs connections.
 */

#define VMLINUX_BTF "/sys/kernel/btf/vmlinux"

static struct btf *kernel_btf;
static uint32_t conn_id;

static const struct btf_member *find_member(const struct btf *btf, uint32_t id, const char *name)
{
	const struct btf_type *type = btf__type_by_id(btf, btf__resolve_type(btf, id));

	for (unsigned i = 0; btf_is_composite(type) && i < btf_vlen(type); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_members(type)[i].name_off), name))
			return &btf_members(type)[i];
	return NULL;
}

/* Adds the offset of the member in struct `id`, and makes *id its type. */
static bool go_to(const struct btf *btf, uint32_t *id, const char *name, uint32_t *offset)
{
	const struct btf_member *m = find_member(btf, *id, name);

	if (!m)
		return false;
	*offset += m->offset / 8;
	*id = m->type;
	return true;
}

static bool find(const struct btf *btf, const char *name, uint32_t bytes, uint32_t *ret_offset)
{
	uint32_t id = conn_id;

	*ret_offset = 0;
	return go_to(btf, &id, name, ret_offset) && btf__resolve_size(btf, id) == bytes;
}

static bool is_at(
	const struct btf *btf, uint32_t id, const char *outer, const char *inner, uint32_t at)
{
	uint32_t offset = 0;

	return go_to(btf, &id, outer, &offset) && go_to(btf, &id, inner, &offset) && offset == at;
}

static bool tuple_is_known(const struct btf *btf, uint32_t id)
{
	return btf__resolve_size(btf, id) == sizeof(struct sl_conn_tuple) &&
	       is_at(btf, id, "src", "u3", offsetof(struct sl_conn_tuple, src)) &&
	       is_at(btf, id, "src", "u", offsetof(struct sl_conn_tuple, src_port)) &&
	       is_at(btf, id, "src", "l3num", offsetof(struct sl_conn_tuple, l3num)) &&
	       is_at(btf, id, "dst", "u3", offsetof(struct sl_conn_tuple, dst)) &&
	       is_at(btf, id, "dst", "u", offsetof(struct sl_conn_tuple, dst_port)) &&
	       is_at(btf, id, "dst", "protonum", offsetof(struct sl_conn_tuple, protonum)) &&
	       is_at(btf, id, "dst", "dir", offsetof(struct sl_conn_tuple, dir));
}

static bool find_tuples(const struct btf *btf, struct sl_conn_layout *layout)
{
	uint32_t id = conn_id, offset = 0;
	const struct btf_type *type;

	if (!go_to(btf, &id, "tuplehash", &offset))
		return false;
	type = btf__type_by_id(btf, btf__resolve_type(btf, id));
	if (!btf_is_array(type) || btf_array(type)->nelems != SL_CONN_DIRS)
		return false;
	id = btf_array(type)->type;
	layout->tuple[SL_CONN_REPLY] = offset + (uint32_t)btf__resolve_size(btf, id);
	if (!go_to(btf, &id, "tuple", &offset))
		return false;
	layout->tuple[SL_CONN_ORIGINAL] = offset;
	offset = 0;
	id = btf_array(type)->type;
	go_to(btf, &id, "tuple", &offset);
	layout->tuple[SL_CONN_REPLY] += offset;
	return tuple_is_known(btf, id);
}

int sl_conn_layout_read(struct sl_conn_layout *layout)
{
	struct btf *btf = btf__parse(VMLINUX_BTF, NULL);
	int id = btf ? btf__find_by_name_kind(btf, "nf_conn", BTF_KIND_STRUCT) : -1;

	if (id < 0)
		goto fail;
	conn_id = (uint32_t)id;
	layout->size = (uint32_t)btf__resolve_size(btf, conn_id);
	if (!find(btf, "ct_general", 4, &layout->use) ||
		!find(btf, "timeout", 4, &layout->timeout) ||
		!find(btf, "zone", sizeof(struct sl_conn_zone), &layout->zone) ||
		!find(btf, "status", 8, &layout->status) || !find(btf, "mark", 4, &layout->mark) ||
		!find_tuples(btf, layout))
		goto fail;
	kernel_btf = btf;
	return 0;
fail:
	btf__free(btf);
	return -ENOTSUP;
}

const struct btf *sl_conntrack_btf(uint32_t *ret_type_id)
{
	*ret_type_id = conn_id;
	return kernel_btf;
}
