#include <sluice/dataplane.h>
#include <sluice/port.h>

#include <errno.h>
#include <string.h>

#include "bed.h"
#include "test.h"

/* What can be asked of ports and changed in them while they run. */

static uint32_t add_null(const char *devargs, uint16_t queues)
{
	struct sluice_port_options options = { .rx_queues = queues, .rx_hints = SLUICE_RX_HASH };
	uint32_t ifindex = 0;

	EXPECT_EQ(ring_eal(), 0);
	EXPECT_EQ(sluice_port_add(devargs, &options, &ifindex), 0);
	return ifindex;
}

TEST(control, state_tells_what_the_device_is)
{
	uint32_t ifindex = add_null("net_null0,size=64", 1);
	struct sluice_port_state state;

	ASSERT_EQ(sluice_workers_start(), 0);
	ASSERT_EQ(sluice_port_state(ifindex, &state), 0);
	EXPECT_TRUE(state.link_up);
	EXPECT_EQ(state.speed_mbps, 10000u);
	EXPECT_EQ(state.mtu, 1500);
	EXPECT_EQ(state.rx_queues, 1);
	EXPECT_EQ(state.rx_descriptors, 1024);
	EXPECT_STREQ(state.bus, "vdev");
	EXPECT_GT(state.mbufs, 0u);
	EXPECT_GT(state.rss_types_possible, 0u);
	EXPECT_EQ(sluice_port_state(ifindex + 1, &state), -ENODEV);
	sluice_workers_stop();
	EXPECT_EQ(sluice_port_remove(ifindex), 0);
}

TEST(control, ports_are_found_by_name_device_and_number)
{
	struct sluice_port_options options = { .name = "uplink" };
	uint32_t ifindex, found = 0;

	ASSERT_EQ(ring_eal(), 0);
	ASSERT_EQ(sluice_port_add("net_null0", &options, &ifindex), 0);
	EXPECT_EQ(sluice_port_find("uplink", &found), 0);
	EXPECT_EQ(found, ifindex);
	EXPECT_EQ(sluice_port_find("net_null0", &found), 0);
	EXPECT_EQ(found, ifindex);
	EXPECT_EQ(sluice_port_find("1", &found), 0);
	for (unsigned i = 0; i < 6; i++) {
		static const char *const none[] = { "", "2", "upl", "-1", "1x", "99999999999" };

		EXPECT_EQ(sluice_port_find(none[i], &found), -ENODEV);
	}
	EXPECT_EQ(sluice_port_add("net_null1", &options, &ifindex), -EEXIST);
	options.name = "two words";
	EXPECT_EQ(sluice_port_add("net_null1", &options, &ifindex), -EINVAL);
	EXPECT_EQ(sluice_port_remove(found), 0);
}

TEST(control, settings_change_and_bad_ones_change_nothing)
{
	static const uint8_t mac[6] = { 2, 9, 8, 7, 6, 5 }, group[6] = { 1 }, zero[6] = { 0 };
	uint32_t ifindex = add_null("net_null0", 1);
	struct sluice_port_state state;
	struct sluice_port_info info;

	ASSERT_EQ(sluice_workers_start(), 0);
	EXPECT_EQ(sluice_port_set_mac(ifindex, mac), 0);
	EXPECT_EQ(sluice_port_set_mac(ifindex, group), -ERANGE);
	EXPECT_EQ(sluice_port_set_mac(ifindex, zero), -ERANGE);
	ASSERT_EQ(sluice_port_next(ifindex - 1, &info), 0);
	EXPECT_MEMEQ(info.mac, mac, 6);
	EXPECT_EQ(sluice_port_set_mtu(ifindex, 9000), 0);
	EXPECT_EQ(sluice_port_set_mtu(ifindex, 67), -ERANGE);
	EXPECT_EQ(sluice_port_set_mtu(ifindex, 0), -ERANGE);
	ASSERT_EQ(sluice_port_state(ifindex, &state), 0);
	EXPECT_EQ(state.mtu, 9000);
	EXPECT_EQ(sluice_port_set_mtu(77, 1500), -ENODEV);
	EXPECT_EQ(sluice_port_set_promiscuous(77, true), -ENODEV);
	sluice_workers_stop();
	EXPECT_EQ(sluice_port_remove(ifindex), 0);
}

TEST(control, rss_is_read_and_changed)
{
	uint32_t ifindex = add_null("net_null0", 1);
	struct sluice_rss rss = { 0 }, got;
	uint64_t udp = 0;
	const char *name;

	for (unsigned i = 0; (name = sluice_rss_type(i, &rss.types)); i++)
		if (strcmp(name, "udp") == 0)
			udp = rss.types;
	EXPECT_NE(udp, 0u);
	ASSERT_EQ(sluice_port_get_rss(ifindex, &got), 0);
	EXPECT_EQ(got.key_bytes, 40);
	EXPECT_GT(got.reta_size, 0);
	rss.types = udp;
	rss.key_bytes = 40;
	memset(rss.key, 0x6d, 40);
	rss.reta_size = 1;
	ASSERT_EQ(sluice_port_set_rss(
			  ifindex, &rss, SLUICE_RSS_TYPES | SLUICE_RSS_KEY | SLUICE_RSS_TABLE),
		0);
	ASSERT_EQ(sluice_port_get_rss(ifindex, &got), 0);
	EXPECT_EQ(got.types, udp);
	EXPECT_MEMEQ(got.key, rss.key, 40);
	EXPECT_EQ(got.reta[got.reta_size - 1], 0);
	/* Refused as a whole. */
	memset(rss.key, 1, 40);
	rss.reta[0] = 1;
	EXPECT_EQ(sluice_port_set_rss(ifindex, &rss, SLUICE_RSS_KEY | SLUICE_RSS_TABLE), -ERANGE);
	rss.reta_size = 2000;
	EXPECT_EQ(sluice_port_set_rss(ifindex, &rss, SLUICE_RSS_TABLE), -ERANGE);
	rss.key_bytes = 39;
	EXPECT_EQ(sluice_port_set_rss(ifindex, &rss, SLUICE_RSS_KEY), -ERANGE);
	ASSERT_EQ(sluice_port_get_rss(ifindex, &got), 0);
	EXPECT_EQ(got.key[0], 0x6d);
	EXPECT_EQ(sluice_port_get_rss(ifindex + 1, &got), -ENODEV);
	EXPECT_EQ(sluice_port_remove(ifindex), 0);
}

TEST(control, a_device_that_spreads_nothing_says_so)
{
	struct sluice_rss rss = { .reta_size = 1, .key_bytes = 40 };
	struct ring_port port;

	ASSERT_EQ(ring_eal(), 0);
	ASSERT_EQ(ring_port_open(&port, 1), 0);
	EXPECT_EQ(sluice_port_set_rss(port.ifindex, &rss, SLUICE_RSS_TABLE), -EOPNOTSUPP);
	EXPECT_EQ(sluice_port_set_rss(port.ifindex, &rss, SLUICE_RSS_KEY), -EOPNOTSUPP);
	ring_port_close(&port);
}

static int find_rx(const char *name, uint64_t value, void *arg)
{
	if (strcmp(name, "rx_good_packets") == 0)
		*(uint64_t *)arg = value;
	return 0;
}

static int stop_at_once(const char *name, uint64_t value, void *arg)
{
	(void)name;
	(void)value;
	(*(unsigned *)arg)++;
	return 42;
}

TEST(control, statistics_of_the_device_are_named)
{
	struct frame f = frame_of(0, 0);
	uint64_t received = 0;
	unsigned calls = 0;
	struct bed bed;

	ASSERT_TRUE(bed_open(&bed, 1));
	send_one(&bed, f);
	EXPECT_EQ(sluice_port_xstats(bed.a.ifindex, find_rx, &received), 0);
	EXPECT_EQ(received, 1u);
	EXPECT_EQ(sluice_port_xstats(bed.a.ifindex, stop_at_once, &calls), 42);
	EXPECT_EQ(calls, 1u);
	EXPECT_EQ(sluice_port_xstats(99, stop_at_once, &calls), -ENODEV);
	bed_close(&bed);
}
