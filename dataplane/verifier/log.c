#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * The text is thought of as endless; start_pos and end_pos are what of it the buffer holds. A text
 * that outgrows the buffer continues at its beginning, so that the last part survives, which is
 * the one that says why a program was refused.
 */

#define LOG_LEVELS 0xf /* all BPF_LOG_* bits that user space may set */
#define LOG_FIXED 8
#define LOG_MAX_BYTES (UINT32_MAX >> 2)

int sl_vlog_init(struct sl_log *log, struct sl_log_buf *user)
{
	memset(log, 0, sizeof(*log));
	log->user = user;
	if (!user->buf != !user->size)
		return -EINVAL;
	if (user->buf && user->level == 0)
		return -EINVAL;
	if (user->level & ~LOG_LEVELS || user->size > LOG_MAX_BYTES)
		return -EINVAL;
	return 0;
}

/* `len` bytes that end at position `end` of the endless text, wherever that is in the buffer. */
static void put_rotating(struct sl_log_buf *user, uint64_t end, const char *text, uint32_t len)
{
	uint32_t at = (uint32_t)((end - len) % user->size);
	uint32_t before_end = sl_min(len, user->size - at);

	memcpy(user->buf + at, text, before_end);
	memcpy(user->buf, text + before_end, len - before_end);
}

static void put_fixed(struct sl_log *log, const char *text, uint32_t len)
{
	struct sl_log_buf *user = log->user;
	uint32_t kept;

	if (user->buf && log->end_pos < user->size) {
		kept = sl_min(len, user->size - (uint32_t)log->end_pos);
		memcpy(user->buf + log->end_pos, text, kept - 1);
		user->buf[log->end_pos + kept - 1] = '\0';
	}
	log->end_pos += len - 1;
}

void sl_vlog_va(struct sl_log *log, const char *fmt, va_list args)
{
	struct sl_log_buf *user = log->user;
	char text[SL_VLOG_PIECE];
	uint64_t new_end;
	uint32_t len, kept;
	int n;

	if (!user || user->level == 0)
		return;
	n = vsnprintf(text, sizeof(text), fmt, args);
	/* With the final NUL, which the next piece overwrites. */
	len = sl_min((uint32_t)n, (uint32_t)sizeof(text) - 1) + 1;
	new_end = log->end_pos + len;
	log->max_len = (uint32_t)sl_min(sl_max(new_end, (uint64_t)log->max_len), UINT32_MAX);
	if (user->level & LOG_FIXED) {
		put_fixed(log, text, len);
		return;
	}
	if (new_end - log->start_pos >= user->size)
		log->start_pos = new_end - user->size;
	log->end_pos = new_end - 1;
	if (!user->buf)
		return;
	kept = sl_min(len, user->size);
	put_rotating(user, new_end, text + len - kept, kept);
}

void sl_vlog(struct sl_log *log, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	sl_vlog_va(log, fmt, args);
	va_end(args);
}

void sl_vlog_reset(struct sl_log *log, uint64_t pos)
{
	struct sl_log_buf *user = log->user;

	if (!user || user->level == 0 || pos > log->end_pos)
		return;
	log->end_pos = pos;
	/* A position that rotated out of the buffer: nothing of use is left in it. */
	log->start_pos = sl_min(log->start_pos, log->end_pos);
	if (!user->buf)
		return;
	if (!(user->level & LOG_FIXED))
		user->buf[pos % user->size] = '\0';
	else if (pos < user->size)
		user->buf[pos] = '\0';
}

static void reverse(char *from, char *to)
{
	while (from < to) {
		char c = *from;

		*from++ = *--to;
		*to = c;
	}
}

int sl_vlog_finish(struct sl_log *log)
{
	struct sl_log_buf *user = log->user;

	if (!user || user->level == 0)
		return 0;
	if (user->buf && log->start_pos != 0) {
		uint32_t first = (uint32_t)(log->start_pos % user->size);

		/* Rotation in place: reverse both parts, then all. */
		reverse(user->buf, user->buf + first);
		reverse(user->buf + first, user->buf + user->size);
		reverse(user->buf, user->buf + user->size);
	}
	user->true_size = log->max_len;
	return user->buf && log->max_len > user->size ? -ENOSPC : 0;
}
