#include "netdev.h"

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * libbpf from 1.3 on asks the kernel's family "netdev" what an interface can do with XDP, in
 * bpf_xdp_query() and so wherever it looks for a program, and fails where there is no such interface. For
 * a port without a twin the answer is made here. The numbers are those of linux/netdev.h, which is newer
 * than the headers of some systems.
 */
enum { DEV_GET = 1, VERSION = 1, FAMILY_NONE = 0 };
enum { ATTR_IFINDEX = 1, ATTR_XDP_FEATURES = 3, ATTR_MAX = 3 };
/* Verdicts, redirection, being redirected to; and packets of several segments in both directions. */
enum { FEATURES = 1 | 2 | 4 | 32 | 64 };

static uint16_t family;

static uint16_t read_family(const void *bytes, size_t len)
{
	const struct nlmsghdr *answer = bytes;
	const struct nlattr *attr;

	if (!mnl_nlmsg_ok(answer, (int)len) || answer->nlmsg_type != GENL_ID_CTRL)
		return FAMILY_NONE;
	mnl_attr_for_each(attr, answer, sizeof(struct genlmsghdr))
	{
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID)
			return mnl_attr_get_u16(attr);
	}
	return FAMILY_NONE;
}

/* The number that the kernel has given the family, which it keeps. */
static void find_family(void)
{
	const struct timeval patience = { .tv_sec = 1 };
	_Alignas(4) uint8_t bytes[64], answer[8192];
	struct nlmsghdr *request = mnl_nlmsg_put_header(bytes);
	struct genlmsghdr *head;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	ssize_t len = -1;

	if (fd < 0)
		return;
	request->nlmsg_type = GENL_ID_CTRL;
	request->nlmsg_flags = NLM_F_REQUEST;
	head = mnl_nlmsg_put_extra_header(request, sizeof(*head));
	head->cmd = CTRL_CMD_GETFAMILY;
	head->version = VERSION;
	mnl_attr_put_strz(request, CTRL_ATTR_FAMILY_NAME, "netdev");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (send(fd, request, request->nlmsg_len, 0) > 0)
		len = recv(fd, answer, sizeof(answer), 0);
	if (len > 0)
		family = read_family(answer, (size_t)len);
	close(fd);
}

static uint32_t read_ifindex(const struct nlmsghdr *message)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, message, sizeof(struct genlmsghdr))
	{
		if (mnl_attr_get_type(attr) == ATTR_IFINDEX &&
			mnl_attr_get_payload_len(attr) == sizeof(uint32_t))
			return mnl_attr_get_u32(attr);
	}
	return 0;
}

uint32_t sl_netdev_asked(const struct nlmsghdr *message)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const struct genlmsghdr *head = mnl_nlmsg_get_payload(message);

	if (message->nlmsg_type < GENL_START_ALLOC ||
		message->nlmsg_len < NLMSG_LENGTH(sizeof(*head)) || head->cmd != DEV_GET ||
		!(message->nlmsg_flags & NLM_F_REQUEST) || message->nlmsg_flags & NLM_F_DUMP)
		return 0;
	pthread_once(&once, find_family);
	return message->nlmsg_type == family ? read_ifindex(message) : 0;
}

static void put_answer(const struct nlmsghdr *message, uint32_t portid, struct sl_netlink_list *out)
{
	_Alignas(4) uint8_t bytes[128];
	struct nlmsghdr *answer = mnl_nlmsg_put_header(bytes);
	struct genlmsghdr *head;

	answer->nlmsg_type = family;
	answer->nlmsg_seq = message->nlmsg_seq;
	answer->nlmsg_pid = portid;
	head = mnl_nlmsg_put_extra_header(answer, sizeof(*head));
	head->cmd = DEV_GET;
	head->version = VERSION;
	mnl_attr_put_u32(answer, ATTR_IFINDEX, read_ifindex(message));
	mnl_attr_put_u64(answer, ATTR_XDP_FEATURES, FEATURES);
	sl_netlink_list_add(out, answer, answer->nlmsg_len);
	if (message->nlmsg_flags & NLM_F_ACK) {
		struct nlmsghdr *ack = mnl_nlmsg_put_header(bytes);
		struct nlmsgerr *err;

		ack->nlmsg_type = NLMSG_ERROR;
		ack->nlmsg_flags = NLM_F_CAPPED;
		ack->nlmsg_seq = message->nlmsg_seq;
		ack->nlmsg_pid = portid;
		err = mnl_nlmsg_put_extra_header(ack, sizeof(*err));
		err->msg = *message;
		sl_netlink_list_add(out, ack, ack->nlmsg_len);
	}
}

static bool kernel_has(struct sl_route_socket *socket, uint32_t ifindex)
{
	struct ifreq req = { .ifr_ifindex = (int)ifindex };
	int fd = socket->open(socket);
	bool has = fd < 0 || ioctl(fd, SIOCGIFNAME, &req) == 0;

	if (fd >= 0)
		close(fd);
	return has;
}

bool sl_netdev_serve(
	struct sl_route_socket *socket, const struct nlmsghdr *message, struct sl_netlink_list *out)
{
	uint32_t ifindex = sl_netdev_asked(message);
	struct sl_route_interface interface;

	if (!ifindex || kernel_has(socket, ifindex) ||
		!sl_route_find(socket, "", ifindex, &interface))
		return false;
	put_answer(message, socket->portid, out);
	return !out->failed;
}
