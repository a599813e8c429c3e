#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The datagrams in which iproute2 passes the descriptors of maps over a UNIX socket: `tc filter ...
 * bpf ... export PATH` connects to PATH and sends them, `tc exec bpf import PATH run COMMAND` binds
 * PATH and receives them. One datagram holds all maps of an object, 64 at most.
 */
enum { SL_PASSED_MAX = 64 };

struct sl_passed_maps {
	unsigned count;
	int fds[SL_PASSED_MAX]; /* owned */
	uint32_t ids[SL_PASSED_MAX]; /* as the object's author numbered them: BPF_MAP<id> */
	char object[64]; /* the object file's name, cut off */
};

void sl_passed_maps_init(struct sl_passed_maps *maps);
void sl_passed_maps_done(struct sl_passed_maps *maps);

/*
 * Takes over the descriptor, in the place of one that had the id. -E2BIG for too many maps: the
 * descriptor then stays the caller's.
 */
int sl_passed_maps_add(struct sl_passed_maps *maps, uint32_t id, int fd);

/* A socket that is bound to the path, mode 0600. Negative errno: -EADDRINUSE when there is one. */
int sl_map_socket_bind(const char *path);

/*
 * Receives one datagram into an empty `maps`. -EAGAIN when none came in time (negative: wait for
 * ever), -EPROTO for what is none of iproute2's. Descriptors are close-on-exec.
 */
int sl_map_socket_receive(int socket_fd, int timeout_ms, struct sl_passed_maps *ret_maps);

/*
 * Sends to who has bound the path: the owner of that socket must be root or this process's user, or
 * -EPERM. -ECONNREFUSED when nobody has the socket open any more.
 */
int sl_map_socket_send(const char *path, const struct sl_passed_maps *maps);
/* Only whether it could: the same errors. */
int sl_map_socket_probe(const char *path);
