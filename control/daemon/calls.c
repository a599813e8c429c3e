#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <sluice/bpf.h>

#include "method.h"
#include "netlink_call.h"
#include "session.h"

/* The calls of the protocol, by the functions of sluice/bpf.h. */

static int64_t result_of(long ret)
{
	return ret < 0 ? -errno : ret;
}

static int64_t give_fd(int fd, struct sl_answer *ret_answer)
{
	if (fd < 0)
		return -errno;
	ret_answer->fds[ret_answer->fd_count++] = fd;
	return 0;
}

/* The commands whose result is a descriptor. */
static const bool gives_fd[] = {
	[BPF_MAP_CREATE] = true,
	[BPF_PROG_LOAD] = true,
	[BPF_OBJ_GET] = true,
	[BPF_PROG_GET_FD_BY_ID] = true,
	[BPF_MAP_GET_FD_BY_ID] = true,
	[BPF_RAW_TRACEPOINT_OPEN] = true,
	[BPF_BTF_LOAD] = true,
	[BPF_BTF_GET_FD_BY_ID] = true,
	[BPF_LINK_CREATE] = true,
	[BPF_LINK_GET_FD_BY_ID] = true,
	[BPF_ENABLE_STATS] = true,
	[BPF_ITER_CREATE] = true,
};

static int64_t call_bpf(struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	uint64_t cmd = args[0];
	long ret;

	if (cmd > INT32_MAX)
		return -EINVAL;
	ret = sluice_bpf((int)cmd, (union bpf_attr *)(uintptr_t)args[1], (unsigned)args[2]);
	if (ret >= 0 && cmd < sizeof(gives_fd) / sizeof(gives_fd[0]) && gives_fd[cmd])
		return give_fd((int)ret, ret_answer);
	return result_of(ret);
}

/* The attributes say themselves how long they are. */
static int read_attr(struct sl_session *s, uint64_t address, struct perf_event_attr **ret_attr)
{
	enum { SIZE_OFFSET = offsetof(struct perf_event_attr, size), SIZE_MAX_BYTES = 4096 };
	struct perf_event_attr *attr;
	uint32_t size;

	if (s->caller.ops->read(&s->caller, &size, address + SIZE_OFFSET, sizeof(size)) != 0)
		return -EFAULT;
	if (size == 0)
		size = PERF_ATTR_SIZE_VER0;
	if (size < PERF_ATTR_SIZE_VER0 || size > SIZE_MAX_BYTES)
		return -E2BIG;
	attr = calloc(1, size > sizeof(*attr) ? size : sizeof(*attr));
	if (!attr)
		return -ENOMEM;
	if (s->caller.ops->read(&s->caller, attr, address, size) != 0) {
		free(attr);
		return -EFAULT;
	}
	*ret_attr = attr;
	return 0;
}

static int64_t call_perf_open(
	struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	struct perf_event_attr *attr;
	int group_fd = (int)args[3];
	int64_t ret = read_attr(s, args[0], &attr);

	if (ret)
		return ret;
	if (group_fd != -1)
		group_fd = sl_caller_fd(group_fd);
	ret = group_fd < -1 ? -EBADF
			    : give_fd(sluice_perf_event_open(attr, (pid_t)args[1], (int)args[2],
					      group_fd, args[4]),
				      ret_answer);
	free(attr);
	return ret;
}

static int64_t call_perf_ring(
	struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	return give_fd(sluice_perf_ring(sl_caller_fd((int)args[0]), args[1], (int)args[2],
			       (int)args[3], (off_t)args[4]),
		ret_answer);
}

static int64_t call_perf_unmapped(
	struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	return result_of(sluice_perf_unmapped(sl_caller_fd((int)args[0])));
}

static int64_t call_perf_ioctl(
	struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	int fd = sl_caller_fd((int)args[0]);
	uint64_t value = 0;
	int64_t ret;

	/* Those whose argument is in the client. */
	switch (args[1]) {
	case PERF_EVENT_IOC_PERIOD:
		if (s->caller.ops->read(&s->caller, &value, args[2], sizeof(value)) != 0)
			return -EFAULT;
		return result_of(sluice_perf_ioctl(fd, args[1], (uintptr_t)&value));
	case PERF_EVENT_IOC_ID:
		ret = result_of(sluice_perf_ioctl(fd, args[1], (uintptr_t)&value));
		if (ret == 0)
			ret = s->caller.ops->write(&s->caller, args[2], &value, sizeof(value));
		return ret;
	case PERF_EVENT_IOC_SET_OUTPUT:
		if ((int)args[2] != -1)
			return result_of(sluice_perf_ioctl(
				fd, args[1], (unsigned)sl_caller_fd((int)args[2])));
		return result_of(sluice_perf_ioctl(fd, args[1], args[2]));
	default:
		return result_of(sluice_perf_ioctl(fd, args[1], args[2]));
	}
}

static int64_t call_ring_layout(
	struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	struct sluice_ringbuf_layout layout;

	if (sluice_ringbuf_layout((int)args[0], &layout) != 0)
		return -errno;
	return (int64_t)(layout.data_len_bytes | (layout.writable ? SL_WIRE_RING_WRITABLE : 0) |
			 (layout.user ? SL_WIRE_RING_USER : 0));
}

static int64_t call_ring_bell(
	struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	int bell = sluice_ringbuf_event_fd((int)args[0]);
	char path[32];

	/* Whether this one blocks is for the client to say, not whether ours does. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", bell);
	return give_fd(bell < 0 ? bell : open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK), ret_answer);
}

static int64_t call_ring_wait(
	struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	sluice_ringbuf_before_wait();
	return 0;
}

static int64_t call_fdinfo(struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	ret_answer->text = sluice_fdinfo((int)args[0]);
	return ret_answer->text ? 0 : -errno;
}

static const struct sl_call_row rows[SL_WIRE_CALLS_END - SL_WIRE_FIRST_CALL] = {
#define ROW(type, fn) [SL_WIRE_##type - SL_WIRE_FIRST_CALL] = { fn }
	ROW(BPF, call_bpf),
	ROW(PERF_OPEN, call_perf_open),
	ROW(PERF_RING, call_perf_ring),
	ROW(PERF_UNMAPPED, call_perf_unmapped),
	ROW(PERF_IOCTL, call_perf_ioctl),
	ROW(RING_LAYOUT, call_ring_layout),
	ROW(RING_BELL, call_ring_bell),
	ROW(RING_WAIT, call_ring_wait),
	ROW(FDINFO, call_fdinfo),
	ROW(NETLINK, sl_netlink_run),
	ROW(METHOD, sl_method_run),
#undef ROW
};

const struct sl_call_row *sl_call_find(unsigned type)
{
	unsigned index = type - SL_WIRE_FIRST_CALL;

	return index < sizeof(rows) / sizeof(rows[0]) && rows[index].run ? &rows[index] : NULL;
}
