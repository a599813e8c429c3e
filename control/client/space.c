#include "space.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* The kernel does the copy, so that a wrong address is an error and no crash. */
static int copy(void *here, uint64_t address, size_t len, int write)
{
	struct iovec local = { here, len }, remote = { (void *)(uintptr_t)address, len };
	ssize_t done;

	if (len == 0)
		return 0;
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

static int self_read(struct sl_space *space, void *dst, uint64_t address, size_t len)
{
	(void)space;
	return copy(dst, address, len, 0);
}

static int self_write(struct sl_space *space, uint64_t address, const void *src, size_t len)
{
	(void)space;
	return copy((void *)(uintptr_t)src, address, len, 1);
}

static int self_take(struct sl_space *space, int fd)
{
	(void)space;
	return fcntl(fd, F_GETFD) < 0 ? -EBADF : fd;
}

static void self_drop(struct sl_space *space, int taken)
{
	(void)space;
	(void)taken;
}

static const struct sl_space_ops self_ops = {
	.read = self_read, .write = self_write, .take = self_take, .drop = self_drop
};

struct sl_space sl_space_self = { .ops = &self_ops };
