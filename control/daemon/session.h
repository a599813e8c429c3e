#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "caller.h"
#include "wire.h"

/*
 * One client's connection, on a thread of its own. What a call points to is in the client: the caller
 * that the data plane sees asks for it over the connection, once for each descriptor, and has what
 * came along with the call at hand.
 */
enum { SL_SESSION_RANGES = 8 };

struct sl_session {
	struct sl_caller caller; /* first: the data plane hands it back */
	struct sl_wire wire;
	int err; /* of the connection, after which it ends */
	struct ucred peer;

	/* Of the call under way. */
	uint8_t *body;
	struct {
		uint64_t address, len_bytes;
		const uint8_t *bytes;
	} ranges[SL_SESSION_RANGES];
	unsigned range_count;
	struct sl_session_fd {
		int theirs, ours; /* ours negative: why there is none */
	} *fds;
	unsigned fd_count, fd_room, lent; /* counted as such */
	const char *text; /* NUL-terminated */
	size_t text_len_bytes;
	int text_fds[SL_WIRE_FDS];
	unsigned text_fd_count;
	uint8_t *writes; /* ranges with their bytes, that go with the result */
	size_t writes_len, writes_room;
	uint32_t write_count;
};

/* What a call answers besides its value. */
struct sl_answer {
	char *text; /* freed when it has been sent */
	size_t text_len_bytes; /* 0: it ends with a NUL */
	int fds[SL_WIRE_FDS]; /* closed then */
	unsigned fd_count;
};

/* Answers calls until the client goes. Takes `fd` over. */
void sl_session_run(int fd);

/* One row per call of the protocol: its value, or a negative errno. */
struct sl_call_row {
	int64_t (*run)(struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer);
};
const struct sl_call_row *sl_call_find(unsigned type);
