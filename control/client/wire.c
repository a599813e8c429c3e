#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PARTS = 40 };

void sl_wire_init(struct sl_wire *wire, int fd)
{
	wire->fd = fd;
	wire->wait_ms = SL_WIRE_STALL_MS;
	wire->head = wire->tail = wire->fd_count = 0;
}

void sl_wire_done(struct sl_wire *wire)
{
	for (unsigned i = 0; i < wire->fd_count; i++)
		close(wire->fds[i]);
	wire->fd_count = 0;
	if (wire->fd >= 0)
		close(wire->fd);
	wire->fd = -1;
}

static int wait_for(const struct sl_wire *wire, short events, int wait_ms)
{
	struct pollfd pollfd = { .fd = wire->fd, .events = events };
	int n;

	do
		n = poll(&pollfd, 1, wait_ms);
	while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : n == 0 ? -ETIMEDOUT : -errno;
}

static int failure(void)
{
	return errno == EPIPE || errno == ECONNRESET ? -ECONNRESET : -errno;
}

/* Steps over what has been sent. */
static void advance(struct msghdr *msg, size_t sent)
{
	while (msg->msg_iovlen > 0 && sent >= msg->msg_iov->iov_len) {
		sent -= msg->msg_iov->iov_len;
		msg->msg_iov++;
		msg->msg_iovlen--;
	}
	if (msg->msg_iovlen > 0) {
		msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + sent;
		msg->msg_iov->iov_len -= sent;
	}
}

static int send_all(const struct sl_wire *wire, struct msghdr *msg)
{
	while (msg->msg_iovlen > 0) {
		ssize_t sent = sendmsg(wire->fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			int err = wait_for(wire, POLLOUT, SL_WIRE_STALL_MS);

			if (err)
				return err;
			continue;
		}
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return failure();
		/* They went with the first bytes. */
		msg->msg_control = NULL;
		msg->msg_controllen = 0;
		advance(msg, (size_t)sent);
	}
	return 0;
}

int sl_wire_send(struct sl_wire *wire, enum sl_wire_type type, const struct iovec *parts,
	unsigned part_count, const int *fds, unsigned fd_count)
{
	struct sl_wire_frame frame = { .type = type, .fd_count = (uint16_t)fd_count };
	char control[CMSG_SPACE(SL_WIRE_FDS * sizeof(int))] = { 0 };
	struct iovec iov[PARTS + 1] = { { &frame, sizeof(frame) } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = part_count + 1 };
	size_t len = 0;

	if (part_count > PARTS || fd_count > SL_WIRE_FDS)
		return -E2BIG;
	for (unsigned i = 0; i < part_count; i++) {
		iov[i + 1] = parts[i];
		len += parts[i].iov_len;
	}
	if (len > UINT32_MAX)
		return -E2BIG;
	frame.len_bytes = (uint32_t)len;
	if (fd_count > 0) {
		struct cmsghdr *cmsg = (struct cmsghdr *)control;

		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, fd_count * sizeof(int));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
	}
	return send_all(wire, &msg);
}

/* Keeps the descriptors of a message; -EPROTO for more than frames in the buffer can have. */
static int keep_fds(struct sl_wire *wire, struct msghdr *msg)
{
	struct cmsghdr *cmsg;
	int err = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		unsigned count = (unsigned)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
			if (wire->fd_count < sizeof(wire->fds) / sizeof(wire->fds[0])) {
				wire->fds[wire->fd_count++] = fd;
			} else {
				close(fd);
				err = -EPROTO;
			}
		}
	}
	return err;
}

/* At least one byte more, into the buffer or past it to `dst`. */
static ssize_t receive(struct sl_wire *wire, void *dst, size_t len)
{
	char control[CMSG_SPACE(2 * SL_WIRE_FDS * sizeof(int))];
	struct iovec iov[2] = { { dst, len }, { wire->buffer, sizeof(wire->buffer) } };
	struct msghdr msg = { .msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	ssize_t received;
	int err;

	for (;;) {
		received = recvmsg(
			wire->fd, &msg, MSG_CMSG_CLOEXEC | (wire->wait_ms < 0 ? 0 : MSG_DONTWAIT));
		if (received >= 0)
			break;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			return failure();
		err = wait_for(wire, POLLIN, wire->wait_ms);
		if (err)
			return err;
	}
	err = keep_fds(wire, &msg);
	if (err)
		return err;
	return received > 0 ? received : -ECONNRESET;
}

int sl_wire_read(struct sl_wire *wire, void *dst, size_t len)
{
	uint8_t *to = dst;

	while (len > 0) {
		size_t there = wire->tail - wire->head;
		ssize_t received;

		if (there > 0) {
			size_t part = there < len ? there : len;

			memcpy(to, wire->buffer + wire->head, part);
			wire->head += (unsigned)part;
			to += part;
			len -= part;
			continue;
		}
		wire->head = wire->tail = 0;
		received = receive(wire, to, len);
		if (received < 0)
			return (int)received;
		if ((size_t)received > len)
			wire->tail = (unsigned)((size_t)received - len);
		to += (size_t)received < len ? (size_t)received : len;
		len -= (size_t)received < len ? (size_t)received : len;
	}
	return 0;
}

int sl_wire_receive(struct sl_wire *wire, struct sl_wire_frame *ret_frame)
{
	return sl_wire_read(wire, ret_frame, sizeof(*ret_frame));
}

int sl_wire_skip(struct sl_wire *wire, size_t len)
{
	uint8_t waste[1024];
	int err = 0;

	while (!err && len > 0) {
		size_t part = len < sizeof(waste) ? len : sizeof(waste);

		err = sl_wire_read(wire, waste, part);
		len -= part;
	}
	return err;
}

int sl_wire_take_fd(struct sl_wire *wire)
{
	int fd;

	if (wire->fd_count == 0)
		return -EPROTO;
	fd = wire->fds[0];
	wire->fd_count--;
	memmove(wire->fds, wire->fds + 1, wire->fd_count * sizeof(int));
	return fd;
}

int sl_wire_greet(struct sl_wire *wire)
{
	struct sl_wire_hello ours = { SL_WIRE_MAGIC, SL_WIRE_VERSION }, theirs;
	struct iovec part = { &ours, sizeof(ours) };
	struct sl_wire_frame frame;
	int err = sl_wire_send(wire, SL_WIRE_HELLO, &part, 1, NULL, 0);

	if (!err)
		err = sl_wire_receive(wire, &frame);
	if (!err && (frame.type != SL_WIRE_HELLO || frame.len_bytes != sizeof(theirs)))
		err = -EPROTO;
	if (!err)
		err = sl_wire_read(wire, &theirs, sizeof(theirs));
	if (!err && theirs.magic != SL_WIRE_MAGIC)
		err = -EPROTO;
	if (!err && theirs.version != SL_WIRE_VERSION)
		err = -EPROTONOSUPPORT;
	return err;
}
