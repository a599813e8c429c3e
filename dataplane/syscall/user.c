#include "user.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "caller.h"

enum { PAGE = 4096 };

static int copy(void *here, uint64_t address, size_t len, bool write)
{
	struct iovec local = { here, len }, remote = { (void *)(uintptr_t)address, len };
	struct sl_caller *caller = sl_caller();
	ssize_t done;

	if (len == 0)
		return 0;
	if (caller)
		return write ? caller->ops->write(caller, address, here, len)
			     : caller->ops->read(caller, here, address, len);
	done = write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0)
		     : process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	if (done == (ssize_t)len)
		return 0;
	if (done >= 0 || (errno != ENOSYS && errno != EPERM))
		return -EFAULT;
	/* A sandbox forbids it: trust the address. */
	if (write)
		memcpy((void *)(uintptr_t)address, here, len);
	else
		memcpy(here, (const void *)(uintptr_t)address, len);
	return 0;
}

int sl_user_read(void *dst, uint64_t address, size_t len)
{
	return copy(dst, address, len, false);
}

int sl_user_write(uint64_t address, const void *src, size_t len)
{
	return copy((void *)(uintptr_t)src, address, len, true);
}

int sl_user_read_string(char *dst, uint64_t address, size_t size)
{
	size_t done = 0;

	/* Page by page: the string may end right before memory that is not there. */
	while (done < size - 1) {
		size_t part = sl_min(size - 1 - done, PAGE - (address + done) % PAGE);

		if (copy(dst + done, address + done, part, false))
			return -EFAULT;
		if (memchr(dst + done, '\0', part))
			return 0;
		done += part;
	}
	dst[done] = '\0';
	return 0;
}

int sl_user_read_struct(void *dst, size_t known, uint64_t address, size_t len)
{
	uint8_t tail[PAGE];
	int err;

	if (len > PAGE)
		return -E2BIG;
	memset(dst, 0, known);
	err = sl_user_read(dst, address, sl_min(len, known));
	if (err || len <= known)
		return err;
	err = sl_user_read(tail, address + known, len - known);
	for (size_t i = 0; !err && i < len - known; i++) {
		if (tail[i])
			err = -E2BIG;
	}
	return err;
}
