/* The names must be the plain ones, not the 64-bit variants that they would be renamed to. */
#undef _FILE_OFFSET_BITS

#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "real.h"
#include "serve.h"

/*
 * The preload libraries of `sluice run` answer what the program asks of bpf(2) and
 * perf_event_open(2): from the daemon, or with --local from a whole data plane without ports inside. These reach libc as syscall(); an
 * event's ring is then mapped with mmap() and controlled with ioctl(), a RINGBUF waited for with
 * epoll. A descriptor itself needs nothing: it is a real one.
 */

int ioctl(int fd, unsigned long request, ...);

long syscall(long nr, ...)
{
	long args[6], ret;
	va_list list;

	va_start(list, nr);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	if (sl_serve_syscall(nr, args, &ret))
		return ret;
	return REAL(syscall)(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *ret;

	if (sl_serve_mmap(addr, len, prot, flags, fd, offset, &ret))
		return ret;
	return REAL(mmap)(addr, len, prot, flags, fd, offset);
}

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t offset)
	__attribute__((alias("mmap")));

int munmap(void *addr, size_t len)
{
	int ret;

	return sl_serve_munmap(addr, len, &ret) ? ret : REAL(munmap)(addr, len);
}

int ioctl(int fd, unsigned long request, ...)
{
	unsigned long arg;
	va_list list;
	int ret;

	va_start(list, request);
	arg = va_arg(list, unsigned long);
	va_end(list);
	return sl_serve_ioctl(fd, request, arg, &ret) ? ret : REAL(ioctl)(fd, request, arg);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	return REAL(epoll_ctl)(epfd, op, sl_serve_epoll_fd(fd), event);
}

int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
	sl_serve_before_wait();
	return REAL(epoll_wait)(epfd, events, max, timeout_ms);
}

int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout_ms, const sigset_t *mask)
{
	sl_serve_before_wait();
	return REAL(epoll_pwait)(epfd, events, max, timeout_ms, mask);
}
