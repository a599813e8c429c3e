#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "prefetch.h"

/* A call under way: what the daemon asks meanwhile is answered from the space. */
struct exchange {
	struct sl_connection *connection;
	struct sl_space *space;
	struct sl_remote_call *call;
	struct sl_prefetch prefetch;
	int64_t value; /* the result */
	bool write_failed;
};

enum { ATTR_MAX = 4096, PIECE = 65536 };

/* Memory of the process that goes along with the call. */
struct baggage {
	struct sl_wire_range ranges[SL_PREFETCH_RANGES];
	struct iovec parts[2 * SL_PREFETCH_RANGES];
	unsigned part_count;
	uint8_t *bytes;
};

static int pack(struct exchange *x, struct baggage *bag, struct sl_wire_call *head)
{
	const struct sl_prefetch *p = &x->prefetch;
	size_t len = 0, done = 0;

	for (unsigned i = 0; i < p->range_count; i++)
		len += p->ranges[i].len_bytes;
	bag->bytes = len ? malloc(len) : NULL;
	if (len && !bag->bytes)
		return -ENOMEM;
	for (unsigned i = 0; i < p->range_count; i++) {
		struct sl_wire_range *range = &bag->ranges[head->range_count];

		/* What cannot be read is not sent, and is an error when it is asked for. */
		if (x->space->ops->read(x->space, bag->bytes + done, p->ranges[i].address,
			    p->ranges[i].len_bytes) != 0)
			continue;
		*range = (struct sl_wire_range){ p->ranges[i].address, p->ranges[i].len_bytes };
		bag->parts[bag->part_count++] = (struct iovec){ range, sizeof(*range) };
		bag->parts[bag->part_count++] =
			(struct iovec){ bag->bytes + done, range->len_bytes };
		done += range->len_bytes;
		head->range_count++;
	}
	return 0;
}

/* Sends the call with the descriptors that `fds` are in the process, and those of the call. */
static int send_call(struct exchange *x)
{
	struct sl_remote_call *call = x->call;
	struct sl_wire_call head = { 0 };
	struct iovec parts[2 + 2 * SL_PREFETCH_RANGES];
	int taken[SL_WIRE_FDS];
	unsigned taken_count = 0, part_count = 1, borrowed;
	struct baggage bag = { .part_count = 0 };
	int err = pack(x, &bag, &head);

	if (err)
		return err;
	memcpy(head.args, call->args, sizeof(head.args));
	head.has_actor = x->space->actor != NULL;
	if (x->space->actor)
		head.actor = *x->space->actor;
	for (unsigned i = 0; i < x->prefetch.fd_count; i++) {
		int fd = x->space->ops->take(x->space, x->prefetch.fds[i]);

		if (fd < 0)
			continue;
		head.numbers[taken_count] = x->prefetch.fds[i];
		taken[taken_count++] = fd;
	}
	borrowed = head.number_count = taken_count;
	for (unsigned i = 0; i < call->fd_count && taken_count < SL_WIRE_FDS; i++)
		taken[taken_count++] = call->fds[i];
	head.text_len_bytes = (uint32_t)call->text_len_bytes;
	if (call->text && !head.text_len_bytes)
		head.text_len_bytes = (uint32_t)strlen(call->text);
	parts[0] = (struct iovec){ &head, sizeof(head) };
	for (unsigned i = 0; i < bag.part_count; i++)
		parts[part_count++] = bag.parts[i];
	if (call->text)
		parts[part_count++] = (struct iovec){ (void *)call->text, head.text_len_bytes };
	err = sl_wire_send(&x->connection->wire, call->type, parts, part_count, taken, taken_count);
	for (unsigned i = 0; i < borrowed; i++)
		x->space->ops->drop(x->space, taken[i]);
	free(bag.bytes);
	return err;
}

static int answer_read(struct exchange *x)
{
	struct sl_wire *wire = &x->connection->wire;
	struct sl_wire_range range;
	struct iovec parts[2];
	int64_t status;
	uint8_t *bytes;
	int err = sl_wire_read(wire, &range, sizeof(range));

	if (err)
		return err;
	bytes = range.len_bytes < SIZE_MAX / 2 ? malloc(range.len_bytes + 1) : NULL;
	status = bytes ? x->space->ops->read(x->space, bytes, range.address, range.len_bytes)
		       : -ENOMEM;
	parts[0] = (struct iovec){ &status, sizeof(status) };
	parts[1] = (struct iovec){ bytes, status ? 0 : range.len_bytes };
	err = sl_wire_send(wire, SL_WIRE_DATA, parts, 2, NULL, 0);
	free(bytes);
	return err;
}

/* A range and its bytes, into the process's memory. */
static int accept_write(struct exchange *x)
{
	struct sl_wire *wire = &x->connection->wire;
	struct sl_wire_range range;
	uint8_t small[512], *bytes = small;
	uint64_t piece = PIECE;
	int err = sl_wire_read(wire, &range, sizeof(range));

	if (err)
		return err;
	if (range.len_bytes <= sizeof(small))
		piece = sizeof(small);
	else
		bytes = malloc(piece);
	if (!bytes)
		return -ENOMEM;
	for (uint64_t done = 0; !err && done < range.len_bytes;) {
		uint64_t part = range.len_bytes - done < piece ? range.len_bytes - done : piece;

		err = sl_wire_read(wire, bytes, part);
		if (!err && x->space->ops->write(x->space, range.address + done, bytes, part) != 0)
			x->write_failed = true;
		done += part;
	}
	if (bytes != small)
		free(bytes);
	return err;
}

static int answer_take(struct exchange *x)
{
	struct sl_wire *wire = &x->connection->wire;
	int64_t number, status = 0;
	struct iovec part = { &status, sizeof(status) };
	int taken, err = sl_wire_read(wire, &number, sizeof(number));

	if (err)
		return err;
	taken = number >= 0 && number <= INT_MAX ? x->space->ops->take(x->space, (int)number)
						 : -EBADF;
	status = taken < 0 ? taken : 0;
	err = sl_wire_send(wire, SL_WIRE_TAKEN, &part, 1, &taken, taken >= 0);
	if (taken >= 0)
		x->space->ops->drop(x->space, taken);
	return err;
}

static int accept_result(struct exchange *x, const struct sl_wire_frame *frame)
{
	struct sl_wire *wire = &x->connection->wire;
	struct sl_wire_result result;
	int err = sl_wire_read(wire, &result, sizeof(result));

	for (uint32_t i = 0; !err && i < result.write_count; i++)
		err = accept_write(x);
	if (!err && result.text_len_bytes > SL_WIRE_TEXT_MAX)
		err = -EPROTO;
	if (!err && result.text_len_bytes) {
		char *text = malloc(result.text_len_bytes + 1);

		err = text ? sl_wire_read(wire, text, result.text_len_bytes) : -ENOMEM;
		if (text)
			text[result.text_len_bytes] = '\0';
		x->call->ret_text = text;
		x->call->ret_text_len_bytes = result.text_len_bytes;
	}
	for (unsigned i = 0; !err && i < frame->fd_count; i++) {
		int fd = sl_wire_take_fd(wire);

		if (fd < 0)
			err = fd;
		else if (x->call->ret_fd_count < SL_WIRE_FDS)
			x->call->ret_fds[x->call->ret_fd_count++] = fd;
		else
			close(fd);
	}
	x->value = result.value;
	return err;
}

/* Until the result is there. */
static int attend(struct exchange *x)
{
	for (;;) {
		struct sl_wire_frame frame;
		int err = sl_wire_receive(&x->connection->wire, &frame);

		if (err)
			return err;
		switch (frame.type) {
		case SL_WIRE_READ:
			err = answer_read(x);
			break;
		case SL_WIRE_WRITE:
			err = accept_write(x);
			break;
		case SL_WIRE_TAKE:
			err = answer_take(x);
			break;
		case SL_WIRE_RESULT:
			return accept_result(x, &frame);
		default:
			err = -EPROTO;
		}
		if (err)
			return err;
	}
}

static void drop_answer(struct sl_remote_call *call)
{
	for (unsigned i = 0; i < call->ret_fd_count; i++)
		close(call->ret_fds[i]);
	call->ret_fd_count = 0;
	free(call->ret_text);
	call->ret_text = NULL;
}

/* Whether the daemon had gone before it could have got the call: another may be there. */
static bool is_stale(const struct exchange *x, int err)
{
	return err == -ECONNRESET && x->connection->used;
}

static int begin(struct exchange *x)
{
	bool again;
	int err;

	do {
		x->connection = sl_connection_get();
		if (!x->connection)
			return -errno;
		err = send_call(x);
		again = is_stale(x, err);
		if (err)
			sl_connection_put(x->connection, true);
	} while (again);
	return err;
}

static int64_t run(struct exchange *x)
{
	int err;

	x->call->ret_text = NULL;
	x->call->ret_text_len_bytes = 0;
	x->call->ret_fd_count = 0;
	err = begin(x);
	if (err)
		return err;
	err = attend(x);
	sl_connection_put(x->connection, err != 0);
	if (!err && x->write_failed)
		err = -EFAULT;
	if (err)
		drop_answer(x->call);
	return err ? err : x->value;
}

int64_t sl_remote_call(struct sl_space *space, struct sl_remote_call *call)
{
	struct exchange x = { .space = space, .call = call };

	for (unsigned i = 0; i < call->fd_args && i < SL_PREFETCH_FDS; i++)
		x.prefetch.fds[x.prefetch.fd_count++] = (int)call->args[i];
	return run(&x);
}

/* The one descriptor of the answer is the result. */
static int64_t result_fd(struct sl_remote_call *call, int64_t value)
{
	int fd;

	if (value < 0 || call->ret_fd_count == 0)
		return value;
	fd = call->ret_fds[0];
	call->ret_fds[0] = call->ret_fds[--call->ret_fd_count];
	drop_answer(call);
	return fd;
}

int64_t sl_remote_bpf_fd(struct sl_space *space, int cmd, uint64_t attr, uint32_t size, int *ret_fd)
{
	struct sl_remote_call call = { .type = SL_WIRE_BPF,
		.args = { (uint64_t)(int64_t)cmd, attr, size } };
	struct exchange x = { .space = space, .call = &call };
	union {
		union bpf_attr attr;
		uint8_t bytes[ATTR_MAX];
	} copy;
	int64_t ret;

	memset(&copy.attr, 0, sizeof(copy.attr));
	if (size <= sizeof(copy) && space->ops->read(space, &copy, attr, size) == 0) {
		sl_prefetch_plan(cmd, &copy.attr, &x.prefetch);
		x.prefetch.ranges[x.prefetch.range_count].address = attr;
		x.prefetch.ranges[x.prefetch.range_count++].len_bytes = size;
	}
	ret = run(&x);
	if (ret >= 0 && call.ret_fd_count > 0) {
		*ret_fd = (int)result_fd(&call, ret);
		ret = 0;
	}
	return ret;
}

int64_t sl_remote_bpf(struct sl_space *space, int cmd, uint64_t attr, uint32_t size)
{
	int fd = -1;
	int64_t ret = sl_remote_bpf_fd(space, cmd, attr, size, &fd);

	return fd >= 0 ? fd : ret;
}

int64_t sl_remote_perf_open(
	struct sl_space *space, uint64_t attr, int pid, int cpu, int group_fd, uint64_t flags)
{
	struct sl_remote_call call = { .type = SL_WIRE_PERF_OPEN,
		.args = { attr, (uint64_t)(int64_t)pid, (uint64_t)(int64_t)cpu,
			(uint64_t)(int64_t)group_fd, flags } };

	return result_fd(&call, sl_remote_call(space, &call));
}

int64_t sl_remote_perf_ring(
	struct sl_space *space, int fd, size_t len, int prot, int flags, uint64_t offset)
{
	struct sl_remote_call call = { .type = SL_WIRE_PERF_RING,
		.args = { (uint64_t)(int64_t)fd, len, (uint64_t)prot, (uint64_t)flags, offset },
		.fd_args = 1 };

	return result_fd(&call, sl_remote_call(space, &call));
}
