#include <errno.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>

#include "caller.h"
#include "logging.h"
#include "port.h"
#include "tc.h"

/* Filters at the hooks of ports, and the qdisc that the kernel would keep them in. */

static void drop_filters(struct sl_port *port)
{
	sl_tc_list_clear(&port->tc[SLUICE_TC_INGRESS]);
	sl_tc_list_clear(&port->tc[SLUICE_TC_EGRESS]);
}

int sluice_tc_qdisc_set(uint32_t ifindex, enum sluice_tc_qdisc qdisc)
{
	struct sl_port *port;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port && port->qdisc != qdisc) {
		drop_filters(port);
		port->qdisc = qdisc;
	}
	sl_port_unlock();
	return port ? 0 : -ENODEV;
}

int sluice_tc_qdisc_get(uint32_t ifindex, enum sluice_tc_qdisc *ret_qdisc)
{
	struct sl_port *port;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port)
		*ret_qdisc = port->qdisc;
	sl_port_unlock();
	return port ? 0 : -ENODEV;
}

int sluice_tc_parent_set(uint32_t ifindex, uint32_t parent)
{
	struct sl_port *port;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port)
		port->tc_parent = parent;
	sl_port_unlock();
	return port ? 0 : -ENODEV;
}

uint32_t sluice_tc_parent_get(uint32_t ifindex)
{
	const struct sl_port *port;
	uint32_t parent;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	parent = port ? port->tc_parent : 0;
	sl_port_unlock();
	return parent;
}

/* With the lock held. */
static int add(struct sl_port *port, enum sluice_tc_hook hook, struct sluice_tc_filter *filter,
	unsigned flags)
{
	int err;

	if (port->qdisc == SLUICE_TC_QDISC_INGRESS && hook != SLUICE_TC_INGRESS)
		return -EINVAL;
	err = sl_tc_list_add(&port->tc[hook], filter, flags);
	if (!err && port->qdisc == SLUICE_TC_NO_QDISC)
		port->qdisc = SLUICE_TC_QDISC_CLSACT;
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
		err = add(port, hook, filter, flags);
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

static void describe(const struct sl_tc_filter *filter, struct sluice_tc_info *info)
{
	*info = (struct sluice_tc_info){
		.priority = filter->priority,
		.handle = filter->handle,
		.classid = filter->classid,
		.prog_id = filter->prog->obj.id,
		.protocol = filter->protocol ? ntohs(filter->protocol) : ETH_P_ALL,
		.direct_action = filter->direct_action,
		.offload_flags = filter->offload_flags,
		.action_count = filter->action_count,
		.named = filter->named,
	};
	memcpy(info->name, filter->name, sizeof(info->name));
	memcpy(info->prog_tag, filter->prog->tag, sizeof(info->prog_tag));
	for (uint32_t i = 0; i < filter->action_count; i++) {
		info->actions[i].kind = filter->actions[i]->kind;
		info->actions[i].index = filter->actions[i]->index;
	}
}

int sluice_tc_get(
	uint32_t ifindex, enum sluice_tc_hook hook, unsigned index, struct sluice_tc_info *ret_info)
{
	struct sl_port *port;
	int err = -ENOENT;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port && port->tc[hook] && index < port->tc[hook]->count) {
		describe(port->tc[hook]->filters[index], ret_info);
		err = 0;
	}
	sl_port_unlock();
	return port ? err : -ENODEV;
}
