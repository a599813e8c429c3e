#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>

#include "caller.h"
#include "command.h"
#include "extension_link.h"
#include "fd.h"
#include "prog.h"
#include "tcx.h"

static int get_link(int fd, struct sl_link **ret_link)
{
	struct sl_object *obj;
	int err = sl_fd_get(fd, SL_OBJECT_LINK, &obj);

	if (!err)
		*ret_link = sl_link_of(obj);
	return err;
}

/* Which program runs where, and in which mode. */
static int check(const struct sl_prog *prog, enum bpf_attach_type type, uint32_t flags)
{
	uint32_t modes = flags & XDP_FLAGS_MODES;

	if (type != BPF_XDP || prog->type != BPF_PROG_TYPE_XDP)
		return -EINVAL;
	if ((flags & ~XDP_FLAGS_MODES) || (modes & (modes - 1)))
		return -EINVAL;
	if (prog->expected_attach_type == BPF_XDP_DEVMAP ||
		prog->expected_attach_type == BPF_XDP_CPUMAP)
		return -EINVAL;
	return 0;
}

static int create_xdp(const union bpf_attr *attr, struct sl_prog *prog, struct sl_link **ret_link)
{
	int err = check(prog, attr->link_create.attach_type, attr->link_create.flags);

	/* What is at ports is the administrator's, by links as by netlink. */
	if (!err && !sl_caller_is_privileged())
		err = -EPERM;
	if (!err)
		err = sl_link_new(prog, attr->link_create.target_ifindex,
			attr->link_create.attach_type, attr->link_create.flags, ret_link);
	return err == -ENODEV ? -EINVAL : err; /* an ifindex that is not there */
}

static int create_extension(
	const union bpf_attr *attr, struct sl_prog *prog, struct sl_link **ret_link)
{
	return sl_extension_link(prog, attr->link_create.target_fd, attr->link_create.target_btf_id,
		attr->link_create.tracing.cookie, ret_link);
}

/* Which links a type of programs can have. */
static const struct {
	enum bpf_prog_type type;
	int (*create)(const union bpf_attr *attr, struct sl_prog *prog, struct sl_link **ret_link);
} kinds[] = {
	{ BPF_PROG_TYPE_XDP, create_xdp },
	{ BPF_PROG_TYPE_EXT, create_extension },
	{ BPF_PROG_TYPE_SCHED_CLS, sl_tcx_link_new },
};

static int create(const union bpf_attr *attr, struct sl_prog *prog, struct sl_link **ret_link)
{
	for (unsigned i = 0; i < sl_array_size(kinds); i++) {
		if (kinds[i].type == prog->type)
			return kinds[i].create(attr, prog, ret_link);
	}
	return -EINVAL;
}

/* Takes over the caller's reference. */
static int give_link(struct sl_link *link)
{
	int err = sl_object_publish(&link->obj);

	if (err) {
		sl_object_unref(&link->obj);
		return err;
	}
	return sl_fd_give(&link->obj, O_RDWR);
}

int sl_cmd_link_create(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct sl_prog *prog;
	struct sl_link *link;
	int err;

	err = sl_prog_get_by_fd(attr->link_create.prog_fd, &prog);
	if (err)
		return err;
	err = create(attr, prog, &link);
	sl_object_unref(&prog->obj);
	return err ? err : give_link(link);
}

/* Tracepoints are the kernel's; what older loaders attach by this is extensions. */
int sl_cmd_raw_tracepoint_open(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct sl_prog *prog;
	struct sl_link *link;
	int err;

	err = sl_prog_get_by_fd(attr->raw_tracepoint.prog_fd, &prog);
	if (err)
		return err;
	if (prog->type != BPF_PROG_TYPE_EXT || attr->raw_tracepoint.name)
		err = -EINVAL;
	else
		err = sl_extension_link(prog, 0, 0, 0, &link);
	sl_object_unref(&prog->obj);
	return err ? err : give_link(link);
}

int sl_cmd_link_update(const struct sl_call *call)
{
	const union bpf_attr *attr = call->attr;
	struct sl_prog *prog = NULL, *expected = NULL;
	struct sl_link *link;
	int err;

	if (attr->link_update.flags & ~(uint32_t)BPF_F_REPLACE)
		return -EINVAL;
	err = get_link(attr->link_update.link_fd, &link);
	if (err)
		return err;
	err = sl_prog_get_by_fd(attr->link_update.new_prog_fd, &prog);
	if (!err && (attr->link_update.flags & BPF_F_REPLACE))
		err = sl_prog_get_by_fd(attr->link_update.old_prog_fd, &expected);
	else if (!err && attr->link_update.old_prog_fd)
		err = -EINVAL;
	if (!err)
		err = sl_link_update(link, prog, expected);
	if (prog)
		sl_object_unref(&prog->obj);
	if (expected)
		sl_object_unref(&expected->obj);
	sl_object_unref(&link->obj);
	return err;
}

int sl_cmd_link_detach(const struct sl_call *call)
{
	struct sl_link *link;
	int err = get_link(call->attr->link_detach.link_fd, &link);

	if (err)
		return err;
	err = sl_link_detach(link);
	sl_object_unref(&link->obj);
	return err;
}
