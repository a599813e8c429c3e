/*
 * macswap DEVARGS SECONDS [PACKETS]: one worker runs the macswap program on one port, and prints
 * its rate in Mpps. PACKETS are put into the port first, for one that loops back what is sent
 * (net_ring). testpmd.sh runs it beside testpmd's macswap mode.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/libbpf.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sluice/dataplane.h>

#include "macswap.skel.h"
#include "stats.h"

enum { FRAME_BYTES = 64, INJECT_MAX = 4096 };

/* Without a NIC behind it, a looping port needs its first packets from somewhere. */
static int inject(const char *name, unsigned count)
{
	struct rte_mempool *pool;
	uint16_t port;

	if (rte_eth_dev_get_port_by_name(name, &port) != 0)
		return -ENODEV;
	pool = rte_pktmbuf_pool_create(
		"inject", INJECT_MAX * 2 - 1, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		struct rte_mbuf *mbuf = rte_pktmbuf_alloc(pool);
		char *data;

		if (!mbuf)
			return -ENOMEM;
		data = rte_pktmbuf_append(mbuf, FRAME_BYTES);
		if (!data)
			return -ENOSPC;
		memset(data, 0, FRAME_BYTES);
		data[0] = data[6] = 2;
		if (rte_eth_tx_burst(port, 0, &mbuf, 1) != 1)
			return -ENOSPC;
	}
	return 0;
}

static double measure(unsigned seconds)
{
	struct sluice_counters before, after;
	double start;

	usleep(300000);
	sluice_counters_read(0, -1, &before);
	start = wall_ns();
	sleep(seconds);
	sluice_counters_read(0, -1, &after);
	return (after.value[SLUICE_RX] - before.value[SLUICE_RX]) / (wall_ns() - start) * 1e3;
}

int main(int argc, char **argv)
{
	char *eal[] = { "-l", "0,1", "--in-memory", "--no-pci", "--log-level=*:error" };
	unsigned seconds, packets = 0;
	struct macswap_bpf *macswap;
	char name[64];
	uint32_t port;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: macswap DEVARGS SECONDS [PACKETS]\n");
		return 2;
	}
	seconds = strtoul(argv[2], NULL, 10);
	if (argc == 4)
		packets = strtoul(argv[3], NULL, 10);
	if (!seconds || packets > INJECT_MAX) {
		fprintf(stderr, "macswap: SECONDS from 1, PACKETS to %d\n", INJECT_MAX);
		return 2;
	}
	if (sluice_eal_start(1, sizeof(eal) / sizeof(eal[0]), eal) != 0 ||
		sluice_port_add(argv[1], NULL, &port) != 0)
		return 1;
	macswap = macswap_bpf__open_and_load();
	if (!macswap ||
		sluice_xdp_attach(port, bpf_program__fd(macswap->progs.macswap), -1, 0) != 0)
		return 1;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(argv[1], ","), argv[1]);
	if (inject(name, packets) != 0) {
		fprintf(stderr, "macswap: cannot put packets into %s\n", name);
		return 1;
	}
	if (sluice_workers_start() != 0)
		return 1;
	printf("%.2f\n", measure(seconds));
	sluice_workers_stop();
	sluice_eal_stop();
	macswap_bpf__destroy(macswap);
	return 0;
}
