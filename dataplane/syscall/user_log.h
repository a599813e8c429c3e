#pragma once

#include "verifier.h"

struct sl_call;

/*
 * The log that a caller of BPF_PROG_LOAD or BPF_BTF_LOAD asked for. It is written in our memory and
 * copied to the caller's at the end.
 */
struct sl_user_log {
	struct sl_log_buf log;
	uint64_t address; /* the caller's buffer */
};

/* -EINVAL for a combination of level, buffer and size that the kernel refuses. */
SL_CONTROL int sl_user_log_init(
	struct sl_user_log *log, uint32_t level, uint64_t address, uint32_t size);

/*
 * Copies the log out and log_true_size to the caller's attributes at `true_size_offset`. `err` is
 * how the command ended; the result is how it ends now, -EFAULT when the log could not be written.
 */
SL_CONTROL int sl_user_log_done(
	struct sl_user_log *log, const struct sl_call *call, size_t true_size_offset, int err);

/* One line, for what is refused before the verifier sees it. */
SL_CONTROL void sl_user_log_line(struct sl_user_log *log, const char *fmt, ...) sl_printf(2, 3);
