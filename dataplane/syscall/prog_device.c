#include "prog_device.h"

#include <errno.h>
#include <net/if.h>

#include "prog.h"
#include "rx_hints.h"

#ifndef BPF_F_XDP_DEV_BOUND_ONLY /* newer than Debian 12's header */
#define BPF_F_XDP_DEV_BOUND_ONLY (1U << 6)
#endif

/* In the kernel's order. */
int sl_prog_bind_device(const union bpf_attr *attr, struct sl_prog *prog)
{
	bool only_bound = attr->prog_flags & BPF_F_XDP_DEV_BOUND_ONLY;
	struct sl_rx_device device;
	char name[IF_NAMESIZE];

	if (!attr->prog_ifindex)
		return 0;
	if (attr->prog_type != BPF_PROG_TYPE_SCHED_CLS && attr->prog_type != BPF_PROG_TYPE_XDP)
		return -EINVAL;
	if (attr->prog_flags & ~(BPF_F_XDP_DEV_BOUND_ONLY | BPF_F_XDP_HAS_FRAGS))
		return -EINVAL;
	if (only_bound ? attr->prog_type == BPF_PROG_TYPE_SCHED_CLS
		       : attr->prog_flags & BPF_F_XDP_HAS_FRAGS)
		return -EINVAL;
	if (!sl_rx_device_find || !sl_rx_device_find(attr->prog_ifindex, &device))
		return if_indextoname(attr->prog_ifindex, name) ? -EOPNOTSUPP : -EINVAL;
	if (!device.serial)
		return -EOPNOTSUPP;
	if (!only_bound)
		return -EINVAL;
	prog->bound_device = device.serial;
	prog->rx_hints = device.hints;
	return 0;
}
