#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mempool.h>
#include <sluice/port.h>
#include <sluice/route.h>

#include "eal.h"
#include "logging.h"
#include "port.h"
#include "tunnel_port.h"
#include "twin.h"

/* Ports while they run. Everything is done under the ports' lock; no worker waits for it. */

enum { FRAME_MIN = 68 }; /* RFC 791: what IPv4 needs at least */

/* Some drivers have positive errors, and -1 is none. ENOTSUP is Linux's EOPNOTSUPP. */
static int errno_of(int result)
{
	return result > 0 || result == -1 || result < -200 ? -EIO : result;
}

static const char *words_of(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
		return "its driver has no such function";
	case -EBUSY:
		return "its driver does it only while the port is stopped: remove and add it";
	case -ERANGE:
		return "the device does not take this value";
	default:
		return strerror(-err);
	}
}

/* Begins a change: the port with the lock held, or NULL after a line and without the lock. */
static struct sl_port *enter(uint32_t ifindex, int *ret_err)
{
	struct sl_port *port;

	sl_port_lock();
	port = sl_port_of(ifindex);
	if (port) {
		sl_eal_hold();
		*ret_err = 0;
		return port;
	}
	sl_port_unlock();
	*ret_err = -ENODEV;
	return NULL;
}

/* Ends it, with a line when it failed. */
static int leave(const struct sl_port *port, const char *what, int err)
{
	if (err)
		sl_log(SL_LOG_ERROR, "cannot %s port %s: %s", what, port->name,
			port->tunnel && err == -EOPNOTSUPP ? "it is a tunnel"
							   : sl_eal_reason(words_of(err)));
	sl_eal_release();
	sl_port_unlock();
	return err;
}

static int update_interface(const struct sl_port *port)
{
	struct sluice_interface interface;

	if (sluice_interface_get(port->ifindex, &interface) != 0)
		return 0;
	interface.mtu = port->mtu;
	memcpy(interface.mac, &port->mac, sizeof(interface.mac));
	return sluice_interface_set(&interface);
}

int sl_control_set_mtu(struct sl_port *port, uint16_t mtu)
{
	int err = 0;

	if (mtu < FRAME_MIN)
		return -ERANGE;
	if (!port->tunnel)
		err = errno_of(rte_eth_dev_set_mtu(port->id, mtu));
	/* Devices of software that know no MTU take all that there is. */
	if (err == -EOPNOTSUPP)
		err = 0;
	if (err)
		return err == -EINVAL ? -ERANGE : err;
	__atomic_store_n(&port->mtu, mtu, __ATOMIC_RELAXED);
	return update_interface(port);
}

int sl_control_set_mac(struct sl_port *port, const struct rte_ether_addr *mac)
{
	struct rte_ether_addr copy = *mac;
	int err;

	if (port->tunnel)
		return -EOPNOTSUPP;
	if (!rte_is_valid_assigned_ether_addr(mac))
		return -ERANGE;
	err = errno_of(rte_eth_dev_default_mac_addr_set(port->id, &copy));
	if (err)
		return err;
	port->mac = copy;
	return update_interface(port);
}

int sluice_port_set_mtu(uint32_t ifindex, uint16_t mtu)
{
	uint16_t old;
	int err;
	struct sl_port *port = enter(ifindex, &err);

	if (!port)
		return err;
	old = port->mtu;
	err = sl_control_set_mtu(port, mtu);
	if (!err && port->twin) {
		err = sl_twin_set_mtu(port->twin, mtu);
		if (err)
			sl_control_set_mtu(port, old);
	}
	return leave(port, "set the MTU of", err);
}

int sluice_port_set_mac(uint32_t ifindex, const uint8_t mac[6])
{
	struct rte_ether_addr address, old;
	int err;
	struct sl_port *port = enter(ifindex, &err);

	if (!port)
		return err;
	memcpy(&address, mac, sizeof(address));
	old = port->mac;
	err = sl_control_set_mac(port, &address);
	if (!err && port->twin) {
		err = sl_twin_set_mac(port->twin, &address);
		if (err)
			sl_control_set_mac(port, &old);
	}
	return leave(port, "set the MAC address of", err);
}

/* Switches of ethdev's, in their order: what the device calls off and on. */
static int flip(
	uint32_t ifindex, const char *what, int (*off)(uint16_t), int (*on)(uint16_t), bool value)
{
	int err;
	struct sl_port *port = enter(ifindex, &err);

	if (!port)
		return err;
	err = port->tunnel ? -EOPNOTSUPP : errno_of(value ? on(port->id) : off(port->id));
	return leave(port, what, err);
}

int sluice_port_set_promiscuous(uint32_t ifindex, bool on)
{
	return flip(ifindex, "set the promiscuous mode of", rte_eth_promiscuous_disable,
		rte_eth_promiscuous_enable, on);
}

int sluice_port_set_all_multicast(uint32_t ifindex, bool on)
{
	return flip(ifindex, "set the multicast mode of", rte_eth_allmulticast_disable,
		rte_eth_allmulticast_enable, on);
}

int sluice_port_set_link(uint32_t ifindex, bool up)
{
	return flip(
		ifindex, "set the link of", rte_eth_dev_set_link_down, rte_eth_dev_set_link_up, up);
}

static void fill_link(uint16_t id, struct sluice_port_state *state)
{
	struct rte_eth_link link;

	if (rte_eth_link_get_nowait(id, &link) != 0)
		return;
	state->link_up = link.link_status == RTE_ETH_LINK_UP;
	state->full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	state->autonegotiated = link.link_autoneg == RTE_ETH_LINK_AUTONEG;
	state->speed_mbps = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
}

static void fill_device(const struct sl_port *port, struct sluice_port_state *state)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(port->id, &info) != 0)
		return;
	state->mtu_min = info.min_mtu;
	state->mtu_max = info.max_mtu == UINT16_MAX ? 0 : info.max_mtu;
	state->rx_queues_max = info.max_rx_queues;
	state->tx_queues_max = info.max_tx_queues;
	state->rss_types_possible = info.flow_type_rss_offloads;
	state->reta_size = info.reta_size;
	if (info.device && rte_dev_bus(info.device))
		snprintf(state->bus, sizeof(state->bus), "%s",
			rte_bus_name(rte_dev_bus(info.device)));
	if (rte_eth_dev_fw_version_get(port->id, state->firmware, sizeof(state->firmware)) != 0)
		state->firmware[0] = '\0';
}

int sluice_port_state(uint32_t ifindex, struct sluice_port_state *ret_state)
{
	int err;
	struct sl_port *port = enter(ifindex, &err);
	uint16_t id;

	if (!port)
		return err;
	id = port->tunnel ? port->tunnel->underlay->id : port->id;
	*ret_state = (struct sluice_port_state){ .mtu = port->mtu, .numa_node = -1 };
	fill_link(id, ret_state);
	if (port->tunnel)
		return leave(port, "describe", 0);
	fill_device(port, ret_state);
	ret_state->promiscuous = rte_eth_promiscuous_get(id) == 1;
	ret_state->all_multicast = rte_eth_allmulticast_get(id) == 1;
	ret_state->rx_queues = port->rx_queues;
	ret_state->tx_queues = port->tx_queues;
	ret_state->rx_descriptors = port->rx_descriptors;
	ret_state->tx_descriptors = port->tx_descriptors;
	ret_state->mbufs = port->pool->size;
	ret_state->mbufs_free = rte_mempool_avail_count(port->pool);
	ret_state->numa_node = rte_eth_dev_socket_id(id);
	return leave(port, "describe", 0);
}

int sluice_port_find(const char *name, uint32_t *ret_ifindex)
{
	struct sl_port *found = NULL;
	char *end;
	unsigned long number = strtoul(name, &end, 10);

	sl_port_lock();
	for (unsigned i = 0; !found && i < SL_PORTS_MAX; i++)
		if (sl_ports[i] && strcmp(sl_ports[i]->name, name) == 0)
			found = sl_ports[i];
	for (unsigned i = 0; !found && i < SL_PORTS_MAX; i++)
		if (sl_ports[i] && name[0] && strcmp(sl_ports[i]->device_name, name) == 0)
			found = sl_ports[i];
	if (!found && name[0] >= '0' && name[0] <= '9' && !*end && number <= UINT32_MAX)
		found = sl_port_peek((uint32_t)number);
	if (found)
		*ret_ifindex = found->ifindex;
	sl_port_unlock();
	return found ? 0 : -ENODEV;
}

static int fill_xstats(
	uint16_t id, struct rte_eth_xstat_name **ret_names, struct rte_eth_xstat **ret_values)
{
	int n = rte_eth_xstats_get_names(id, NULL, 0);

	if (n <= 0)
		return n ? errno_of(n) : 0;
	*ret_names = calloc((size_t)n, sizeof(**ret_names));
	*ret_values = calloc((size_t)n, sizeof(**ret_values));
	if (!*ret_names || !*ret_values)
		return -ENOMEM;
	if (rte_eth_xstats_get_names(id, *ret_names, (unsigned)n) != n ||
		rte_eth_xstats_get(id, *ret_values, (unsigned)n) != n)
		return -EAGAIN;
	return n;
}

int sluice_port_xstats(
	uint32_t ifindex, int (*fn)(const char *name, uint64_t value, void *arg), void *arg)
{
	struct rte_eth_xstat_name *names = NULL;
	struct rte_eth_xstat *values = NULL;
	int err, n, result = 0;
	struct sl_port *port = enter(ifindex, &err);

	if (!port)
		return err;
	n = port->tunnel ? -EOPNOTSUPP : fill_xstats(port->id, &names, &values);
	err = leave(port, "read the statistics of", sl_min(n, 0));
	for (int i = 0; !err && !result && i < n; i++)
		if (values[i].id < (uint64_t)n)
			result = fn(names[values[i].id].name, values[i].value, arg);
	free(names);
	free(values);
	return err ? err : result;
}
