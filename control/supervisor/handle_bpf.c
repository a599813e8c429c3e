#include "handlers.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include "remote.h"
#include "remote_pin.h"

/* bpf(2), perf_event_open(2) and what is then asked of the events. */

/* Pins are files: they are made and opened with the caller's rights, from where it is. */
static bool pin(struct sl_notified *n, int64_t *ret_result, int *ret_fd)
{
	const __u64 *args = n->data->args;
	bool done, other = geteuid() == 0;
	char cwd[64];
	int cwd_fd;

	if (args[0] != BPF_OBJ_PIN && args[0] != BPF_OBJ_GET)
		return false;
	snprintf(cwd, sizeof(cwd), "/proc/%d/cwd", n->tid);
	cwd_fd = open(cwd, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (other) {
		setfsgid(n->actor.gid);
		setfsuid(n->actor.uid);
	}
	done = sl_remote_pin(
		&n->space, cwd_fd, (int)args[0], args[1], (uint32_t)args[2], ret_result, ret_fd);
	if (other) {
		setfsuid(geteuid());
		setfsgid(getegid());
	}
	if (cwd_fd >= 0)
		close(cwd_fd);
	return done;
}

void sl_handle_bpf(struct sl_notified *n)
{
	const __u64 *args = n->data->args;
	int fd = -1;
	int64_t ret;

	if (!pin(n, &ret, &fd))
		ret = sl_remote_bpf_fd(&n->space, (int)args[0], args[1], (uint32_t)args[2], &fd);
	if (fd < 0) {
		sl_notified_answer(n, ret);
		return;
	}
	sl_notified_give_fd(n, fd, -1, true);
	close(fd);
}

/* Every other kind of event is the kernel's. */
static bool is_bpf_output(struct sl_notified *n)
{
	struct {
		__u32 type, size;
		__u64 config;
	} begin;

	static_assert(offsetof(struct perf_event_attr, config) == 8, "the uapi's");
	return n->space.ops->read(&n->space, &begin, n->data->args[0], sizeof(begin)) == 0 &&
	       begin.type == PERF_TYPE_SOFTWARE && begin.config == PERF_COUNT_SW_BPF_OUTPUT;
}

void sl_handle_perf_event_open(struct sl_notified *n)
{
	const __u64 *args = n->data->args;
	int64_t fd;

	if (!is_bpf_output(n)) {
		sl_notified_continue(n);
		return;
	}
	fd = sl_remote_perf_open(
		&n->space, args[0], (int)args[1], (int)args[2], (int)args[3], args[4]);
	if (fd < 0) {
		sl_notified_answer(n, fd);
		return;
	}
	sl_notified_give_fd(n, (int)fd, -1, args[4] & PERF_FLAG_FD_CLOEXEC);
	close((int)fd);
}

void sl_handle_perf_ioctl(struct sl_notified *n)
{
	const __u64 *args = n->data->args;
	struct sl_remote_call call = {
		.type = SL_WIRE_PERF_IOCTL, .args = { args[0], args[1], args[2] }, .fd_args = 1
	};
	int64_t ret = -ENOTTY;

	if (sl_notified_fd_is(n, (int)args[0], SL_FD_EVENT))
		ret = sl_remote_call(&n->space, &call);
	if (ret == -ENOTTY)
		sl_notified_continue(n);
	else
		sl_notified_answer(n, ret);
}
