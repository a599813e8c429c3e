#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rcu.h"
#include "test.h"

static unsigned released;

static void note_release(struct sl_object *obj)
{
	__atomic_add_fetch(&released, 1, __ATOMIC_RELAXED);
	free(obj);
}

static const struct sl_object_ops ops = { .release = note_release };

static struct sl_object *object_new(enum sl_object_type type)
{
	struct sl_object *obj = malloc(sizeof(*obj));

	sl_object_init(obj, type, &ops);
	return obj;
}

/* A descriptor that is the only reference of a new object. */
static int only_fd(enum sl_object_type type, int memfd)
{
	struct sl_object *obj = object_new(type);
	int fd = sl_fd_new(obj, memfd, O_RDWR);

	sl_object_unref(obj);
	released = 0;
	return fd;
}

/* The background thread may have taken the event before us, and not got further yet. */
static unsigned count_released(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 20 && n == 0; i++) {
		sl_fd_reap();
		sl_rcu_barrier();
		n = __atomic_load_n(&released, __ATOMIC_RELAXED);
		if (n == 0)
			usleep(1000);
	}
	return n;
}

static bool is_alive(int fd)
{
	struct sl_object *obj;
	int access;

	sl_fd_reap();
	if (sl_fd_get_any(fd, &obj, &access) != 0)
		return false;
	sl_object_unref(obj);
	return true;
}

TEST(fd, names_its_object)
{
	static const char *const names[SL_OBJECT_TYPES] = { "bpf-map", "bpf-prog", "btf",
		"bpf_link", "bpf-stats", "sluice-watch" };
	struct sl_object *obj;
	char path[64], link[64];
	ssize_t len;
	int fd;

	for (unsigned type = 0; type < SL_OBJECT_TYPES; type++) {
		fd = only_fd(type, -1);
		ASSERT_GE(fd, 0);
		EXPECT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		EXPECT_EQ(-EINVAL, sl_fd_get(fd, (type + 1) % SL_OBJECT_TYPES, &obj));
		ASSERT_EQ(0, sl_fd_get(fd, type, &obj));
		EXPECT_EQ(type, obj->type);
		sl_object_unref(obj);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		len = readlink(path, link, sizeof(link) - 1);
		ASSERT_GT(len, 0);
		link[len] = '\0';
		EXPECT_CONTAINS(link, names[type]);
		EXPECT_EQ(-1, write(fd, "x", 1));
		EXPECT_EQ(-1, ftruncate(fd, 1));
		close(fd);
		EXPECT_EQ(1, count_released());
	}
}

TEST(fd, foreign_descriptors_are_refused)
{
	struct sl_object *obj;
	int access, fd;

	EXPECT_EQ(-EBADF, sl_fd_get_any(-1, &obj, &access));
	EXPECT_EQ(-EBADF, sl_fd_get_any(999, &obj, &access));
	EXPECT_EQ(-EINVAL, sl_fd_get_any(0, &obj, &access));
	fd = memfd_create("bpf-map", MFD_CLOEXEC);
	EXPECT_EQ(-EINVAL, sl_fd_get_any(fd, &obj, &access));
	close(fd);
}

TEST(fd, lives_as_long_as_a_dup)
{
	int fd = only_fd(SL_OBJECT_MAP, -1), copy = dup(fd);

	close(fd);
	EXPECT_EQ(0, count_released());
	EXPECT_TRUE(is_alive(copy));
	close(copy);
	EXPECT_EQ(1, count_released());
}

TEST(fd, opening_it_through_proc_neither_ends_nor_leaks_it)
{
	int fd = only_fd(SL_OBJECT_MAP, -1), copy;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	close(open(path, O_RDONLY));
	EXPECT_EQ(0, count_released());
	copy = open(path, O_RDONLY);
	close(fd);
	EXPECT_EQ(0, count_released());
	close(copy);
	EXPECT_EQ(1, count_released());
}

TEST(fd, lives_in_a_message)
{
	int fd = only_fd(SL_OBJECT_PROG, -1), sockets[2], got;
	char control[CMSG_SPACE(sizeof(int))] sl_aligned(8), byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	ASSERT_EQ(1, sendmsg(sockets[0], &msg, 0));
	close(fd);
	EXPECT_EQ(0, count_released());
	ASSERT_EQ(1, recvmsg(sockets[1], &msg, MSG_CMSG_CLOEXEC));
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	EXPECT_TRUE(is_alive(got));
	close(got);
	EXPECT_EQ(1, count_released());
	close(sockets[0]);
	close(sockets[1]);
}

TEST(fd, lives_in_a_child)
{
	int fd = only_fd(SL_OBJECT_PROG, -1), pipes[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	if (pid == 0) {
		int mine, ok = is_alive(fd);

		/* The child's own objects come and go without the parent. */
		mine = only_fd(SL_OBJECT_MAP, -1);
		close(mine);
		ok = ok && count_released() == 1;
		if (read(pipes[0], &byte, 1) != 1)
			ok = 0;
		_exit(ok ? 0 : 1);
	}
	close(fd);
	EXPECT_EQ(0, count_released());
	ASSERT_EQ(1, write(pipes[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, count_released());
	close(pipes[0]);
	close(pipes[1]);
}

TEST(fd, child_sees_the_end_of_what_it_inherited)
{
	int fd = only_fd(SL_OBJECT_PROG, -1), status;
	pid_t pid = fork();

	if (pid == 0) {
		/* The parent closes its copy at once, so the child's is the last. */
		usleep(50000);
		if (!is_alive(fd))
			_exit(1);
		close(fd);
		_exit(count_released() == 1 ? 0 : 2);
	}
	close(fd);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, count_released());
}

TEST(fd, mapping_of_shared_contents_holds_the_object)
{
	int memfd = memfd_create("bpf-map", MFD_CLOEXEC | MFD_ALLOW_SEALING), a, b;
	struct sl_object *obj = object_new(SL_OBJECT_MAP), *got;
	char *own, *map;
	int access;

	ASSERT_EQ(0, ftruncate(memfd, 4096));
	own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	a = sl_fd_new(obj, memfd, O_RDWR);
	b = sl_fd_new(obj, memfd, O_RDONLY);
	sl_object_unref(obj);
	released = 0;
	ASSERT_GE(a, 0);
	ASSERT_GE(b, 0);
	ASSERT_EQ(0, sl_fd_get_any(b, &got, &access));
	EXPECT_TRUE(got == obj);
	EXPECT_EQ(O_RDONLY, access);
	sl_object_unref(got);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0);
	ASSERT_TRUE(map != MAP_FAILED);
	EXPECT_TRUE(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, b, 0) == MAP_FAILED);
	map[5] = 42;
	EXPECT_EQ(42, own[5]);
	/* Two closes in a row are one event. */
	close(a);
	close(b);
	EXPECT_EQ(0, count_released());
	munmap(map, 4096);
	EXPECT_EQ(1, count_released());
	munmap(own, 4096);
	close(memfd);
}

TEST(fd, no_descriptor_left_is_an_error_and_no_leak)
{
	struct sl_object *obj = object_new(SL_OBJECT_MAP);
	struct rlimit old, low;

	sl_fd_reap();
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &low);
	EXPECT_EQ(-EMFILE, sl_fd_new(obj, -1, O_RDWR));
	setrlimit(RLIMIT_NOFILE, &old);
	EXPECT_EQ(1, obj->refs);
	EXPECT_EQ(0, obj->user_refs);
	sl_object_unref(obj);
	sl_rcu_barrier();
}

/* More ends at once than the event queue holds: all in one close_range, while it is not read. */
TEST(fd, lost_events_are_made_up_for)
{
	enum { COUNT = 17000 };
	struct sl_object *obj = object_new(SL_OBJECT_MAP);
	int last = -1, first = sl_fd_new(obj, -1, O_RDWR);
	struct rlimit old, high;

	getrlimit(RLIMIT_NOFILE, &old);
	high = (struct rlimit){ COUNT + 100, sl_max(old.rlim_max, (rlim_t)COUNT + 100) };
	if (setrlimit(RLIMIT_NOFILE, &high) != 0)
		SKIP("may not open %d files", COUNT);
	for (unsigned i = 1; i < COUNT; i++) {
		last = sl_fd_new(obj, -1, O_RDWR);
		ASSERT_GE(last, 0);
	}
	EXPECT_EQ(COUNT, obj->user_refs);
	close_range(first, last, 0);
	sl_fd_reap();
	EXPECT_EQ(0, obj->user_refs);
	setrlimit(RLIMIT_NOFILE, &old);
	sl_object_unref(obj);
	sl_rcu_barrier();
}

static bool stop;
static int shared_fd;

static void *get_and_put(void *arg)
{
	unsigned *found = arg;
	struct sl_object *obj;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (sl_fd_get(__atomic_load_n(&shared_fd, __ATOMIC_RELAXED), SL_OBJECT_MAP, &obj))
			continue;
		(*found)++;
		sl_object_unref(obj);
	}
	return NULL;
}

TEST(fd, look_up_while_others_close)
{
	enum { ROUNDS = 3000 };
	unsigned found[2] = { 0 };
	pthread_t threads[2];

	stop = false;
	shared_fd = -1;
	released = 0;
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, get_and_put, &found[i]);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct sl_object *obj = object_new(SL_OBJECT_MAP);
		int fd = sl_fd_new(obj, -1, O_RDWR);

		sl_object_unref(obj);
		ASSERT_GE(fd, 0);
		__atomic_store_n(&shared_fd, fd, __ATOMIC_RELAXED);
		close(fd);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(ROUNDS, count_released());
}
