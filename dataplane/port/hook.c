#include <errno.h>
#include <string.h>
#include <linux/if_link.h>

#include "fd.h"
#include "link.h"
#include "logging.h"
#include "mprog.h"
#include "mtu.h"
#include "port.h"
#include "prog.h"
#include "prog_array.h"
#include "redirect.h"
#include "redirect_target.h"
#include "rx_hints.h"
#include "tc.h"
#include "test_run.h"
#include "watch.h"
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
		return port->xdp_generic == !!(link->flags & XDP_FLAGS_SKB_MODE) ? -EBUSY : -EEXIST;
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
		port->xdp_generic = new_prog && link->flags & XDP_FLAGS_SKB_MODE;
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
	sl_prog_array_set_jump_hook(sl_path_jump);
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
	*ret_prog = NULL;
	return fd < 0 ? 0 : sl_tc_get_prog(fd, BPF_PROG_TYPE_XDP, ret_prog);
}

static void put_prog(struct sl_prog *prog)
{
	if (prog)
		sl_object_unref(&prog->obj);
}

/* With the words that the kernel has for a refusal. */
static int refuse(int err, const char *words, const char **ret_reason)
{
	*ret_reason = words;
	return err;
}

static int check_xdp_flags(uint32_t flags, const char **ret_reason)
{
	uint32_t modes = flags & XDP_FLAGS_MODES;

	if (flags & ~(uint32_t)XDP_FLAGS_MASK)
		return -EINVAL;
	if (modes & (modes - 1))
		return refuse(-EINVAL, "Only one XDP mode flag can be set", ret_reason);
	return 0;
}

/* As the kernel's dev_xdp_attach orders its refusals. With the lock held. */
static int check_place(const struct sl_port *port, const struct sl_prog *cur,
	const struct sl_prog *prog, const struct sl_prog *expected, uint32_t flags,
	const char **ret_reason)
{
	bool offloaded = flags & XDP_FLAGS_HW_MODE;

	if (port->xdp_link && cur)
		return refuse(-EBUSY, "Can't replace active BPF XDP link", ret_reason);
	if ((flags & XDP_FLAGS_REPLACE) && cur != expected)
		return refuse(-EEXIST, "Active program does not match expected", ret_reason);
	if (!prog)
		return 0;
	if ((flags & XDP_FLAGS_UPDATE_IF_NOEXIST) && cur)
		return refuse(-EBUSY, "XDP program already attached", ret_reason);
	if (port->xdp && !cur && !offloaded)
		return refuse(-EEXIST, "Native and generic XDP can't be active at the same time",
			ret_reason);
	if (port->tunnel)
		return -EOPNOTSUPP;
	return 0;
}

static int check_prog(const struct sl_port *port, const struct sl_prog *prog, uint32_t flags,
	const char **ret_reason)
{
	if (prog->bound_device && prog->bound_device != port->serial)
		return refuse(-EINVAL, "Program bound to different device", ret_reason);
	if (prog->bound_device && flags & XDP_FLAGS_SKB_MODE)
		return refuse(
			-EINVAL, "Can't attach device-bound programs in generic mode", ret_reason);
	if (prog->expected_attach_type == BPF_XDP_DEVMAP)
		return refuse(-EINVAL, "BPF_XDP_DEVMAP programs can not be attached to a device",
			ret_reason);
	if (prog->expected_attach_type == BPF_XDP_CPUMAP)
		return refuse(-EINVAL, "BPF_XDP_CPUMAP programs can not be attached to a device",
			ret_reason);
	/* The device would have to run it. */
	return flags & XDP_FLAGS_HW_MODE ? -EINVAL : 0;
}

/* With the lock held. Takes over the caller's reference when it succeeds. */
static int change_xdp(struct sl_port *port, struct sl_prog *prog, const struct sl_prog *expected,
	uint32_t flags, const char **ret_reason)
{
	bool generic = flags & XDP_FLAGS_SKB_MODE;
	bool same_mode = port->xdp_generic == generic && !(flags & XDP_FLAGS_HW_MODE);
	struct sl_prog *cur = same_mode ? port->xdp : NULL;
	int err = check_place(port, cur, prog, expected, flags, ret_reason);

	if (!err && prog)
		err = check_prog(port, prog, flags, ret_reason);
	if (err)
		return err;
	/* There is nothing to take away in one mode while the other one is in use. */
	if (!prog && !cur)
		return 0;
	set_xdp(port, prog, NULL);
	port->xdp_generic = prog && generic;
	return 0;
}

int sluice_xdp_change(
	uint32_t ifindex, int prog_fd, int expected_fd, uint32_t flags, const char **ret_reason)
{
	struct sl_prog *prog = NULL, *expected = NULL;
	struct sl_port *port;
	int err = check_xdp_flags(flags, ret_reason);

	if (!err)
		err = get_prog(prog_fd, &prog);
	if (!err && (flags & XDP_FLAGS_REPLACE))
		err = get_prog(expected_fd, &expected);
	if (!err) {
		sl_port_lock();
		port = sl_port_peek(ifindex);
		err = port ? change_xdp(port, prog, expected, flags, ret_reason) : -ENODEV;
		sl_port_unlock();
		if (!err)
			prog = NULL;
	}
	put_prog(expected);
	put_prog(prog);
	return err;
}

int sluice_xdp_attach(uint32_t ifindex, int prog_fd, int expected_fd, uint32_t flags)
{
	const char *reason = NULL;
	int err = sluice_xdp_change(ifindex, prog_fd, expected_fd, flags, &reason);

	if (err)
		sl_log(SL_LOG_ERROR, "cannot attach XDP program %d to port %u: %s", prog_fd,
			ifindex, reason ? reason : strerror(-err));
	return err;
}
