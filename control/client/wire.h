#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * The protocol between a client and the daemon, docs/protocol.md: frames over a UNIX stream socket,
 * descriptors along with them (SCM_RIGHTS). Host byte order; both ends are on one machine.
 *
 * Both greet with HELLO. Then the client makes calls, one at a time on a connection: a frame of one
 * of the call types. The daemon answers with RESULT; before, it may ask for what the call points to
 * in the client's memory (READ, answered with DATA), hand over what is to be written there (WRITE, not
 * answered), and ask for descriptors that the call names (TAKE, answered with TAKEN). So neither
 * side has to know what a command of bpf(2) means but the one that carries it out.
 */
#define SL_WIRE_MAGIC 0x43554c53u /* "SLUC" */
#define SL_WIRE_VERSION 1u

#define SL_WIRE_SOCKET "/run/sluice/sluice.sock"
#define SL_WIRE_SOCKET_ENV "SLUICE_SOCKET"

enum sl_wire_type {
	SL_WIRE_HELLO = 1, /* both sides: struct sl_wire_hello */
	SL_WIRE_RESULT, /* daemon: struct sl_wire_result, then writes, then text */
	SL_WIRE_READ, /* daemon: struct sl_wire_range */
	SL_WIRE_DATA, /* client: int64_t 0 and the bytes, or a negative errno */
	SL_WIRE_WRITE, /* daemon: struct sl_wire_range, the bytes */
	SL_WIRE_TAKE, /* daemon: int64_t, the client's number of a descriptor */
	SL_WIRE_TAKEN, /* client: int64_t 0 and the descriptor, or a negative errno */

	/* Calls: struct sl_wire_call, then what else it says. */
	SL_WIRE_BPF = 16, /* args: cmd, address of the attributes, their size */
#define SL_WIRE_FIRST_CALL SL_WIRE_BPF
	SL_WIRE_PERF_OPEN, /* attributes' address, pid, cpu, group fd, flags: a descriptor */
	SL_WIRE_PERF_RING, /* fd, length, prot, flags, offset: the ring's memfd to be mapped */
	SL_WIRE_PERF_UNMAPPED, /* fd */
	SL_WIRE_PERF_IOCTL, /* fd, request, argument */
	SL_WIRE_RING_LAYOUT, /* fd of a map: bytes of a ring's data | flags; -ENODEV: not a ring */
	SL_WIRE_RING_BELL, /* fd of a ring: a descriptor that can be waited for */
	SL_WIRE_RING_WAIT, /* before a wait: the bells are to say how things are */
	SL_WIRE_FDINFO, /* fd: text, what /proc shows of such a descriptor */
	/*
	 * The socket's port id, flags, device and inode of the process's network namespace; text: datagrams
	 * (netlink/datagrams.h), the request and what the kernel said. A verdict (netlink/netlink.h), datagrams.
	 */
	SL_WIRE_NETLINK,
	SL_WIRE_METHOD, /* descriptors, text: {"method": name, "params": {}}; answered with text */
	SL_WIRE_CALLS_END
};

struct sl_wire_frame {
	uint32_t len_bytes; /* of what follows */
	uint16_t type;
	uint16_t fd_count; /* descriptors that come along */
};

/* Of RING_LAYOUT's result. */
#define SL_WIRE_RING_WRITABLE 1
#define SL_WIRE_RING_USER 2
#define SL_WIRE_RING_FLAGS 3

/* Of NETLINK. */
#define SL_WIRE_NETLINK_EXT_ACK 1
#define SL_WIRE_NETLINK_CAP_ACK 2
#define SL_WIRE_NETLINK_ASKED 4 /* the text has what the kernel said */

struct sl_wire_hello {
	uint32_t magic, version;
};

struct sl_wire_range {
	uint64_t address, len_bytes;
};

/*
 * What the daemon is likely to ask for may come at once: descriptors with the numbers that they have
 * in the client, and memory, each a range and its bytes. Then there is text, and the descriptors that
 * it speaks of.
 */
#define SL_WIRE_ARGS 6
#define SL_WIRE_NUMBERS 4
struct sl_wire_call {
	uint64_t args[SL_WIRE_ARGS];
	int32_t numbers[SL_WIRE_NUMBERS];
	uint32_t number_count; /* of the descriptors that come along, the first */
	uint32_t range_count;
	uint32_t text_len_bytes;
	uint32_t has_actor; /* 0 or 1: `actor` says who makes the call */
	/* Of a supervisor's call: the process that it is for. Another user's only if the peer is root. */
	struct sl_wire_actor {
		uint32_t pid, uid, gid;
		uint32_t zero;
	} actor;
};

struct sl_wire_result {
	int64_t value; /* negative: errno */
	uint32_t write_count; /* ranges with their bytes, to be written before the call returns */
	uint32_t text_len_bytes;
};

enum {
	SL_WIRE_FDS = 16, /* with one frame */
	SL_WIRE_BUFFER = 8192,
	SL_WIRE_FRAME_MAX = 1 << 20, /* bytes of a call; DATA is as long as was asked for */
	SL_WIRE_TEXT_MAX = 64 << 20, /* bytes of an answer's text */
	SL_WIRE_STALL_MS = 5000, /* how long an end waits for the other in the middle of a call */
};

/* One end of a connection; not to be used by two threads at a time. */
struct sl_wire {
	int fd;
	int wait_ms; /* that the next bytes may take, -1 for ever */
	unsigned head, tail; /* of what was received and not read yet */
	unsigned fd_count;
	int fds[2 * SL_WIRE_FDS]; /* that came along, oldest first */
	uint8_t buffer[SL_WIRE_BUFFER];
};

void sl_wire_init(struct sl_wire *wire, int fd);
/* Closes the connection and what descriptors were not taken. */
void sl_wire_done(struct sl_wire *wire);

/*
 * All of these return 0 or a negative errno, after which the connection is of no use: -ECONNRESET when
 * the other end is gone, -ETIMEDOUT when it is slow, -EPROTO when it does not keep to the protocol.
 */
int sl_wire_send(struct sl_wire *wire, enum sl_wire_type type, const struct iovec *parts,
	unsigned part_count, const int *fds, unsigned fd_count);
int sl_wire_receive(struct sl_wire *wire, struct sl_wire_frame *ret_frame);
/* The next bytes of the frame's contents; how many are left is for the caller to know. */
int sl_wire_read(struct sl_wire *wire, void *dst, size_t len_bytes);
int sl_wire_skip(struct sl_wire *wire, size_t len_bytes);
/* The next descriptor, which is the caller's then; -EPROTO when there is none. */
int sl_wire_take_fd(struct sl_wire *wire);

/* Greets; -EPROTONOSUPPORT when the other end speaks another version. */
int sl_wire_greet(struct sl_wire *wire);
