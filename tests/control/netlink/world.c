#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "netlink.h"
#include "oracle.h"

static const int one = 1;

struct text {
	char *at;
	size_t left;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *text, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text->at, text->left, format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= text->left)
		abort();
	text->at += len;
	text->left -= (size_t)len;
}

static void say_bytes(struct text *text, const struct nlattr *attr)
{
	const uint8_t *bytes = mnl_attr_get_payload(attr);

	say(text, " %u=", attr->nla_type);
	for (unsigned i = 0; i < mnl_attr_get_payload_len(attr); i++)
		say(text, "%02x", bytes[i]);
}

/* A filter's options, without the program's id and tag. */
static void say_options(struct text *text, const struct nlattr *nest)
{
	const struct nlattr *attr;

	say(text, " %u={", nest->nla_type);
	mnl_attr_for_each_nested(attr, nest)
	{
		if (attr->nla_type == TCA_BPF_ID || attr->nla_type == TCA_BPF_TAG)
			say(text, " %u:%u", attr->nla_type, mnl_attr_get_payload_len(attr));
		else
			say_bytes(text, attr);
	}
	say(text, " }");
}

static void say_tc(struct text *text, const struct nlmsghdr *message)
{
	const struct tcmsg *head = mnl_nlmsg_get_payload(message);
	const struct nlattr *attr;

	say(text, "parent %x handle %x info %x", head->tcm_parent, head->tcm_handle,
		head->tcm_info);
	mnl_attr_for_each(attr, message, sizeof(*head))
	{
		if (attr->nla_type == TCA_OPTIONS && message->nlmsg_type != RTM_NEWQDISC)
			say_options(text, attr);
		else
			say_bytes(text, attr);
	}
}

/* Of a link only what it says of XDP, without the program's id. */
static void say_link(struct text *text, const struct nlmsghdr *message)
{
	const struct nlattr *attr, *xdp;

	mnl_attr_for_each(attr, message, sizeof(struct ifinfomsg))
	{
		if (attr->nla_type != IFLA_XDP)
			continue;
		say(text, " xdp={");
		mnl_attr_for_each_nested(xdp, attr)
		{
			if (xdp->nla_type == IFLA_XDP_ATTACHED)
				say_bytes(text, xdp);
			else
				say(text, " %u", xdp->nla_type);
		}
		say(text, " }");
	}
}

static void say_ack(struct text *text, const struct nlmsghdr *message)
{
	const struct nlmsgerr *ack = mnl_nlmsg_get_payload(message);
	size_t head = sizeof(*ack);
	const struct nlattr *attr;

	say(text, "error %d", ack->error);
	if (!(message->nlmsg_flags & NLM_F_CAPPED))
		head += MNL_ALIGN(ack->msg.nlmsg_len) - sizeof(ack->msg);
	if (!(message->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	mnl_attr_for_each(attr, message, head)
	{
		if (attr->nla_type == NLMSGERR_ATTR_MSG)
			say(text, " '%s'", mnl_attr_get_str(attr));
	}
}

/* True when this was the last one. */
static bool say_message(
	struct text *text, const struct world *world, const struct nlmsghdr *message)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(message);
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(message);
	uint16_t type = message->nlmsg_type;
	bool end = type == NLMSG_ERROR || type == NLMSG_DONE;

	/* Those of other interfaces are not asked about. */
	if (!end && (type == RTM_NEWLINK ? (uint32_t)link->ifi_index : (uint32_t)tc->tcm_ifindex) !=
			    world->ifindex)
		return false;
	/* A port without a twin may have the number of another interface. */
	if (type == RTM_NEWLINK && link->ifi_flags & IFF_LOOPBACK)
		return false;
	if (type == RTM_NEWQDISC && tc->tcm_parent != TC_H_INGRESS)
		return false;
	say(text, "%u flags %x ", type, message->nlmsg_flags);
	if (type == NLMSG_ERROR)
		say_ack(text, message);
	else if (type == NLMSG_DONE)
		say(text, "done %d", *(const int *)tc);
	else if (type == RTM_NEWLINK)
		say_link(text, message);
	else
		say_tc(text, message);
	say(text, "\n");
	return end;
}

static bool say_datagram(
	struct text *text, const struct world *world, const void *datagram, size_t len)
{
	const struct nlmsghdr *message = datagram;
	int left = (int)len;

	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
		if (say_message(text, world, message))
			return true;
	}
	if (left)
		say(text, "%d bytes left\n", left);
	return false;
}

static size_t receive(int socket, void *buffer, size_t size)
{
	ssize_t len = recv(socket, buffer, size, 0);

	return len < 0 ? 0 : (size_t)len;
}

static void ask_kernel(struct world *world, struct nlmsghdr *request, struct text *text)
{
	static uint8_t buffer[65536];
	bool done = false;

	if (send(world->socket, request, request->nlmsg_len, 0) < 0)
		say(text, "send: %d\n", errno);
	while (!done) {
		size_t len = receive(world->socket, buffer, sizeof(buffer));

		done = len == 0 || say_datagram(text, world, buffer, len);
	}
}

/* What the service wants to hear of the kernel, which has no twin of the port here. */
static void ask_for_service(
	const struct world *world, const struct sl_netlink_list *out, struct sl_netlink_list *ret)
{
	static uint8_t buffer[65536];
	const struct nlmsghdr *request, *message;
	size_t cursor = 0, request_len, len;
	bool done = false;

	if (!sl_netlink_list_next(out, &cursor, (const void **)&request, &request_len))
		return;
	send(world->socket, request, request_len, 0);
	while (!done && (len = receive(world->socket, buffer, sizeof(buffer)))) {
		int left = (int)len;

		sl_netlink_list_add(ret, buffer, len);
		for (message = (void *)buffer; mnl_nlmsg_ok(message, left);
			message = mnl_nlmsg_next(message, &left))
			done = done || message->nlmsg_type == NLMSG_DONE ||
			       message->nlmsg_type == NLMSG_ERROR;
	}
}

static void ask_service(struct world *world, struct nlmsghdr *request, struct text *text)
{
	struct sl_netlink_socket socket = { .portid = 77,
		.ext_ack = true,
		.with_twins = !world->elsewhere,
		.privileged = world->privileged };
	struct sl_netlink_list out = { 0 }, kernel = { 0 };
	enum sl_netlink_verdict verdict;
	size_t cursor = 0, len;
	const void *data;

	if (sl_netlink_serve(request, &socket, NULL, &verdict, &out) != 0)
		abort();
	if (verdict == SL_NETLINK_ASK) {
		ask_for_service(world, &out, &kernel);
		sl_netlink_list_done(&out);
		if (sl_netlink_serve(request, &socket, &kernel, &verdict, &out) != 0)
			abort();
	}
	if (verdict != SL_NETLINK_ANSWER)
		say(text, "passed\n");
	while (sl_netlink_list_next(&out, &cursor, &data, &len))
		say_datagram(text, world, data, len);
	sl_netlink_list_done(&out);
	sl_netlink_list_done(&kernel);
}

void world_ask(struct world *world, struct nlmsghdr *request, char ret[static ANSWER_LEN])
{
	struct text text = { ret, ANSWER_LEN };

	request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	request->nlmsg_seq = 5;
	*ret = '\0';
	if (world->side == KERNEL)
		ask_kernel(world, request, &text);
	else
		ask_service(world, request, &text);
}

static int open_socket(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	struct timeval patience = { .tv_sec = 5 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
		setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one)) != 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0)
		return -1;
	return fd;
}

bool world_renew(struct world *kernel)
{
	if (system("ip link del v0 2>/dev/null; ip link add v0 type veth peer name v1 && "
		   "ip link set v0 up") != 0)
		return false;
	kernel->ifindex = if_nametoindex("v0");
	return kernel->ifindex != 0;
}

static bool open_side(struct world *world, enum side side)
{
	*world = (struct world){ .side = side, .privileged = true, .none = 1000 };
	world->foreign = open("/dev/null", O_RDONLY | O_CLOEXEC);
	world->socket = open_socket();
	for (int i = 0; i < WORLD_PROGS; i++) {
		world->cls[i] = prog_returning(side, BPF_PROG_TYPE_SCHED_CLS, i);
		world->act[i] = prog_returning(side, BPF_PROG_TYPE_SCHED_ACT, i);
		world->xdp[i] = prog_returning(side, BPF_PROG_TYPE_XDP, i);
		if (world->cls[i] < 0 || world->act[i] < 0 || world->xdp[i] < 0)
			return false;
	}
	return world->socket >= 0;
}

bool world_open(struct world *kernel, struct world *sluice, uint32_t port, const char **ret_reason)
{
	*ret_reason = "this user may not have a network namespace";
	if (!oracle_permitted() || unshare(CLONE_NEWNET) != 0)
		return false;
	*ret_reason = "no programs";
	if (!open_side(kernel, KERNEL) || !open_side(sluice, SLUICE))
		return false;
	sluice->ifindex = port;
	*ret_reason = "no veth";
	return world_renew(kernel);
}

void world_close(struct world *world)
{
	close(world->foreign);
	close(world->socket);
	for (int i = 0; i < WORLD_PROGS; i++) {
		close(world->cls[i]);
		close(world->act[i]);
		close(world->xdp[i]);
	}
}
