#include "session.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "logging.h"

enum { WRITES_MAX = 256 << 10, FDS_MAX = 4096, LENT_PART = 4 };

/* Of callers that are not privileged, all together. */
static unsigned lent;

/* They leave the daemon most of what it may have, for others and for objects. */
static bool may_lend(unsigned count)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) != 0 || count <= limit.rlim_cur / LENT_PART;
}

static struct sl_session *session_of(struct sl_caller *caller)
{
	return (struct sl_session *)caller;
}

/* The connection is of no use any more: what the call asks for is not there. */
static int lose(struct sl_session *s, int err)
{
	s->err = err;
	return -EFAULT;
}

/* The next frame has to be `type` and begin with a status. */
static int receive_status(
	struct sl_session *s, enum sl_wire_type type, struct sl_wire_frame *ret_frame, int64_t *ret)
{
	int err = sl_wire_receive(&s->wire, ret_frame);

	if (!err && (ret_frame->type != type || ret_frame->len_bytes < sizeof(*ret)))
		err = -EPROTO;
	return err ? err : sl_wire_read(&s->wire, ret, sizeof(*ret));
}

static int ask_read(struct sl_session *s, void *dst, uint64_t address, size_t len)
{
	struct sl_wire_range range = { address, len };
	struct iovec part = { &range, sizeof(range) };
	struct sl_wire_frame frame;
	int64_t status;
	int err = sl_wire_send(&s->wire, SL_WIRE_READ, &part, 1, NULL, 0);

	if (!err)
		err = receive_status(s, SL_WIRE_DATA, &frame, &status);
	if (!err && frame.len_bytes != sizeof(status) + (status ? 0 : len))
		err = -EPROTO;
	if (!err && status == 0)
		err = sl_wire_read(&s->wire, dst, len);
	if (err)
		return lose(s, err);
	return status ? -EFAULT : 0;
}

static int caller_read(struct sl_caller *caller, void *dst, uint64_t address, size_t len)
{
	struct sl_session *s = session_of(caller);

	for (unsigned i = 0; i < s->range_count; i++) {
		uint64_t offset = address - s->ranges[i].address;

		if (address < s->ranges[i].address || offset > s->ranges[i].len_bytes ||
			len > s->ranges[i].len_bytes - offset)
			continue;
		memcpy(dst, s->ranges[i].bytes + offset, len);
		return 0;
	}
	if (s->err || len > UINT32_MAX - 64)
		return -EFAULT;
	return ask_read(s, dst, address, len);
}

static bool make_room(struct sl_session *s, size_t len)
{
	size_t room = s->writes_room ? s->writes_room : 1024;
	uint8_t *writes;

	while (room < s->writes_len + len)
		room *= 2;
	if (room == s->writes_room)
		return true;
	writes = realloc(s->writes, room);
	if (!writes)
		return false;
	s->writes = writes;
	s->writes_room = room;
	return true;
}

static int caller_write(struct sl_caller *caller, uint64_t address, const void *src, size_t len)
{
	struct sl_session *s = session_of(caller);
	struct sl_wire_range range = { address, len };
	struct iovec parts[] = { { &range, sizeof(range) }, { (void *)src, len } };
	int err;

	if (s->err || len > UINT32_MAX - 64)
		return -EFAULT;
	if (s->writes_len + sizeof(range) + len <= WRITES_MAX &&
		make_room(s, sizeof(range) + len)) {
		memcpy(s->writes + s->writes_len, &range, sizeof(range));
		memcpy(s->writes + s->writes_len + sizeof(range), src, len);
		s->writes_len += sizeof(range) + len;
		s->write_count++;
		return 0;
	}
	/* These go first, so that of two for one address the last one holds. */
	if (s->write_count) {
		size_t done = 0;

		while (done < s->writes_len) {
			memcpy(&range, s->writes + done, sizeof(range));
			parts[0].iov_base = s->writes + done;
			parts[0].iov_len = sizeof(range) + range.len_bytes;
			err = sl_wire_send(&s->wire, SL_WIRE_WRITE, parts, 1, NULL, 0);
			if (err)
				return lose(s, err);
			done += sizeof(range) + range.len_bytes;
		}
		s->writes_len = s->write_count = 0;
		range = (struct sl_wire_range){ address, len };
		parts[0] = (struct iovec){ &range, sizeof(range) };
	}
	err = sl_wire_send(&s->wire, SL_WIRE_WRITE, parts, 2, NULL, 0);
	return err ? lose(s, err) : 0;
}

static int ask_fd(struct sl_session *s, int theirs)
{
	int64_t number = theirs, status;
	struct iovec part = { &number, sizeof(number) };
	struct sl_wire_frame frame;
	int err = sl_wire_send(&s->wire, SL_WIRE_TAKE, &part, 1, NULL, 0);

	if (!err)
		err = receive_status(s, SL_WIRE_TAKEN, &frame, &status);
	if (!err && (frame.len_bytes != sizeof(status) || frame.fd_count != (status == 0)))
		err = -EPROTO;
	if (!err && status == 0)
		err = sl_wire_take_fd(&s->wire);
	if (err < 0) {
		lose(s, err);
		return -EBADF;
	}
	return status ? -EBADF : err;
}

/* Takes `ours` over. */
static int remember_fd(struct sl_session *s, int theirs, int ours)
{
	if (ours >= 0 && !s->caller.privileged) {
		s->lent++;
		if (!may_lend(__atomic_add_fetch(&lent, 1, __ATOMIC_RELAXED))) {
			close(ours);
			return -EBADF;
		}
	}
	if (s->fd_count == s->fd_room) {
		unsigned room = s->fd_room ? 2 * s->fd_room : 8;
		struct sl_session_fd *fds =
			room <= FDS_MAX ? realloc(s->fds, room * sizeof(*fds)) : NULL;

		if (!fds) {
			if (ours >= 0)
				close(ours);
			return -EBADF;
		}
		s->fds = fds;
		s->fd_room = room;
	}
	s->fds[s->fd_count++] = (struct sl_session_fd){ theirs, ours };
	return ours;
}

static int caller_fd(struct sl_caller *caller, int fd)
{
	struct sl_session *s = session_of(caller);

	for (unsigned i = 0; i < s->fd_count; i++) {
		if (s->fds[i].theirs == fd)
			return s->fds[i].ours;
	}
	if (s->err || fd < 0)
		return -EBADF;
	return remember_fd(s, fd, ask_fd(s, fd));
}

/* The client says nothing while it waits: what can come is its end. */
static bool caller_gone(struct sl_caller *caller)
{
	struct pollfd pollfd = { .fd = session_of(caller)->wire.fd, .events = POLLRDHUP };

	return session_of(caller)->err || poll(&pollfd, 1, 0) > 0;
}

static const struct sl_caller_ops caller_ops = {
	.read = caller_read, .write = caller_write, .fd = caller_fd, .gone = caller_gone
};

/* The ranges and the text of a call. */
static int unpack(struct sl_session *s, const struct sl_wire_call *head, size_t len)
{
	const uint8_t *at = s->body;

	if (head->range_count > SL_SESSION_RANGES)
		return -EPROTO;
	for (uint32_t i = 0; i < head->range_count; i++) {
		struct sl_wire_range range;

		if (len < sizeof(range))
			return -EPROTO;
		memcpy(&range, at, sizeof(range));
		at += sizeof(range);
		len -= sizeof(range);
		if (range.len_bytes > len)
			return -EPROTO;
		s->ranges[i].address = range.address;
		s->ranges[i].len_bytes = range.len_bytes;
		s->ranges[i].bytes = at;
		s->range_count = i + 1;
		at += range.len_bytes;
		len -= range.len_bytes;
	}
	if (head->text_len_bytes != len)
		return -EPROTO;
	s->text = (const char *)at;
	s->text_len_bytes = len;
	return 0;
}

static int unpack_fds(
	struct sl_session *s, const struct sl_wire_frame *frame, const struct sl_wire_call *head)
{
	if (head->number_count > SL_WIRE_NUMBERS || head->number_count > frame->fd_count ||
		frame->fd_count > SL_WIRE_FDS)
		return -EPROTO;
	for (uint32_t i = 0; i < frame->fd_count; i++) {
		int fd = sl_wire_take_fd(&s->wire);

		if (fd < 0)
			return fd;
		if (i >= head->number_count)
			s->text_fds[s->text_fd_count++] = fd;
		else
			remember_fd(s, head->numbers[i], fd);
	}
	return 0;
}

static void set_caller(struct sl_session *s, pid_t pid, uid_t uid, gid_t gid)
{
	s->caller.pid = pid;
	s->caller.uid = uid;
	s->caller.gid = gid;
	s->caller.privileged = uid == 0 || uid == geteuid();
}

/* Who the call is for: the peer, or who it says, which gives it no rights that the peer has not. */
static int set_actor(struct sl_session *s, const struct sl_wire_call *head)
{
	const struct sl_wire_actor *actor = &head->actor;

	if (head->has_actor > 1 || actor->zero)
		return -EPROTO;
	if (!head->has_actor) {
		set_caller(s, s->peer.pid, s->peer.uid, s->peer.gid);
		return 0;
	}
	if (s->peer.uid != 0 && (actor->uid != s->peer.uid || actor->gid != s->peer.gid))
		return -EPROTO;
	set_caller(s, (pid_t)actor->pid, actor->uid, actor->gid);
	return 0;
}

static int receive_call(
	struct sl_session *s, const struct sl_wire_frame *frame, struct sl_wire_call *ret_head)
{
	size_t len = frame->len_bytes - sizeof(*ret_head);
	int err;

	if (frame->len_bytes < sizeof(*ret_head) || frame->len_bytes > SL_WIRE_FRAME_MAX)
		return -EPROTO;
	err = sl_wire_read(&s->wire, ret_head, sizeof(*ret_head));
	if (err)
		return err;
	s->body = malloc(len + 1);
	if (!s->body)
		return -ENOMEM;
	s->body[len] = '\0';
	err = sl_wire_read(&s->wire, s->body, len);
	if (!err)
		err = unpack_fds(s, frame, ret_head);
	if (!err)
		err = set_actor(s, ret_head);
	return err ? err : unpack(s, ret_head, len);
}

static void finish_call(struct sl_session *s)
{
	for (unsigned i = 0; i < s->fd_count; i++) {
		if (s->fds[i].ours >= 0)
			close(s->fds[i].ours);
	}
	for (unsigned i = 0; i < s->text_fd_count; i++)
		close(s->text_fds[i]);
	__atomic_sub_fetch(&lent, s->lent, __ATOMIC_RELAXED);
	s->lent = 0;
	free(s->body);
	s->body = NULL;
	s->text = NULL;
	s->fd_count = s->text_fd_count = s->range_count = 0;
	s->writes_len = s->write_count = 0;
}

static int send_result(struct sl_session *s, int64_t value, const struct sl_answer *answer)
{
	struct sl_wire_result result = { .value = value,
		.write_count = s->write_count,
		.text_len_bytes = (uint32_t)answer->text_len_bytes };
	struct iovec parts[] = { { &result, sizeof(result) }, { s->writes, s->writes_len },
		{ answer->text, 0 } };

	if (answer->text && !result.text_len_bytes)
		result.text_len_bytes = (uint32_t)strlen(answer->text);
	parts[2].iov_len = result.text_len_bytes;
	return sl_wire_send(&s->wire, SL_WIRE_RESULT, parts, 3, answer->fds, answer->fd_count);
}

static int serve_call(struct sl_session *s, const struct sl_wire_frame *frame)
{
	const struct sl_call_row *row = sl_call_find(frame->type);
	struct sl_answer answer = { .fd_count = 0 };
	struct sl_wire_call head;
	int64_t value;
	int err = row ? receive_call(s, frame, &head) : -EPROTO;

	if (!err) {
		sl_caller_set(&s->caller);
		value = row->run(s, head.args, &answer);
		sl_caller_set(NULL);
		err = s->err ? s->err : send_result(s, value, &answer);
	}
	for (unsigned i = 0; i < answer.fd_count; i++)
		close(answer.fds[i]);
	free(answer.text);
	finish_call(s);
	return err;
}

/* Who is at the other end; the kernel says. */
static int identify(struct sl_session *s)
{
	socklen_t len = sizeof(s->peer);

	if (getsockopt(s->wire.fd, SOL_SOCKET, SO_PEERCRED, &s->peer, &len) != 0)
		return -errno;
	s->caller.ops = &caller_ops;
	set_caller(s, s->peer.pid, s->peer.uid, s->peer.gid);
	return 0;
}

void sl_session_run(int fd)
{
	struct sl_session *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	if (!s) {
		close(fd);
		return;
	}
	sl_wire_init(&s->wire, fd);
	err = identify(s);
	if (!err)
		err = sl_wire_greet(&s->wire);
	while (!err) {
		struct sl_wire_frame frame;

		/* A client may be silent between calls, not within one. */
		s->wire.wait_ms = -1;
		err = sl_wire_receive(&s->wire, &frame);
		s->wire.wait_ms = SL_WIRE_STALL_MS;
		if (!err)
			err = serve_call(s, &frame);
	}
	if (err != -ECONNRESET)
		sl_log(SL_LOG_WARN, "connection of process %d (uid %u) ended: %s", s->caller.pid,
			s->caller.uid, strerror(-err));
	sl_wire_done(&s->wire);
	free(s->fds);
	free(s->writes);
	free(s);
}
