#include "user_log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "command.h"
#include "user.h"

enum {
	LEVEL_MASK = 0xf, /* BPF_LOG_LEVEL1, 2, STATS, FIXED */
	SIZE_MAX_BYTES = UINT32_MAX >> 2,
};

int sl_user_log_init(struct sl_user_log *log, uint32_t level, uint64_t address, uint32_t size)
{
	*log = (struct sl_user_log){ .address = address };
	if ((address != 0) != (size != 0) || (address && !level) || (level & ~LEVEL_MASK) ||
		size > SIZE_MAX_BYTES)
		return -EINVAL;
	log->log.level = level;
	log->log.size = size;
	if (!address)
		return 0;
	/* Callers like to give megabytes of which little is used: only what is touched costs. */
	log->log.buf = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (log->log.buf != MAP_FAILED)
		return 0;
	log->log.buf = NULL;
	return -ENOMEM;
}

int sl_user_log_done(
	struct sl_user_log *log, const struct sl_call *call, size_t true_size_offset, int err)
{
	uint32_t len = sl_min(log->log.true_size, log->log.size);
	int copied = 0;

	if (log->log.buf) {
		copied = sl_user_write(log->address, log->log.buf, sl_max(len, 1u));
		munmap(log->log.buf, log->log.size);
	}
	if (sl_call_write(call, true_size_offset, &log->log.true_size, sizeof(uint32_t)))
		copied = -EFAULT;
	return copied ? copied : err;
}

void sl_user_log_line(struct sl_user_log *log, const char *fmt, ...)
{
	uint32_t at = log->log.true_size ? log->log.true_size - 1 : 0;
	uint32_t room = at < log->log.size ? log->log.size - at : 0;
	va_list args;
	int len;

	if (!log->log.level)
		return;
	va_start(args, fmt);
	len = vsnprintf(room ? log->log.buf + at : NULL, room, fmt, args);
	va_end(args);
	log->log.true_size = at + len + 1;
}
