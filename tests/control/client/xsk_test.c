#include <bpf/bpf.h>
#include <errno.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <sluice/dataplane.h>

#include "client.h"
#include "defs.h"
#include "oracle.h"
#include "ring_port.h"
#include "test.h"
#include "xsk_user.h"

/* Since Linux 6.6. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#define XDP_PKT_CONTD (1 << 0)
#endif

/*
 * AF_XDP sockets through libxdp: here on a ring port, and what can be compared in the kernel on a
 * veth pair, whose other end a packet socket holds. libxdp looks for an interface by its name: the
 * first port has the number of the loop-back device.
 */
enum { FRAME_BYTES = 100, LONG_BYTES = 1400, PLENTY = 2000 };

struct side {
	bool kernel;
	const char *ifname;
	struct ring_port port; /* here */
	int packets; /* the packet socket on the other end of the veth pair */
	int link;
	uint64_t injected;
	struct user user;
};

static const char veth_up[] = "ip link add slxsk0 type veth peer name slxsk1 && "
			      "sysctl -qw net.ipv6.conf.slxsk0.disable_ipv6=1 "
			      "net.ipv6.conf.slxsk1.disable_ipv6=1 && "
			      "ip link set slxsk0 up && ip link set slxsk1 up";

static int run(const char *command)
{
	char line[512];

	snprintf(line, sizeof(line), "(%s) >/dev/null 2>&1", command);
	return system(line);
}

static int packet_socket(const char *ifname)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(0x88b5),
		.sll_ifindex = (int)if_nametoindex(ifname),
	};
	struct timeval second = { .tv_sec = 1 };
	int fd = socket(AF_PACKET, SOCK_RAW, htons(0x88b5));

	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	return fd;
}

static void open_here(struct side *s)
{
	memset(s, 0, sizeof(*s));
	s->ifname = "lo";
	ASSERT_EQ(ring_eal(), 0);
	ASSERT_EQ(ring_port_open(&s->port, 1), 0);
	ASSERT_EQ(s->port.ifindex, if_nametoindex("lo"));
	ASSERT_EQ(user_load(&s->user), 0);
	ASSERT_EQ(sluice_xdp_attach(s->port.ifindex, s->user.prog_fd, -1, 0), 0);
	ASSERT_EQ(sluice_workers_start(), 0);
}

static void open_kernel(struct side *s)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_SKB_MODE);

	memset(s, 0, sizeof(*s));
	s->kernel = true;
	s->ifname = "slxsk0";
	sl_client_use(SL_CLIENT_KERNEL);
	run("ip link del slxsk0");
	ASSERT_EQ(run(veth_up), 0);
	ASSERT_EQ(user_load(&s->user), 0);
	s->link = bpf_link_create(s->user.prog_fd, (int)if_nametoindex(s->ifname), BPF_XDP, &opts);
	ASSERT_GE(s->link, 0);
	s->packets = packet_socket("slxsk1");
	ASSERT_GE(s->packets, 0);
}

static void side_close(struct side *s)
{
	struct sluice_counters c;

	user_close(&s->user);
	if (s->kernel) {
		close(s->link);
		close(s->packets);
		run("ip link del slxsk0");
		sl_client_use(SL_CLIENT_IN_PROCESS);
		return;
	}
	sluice_workers_stop();
	ASSERT_EQ(sluice_counters_read(0, -1, &c), 0);
	EXPECT_EQ(
		sluice_counters_sum(&c, SLUICE_KIND_IN), sluice_counters_sum(&c, SLUICE_KIND_OUT));
	ring_port_close(&s->port);
	EXPECT_EQ(ring_mbufs_out(), 0u);
}

static void make_frame(uint8_t *frame, uint32_t number, unsigned len)
{
	static const uint8_t header[] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5 };

	for (unsigned i = 0; i < len; i++)
		frame[i] = (uint8_t)(number + i);
	memcpy(frame, header, sizeof(header));
	memcpy(frame + sizeof(header), &number, sizeof(number));
}

/* Into the interface, from outside. */
static void inject_long(struct side *s, uint32_t number, unsigned len)
{
	uint8_t frame[LONG_BYTES];

	make_frame(frame, number, len);
	s->injected++;
	if (s->kernel)
		ASSERT_EQ(send(s->packets, frame, len, 0), (ssize_t)len);
	else
		ring_send(&s->port, frame, len, 1);
}

static void inject(struct side *s, uint32_t number)
{
	inject_long(s, number, FRAME_BYTES);
}

/* What came out of the interface: its length, 0 for nothing. */
static uint32_t emerge(struct side *s, uint8_t ret_frame[RING_FRAME_MAX])
{
	ssize_t n;

	if (!s->kernel)
		return ring_receive(&s->port, ret_frame);
	n = recv(s->packets, ret_frame, RING_FRAME_MAX, MSG_TRUNC);
	return n < 0 ? 0 : (uint32_t)n;
}

static uint32_t checksum(const uint8_t *bytes, uint32_t len)
{
	uint32_t sum = len;

	for (uint32_t i = 0; i < len; i++)
		sum = sum * 31 + bytes[i];
	return sum;
}

static bool frame_is(const uint8_t *frame, uint32_t number)
{
	uint8_t wanted[FRAME_BYTES];

	make_frame(wanted, number, sizeof(wanted));
	return memcmp(frame, wanted, sizeof(wanted)) == 0;
}

static void expect_received(struct side *s, uint32_t number)
{
	struct xdp_desc desc;

	ASSERT_TRUE(user_receive(&s->user, &desc));
	EXPECT_EQ(desc.len, (uint32_t)FRAME_BYTES);
	EXPECT_EQ(desc.options, 0u);
	ASSERT_LT(desc.addr, (uint64_t)USER_FRAMES * USER_FRAME_BYTES);
	EXPECT_TRUE(frame_is(s->user.area + desc.addr, number));
	user_fill_one(&s->user, desc.addr);
}

TEST(xsk, thousands_of_packets_come_in)
{
	struct side s;

	open_here(&s);
	ASSERT_EQ(user_open(&s.user, s.ifname, NULL, 0), 0);
	user_fill(&s.user, 0, USER_RING);
	for (uint32_t n = 0; n < PLENTY && !sl_test_has_failed(); n += USER_RING) {
		for (uint32_t i = 0; i < USER_RING; i++)
			inject(&s, n + i);
		for (uint32_t i = 0; i < USER_RING && !sl_test_has_failed(); i++)
			expect_received(&s, n + i);
	}
	side_close(&s);
}

TEST(xsk, thousands_of_packets_go_out)
{
	struct side s;
	uint8_t out[RING_FRAME_MAX];

	open_here(&s);
	ASSERT_EQ(user_open(&s.user, s.ifname, NULL, XDP_USE_NEED_WAKEUP), 0);
	for (uint32_t n = 0; n < PLENTY && !sl_test_has_failed(); n += USER_RING / 2) {
		for (uint32_t i = 0; i < USER_RING / 2; i++) {
			struct xdp_desc desc = { .addr = (uint64_t)i * USER_FRAME_BYTES,
				.len = FRAME_BYTES };

			make_frame(s.user.area + desc.addr, n + i, FRAME_BYTES);
			user_send(&s.user, &desc);
		}
		for (uint32_t i = 0; i < USER_RING / 2 && !sl_test_has_failed(); i++) {
			uint64_t addr = 1;

			ASSERT_TRUE(user_completed(&s.user, &addr));
			EXPECT_EQ(addr, (uint64_t)i * USER_FRAME_BYTES);
			ASSERT_EQ(ring_receive(&s.port, out), (uint32_t)FRAME_BYTES);
			EXPECT_TRUE(frame_is(out, n + i));
		}
	}
	side_close(&s);
}

/* Waits until what was injected has come to its end; in the kernel it has. */
static void settle(struct side *s)
{
	struct sluice_counters c = { 0 };

	for (unsigned i = 0; i < 3000 && !s->kernel; i++) {
		ASSERT_EQ(sluice_counters_read(s->port.ifindex, -1, &c), 0);
		if (c.value[SLUICE_XSK] + c.value[SLUICE_XSK_DROP] == s->injected)
			break;
		usleep(1000);
	}
	usleep(2000);
}

/* What a scenario comes to, to be the same on both sides. */
struct outcome {
	struct xdp_desc descs[USER_FRAMES];
	uint64_t completed[USER_FRAMES];
	uint32_t lengths[USER_FRAMES];
	unsigned received, done, out;
	struct xdp_statistics stats;
};

/* More packets than frames, and frames of which some are no good. */
static void receive_scenario(struct side *s, struct outcome *o)
{
	const uint64_t end = (uint64_t)USER_FRAMES * USER_FRAME_BYTES;
	struct xdp_desc desc;

	user_fill_one(&s->user, 3 * USER_FRAME_BYTES);
	user_fill_one(&s->user, end);
	user_fill_one(&s->user, 5 * USER_FRAME_BYTES + 77);
	user_fill_one(&s->user, UINT64_MAX - 10);
	user_fill_one(&s->user, end - USER_FRAME_BYTES);
	for (uint32_t i = 0; i < 6; i++)
		inject(s, i);
	settle(s);
	while (xsk_cons_nb_avail(&s->user.rx, 1) && user_receive(&s->user, &desc))
		o->descs[o->received++] = desc;
	/* And more than the receive ring has room for. */
	user_fill(&s->user, 0, USER_RING);
	for (uint32_t i = 0; i < USER_RING; i++)
		inject(s, i);
	settle(s);
	user_fill(&s->user, USER_RING * USER_FRAME_BYTES, 4);
	for (uint32_t i = 0; i < 4; i++)
		inject(s, i);
	settle(s);
	while (o->received < USER_FRAMES && xsk_cons_nb_avail(&s->user.rx, 1) &&
		user_receive(&s->user, &desc))
		o->descs[o->received++] = desc;
	o->stats = user_statistics(&s->user);
}

/* Descriptors good and bad, one after the other. */
static void send_scenario(struct side *s, struct outcome *o)
{
	const uint64_t end = (uint64_t)USER_FRAMES * USER_FRAME_BYTES;
	const struct xdp_desc descs[] = {
		{ .addr = 0, .len = FRAME_BYTES },
		{ .addr = end, .len = FRAME_BYTES },
		{ .addr = 1 * USER_FRAME_BYTES + 100, .len = FRAME_BYTES },
		{ .addr = 2 * USER_FRAME_BYTES - 50, .len = FRAME_BYTES },
		{ .addr = 3 * USER_FRAME_BYTES, .len = 0 },
		{ .addr = 4 * USER_FRAME_BYTES, .len = FRAME_BYTES, .options = 1u << 7 },
		{ .addr = UINT64_MAX - 5, .len = FRAME_BYTES },
		{ .addr = 5 * USER_FRAME_BYTES, .len = 4097 },
		{ .addr = 6 * USER_FRAME_BYTES, .len = UINT32_MAX },
		{ .addr = end - FRAME_BYTES, .len = FRAME_BYTES },
		{ .addr = 7 * USER_FRAME_BYTES, .len = 60 },
	};
	uint8_t out[RING_FRAME_MAX];

	for (unsigned i = 0; i < sizeof(descs) / sizeof(descs[0]); i++) {
		if (descs[i].addr < end && descs[i].addr + FRAME_BYTES <= end)
			make_frame(s->user.area + descs[i].addr, i, FRAME_BYTES);
		user_send(&s->user, &descs[i]);
	}
	/* On kernels that do not give back those that are no good, the last wait is in vain. */
	while (o->done < sl_array_size(descs) && user_completed(&s->user, &o->completed[o->done]))
		o->done++;
	while (o->out < 4 && (o->lengths[o->out] = emerge(s, out)) > 0)
		o->out++;
	o->stats = user_statistics(&s->user);
}

/* Packets that take several frames, and some that are too long for what there is. */
static void long_receive_scenario(struct side *s, struct outcome *o)
{
	static const unsigned lengths[] = { 60, 448, 449, 896, 897, 1400, 100 };
	struct xdp_desc desc;

	user_fill(&s->user, 0, 11);
	for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		inject_long(s, i, lengths[i]);
	settle(s);
	while (xsk_cons_nb_avail(&s->user.rx, 1) && user_receive(&s->user, &desc)) {
		o->descs[o->received] = desc;
		o->lengths[o->received++] = checksum(s->user.area + desc.addr, desc.len);
	}
	o->stats = user_statistics(&s->user);
}

/* The same on the way out, with frames that are no good in the middle of a packet. */
static void long_send_scenario(struct side *s, struct outcome *o)
{
	const struct xdp_desc descs[] = {
		{ 0 * USER_FRAME_BYTES, 500, XDP_PKT_CONTD },
		{ 1 * USER_FRAME_BYTES, 300, XDP_PKT_CONTD },
		{ 2 * USER_FRAME_BYTES, 200, 0 },
		{ 3 * USER_FRAME_BYTES, 70, 0 },
		{ 4 * USER_FRAME_BYTES, 500, XDP_PKT_CONTD },
		{ 5 * USER_FRAME_BYTES, 0, XDP_PKT_CONTD },
		{ 6 * USER_FRAME_BYTES, 200, 0 },
		{ 7 * USER_FRAME_BYTES, 80, 0 },
	};
	uint8_t out[RING_FRAME_MAX];

	for (unsigned i = 0; i < sizeof(descs) / sizeof(descs[0]); i++) {
		make_frame(s->user.area + descs[i].addr, i, sl_max(descs[i].len, 60u));
		user_send(&s->user, &descs[i]);
	}
	/* On kernels that do not give back those that are no good, the last wait is in vain. */
	while (o->done < sl_array_size(descs) && user_completed(&s->user, &o->completed[o->done]))
		o->done++;
	for (; o->out < 3; o->out++)
		o->lengths[o->out] = emerge(s, out);
	o->stats = user_statistics(&s->user);
}

static void compare(void (*scenario)(struct side *s, struct outcome *o),
	const struct xsk_umem_config *config, int bind_flags)
{
	static struct outcome ours, kernels;
	struct side s;

	memset(&ours, 0, sizeof(ours));
	memset(&kernels, 0, sizeof(kernels));
	open_here(&s);
	ASSERT_EQ(user_open(&s.user, s.ifname, config, bind_flags), 0);
	scenario(&s, &ours);
	side_close(&s);
	open_kernel(&s);
	ASSERT_EQ(user_open(&s.user, s.ifname, config, bind_flags), 0);
	scenario(&s, &kernels);
	side_close(&s);
	EXPECT_GT(ours.received + ours.done, 0u);
	EXPECT_EQ(ours.received, kernels.received);
	for (unsigned i = 0; i < ours.received; i++) {
		TRACE_PUSH("descriptor %u", i);
		EXPECT_EQ(ours.descs[i].addr, kernels.descs[i].addr);
		EXPECT_EQ(ours.descs[i].len, kernels.descs[i].len);
		EXPECT_EQ(ours.descs[i].options, kernels.descs[i].options);
		TRACE_POP();
	}
	EXPECT_EQ(ours.done, kernels.done);
	EXPECT_MEMEQ(ours.completed, kernels.completed, sizeof(ours.completed));
	EXPECT_EQ(ours.out, kernels.out);
	EXPECT_MEMEQ(ours.lengths, kernels.lengths, sizeof(ours.lengths));
	/* How often the kernel found nothing to send depends on how often it was told to look. */
	EXPECT_EQ(ours.stats.rx_dropped, kernels.stats.rx_dropped);
	EXPECT_EQ(ours.stats.rx_invalid_descs, kernels.stats.rx_invalid_descs);
	EXPECT_EQ(ours.stats.tx_invalid_descs, kernels.stats.tx_invalid_descs);
	EXPECT_EQ(ours.stats.rx_ring_full, kernels.stats.rx_ring_full);
	EXPECT_EQ(ours.stats.rx_fill_ring_empty_descs, kernels.stats.rx_fill_ring_empty_descs);
}

static const struct xsk_umem_config configs[] = {
	{ USER_RING, USER_RING, 2048, 0, 0 },
	{ USER_RING, USER_RING, 2048, 64, 0 },
	{ USER_RING, USER_RING, 4096, 128, 0 },
	{ USER_RING, USER_RING, 2048, 32, XDP_UMEM_UNALIGNED_CHUNK_FLAG },
	{ USER_RING, USER_RING, 3000, 0, XDP_UMEM_UNALIGNED_CHUNK_FLAG },
};

TEST(xsk, what_comes_in_is_as_in_the_kernel)
{
	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
		TRACE_PUSH("row %u", i);
		compare(receive_scenario, &configs[i], 0);
		TRACE_POP();
	}
}

TEST(xsk, what_goes_out_is_as_in_the_kernel)
{
	ORACLE_OR_SKIP();
	for (unsigned i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
		TRACE_PUSH("row %u", i);
		compare(send_scenario, &configs[i], 0);
		TRACE_POP();
	}
}

TEST(xsk, packets_of_several_frames_are_as_in_the_kernel)
{
	static const struct xsk_umem_config config = { USER_RING, USER_RING, 2048, 1344, 0 };

	ORACLE_OR_SKIP();
	compare(long_receive_scenario, &config, XDP_USE_SG);
	compare(long_receive_scenario, &config, 0);
	compare(long_send_scenario, &config, XDP_USE_SG);
}

static void expect_passed(struct side *s, uint64_t n)
{
	struct sluice_counters c = { 0 };

	for (unsigned i = 0; i < 1000 && c.value[SLUICE_KERNEL] < n; i++) {
		usleep(1000);
		ASSERT_EQ(sluice_counters_read(s->port.ifindex, -1, &c), 0);
	}
	EXPECT_EQ(c.value[SLUICE_KERNEL], n);
}

/* Two sockets on one queue: both send, and the map says which one receives. */
TEST(xsk, sockets_share_memory)
{
	struct user second = { .map_fd = -1 };
	struct xsk_socket_config config = {
		.rx_size = USER_RING,
		.tx_size = USER_RING,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
	};
	struct xdp_desc desc = { .addr = 9 * USER_FRAME_BYTES, .len = FRAME_BYTES };
	uint8_t out[RING_FRAME_MAX];
	uint64_t addr;
	struct side s;

	open_here(&s);
	ASSERT_EQ(user_open(&s.user, s.ifname, NULL, 0), 0);
	ASSERT_EQ(xsk_socket__create_shared(&second.xsk, s.ifname, 0, s.user.umem, &second.rx,
			  &second.tx, &s.user.fill, &s.user.completion, &config),
		0);
	user_fill(&s.user, 0, 8);
	inject(&s, 1);
	expect_received(&s, 1);
	ASSERT_EQ(xsk_socket__update_xskmap(second.xsk, s.user.map_fd), 0);
	inject(&s, 2);
	ASSERT_TRUE(user_receive(&second, &desc));
	EXPECT_TRUE(frame_is(s.user.area + desc.addr, 2));
	user_send(&second, &desc);
	ASSERT_TRUE(user_completed(&s.user, &addr));
	EXPECT_EQ(addr, desc.addr);
	ASSERT_EQ(ring_receive(&s.port, out), (uint32_t)FRAME_BYTES);
	EXPECT_TRUE(frame_is(out, 2));
	xsk_socket__delete(second.xsk);
	/* Closed, it is in no map any more: the packet passes. */
	inject(&s, 3);
	expect_passed(&s, 1);
	ASSERT_EQ(xsk_socket__update_xskmap(s.user.xsk, s.user.map_fd), 0);
	inject(&s, 4);
	expect_received(&s, 4);
	side_close(&s);
}

struct traffic {
	struct side *side;
	bool done;
};

static void *keep_injecting(void *arg)
{
	struct traffic *t = arg;

	for (uint32_t n = 0; !__atomic_load_n(&t->done, __ATOMIC_RELAXED); n++)
		inject(t->side, n);
	return NULL;
}

/* When a socket is closed its memory is nobody else's any more. */
TEST(xsk, closed_during_traffic)
{
	struct traffic t = { .done = false };
	struct side s;
	pthread_t thread;

	open_here(&s);
	t.side = &s;
	ASSERT_EQ(pthread_create(&thread, NULL, keep_injecting, &t), 0);
	for (unsigned round = 0; round < 20 && !sl_test_has_failed(); round++) {
		struct xdp_desc desc;

		ASSERT_EQ(user_open(&s.user, s.ifname, NULL, 0), 0);
		user_fill(&s.user, 0, USER_RING);
		EXPECT_TRUE(user_receive(&s.user, &desc));
		xsk_socket__delete(s.user.xsk);
		xsk_umem__delete(s.user.umem);
		/* A worker that still wrote there would die. */
		munmap(s.user.area, USER_FRAMES * USER_FRAME_BYTES);
	}
	__atomic_store_n(&t.done, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	ASSERT_EQ(user_open(&s.user, s.ifname, NULL, 0), 0);
	side_close(&s);
}

/* A port that goes takes the binding along; the socket's calls say so. */
TEST(xsk, the_port_goes_first)
{
	struct side s;
	int fd;

	open_here(&s);
	ASSERT_EQ(user_open(&s.user, s.ifname, NULL, 0), 0);
	fd = xsk_socket__fd(s.user.xsk);
	EXPECT_EQ(sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0), 0);
	sluice_workers_stop();
	ring_port_close(&s.port);
	EXPECT_EQ(sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0), -1);
	EXPECT_EQ(errno, ENXIO);
	user_close(&s.user);
}

TEST(xsk, an_epoll_set_wakes_up_for_a_packet_and_rests_without)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(0);
	struct side s;

	open_here(&s);
	ASSERT_EQ(user_open(&s.user, s.ifname, NULL, 0), 0);
	user_fill(&s.user, 0, 8);
	ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, xsk_socket__fd(s.user.xsk), &event), 0);
	for (uint32_t i = 0; i < 3; i++) {
		EXPECT_EQ(epoll_wait(epoll, &event, 1, 20), 0);
		inject(&s, i);
		EXPECT_EQ(epoll_wait(epoll, &event, 1, 1000), 1);
		expect_received(&s, i);
	}
	close(epoll);
	side_close(&s);
}

/* Errors of the calls themselves, in the order in which a careless program meets them. */
struct call_result {
	long ret;
	int err;
};

struct results {
	struct call_result of[128];
	unsigned count;
};

static void note(struct results *r, long ret)
{
	r->of[r->count++] = (struct call_result){ ret < 0 ? -1 : 0, ret < 0 ? errno : 0 };
}

static void set_int(struct results *r, int fd, int name, int value)
{
	note(r, setsockopt(fd, SOL_XDP, name, &value, sizeof(value)));
}

static void register_rows(struct results *r, int fd, void *area)
{
	const struct xdp_umem_reg rows[] = {
		{ (uintptr_t)area, 1 << 16, 1024, 0, 0 },
		{ (uintptr_t)area, 1 << 16, 8192, 0, 0 },
		{ (uintptr_t)area, 1 << 16, 3000, 0, 0 },
		{ (uintptr_t)area, 1 << 16, 2048, 0, 1u << 9 },
		{ (uintptr_t)area + 8, 1 << 15, 2048, 0, 0 },
		{ (uintptr_t)area, 0, 2048, 0, 0 },
		{ (uintptr_t)area, 5000, 2048, 0, 0 },
		{ (uintptr_t)area, UINT64_MAX - 4095, 2048, 0, 0 },
		{ (uintptr_t)area, 1 << 16, 2048, 1345, 0 },
		{ 0x10000, 1 << 16, 2048, 0, 0 },
		{ (uintptr_t)area, 1 << 16, 2048, 1344, 0 },
		{ (uintptr_t)area, 1 << 16, 2048, 0, 0 },
	};

	note(r, setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &rows[0], 8));
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		note(r, setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &rows[i], sizeof(rows[i])));
}

static void bind_row(struct results *r, int fd, unsigned ifindex, unsigned queue, unsigned flags,
	unsigned shared_fd)
{
	struct sockaddr_xdp to = { .sxdp_family = AF_XDP,
		.sxdp_flags = (uint16_t)flags,
		.sxdp_ifindex = ifindex,
		.sxdp_queue_id = queue,
		.sxdp_shared_umem_fd = shared_fd };

	note(r, bind(fd, (struct sockaddr *)&to, sizeof(to)));
}

static void map_row(struct results *r, int fd, size_t len, uint64_t offset)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);

	note(r, at == MAP_FAILED ? -1 : 0);
	if (at != MAP_FAILED)
		munmap(at, len);
}

static void get_row(struct results *r, int fd, int name, socklen_t len)
{
	uint8_t value[256];

	note(r, getsockopt(fd, SOL_XDP, name, value, &len));
	note(r, (long)len);
	r->of[r->count - 1].ret = (long)len;
}

static void all_calls(struct results *r, unsigned ifindex, int map)
{
	static uint8_t area[1 << 16] __attribute__((aligned(4096)));
	struct pollfd ready = { .events = POLLIN | POLLOUT };
	uint32_t key = 0;
	int fd, second, third, plain;

	note(r, socket(AF_XDP, SOCK_DGRAM, 0));
	note(r, socket(AF_XDP, SOCK_RAW, 7));
	fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	plain = socket(AF_INET, SOCK_DGRAM, 0);
	note(r, fd);
	note(r, sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0));
	note(r, recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL));
	set_int(r, fd, 77, 1);
	note(r, setsockopt(fd, SOL_XDP, XDP_RX_RING, &key, 2));
	set_int(r, fd, XDP_RX_RING, 0);
	set_int(r, fd, XDP_RX_RING, 3);
	map_row(r, fd, 4096, XDP_PGOFF_RX_RING);
	bind_row(r, fd, 99999, 0, 0, 0);
	bind_row(r, fd, ifindex, 0, 0, 0);
	register_rows(r, fd, area);
	register_rows(r, fd, area);
	bind_row(r, fd, ifindex, 0, 0, 0);
	set_int(r, fd, XDP_RX_RING, 64);
	set_int(r, fd, XDP_RX_RING, 64);
	bind_row(r, fd, ifindex, 0, 0, 0);
	set_int(r, fd, XDP_UMEM_FILL_RING, 64);
	bind_row(r, fd, ifindex, 0, 0, 0);
	set_int(r, fd, XDP_UMEM_COMPLETION_RING, 64);
	map_row(r, fd, 64 * 16 + 320, XDP_PGOFF_RX_RING);
	map_row(r, fd, 3 * 4096, XDP_PGOFF_RX_RING);
	map_row(r, fd, 4096, XDP_PGOFF_TX_RING);
	map_row(r, fd, 4096, XDP_UMEM_PGOFF_FILL_RING);
	map_row(r, fd, 4096, XDP_UMEM_PGOFF_COMPLETION_RING);
	map_row(r, fd, 4096, 8192);
	note(r, bpf_map_update_elem(map, &key, &plain, BPF_ANY));
	note(r, bpf_map_update_elem(map, &key, &map, BPF_ANY));
	note(r, bpf_map_update_elem(map, &key, &fd, BPF_EXIST));
	note(r, bpf_map_update_elem(map, &key, &fd, BPF_NOEXIST));
	note(r, bpf_map_update_elem(map, &key, &fd, BPF_NOEXIST));
	bind_row(r, fd, ifindex, 0, 1u << 9, 0);
	bind_row(r, fd, ifindex, 0, XDP_COPY | XDP_ZEROCOPY, 0);
	bind_row(r, fd, ifindex, 4000, XDP_COPY, 0);
	bind_row(r, fd, ifindex, 0, XDP_SHARED_UMEM, (unsigned)fd);
	second = socket(AF_XDP, SOCK_RAW, 0);
	set_int(r, second, XDP_TX_RING, 16);
	bind_row(r, second, ifindex, 0, XDP_SHARED_UMEM, (unsigned)fd);
	bind_row(r, second, ifindex, 0, XDP_SHARED_UMEM, (unsigned)plain);
	bind_row(r, second, ifindex, 0, XDP_SHARED_UMEM, 9999);
	bind_row(r, second, ifindex, 0, XDP_SHARED_UMEM | XDP_COPY, (unsigned)fd);
	bind_row(r, fd, ifindex, 0, XDP_COPY, 0);
	bind_row(r, fd, ifindex, 0, XDP_COPY, 0);
	set_int(r, fd, XDP_TX_RING, 64);
	bind_row(r, second, ifindex, 0, XDP_SHARED_UMEM, (unsigned)fd);
	third = socket(AF_XDP, SOCK_RAW, 0);
	set_int(r, third, XDP_RX_RING, 16);
	set_int(r, third, XDP_UMEM_FILL_RING, 16);
	bind_row(r, third, ifindex, 0, XDP_SHARED_UMEM, (unsigned)fd);
	note(r, sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0));
	note(r, recvfrom(fd, NULL, 0, 0, NULL, NULL));
	note(r, recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL));
	note(r, recvfrom(second, NULL, 0, MSG_DONTWAIT, NULL, NULL));
	note(r, sendto(second, NULL, 0, 0, NULL, 0));
	ready.fd = second;
	note(r, poll(&ready, 1, 0));
	r->of[r->count - 1].ret = ready.revents;
	ready.fd = third;
	note(r, poll(&ready, 1, 0));
	r->of[r->count - 1].ret = ready.revents;
	get_row(r, fd, XDP_STATISTICS, 8);
	get_row(r, fd, XDP_STATISTICS, 24);
	get_row(r, fd, XDP_STATISTICS, 100);
	get_row(r, fd, XDP_MMAP_OFFSETS, 100);
	get_row(r, fd, XDP_OPTIONS, 4);
	close(fd);
	close(second);
	close(third);
	close(plain);
}

TEST(xsk, the_calls_fail_as_in_the_kernel)
{
	static struct results ours, kernels;
	struct side s;

	ORACLE_OR_SKIP();
	ours.count = kernels.count = 0;
	open_here(&s);
	all_calls(&ours, s.port.ifindex, s.user.map_fd);
	side_close(&s);
	open_kernel(&s);
	all_calls(&kernels, if_nametoindex(s.ifname), s.user.map_fd);
	side_close(&s);
	ASSERT_EQ(ours.count, kernels.count);
	ASSERT_LE(ours.count, sizeof(ours.of) / sizeof(ours.of[0]));
	for (unsigned i = 0; i < ours.count; i++) {
		TRACE_PUSH("call %u", i);
		EXPECT_EQ(ours.of[i].ret, kernels.of[i].ret);
		EXPECT_EQ(ours.of[i].err, kernels.of[i].err);
		TRACE_POP();
	}
}
