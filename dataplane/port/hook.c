#include <errno.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>

#include "caller.h"
#include "fd.h"
#include "link.h"
#include "logging.h"
#include "mprog.h"
#include "mtu.h"
#include "port.h"
#include "prog.h"
#include "redirect.h"
#include "redirect_target.h"
#include "rx_hints.h"
#include "tc.h"
#include "test_run.h"
#include "worker.h"
#include "xsk_port.h"

/* Attaching programs. A worker reads a hook once per burst (XDP) or packet (TC). */

/* With the lock held; takes over the caller's reference. */
static void set_xdp(struct sl_port *port, struct sl_prog *prog, struct sl_link *link)
{
	struct sl_prog *old = port->xdp;

	sl_rcu_store(port->xdp, prog);
	port->xdp_link = prog ? link : NULL;
	/* The object outlives its last reference by a grace period. */
	if (old)
		sl_object_unref(&old->obj);
}

int sl_hook_check_xdp(const struct sl_port *port, const struct sl_prog *prog, uint32_t flags)
{
	if (prog->type != BPF_PROG_TYPE_XDP || prog->expected_attach_type == BPF_XDP_DEVMAP ||
		prog->expected_attach_type == BPF_XDP_CPUMAP)
		return -EINVAL;
	/* The generic mode knows nothing of devices. */
	if (prog->bound_device &&
		(prog->bound_device != port->serial || flags & XDP_FLAGS_SKB_MODE))
		return -EINVAL;
	return 0;
}

/* With the lock held. */
static int check_swap(
	const struct sl_port *port, const struct sl_link *link, const struct sl_prog *new_prog)
{
	if (link->prog && (!port || port->xdp_link != link))
		return -ENOLINK;
	if (!port)
		return -ENODEV;
	if (new_prog && port->tunnel)
		return -EOPNOTSUPP;
	if (!link->prog && port->xdp)
		return -EBUSY;
	return new_prog ? sl_hook_check_xdp(port, new_prog, link->flags) : 0;
}

static int swap_xdp(struct sl_link *link, struct sl_prog *new_prog)
{
	struct sl_port *port;
	int err;

	if (link->flags & ~(XDP_FLAGS_SKB_MODE | XDP_FLAGS_DRV_MODE))
		return -EINVAL;
	sl_port_lock();
	port = sl_port_peek(sl_link_ifindex(link));
	err = check_swap(port, link, new_prog);
	if (!err) {
		if (new_prog)
			sl_object_ref(&new_prog->obj);
		set_xdp(port, new_prog, link);
	}
	sl_port_unlock();
	return err;
}

static const struct sl_link_target xdp_target = { .swap = swap_xdp };

/* With the lock held when it succeeds. */
static int lock_tcx(uint32_t ifindex, uint32_t attach_type, struct sl_mprog ***ret_slot)
{
	struct sl_port *port;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (!port) {
		sl_port_unlock();
		return -ENODEV;
	}
	*ret_slot =
		&port->tcx[attach_type == SL_TCX_INGRESS ? SLUICE_TC_INGRESS : SLUICE_TC_EGRESS];
	return 0;
}

static const struct sl_mprog_hooks tcx_hooks = { .lock = lock_tcx, .unlock = sl_port_unlock };

static bool link_size(uint32_t ifindex, struct sl_link_size *ret_size)
{
	const struct sl_port *port = sl_port_peek(ifindex);

	if (!port)
		return false;
	*ret_size = (struct sl_link_size){ .mtu = port->mtu, .header = port->link_header };
	return true;
}

static bool rx_device(uint32_t ifindex, struct sl_rx_device *ret_device)
{
	const struct sl_port *port;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port)
		*ret_device = (struct sl_rx_device){ port->serial, port->rx_hints };
	sl_port_unlock();
	return port;
}

static bool port_exists(uint32_t ifindex)
{
	return sl_port_peek(ifindex) != NULL;
}

void sl_hook_start(void)
{
	sl_link_set_target(BPF_XDP, &xdp_target);
	sl_mprog_set_hooks(&tcx_hooks);
	sl_clone_redirect = sl_loop_clone;
	sl_port_link_size = link_size;
	sl_rx_device_find = rx_device;
	sl_redirect_port_exists = port_exists;
	sl_xsk_port_start();
	sl_test_live = sl_live_run;
}

void sl_hook_clear(struct sl_port *port)
{
	/* The link lives: it leaves the hook under the same lock before it goes. */
	if (port->xdp_link)
		sl_link_forget_hook(port->xdp_link);
	set_xdp(port, NULL, NULL);
	sl_mprog_clear(&port->tcx[SLUICE_TC_INGRESS]);
	sl_mprog_clear(&port->tcx[SLUICE_TC_EGRESS]);
	sl_tc_list_clear(&port->tc[SLUICE_TC_INGRESS]);
	sl_tc_list_clear(&port->tc[SLUICE_TC_EGRESS]);
}

uint32_t sl_hook_xdp_id(const struct sl_port *port)
{
	return port->xdp ? port->xdp->obj.id : 0;
}

static int get_prog(int fd, struct sl_prog **ret_prog)
{
	struct sl_object *obj;
	int err;

	if (fd < 0) {
		*ret_prog = NULL;
		return 0;
	}
	err = sl_fd_get(fd, SL_OBJECT_PROG, &obj);
	if (err)
		return err;
	*ret_prog = sl_prog_of(obj);
	return 0;
}

static void put_prog(struct sl_prog *prog)
{
	if (prog)
		sl_object_unref(&prog->obj);
}

/* As the kernel's dev_xdp_attach orders its refusals. With the lock held. */
static int check_replace(const struct sl_port *port, const struct sl_prog *prog,
	const struct sl_prog *expected, uint32_t flags)
{
	if (flags & ~(XDP_FLAGS_UPDATE_IF_NOEXIST | XDP_FLAGS_REPLACE | XDP_FLAGS_SKB_MODE |
			    XDP_FLAGS_DRV_MODE))
		return -EINVAL;
	if ((flags & XDP_FLAGS_REPLACE) && (flags & XDP_FLAGS_UPDATE_IF_NOEXIST))
		return -EINVAL;
	if (port->xdp_link)
		return -EBUSY;
	if ((flags & XDP_FLAGS_REPLACE) && port->xdp != expected)
		return -EEXIST;
	if ((flags & XDP_FLAGS_UPDATE_IF_NOEXIST) && port->xdp)
		return -EBUSY;
	if (prog && port->tunnel)
		return -EOPNOTSUPP;
	return prog ? sl_hook_check_xdp(port, prog, flags) : 0;
}

int sluice_xdp_attach(uint32_t ifindex, int prog_fd, int expected_fd, uint32_t flags)
{
	struct sl_prog *prog = NULL, *expected = NULL;
	struct sl_port *port;
	int err = get_prog(prog_fd, &prog);

	if (!err && (flags & XDP_FLAGS_REPLACE))
		err = get_prog(expected_fd, &expected);
	if (err)
		goto out;
	sl_port_lock();
	port = sl_port_peek(ifindex);
	err = port ? check_replace(port, prog, expected, flags) : -ENODEV;
	if (!err) {
		set_xdp(port, prog, NULL);
		prog = NULL;
	}
	sl_port_unlock();
out:
	if (err)
		sl_log(SL_LOG_ERROR, "cannot attach XDP program %d to port %u: %s", prog_fd,
			ifindex, strerror(-err));
	put_prog(expected);
	put_prog(prog);
	return err;
}

int sluice_tc_add(
	uint32_t ifindex, enum sluice_tc_hook hook, struct sluice_tc_filter *filter, unsigned flags)
{
	struct sl_port *port;
	int err = -ENODEV;

	/* Fetched before the port is locked; whether they are good is said when they are used. */
	sl_caller_fd(filter->prog_fd);
	for (unsigned i = 0; i < sl_min(filter->action_count, SLUICE_TC_ACTIONS); i++)
		sl_caller_fd(filter->actions[i].prog_fd);
	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port)
		err = sl_tc_list_add(&port->tc[hook], filter, flags);
	sl_port_unlock();
	if (err)
		sl_log(SL_LOG_ERROR, "cannot add TC filter to port %u: %s", ifindex,
			strerror(-err));
	return err;
}

int sluice_tc_del(uint32_t ifindex, enum sluice_tc_hook hook, uint32_t priority, uint32_t handle)
{
	struct sl_port *port;
	int err = -ENODEV;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port)
		err = sl_tc_list_del(&port->tc[hook], priority, handle);
	sl_port_unlock();
	if (err)
		sl_log(SL_LOG_ERROR, "cannot delete TC filter of port %u: %s", ifindex,
			strerror(-err));
	return err;
}

int sluice_tc_get(
	uint32_t ifindex, enum sluice_tc_hook hook, unsigned index, struct sluice_tc_info *ret_info)
{
	const struct sl_tc_filter *filter;
	struct sl_port *port;
	int err = -ENOENT;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port && port->tc[hook] && index < port->tc[hook]->count) {
		filter = port->tc[hook]->filters[index];
		*ret_info = (struct sluice_tc_info){
			.priority = filter->priority,
			.handle = filter->handle,
			.classid = filter->classid,
			.prog_id = filter->prog->obj.id,
			.protocol = filter->protocol ? ntohs(filter->protocol) : ETH_P_ALL,
			.direct_action = filter->direct_action,
			.action_count = filter->action_count,
		};
		memcpy(ret_info->name, filter->name, sizeof(ret_info->name));
		err = 0;
	}
	sl_port_unlock();
	return port ? err : -ENODEV;
}
