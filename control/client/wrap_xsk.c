#include <poll.h>
#include <sys/socket.h>

#include "client.h"
#include "serve_xsk.h"

/* As in wrap.c, for AF_XDP sockets. */
int __real_socket(int domain, int type, int protocol);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __real_bind(int fd, const struct sockaddr *addr, socklen_t len);
ssize_t __real_sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len);
ssize_t __real_recvfrom(
	int fd, void *bytes, size_t len, int flags, struct sockaddr *from, socklen_t *from_len);
ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __real_ppoll(
	struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask);
int __real_close(int fd);

int __wrap_socket(int domain, int type, int protocol);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len);
ssize_t __wrap_sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len);
ssize_t __wrap_recvfrom(
	int fd, void *bytes, size_t len, int flags, struct sockaddr *from, socklen_t *from_len);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_ppoll(
	struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask);
int __wrap_close(int fd);

int __wrap_socket(int domain, int type, int protocol)
{
	int ret;

	if (sl_client_target() == SL_CLIENT_IN_PROCESS &&
		sl_serve_socket(domain, type, protocol, &ret))
		return ret;
	return __real_socket(domain, type, protocol);
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	int ret;

	if (sl_serve_setsockopt(fd, level, name, value, len, &ret))
		return ret;
	return __real_setsockopt(fd, level, name, value, len);
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	int ret;

	if (sl_serve_getsockopt(fd, level, name, value, len, &ret))
		return ret;
	return __real_getsockopt(fd, level, name, value, len);
}

int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	int ret;

	return sl_serve_bind(fd, addr, len, &ret) ? ret : __real_bind(fd, addr, len);
}

ssize_t __wrap_sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len)
{
	ssize_t ret;

	if (sl_serve_send(fd, flags, &ret))
		return ret;
	return __real_sendto(fd, bytes, len, flags, to, to_len);
}

ssize_t __wrap_recvfrom(
	int fd, void *bytes, size_t len, int flags, struct sockaddr *from, socklen_t *from_len)
{
	ssize_t ret;

	if (sl_serve_receive(fd, flags, &ret))
		return ret;
	return __real_recvfrom(fd, bytes, len, flags, from, from_len);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t ret;

	return sl_serve_send(fd, flags, &ret) ? ret : __real_sendmsg(fd, msg, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t ret;

	return sl_serve_receive(fd, flags, &ret) ? ret : __real_recvmsg(fd, msg, flags);
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	int ret;

	if (sl_serve_poll_ms(fds, count, timeout_ms, &ret))
		return ret;
	return __real_poll(fds, count, timeout_ms);
}

int __wrap_ppoll(
	struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	int ret;

	if (sl_serve_poll(fds, count, timeout, mask, &ret))
		return ret;
	return __real_ppoll(fds, count, timeout, mask);
}

int __wrap_close(int fd)
{
	bool ours = sl_serve_closes(fd);
	int ret = __real_close(fd);

	if (ours && ret == 0)
		sl_serve_closed();
	return ret;
}
