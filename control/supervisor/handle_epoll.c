#include "handlers.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "remote.h"

/*
 * A RINGBUF has a bell, an eventfd, that is waited for in its place. An epoll set is a file, and may be
 * changed by who has a descriptor of it: the supervisor puts the bell in, with what the program wants
 * to be told. The set knows its members by the number that they have in the process that put them in,
 * which is ours: so each map has one bell here, as long as there is the map.
 */
struct bell {
	struct bell *next;
	dev_t dev; /* of the map */
	ino_t ino;
	int fd;
	uint32_t id; /* the map's */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct bell *bells;
static unsigned bell_count, sweep_at = 64;

static uint32_t map_id(struct sl_notified *n, int fd)
{
	struct bpf_map_info info = { 0 };
	union bpf_attr attr = { .info = { .info_len = sizeof(info), .info = (uintptr_t)&info } };
	int taken = sl_notified_take_fd(n, fd);

	if (taken < 0)
		return 0;
	attr.info.bpf_fd = (uint32_t)taken;
	sl_remote_bpf(&sl_space_self, BPF_OBJ_GET_INFO_BY_FD, (uintptr_t)&attr, sizeof(attr.info));
	close(taken);
	return info.id;
}

static bool is_gone(uint32_t id)
{
	union bpf_attr attr = { .map_id = id };
	int64_t fd =
		sl_remote_bpf(&sl_space_self, BPF_MAP_GET_FD_BY_ID, (uintptr_t)&attr, sizeof(attr));

	if (fd >= 0)
		close((int)fd);
	return fd == -ENOENT;
}

/* With the lock held: those of maps that are no more. */
static void sweep(void)
{
	struct bell **at = &bells;

	while (*at) {
		struct bell *bell = *at;

		if (!is_gone(bell->id)) {
			at = &bell->next;
			continue;
		}
		*at = bell->next;
		close(bell->fd);
		free(bell);
		bell_count--;
	}
	sweep_at = 2 * bell_count < 64 ? 64 : 2 * bell_count;
}

/* With the lock held. */
static int new_bell(struct sl_notified *n, int fd, const struct stat *st)
{
	struct sl_remote_call call = {
		.type = SL_WIRE_RING_BELL, .args = { (uint64_t)fd }, .fd_args = 1
	};
	struct bell *bell;
	int64_t ret;

	if (bell_count >= sweep_at)
		sweep();
	bell = malloc(sizeof(*bell));
	if (!bell)
		return -ENOMEM;
	ret = sl_remote_call(&n->space, &call);
	if (ret >= 0 && call.ret_fd_count != 1)
		ret = -EPROTO;
	if (ret < 0) {
		free(bell);
		return (int)ret;
	}
	*bell = (struct bell){ .next = bells,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.fd = call.ret_fds[0],
		.id = map_id(n, fd) };
	bells = bell;
	bell_count++;
	return bell->fd;
}

/* The bell of the map behind the thread's `fd`; -ENODEV when that is no ring. */
static int find_bell(struct sl_notified *n, int fd)
{
	const struct bell *bell;
	struct stat st;
	int ret;

	if (!sl_notified_fd_is(n, fd, SL_FD_MAP) || !sl_notified_fd_stat(n, fd, &st))
		return -ENODEV;
	pthread_mutex_lock(&lock);
	for (bell = bells; bell && (bell->ino != st.st_ino || bell->dev != st.st_dev);)
		bell = bell->next;
	ret = bell ? bell->fd : new_bell(n, fd, &st);
	pthread_mutex_unlock(&lock);
	return ret;
}

void sl_handle_epoll_ctl(struct sl_notified *n)
{
	const __u64 *args = n->data->args;
	int bell = find_bell(n, (int)args[2]), op = (int)args[1], set;
	struct epoll_event event = { 0 };

	if (bell == -ENODEV) {
		sl_notified_continue(n);
		return;
	}
	set = bell < 0 ? bell : sl_notified_take_fd(n, (int)args[0]);
	if (set < 0) {
		sl_notified_answer(n, set);
		return;
	}
	if (op != EPOLL_CTL_DEL &&
		n->space.ops->read(&n->space, &event, args[3], sizeof(event)) != 0)
		sl_notified_answer(n, -EFAULT);
	else
		sl_notified_answer(n, epoll_ctl(set, op, bell, &event) == 0 ? 0 : -errno);
	close(set);
}
