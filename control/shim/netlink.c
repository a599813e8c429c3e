#include <errno.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "netdev.h"
#include "real.h"
#include "route.h"
#include "route_queue.h"
#include "serve.h"

/*
 * The program's rtnetlink sockets, and those of generic netlink. They are the kernel's; what of their
 * requests is about ports is taken out on its way (netlink/route.h, netlink/netdev.h), and its answers
 * are put among the kernel's (netlink/route_queue.h).
 */

/* ---- which descriptors may be such sockets ---- */

enum { FDS = 65536, SEND_MAX = 1 << 20 };

static uint64_t marks[FDS / 64];

static bool is_marked(int fd)
{
	return (unsigned)fd < FDS &&
	       __atomic_load_n(&marks[fd / 64], __ATOMIC_RELAXED) & UINT64_C(1) << fd % 64;
}

static void mark(int fd, bool on)
{
	if ((unsigned)fd >= FDS)
		return;
	if (on)
		__atomic_fetch_or(&marks[fd / 64], UINT64_C(1) << fd % 64, __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&marks[fd / 64], ~(UINT64_C(1) << fd % 64), __ATOMIC_RELAXED);
}

static int option(int fd, int level, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) == 0 ? value : -1;
}

static bool is_ours(int domain, int protocol)
{
	return domain == AF_NETLINK && (protocol == NETLINK_ROUTE || protocol == NETLINK_GENERIC);
}

/* A mark may be left of a descriptor that was closed in a way that we do not see. */
static bool is_route(int fd)
{
	int saved = errno;
	bool is;

	if (sl_serve_inside || !is_marked(fd))
		return false;
	is = is_ours(option(fd, SOL_SOCKET, SO_DOMAIN), option(fd, SOL_SOCKET, SO_PROTOCOL));
	if (!is)
		mark(fd, false);
	errno = saved;
	return is;
}

int socket(int domain, int type, int protocol)
{
	int fd = REAL(socket)(domain, type, protocol);

	if (fd >= 0 && !sl_serve_inside)
		mark(fd, is_ours(domain, protocol));
	return fd;
}

int dup(int fd)
{
	int copy = REAL(dup)(fd);

	if (copy >= 0)
		mark(copy, is_marked(fd));
	return copy;
}

int dup2(int fd, int copy)
{
	int ret = REAL(dup2)(fd, copy);

	if (ret >= 0)
		mark(copy, is_marked(fd));
	return ret;
}

int dup3(int fd, int copy, int flags)
{
	int ret = REAL(dup3)(fd, copy, flags);

	if (ret >= 0)
		mark(copy, is_marked(fd));
	return ret;
}

int close(int fd)
{
	int saved = errno;

	if (is_route(fd)) {
		sl_route_queue_forget(fd);
		mark(fd, false);
		errno = saved;
	}
	return REAL(close)(fd);
}

/* ---- sending ---- */

static int open_route(struct sl_route_socket *route)
{
	int fd = REAL(socket)(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	(void)route;
	return fd < 0 ? -errno : fd;
}

static void note_namespace(struct sl_route_socket *socket)
{
	struct stat st;

	if (stat("/proc/thread-self/ns/net", &st) != 0)
		return;
	socket->namespace_dev = st.st_dev;
	socket->namespace_ino = st.st_ino;
}

/* A socket without an address gets one by the first message that it sends: now, then. */
static bool describe(int fd, struct sl_route_socket *ret)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		return false;
	if (address.nl_pid == 0) {
		address = (struct sockaddr_nl){ .nl_family = AF_NETLINK };
		if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
			getsockname(fd, (struct sockaddr *)&address, &len) != 0)
			return false;
	}
	*ret = (struct sl_route_socket){
		.space = &sl_space_self,
		.portid = address.nl_pid,
		.ext_ack = option(fd, SOL_NETLINK, NETLINK_EXT_ACK) > 0,
		.cap_ack = option(fd, SOL_NETLINK, NETLINK_CAP_ACK) > 0,
		.strict = option(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK) > 0,
		.open = open_route,
	};
	note_namespace(ret);
	return true;
}

/* What is sent, in one piece, and how far the kernel has been given it. */
struct sending {
	int fd, flags;
	const struct msghdr *msg;
	uint8_t *bytes;
	size_t len, given, at;
	struct sl_route_socket socket;
	bool described, generic;
};

static bool to_kernel(const struct msghdr *msg)
{
	const struct sockaddr_nl *address = msg->msg_name;

	return !address || msg->msg_namelen < sizeof(*address) ||
	       (address->nl_pid == 0 && address->nl_groups == 0);
}

static bool gather(struct sending *s)
{
	size_t len = 0, done = 0;

	for (size_t i = 0; i < s->msg->msg_iovlen; i++)
		len += s->msg->msg_iov[i].iov_len;
	if (len < sizeof(struct nlmsghdr) || len > SEND_MAX)
		return false;
	/* The messages of a program need not be padded at the end. */
	s->bytes = calloc(1, NLMSG_ALIGN(len));
	if (!s->bytes)
		return false;
	for (size_t i = 0; i < s->msg->msg_iovlen; i++) {
		memcpy(s->bytes + done, s->msg->msg_iov[i].iov_base, s->msg->msg_iov[i].iov_len);
		done += s->msg->msg_iov[i].iov_len;
	}
	s->len = len;
	return true;
}

/* Gives the kernel what comes before s->at, in one piece: what was sent as one stays so. */
static int give(struct sending *s)
{
	struct iovec piece = { s->bytes + s->given, s->at - s->given };
	struct msghdr msg = *s->msg;

	if (!piece.iov_len)
		return 0;
	msg.msg_iov = &piece;
	msg.msg_iovlen = 1;
	if (REAL(sendmsg)(s->fd, &msg, s->flags) < 0)
		return -errno;
	s->given = s->at;
	return 0;
}

/* One message, which is not the kernel's if this returns true. */
static bool serve(struct sending *s, const struct nlmsghdr *message, int *ret_err)
{
	struct sl_netlink_list answer = { 0 };
	size_t cursor = 0, len;
	const void *data;

	if (!(s->generic ? sl_netdev_asked(message) != 0 : sl_route_wants(message)))
		return false;
	if (!s->described && !describe(s->fd, &s->socket))
		return false;
	s->described = true;
	if (!(s->generic ? sl_netdev_serve(&s->socket, message, &answer)
			 : sl_route_serve(&s->socket, message, &answer)))
		return false;
	*ret_err = give(s);
	while (!*ret_err && sl_netlink_list_next(&answer, &cursor, &data, &len))
		*ret_err = sl_route_queue_add(s->fd, data, len);
	sl_netlink_list_done(&answer);
	return true;
}

static int send_all(struct sending *s)
{
	int err = 0;

	while (!err && s->len - s->at >= sizeof(struct nlmsghdr)) {
		const struct nlmsghdr *message = (const void *)(s->bytes + s->at);
		size_t len = message->nlmsg_len;

		/* What makes no sense is the kernel's, with all that follows. */
		if (len < sizeof(*message) || len > s->len - s->at)
			break;
		len = NLMSG_ALIGN(len) < s->len - s->at ? NLMSG_ALIGN(len) : s->len - s->at;
		if (serve(s, message, &err))
			s->given = s->at + len;
		s->at += len;
	}
	if (!err) {
		s->at = s->len;
		err = give(s);
	}
	return err;
}

/* Whether a part of it is about ports; then *ret is what sendmsg returns. */
static bool send_route(int fd, const struct msghdr *msg, int flags, ssize_t *ret)
{
	struct sending s = { .fd = fd, .flags = flags, .msg = msg };
	int saved = errno, err;

	if (!is_route(fd) || !to_kernel(msg) || !gather(&s))
		return false;
	s.generic = option(fd, SOL_SOCKET, SO_PROTOCOL) == NETLINK_GENERIC;
	sl_serve_inside++;
	err = send_all(&s);
	sl_serve_inside--;
	free(s.bytes);
	errno = err ? -err : saved;
	*ret = err ? -1 : (ssize_t)s.len;
	return true;
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t ret;

	return send_route(fd, msg, flags, &ret) ? ret : REAL(sendmsg)(fd, msg, flags);
}

ssize_t sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len)
{
	struct iovec part = { (void *)bytes, len };
	const struct msghdr msg = {
		.msg_name = (void *)to, .msg_namelen = to_len, .msg_iov = &part, .msg_iovlen = 1
	};
	ssize_t ret;

	if (is_marked(fd) && send_route(fd, &msg, flags, &ret))
		return ret;
	return REAL(sendto)(fd, bytes, len, flags, to, to_len);
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	struct iovec part = { (void *)bytes, len };
	const struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t ret;

	if (is_marked(fd) && send_route(fd, &msg, flags, &ret))
		return ret;
	return REAL(send)(fd, bytes, len, flags);
}

/* ---- receiving ---- */

static bool receive_route(int fd, struct msghdr *msg, int flags, ssize_t *ret)
{
	int saved = errno;
	bool ours;

	if (!sl_route_queue_is_used() || !is_route(fd))
		return false;
	sl_serve_inside++;
	ours = sl_route_queue_receive(fd, msg, flags, ret);
	sl_serve_inside--;
	errno = saved;
	return ours;
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t ret;

	return receive_route(fd, msg, flags, &ret) ? ret : REAL(recvmsg)(fd, msg, flags);
}

/* As recvfrom(2) says it, by recvmsg. */
static bool receive_from(int fd, void *bytes, size_t len, int flags, struct sockaddr *from,
	socklen_t *from_len, ssize_t *ret)
{
	struct iovec part = { bytes, len };
	struct msghdr msg = {
		.msg_name = from,
		.msg_namelen = from && from_len ? *from_len : 0,
		.msg_iov = &part,
		.msg_iovlen = 1,
	};

	if (!receive_route(fd, &msg, flags, ret))
		return false;
	if (from && from_len)
		*from_len = msg.msg_namelen;
	return true;
}

ssize_t recvfrom(
	int fd, void *bytes, size_t len, int flags, struct sockaddr *from, socklen_t *from_len)
{
	ssize_t ret;

	if (receive_from(fd, bytes, len, flags, from, from_len, &ret))
		return ret;
	return REAL(recvfrom)(fd, bytes, len, flags, from, from_len);
}

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
	ssize_t ret;

	if (receive_from(fd, bytes, len, flags, NULL, NULL, &ret))
		return ret;
	return REAL(recv)(fd, bytes, len, flags);
}

ssize_t __recvfrom_chk(int fd, void *bytes, size_t len, size_t size, int flags,
	struct sockaddr *from, socklen_t *from_len);
ssize_t __recv_chk(int fd, void *bytes, size_t len, size_t size, int flags);

ssize_t __recvfrom_chk(int fd, void *bytes, size_t len, size_t size, int flags,
	struct sockaddr *from, socklen_t *from_len)
{
	ssize_t ret;

	if (len <= size && receive_from(fd, bytes, len, flags, from, from_len, &ret))
		return ret;
	return REAL(__recvfrom_chk)(fd, bytes, len, size, flags, from, from_len);
}

ssize_t __recv_chk(int fd, void *bytes, size_t len, size_t size, int flags)
{
	ssize_t ret;

	if (len <= size && receive_from(fd, bytes, len, flags, NULL, NULL, &ret))
		return ret;
	return REAL(__recv_chk)(fd, bytes, len, size, flags);
}

/* ---- names and numbers of ports that the kernel has no interface for ---- */

/* The list that if_nameindex() gives, in the making: as glibc's if_freenameindex() takes it apart. */
struct names {
	struct if_nameindex *all;
	size_t count;
	bool failed;
};

static void add_name(void *data, const struct sl_route_interface *interface)
{
	struct names *names = data;
	struct if_nameindex *all = reallocarray(names->all, names->count + 2, sizeof(*names->all));

	if (all) {
		names->all = all;
		all[names->count].if_index = interface->ifindex;
		all[names->count].if_name = strdup(interface->name);
	}
	if (!all || !all[names->count].if_name) {
		names->failed = true;
		return;
	}
	all[++names->count] = (struct if_nameindex){ 0 };
}

struct if_nameindex *if_nameindex(void)
{
	struct sl_route_socket socket = { .space = &sl_space_self, .open = open_route };
	struct names names = { 0 };
	int saved = errno;
	bool known = false;

	if (!sl_serve_inside) {
		sl_serve_inside++;
		note_namespace(&socket);
		known = sl_route_each(&socket, add_name, &names);
		sl_serve_inside--;
	}
	errno = saved;
	if (known && names.count && !names.failed)
		return names.all;
	while (names.count)
		free(names.all[--names.count].if_name);
	free(names.all);
	return REAL(if_nameindex)();
}

static bool find(const char *name, uint32_t ifindex, struct sl_route_interface *ret)
{
	struct sl_route_socket socket = { .space = &sl_space_self, .open = open_route };
	int saved = errno;
	bool found;

	if (sl_serve_inside)
		return false;
	sl_serve_inside++;
	note_namespace(&socket);
	found = sl_route_find(&socket, name, ifindex, ret);
	sl_serve_inside--;
	errno = saved;
	return found;
}

unsigned if_nametoindex(const char *name)
{
	unsigned ifindex = REAL(if_nametoindex)(name);
	struct sl_route_interface interface;
	int saved = errno;

	if (ifindex || !find(name, 0, &interface)) {
		errno = saved;
		return ifindex;
	}
	return interface.ifindex;
}

char *if_indextoname(unsigned ifindex, char name[IF_NAMESIZE])
{
	char *ret = REAL(if_indextoname)(ifindex, name);
	struct sl_route_interface interface;
	int saved = errno;

	if (ret || !ifindex || !find("", ifindex, &interface)) {
		errno = saved;
		return ret;
	}
	return strcpy(name, interface.name);
}
