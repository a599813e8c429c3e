#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Ports while they run: what their devices are and do, and what can be changed without taking them
 * away. All functions may be called from any thread but a worker, while packets flow. They return 0
 * or a negative errno after one line in the log that says what was wrong: -ENODEV for no such port,
 * -EOPNOTSUPP for what its driver cannot do or a tunnel has not, -EINVAL, -ERANGE for a value that
 * the device does not take, -EBUSY for what the driver does only to a port that is stopped, which is
 * before sluice_port_add returns. On failure nothing has changed.
 */

/* The port of a name, of a device's name, or of a number in digits. -ENODEV without a log line. */
int sluice_port_find(const char *name, uint32_t *ret_ifindex);

struct sluice_port_state {
	bool link_up, full_duplex, autonegotiated;
	uint32_t speed_mbps; /* 0: not known */
	uint16_t mtu, mtu_min, mtu_max; /* bytes behind the Ethernet header; max 0: not known */
	bool promiscuous, all_multicast;
	uint16_t rx_queues, tx_queues, rx_queues_max, tx_queues_max;
	uint16_t rx_descriptors, tx_descriptors; /* of each queue */
	uint32_t mbufs, mbufs_free; /* of the pool */
	int numa_node; /* -1: any */
	char bus[32], firmware[64]; /* empty: none */
	uint64_t rss_types_possible; /* enum sluice_rss_type bits, 0: the device spreads nothing */
	uint16_t reta_size; /* entries of its table, 0: it has none that can be set */
};

/* Of a tunnel only what it has: the MTU and the link of the port below. */
int sluice_port_state(uint32_t ifindex, struct sluice_port_state *ret_state);

/* The twin's and what bpf_fib_lookup is told follow. */
int sluice_port_set_mtu(uint32_t ifindex, uint16_t mtu);
int sluice_port_set_mac(uint32_t ifindex, const uint8_t mac[6]);
int sluice_port_set_promiscuous(uint32_t ifindex, bool on);
int sluice_port_set_all_multicast(uint32_t ifindex, bool on);
int sluice_port_set_link(uint32_t ifindex, bool up);

/*
 * Receive side scaling: which fields of a packet choose its queue, by what key, and which queue an
 * entry of the table stands for. Bits of `types` are DPDK's RTE_ETH_RSS_*.
 */
#define SLUICE_RSS_KEY_BYTES 256
#define SLUICE_RSS_RETA 1024

enum sluice_rss_part {
	SLUICE_RSS_TYPES = 1 << 0,
	SLUICE_RSS_KEY = 1 << 1,
	SLUICE_RSS_TABLE = 1 << 2,
};

struct sluice_rss {
	uint64_t types;
	uint16_t reta_size;
	uint8_t key_bytes;
	uint8_t key[SLUICE_RSS_KEY_BYTES];
	uint16_t reta[SLUICE_RSS_RETA];
};

/* What of it the device can tell; the rest is 0. */
int sluice_port_get_rss(uint32_t ifindex, struct sluice_rss *ret_rss);
/* Changes the `parts` of it. A table of another size than the device's is repeated to fill it. */
int sluice_port_set_rss(uint32_t ifindex, const struct sluice_rss *rss, unsigned parts);

/* The names of types, as testpmd and other tools of DPDK write them; NULL past the last. */
const char *sluice_rss_type(unsigned index, uint64_t *ret_types);

/*
 * The device's own statistics, those of its driver included. Calls fn for each until it does not
 * return 0, and returns that.
 */
int sluice_port_xstats(
	uint32_t ifindex, int (*fn)(const char *name, uint64_t value, void *arg), void *arg);

#ifdef __cplusplus
}
#endif
