#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * AF_XDP sockets in user space: what linux/if_xdp.h says, with the results and errno of the kernel's
 * socket, in copy mode. A port takes the place of the interface that a socket is bound to, and of
 * the system calls that move packets: its worker looks at the rings by itself. The memory of the
 * packets belongs to the caller and stays mapped until the socket has been closed.
 *
 * All functions may be called from any thread but a worker, and return -1 and set errno on failure:
 * ENOTSOCK or EBADF for a descriptor that is no such socket, so that a caller can go on to the kernel.
 */

/* socket(AF_XDP, type, protocol). */
int sluice_xsk_socket(int type, int protocol);
/* Of SOL_XDP, and of SOL_SOCKET what tells the kind of a socket; ENOTSOCK for other levels. */
int sluice_xsk_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int sluice_xsk_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int sluice_xsk_bind(int fd, const struct sockaddr *addr, socklen_t len);
/* MAP_FAILED on failure. munmap(2) takes a mapping away. */
void *sluice_xsk_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
/* sendmsg(2) and recvmsg(2), which move no bytes: flags have to have MSG_DONTWAIT. */
int sluice_xsk_send(int fd, int flags);
int sluice_xsk_receive(int fd, int flags);

/*
 * POLLIN and POLLOUT of a socket; ends the descriptor's being readable when there is nothing to
 * read, so that a wait for it after this is one for new packets.
 */
int sluice_xsk_poll(int fd, short *ret_events);
/* The same for all sockets, before a wait whose descriptors are not known. */
void sluice_xsk_before_wait(void);
/* After close(2): the sockets that have no descriptor any more are gone when this returns. */
void sluice_xsk_after_close(void);
bool sluice_xsk_is(int fd);

#ifdef __cplusplus
}
#endif
