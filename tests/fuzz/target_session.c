#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session.h"
#include "wire.h"

/*
 * A libFuzzer target: what a client may send to the daemon, and what it answers. The input is a stream of
 * calls, and the client's memory at the same time: an address is an offset into it. Of each call a byte
 * for its type, one for the command of bpf(2) and what is wrong with the frame, a length, and the contents:
 * attributes, or the text. What the daemon reads is there; the descriptors that it asks for are those that
 * it has given out in the same run, and others. The session runs in this process and ends when the stream
 * does, or when an answer makes no sense.
 */
enum { DEVICES = 2, KEPT = 14, CALLS = 24, HEAD = 4, READ_MAX = 1 << 20 };

struct client {
	struct sl_wire wire;
	const uint8_t *memory;
	size_t len, at; /* of the stream, how far it has been sent */
	int fds[DEVICES + KEPT];
	unsigned fd_count;
	bool lies; /* this call: an answer is not what was asked for */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What would take the machine's memory or hours is asked for in a smaller size. */
static void tame(uint8_t cmd, size_t offset, uint8_t *bytes, size_t len)
{
	static const struct {
		uint8_t cmd;
		uint16_t at;
		uint32_t mask;
	} limits[] = {
		{ BPF_MAP_CREATE, offsetof(union bpf_attr, key_size), 0xff },
		{ BPF_MAP_CREATE, offsetof(union bpf_attr, value_size), 0xfff },
		{ BPF_MAP_CREATE, offsetof(union bpf_attr, max_entries), 0x1fff },
		{ BPF_PROG_TEST_RUN, offsetof(union bpf_attr, test.repeat), 0x3f },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		uint32_t value;

		if (limits[i].cmd != cmd || limits[i].at < offset ||
			limits[i].at + sizeof(value) > offset + len)
			continue;
		memcpy(&value, bytes + limits[i].at - offset, sizeof(value));
		value &= limits[i].mask;
		memcpy(bytes + limits[i].at - offset, &value, sizeof(value));
	}
}

/* The call under way, of which attributes may be read. */
struct call {
	uint8_t cmd;
	size_t attr, attr_len;
};

static bool answer_read(struct client *c, const struct call *call)
{
	struct sl_wire_range range;
	int64_t status = 0;
	uint8_t *bytes;
	bool ok;

	if (sl_wire_read(&c->wire, &range, sizeof(range)) != 0)
		return false;
	if (range.len_bytes > READ_MAX || c->len == 0)
		status = -EFAULT;
	bytes = calloc(1, status ? 1 : range.len_bytes + 1);
	for (uint64_t i = 0; !status && i < range.len_bytes; i++)
		bytes[i] = c->memory[(range.address + i) % c->len];
	if (!status && range.address >= call->attr && range.address < call->attr + call->attr_len)
		tame(call->cmd, range.address - call->attr, bytes, range.len_bytes);
	{
		struct iovec parts[] = { { &status, sizeof(status) },
			{ bytes, status ? 0 : range.len_bytes + c->lies } };

		ok = sl_wire_send(&c->wire, SL_WIRE_DATA, parts, 2, NULL, 0) == 0;
	}
	free(bytes);
	return ok;
}

static bool answer_take(struct client *c)
{
	int64_t number, status = 0;
	struct iovec part = { &status, sizeof(status) };

	if (sl_wire_read(&c->wire, &number, sizeof(number)) != 0)
		return false;
	if (number < 0 || number % 64 >= c->fd_count)
		status = -EBADF;
	return sl_wire_send(&c->wire, SL_WIRE_TAKEN, &part, 1, &c->fds[number % 64 % c->fd_count],
		       c->lies ? 2 : !status) == 0;
}

static bool accept_result(struct client *c, const struct sl_wire_frame *frame)
{
	if (sl_wire_skip(&c->wire, frame->len_bytes) != 0)
		return false;
	for (unsigned i = 0; i < frame->fd_count; i++) {
		int fd = sl_wire_take_fd(&c->wire);

		if (fd >= 0 && c->fd_count < DEVICES + KEPT)
			c->fds[c->fd_count++] = fd;
		else if (fd >= 0)
			close(fd);
	}
	return true;
}

/* Until the call is answered. */
static bool attend(struct client *c, const struct call *call)
{
	for (;;) {
		struct sl_wire_frame frame;
		bool ok;

		if (sl_wire_receive(&c->wire, &frame) != 0)
			return false;
		if (frame.type == SL_WIRE_RESULT)
			return accept_result(c, &frame);
		if (frame.type == SL_WIRE_READ)
			ok = answer_read(c, call);
		else if (frame.type == SL_WIRE_TAKE)
			ok = answer_take(c);
		else
			ok = sl_wire_skip(&c->wire, frame.len_bytes) == 0;
		if (!ok)
			return false;
	}
}

/* The next call of the stream; false at its end, or when the daemon has had enough. */
static bool make_call(struct client *c)
{
	const uint8_t *head = c->memory + c->at;
	struct sl_wire_call frame = { .number_count = 0 };
	struct iovec parts[] = { { &frame, sizeof(frame) }, { NULL, 0 } };
	struct call call = { 0 };
	unsigned type;
	size_t len;

	if (c->len - c->at < HEAD)
		return false;
	len = head[2] | (size_t)(head[3] & 7) << 8;
	if (len > c->len - c->at - HEAD)
		len = c->len - c->at - HEAD;
	c->at += HEAD + len;
	c->lies = head[3] == 0xff;
	/* Most of them bpf(2). */
	type = head[0] & 0x80 ? SL_WIRE_FIRST_CALL + head[0] % (SL_WIRE_CALLS_END - SL_WIRE_BPF)
			      : SL_WIRE_BPF;
	if (type == SL_WIRE_BPF) {
		call = (struct call){ head[1] % 40, (size_t)(head + HEAD - c->memory), len };
		frame.args[0] = call.cmd;
		frame.args[1] = call.attr;
		frame.args[2] = len;
	} else {
		memcpy(frame.args, head + HEAD,
			len < sizeof(frame.args) ? len : sizeof(frame.args));
	}
	if (type >= SL_WIRE_NETLINK) {
		frame.text_len_bytes = (uint32_t)len;
		parts[1] = (struct iovec){ (void *)(head + HEAD), len };
	}
	frame.has_actor = head[1] == 0xff;
	return sl_wire_send(&c->wire, type, parts, 2, c->fds, (head[1] >> 6) % DEVICES) == 0 &&
	       attend(c, &call);
}

static void *run_client(void *arg)
{
	const struct sl_wire_hello hello = { SL_WIRE_MAGIC, SL_WIRE_VERSION };
	struct iovec part = { (void *)&hello, sizeof(hello) };
	struct sl_wire_frame frame;
	struct client *c = arg;

	if (sl_wire_send(&c->wire, SL_WIRE_HELLO, &part, 1, NULL, 0) == 0 &&
		sl_wire_receive(&c->wire, &frame) == 0 &&
		sl_wire_skip(&c->wire, frame.len_bytes) == 0)
		for (int i = 0; i < CALLS && make_call(c); i++)
			;
	shutdown(c->wire.fd, SHUT_RDWR);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct client client = { .memory = data, .len = len };
	pthread_t thread;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return 0;
	sl_wire_init(&client.wire, ends[0]);
	client.fds[client.fd_count++] = dup(2);
	client.fds[client.fd_count++] = dup(ends[0]);
	if (pthread_create(&thread, NULL, run_client, &client) == 0) {
		sl_session_run(ends[1]);
		pthread_join(thread, NULL);
	}
	for (unsigned i = 0; i < client.fd_count; i++)
		close(client.fds[i]);
	sl_wire_done(&client.wire);
	return 0;
}
