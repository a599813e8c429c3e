#include "bed.h"

#include <linux/bpf.h>
#include <unistd.h>

#include "test.h"

struct frame frame_of(uint8_t verdict, uint8_t argument)
{
	struct frame f = { { 0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5 } };

	f.bytes[PAYLOAD] = verdict;
	f.bytes[PAYLOAD + 1] = argument;
	for (unsigned i = PAYLOAD + 2; i < FRAME; i++)
		f.bytes[i] = (uint8_t)i;
	return f;
}

int attach_xdp(struct ring_port *port, sl_prog_fn fn)
{
	int fd = stand_in_fd(BPF_PROG_TYPE_XDP, fn);
	int err = sluice_xdp_attach(port->ifindex, fd, -1, 0);

	close(fd);
	return err;
}

int attach_tc(struct ring_port *port, enum sluice_tc_hook hook, sl_prog_fn fn)
{
	struct sluice_tc_filter filter = {
		.direct_action = true,
		.prog_fd = stand_in_fd(BPF_PROG_TYPE_SCHED_CLS, fn),
	};
	int err = sluice_tc_add(port->ifindex, hook, &filter, 0);

	close(filter.prog_fd);
	return err;
}

uint64_t counter_of(const struct ring_port *port, enum sluice_counter counter)
{
	struct sluice_counters c;

	return sluice_counters_read(port->ifindex, -1, &c) == 0 ? c.value[counter] : UINT64_MAX;
}

uint64_t sum_of(enum sluice_counter_kind kind)
{
	struct sluice_counters c;

	return sluice_counters_read(0, -1, &c) == 0 ? sluice_counters_sum(&c, kind) : UINT64_MAX;
}

void settle(const struct ring_port *port, uint64_t received)
{
	for (unsigned i = 0; i < 30000; i++) {
		if (counter_of(port, SLUICE_RX) >= received &&
			sum_of(SLUICE_KIND_IN) == sum_of(SLUICE_KIND_OUT))
			return;
		usleep(1000);
	}
}

bool bed_open(struct bed *bed, unsigned tx_queues)
{
	if (ring_eal() != 0 || ring_port_open(&bed->a, tx_queues) != 0 ||
		ring_port_open(&bed->b, tx_queues) != 0)
		return false;
	return sluice_workers_start() == 0;
}

void bed_close(struct bed *bed)
{
	sluice_workers_stop();
	EXPECT_EQ(sum_of(SLUICE_KIND_IN), sum_of(SLUICE_KIND_OUT));
	ring_port_close(&bed->a);
	ring_port_close(&bed->b);
	EXPECT_EQ(ring_mbufs_out(), 0u);
	EXPECT_EQ(stand_in_wait(0), 0u);
}

void send_one(struct bed *bed, struct frame f)
{
	uint64_t before = counter_of(&bed->a, SLUICE_RX);

	ring_send(&bed->a, f.bytes, FRAME, 1);
	settle(&bed->a, before + 1);
}
