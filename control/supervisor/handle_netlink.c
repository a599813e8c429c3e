#include "handlers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "calls.h"
#include "inject.h"
#include "netdev.h"
#include "netlink_socket.h"
#include "route_queue.h"

/*
 * The program's sockets are the kernel's, made by itself, in its network namespace, and all but a few
 * messages are sent and received as ever. A socket only gets a number that the filter knows, so that
 * the supervisor sees what is sent. A request about a port is shown to the daemon, and its answer
 * waits for the program to receive from the socket (route_queue.h).
 */
enum { SEND_MAX = 1 << 20, PARTS_MAX = 1024 };

static int64_t call3(struct sl_injection *in, int nr, uint64_t a, uint64_t b, uint64_t c)
{
	const uint64_t args[6] = { a, b, c };

	return sl_injection_call(in, nr, args);
}

void sl_handle_netlink_socket(struct sl_notified *n)
{
	const __u64 *args = n->data->args;
	int dup_as = args[1] & SOCK_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD;
	struct sl_injection in;
	int64_t fd, high;

	if (sl_injection_begin(&in, n, -1, NULL) != 0) {
		sl_notified_continue(n);
		return;
	}
	fd = call3(&in, SYS_socket, args[0], args[1], args[2] | SL_CALL_OWN_SOCKET);
	if (fd >= 0) {
		high = call3(&in, SYS_fcntl, (uint64_t)fd, (uint64_t)dup_as, SL_CALL_WINDOW);
		/* Without room in the window it is a socket as any other. */
		if (high >= 0)
			call3(&in, SYS_close,
				(uint64_t)(high < SL_CALL_WINDOW + SL_CALL_WINDOW_SIZE ? fd : high),
				0, 0);
		if (high >= 0 && high < SL_CALL_WINDOW + SL_CALL_WINDOW_SIZE)
			fd = high;
	}
	sl_injection_end(&in, fd);
}

/* A call's message, wherever its parts are in the thread's memory. */
struct message {
	uint64_t name, name_len; /* where the address is, 0 for none */
	struct iovec *parts;
	size_t part_count;
	struct iovec one;
};

static int read_parts(struct sl_notified *n, const struct msghdr *head, struct message *ret)
{
	size_t len = head->msg_iovlen * sizeof(*ret->parts);

	if (head->msg_iovlen > PARTS_MAX)
		return -EMSGSIZE;
	ret->name = (uintptr_t)head->msg_name;
	ret->name_len = head->msg_namelen;
	ret->part_count = head->msg_iovlen;
	ret->parts = malloc(len + 1);
	if (!ret->parts)
		return -ENOMEM;
	return n->space.ops->read(&n->space, ret->parts, (uintptr_t)head->msg_iov, len);
}

static void free_parts(struct message *m)
{
	if (m->parts != &m->one)
		free(m->parts);
}

static size_t total(const struct message *m)
{
	size_t len = 0;

	for (size_t i = 0; i < m->part_count; i++)
		len += MIN(m->parts[i].iov_len, (size_t)SEND_MAX + 1);
	return len;
}

/* Whether it is for the kernel, and short enough to be one of its. */
static bool is_request(struct sl_notified *n, const struct message *m)
{
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	size_t len = total(m);

	if (m->name && (m->name_len < sizeof(to) ||
			       n->space.ops->read(&n->space, &to, m->name, sizeof(to)) != 0))
		return false;
	return to.nl_family == AF_NETLINK && to.nl_pid == 0 && to.nl_groups == 0 &&
	       len >= sizeof(struct nlmsghdr) && len <= SEND_MAX;
}

static int gather(struct sl_notified *n, const struct message *m, uint8_t *bytes)
{
	for (size_t i = 0; i < m->part_count; i++) {
		int err = n->space.ops->read(
			&n->space, bytes, (uintptr_t)m->parts[i].iov_base, m->parts[i].iov_len);

		if (err)
			return err;
		bytes += m->parts[i].iov_len;
	}
	return 0;
}

static bool any_is_ours(const uint8_t *bytes, size_t len)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)bytes;

	for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
		if (sl_route_wants(h) || sl_netdev_asked(h))
			return true;
	}
	return false;
}

/* 1 when the daemon has answered, 0 when the message is the kernel's, or a negative errno. */
static int ask(struct sl_netlink_asked *asked, int fd, int protocol, const struct nlmsghdr *message)
{
	struct sl_netlink_list answer = { NULL };
	size_t cursor = 0, len;
	const void *data;
	int err = 0;
	bool ours;

	asked->message = message;
	ours = protocol == NETLINK_GENERIC ? sl_netdev_serve(&asked->route, message, &answer)
					   : sl_route_serve(&asked->route, message, &answer);
	while (ours && !err && sl_netlink_list_next(&answer, &cursor, &data, &len))
		err = sl_route_queue_add(fd, data, len);
	sl_netlink_list_done(&answer);
	return err ? err : ours;
}

static int pass_on(int fd, const struct nlmsghdr *message)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	return sendto(fd, message, message->nlmsg_len, 0, (const struct sockaddr *)&kernel,
		       sizeof(kernel)) < 0
		       ? -errno
		       : 0;
}

/*
 * The messages in their order. One that is alone and the kernel's the program sends itself: it may name
 * descriptors and processes.
 */
static int64_t serve(struct sl_notified *n, int fd, int protocol, const uint8_t *bytes, size_t len)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)bytes;
	bool alone = NLMSG_ALIGN(h->nlmsg_len) >= len;
	struct sl_netlink_asked asked;
	size_t left = len;

	sl_netlink_describe(&asked, n, fd);
	for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		int ret = ask(&asked, fd, protocol, h);

		if (ret == 0 && alone)
			return 0;
		if (ret == 0)
			ret = pass_on(fd, h);
		if (ret < 0)
			return ret;
	}
	return (int64_t)len;
}

/* NETLINK_ROUTE, NETLINK_GENERIC, or -1: not for us. */
static int protocol_of(int fd)
{
	int domain = 0, protocol = -1;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0 || domain != AF_NETLINK ||
		getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) != 0)
		return -1;
	return protocol == NETLINK_ROUTE || protocol == NETLINK_GENERIC ? protocol : -1;
}

/* What the call is answered with; 0: the program sends it itself. */
static int64_t handle_bytes(struct sl_notified *n, const struct message *m)
{
	size_t len = total(m);
	uint8_t *bytes = calloc(1, NLMSG_ALIGN(len) + sizeof(struct nlmsghdr));
	int64_t ret = 0;
	int socket, protocol;

	if (!bytes)
		return -ENOMEM;
	if (gather(n, m, bytes) == 0 && any_is_ours(bytes, len)) {
		socket = sl_notified_take_fd(n, (int)n->data->args[0]);
		protocol = socket >= 0 ? protocol_of(socket) : -1;
		if (protocol >= 0)
			ret = serve(n, socket, protocol, bytes, len);
		if (socket >= 0)
			close(socket);
	}
	free(bytes);
	return ret;
}

static void handle_send(struct sl_notified *n, const struct message *m)
{
	int64_t ret = is_request(n, m) ? handle_bytes(n, m) : 0;

	if (n->answered)
		return;
	if (ret)
		sl_notified_answer(n, ret);
	else
		sl_notified_continue(n);
}

void sl_handle_netlink_sendto(struct sl_notified *n)
{
	const __u64 *args = n->data->args;
	struct message m = { .name = args[4],
		.name_len = args[5],
		.one = { (void *)(uintptr_t)args[1], args[2] },
		.part_count = 1 };

	m.parts = &m.one;
	handle_send(n, &m);
}

void sl_handle_netlink_sendmsg(struct sl_notified *n)
{
	struct message m = { .part_count = 0 };
	struct msghdr head;

	if (n->space.ops->read(&n->space, &head, n->data->args[1], sizeof(head)) == 0 &&
		read_parts(n, &head, &m) == 0)
		handle_send(n, &m);
	else
		sl_notified_continue(n);
	free_parts(&m);
}

/* Into the thread's buffers: 0 or -EFAULT. */
static int scatter(struct sl_notified *n, const struct message *m, const uint8_t *bytes, size_t len)
{
	size_t done = 0;

	for (size_t i = 0; i < m->part_count && done < len; i++) {
		size_t part = MIN(m->parts[i].iov_len, len - done);

		if (n->space.ops->write(
			    &n->space, (uintptr_t)m->parts[i].iov_base, bytes + done, part) != 0)
			return -EFAULT;
		done += part;
	}
	return 0;
}

/* What of the daemon's is next for the socket, if that is: the thread's name and flags are in *ret. */
static bool receive(struct sl_notified *n, const struct message *m, int flags,
	struct sockaddr_nl *ret_name, struct msghdr *ret, int64_t *ret_result)
{
	size_t room = MIN(total(m), (size_t)SEND_MAX);
	struct iovec part = { malloc(room + 1), room };
	int fd = sl_notified_take_fd(n, (int)n->data->args[0]);
	bool ours = false;
	ssize_t len = 0;

	*ret = (struct msghdr){ .msg_name = ret_name,
		.msg_namelen = sizeof(*ret_name),
		.msg_iov = &part,
		.msg_iovlen = 1 };
	if (fd >= 0 && part.iov_base && protocol_of(fd) >= 0)
		ours = sl_route_queue_receive(fd, ret, flags | MSG_DONTWAIT, &len);
	*ret_result = len;
	if (ours && len >= 0 && scatter(n, m, part.iov_base, MIN((size_t)len, room)) != 0)
		*ret_result = -EFAULT;
	if (fd >= 0)
		close(fd);
	free(part.iov_base);
	return ours;
}

/* As much of the sender's address as there is room for. */
static int write_name(
	struct sl_notified *n, uint64_t at, uint64_t room, const struct sockaddr_nl *name)
{
	return n->space.ops->write(&n->space, at, name, MIN(room, sizeof(*name)));
}

void sl_handle_netlink_recvfrom(struct sl_notified *n)
{
	const __u64 *args = n->data->args;
	struct message m = { .one = { (void *)(uintptr_t)args[1], args[2] }, .part_count = 1 };
	struct sockaddr_nl name;
	struct msghdr msg;
	uint32_t len;
	int64_t ret;

	m.parts = &m.one;
	if (!sl_route_queue_is_used() || !receive(n, &m, (int)args[3], &name, &msg, &ret)) {
		sl_notified_continue(n);
		return;
	}
	if (ret >= 0 && args[4]) {
		if (n->space.ops->read(&n->space, &len, args[5], sizeof(len)) != 0 ||
			write_name(n, args[4], len, &name) != 0 ||
			n->space.ops->write(
				&n->space, args[5], &msg.msg_namelen, sizeof(msg.msg_namelen)) != 0)
			ret = -EFAULT;
	}
	sl_notified_answer(n, ret);
}

void sl_handle_netlink_recvmsg(struct sl_notified *n)
{
	const __u64 *args = n->data->args;
	struct message m = { .part_count = 0 };
	struct msghdr head, msg;
	struct sockaddr_nl name;
	int64_t ret;

	if (!sl_route_queue_is_used() ||
		n->space.ops->read(&n->space, &head, args[1], sizeof(head)) != 0 ||
		read_parts(n, &head, &m) != 0 || !receive(n, &m, (int)args[2], &name, &msg, &ret)) {
		free_parts(&m);
		sl_notified_continue(n);
		return;
	}
	if (ret >= 0 && m.name && write_name(n, m.name, m.name_len, &name) != 0)
		ret = -EFAULT;
	head.msg_namelen = m.name ? msg.msg_namelen : 0;
	head.msg_controllen = 0;
	head.msg_flags = msg.msg_flags;
	if (ret >= 0 && n->space.ops->write(&n->space, args[1], &head, sizeof(head)) != 0)
		ret = -EFAULT;
	sl_notified_answer(n, ret);
	free_parts(&m);
}
