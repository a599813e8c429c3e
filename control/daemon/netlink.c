#include "netlink.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "logging.h"
#include "netlink_call.h"
#include "request.h"

/* One rtnetlink request of a client: the call's text is the request and what the kernel said. */

static struct stat namespace;
static bool namespace_known;

static void look_at_namespace(void)
{
	namespace_known = stat("/proc/self/ns/net", &namespace) == 0;
}

/* Twins are in the network namespace of the daemon. */
static bool is_our_namespace(uint64_t dev, uint64_t ino)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, look_at_namespace);
	return !namespace_known || (namespace.st_dev == dev && namespace.st_ino == ino);
}

/* The request as the service wants it, in memory of its own; NULL when it makes no sense. */
static struct nlmsghdr *copy_request(const struct sl_netlink_list *text, size_t *cursor)
{
	struct nlmsghdr *request;
	const void *data;
	size_t len;

	if (!sl_netlink_list_next(text, cursor, &data, &len) || len < sizeof(*request))
		return NULL;
	request = calloc(1, NLMSG_ALIGN(len));
	if (!request)
		return NULL;
	memcpy(request, data, len);
	if (request->nlmsg_len == len)
		return request;
	free(request);
	return NULL;
}

/*
 * The client is asked for the descriptors now: later it would be waited for with locks held. One that
 * names more than a request can need is up to something.
 */
static int fetch_fds(const struct nlmsghdr *request)
{
	int fds[SL_NETLINK_FDS];
	unsigned count = sl_netlink_fds(request, fds);

	if (count == SL_NETLINK_FDS)
		return -E2BIG;
	for (unsigned i = 0; i < count; i++)
		sl_caller_fd(fds[i]);
	return 0;
}

int64_t sl_netlink_run(struct sl_session *s, const uint64_t *args, struct sl_answer *ret_answer)
{
	const struct sl_netlink_list text = { .bytes = (uint8_t *)s->text,
		.len = s->text_len_bytes };
	char logged[256] = "";
	struct sl_netlink_socket socket = {
		.portid = (uint32_t)args[0],
		.ext_ack = args[1] & SL_WIRE_NETLINK_EXT_ACK,
		.cap_ack = args[1] & SL_WIRE_NETLINK_CAP_ACK,
		.privileged = s->caller.privileged,
		.logged = logged,
		.with_twins = is_our_namespace(args[2], args[3]),
	};
	struct sl_netlink_list kernel = { 0 }, out = { 0 };
	enum sl_netlink_verdict verdict;
	struct nlmsghdr *request;
	size_t cursor = 0;
	int err;

	request = copy_request(&text, &cursor);
	if (!request)
		return -EINVAL;
	kernel.bytes = text.bytes + cursor;
	kernel.len = text.len - cursor;
	err = fetch_fds(request);
	sl_log_capture(logged, sizeof(logged));
	if (!err)
		err = sl_netlink_serve(request, &socket,
			args[1] & SL_WIRE_NETLINK_ASKED ? &kernel : NULL, &verdict, &out);
	sl_log_capture(NULL, 0);
	free(request);
	if (err) {
		sl_netlink_list_done(&out);
		return err;
	}
	ret_answer->text = (char *)out.bytes;
	ret_answer->text_len_bytes = out.len;
	return verdict;
}
