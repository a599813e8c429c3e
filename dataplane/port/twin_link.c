#include "twin_link.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "interface.h"
#include "offload.h"

enum {
	MESSAGE = 1024, /* bytes of the longest request */
	ANSWER = 1 << 15, /* libmnl's advice is 8 KiB; links with statistics can be longer */
	INNER_MTU = 65535, /* the outer one's bounds what is sent, this one nothing */
	FEATURES_MAX = 256,
	NO_ADDRESS = 1, /* IN6_ADDR_GEN_MODE_NONE, whose header collides with libc's */
};

/* What tells twins from other interfaces, in `ip link` too. */
#define ALIAS "Sluice"

int sl_twin_link_open(unsigned groups, struct mnl_socket **ret_socket)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int size = 1 << 20;

	if (!s)
		return -errno;
	if (mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) != 0) {
		int err = -errno;

		mnl_socket_close(s);
		return err;
	}
	if (groups)
		setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	*ret_socket = s;
	return 0;
}

static struct nlmsghdr *begin(char *buffer, uint16_t type, uint16_t flags, uint32_t ifindex)
{
	static unsigned sequence;
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info;

	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | flags;
	message->nlmsg_seq = __atomic_add_fetch(&sequence, 1, __ATOMIC_RELAXED);
	info = mnl_nlmsg_put_extra_header(message, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	info->ifi_index = (int)ifindex;
	return message;
}

/* Sends a request and hands what comes back to fn; the kernel's errno. */
static int request(struct mnl_socket *socket, struct nlmsghdr *message, mnl_cb_t fn, void *arg)
{
	uint32_t sequence = message->nlmsg_seq, port = mnl_socket_get_portid(socket);
	char answer[ANSWER];
	int more = 1;

	if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
		return -errno;
	while (more > 0) {
		ssize_t len = mnl_socket_recvfrom(socket, answer, sizeof(answer));

		if (len < 0)
			return -errno;
		more = mnl_cb_run(answer, (size_t)len, sequence, port, fn, arg);
		if (more < 0)
			return -errno;
		/* An answer without an end of its own. */
		if (fn)
			break;
	}
	return 0;
}

static int change(struct mnl_socket *socket, struct nlmsghdr *message)
{
	message->nlmsg_flags |= NLM_F_ACK;
	return request(socket, message, NULL, NULL);
}

int sl_twin_link_add(struct mnl_socket *home, const struct sl_twin_pair *pair)
{
	char buffer[MESSAGE];
	struct nlmsghdr *m = begin(buffer, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, pair->ifindex);
	struct nlattr *info, *data, *peer;

	mnl_attr_put_strz(m, IFLA_IFNAME, pair->name);
	mnl_attr_put_u32(m, IFLA_MTU, pair->mtu);
	if (rte_is_valid_assigned_ether_addr(&pair->mac))
		mnl_attr_put(m, IFLA_ADDRESS, sizeof(pair->mac), &pair->mac);
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_strz(m, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(m, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(m, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(m, IFLA_IFNAME, pair->name);
	mnl_attr_put_u32(m, IFLA_MTU, INNER_MTU);
	mnl_attr_put_u32(m, IFLA_NET_NS_PID, (uint32_t)pair->thread);
	mnl_attr_nest_end(m, peer);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
	return change(home, m);
}

int sl_twin_link_del(struct mnl_socket *home, uint32_t ifindex)
{
	char buffer[MESSAGE];

	return change(home, begin(buffer, RTM_DELLINK, 0, ifindex));
}

static int read_state(const struct nlmsghdr *message, void *arg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct sl_twin_state *state = arg;
	const struct nlattr *a;

	*state = (struct sl_twin_state){
		.ifindex = (uint32_t)info->ifi_index,
		.up = info->ifi_flags & IFF_UP,
		.gone = message->nlmsg_type == RTM_DELLINK,
	};
	mnl_attr_for_each(a, message, sizeof(*info))
	{
		switch (mnl_attr_get_type(a)) {
		case IFLA_MTU:
			if (mnl_attr_validate(a, MNL_TYPE_U32) == 0)
				state->mtu = mnl_attr_get_u32(a);
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(a) == sizeof(state->mac))
				memcpy(&state->mac, mnl_attr_get_payload(a), sizeof(state->mac));
			break;
		case IFLA_IFALIAS:
			state->ours = mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0 &&
				      strcmp(mnl_attr_get_str(a), ALIAS) == 0;
			break;
		}
	}
	return MNL_CB_OK;
}

int sl_twin_link_get(struct mnl_socket *socket, const char *name, struct sl_twin_state *ret_state)
{
	char buffer[MESSAGE];
	struct nlmsghdr *m = begin(buffer, RTM_GETLINK, 0, 0);

	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	return request(socket, m, read_state, ret_state);
}

int sl_twin_link_events(struct mnl_socket *socket,
	void (*fn)(const struct sl_twin_state *state, void *arg), void *arg)
{
	char buffer[ANSWER];

	for (;;) {
		ssize_t n = recv(mnl_socket_get_fd(socket), buffer, sizeof(buffer), MSG_DONTWAIT);
		struct nlmsghdr *m = (struct nlmsghdr *)buffer;
		struct sl_twin_state state;
		int len = (int)n;

		if (n <= 0)
			return n == 0 || errno == EAGAIN ? 0 : -errno;
		for (; mnl_nlmsg_ok(m, len); m = mnl_nlmsg_next(m, &len)) {
			if (m->nlmsg_type != RTM_NEWLINK && m->nlmsg_type != RTM_DELLINK)
				continue;
			read_state(m, &state);
			fn(&state, arg);
		}
	}
}

int sl_twin_link_set_up(struct mnl_socket *socket, uint32_t ifindex, bool up)
{
	char buffer[MESSAGE];
	struct nlmsghdr *m = begin(buffer, RTM_NEWLINK, 0, ifindex);
	struct ifinfomsg *info = mnl_nlmsg_get_payload(m);

	info->ifi_change = IFF_UP;
	info->ifi_flags = up ? IFF_UP : 0;
	return change(socket, m);
}

int sl_twin_link_set_mtu(struct mnl_socket *socket, uint32_t ifindex, uint16_t mtu)
{
	char buffer[MESSAGE];
	struct nlmsghdr *m = begin(buffer, RTM_NEWLINK, 0, ifindex);

	mnl_attr_put_u32(m, IFLA_MTU, mtu);
	return change(socket, m);
}

int sl_twin_link_set_mac(
	struct mnl_socket *socket, uint32_t ifindex, const struct rte_ether_addr *mac)
{
	char buffer[MESSAGE];
	struct nlmsghdr *m = begin(buffer, RTM_NEWLINK, 0, ifindex);

	mnl_attr_put(m, IFLA_ADDRESS, sizeof(*mac), mac);
	return change(socket, m);
}

void sl_twin_link_use_neighbour(
	struct mnl_socket *home, uint32_t ifindex, uint16_t family, const void *address)
{
	char buffer[MESSAGE];
	struct nlmsghdr *m = mnl_nlmsg_put_header(buffer);
	struct ndmsg *n = mnl_nlmsg_put_extra_header(m, sizeof(*n));

	m->nlmsg_type = RTM_NEWNEIGH;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE;
	m->nlmsg_seq = 1;
	n->ndm_family = (uint8_t)family;
	n->ndm_ifindex = (int)ifindex;
	n->ndm_flags = NTF_USE;
	mnl_attr_put(m, NDA_DST, sl_ip_bytes(family), address);
	change(home, m);
}

void sl_twin_link_mute(struct mnl_socket *inner, uint32_t ifindex)
{
	char buffer[MESSAGE];
	struct nlmsghdr *m = begin(buffer, RTM_NEWLINK, 0, ifindex);
	struct ifinfomsg *info = mnl_nlmsg_get_payload(m);
	struct nlattr *families, *inet6;

	info->ifi_change = info->ifi_flags = IFF_NOARP;
	change(inner, m);
	/* By itself: a kernel without IPv6 refuses it, and has nothing to mute. */
	m = begin(buffer, RTM_NEWLINK, 0, ifindex);
	families = mnl_attr_nest_start(m, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(m, AF_INET6);
	mnl_attr_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, NO_ADDRESS);
	mnl_attr_nest_end(m, inet6);
	mnl_attr_nest_end(m, families);
	change(inner, m);
}

/* Of the kernel's features those that make packets which virtio_net_hdr cannot describe. */
static bool is_beyond(const char *feature)
{
	static const char *const known[] = { "tx-tcp-segmentation", "tx-tcp6-segmentation",
		"tx-tcp-ecn-segmentation" };
	static const char *const others[] = { "tx-checksum-sctp", "tx-gso-partial", "tx-gso-list",
		"tx-gso-robust" };
	size_t len = strlen(feature), tail = strlen("-segmentation");

	for (unsigned i = 0; i < sl_array_size(known); i++)
		if (strcmp(feature, known[i]) == 0)
			return false;
	for (unsigned i = 0; i < sl_array_size(others); i++)
		if (strcmp(feature, others[i]) == 0)
			return true;
	return strncmp(feature, "tx-", 3) == 0 && len > tail &&
	       strcmp(feature + len - tail, "-segmentation") == 0;
}

static int ethtool(int fd, const char *name, void *command)
{
	struct ifreq request = { .ifr_data = command };

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return ioctl(fd, SIOCETHTOOL, &request);
}

static unsigned count_features(int fd, const char *name)
{
	struct {
		struct ethtool_sset_info head;
		uint32_t count;
	} sets = { .head = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_FEATURES } };

	if (ethtool(fd, name, &sets) != 0 || !sets.head.sset_mask)
		return 0;
	return sl_min(sets.count, (uint32_t)FEATURES_MAX);
}

/* It cannot be asked of a netlink socket. */
static void restrain_features(int fd, const char *name)
{
	unsigned count = count_features(fd, name);
	size_t blocks = (count + 31) / 32;
	struct ethtool_gstrings *names = calloc(1, sizeof(*names) + count * ETH_GSTRING_LEN);
	struct ethtool_sfeatures *set = calloc(1, sizeof(*set) + blocks * sizeof(set->features[0]));

	if (names && set && count) {
		*names = (struct ethtool_gstrings){
			.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES, .len = count
		};
		*set = (struct ethtool_sfeatures){ .cmd = ETHTOOL_SFEATURES,
			.size = (uint32_t)blocks };
		if (ethtool(fd, name, names) == 0) {
			for (unsigned i = 0; i < count; i++) {
				const char *feature =
					(const char *)names->data + i * ETH_GSTRING_LEN;

				if (is_beyond(feature))
					set->features[i / 32].valid |= 1u << i % 32;
			}
			ethtool(fd, name, set);
		}
	}
	free(names);
	free(set);
}

void sl_twin_link_restrain(struct mnl_socket *home, const char *name, uint32_t ifindex)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char buffer[MESSAGE];
	struct nlmsghdr *m = begin(buffer, RTM_NEWLINK, 0, ifindex);

	mnl_attr_put_u32(m, IFLA_GSO_MAX_SEGS, SL_PIECES_MAX);
	change(home, m);
	m = begin(buffer, RTM_NEWLINK, 0, ifindex);
	mnl_attr_put_strz(m, IFLA_IFALIAS, ALIAS);
	change(home, m);
	if (fd < 0)
		return;
	restrain_features(fd, name);
	close(fd);
}
