#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * Answers of ours among those of the kernel, in their order, on the program's own netlink socket.
 *
 * For each datagram of ours the kernel is sent a message that does nothing and asks for an
 * acknowledgement. That one, the token, then waits in the socket at the datagram's place: poll,
 * epoll, time limits and whoever blocks find the socket as if the datagram were there. Whoever
 * receives looks whether what comes next is a token, and if so gets the datagram instead.
 *
 * Sockets are known by their cookies, so that copies of a descriptor (dup) are the same socket. All
 * functions may be called by any thread; `fd` is a netlink socket's.
 */

/* Whether there is anything at all: cheap, to be asked before every receive. */
bool sl_route_queue_is_used(void);

/* Puts a datagram at the end of what the socket is going to receive. 0 or a negative errno. */
int sl_route_queue_add(int fd, const void *datagram, size_t len);

/*
 * As recvmsg(2), but for sockets that have nothing of ours: then it returns false, and what the call
 * does is the kernel's. It may wait, as the flags and the socket say.
 */
bool sl_route_queue_receive(int fd, struct msghdr *msg, int flags, ssize_t *ret_result);

/* The socket is about to be closed. */
void sl_route_queue_forget(int fd);
