#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session.h"
#include "wire.h"

/*
 * A libFuzzer target: what a client may send to the daemon. The input is a stream of frames: of each a
 * byte for its type, one for the number of descriptors that come along, a length and the contents. Some
 * are calls, some are answers to what the daemon is likely to ask meanwhile. The session runs in this
 * process and ends when the stream does.
 */
enum { FDS = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int devices[FDS];

__attribute__((constructor)) static void init(void)
{
	for (int i = 0; i < FDS; i++)
		devices[i] = dup(2);
}

static bool send_frame(struct sl_wire *wire, const uint8_t **data, const uint8_t *end)
{
	const uint8_t *head = *data;
	struct iovec part;
	size_t len;

	if (end - head < 4)
		return false;
	len = head[2] | (size_t)(head[3] & 3) << 8;
	if (len > (size_t)(end - head - 4))
		len = (size_t)(end - head - 4);
	part = (struct iovec){ (void *)(head + 4), len };
	*data = head + 4 + len;
	return sl_wire_send(wire, head[0] % (SL_WIRE_CALLS_END + 1), &part, 1, devices,
		       head[1] % (FDS + 1)) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct sl_wire_hello hello = { SL_WIRE_MAGIC, SL_WIRE_VERSION };
	struct iovec part = { (void *)&hello, sizeof(hello) };
	const uint8_t *end = data + len;
	struct sl_wire wire;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return 0;
	sl_wire_init(&wire, ends[0]);
	sl_wire_send(&wire, SL_WIRE_HELLO, &part, 1, NULL, 0);
	for (int i = 0; i < 32 && send_frame(&wire, &data, end); i++)
		;
	/* What the daemon says fits into the socket's buffer. */
	shutdown(ends[0], SHUT_WR);
	sl_session_run(ends[1]);
	sl_wire_done(&wire);
	return 0;
}
