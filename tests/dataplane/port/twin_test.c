#include <sluice/dataplane.h>
#include <sluice/port.h>
#include <sluice/route.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bed.h"
#include "context.h"
#include "redirect.h"
#include "test.h"

/*
 * Kernel twins in a network namespace of the test's own: what a port passes arrives at the kernel's
 * interface, what the kernel sends there leaves by the port, and both come and go together.
 */

static const struct sluice_port_options with_twin = { .kernel_twin = SLUICE_TWIN_REQUIRE };

static int control = -1; /* of the namespace */

static int control_fd(void)
{
	if (control < 0)
		control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return control;
}

/* For one test: as root, or as the root of a user namespace. The kernel sends no packets by itself. */
static bool own_namespace(void)
{
	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
		return false;
	if (control >= 0)
		close(control);
	control = -1;
	return system("sysctl -qw net.ipv6.conf.default.disable_ipv6=1") == 0 ||
	       access("/proc/sys/net/ipv6", F_OK) != 0;
}

#define NEED_NAMESPACE()                                         \
	do {                                                     \
		if (!own_namespace())                            \
			SKIP("may not make network namespaces"); \
	} while (0)

static struct ifreq request_of(const char *name)
{
	struct ifreq r = { 0 };

	memcpy(r.ifr_name, name, strnlen(name, sizeof(r.ifr_name) - 1));
	return r;
}

static int mtu_of(const char *name)
{
	struct ifreq r = request_of(name);

	return ioctl(control_fd(), SIOCGIFMTU, &r) == 0 ? r.ifr_mtu : -errno;
}

static int set_mtu(const char *name, int mtu)
{
	struct ifreq r = request_of(name);

	r.ifr_mtu = mtu;
	return ioctl(control_fd(), SIOCSIFMTU, &r) == 0 ? 0 : -errno;
}

static bool has_mac(const char *name, const uint8_t mac[6])
{
	struct ifreq r = request_of(name);

	return ioctl(control_fd(), SIOCGIFHWADDR, &r) == 0 &&
	       memcmp(r.ifr_hwaddr.sa_data, mac, 6) == 0;
}

static int set_mac(const char *name, const uint8_t mac[6])
{
	struct ifreq r = request_of(name);

	r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(r.ifr_hwaddr.sa_data, mac, 6);
	return ioctl(control_fd(), SIOCSIFHWADDR, &r) == 0 ? 0 : -errno;
}

static int flags_of(const char *name)
{
	struct ifreq r = request_of(name);

	return ioctl(control_fd(), SIOCGIFFLAGS, &r) == 0 ? (unsigned short)r.ifr_flags : 0;
}

static int set_up(const char *name, bool up)
{
	struct ifreq r = request_of(name);

	r.ifr_flags = (short)((flags_of(name) & ~IFF_UP) | (up ? IFF_UP : 0));
	return ioctl(control_fd(), SIOCSIFFLAGS, &r) == 0 ? 0 : -errno;
}

/* The two attributes of an interface with an address and a neighbour behind it. */
static void set_address(const char *name, const char *address)
{
	struct ifreq r = request_of(name);
	struct sockaddr_in at = { .sin_family = AF_INET };

	inet_pton(AF_INET, address, &at.sin_addr);
	memcpy(&r.ifr_addr, &at, sizeof(at));
	EXPECT_EQ(ioctl(control_fd(), SIOCSIFADDR, &r), 0);
	inet_pton(AF_INET, "255.255.255.0", &at.sin_addr);
	memcpy(&r.ifr_netmask, &at, sizeof(at));
	EXPECT_EQ(ioctl(control_fd(), SIOCSIFNETMASK, &r), 0);
}

static void set_neighbour(const char *name, const char *address)
{
	struct arpreq r = { .arp_flags = ATF_COM | ATF_PERM };
	struct sockaddr_in at = { .sin_family = AF_INET };

	inet_pton(AF_INET, address, &at.sin_addr);
	memcpy(&r.arp_pa, &at, sizeof(at));
	r.arp_ha.sa_family = ARPHRD_ETHER;
	memcpy(r.arp_ha.sa_data, (const uint8_t[]){ 2, 0, 0, 0, 0, 2 }, 6);
	memcpy(r.arp_dev, name, strnlen(name, sizeof(r.arp_dev) - 1));
	EXPECT_EQ(ioctl(control_fd(), SIOCSARP, &r), 0);
}

/* A packet socket on the twin, as tcpdump's; tags come beside the packet. */
static int open_packets(uint32_t ifindex)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)ifindex };
	struct timeval patience = { .tv_sec = 2 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
	setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on));
	/* The queue of an interface that has just come up loses what it gets for a second. */
	setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on));
	EXPECT_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* One packet, *ret_tci its tag; its length or negative errno. */
static int take(int fd, uint8_t *ret_bytes, size_t size, uint32_t *ret_tci)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
		size_t align;
	} control;
	struct iovec iov = { ret_bytes, size };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &m, 0);
	struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&m) : NULL;

	*ret_tci = UINT32_MAX;
	if (c) {
		struct tpacket_auxdata aux;

		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (aux.tp_status & TP_STATUS_VLAN_VALID)
			*ret_tci = aux.tp_vlan_tci;
	}
	return n < 0 ? -errno : (int)n;
}

struct twin_bed {
	struct ring_port a;
	struct sluice_port_info info;
	int fd;
};

static bool twin_open(struct twin_bed *t, unsigned tx_queues)
{
	if (ring_eal() != 0 || ring_port_open_as(&t->a, tx_queues, &with_twin) != 0 ||
		sluice_port_next(t->a.ifindex - 1, &t->info) != 0)
		return false;
	t->fd = open_packets(t->a.ifindex);
	return sluice_workers_start() == 0;
}

static void twin_close(struct twin_bed *t)
{
	char name[IF_NAMESIZE];

	close(t->fd);
	sluice_workers_stop();
	EXPECT_EQ(sum_of(SLUICE_KIND_IN), sum_of(SLUICE_KIND_OUT));
	ring_port_close(&t->a);
	EXPECT_EQ(sum_of(SLUICE_KIND_IN), sum_of(SLUICE_KIND_OUT));
	EXPECT_EQ(ring_mbufs_out(), 0u);
	EXPECT_EQ(stand_in_wait(0), 0u);
	EXPECT_TRUE(!if_indextoname(t->a.ifindex, name));
}

static void await_running(const char *name)
{
	for (unsigned i = 0; i < 5000 && !(flags_of(name) & IFF_RUNNING); i++)
		usleep(1000);
}

/* Waits until the counter has reached `n`. */
static void await(const struct ring_port *port, enum sluice_counter counter, uint64_t n)
{
	for (unsigned i = 0; i < 2000 && counter_of(port, counter) < n; i++)
		usleep(1000);
	EXPECT_EQ(counter_of(port, counter), n);
}

TEST(twin, is_an_interface_of_the_ports_name_number_and_address)
{
	struct twin_bed t;

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 2));
	EXPECT_EQ(if_nametoindex(t.info.name), t.a.ifindex);
	EXPECT_TRUE(t.info.has_twin);
	EXPECT_TRUE(has_mac(t.info.name, t.info.mac));
	EXPECT_EQ(mtu_of(t.info.name), 1500);
	await_running(t.info.name);
	EXPECT_EQ(flags_of(t.info.name) & (IFF_UP | IFF_RUNNING), IFF_UP | IFF_RUNNING);
	twin_close(&t);
	EXPECT_EQ(if_nametoindex(t.info.name), 0u);
}

static uint64_t tc_ok(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return TC_ACT_OK;
}

static uint64_t tc_shot(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)ctx;
	(void)tail_calls;
	return TC_ACT_SHOT;
}

static struct sl_ctx seen; /* by the last tc_note; read when the workers have stopped */

static uint64_t tc_note(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	seen = *ctx;
	return TC_ACT_OK;
}

TEST(twin, what_passes_arrives_in_the_kernel)
{
	struct frame f = frame_of(0, 0), got;
	struct twin_bed t;
	uint32_t tci;

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 2));
	/* Without filters on the way, and with. */
	for (unsigned i = 0; i < 2; i++) {
		ring_send(&t.a, f.bytes, FRAME, 1);
		EXPECT_EQ(take(t.fd, got.bytes, FRAME, &tci), FRAME);
		EXPECT_MEMEQ(got.bytes, f.bytes, FRAME);
		EXPECT_EQ(tci, UINT32_MAX);
		await(&t.a, SLUICE_KERNEL, i + 1);
		if (i == 0)
			ASSERT_EQ(attach_tc(&t.a, SLUICE_TC_INGRESS, tc_ok), 0);
	}
	EXPECT_EQ(counter_of(&t.a, SLUICE_INGRESS_OK), 1u);
	/* It does not come back. */
	EXPECT_EQ(ring_receive_all(&t.a), 0u);
	EXPECT_EQ(counter_of(&t.a, SLUICE_FROM_KERNEL), 0u);
	twin_close(&t);
}

TEST(twin, tags_survive_both_ways)
{
	static const uint8_t tagged[64] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0x60,
		0x2a, 0x88, 0xb5, 1, 2, 3 };
	uint8_t got[RING_FRAME_MAX];
	struct twin_bed t;
	uint32_t tci;

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 2));
	for (unsigned i = 0; i < 2; i++) {
		ring_send(&t.a, tagged, sizeof(tagged), 1);
		EXPECT_EQ(take(t.fd, got, sizeof(got), &tci), 60);
		EXPECT_EQ(tci, 0x602au);
		EXPECT_MEMEQ(got, tagged, 12);
		EXPECT_MEMEQ(got + 12, tagged + 16, 48);
		ASSERT_EQ(send(t.fd, tagged, sizeof(tagged), 0), (ssize_t)sizeof(tagged));
		EXPECT_EQ(ring_receive(&t.a, got), sizeof(tagged));
		EXPECT_MEMEQ(got, tagged, sizeof(tagged));
		if (i == 0) {
			ASSERT_EQ(attach_tc(&t.a, SLUICE_TC_INGRESS, tc_ok), 0);
			ASSERT_EQ(attach_tc(&t.a, SLUICE_TC_EGRESS, tc_note), 0);
		}
	}
	sluice_workers_stop();
	EXPECT_EQ(seen.vlan_present, 1u);
	EXPECT_EQ(seen.vlan_tci, 0x602au);
	EXPECT_EQ(seen.len, 60u);
	EXPECT_EQ(seen.ingress_ifindex, 0u);
	EXPECT_EQ(seen.ifindex, t.a.ifindex);
	twin_close(&t);
}

TEST(twin, what_the_kernel_sends_meets_the_egress_filters)
{
	struct frame f = frame_of(0, 0);
	uint8_t got[RING_FRAME_MAX];
	struct twin_bed t;

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 1));
	ASSERT_EQ(send(t.fd, f.bytes, FRAME, 0), FRAME);
	EXPECT_EQ(ring_receive(&t.a, got), (uint32_t)FRAME);
	EXPECT_MEMEQ(got, f.bytes, FRAME);
	ASSERT_EQ(attach_tc(&t.a, SLUICE_TC_EGRESS, tc_shot), 0);
	ASSERT_EQ(send(t.fd, f.bytes, FRAME, 0), FRAME);
	await(&t.a, SLUICE_EGRESS_SHOT, 1);
	EXPECT_EQ(ring_receive_all(&t.a), 0u);
	EXPECT_EQ(counter_of(&t.a, SLUICE_FROM_KERNEL), 2u);
	twin_close(&t);
}

static uint16_t sum_of_udp(const uint8_t *ip, unsigned len)
{
	uint32_t sum = htons(17) + htons((uint16_t)(len - 20));
	uint16_t word;

	for (unsigned i = 12; i < len; i += 2) {
		memcpy(&word, ip + i, sizeof(word));
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* The kernel leaves a checksum to the device, here to the worker. */
TEST(twin, checksums_of_the_kernels_packets_are_completed)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(7) };
	uint8_t got[RING_FRAME_MAX];
	struct twin_bed t;
	int fd = -1;

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 2));
	set_address(t.info.name, "10.77.0.1");
	set_neighbour(t.info.name, "10.77.0.2");
	await_running(t.info.name);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, "10.77.0.2", &to.sin_addr);
	for (unsigned len = 2; len <= 40; len += 2) {
		ASSERT_EQ(sendto(fd, "0123456789012345678901234567890123456789", len, 0,
				  (struct sockaddr *)&to, sizeof(to)),
			(ssize_t)len);
		EXPECT_EQ(ring_receive(&t.a, got), 42u + len);
		EXPECT_EQ(sum_of_udp(got + 14, 28 + len), 0xffffu);
		EXPECT_TRUE(got[40] || got[41]);
	}
	close(fd);
	twin_close(&t);
}

TEST(twin, that_is_down_counts_what_would_pass)
{
	struct frame f = frame_of(0, 0);
	struct twin_bed t;
	uint32_t tci;

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 2));
	EXPECT_EQ(set_up(t.info.name, false), 0);
	for (unsigned i = 0; i < 2000 && !counter_of(&t.a, SLUICE_KERNEL_DOWN); i++) {
		ring_send(&t.a, f.bytes, FRAME, 1);
		usleep(1000);
	}
	EXPECT_GT(counter_of(&t.a, SLUICE_KERNEL_DOWN), 0u);
	EXPECT_EQ(set_up(t.info.name, true), 0);
	close(t.fd);
	t.fd = open_packets(t.a.ifindex);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t before = counter_of(&t.a, SLUICE_KERNEL);

		ring_send(&t.a, f.bytes, FRAME, 1);
		usleep(1000);
		if (counter_of(&t.a, SLUICE_KERNEL) > before)
			break;
	}
	EXPECT_EQ(take(t.fd, f.bytes, FRAME, &tci), FRAME);
	twin_close(&t);
}

TEST(twin, a_port_outlives_a_twin_that_somebody_deletes)
{
	struct frame f = frame_of(0, 0);
	struct twin_bed t;
	char command[96];

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 2));
	snprintf(command, sizeof(command), "ip link del %s", t.info.name);
	ASSERT_EQ(system(command), 0);
	for (unsigned i = 0; i < 2000 && !counter_of(&t.a, SLUICE_KERNEL_DOWN); i++) {
		ring_send(&t.a, f.bytes, FRAME, 1);
		usleep(1000);
	}
	EXPECT_GT(counter_of(&t.a, SLUICE_KERNEL_DOWN), 0u);
	twin_close(&t);
}

/* A flood in both directions at once: all that was not lost arrived, and the rest has a reason. */
TEST(twin, a_flood_is_accounted_for)
{
	enum { PACKETS = 16000, BURST = 32 };
	struct frame f = frame_of(0, 0);
	struct sluice_counters c;
	unsigned sent = 0, out = 0;
	struct twin_bed t;

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 2));
	for (unsigned i = 0; i < PACKETS / BURST; i++) {
		ring_send(&t.a, f.bytes, FRAME, BURST);
		for (unsigned n = 0; n < BURST; n++)
			sent += send(t.fd, f.bytes, FRAME, MSG_DONTWAIT) == FRAME;
		out += ring_receive_all(&t.a);
	}
	for (unsigned quiet = 0; quiet < 50; quiet++) {
		unsigned n = ring_receive_all(&t.a);

		out += n;
		quiet = n ? 0 : quiet;
		usleep(1000);
	}
	sluice_workers_stop();
	ASSERT_EQ(sluice_counters_read(t.a.ifindex, -1, &c), 0);
	EXPECT_EQ(c.value[SLUICE_RX], (uint64_t)PACKETS);
	EXPECT_EQ(c.value[SLUICE_KERNEL] + c.value[SLUICE_KERNEL_FULL], (uint64_t)PACKETS);
	EXPECT_GT(c.value[SLUICE_KERNEL], 0u);
	EXPECT_EQ(c.value[SLUICE_FROM_KERNEL], (uint64_t)sent);
	EXPECT_EQ(c.value[SLUICE_TX], (uint64_t)out);
	EXPECT_EQ(c.value[SLUICE_TX] + c.value[SLUICE_TX_FULL] + c.value[SLUICE_FROM_KERNEL_LOST],
		(uint64_t)sent);
	twin_close(&t);
}

static uint32_t neighbours_ifindex;

/* As bpf_redirect_neigh does without a next hop. */
static uint64_t tc_redirect_neigh(struct sl_ctx *ctx, uint64_t tail_calls)
{
	(void)tail_calls;
	ctx->run->redirect_ifindex = neighbours_ifindex;
	ctx->run->redirect_flags = SL_REDIRECT_NEIGH;
	return TC_ACT_REDIRECT;
}

static void run_ip(const char *format, const char *name)
{
	char command[256];

	snprintf(command, sizeof(command), format, name, name, name);
	EXPECT_EQ(system(command), 0);
}

/* The request turned round, passed by the hooks: the filter goes for it. */
static void answer_arp(struct twin_bed *t, uint8_t *arp)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0x77, 3 };
	uint8_t sender[10], target[4];

	EXPECT_EQ(sluice_tc_del(t->a.ifindex, SLUICE_TC_INGRESS, 0, 0), 0);
	memcpy(sender, arp + 22, sizeof(sender));
	memcpy(target, arp + 38, sizeof(target));
	memcpy(arp, sender, 6);
	memcpy(arp + 6, mac, 6);
	arp[21] = 2;
	memcpy(arp + 22, mac, 6);
	memcpy(arp + 28, target, 4);
	memcpy(arp + 32, sender, sizeof(sender));
	ring_send(&t->a, arp, 60, 1);
}

/* Programs look routes and neighbours up that ip(8) has given the twin. */
TEST(twin, the_kernels_routes_and_neighbours_are_the_ports)
{
	struct sluice_ip neighbour = { AF_INET, { 10, 77, 0, 2 } };
	struct frame f = frame_of(0, 0);
	uint8_t got[RING_FRAME_MAX];
	struct sluice_neighbour known;
	struct twin_bed t;

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 1));
	run_ip("ip addr add 10.77.0.1/24 dev %s && ip route add 10.99.0.0/24 via 10.77.0.2 && "
	       "ip neigh add 10.77.0.2 lladdr 02:00:00:00:77:02 dev %s",
		t.info.name);
	for (unsigned i = 0; i < 2000; i++) {
		if (sluice_neighbour_get(t.a.ifindex, &neighbour, &known) == 0)
			break;
		usleep(1000);
	}
	neighbours_ifindex = t.a.ifindex;
	ASSERT_EQ(attach_tc(&t.a, SLUICE_TC_INGRESS, tc_redirect_neigh), 0);
	f.bytes[12] = 0x08;
	f.bytes[13] = 0x00;
	memset(f.bytes + PAYLOAD, 0, 20);
	f.bytes[PAYLOAD] = 0x45;
	memcpy(f.bytes + PAYLOAD + 16, (const uint8_t[]){ 10, 99, 0, 5 }, 4);
	ring_send(&t.a, f.bytes, FRAME, 1);
	EXPECT_EQ(ring_receive(&t.a, got), (uint32_t)FRAME);
	EXPECT_MEMEQ(got, ((const uint8_t[]){ 2, 0, 0, 0, 0x77, 2 }), 6);
	EXPECT_MEMEQ(got + 6, t.info.mac, 6);
	await_running(t.info.name);
	run_ip("ip neigh del 10.77.0.2 dev %s", t.info.name);
	for (unsigned i = 0; i < 2000; i++) {
		if (sluice_neighbour_get(t.a.ifindex, &neighbour, &known) != 0)
			break;
		usleep(1000);
	}
	ring_send(&t.a, f.bytes, FRAME, 1);
	await(&t.a, SLUICE_NO_NEIGHBOUR, 1);
	/* It is asked for; once the answer has come in, the next packet knows it. */
	EXPECT_EQ(ring_receive(&t.a, got), 42u);
	EXPECT_MEMEQ(got + 12, ((const uint8_t[]){ 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1 }), 10);
	EXPECT_MEMEQ(got + 38, neighbour.bytes, 4);
	answer_arp(&t, got);
	for (unsigned i = 0; i < 2000; i++) {
		if (sluice_neighbour_get(t.a.ifindex, &neighbour, &known) == 0 &&
			known.state == NUD_REACHABLE)
			break;
		usleep(1000);
	}
	EXPECT_MEMEQ(known.lladdr, ((const uint8_t[]){ 2, 0, 0, 0, 0x77, 3 }), 6);
	twin_close(&t);
}

/* A new namespace's interfaces are numbered from 2 on, and ports of their own from 1 on. */
TEST(twin, numbers_never_meet)
{
	struct sluice_port_options named = with_twin;
	struct ring_port own[3], twin[3];
	char name[IF_NAMESIZE];

	NEED_NAMESPACE();
	ASSERT_EQ(ring_eal(), 0);
	for (unsigned i = 0; i < 3; i++)
		ASSERT_EQ(ring_port_open_as(&own[i], 1, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "eth%u", i);
		named.name = name;
		ASSERT_EQ(ring_port_open_as(&twin[i], 1, &named), 0);
		EXPECT_EQ(if_nametoindex(name), twin[i].ifindex);
		for (unsigned k = 0; k < 3; k++)
			EXPECT_NE(twin[i].ifindex, own[k].ifindex);
	}
	/* Nor does one that is beside twins get the number of another interface. */
	ring_port_close(&own[0]);
	ASSERT_EQ(ring_port_open_as(&own[0], 1, NULL), 0);
	EXPECT_TRUE(!if_indextoname(own[0].ifindex, name));
	for (unsigned i = 0; i < 3; i++) {
		ring_port_close(&own[i]);
		ring_port_close(&twin[i]);
	}
}

TEST(twin, names_that_no_interface_can_have_are_refused)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "a b", "a:b", "a%d",
		"sixteen-letters0", "lo" };
	struct sluice_port_options options = with_twin;
	uint32_t ifindex;

	NEED_NAMESPACE();
	ASSERT_EQ(ring_eal(), 0);
	for (unsigned i = 0; i < sl_array_size(bad); i++) {
		TRACE_PUSH("'%s'", bad[i]);
		options.name = bad[i];
		EXPECT_EQ(sluice_port_add("net_null0", &options, &ifindex),
			strcmp(bad[i], "lo") == 0 ? -EEXIST : -EINVAL);
		TRACE_POP();
	}
	EXPECT_EQ(sluice_port_next(0, &(struct sluice_port_info){ 0 }), -ENOENT);
	/* A device's own name that is too long. */
	ASSERT_EQ(sluice_port_add("net_null_of_a_long_name", &with_twin, &ifindex), 0);
	EXPECT_GT(if_nametoindex("dpdk0"), 0u);
	EXPECT_EQ(if_nametoindex("dpdk0"), ifindex);
	EXPECT_EQ(sluice_port_remove(ifindex), 0);
}

static void *add_without_privilege(void *arg)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	struct sluice_port_options options = { .kernel_twin = SLUICE_TWIN_TRY };
	int *result = arg;

	/* Of this thread alone. */
	syscall(SYS_capset, &head, none);
	result[0] = ring_port_open_as(&(struct ring_port){ 0 }, 1, &with_twin);
	result[1] = sluice_port_add("net_null1", &options, (uint32_t *)&result[2]);
	return NULL;
}

TEST(twin, without_privilege_a_port_has_a_number_of_its_own)
{
	struct sluice_port_info info;
	pthread_t thread;
	int result[3] = { 0 };

	NEED_NAMESPACE();
	ASSERT_EQ(ring_eal(), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, add_without_privilege, result), 0);
	pthread_join(thread, NULL);
	EXPECT_EQ(result[0], -EPERM);
	ASSERT_EQ(result[1], 0);
	ASSERT_EQ(sluice_port_next((uint32_t)result[2] - 1, &info), 0);
	EXPECT_TRUE(!info.has_twin);
	EXPECT_EQ(if_nametoindex("net_null1"), 0u);
	EXPECT_EQ(sluice_port_remove((uint32_t)result[2]), 0);
}

TEST(twin, settings_follow_both_ways)
{
	static const uint8_t mac[6] = { 2, 0, 0, 5, 5, 5 }, other[6] = { 2, 0, 0, 6, 6, 6 };
	struct sluice_port_options options = with_twin;
	struct sluice_interface interface;
	struct sluice_port_state state;
	struct sluice_port_info info;
	uint32_t ifindex;

	NEED_NAMESPACE();
	ASSERT_EQ(ring_eal(), 0);
	options.name = "null7";
	ASSERT_EQ(sluice_port_add("net_null2", &options, &ifindex), 0);
	EXPECT_EQ(sluice_port_set_mtu(ifindex, 1400), 0);
	EXPECT_EQ(mtu_of("null7"), 1400);
	EXPECT_EQ(sluice_port_set_mac(ifindex, mac), 0);
	EXPECT_TRUE(has_mac("null7", mac));
	EXPECT_EQ(set_mtu("null7", 1300), 0);
	EXPECT_EQ(set_mac("null7", other), 0);
	for (unsigned i = 0; i < 2000; i++) {
		ASSERT_EQ(sluice_port_state(ifindex, &state), 0);
		ASSERT_EQ(sluice_port_next(ifindex - 1, &info), 0);
		if (state.mtu == 1300 && memcmp(info.mac, other, 6) == 0)
			break;
		usleep(1000);
	}
	EXPECT_EQ(state.mtu, 1300);
	EXPECT_MEMEQ(info.mac, other, 6);
	ASSERT_EQ(sluice_interface_get(ifindex, &interface), 0);
	EXPECT_EQ(interface.mtu, 1300u);
	EXPECT_MEMEQ(interface.mac, other, 6);
	EXPECT_EQ(sluice_port_remove(ifindex), 0);
}

/* Twins come and go while others' packets flow. */
TEST(twin, comes_and_goes_under_traffic)
{
	struct frame f = frame_of(0, 0);
	struct sluice_port_options options = with_twin;
	struct twin_bed t;

	NEED_NAMESPACE();
	ASSERT_TRUE(twin_open(&t, 2));
	options.name = "guest";
	for (unsigned i = 0; i < 5; i++) {
		uint32_t ifindex;

		ASSERT_EQ(sluice_port_add("net_null3,size=64", &options, &ifindex), 0);
		for (unsigned n = 0; n < 20; n++) {
			ring_send(&t.a, f.bytes, FRAME, 8);
			send(t.fd, f.bytes, FRAME, MSG_DONTWAIT);
		}
		EXPECT_EQ(sluice_port_remove(ifindex), 0);
		EXPECT_EQ(if_nametoindex("guest"), 0u);
		ring_receive_all(&t.a);
	}
	twin_close(&t);
}
