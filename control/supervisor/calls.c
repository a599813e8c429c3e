#include "calls.h"

#include <assert.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "handlers.h"

/* MAP_SHARED or MAP_SHARED_VALIDATE, of a file. */
enum { SHARED_MASK = 0x0d | MAP_ANONYMOUS | SL_CALL_OWN_MMAP, SHARED = MAP_SHARED };

static_assert((MAP_SHARED_VALIDATE & SHARED_MASK) == SHARED, "the other way to say shared");
static_assert((MAP_PRIVATE & SHARED_MASK) != SHARED, "private mappings are not notified");

#define IN_WINDOW { SL_LOW(0), ~(uint32_t)(SL_CALL_WINDOW_SIZE - 1), SL_CALL_WINDOW }
#define PERF_IOC (_IOC_TYPE(PERF_EVENT_IOC_ENABLE) << _IOC_TYPESHIFT)

const struct sl_supervised sl_supervised[] = {
	{ SYS_bpf, 0, { { 0 } }, sl_handle_bpf },
	{ SYS_perf_event_open, 0, { { 0 } }, sl_handle_perf_event_open },
	{ SYS_mmap, 1, { { SL_LOW(3), SHARED_MASK, SHARED } }, sl_handle_mmap },
	{ SYS_ioctl, 1, { { SL_LOW(1), _IOC_TYPEMASK << _IOC_TYPESHIFT, PERF_IOC } },
		sl_handle_perf_ioctl },
	{ SYS_ioctl, 1, { { SL_LOW(1), ~0u, SIOCGIFINDEX } }, sl_handle_ifreq },
	{ SYS_ioctl, 1, { { SL_LOW(1), ~0u, SIOCGIFNAME } }, sl_handle_ifreq },
	{ SYS_epoll_ctl, 0, { { 0 } }, sl_handle_epoll_ctl },
	{ SYS_statfs, 0, { { 0 } }, sl_handle_statfs },
	{ SYS_fstatfs, 0, { { 0 } }, sl_handle_fstatfs },
	{ SYS_socket, 3,
		{ { SL_LOW(0), ~0u, AF_NETLINK }, { SL_LOW(2), ~0u, NETLINK_ROUTE },
			{ SL_HIGH(2), ~0u, 0 } },
		sl_handle_netlink_socket },
	{ SYS_socket, 3,
		{ { SL_LOW(0), ~0u, AF_NETLINK }, { SL_LOW(2), ~0u, NETLINK_GENERIC },
			{ SL_HIGH(2), ~0u, 0 } },
		sl_handle_netlink_socket },
	{ SYS_sendto, 1, { IN_WINDOW }, sl_handle_netlink_sendto },
	{ SYS_sendmsg, 1, { IN_WINDOW }, sl_handle_netlink_sendmsg },
	{ SYS_recvfrom, 1, { IN_WINDOW }, sl_handle_netlink_recvfrom },
	{ SYS_recvmsg, 1, { IN_WINDOW }, sl_handle_netlink_recvmsg },
};

const size_t sl_supervised_count = sizeof(sl_supervised) / sizeof(sl_supervised[0]);

static bool holds(const struct sl_call_test *test, const uint64_t *args)
{
	uint32_t half;

	memcpy(&half, (const char *)args + test->offset, sizeof(half));
	return (half & test->mask) == test->value;
}

const struct sl_supervised *sl_supervised_find(int nr, const uint64_t *args)
{
	for (size_t i = 0; i < sl_supervised_count; i++) {
		const struct sl_supervised *row = &sl_supervised[i];
		unsigned t = 0;

		if (row->nr != nr)
			continue;
		while (t < row->test_count && holds(&row->tests[t], args))
			t++;
		if (t == row->test_count)
			return row;
	}
	return NULL;
}
