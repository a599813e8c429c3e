#include "tcx.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "caller.h"
#include "link.h"
#include "mprog.h"
#include "prog.h"
#include "user.h"

/* Newer than Debian 12's header. */
enum { NETKIT_PRIMARY = 54, NETKIT_PEER = 55 };
enum { LINK_TYPE_TCX = 11 };

#define ATTACH_FLAGS \
	(BPF_F_REPLACE | SL_MPROG_BEFORE | SL_MPROG_AFTER | SL_MPROG_ID | SL_MPROG_LINK)

/* Attributes that the header does not know, by offset. */
enum {
	ATTACH_REVISION = 24,
	QUERY_PROG_FLAGS = 32,
	QUERY_LINK_IDS = 40,
	QUERY_LINK_FLAGS = 48,
	QUERY_REVISION = 56,
	LINK_RELATIVE = 16,
	LINK_REVISION = 24,
};

static uint64_t attr_u64(const union bpf_attr *attr, unsigned offset)
{
	uint64_t value;

	memcpy(&value, (const char *)attr + offset, sizeof(value));
	return value;
}

static bool is_tcx(uint32_t type)
{
	return type == SL_TCX_INGRESS || type == SL_TCX_EGRESS;
}

bool sl_tcx_attach_type(uint32_t type)
{
	return is_tcx(type) || type == NETKIT_PRIMARY || type == NETKIT_PEER;
}

static int get_classifier(uint32_t fd, struct sl_prog **ret_prog)
{
	struct sl_prog *prog;
	int err = sl_prog_get_by_fd((int)fd, &prog);

	if (err)
		return err;
	if (prog->type != BPF_PROG_TYPE_SCHED_CLS) {
		sl_object_unref(&prog->obj);
		return -EINVAL;
	}
	*ret_prog = prog;
	return 0;
}

/* At a hook that is locked meanwhile. */
static int change_hook(uint32_t ifindex, uint32_t type, struct sl_mprog_change *change,
	int (*fn)(struct sl_mprog **slot, struct sl_mprog_change *change))
{
	struct sl_mprog **slot;
	int err;

	/* Fetched before the hook is locked; whether it is a good one is said when it is used. */
	if (!(change->flags & SL_MPROG_ID) && change->relative)
		sl_caller_fd((int)change->relative);
	err = is_tcx(type) ? sl_mprog_lock(ifindex, type, &slot) : -EINVAL;
	if (err)
		return err;
	err = fn(slot, change);
	sl_mprog_unlock();
	sl_mprog_change_done(change);
	return err;
}

/* Before what is to be replaced is looked at, the port has to be there. */
static int check_port(uint32_t ifindex, uint32_t type)
{
	struct sl_mprog **slot;
	int err = is_tcx(type) ? sl_mprog_lock(ifindex, type, &slot) : -EINVAL;

	if (!err)
		sl_mprog_unlock();
	return err;
}

int sl_tcx_prog_attach(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct sl_mprog_change change = {
		.flags = attr->attach_flags,
		.relative = sl_attr_u32(attr, SL_ATTR_RELATIVE_FD),
		.revision = attr_u64(attr, ATTACH_REVISION),
	};
	int err;

	if (!sl_caller_is_privileged())
		return -EPERM;
	if (attr->attach_flags & ~(uint32_t)ATTACH_FLAGS)
		return -EINVAL;
	err = get_classifier(attr->attach_bpf_fd, &change.prog);
	if (err)
		return err;
	err = check_port(attr->target_fd, attr->attach_type);
	if (!err && (attr->attach_flags & BPF_F_REPLACE))
		err = get_classifier(attr->replace_bpf_fd, &change.old);
	if (!err)
		err = change_hook(attr->target_fd, attr->attach_type, &change, sl_mprog_attach);
	if (change.old)
		sl_object_unref(&change.old->obj);
	sl_object_unref(&change.prog->obj);
	return err;
}

int sl_tcx_prog_detach(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct sl_mprog_change change = {
		.flags = attr->attach_flags,
		.relative = sl_attr_u32(attr, SL_ATTR_RELATIVE_FD),
		.revision = attr_u64(attr, ATTACH_REVISION),
	};
	int err = 0;

	if (!sl_caller_is_privileged())
		return -EPERM;
	if (attr->attach_flags & ~(uint32_t)ATTACH_FLAGS)
		return -EINVAL;
	if (attr->attach_bpf_fd)
		err = get_classifier(attr->attach_bpf_fd, &change.prog);
	if (!err)
		err = change_hook(attr->target_fd, attr->attach_type, &change, sl_mprog_detach);
	if (change.prog)
		sl_object_unref(&change.prog->obj);
	return err;
}

/* What a query answers: ids in their order. */
struct answer {
	uint32_t count;
	uint64_t revision;
	uint32_t progs[SL_MPROG_MAX], links[SL_MPROG_MAX];
};

static int read_hook(uint32_t ifindex, uint32_t type, struct answer *ret)
{
	const struct sl_mprog *list;
	struct sl_mprog **slot;
	int err = is_tcx(type) ? sl_mprog_lock(ifindex, type, &slot) : -EINVAL;

	if (err)
		return err;
	list = *slot;
	*ret = (struct answer){ .revision = list ? list->revision : 1 };
	for (uint32_t i = 0; list && i < list->count; i++) {
		ret->progs[i] = list->entries[i].prog->obj.id;
		ret->links[i] = list->entries[i].link ? list->entries[i].link->obj.id : 0;
	}
	ret->count = list ? list->count : 0;
	sl_mprog_unlock();
	return 0;
}

static int give(uint64_t address, const uint32_t *ids, uint32_t count)
{
	return address ? sl_user_write(address, ids, count * sizeof(*ids)) : 0;
}

int sl_tcx_prog_query(const struct sl_call *call)
{
	static const uint32_t no_flags[SL_MPROG_MAX];
	const union bpf_attr *attr = call->attr;
	uint32_t count, room = attr->query.prog_cnt;
	struct answer answer;
	int err = read_hook(attr->query.target_fd, attr->query.attach_type, &answer);

	if (err)
		return err;
	if (attr->query.query_flags || attr->query.attach_flags)
		return -EINVAL;
	if (sl_call_put(call, query.attach_flags, 0) ||
		sl_call_write(call, QUERY_REVISION, &answer.revision, sizeof(answer.revision)) ||
		sl_call_put(call, query.prog_cnt, answer.count))
		return -EFAULT;
	if (!room || !attr->query.prog_ids || !answer.count)
		return 0;
	count = sl_min(room, answer.count);
	if (give(attr->query.prog_ids, answer.progs, count) ||
		give(attr_u64(attr, QUERY_PROG_FLAGS), no_flags, count) ||
		give(attr_u64(attr, QUERY_LINK_IDS), answer.links, count) ||
		give(attr_u64(attr, QUERY_LINK_FLAGS), no_flags, count))
		return -EFAULT;
	return count < answer.count ? -ENOSPC : 0;
}

/* ---- links ---- */

/* With the hook locked, which may be that of another port by now. */
static int take_out(struct sl_mprog **slot, struct sl_mprog_change *change)
{
	int err;

	if (!sl_link_ifindex(change->link))
		return 0;
	change->prog = change->link->prog;
	err = sl_mprog_detach(slot, change);
	if (!err)
		sl_link_forget_hook(change->link);
	return err;
}

static int detach(struct sl_link *link)
{
	struct sl_mprog_change change = { .link = link };
	uint32_t ifindex;
	int err;

	/* A link that ends has to get out of the list, so a lack of memory is waited for. */
	do {
		ifindex = sl_link_ifindex(link);
		err = ifindex ? change_hook(ifindex, link->attach_type, &change, take_out) : 0;
	} while (err == -ENOMEM);
	return 0;
}

static void leave(struct sl_link *link)
{
	detach(link);
}

/* With the hook locked. */
static int replace(struct sl_mprog **slot, struct sl_mprog_change *change)
{
	struct sl_link *link = change->link;
	struct sl_prog *old = link->prog;
	int err;

	if (!sl_link_ifindex(link))
		return -ENOLINK;
	if (change->old && change->old != old)
		return -EPERM;
	if (old == change->prog)
		return 0;
	change->old = old;
	change->relative = old->obj.id;
	err = sl_mprog_attach(slot, change);
	if (err)
		return err;
	sl_object_ref(&change->prog->obj);
	sl_rcu_store(link->prog, change->prog);
	sl_object_unref(&old->obj);
	return 0;
}

static int update(struct sl_link *link, struct sl_prog *prog, struct sl_prog *expected)
{
	struct sl_mprog_change change = {
		.prog = prog,
		.link = link,
		.old = expected,
		.flags = BPF_F_REPLACE | SL_MPROG_ID,
	};
	uint32_t ifindex = sl_link_ifindex(link);
	int err = ifindex ? change_hook(ifindex, link->attach_type, &change, replace) : -ENOLINK;

	return err == -ENODEV ? -ENOLINK : err;
}

static void info(struct sl_link *link, struct bpf_link_info *ret_info)
{
	const uint32_t values[] = { sl_link_ifindex(link), link->attach_type };

	/* The union's part for tcx, which the header lacks, begins as that of XDP. */
	static_assert(
		sizeof(*ret_info) >= offsetof(struct bpf_link_info, xdp.ifindex) + sizeof(values),
		"it fits");
	memcpy(&ret_info->xdp.ifindex, values, sizeof(values));
}

static void free_link(struct sl_link *link)
{
	free(link);
}

static const struct sl_link_ops ops = {
	.type = LINK_TYPE_TCX,
	.leave = leave,
	.update = update,
	.detach = detach,
	.info = info,
	.free = free_link,
};

int sl_tcx_link_new(const union bpf_attr *attr, struct sl_prog *prog, struct sl_link **ret_link)
{
	uint32_t relative, ifindex = attr->link_create.target_fd;
	struct sl_mprog_change change = {
		.prog = prog,
		.flags = attr->link_create.flags,
		.revision = attr_u64(attr, LINK_REVISION),
	};
	struct sl_link *link;
	int err;

	if (!sl_caller_is_privileged())
		return -EPERM;
	memcpy(&relative, (const char *)attr + LINK_RELATIVE, sizeof(relative));
	change.relative = relative;
	if (!sl_tcx_attach_type(attr->link_create.attach_type))
		return -EINVAL;
	link = calloc(1, sizeof(*link));
	if (!link)
		return -ENOMEM;
	sl_link_init(link, &ops, prog);
	link->ifindex = ifindex;
	link->attach_type = attr->link_create.attach_type;
	change.link = link;
	err = change_hook(ifindex, link->attach_type, &change, sl_mprog_attach);
	if (err) {
		sl_object_unref(&prog->obj);
		free(link);
		return err;
	}
	*ret_link = link;
	return 0;
}
