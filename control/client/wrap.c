/* The names must be the plain ones, not the 64-bit variants that they would be renamed to. */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "api.h"
#include "client.h"
#include "remote.h"
#include "serve.h"

/*
 * The linker sends every call of these names in this program here, those of libbpf and our own
 * alike, and calls of __real_NAME to the function itself.
 */
long __real_syscall(long nr, ...);
void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *addr, size_t len);
int __real_ioctl(int fd, unsigned long request, ...);
int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __real_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms);

long __wrap_syscall(long nr, ...);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *addr, size_t len);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms);

static __thread enum sl_client_target target = SL_CLIENT_IN_PROCESS;

const struct sl_api *sl_serve_api(void)
{
	return target == SL_CLIENT_DAEMON ? &sl_api_daemon : &sl_api_in_process;
}

enum sl_client_target sl_client_use(enum sl_client_target new_target)
{
	enum sl_client_target old = target;

	target = new_target;
	return old;
}

enum sl_client_target sl_client_target(void)
{
	return target;
}

/* libc's own: under `sluice run`, the next one is the preload library's. */
static long (*libc_syscall(void))(long nr, ...)
{
	static long (*cached)(long nr, ...);
	long (*fn)(long nr, ...) = __atomic_load_n(&cached, __ATOMIC_RELAXED);
	void *libc;

	if (fn)
		return fn;
	libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	fn = libc ? (long (*)(long, ...))dlsym(libc, "syscall") : NULL;
	if (!fn)
		fn = __real_syscall;
	__atomic_store_n(&cached, fn, __ATOMIC_RELAXED);
	return fn;
}

long __wrap_syscall(long nr, ...)
{
	long args[6], ret;
	va_list list;

	va_start(list, nr);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	if (target == SL_CLIENT_KERNEL)
		return libc_syscall()(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
	if (sl_serve_syscall(nr, args, &ret))
		return ret;
	return __real_syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* Whose a descriptor is shows in itself, whatever the thread's target is by now. */

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	void *ret;

	if (sl_serve_mmap(addr, len, prot, flags, fd, offset, &ret))
		return ret;
	return __real_mmap(addr, len, prot, flags, fd, offset);
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
	__attribute__((alias("__wrap_mmap")));

int __wrap_munmap(void *addr, size_t len)
{
	int ret;

	return sl_serve_munmap(addr, len, &ret) ? ret : __real_munmap(addr, len);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	unsigned long arg;
	va_list list;
	int ret;

	va_start(list, request);
	arg = va_arg(list, unsigned long);
	va_end(list);
	return sl_serve_ioctl(fd, request, arg, &ret) ? ret : __real_ioctl(fd, request, arg);
}

int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	return __real_epoll_ctl(epfd, op, sl_serve_epoll_fd(fd), event);
}

int __wrap_epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
	sl_serve_before_wait();
	return __real_epoll_wait(epfd, events, max, timeout_ms);
}
