#include "serve.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "api.h"

/*
 * How deep this thread is in our own code. The background thread never is, which is harmless: of
 * the calls below it makes mmap() and munmap() only, outside of the locks that serving them takes.
 */
__thread unsigned sl_serve_inside;

/* Until the program has opened an event, its mappings are none of our business. */
static bool have_events;

static bool serve_events(void)
{
	return !sl_serve_inside && __atomic_load_n(&have_events, __ATOMIC_RELAXED);
}

static bool serve_perf_event_open(const long *args, long *ret_result)
{
	int saved = errno;
	long ret;

	sl_serve_inside++;
	ret = sl_serve_api()->perf_event_open(
		(const struct perf_event_attr *)args[0], args[1], args[2], args[3], args[4]);
	sl_serve_inside--;
	if (ret < 0 && errno == ENOENT) {
		errno = saved;
		return false;
	}
	if (ret >= 0) {
		__atomic_store_n(&have_events, true, __ATOMIC_RELAXED);
		errno = saved;
	}
	*ret_result = ret;
	return true;
}

bool sl_serve_syscall(long nr, const long args[6], long *ret_result)
{
	int saved = errno;

	if (sl_serve_inside)
		return false;
	if (nr == SYS_perf_event_open)
		return serve_perf_event_open(args, ret_result);
	if (nr != SYS_bpf)
		return false;
	sl_serve_inside++;
	*ret_result = sl_serve_api()->bpf(args[0], (union bpf_attr *)args[1], args[2]);
	sl_serve_inside--;
	if (*ret_result >= 0)
		errno = saved;
	return true;
}

bool sl_serve_mmap(
	void *addr, size_t len, int prot, int flags, int fd, off_t offset, void **ret_result)
{
	const struct sl_api *api = sl_serve_api();
	int saved = errno;
	void *mapped;

	if (fd < 0 || sl_serve_inside)
		return false;
	sl_serve_inside++;
	mapped = api->ringbuf_mmap(addr, len, prot, flags, fd, offset);
	if (mapped == MAP_FAILED && (errno == ENODEV || errno == EBADF) &&
		__atomic_load_n(&have_events, __ATOMIC_RELAXED))
		mapped = api->perf_mmap(addr, len, prot, flags, fd, offset);
	if (mapped == MAP_FAILED && (errno == ENODEV || errno == EBADF) && api->xsk_mmap) {
		mapped = api->xsk_mmap(addr, len, prot, flags, fd, offset);
		if (mapped == MAP_FAILED && errno == ENOTSOCK)
			errno = ENODEV;
	}
	sl_serve_inside--;
	if (mapped == MAP_FAILED && (errno == ENODEV || errno == EBADF)) {
		errno = saved;
		return false;
	}
	if (mapped != MAP_FAILED)
		errno = saved;
	*ret_result = mapped;
	return true;
}

bool sl_serve_munmap(void *addr, size_t len, int *ret_result)
{
	int saved = errno;

	if (!serve_events())
		return false;
	sl_serve_inside++;
	*ret_result = sl_serve_api()->perf_munmap(addr, len);
	sl_serve_inside--;
	if (*ret_result == 0)
		errno = saved;
	return true;
}

bool sl_serve_ioctl(int fd, unsigned long request, unsigned long arg, int *ret_result)
{
	int saved = errno, ret;

	if (_IOC_TYPE(request) != _IOC_TYPE(PERF_EVENT_IOC_ENABLE) || !serve_events())
		return false;
	sl_serve_inside++;
	ret = sl_serve_api()->perf_ioctl(fd, request, arg);
	sl_serve_inside--;
	if (ret < 0 && (errno == ENOTTY || errno == EBADF)) {
		errno = saved;
		return false;
	}
	if (ret == 0)
		errno = saved;
	*ret_result = ret;
	return true;
}

int sl_serve_epoll_fd(int fd)
{
	const struct sl_api *api = sl_serve_api();
	int saved = errno, event_fd;

	if (sl_serve_inside)
		return fd;
	sl_serve_inside++;
	event_fd = api->ringbuf_event_fd(fd);
	if (event_fd < 0 && api->xsk_watch)
		api->xsk_watch(fd);
	sl_serve_inside--;
	errno = saved;
	return event_fd < 0 ? fd : event_fd;
}

void sl_serve_before_wait(void)
{
	const struct sl_api *api = sl_serve_api();
	int saved = errno;

	if (sl_serve_inside)
		return;
	sl_serve_inside++;
	api->ringbuf_before_wait();
	sl_serve_inside--;
	if (api->xsk_before_wait)
		api->xsk_before_wait();
	errno = saved;
}
