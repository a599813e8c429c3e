#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ether.h>
#include <sluice/route.h>

#include "logging.h"
#include "tap.h"
#include "tunnel_port.h"
#include "twin.h"
#include "worker.h"

/* Control threads' side of tunnels: their options become a port and its place in the underlay's list. */

enum { VXLAN_PORT = 4789, GENEVE_PORT = 6081, EPHEMERAL_MIN = 32768, EPHEMERAL_MAX = 60999 };

enum { VNI_MAX = 0xffffff, LABEL_MAX = 0xfffff, MTU_MIN = 68 };

static const struct sl_tunnel_kind kinds[SLUICE_TUNNEL_KINDS] = {
	[SLUICE_TUNNEL_VXLAN] = { .name = "vxlan",
		.header = SL_TUNNEL_IN_VXLAN,
		.over = SL_TUNNEL_OVER_IPV4 | SL_TUNNEL_OVER_IPV6,
		.ethernet = true,
		.udp_port = VXLAN_PORT,
		.src_port_min = EPHEMERAL_MIN,
		.src_port_max = EPHEMERAL_MAX },
	[SLUICE_TUNNEL_GENEVE] = { .name = "geneve",
		.header = SL_TUNNEL_IN_GENEVE,
		.over = SL_TUNNEL_OVER_IPV4 | SL_TUNNEL_OVER_IPV6,
		.ethernet = true,
		.udp_port = GENEVE_PORT,
		.src_port_min = 1,
		.src_port_max = 65535 },
	[SLUICE_TUNNEL_GRE] = { .name = "gre",
		.header = SL_TUNNEL_IN_GRE,
		.over = SL_TUNNEL_OVER_IPV4 },
	[SLUICE_TUNNEL_GRETAP] = { .name = "gretap",
		.header = SL_TUNNEL_IN_GRE,
		.over = SL_TUNNEL_OVER_IPV4,
		.ethernet = true },
	[SLUICE_TUNNEL_IP6GRE] = { .name = "ip6gre",
		.header = SL_TUNNEL_IN_GRE,
		.over = SL_TUNNEL_OVER_IPV6 },
	[SLUICE_TUNNEL_IP6GRETAP] = { .name = "ip6gretap",
		.header = SL_TUNNEL_IN_GRE,
		.over = SL_TUNNEL_OVER_IPV6,
		.ethernet = true },
	[SLUICE_TUNNEL_IPIP] = { .name = "ipip",
		.header = SL_TUNNEL_IN_IP,
		.over = SL_TUNNEL_OVER_IPV4,
		.inner_ipv4 = true },
	[SLUICE_TUNNEL_SIT] = { .name = "sit",
		.header = SL_TUNNEL_IN_IP,
		.over = SL_TUNNEL_OVER_IPV4,
		.inner_ipv6 = true,
		.never_external = true },
	[SLUICE_TUNNEL_IP6TNL] = { .name = "ip6tnl",
		.header = SL_TUNNEL_IN_IP,
		.over = SL_TUNNEL_OVER_IPV6,
		.inner_ipv4 = true,
		.inner_ipv6 = true },
};

const char *sluice_tunnel_kind_name(enum sluice_tunnel_kind kind)
{
	return (unsigned)kind < SLUICE_TUNNEL_KINDS ? kinds[kind].name : NULL;
}

static int refuse(const struct sluice_tunnel_options *options, int err, const char *why)
{
	sl_log(SL_LOG_ERROR, "cannot add tunnel %s: %s", options->name ? options->name : "", why);
	return err;
}

static uint8_t over_of(const struct sluice_tunnel_address *address)
{
	return address->family == 6 ? SL_TUNNEL_OVER_IPV6 : SL_TUNNEL_OVER_IPV4;
}

/* Why the options do not fit each other, NULL when they do. */
static const char *check_addresses(
	const struct sluice_tunnel_options *o, const struct sl_tunnel_kind *kind)
{
	bool external = o->flags & SLUICE_TUNNEL_EXTERNAL;

	for (unsigned i = 0; i < SLUICE_TUNNEL_LOCALS && o->local[i].family; i++) {
		if (!(kind->over & over_of(&o->local[i])))
			return "a local address of the wrong family";
		if (!external && over_of(&o->local[i]) != over_of(&o->remote))
			return "local and remote address of different families";
	}
	if (external)
		return o->remote.family ? "an external tunnel has no remote address" : NULL;
	if (!o->remote.family)
		return "no remote address, and not external";
	if (!(kind->over & over_of(&o->remote)))
		return "a remote address of the wrong family";
	return NULL;
}

static const char *check_options(
	const struct sluice_tunnel_options *o, const struct sl_tunnel_kind *kind)
{
	bool external = o->flags & SLUICE_TUNNEL_EXTERNAL, gre = kind->header == SL_TUNNEL_IN_GRE;

	if (external && kind->never_external)
		return "this kind cannot be external";
	if (external && (o->id ||
				(o->flags & (SLUICE_TUNNEL_KEY | SLUICE_TUNNEL_TTL_INHERIT |
						    SLUICE_TUNNEL_TOS_INHERIT)) ||
				o->ttl || o->tos || o->label || o->df))
		return "an external tunnel has these from the packet's key";
	if ((o->flags & SLUICE_TUNNEL_GBP) && kind->header != SL_TUNNEL_IN_VXLAN)
		return "gbp is an option of vxlan";
	if ((o->flags & (SLUICE_TUNNEL_KEY | SLUICE_TUNNEL_SEQ)) && !gre)
		return "key and seq are options of gre";
	if ((o->flags & (SLUICE_TUNNEL_NO_CSUM6_TX | SLUICE_TUNNEL_NO_CSUM6_RX)) && !kind->udp_port)
		return "udp6zerocsum is an option of vxlan and geneve";
	if ((o->flags & SLUICE_TUNNEL_CSUM) && kind->header == SL_TUNNEL_IN_IP)
		return "IP in IP has no checksum";
	if ((o->dst_port || o->src_port_min || o->src_port_max) && !kind->udp_port)
		return "this kind has no UDP ports";
	if (o->src_port_max < o->src_port_min)
		return "a range of ports that ends before it begins";
	if (o->id && !kind->udp_port && !(o->flags & SLUICE_TUNNEL_KEY))
		return "this kind has no id";
	if (kind->udp_port && o->id > VNI_MAX)
		return "an id of more than 24 bits";
	if (o->label > LABEL_MAX)
		return "a flow label of more than 20 bits";
	if ((o->flags & SLUICE_TUNNEL_ADDRESS) && !kind->ethernet)
		return "this kind has no link-layer address";
	return NULL;
}

/* The key of every packet of a tunnel that is not external. */
static void fix_key(struct sl_tunnel_port *t, const struct sluice_tunnel_options *o)
{
	bool ipv6 = o->remote.family == 6, csum = o->flags & SLUICE_TUNNEL_CSUM;

	if (t->udp_port && ipv6)
		csum = !(o->flags & SLUICE_TUNNEL_NO_CSUM6_TX);
	t->fixed = (struct sl_tunnel){
		.id = o->id,
		.label = o->label,
		.flags = (csum ? SL_TUNNEL_CSUM : 0) |
			 (o->flags & SLUICE_TUNNEL_SEQ ? SL_TUNNEL_SEQ : 0) |
			 (o->flags & SLUICE_TUNNEL_KEY || t->udp_port ? SL_TUNNEL_KEY : 0),
		.tos = o->tos,
		.ttl = o->ttl,
		.ipv6 = ipv6,
		.transmit = true,
	};
	memcpy(t->fixed.dst, o->remote.bytes, sizeof(t->fixed.dst));
}

static void set_sources(struct sl_tunnel_port *t, const struct sluice_tunnel_options *o)
{
	while (t->local_count < SLUICE_TUNNEL_LOCALS && o->local[t->local_count].family)
		t->local_count++;
	for (unsigned i = t->local_count; i-- > 0;) {
		t->local[i] = o->local[i];
		t->source[t->local[i].family == 6] = &t->local[i];
	}
}

static void set_link(struct sl_tunnel_port *t, const struct sluice_tunnel_options *o)
{
	static const uint16_t types[2] = { RTE_BE16(RTE_ETHER_TYPE_IPV4),
		RTE_BE16(RTE_ETHER_TYPE_IPV6) };

	for (unsigned i = 0; i < 2; i++) {
		memcpy(t->link[i], o->nexthop, RTE_ETHER_ADDR_LEN);
		memcpy(t->link[i] + RTE_ETHER_ADDR_LEN, &t->underlay->mac, RTE_ETHER_ADDR_LEN);
		memcpy(t->link[i] + 2 * RTE_ETHER_ADDR_LEN, &types[i], sizeof(types[i]));
	}
}

/* What of the underlay's MTU is left for inner packets, as the kernel's devices reckon it. */
static uint16_t default_mtu(const struct sl_tunnel_port *t)
{
	uint16_t len = t->remote.family == 6 || !(t->kind->over & SL_TUNNEL_OVER_IPV4) ? 40 : 20;

	if (t->udp_port)
		len += 8 + 8;
	if (t->kind->header == SL_TUNNEL_IN_GRE)
		len += 4 + (t->fixed.flags & SL_TUNNEL_CSUM ? 4 : 0) +
		       (t->fixed.flags & SL_TUNNEL_KEY ? 4 : 0) +
		       (t->fixed.flags & SL_TUNNEL_SEQ ? 4 : 0);
	if (t->kind->ethernet)
		len += RTE_ETHER_HDR_LEN;
	return t->underlay->mtu > len + MTU_MIN ? t->underlay->mtu - len : MTU_MIN;
}

static struct sl_port *tunnel_new(const struct sluice_tunnel_options *o, struct sl_port *underlay)
{
	struct sl_port *port = calloc(1, sizeof(*port));
	struct sl_tunnel_port *t = aligned_alloc(SL_CACHE_LINE, sizeof(*t));

	if (!port || !t) {
		free(port);
		free(t);
		return NULL;
	}
	memset(t, 0, sizeof(*t));
	t->kind = &kinds[o->kind];
	t->underlay = underlay;
	t->flags = o->flags;
	t->udp_port = t->kind->udp_port && o->dst_port ? o->dst_port : t->kind->udp_port;
	t->src_port_min = o->src_port_max ? o->src_port_min : t->kind->src_port_min;
	t->src_port_span = (o->src_port_max ?: t->kind->src_port_max) - t->src_port_min;
	t->df = (uint8_t)o->df;
	t->remote = o->remote;
	t->options = *o;
	t->options.name = NULL;
	set_sources(t, o);
	set_link(t, o);
	if (!(o->flags & SLUICE_TUNNEL_EXTERNAL))
		fix_key(t, o);
	port->tunnel = t;
	port->link_header = t->kind->ethernet ? RTE_ETHER_HDR_LEN : 0;
	port->mtu = o->mtu ?: default_mtu(t);
	port->may_scatter = underlay->may_scatter;
	if (o->flags & SLUICE_TUNNEL_ADDRESS)
		memcpy(&port->mac, o->mac, sizeof(port->mac));
	else if (t->kind->ethernet)
		rte_eth_random_addr(port->mac.addr_bytes);
	snprintf(port->name, sizeof(port->name), "%s", o->name);
	snprintf(port->driver, sizeof(port->driver), "%s", t->kind->name);
	return port;
}

static bool same_address(
	const struct sluice_tunnel_address *a, const struct sluice_tunnel_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static bool locals_meet(const struct sl_tunnel_port *a, const struct sl_tunnel_port *b)
{
	for (unsigned i = 0; i < a->local_count; i++) {
		for (unsigned j = 0; j < b->local_count; j++) {
			if (same_address(&a->local[i], &b->local[j]))
				return true;
		}
	}
	return !a->local_count && !b->local_count;
}

/* Whether both would take the same packets. UDP ports belong to one kind. */
static bool conflict(const struct sl_tunnel_port *a, const struct sl_tunnel_port *b)
{
	if (a->udp_port != b->udp_port || (a->udp_port == 0 && a->kind != b->kind))
		return false;
	if (a->kind != b->kind)
		return true;
	if (!locals_meet(a, b))
		return false;
	if ((a->flags & SLUICE_TUNNEL_EXTERNAL) || (b->flags & SLUICE_TUNNEL_EXTERNAL))
		return a->flags & b->flags & SLUICE_TUNNEL_EXTERNAL;
	if (a->fixed.id != b->fixed.id || ((a->fixed.flags ^ b->fixed.flags) & SL_TUNNEL_KEY))
		return false;
	return a->kind->header == SL_TUNNEL_IN_VXLAN || same_address(&a->remote, &b->remote);
}

static const char *find_conflict(const struct sl_port *port)
{
	const struct sl_tunnel_list *list = port->tunnel->underlay->tunnels;

	for (unsigned i = 0; i < SL_PORTS_MAX; i++) {
		if (sl_ports[i] && strcmp(sl_ports[i]->name, port->name) == 0)
			return "another port has the name";
	}
	for (uint32_t i = 0; list && i < list->count; i++) {
		if (conflict(list->ports[i]->tunnel, port->tunnel))
			return "another tunnel takes the same packets";
	}
	return NULL;
}

static void free_list(struct sl_rcu_head *head)
{
	free(sl_container_of(head, struct sl_tunnel_list, rcu));
}

/* The list with `add`, or without `del`. */
static int publish(struct sl_port *underlay, struct sl_port *add, const struct sl_port *del)
{
	struct sl_tunnel_list *old = underlay->tunnels, *list;
	uint32_t count = old ? old->count : 0;

	list = calloc(1, sizeof(*list) + (count + 1) * sizeof(list->ports[0]));
	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		if (old->ports[i] != del)
			list->ports[list->count++] = old->ports[i];
	}
	if (add)
		list->ports[list->count++] = add;
	if (!list->count) {
		free(list);
		list = NULL;
	}
	sl_rcu_store(underlay->tunnels, list);
	if (old)
		sl_rcu_call(&old->rcu, free_list);
	return 0;
}

static int choose_id(uint16_t *ret_id)
{
	for (uint16_t id = RTE_MAX_ETHPORTS; id < SL_PORTS_MAX; id++) {
		if (!sl_ports[id]) {
			*ret_id = id;
			return 0;
		}
	}
	return -ENOSPC;
}

static void tunnel_free(struct sl_port *port)
{
	free(port->tunnel);
	free(port);
}

/* With the lock held. */
static int add(const struct sluice_tunnel_options *o, uint32_t *ret_ifindex)
{
	struct sl_port *underlay = sl_port_peek(o->underlay), *port;
	const char *why;
	uint16_t id;
	int err;

	if (!underlay)
		return refuse(o, -ENODEV, "there is no underlay");
	if (underlay->tunnel)
		return refuse(o, -EINVAL, "the underlay is a tunnel");
	if (choose_id(&id) != 0)
		return refuse(o, -ENOSPC, "there are too many");
	port = tunnel_new(o, underlay);
	if (!port)
		return refuse(o, -ENOMEM, strerror(ENOMEM));
	port->id = id;
	port->ifindex = sl_port_number(id, sl_twin_exists());
	why = find_conflict(port);
	if (why) {
		tunnel_free(port);
		return refuse(o, -EEXIST, why);
	}
	err = sl_port_add_interface(port);
	if (!err)
		err = publish(underlay, port, NULL);
	if (err) {
		sluice_interface_del(port->ifindex);
		tunnel_free(port);
		return refuse(o, err, strerror(-err));
	}
	sl_port_publish(port);
	*ret_ifindex = port->ifindex;
	return 0;
}

int sluice_tunnel_add(const struct sluice_tunnel_options *options, uint32_t *ret_ifindex)
{
	const char *why;
	int err;

	if ((unsigned)options->kind >= SLUICE_TUNNEL_KINDS)
		return refuse(options, -EINVAL, "there is no such kind");
	if (!options->name || !options->name[0] || strlen(options->name) >= RTE_ETH_NAME_MAX_LEN)
		return refuse(options, -EINVAL, "it needs a name, a short one");
	why = check_addresses(options, &kinds[options->kind]);
	if (!why)
		why = check_options(options, &kinds[options->kind]);
	if (why)
		return refuse(options, -EINVAL, why);
	sl_port_lock();
	err = add(options, ret_ifindex);
	sl_port_unlock();
	return err;
}

int sluice_tunnel_get(uint32_t ifindex, struct sluice_tunnel_options *ret_options)
{
	const struct sl_port *port;
	int err = -ENODEV;

	sl_port_lock();
	port = sl_port_peek(ifindex);
	if (port && port->tunnel) {
		*ret_options = port->tunnel->options;
		ret_options->dst_port = port->tunnel->udp_port;
		ret_options->mtu = port->mtu;
		if (port->tunnel->kind->ethernet) {
			ret_options->flags |= SLUICE_TUNNEL_ADDRESS;
			memcpy(ret_options->mac, &port->mac, sizeof(ret_options->mac));
		}
		err = 0;
	}
	sl_port_unlock();
	return err;
}

int sl_tunnel_remove_over(struct sl_port *underlay)
{
	int err = 0;

	while (!err && underlay->tunnels)
		err = sl_port_remove(underlay->tunnels->ports[0]);
	return err;
}

int sl_tunnel_unlink(struct sl_port *port)
{
	return publish(port->tunnel->underlay, NULL, port);
}

void sl_tunnel_destroy(struct sl_port *port)
{
	sl_hook_clear(port);
	sl_tap_forget_port(port);
	sl_counters_retire(port->id);
	tunnel_free(port);
}
