#include <sluice/dataplane.h>

#include <unistd.h>

#include "ring_port.h"
#include "test.h"
#include "worker.h"

/* Which worker polls which queue: as seen by who counts the packets. */

enum { PORTS = 4 };

/* The workers that have received from a port since the last call, as bits. */
static unsigned received(uint32_t ifindex, uint64_t *seen)
{
	unsigned set = 0;

	for (unsigned w = 0; w < sluice_workers_count(); w++) {
		struct sluice_counters counters;

		if (sluice_counters_read(ifindex, (int)w, &counters) != 0)
			return 0;
		set |= (unsigned)(counters.value[SLUICE_RX] > seen[w]) << w;
		seen[w] = counters.value[SLUICE_RX];
	}
	return set;
}

/* The same after a while, which is longer where the machine has no time for a worker. */
static unsigned receivers(uint32_t ifindex, uint64_t *seen)
{
	unsigned set = 0;

	for (unsigned ms = 0; ms < 20 || (!set && ms < 5000); ms++) {
		usleep(1000);
		set |= received(ifindex, seen);
	}
	return set;
}

/* A driver's queue may be polled by one thread at a time: nobody else may take it over. */
TEST(plan, a_queue_keeps_its_worker_when_other_ports_come_and_go)
{
	static const char *const devargs[PORTS] = { "net_null0", "net_null1", "net_null2",
		"net_null3" };
	const struct sluice_port_options options = { .rx_queues = 1 };
	uint64_t seen[PORTS][SL_WORKERS_MAX] = { 0 };
	uint32_t ifindex[PORTS], again;
	unsigned owner[PORTS];

	ASSERT_EQ(ring_eal(), 0);
	if (sluice_workers_count() < 2)
		SKIP("one worker has all queues");
	for (unsigned i = 0; i < PORTS; i++)
		ASSERT_EQ(sluice_port_add(devargs[i], &options, &ifindex[i]), 0);
	ASSERT_EQ(sluice_workers_start(), 0);
	for (unsigned i = 0; i < PORTS; i++)
		owner[i] = receivers(ifindex[i], seen[i]);
	EXPECT_NE(owner[0], owner[1]);
	/* What is left would be dealt out anew. */
	EXPECT_EQ(sluice_port_remove(ifindex[0]), 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 1; i < PORTS; i++)
			EXPECT_EQ(receivers(ifindex[i], seen[i]), owner[i]);
	}
	/* The next one goes to whoever has least. */
	ASSERT_EQ(sluice_port_add(devargs[0], &options, &again), 0);
	for (unsigned i = 1; i < PORTS; i++)
		EXPECT_EQ(receivers(ifindex[i], seen[i]), owner[i]);
	EXPECT_EQ(receivers(again, (uint64_t[SL_WORKERS_MAX]){ 0 }), owner[0]);
	sluice_workers_stop();
	for (unsigned i = 1; i < PORTS; i++)
		EXPECT_EQ(sluice_port_remove(ifindex[i]), 0);
	EXPECT_EQ(sluice_port_remove(again), 0);
}
