#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"
#include "client.h"
#include "oracle.h"
#include "tap_fields.h"
#include "test.h"

/*
 * A tap is to a port what a packet socket is to an interface: the same program on the same frames,
 * here on one end of a veth pair, there on a ring port, sees the same.
 */

enum { WAY_IN, WAY_OUT, WAYS };

/* Ahead of the payload: destination (by its first byte), and what follows the addresses. */
static const struct kind {
	const char *name;
	/* The kernel's frames are sent by a socket, which marks some otherwise than a forwarder. */
	bool other_when_sent;
	uint8_t destination; /* 0: the interface itself */
	const char *type;
	unsigned type_len;
} kinds[] = {
	{ "to the interface", false, 0, "\x08\x00\x45", 3 },
	{ "to another station", false, 0x0a, "\x08\x00\x45", 3 },
	{ "to all", false, 0xff, "\x08\x06", 2 },
	{ "to a group", false, 0x01, "\x86\xdd\x60", 3 },
	{ "tagged", false, 0, "\x81\x00\x20\x2a\x08\x00\x45", 7 },
	{ "tagged twice", true, 0, "\x88\xa8\x00\x05\x81\x00\x20\x2a\x08\x00\x45", 11 },
	{ "IEEE 802.3", true, 0, "\x00\x2e\x42\x42\x03", 5 },
	{ "of no known protocol", false, 0, "\x88\xb5", 2 },
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), LEN = 80 };

struct outcome {
	int skipped; /* errno */
	struct tap_fields fields[KINDS][WAYS];
};

static void make_frame(const struct kind *kind, const uint8_t *mac, uint8_t *frame)
{
	for (unsigned i = 0; i < LEN; i++)
		frame[i] = (uint8_t)i;
	memset(frame, kind->destination, ETH_ALEN);
	if (!kind->destination)
		memcpy(frame, mac, ETH_ALEN);
	memset(frame + ETH_ALEN, 0x02, ETH_ALEN);
	memcpy(frame + 2 * ETH_ALEN, kind->type, kind->type_len);
}

static struct bpf_object *load(int *ret_prog, int *ret_map)
{
	struct bpf_object *object = bpf_object__open_file(TAP_OBJECT, NULL);

	if (!object || bpf_object__load(object) != 0)
		return NULL;
	*ret_prog = bpf_program__fd(bpf_object__find_program_by_name(object, "note"));
	*ret_map = bpf_object__find_map_fd_by_name(object, "fields");
	return object;
}

/* What the program saw of the packet that was just sent. */
static struct tap_fields take(int map)
{
	static const struct tap_fields none;
	struct tap_fields fields = { 0 };
	uint32_t key = 0;

	for (int i = 0; i < 500 && !fields.calls; i++) {
		bpf_map_lookup_elem(map, &key, &fields);
		if (!fields.calls)
			usleep(1000);
	}
	bpf_map_update_elem(map, &key, &none, BPF_ANY);
	return fields;
}

/* A packet socket on an interface; with a program or without. */
static int packet_socket(const char *name, int prog)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET,
		.sll_protocol = prog < 0 ? 0 : htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
		(prog >= 0 &&
			setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &prog, sizeof(prog)) != 0) ||
		bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		return -1;
	return fd;
}

static bool get_mac(int fd, const char *name, uint8_t *ret_mac)
{
	struct ifreq request = { 0 };

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFHWADDR, &request) != 0)
		return false;
	memcpy(ret_mac, request.ifr_hwaddr.sa_data, ETH_ALEN);
	return true;
}

/* Frames go from `near` to `far`; in the child, in a network of its own. */
static int ask_kernel(struct outcome *outcome)
{
	static const char *const ends[WAYS] = { [WAY_IN] = "far", [WAY_OUT] = "near" };
	int prog[WAYS], map[WAYS], sockets[WAYS], sender;
	uint8_t mac[ETH_ALEN], frame[LEN];

	sl_client_use(SL_CLIENT_KERNEL);
	if (unshare(CLONE_NEWNET) != 0 ||
		system("sysctl -qw net.ipv6.conf.default.disable_ipv6=1 2>/dev/null; "
		       "ip link add near type veth peer name far && ip link set near up && "
		       "ip link set far up") != 0)
		return errno ?: EPERM;
	sender = packet_socket("near", -1);
	for (int way = 0; way < WAYS; way++) {
		if (!load(&prog[way], &map[way]))
			return errno;
		sockets[way] = packet_socket(ends[way], prog[way]);
		if (sockets[way] < 0)
			return errno;
	}
	if (sender < 0 || !get_mac(sender, "far", mac))
		return errno;
	for (unsigned i = 0; i < KINDS; i++) {
		make_frame(&kinds[i], mac, frame);
		if (send(sender, frame, LEN, 0) != LEN)
			return errno;
		for (int way = 0; way < WAYS; way++)
			outcome->fields[i][way] = take(map[way]);
	}
	return 0;
}

static void ask_in_child(struct outcome *outcome)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		outcome->skipped = ask_kernel(outcome);
		_exit(0);
	}
	EXPECT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

static void ask_sluice(struct outcome *outcome)
{
	int prog[WAYS], map[WAYS];
	uint32_t tap[WAYS];
	struct sluice_port_info info;
	struct bed bed;
	uint8_t frame[LEN];

	ASSERT_TRUE(bed_open(&bed, 2));
	ASSERT_EQ(0, sluice_port_pass_to(bed.a.ifindex, bed.b.ifindex));
	for (int way = 0; way < WAYS; way++) {
		uint32_t ifindex = way == WAY_IN ? bed.a.ifindex : bed.b.ifindex;

		ASSERT_TRUE(load(&prog[way], &map[way]) != NULL);
		ASSERT_EQ(0, sluice_tap_add(ifindex, prog[way], NULL, &tap[way]));
	}
	ASSERT_EQ(0, sluice_port_next(bed.a.ifindex - 1, &info));
	for (unsigned i = 0; i < KINDS; i++) {
		make_frame(&kinds[i], info.mac, frame);
		ring_send(&bed.a, frame, LEN, 1);
		for (int way = 0; way < WAYS; way++)
			outcome->fields[i][way] = take(map[way]);
	}
	for (int way = 0; way < WAYS; way++)
		EXPECT_EQ(0, sluice_tap_del(tap[way]));
	bed_close(&bed);
}

static void compare(const struct tap_fields *kernel, const struct tap_fields *sluice, bool outgoing,
	unsigned kind)
{
	TRACE_PUSH("%s, %s", kinds[kind].name, outgoing ? "going" : "coming");
	EXPECT_EQ(1, kernel->calls);
	EXPECT_EQ(kernel->calls, sluice->calls);
	EXPECT_EQ(kernel->len, sluice->len);
	EXPECT_EQ(kernel->pkt_type, sluice->pkt_type);
	EXPECT_EQ(kernel->mark, sluice->mark);
	EXPECT_EQ(kernel->priority, sluice->priority);
	EXPECT_EQ(kernel->queue_mapping, sluice->queue_mapping);
	EXPECT_EQ(kernel->vlan_present, sluice->vlan_present);
	EXPECT_EQ(kernel->vlan_tci, sluice->vlan_tci);
	EXPECT_EQ(kernel->vlan_proto, sluice->vlan_proto);
	EXPECT_EQ(kernel->same_port, sluice->same_port);
	EXPECT_EQ(kernel->tc_index, sluice->tc_index);
	EXPECT_EQ(kernel->gso_segs, sluice->gso_segs);
	EXPECT_EQ(kernel->gso_size, sluice->gso_size);
	EXPECT_MEMEQ(kernel->cb, sluice->cb, sizeof(kernel->cb));
	EXPECT_MEMEQ(kernel->frame + ETH_ALEN, sluice->frame + ETH_ALEN,
		sizeof(kernel->frame) - ETH_ALEN);
	if (!outgoing || !kinds[kind].other_when_sent) {
		EXPECT_EQ(kernel->protocol, sluice->protocol);
		EXPECT_MEMEQ(kernel->network, sluice->network, sizeof(kernel->network));
	}
	TRACE_POP();
}

TEST(tap, sees_what_a_packet_socket_sees)
{
	struct outcome *kernel, sluice = { 0 };

	ORACLE_OR_SKIP();
	kernel = mmap(
		NULL, sizeof(*kernel), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(kernel != MAP_FAILED);
	ask_in_child(kernel);
	if (kernel->skipped)
		SKIP("no network of its own for this user: %s", strerror(kernel->skipped));
	ask_sluice(&sluice);
	for (unsigned i = 0; i < KINDS; i++)
		for (int way = 0; way < WAYS; way++)
			compare(&kernel->fields[i][way], &sluice.fields[i][way], way == WAY_OUT, i);
	munmap(kernel, sizeof(*kernel));
}
