#include "handlers.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "calls.h"
#include "inject.h"
#include "remote.h"
#include "ringbuf_mmap.h"

/*
 * An event's descriptor is a pipe, its ring a memfd; a RINGBUF is a memfd, of which a consumer wants
 * the data twice. Neither is what the program's own mmap(2) would give it, so that is made of others,
 * in its name. An array's values are its memfd, and the kernel maps them.
 */
struct asked {
	uint64_t addr;
	size_t len;
	int prot, flags, fd;
	uint64_t offset;
};

static int64_t map(struct sl_injection *in, uint64_t addr, size_t len, int prot, int flags, int fd,
	uint64_t offset)
{
	const uint64_t args[6] = { addr, len, (uint64_t)prot,
		(uint64_t)(flags & MAP_SHARED ? flags | SL_CALL_OWN_MMAP : flags),
		(uint64_t)(int64_t)fd, offset };

	return sl_injection_call(in, SYS_mmap, args);
}

static void handle_event(struct sl_notified *n, const struct asked *asked)
{
	struct sl_injection in;
	int64_t ret = sl_remote_perf_ring(
		&n->space, asked->fd, asked->len, asked->prot, asked->flags, asked->offset);
	int ring = (int)ret, lent, err;

	if (ret == -ENODEV) {
		sl_notified_continue(n);
		return;
	}
	if (ret < 0) {
		sl_notified_answer(n, ret);
		return;
	}
	err = sl_injection_begin(&in, n, ring, &lent);
	close(ring);
	if (err) {
		sl_notified_answer(n, err);
		return;
	}
	ret = lent;
	if (lent >= 0) {
		const uint64_t fd[6] = { (uint64_t)lent };

		ret = map(&in, asked->addr, asked->len, asked->prot, asked->flags, lent, 0);
		sl_injection_call(&in, SYS_close, fd);
	}
	sl_injection_end(&in, ret);
}

static int ring_layout(struct sl_notified *n, int fd, struct sl_ringbuf_view *ret_view)
{
	struct sl_remote_call call = {
		.type = SL_WIRE_RING_LAYOUT, .args = { (uint64_t)fd }, .fd_args = 1
	};
	int64_t ret = sl_remote_call(&n->space, &call);

	if (ret < 0)
		return (int)ret;
	*ret_view = (struct sl_ringbuf_view){
		.data_len_bytes = (uint64_t)ret & ~(uint64_t)SL_WIRE_RING_FLAGS,
		.writable = ret & SL_WIRE_RING_WRITABLE,
		.user = ret & SL_WIRE_RING_USER,
	};
	return 0;
}

static int64_t map_plan(
	struct sl_injection *in, const struct asked *asked, const struct sl_ringbuf_plan *plan)
{
	/* Room for all of it first, which the parts then take. */
	int64_t at = map(in, asked->addr, plan->len_bytes, PROT_NONE,
		(asked->flags & ~MAP_TYPE) | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (unsigned i = 0; at > 0 && i < plan->part_count; i++) {
		int64_t ret = map(in, (uint64_t)at + plan->parts[i].at, plan->parts[i].len_bytes,
			asked->prot, MAP_SHARED | MAP_FIXED, asked->fd, plan->parts[i].offset);

		if (ret < 0) {
			const uint64_t args[6] = { (uint64_t)at, plan->len_bytes };

			sl_injection_call(in, SYS_munmap, args);
			return ret;
		}
	}
	return at;
}

static void handle_map(struct sl_notified *n, const struct asked *asked)
{
	struct sl_ringbuf_plan plan;
	struct sl_ringbuf_view view;
	struct sl_injection in;
	int err = ring_layout(n, asked->fd, &view);

	if (err == -ENODEV) {
		sl_notified_continue(n);
		return;
	}
	if (!err)
		err = sl_ringbuf_plan(
			&view, asked->len, asked->prot, asked->flags, (off_t)asked->offset, &plan);
	if (!err && plan.part_count == 1) {
		sl_notified_continue(n);
		return;
	}
	if (!err)
		err = sl_injection_begin(&in, n, -1, NULL);
	if (err)
		sl_notified_answer(n, err);
	else
		sl_injection_end(&in, map_plan(&in, asked, &plan));
}

void sl_handle_mmap(struct sl_notified *n)
{
	const __u64 *args = n->data->args;
	const struct asked asked = { args[0], args[1], (int)args[2], (int)args[3], (int)args[4],
		args[5] };

	if (sl_notified_fd_is(n, asked.fd, SL_FD_EVENT))
		handle_event(n, &asked);
	else if (sl_notified_fd_is(n, asked.fd, SL_FD_MAP))
		handle_map(n, &asked);
	else
		sl_notified_continue(n);
}
