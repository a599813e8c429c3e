#include "port.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <sluice/route.h>

#include "eal.h"
#include "list.h"
#include "logging.h"
#include "packet.h"
#include "rx_hints.h"
#include "tap.h"
#include "transmit.h"
#include "tunnel_port.h"
#include "twin.h"
#include "worker.h"
#include "xsk_port.h"

enum {
	DESCRIPTORS = 1024,
	HANDOVER_SLOTS = 1024,
	MBUFS_MIN = 8191,
	POOL_CACHE = 8 * SL_BURST, /* smaller ones overflow at every burst */
};

struct sl_port *sl_ports[SL_PORTS_MAX];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t serials; /* under the lock */

void sl_port_lock(void)
{
	pthread_mutex_lock(&lock);
}

bool sl_port_trylock(void)
{
	return pthread_mutex_trylock(&lock) == 0;
}

void sl_port_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

struct sl_port *sl_port_of(uint32_t ifindex)
{
	struct sl_port *port = sl_port_peek(ifindex);

	if (!port)
		sl_log(SL_LOG_ERROR, "there is no port %u", ifindex);
	return port;
}

/* One line for what went wrong with a port, in DPDK's words where it has some. */
static int fail(const char *what, const char *name, int err)
{
	sl_log(SL_LOG_ERROR, "cannot %s port %s: %s", what, name, sl_eal_reason(strerror(-err)));
	return err;
}

/* PMDs disagree about the sign of their errors, and -1 is none. */
static int pmd_errno(int result, int otherwise)
{
	int err = result < 0 ? -result : result;

	return err > 1 && err < 200 ? -err : -otherwise;
}

/* Finds the ethdev that `devargs` names, after probing it when the EAL has not. */
static int probe(const char *devargs, uint16_t *ret_id, bool *ret_probed)
{
	bool before[RTE_MAX_ETHPORTS] = { false };
	char name[RTE_ETH_NAME_MAX_LEN];
	uint16_t id;
	int err;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(devargs, ","), devargs);
	*ret_probed = false;
	if (rte_eth_dev_get_port_by_name(name, ret_id) == 0)
		return 0;
	RTE_ETH_FOREACH_DEV(id)
	{
		before[id] = true;
	}
	err = rte_dev_probe(devargs);
	if (err)
		return pmd_errno(err, ENODEV);
	*ret_probed = true;
	if (rte_eth_dev_get_port_by_name(name, ret_id) == 0)
		return 0;
	RTE_ETH_FOREACH_DEV(id)
	{
		if (!before[id]) {
			*ret_id = id;
			return 0;
		}
	}
	return -ENODEV;
}

static uint32_t mbufs_needed(const struct sl_port *port, const struct sluice_port_options *options,
	uint16_t rx_descriptors, uint16_t tx_descriptors)
{
	uint32_t needed = (uint32_t)port->rx_queues * rx_descriptors +
			  (uint32_t)port->tx_queues * tx_descriptors +
			  sl_worker_count() * (POOL_CACHE * 3 / 2 + SL_TX_BATCH + SL_BURST) +
			  (options->kernel_twin ? SL_TWIN_MBUFS : 0);

	if (options->mbufs)
		return options->mbufs;
	return sl_max(needed, (uint32_t)MBUFS_MIN);
}

/*
 * A port's packets can be at other ports when it goes: in transmit queues that their drivers clean
 * up when they send again, in rings to other workers. Its pool then waits for them here, until a
 * port comes or goes. With the lock held.
 */
struct orphan {
	struct sl_list node;
	struct rte_mempool *pool;
};

static struct sl_list orphans = SL_LIST_INIT(orphans);

/*
 * A worker that is just moving mbufs from its cache to the pool's ring has them counted twice. So
 * look again when all have come past that.
 */
static bool all_back(const struct rte_mempool *pool)
{
	if (!rte_mempool_full(pool))
		return false;
	sl_rcu_synchronize();
	return rte_mempool_full(pool);
}

static void free_orphans(void)
{
	struct orphan *o, *tmp;

	sl_list_for_each_safe (o, tmp, &orphans, node) {
		if (!all_back(o->pool))
			continue;
		rte_mempool_free(o->pool);
		sl_list_del(&o->node);
		free(o);
	}
}

static void put_pool(struct rte_mempool *pool)
{
	struct orphan *o;

	free_orphans();
	if (!pool || all_back(pool)) {
		rte_mempool_free(pool);
		return;
	}
	o = malloc(sizeof(*o));
	if (!o)
		return; /* better lost than freed under a packet */
	o->pool = pool;
	sl_list_add_tail(&orphans, &o->node);
}

static int new_pool(struct sl_port *port, uint32_t mbufs, int socket)
{
	static unsigned serial; /* a predecessor's pool may still be there */
	uint32_t cache = sl_min((uint32_t)POOL_CACHE, mbufs * 2 / 3);
	char name[RTE_MEMPOOL_NAMESIZE];

	free_orphans();
	snprintf(name, sizeof(name), "sl-port%u-%u", port->id, serial++);
	port->pool = rte_pktmbuf_pool_create(
		name, mbufs, cache, SL_HEADROOM_SPARE, RTE_MBUF_DEFAULT_BUF_SIZE, socket);
	return port->pool ? 0 : -(rte_errno ? rte_errno : ENOMEM);
}

static int new_handover(struct sl_port *port, int socket)
{
	if (port->tx_queues >= sl_worker_count())
		return 0;
	port->handover = calloc(port->tx_queues, sizeof(*port->handover));
	if (!port->handover)
		return -ENOMEM;
	for (uint16_t q = 0; q < port->tx_queues; q++) {
		char name[RTE_RING_NAMESIZE];

		snprintf(name, sizeof(name), "sl-tx%u-%u", port->id, q);
		port->handover[q] = rte_ring_create(name, HANDOVER_SLOTS, socket, RING_F_SC_DEQ);
		if (!port->handover[q])
			return -(rte_errno ? rte_errno : ENOMEM);
	}
	return 0;
}

/* Drivers that note something whether they are asked to or not: those of packets of others. */
static const struct {
	const char *driver;
	uint32_t hints;
} noted[] = {
	{ "net_pcap", SL_RX_HINT_TIMESTAMP },
	{ "net_ring", SL_RX_HINT_TIMESTAMP | SL_RX_HINT_HASH | SL_RX_HINT_VLAN },
};

static const struct {
	uint64_t offload;
	uint32_t asked, hint;
} hint_offloads[] = {
	{ RTE_ETH_RX_OFFLOAD_TIMESTAMP, SLUICE_RX_TIMESTAMP, SL_RX_HINT_TIMESTAMP },
	{ RTE_ETH_RX_OFFLOAD_RSS_HASH, SLUICE_RX_HASH, SL_RX_HINT_HASH },
	{ RTE_ETH_RX_OFFLOAD_VLAN_STRIP, SLUICE_RX_VLAN, SL_RX_HINT_VLAN },
};

/* What the configured port will tell of its packets. */
static int find_hints(struct sl_port *port, uint64_t offloads)
{
	static bool registered;
	uint64_t flag;
	int offset;

	for (unsigned i = 0; i < sl_array_size(noted); i++)
		if (strcmp(port->driver, noted[i].driver) == 0)
			port->rx_hints |= noted[i].hints;
	for (unsigned i = 0; i < sl_array_size(hint_offloads); i++)
		if (offloads & hint_offloads[i].offload)
			port->rx_hints |= hint_offloads[i].hint;
	if (registered || !(port->rx_hints & SL_RX_HINT_TIMESTAMP))
		return 0;
	if (rte_mbuf_dyn_rx_timestamp_register(&offset, &flag) != 0)
		return -rte_errno;
	sl_rx_timestamp_set(offset, flag);
	registered = true;
	return 0;
}

/* It makes its packets itself, of one segment each, and frees what it is given. */
static bool is_null(const struct sl_port *port)
{
	return strcmp(port->driver, "net_null") == 0;
}

#define CSUMS                                                          \
	(RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM | \
		RTE_ETH_TX_OFFLOAD_IPV4_CKSUM)

static const struct {
	uint64_t device, packets;
} tx_offloads[] = {
	{ CSUMS, RTE_MBUF_F_TX_L4_MASK },
	{ CSUMS | RTE_ETH_TX_OFFLOAD_TCP_TSO, RTE_MBUF_F_TX_TCP_SEG },
	{ CSUMS | RTE_ETH_TX_OFFLOAD_UDP_TSO, RTE_MBUF_F_TX_UDP_SEG },
};

/* Returns what the device is to be configured with. */
static uint64_t choose_tx_offloads(struct sl_port *port, uint64_t offered)
{
	uint64_t chosen = 0;

	for (unsigned i = 0; i < sl_array_size(tx_offloads); i++) {
		if ((offered & tx_offloads[i].device) != tx_offloads[i].device)
			continue;
		chosen |= tx_offloads[i].device;
		port->tx_offloads |= tx_offloads[i].packets;
	}
	return chosen;
}

static int configure(struct sl_port *port, const struct rte_eth_dev_info *info,
	const struct sluice_port_options *options)
{
	uint32_t asked_hints = options->rx_hints;
	struct rte_eth_conf conf = { 0 };
	uint64_t rss = info->flow_type_rss_offloads &
		       (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP);

	int err;

	for (unsigned i = 0; i < sl_array_size(hint_offloads); i++)
		if (asked_hints & hint_offloads[i].asked)
			conf.rxmode.offloads |= info->rx_offload_capa & hint_offloads[i].offload;
	if ((port->rx_queues > 1 || asked_hints & SLUICE_RX_HASH) && rss) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		port->spreads = true;
		conf.rx_adv_conf.rss_conf.rss_hf = rss;
		conf.rxmode.offloads |= info->rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH;
	}
	conf.txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	port->sends_segments = conf.txmode.offloads || is_null(port);
	if (options->tx_offloads)
		conf.txmode.offloads |= choose_tx_offloads(port, info->tx_offload_capa);
	err = find_hints(port, conf.rxmode.offloads);
	if (err)
		return err;
	return rte_eth_dev_configure(port->id, port->rx_queues, port->tx_queues, &conf);
}

static int set_up_queues(struct sl_port *port, uint16_t rx_descriptors, uint16_t tx_descriptors)
{
	int socket = rte_eth_dev_socket_id(port->id);
	int err = 0;

	for (uint16_t q = 0; !err && q < port->rx_queues; q++)
		err = rte_eth_rx_queue_setup(
			port->id, q, rx_descriptors, (unsigned)socket, NULL, port->pool);
	for (uint16_t q = 0; !err && q < port->tx_queues; q++)
		err = rte_eth_tx_queue_setup(port->id, q, tx_descriptors, (unsigned)socket, NULL);
	return err;
}

/* From a probed ethdev to one that receives. */
static int bring_up(struct sl_port *port, const struct sluice_port_options *options)
{
	uint16_t rx_descriptors = options->rx_descriptors ?: DESCRIPTORS;
	uint16_t tx_descriptors = options->tx_descriptors ?: DESCRIPTORS;
	uint16_t workers = (uint16_t)sl_worker_count();
	int socket = rte_eth_dev_socket_id(port->id);
	struct rte_eth_dev_info info;
	int err = rte_eth_dev_info_get(port->id, &info);

	if (err)
		return err;
	snprintf(port->driver, sizeof(port->driver), "%s", info.driver_name);
	port->rx_queues = sl_min(options->rx_queues ?: workers, workers);
	port->rx_queues = sl_min(port->rx_queues, info.max_rx_queues);
	port->tx_queues = sl_min(workers, info.max_tx_queues);
	if (!port->rx_queues || !port->tx_queues)
		return -ENODEV;
	/* Others may spread a jumbo frame over several mbufs, asked for or not. */
	port->may_scatter = !is_null(port);
	err = configure(port, &info, options);
	if (err)
		return err;
	rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx_descriptors, &tx_descriptors);
	port->rx_descriptors = rx_descriptors;
	port->tx_descriptors = tx_descriptors;
	err = new_pool(port, mbufs_needed(port, options, rx_descriptors, tx_descriptors), socket);
	if (!err)
		err = new_handover(port, socket);
	if (!err)
		err = set_up_queues(port, rx_descriptors, tx_descriptors);
	if (!err)
		err = rte_eth_dev_start(port->id);
	if (err)
		return err;
	rte_eth_promiscuous_enable(port->id); /* what cannot needs not */
	rte_eth_macaddr_get(port->id, &port->mac);
	if (rte_eth_dev_get_mtu(port->id, &port->mtu) != 0)
		port->mtu = RTE_ETHER_MTU;
	return 0;
}

/* Takes a port apart that no worker can reach; half-built ones too. */
static void destroy(struct sl_port *port)
{
	sl_hook_clear(port);
	sl_tap_forget_port(port);
	sl_xsk_port_clear(port);
	sl_twin_free(port->twin);
	port->twin = NULL;
	if (port->handover) {
		sl_transmit_drain(sl_worker_at(0), port);
		for (uint16_t q = 0; q < port->tx_queues; q++)
			rte_ring_free(port->handover[q]);
		free(port->handover);
	}
	sl_counters_retire(port->id);
	rte_eth_dev_stop(port->id);
	rte_eth_dev_close(port->id);
	/* The last port of a device that we probed takes it along; others stay the EAL's. */
	if (port->probed && port->device)
		rte_dev_remove(port->device);
	put_pool(port->pool);
	free(port);
}

int sl_port_add_interface(const struct sl_port *port)
{
	struct sluice_interface interface = {
		.ifindex = port->ifindex, .mtu = port->mtu, .header_bytes = port->link_header
	};

	memcpy(interface.mac, &port->mac, sizeof(interface.mac));
	return sluice_interface_set(&interface);
}

static bool is_name_taken(const char *name)
{
	for (unsigned i = 0; i < SL_PORTS_MAX; i++)
		if (sl_ports[i] && strcmp(sl_ports[i]->name, name) == 0)
			return true;
	return false;
}

/* What messages, options and JSON can carry as it is. */
static bool is_printable(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)name[i]) || strchr("\"\\/,=", name[i]))
			return false;
	return len > 0 && len < RTE_ETH_NAME_MAX_LEN;
}

/* The name asked for, the device's, or where a twin cannot have that one like "dpdk0". */
static int choose_name(struct sl_port *port, const struct sluice_port_options *options)
{
	bool twin = options->kernel_twin != SLUICE_TWIN_NONE;
	const char *name = options->name ?: port->device_name;

	if (!is_printable(name))
		return -EINVAL;
	snprintf(port->name, sizeof(port->name), "%s", name);
	if (twin && !sl_twin_name_is_good(name)) {
		if (options->name)
			return -EINVAL;
		snprintf(port->name, sizeof(port->name), "dpdk%u", port->id);
	}
	return is_name_taken(port->name) ? -EEXIST : 0;
}

/* The twin as far as it is wanted; the port has its number in the end. */
static int make_twin(struct sl_port *port, const struct sluice_port_options *options)
{
	const char *what = NULL;
	int err = 0;

	if (options->kernel_twin)
		err = sl_twin_add(port, &what);
	if (err)
		sl_log(options->kernel_twin == SLUICE_TWIN_TRY ? SL_LOG_WARN : SL_LOG_ERROR,
			"port %s has no kernel twin: cannot %s: %s", port->name, what,
			strerror(-err));
	if (err && options->kernel_twin == SLUICE_TWIN_REQUIRE)
		return err;
	if (!port->twin)
		port->ifindex = sl_port_number(port->id,
			options->kernel_twin || options->beside_kernel || sl_twin_exists());
	return 0;
}

/* From an ethdev to an interface that no worker knows yet. */
static int set_up(struct sl_port *port, const struct sluice_port_options *options)
{
	struct sluice_interface known;
	int err = choose_name(port, options);

	if (err) {
		sl_log(SL_LOG_ERROR, "cannot add port %s: %s", options->name ?: port->device_name,
			err == -EEXIST         ? "another port has the name"
			: options->kernel_twin ? "no interface can have that name"
					       : "a port cannot have that name");
		return err;
	}
	err = bring_up(port, options);
	if (err)
		return fail("start", port->device_name, pmd_errno(err, EIO));
	err = make_twin(port, options);
	if (err)
		return err;
	/* A twin is one already, with what the kernel says of it. */
	if (!port->twin || sluice_interface_get(port->ifindex, &known) != 0)
		err = sl_port_add_interface(port);
	return err ? fail("start", port->name, err) : 0;
}

/* With the lock held. */
static int add(const char *name, uint16_t id, bool probed,
	const struct sluice_port_options *options, uint32_t *ret_ifindex)
{
	struct rte_eth_dev_info info;
	struct sl_port *port;
	int err;

	if (sl_ports[id])
		return fail("add", name, -EEXIST);
	port = calloc(1, sizeof(*port));
	if (!port)
		return fail("add", name, -ENOMEM);
	port->id = id;
	port->link_header = RTE_ETHER_HDR_LEN;
	port->serial = ++serials;
	port->probed = probed;
	rte_eth_dev_get_name_by_port(id, port->device_name);
	if (rte_eth_dev_info_get(id, &info) == 0)
		port->device = info.device; /* to be removed with the port, however far it gets */
	err = set_up(port, options);
	if (err) {
		destroy(port);
		return err;
	}
	sl_port_publish(port);
	err = sl_worker_replan();
	if (err) {
		sl_port_withdraw(port);
		sl_rcu_synchronize();
		sluice_interface_del(port->ifindex);
		destroy(port);
		return fail("add", name, err);
	}
	*ret_ifindex = port->ifindex;
	return 0;
}

static int check_eal(const char *name)
{
	if (sl_eal_started())
		return 0;
	sl_log(SL_LOG_ERROR, "cannot add port %s: the EAL is not started", name);
	return -ENODEV;
}

int sluice_port_add(
	const char *devargs, const struct sluice_port_options *options, uint32_t *ret_ifindex)
{
	static const struct sluice_port_options defaults;
	int err = check_eal(devargs);
	uint16_t id = 0;
	bool probed;

	if (err)
		return err;
	sl_port_lock();
	sl_eal_hold();
	err = probe(devargs, &id, &probed);
	if (err)
		fail("add", devargs, err);
	else
		err = add(devargs, id, probed, options ?: &defaults, ret_ifindex);
	sl_eal_release();
	sl_port_unlock();
	return err;
}

int sluice_port_add_all(const struct sluice_port_options *options)
{
	static const struct sluice_port_options defaults;
	int err = check_eal("of the EAL"), added = 0;
	uint16_t id;

	if (err)
		return err;
	sl_port_lock();
	sl_eal_hold();
	RTE_ETH_FOREACH_DEV(id)
	{
		char name[RTE_ETH_NAME_MAX_LEN];
		uint32_t ifindex;

		if (sl_ports[id])
			continue;
		rte_eth_dev_get_name_by_port(id, name);
		err = add(name, id, false, options ?: &defaults, &ifindex);
		if (err)
			break;
		added++;
	}
	sl_eal_release();
	sl_port_unlock();
	return err ? err : added;
}

/* Unlink, grace period, destroy. With the lock held. */
int sl_port_remove(struct sl_port *port)
{
	int err = port->tunnel ? sl_tunnel_unlink(port) : sl_tunnel_remove_over(port);

	if (err)
		return err;
	sl_port_withdraw(port);
	err = port->tunnel ? 0 : sl_worker_replan();
	if (err) {
		sl_port_publish(port);
		return err;
	}
	for (unsigned i = 0; i < SL_PORTS_MAX; i++) {
		if (sl_ports[i] && sl_ports[i]->pass_to == port)
			sl_rcu_store(sl_ports[i]->pass_to, NULL);
	}
	sluice_interface_del(port->ifindex);
	sl_rcu_synchronize();
	if (port->tunnel)
		sl_tunnel_destroy(port);
	else
		destroy(port);
	return 0;
}

int sluice_port_remove(uint32_t ifindex)
{
	struct sl_port *port;
	int err = -ENODEV;

	sl_port_lock();
	port = sl_port_of(ifindex);
	if (port) {
		sl_eal_hold();
		err = sl_port_remove(port);
		sl_eal_release();
	}
	sl_port_unlock();
	return err;
}

void sl_port_remove_all(void)
{
	sl_port_lock();
	for (unsigned i = 0; i < SL_PORTS_MAX; i++) {
		if (sl_ports[i])
			sl_port_remove(sl_ports[i]);
	}
	sl_port_unlock();
}

int sluice_port_pass_to(uint32_t ifindex, uint32_t to)
{
	struct sl_port *port, *target = NULL;
	int err = 0;

	sl_port_lock();
	port = sl_port_of(ifindex);
	if (to)
		target = sl_port_of(to);
	if (port && (target || !to))
		sl_rcu_store(port->pass_to, target);
	else
		err = -ENODEV;
	sl_port_unlock();
	return err;
}

/* With the lock held and no worker running. */
static int send_frame(struct sl_port *port, const void *frame, uint16_t len, unsigned queue)
{
	struct sl_worker *worker = sl_worker_at(queue);
	struct rte_mbuf *m = rte_pktmbuf_alloc(port->pool);

	if (!m)
		return -ENOBUFS;
	memcpy(rte_pktmbuf_append(m, len), frame, len);
	if (rte_eth_tx_burst(port->id, (uint16_t)queue, &m, 1) != 1) {
		rte_pktmbuf_free(m);
		return -ENOBUFS;
	}
	sl_worker_count_add(worker, port->id, SLUICE_SENT, 1);
	sl_worker_count_add(worker, port->id, SLUICE_TX, 1);
	return 0;
}

int sluice_port_send(uint32_t ifindex, const void *frame, size_t len_bytes, unsigned count)
{
	struct sl_port *port;
	int err = 0;

	if (len_bytes == 0 || len_bytes > RTE_ETHER_MAX_LEN - RTE_ETHER_CRC_LEN)
		return -EMSGSIZE;
	sl_port_lock();
	port = sl_port_of(ifindex);
	if (!port)
		err = -ENODEV;
	else if (port->tunnel)
		err = -EOPNOTSUPP;
	else if (sl_worker_running())
		err = -EBUSY;
	for (unsigned i = 0; !err && i < count; i++)
		err = send_frame(port, frame, (uint16_t)len_bytes, i % port->tx_queues);
	sl_port_unlock();
	return err;
}

int sluice_port_next(uint32_t ifindex, struct sluice_port_info *ret_info)
{
	const struct sl_port *port = NULL;

	sl_port_lock();
	for (unsigned i = 0; i < SL_PORTS_MAX; i++) {
		if (sl_ports[i] && sl_ports[i]->ifindex > ifindex &&
			(!port || sl_ports[i]->ifindex < port->ifindex))
			port = sl_ports[i];
	}
	if (port) {
		*ret_info = (struct sluice_port_info){
			.ifindex = port->ifindex,
			.rx_queues = port->rx_queues,
			.tx_queues = port->tx_queues,
			.xdp_prog_id = sl_hook_xdp_id(port),
			.xdp_generic = port->xdp_generic,
			.mtu = port->mtu,
			.pass_to = port->pass_to ? port->pass_to->ifindex : 0,
		};
		memcpy(ret_info->mac, &port->mac, sizeof(ret_info->mac));
		snprintf(ret_info->name, sizeof(ret_info->name), "%s", port->name);
		snprintf(ret_info->driver, sizeof(ret_info->driver), "%s", port->driver);
		snprintf(ret_info->device, sizeof(ret_info->device), "%s", port->device_name);
		ret_info->has_twin = port->twin != NULL;
		ret_info->is_tunnel = port->tunnel != NULL;
	}
	sl_port_unlock();
	return port ? 0 : -ENOENT;
}
