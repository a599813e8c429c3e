#include <errno.h>
#include <string.h>

#include <rte_ethdev.h>
#include <sluice/port.h>

#include "control.h"
#include "eal.h"
#include "logging.h"
#include "port.h"

/* Receive side scaling of ports while they run. */

/* Single types first, so that a set of them is written in few words only where it has to be. */
static const struct {
	const char *name;
	uint64_t types;
} types[] = {
	{ "ipv4", RTE_ETH_RSS_IPV4 },
	{ "ipv4-frag", RTE_ETH_RSS_FRAG_IPV4 },
	{ "ipv4-tcp", RTE_ETH_RSS_NONFRAG_IPV4_TCP },
	{ "ipv4-udp", RTE_ETH_RSS_NONFRAG_IPV4_UDP },
	{ "ipv4-sctp", RTE_ETH_RSS_NONFRAG_IPV4_SCTP },
	{ "ipv4-other", RTE_ETH_RSS_NONFRAG_IPV4_OTHER },
	{ "ipv6", RTE_ETH_RSS_IPV6 },
	{ "ipv6-frag", RTE_ETH_RSS_FRAG_IPV6 },
	{ "ipv6-tcp", RTE_ETH_RSS_NONFRAG_IPV6_TCP },
	{ "ipv6-udp", RTE_ETH_RSS_NONFRAG_IPV6_UDP },
	{ "ipv6-sctp", RTE_ETH_RSS_NONFRAG_IPV6_SCTP },
	{ "ipv6-other", RTE_ETH_RSS_NONFRAG_IPV6_OTHER },
	{ "l2-payload", RTE_ETH_RSS_L2_PAYLOAD },
	{ "ipv6-ex", RTE_ETH_RSS_IPV6_EX },
	{ "ipv6-tcp-ex", RTE_ETH_RSS_IPV6_TCP_EX },
	{ "ipv6-udp-ex", RTE_ETH_RSS_IPV6_UDP_EX },
	{ "port", RTE_ETH_RSS_PORT },
	{ "vxlan", RTE_ETH_RSS_VXLAN },
	{ "geneve", RTE_ETH_RSS_GENEVE },
	{ "nvgre", RTE_ETH_RSS_NVGRE },
	{ "gtpu", RTE_ETH_RSS_GTPU },
	{ "eth", RTE_ETH_RSS_ETH },
	{ "s-vlan", RTE_ETH_RSS_S_VLAN },
	{ "c-vlan", RTE_ETH_RSS_C_VLAN },
	{ "esp", RTE_ETH_RSS_ESP },
	{ "ah", RTE_ETH_RSS_AH },
	{ "l2tpv3", RTE_ETH_RSS_L2TPV3 },
	{ "pfcp", RTE_ETH_RSS_PFCP },
	{ "pppoe", RTE_ETH_RSS_PPPOE },
	{ "mpls", RTE_ETH_RSS_MPLS },
	{ "ipv4-chksum", RTE_ETH_RSS_IPV4_CHKSUM },
	{ "l4-chksum", RTE_ETH_RSS_L4_CHKSUM },
	{ "l3-src-only", RTE_ETH_RSS_L3_SRC_ONLY },
	{ "l3-dst-only", RTE_ETH_RSS_L3_DST_ONLY },
	{ "l4-src-only", RTE_ETH_RSS_L4_SRC_ONLY },
	{ "l4-dst-only", RTE_ETH_RSS_L4_DST_ONLY },
	{ "l2-src-only", RTE_ETH_RSS_L2_SRC_ONLY },
	{ "l2-dst-only", RTE_ETH_RSS_L2_DST_ONLY },
	{ "none", 0 },
	{ "ip", RTE_ETH_RSS_IP },
	{ "tcp", RTE_ETH_RSS_TCP },
	{ "udp", RTE_ETH_RSS_UDP },
	{ "sctp", RTE_ETH_RSS_SCTP },
	{ "tunnel", RTE_ETH_RSS_TUNNEL },
	{ "vlan", RTE_ETH_RSS_VLAN },
};

const char *sluice_rss_type(unsigned index, uint64_t *ret_types)
{
	if (index >= sl_array_size(types))
		return NULL;
	*ret_types = types[index].types;
	return types[index].name;
}

enum { KEY_BYTES = 40, GROUPS = SLUICE_RSS_RETA / RTE_ETH_RETA_GROUP_SIZE };

/* A port with the lock held; NULL after a line in the log. */
static struct sl_port *enter(uint32_t ifindex, struct rte_eth_dev_info *ret_info)
{
	struct sl_port *port;

	sl_port_lock();
	port = sl_port_of(ifindex);
	if (!port) {
		sl_port_unlock();
		return NULL;
	}
	sl_eal_hold();
	memset(ret_info, 0, sizeof(*ret_info));
	if (!port->tunnel)
		rte_eth_dev_info_get(port->id, ret_info);
	/* Drivers that do not say it have the length that there was before others came. */
	if (ret_info->flow_type_rss_offloads && !ret_info->hash_key_size)
		ret_info->hash_key_size = KEY_BYTES;
	return port;
}

static int refuse(const struct sl_port *port, const char *what, const char *why, int err)
{
	sl_log(SL_LOG_ERROR, "cannot %s of port %s: %s", what, port->name, why);
	return err;
}

static void leave(void)
{
	sl_eal_release();
	sl_port_unlock();
}

static void ask_for(struct rte_eth_rss_reta_entry64 *groups, unsigned entries)
{
	memset(groups, 0, GROUPS * sizeof(*groups));
	for (unsigned i = 0; i < entries; i++)
		groups[i / RTE_ETH_RETA_GROUP_SIZE].mask |= 1ull << i % RTE_ETH_RETA_GROUP_SIZE;
}

int sluice_port_get_rss(uint32_t ifindex, struct sluice_rss *ret_rss)
{
	struct rte_eth_rss_reta_entry64 groups[GROUPS];
	struct rte_eth_rss_conf conf = { .rss_key = ret_rss->key };
	struct rte_eth_dev_info info;
	struct sl_port *port = enter(ifindex, &info);

	if (!port)
		return -ENODEV;
	memset(ret_rss, 0, sizeof(*ret_rss));
	conf.rss_key_len = info.hash_key_size;
	if (info.flow_type_rss_offloads && rte_eth_dev_rss_hash_conf_get(port->id, &conf) == 0) {
		ret_rss->types = conf.rss_hf;
		ret_rss->key_bytes = conf.rss_key ? conf.rss_key_len : 0;
	}
	if (info.reta_size && info.reta_size <= SLUICE_RSS_RETA) {
		ask_for(groups, info.reta_size);
		if (rte_eth_dev_rss_reta_query(port->id, groups, info.reta_size) == 0)
			ret_rss->reta_size = info.reta_size;
	}
	for (unsigned i = 0; i < ret_rss->reta_size; i++)
		ret_rss->reta[i] =
			groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
	leave();
	return 0;
}

static int check(const struct sl_port *port, const struct rte_eth_dev_info *info,
	const struct sluice_rss *rss, unsigned parts)
{
	const char *hash = "set the hash", *table = "set the table";

	if (parts & (SLUICE_RSS_TYPES | SLUICE_RSS_KEY) && !info->flow_type_rss_offloads)
		return refuse(port, hash, "the device spreads no packets", -EOPNOTSUPP);
	if (parts & (SLUICE_RSS_TYPES | SLUICE_RSS_KEY) && !port->spreads)
		return refuse(
			port, hash, "it has one queue, and no hints were asked for", -EOPNOTSUPP);
	if (parts & SLUICE_RSS_TYPES && rss->types & ~info->flow_type_rss_offloads)
		return refuse(port, hash, "the device does not know some of the types", -ERANGE);
	if (parts & SLUICE_RSS_KEY && rss->key_bytes != info->hash_key_size)
		return refuse(port, hash, "the device's key has another length", -ERANGE);
	if (!(parts & SLUICE_RSS_TABLE))
		return 0;
	if (!info->reta_size || info->reta_size > SLUICE_RSS_RETA)
		return refuse(port, table, "the device has none", -EOPNOTSUPP);
	if (!rss->reta_size || rss->reta_size > info->reta_size)
		return refuse(port, table, "the device's has another size", -ERANGE);
	for (unsigned i = 0; i < rss->reta_size; i++)
		if (rss->reta[i] >= port->rx_queues)
			return refuse(port, table, "there is no such queue", -ERANGE);
	return 0;
}

static int set_hash(struct sl_port *port, const struct sluice_rss *rss, unsigned parts)
{
	uint8_t key[SLUICE_RSS_KEY_BYTES];
	struct rte_eth_rss_conf conf = { 0 };
	int err = rte_eth_dev_rss_hash_conf_get(port->id, &conf);

	if (!err && parts & SLUICE_RSS_TYPES)
		conf.rss_hf = rss->types;
	if (parts & SLUICE_RSS_KEY) {
		memcpy(key, rss->key, rss->key_bytes);
		conf.rss_key = key;
		conf.rss_key_len = rss->key_bytes;
	}
	return err ?: rte_eth_dev_rss_hash_update(port->id, &conf);
}

static int set_table(struct sl_port *port, const struct sluice_rss *rss, uint16_t size)
{
	struct rte_eth_rss_reta_entry64 groups[GROUPS];

	ask_for(groups, size);
	for (unsigned i = 0; i < size; i++)
		groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] =
			rss->reta[i % rss->reta_size];
	return rte_eth_dev_rss_reta_update(port->id, groups, size);
}

/* The table first: with it undone, a hash that fails leaves everything as it was. */
static int set(struct sl_port *port, const struct sluice_rss *rss, unsigned parts, uint16_t size)
{
	struct rte_eth_rss_reta_entry64 old[GROUPS];
	int err = 0;

	if (parts & SLUICE_RSS_TABLE) {
		ask_for(old, size);
		err = rte_eth_dev_rss_reta_query(port->id, old, size);
		if (!err)
			err = set_table(port, rss, size);
		if (err)
			return err;
	}
	if (parts & (SLUICE_RSS_TYPES | SLUICE_RSS_KEY))
		err = set_hash(port, rss, parts);
	if (err && parts & SLUICE_RSS_TABLE)
		rte_eth_dev_rss_reta_update(port->id, old, size);
	return err;
}

int sluice_port_set_rss(uint32_t ifindex, const struct sluice_rss *rss, unsigned parts)
{
	struct rte_eth_dev_info info;
	struct sl_port *port = enter(ifindex, &info);
	int err;

	if (!port)
		return -ENODEV;
	err = check(port, &info, rss, parts);
	if (!err) {
		err = set(port, rss, parts, info.reta_size);
		if (err)
			err = refuse(port, "set the hash", sl_eal_reason(strerror(-err)),
				err == -ENOTSUP ? -EOPNOTSUPP : err);
	}
	leave();
	return err;
}
