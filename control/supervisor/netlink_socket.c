#include "netlink_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* On a thread of its own, which ends where it has gone. */
static void *open_on_thread(void *arg)
{
	struct sl_netlink_asked *asked = arg;
	struct stat here_st, there_st;
	int ns = open(asked->ns, O_RDONLY | O_CLOEXEC);

	asked->fd = -EPERM;
	if (ns < 0)
		return NULL;
	if (stat("/proc/thread-self/ns/net", &here_st) == 0 && fstat(ns, &there_st) == 0 &&
		(here_st.st_ino == there_st.st_ino || setns(ns, CLONE_NEWNET) == 0))
		asked->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	close(ns);
	return NULL;
}

/* The kernel is asked with our rights: who is not root, as we are, may only look. */
static int open_there(struct sl_route_socket *route)
{
	struct sl_netlink_asked *asked = (struct sl_netlink_asked *)route;
	const struct sl_notified *n = asked->notified;
	pthread_t thread;

	if (n->space.actor && n->actor.uid != 0 && asked->message &&
		(asked->message->nlmsg_type & 3) != (RTM_GETLINK & 3))
		return -EPERM;
	if (pthread_create(&thread, NULL, open_on_thread, asked) != 0)
		return -EAGAIN;
	pthread_join(thread, NULL);
	return asked->fd;
}

static bool is_on(int fd, int option)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_NETLINK, option, &on, &len) == 0 && on;
}

/* Its address, which it has from its first message on. */
static uint32_t portid(int fd)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof(address);

	getsockname(fd, (struct sockaddr *)&address, &len);
	if (address.nl_pid == 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		len = sizeof(address);
		getsockname(fd, (struct sockaddr *)&address, &len);
	}
	return address.nl_pid;
}

void sl_netlink_describe(struct sl_netlink_asked *asked, struct sl_notified *n, int fd)
{
	struct stat ns;

	*asked = (struct sl_netlink_asked){
		.route = { .space = &n->space,
			.portid = portid(fd),
			.ext_ack = is_on(fd, NETLINK_EXT_ACK),
			.cap_ack = is_on(fd, NETLINK_CAP_ACK),
			.strict = is_on(fd, NETLINK_GET_STRICT_CHK),
			.open = open_there },
		.notified = n,
	};
	snprintf(asked->ns, sizeof(asked->ns), "/proc/%d/ns/net", n->tid);
	if (stat(asked->ns, &ns) == 0) {
		asked->route.namespace_dev = ns.st_dev;
		asked->route.namespace_ino = ns.st_ino;
	}
}
