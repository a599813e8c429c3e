#pragma once

#include <linux/bpf.h>
#include <stdint.h>

#include "space.h"
#include "wire.h"

struct sl_api;

/*
 * Calls that the daemon answers, for this process or another one (`space`). They return the result
 * or a negative errno: that of the call, or what kept it from the daemon (ECONNREFUSED, ENOENT, EACCES
 * of its socket; EPROTONOSUPPORT; ECONNRESET when the daemon went meanwhile). Any thread.
 */

/* bpf(2). A result that is a descriptor is one of this process, close-on-exec. */
int64_t sl_remote_bpf(struct sl_space *space, int cmd, uint64_t attr, uint32_t size_bytes);
/* The same, for who has to know: such a descriptor is in *ret_fd, and the result 0. */
int64_t sl_remote_bpf_fd(
	struct sl_space *space, int cmd, uint64_t attr, uint32_t size_bytes, int *ret_fd);

/* perf_event_open(2): a descriptor of this process, close-on-exec whatever the flags say. */
int64_t sl_remote_perf_open(
	struct sl_space *space, uint64_t attr, int pid, int cpu, int group_fd, uint64_t flags);
/* The memfd that mmap(2) on the process's `fd` is to map; -ENODEV when that is no event. */
int64_t sl_remote_perf_ring(
	struct sl_space *space, int fd, size_t len_bytes, int prot, int flags, uint64_t offset);

/* Any other call: args as its type says, the first `fd_args` of them descriptors of the process. */
struct sl_remote_call {
	enum sl_wire_type type;
	uint64_t args[SL_WIRE_ARGS];
	unsigned fd_args;
	const char *text; /* NULL: none */
	size_t text_len_bytes; /* 0: it ends with a NUL */
	const int *fds; /* of this process, to go along with the text */
	unsigned fd_count;
	/* The answer's, to be freed; and its descriptors, the caller's then. */
	char *ret_text;
	size_t ret_text_len_bytes;
	int ret_fds[SL_WIRE_FDS];
	unsigned ret_fd_count;
};
int64_t sl_remote_call(struct sl_space *space, struct sl_remote_call *call);

/* Everything of sluice/bpf.h, by the daemon: for serve.h. */
extern const struct sl_api sl_api_daemon;
