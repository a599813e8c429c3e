#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "real.h"
#include "serve_xsk.h"

/* As local.c, for AF_XDP sockets. */

int socket(int domain, int type, int protocol)
{
	int ret;

	if (sl_serve_socket(domain, type, protocol, &ret))
		return ret;
	return REAL(socket)(domain, type, protocol);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	int ret;

	if (sl_serve_setsockopt(fd, level, name, value, len, &ret))
		return ret;
	return REAL(setsockopt)(fd, level, name, value, len);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	int ret;

	if (sl_serve_getsockopt(fd, level, name, value, len, &ret))
		return ret;
	return REAL(getsockopt)(fd, level, name, value, len);
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	int ret;

	return sl_serve_bind(fd, addr, len, &ret) ? ret : REAL(bind)(fd, addr, len);
}

ssize_t sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len)
{
	ssize_t ret;

	if (sl_serve_send(fd, flags, &ret))
		return ret;
	return REAL(sendto)(fd, bytes, len, flags, to, to_len);
}

ssize_t recvfrom(
	int fd, void *bytes, size_t len, int flags, struct sockaddr *from, socklen_t *from_len)
{
	ssize_t ret;

	if (sl_serve_receive(fd, flags, &ret))
		return ret;
	return REAL(recvfrom)(fd, bytes, len, flags, from, from_len);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t ret;

	return sl_serve_send(fd, flags, &ret) ? ret : REAL(sendmsg)(fd, msg, flags);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t ret;

	return sl_serve_receive(fd, flags, &ret) ? ret : REAL(recvmsg)(fd, msg, flags);
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	int ret;

	if (sl_serve_poll_ms(fds, count, timeout_ms, &ret))
		return ret;
	return REAL(poll)(fds, count, timeout_ms);
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	int ret;

	if (sl_serve_poll(fds, count, timeout, mask, &ret))
		return ret;
	return REAL(ppoll)(fds, count, timeout, mask);
}

int close(int fd)
{
	bool ours = sl_serve_closes(fd);
	int ret = REAL(close)(fd);

	if (ours && ret == 0)
		sl_serve_closed();
	return ret;
}

/* The names that programs compiled with _FORTIFY_SOURCE know them by. */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t size);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
	const sigset_t *mask, size_t size);
ssize_t __recvfrom_chk(int fd, void *bytes, size_t len, size_t size, int flags,
	struct sockaddr *from, socklen_t *from_len);

int __poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t size)
{
	int ret;

	if (sl_serve_poll_ms(fds, count, timeout_ms, &ret))
		return ret;
	return REAL(__poll_chk)(fds, count, timeout_ms, size);
}

int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
	const sigset_t *mask, size_t size)
{
	int ret;

	if (sl_serve_poll(fds, count, timeout, mask, &ret))
		return ret;
	return REAL(__ppoll_chk)(fds, count, timeout, mask, size);
}

ssize_t __recvfrom_chk(int fd, void *bytes, size_t len, size_t size, int flags,
	struct sockaddr *from, socklen_t *from_len)
{
	ssize_t ret;

	if (sl_serve_receive(fd, flags, &ret))
		return ret;
	return REAL(__recvfrom_chk)(fd, bytes, len, size, flags, from, from_len);
}
