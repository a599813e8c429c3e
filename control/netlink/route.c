#include "route.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netlink.h"
#include "remote.h"
#include "request.h"

/* How much of what the kernel said goes with one call; a datagram of the kernel's is far below. */
enum { CHUNK = 512 << 10, PATIENCE_S = 5 };

/* ---- the kernel's side ---- */

static void set(int fd, int option, bool on)
{
	const int one = 1;

	if (on)
		setsockopt(fd, SOL_NETLINK, option, &one, sizeof(one));
}

static int open_socket(struct sl_route_socket *socket)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	int fd = socket->open(socket);

	if (fd < 0)
		return fd;
	set(fd, NETLINK_EXT_ACK, socket->ext_ack);
	set(fd, NETLINK_CAP_ACK, socket->cap_ack);
	set(fd, NETLINK_GET_STRICT_CHK, socket->strict);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* One datagram of whatever length, into the list. NULL on failure. */
static struct nlmsghdr *receive(int fd, struct sl_netlink_list *list, size_t *ret_len)
{
	ssize_t len = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC);
	void *to;

	if (len <= 0)
		return NULL;
	to = sl_netlink_list_put(list, (size_t)len);
	if (!to)
		return NULL;
	*ret_len = (size_t)len;
	return recv(fd, to, (size_t)len, 0) == len ? to : NULL;
}

/* The messages are to look as if they had come to the program's socket. True after the last one. */
static bool address(struct nlmsghdr *message, size_t len, uint32_t portid, bool dump)
{
	int left = (int)len;
	bool end = false;

	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
		message->nlmsg_pid = portid;
		end = end || message->nlmsg_type == NLMSG_DONE ||
		      message->nlmsg_type == NLMSG_ERROR;
		end = end || (dump && !(message->nlmsg_flags & NLM_F_MULTI));
	}
	return end;
}

/*
 * What the kernel answers. It is made to acknowledge what is no list, so that the end is known; whether
 * the program wants to see that, the caller knows.
 */
static int ask_kernel(
	struct sl_route_socket *socket, struct nlmsghdr *message, struct sl_netlink_list *ret)
{
	bool dump = message->nlmsg_flags & NLM_F_DUMP && (message->nlmsg_type & 3) == 2;
	struct nlmsghdr *answer;
	int fd = open_socket(socket), err = 0;
	bool end = false;
	size_t len;

	if (fd < 0)
		return fd;
	if (!dump)
		message->nlmsg_flags |= NLM_F_ACK;
	if (send(fd, message, message->nlmsg_len, 0) < 0)
		err = -errno;
	while (!err && !end) {
		answer = receive(fd, ret, &len);
		if (!answer)
			err = -EIO;
		else
			end = address(answer, len, socket->portid, dump);
	}
	close(fd);
	return err;
}

/* ---- the daemon's side ---- */

/* 0 or a negative errno; what comes back is appended to `out`. */
static int ask_daemon(struct sl_route_socket *socket, const struct sl_netlink_list *what,
	bool asked, enum sl_netlink_verdict *ret_verdict, struct sl_netlink_list *out)
{
	struct sl_remote_call call = {
		.type = SL_WIRE_NETLINK,
		.args = { socket->portid,
			(socket->ext_ack ? SL_WIRE_NETLINK_EXT_ACK : 0) |
				(socket->cap_ack ? SL_WIRE_NETLINK_CAP_ACK : 0) |
				(asked ? SL_WIRE_NETLINK_ASKED : 0),
			socket->namespace_dev, socket->namespace_ino },
		.text = (const char *)what->bytes,
		.text_len_bytes = what->len,
	};
	struct sl_netlink_list answer = { 0 };
	size_t cursor = 0, len;
	const void *data;
	int64_t ret = sl_remote_call(socket->space, &call);

	if (ret < 0)
		return (int)ret;
	answer.bytes = (uint8_t *)call.ret_text;
	answer.len = call.ret_text_len_bytes;
	while (sl_netlink_list_next(&answer, &cursor, &data, &len))
		sl_netlink_list_add(out, data, len);
	free(call.ret_text);
	*ret_verdict = (enum sl_netlink_verdict)ret;
	return out->failed ? -ENOMEM : 0;
}

/* The request, and what the kernel said from *cursor on, as much as goes with one call. */
static void pack(const struct nlmsghdr *message, const struct sl_netlink_list *kernel,
	size_t *cursor, struct sl_netlink_list *what)
{
	const void *data;
	size_t len;

	sl_netlink_list_add(what, message, message->nlmsg_len);
	while (what->len < CHUNK && sl_netlink_list_next(kernel, cursor, &data, &len))
		sl_netlink_list_add(what, data, len);
}

/* An acknowledgement that the program has not asked for. */
static bool unwanted(const struct nlmsghdr *request, const void *data, size_t len)
{
	const struct nlmsghdr *message = data;

	return !(request->nlmsg_flags & NLM_F_ACK) && len >= NLMSG_LENGTH(sizeof(int)) &&
	       message->nlmsg_type == NLMSG_ERROR &&
	       *(const int *)mnl_nlmsg_get_payload(message) == 0;
}

static void take_answer(const struct nlmsghdr *request, const struct sl_netlink_list *from,
	struct sl_netlink_list *out)
{
	size_t cursor = 0, len;
	const void *data;

	while (sl_netlink_list_next(from, &cursor, &data, &len)) {
		if (!unwanted(request, data, len))
			sl_netlink_list_add(out, data, len);
	}
}

/* The second round: what the kernel said to `question` goes to the daemon, piece by piece. */
static int finish(struct sl_route_socket *socket, const struct nlmsghdr *message,
	struct sl_netlink_list *question, struct sl_netlink_list *out)
{
	struct sl_netlink_list kernel = { 0 }, answer = { 0 };
	enum sl_netlink_verdict verdict = SL_NETLINK_ANSWER;
	size_t cursor = 0, len;
	const void *ask;
	int err = -EPROTO;

	if (sl_netlink_list_next(question, &cursor, &ask, &len) && len >= sizeof(*message))
		err = ask_kernel(socket, (struct nlmsghdr *)ask, &kernel);
	cursor = 0;
	do {
		struct sl_netlink_list what = { 0 };

		if (!err)
			pack(message, &kernel, &cursor, &what);
		if (!err)
			err = what.failed ? -ENOMEM
					  : ask_daemon(socket, &what, true, &verdict, &answer);
		if (!err && verdict != SL_NETLINK_ANSWER)
			err = -EPROTO;
		sl_netlink_list_done(&what);
	} while (!err && cursor < kernel.len);
	if (!err)
		take_answer(message, &answer, out);
	sl_netlink_list_done(&kernel);
	sl_netlink_list_done(&answer);
	return err;
}

bool sl_route_wants(const struct nlmsghdr *message)
{
	return message->nlmsg_flags & NLM_F_REQUEST && sl_netlink_type_is_ours(message->nlmsg_type);
}

bool sl_route_serve(
	struct sl_route_socket *socket, const struct nlmsghdr *message, struct sl_netlink_list *out)
{
	struct sl_netlink_list what = { 0 }, answer = { 0 };
	enum sl_netlink_verdict verdict = SL_NETLINK_PASS;
	int err;

	if (!sl_route_wants(message))
		return false;
	sl_netlink_list_add(&what, message, message->nlmsg_len);
	err = what.failed ? -ENOMEM : ask_daemon(socket, &what, false, &verdict, &answer);
	if (!err && verdict == SL_NETLINK_ASK)
		err = finish(socket, message, &answer, out);
	else if (!err && verdict == SL_NETLINK_ANSWER)
		take_answer(message, &answer, out);
	sl_netlink_list_done(&what);
	sl_netlink_list_done(&answer);
	if (err)
		sl_netlink_list_done(out);
	return !err && verdict != SL_NETLINK_PASS;
}

/* ---- interfaces that the kernel has not ---- */

static void read_link(const struct nlmsghdr *message, struct sl_route_interface *ret)
{
	const struct ifinfomsg *head = mnl_nlmsg_get_payload(message);
	const struct nlattr *attr;

	*ret = (struct sl_route_interface){ .ifindex = (uint32_t)head->ifi_index,
		.flags = head->ifi_flags };
	mnl_attr_for_each(attr, message, sizeof(*head))
	{
		size_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) == IFLA_IFNAME && len <= sizeof(ret->name))
			memcpy(ret->name, mnl_attr_get_payload(attr), len);
		else if (mnl_attr_get_type(attr) == IFLA_MTU && len == sizeof(ret->mtu))
			memcpy(&ret->mtu, mnl_attr_get_payload(attr), len);
		else if (mnl_attr_get_type(attr) == IFLA_ADDRESS && len == sizeof(ret->mac))
			memcpy(ret->mac, mnl_attr_get_payload(attr), len);
	}
	ret->name[sizeof(ret->name) - 1] = '\0';
}

bool sl_route_find(struct sl_route_socket *socket, const char *name, uint32_t ifindex,
	struct sl_route_interface *ret)
{
	_Alignas(4) uint8_t bytes[128];
	struct nlmsghdr *request = mnl_nlmsg_put_header(bytes);
	struct sl_netlink_list out = { 0 };
	size_t cursor = 0, len;
	const void *data;
	bool found = false;

	if (strlen(name) >= sizeof(ret->name))
		return false;
	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST;
	((struct ifinfomsg *)mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg)))
		->ifi_index = (int)ifindex;
	if (*name)
		mnl_attr_put_strz(request, IFLA_IFNAME, name);
	if (sl_route_serve(socket, request, &out) &&
		sl_netlink_list_next(&out, &cursor, &data, &len) &&
		len >= NLMSG_LENGTH(sizeof(struct ifinfomsg)) &&
		((const struct nlmsghdr *)data)->nlmsg_type == RTM_NEWLINK) {
		read_link(data, ret);
		found = true;
	}
	sl_netlink_list_done(&out);
	return found;
}

/* The links of one datagram. True if it says that the list has failed. */
static bool use_links(const struct nlmsghdr *message, size_t len,
	void (*use)(void *data, const struct sl_route_interface *interface), void *to)
{
	struct sl_route_interface interface;
	int left = (int)len;

	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
		if (message->nlmsg_type == NLMSG_ERROR)
			return true;
		if (message->nlmsg_type != RTM_NEWLINK ||
			mnl_nlmsg_get_payload_len(message) < sizeof(struct ifinfomsg))
			continue;
		read_link(message, &interface);
		use(to, &interface);
	}
	return false;
}

bool sl_route_each(struct sl_route_socket *socket,
	void (*use)(void *data, const struct sl_route_interface *interface), void *data)
{
	_Alignas(4) uint8_t bytes[64];
	struct nlmsghdr *request = mnl_nlmsg_put_header(bytes);
	struct sl_netlink_list out = { 0 };
	size_t cursor = 0, len;
	const void *datagram;
	bool served;

	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	served = sl_route_serve(socket, request, &out);
	while (served && sl_netlink_list_next(&out, &cursor, &datagram, &len))
		served = !use_links(datagram, len, use, data);
	sl_netlink_list_done(&out);
	return served;
}
