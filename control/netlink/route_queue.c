#include "route_queue.h"

#include <errno.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/*
 * A supervisor does not see sockets being closed: what they left is given up when there is too much.
 * Whoever receives a token without its datagram gets an acknowledgement that it does not know.
 */
enum { WAITING_MAX = 16384 };

struct datagram {
	struct datagram *next;
	uint64_t cookie; /* of the socket */
	uint32_t token; /* the sequence number of its token */
	size_t len;
	uint8_t bytes[];
};

/* What the kernel acknowledges a message with that does nothing. */
struct token {
	struct nlmsghdr head;
	int error;
	struct nlmsghdr of;
};

/* What waits, of all sockets, oldest first. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct datagram *first, **last = &first;
static unsigned count;
static uint32_t next_token = 0x736c0000; /* programs begin with 0, 1 or the time */

bool sl_route_queue_is_used(void)
{
	return __atomic_load_n(&count, __ATOMIC_RELAXED) > 0;
}

static bool get_cookie(int fd, uint64_t *ret)
{
	socklen_t len = sizeof(*ret);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret, &len) == 0;
}

static int send_token(int fd, uint32_t number)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	const struct nlmsghdr message = {
		.nlmsg_len = sizeof(message),
		.nlmsg_type = NLMSG_NOOP,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		.nlmsg_seq = number,
	};

	return sendto(fd, &message, sizeof(message), 0, (const struct sockaddr *)&kernel,
		       sizeof(kernel)) < 0
		       ? -errno
		       : 0;
}

/* With the lock held. */
static void take_out(struct datagram **at)
{
	struct datagram *d = *at;

	*at = d->next;
	if (last == &d->next)
		last = at;
	__atomic_store_n(&count, count - 1, __ATOMIC_RELAXED);
	free(d);
}

static struct datagram **find(uint64_t cookie, uint32_t token)
{
	struct datagram **at = &first;

	while (*at && ((*at)->cookie != cookie || (*at)->token != token))
		at = &(*at)->next;
	return *at ? at : NULL;
}

int sl_route_queue_add(int fd, const void *datagram, size_t len)
{
	struct datagram *d = malloc(sizeof(*d) + len);
	int err;

	if (!d)
		return -ENOMEM;
	d->next = NULL;
	d->len = len;
	memcpy(d->bytes, datagram, len);
	if (!get_cookie(fd, &d->cookie)) {
		free(d);
		return -EBADF;
	}
	/* The token may be found as soon as it has been sent. */
	pthread_mutex_lock(&lock);
	d->token = next_token++;
	err = send_token(fd, d->token);
	if (err) {
		free(d);
	} else {
		if (count == WAITING_MAX)
			take_out(&first);
		*last = d;
		last = &d->next;
		__atomic_store_n(&count, count + 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&lock);
	return err;
}

static bool is_token(const struct token *token, ssize_t len)
{
	return len == sizeof(*token) && token->head.nlmsg_type == NLMSG_ERROR &&
	       token->error == 0 && token->of.nlmsg_type == NLMSG_NOOP &&
	       token->of.nlmsg_len == sizeof(token->of);
}

/* Into the program's buffers; returns what recvmsg would. */
static ssize_t deliver(const struct datagram *d, struct msghdr *msg, int flags)
{
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	size_t done = 0;

	for (size_t i = 0; i < msg->msg_iovlen && done < d->len; i++) {
		size_t part = msg->msg_iov[i].iov_len;

		if (part > d->len - done)
			part = d->len - done;
		memcpy(msg->msg_iov[i].iov_base, d->bytes + done, part);
		done += part;
	}
	if (msg->msg_name) {
		memcpy(msg->msg_name, &kernel,
			msg->msg_namelen < sizeof(kernel) ? msg->msg_namelen : sizeof(kernel));
		msg->msg_namelen = sizeof(kernel);
	}
	msg->msg_controllen = 0;
	msg->msg_flags = done < d->len ? MSG_TRUNC : 0;
	return (ssize_t)(flags & MSG_TRUNC ? d->len : done);
}

/* With the lock held: the datagram of a token that is next in the socket, if it still is. */
static bool exchange(int fd, uint64_t cookie, struct msghdr *msg, int flags, ssize_t *ret)
{
	struct token token;
	struct datagram **at;

	if (!is_token(&token, recv(fd, &token, sizeof(token), MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT)))
		return false;
	at = find(cookie, token.of.nlmsg_seq);
	if (!at)
		return false;
	*ret = deliver(*at, msg, flags);
	if (flags & MSG_PEEK)
		return true;
	recv(fd, &token, sizeof(token), MSG_DONTWAIT);
	take_out(at);
	return true;
}

bool sl_route_queue_receive(int fd, struct msghdr *msg, int flags, ssize_t *ret_result)
{
	struct token token;
	uint64_t cookie;
	bool ours;
	ssize_t len;

	if (!sl_route_queue_is_used() || !get_cookie(fd, &cookie))
		return false;
	/* Waits without the lock. Another thread may take what is seen here. */
	len = recv(fd, &token, sizeof(token), MSG_PEEK | MSG_TRUNC | (flags & MSG_DONTWAIT));
	if (!is_token(&token, len))
		return false;
	pthread_mutex_lock(&lock);
	ours = exchange(fd, cookie, msg, flags, ret_result);
	pthread_mutex_unlock(&lock);
	return ours;
}

void sl_route_queue_forget(int fd)
{
	struct datagram **at = &first;
	uint64_t cookie;

	if (!sl_route_queue_is_used() || !get_cookie(fd, &cookie))
		return;
	pthread_mutex_lock(&lock);
	while (*at) {
		if ((*at)->cookie == cookie)
			take_out(at);
		else
			at = &(*at)->next;
	}
	pthread_mutex_unlock(&lock);
}
