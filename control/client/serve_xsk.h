#pragma once

#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

/*
 * The calls that AF_XDP sockets take, for whatever catches a program's calls, as in serve.h: each
 * returns whether the call is Sluice's, and then in ret_result what the caller gets.
 */
bool sl_serve_socket(int domain, int type, int protocol, int *ret_result);
bool sl_serve_setsockopt(
	int fd, int level, int name, const void *value, socklen_t len, int *ret_result);
bool sl_serve_getsockopt(int fd, int level, int name, void *value, socklen_t *len, int *ret_result);
bool sl_serve_bind(int fd, const struct sockaddr *addr, socklen_t len, int *ret_result);
/* sendto(2), sendmsg(2), recvfrom(2) and recvmsg(2), whatever they say besides flags. */
bool sl_serve_send(int fd, int flags, ssize_t *ret_result);
bool sl_serve_receive(int fd, int flags, ssize_t *ret_result);
/* ppoll(2), with a NULL timeout for none. */
bool sl_serve_poll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
	const sigset_t *mask, int *ret_result);
/* poll(2). */
bool sl_serve_poll_ms(struct pollfd *fds, nfds_t count, int timeout_ms, int *ret_result);

/* Around close(2): whether fd is a socket, and then what is to be done when it has been closed. */
bool sl_serve_closes(int fd);
void sl_serve_closed(void);

/* For sl_serve_mmap: MAP_FAILED and ENOTSOCK or EBADF when fd is something else. */
void *sl_serve_xsk_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
/* fd goes into an epoll set; before a thread waits for one. */
void sl_serve_xsk_watch(int fd);
void sl_serve_xsk_before_wait(void);
