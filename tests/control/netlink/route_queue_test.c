#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "route_queue.h"
#include "test.h"

/* Datagrams of ours among the kernel's, on real sockets. */

static int open_socket(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	EXPECT_TRUE(fd >= 0);
	EXPECT_EQ(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* A request that the kernel refuses at once, so that its answer has a known place. */
static void ask_kernel(int fd, uint32_t sequence)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} request = {
		.head = { .nlmsg_len = sizeof(request),
			.nlmsg_type = RTM_GETLINK,
			.nlmsg_flags = NLM_F_REQUEST,
			.nlmsg_seq = sequence },
		.link = { .ifi_index = 1 << 30 },
	};

	EXPECT_EQ(send(fd, &request, sizeof(request), 0), (ssize_t)sizeof(request));
}

static void add(int fd, uint32_t sequence, size_t len)
{
	static __thread _Alignas(4) uint8_t bytes[65536];
	struct nlmsghdr *head = (struct nlmsghdr *)bytes;

	memset(bytes, 0x5a, sizeof(bytes));
	*head = (struct nlmsghdr){ .nlmsg_len = (uint32_t)len, .nlmsg_seq = sequence };
	EXPECT_EQ(sl_route_queue_add(fd, bytes, len), 0);
}

/* What a program gets that receives; the sequence number says which it was. */
struct received {
	ssize_t result;
	uint32_t sequence, from;
	int flags;
};

static struct received receive(int fd, size_t room, int flags)
{
	static __thread _Alignas(4) uint8_t bytes[65536];
	struct sockaddr_nl from = { .nl_pid = 7 };
	struct iovec parts[] = { { bytes, room / 2 }, { bytes + room / 2, room - room / 2 } };
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = parts, .msg_iovlen = 2
	};
	struct received r = { 0 };

	memset(bytes, 0, sizeof(struct nlmsghdr));
	if (!sl_route_queue_receive(fd, &msg, flags, &r.result))
		r.result = recvmsg(fd, &msg, flags);
	r.sequence = ((struct nlmsghdr *)bytes)->nlmsg_seq;
	r.from = from.nl_pid;
	r.flags = msg.msg_flags;
	return r;
}

static void expect_sequence(int fd, uint32_t sequence)
{
	EXPECT_EQ(receive(fd, 8192, MSG_DONTWAIT).sequence, sequence);
}

TEST(route_queue, answers_keep_their_order)
{
	int fd = open_socket();

	ask_kernel(fd, 1);
	add(fd, 2, 100);
	add(fd, 3, 200);
	ask_kernel(fd, 4);
	add(fd, 5, 300);
	for (uint32_t i = 1; i <= 5; i++)
		expect_sequence(fd, i);
	EXPECT_EQ(receive(fd, 8192, MSG_DONTWAIT).result, -1);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_FALSE(sl_route_queue_is_used());
	close(fd);
}

TEST(route_queue, a_look_takes_nothing)
{
	int fd = open_socket();
	struct received r;

	add(fd, 9, 3000);
	r = receive(fd, 0, MSG_PEEK | MSG_TRUNC);
	EXPECT_EQ(r.result, 3000);
	EXPECT_EQ(r.flags, MSG_TRUNC);
	EXPECT_EQ(r.from, 0u);
	r = receive(fd, 64, MSG_PEEK);
	EXPECT_EQ(r.result, 64);
	r = receive(fd, 64, 0);
	EXPECT_EQ(r.result, 64);
	EXPECT_EQ(r.sequence, 9u);
	EXPECT_EQ(r.flags, MSG_TRUNC);
	EXPECT_FALSE(sl_route_queue_is_used());
	close(fd);
}

TEST(route_queue, waiting_needs_no_help)
{
	int fd = open_socket(), other = open_socket(), set = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct timeval limit = { .tv_usec = 20000 };

	EXPECT_EQ(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
	EXPECT_EQ(poll(&wait, 1, 0), 0);
	add(fd, 1, 50);
	EXPECT_EQ(poll(&wait, 1, 0), 1);
	EXPECT_EQ(epoll_wait(set, &event, 1, 0), 1);
	expect_sequence(fd, 1);
	EXPECT_EQ(poll(&wait, 1, 0), 0);
	EXPECT_EQ(epoll_wait(set, &event, 1, 0), 0);
	/* Somebody else's is waited for as long as the socket says. */
	add(other, 2, 50);
	EXPECT_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	EXPECT_EQ(receive(fd, 64, 0).result, -1);
	EXPECT_EQ(errno, EAGAIN);
	expect_sequence(other, 2);
	close(other);
	close(set);
	close(fd);
}

TEST(route_queue, copies_of_a_descriptor_are_one_socket)
{
	int fd = open_socket(), copy = dup(fd);

	add(fd, 1, 50);
	add(copy, 2, 50);
	expect_sequence(copy, 1);
	expect_sequence(fd, 2);
	close(copy);
	close(fd);
}

TEST(route_queue, a_closed_socket_is_forgotten)
{
	int fd = open_socket(), other = open_socket();

	add(fd, 1, 50);
	add(other, 2, 50);
	add(fd, 3, 50);
	sl_route_queue_forget(fd);
	close(fd);
	EXPECT_TRUE(sl_route_queue_is_used());
	expect_sequence(other, 2);
	EXPECT_FALSE(sl_route_queue_is_used());
	close(other);
}

enum { THREAD_ROUNDS = 300 };

static void *add_and_receive(void *arg)
{
	int fd = open_socket();

	(void)arg;
	for (uint32_t i = 1; i <= THREAD_ROUNDS; i++) {
		add(fd, 2 * i, 64);
		ask_kernel(fd, 2 * i + 1);
		EXPECT_EQ(receive(fd, 8192, 0).sequence, 2 * i);
		EXPECT_EQ(receive(fd, 8192, 0).sequence, 2 * i + 1);
	}
	close(fd);
	return NULL;
}

TEST(route_queue, threads_have_sockets_of_their_own)
{
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		EXPECT_EQ(pthread_create(&threads[i], NULL, add_and_receive, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	EXPECT_FALSE(sl_route_queue_is_used());
}
