#include "xsk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sluice/xsk.h>

#include "background.h"
#include "fork.h"
#include "xsk_pool.h"

/*
 * A socket's descriptor is one end of a pair of UNIX sockets. It can be polled, duplicated, inherited
 * and sent like any other, its inode says which socket it is, and when the last copy of it is closed,
 * in whatever process, our end reports that to the background thread. The background thread also
 * rings the bell, by a byte that makes the descriptor readable; who waits for the descriptor takes it
 * away first when there is nothing to read (sluice_xsk_poll).
 *
 * Lock order: the background thread's, `change_lock`, the ports', `lock`. Nothing waits for workers
 * with `lock` held, as updates of maps take it in a read section. `change_lock` is held by what binds
 * sockets and takes them away.
 */
static pthread_mutex_t change_lock = PTHREAD_MUTEX_INITIALIZER;
/* Recursive: where our own close(2) is caught as well, that looks whose the descriptor is. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sl_list sockets = SL_LIST_INIT(sockets); /* with open descriptors */
static bool any; /* sockets were there once */

const struct sl_xsk_port_ops *sl_xsk_port_ops;
void (*sl_xsk_forget)(struct sl_xsk *xsk);

void sl_xsk_lock(void)
{
	pthread_mutex_lock(&lock);
}

void sl_xsk_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

static int fail(int err)
{
	errno = -err;
	return -1;
}

static int answer(int err)
{
	return err ? fail(err) : 0;
}

static struct sl_xsk *find_stat(const struct stat *st)
{
	struct sl_xsk *xsk;

	sl_list_for_each (xsk, &sockets, node) {
		if (xsk->ino == st->st_ino && xsk->dev == st->st_dev)
			return xsk;
	}
	return NULL;
}

int sl_xsk_find(int fd, struct sl_xsk **ret_xsk)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -EBADF;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	*ret_xsk = find_stat(&st);
	return *ret_xsk ? 0 : -EOPNOTSUPP;
}

/* For the functions of sluice/xsk.h. */
static int find(int fd, struct sl_xsk **ret_xsk)
{
	int err = sl_xsk_find(fd, ret_xsk);

	return err == -EOPNOTSUPP ? -ENOTSOCK : err;
}

static bool readable(const struct sl_xsk *xsk)
{
	const struct sl_xsk_ring *rx = xsk->rx;

	return sl_xsk_is_bound(xsk) && rx &&
	       __atomic_load_n(&rx->memory->producer, __ATOMIC_RELAXED) !=
		       __atomic_load_n(&rx->memory->consumer, __ATOMIC_RELAXED);
}

/* As the kernel says it: at most half of the ring is waiting to be sent. */
static bool writable(const struct sl_xsk *xsk)
{
	const struct sl_xsk_ring *tx = xsk->tx;

	return sl_xsk_is_bound(xsk) && tx &&
	       __atomic_load_n(&tx->memory->producer, __ATOMIC_RELAXED) -
			       __atomic_load_n(&tx->memory->consumer, __ATOMIC_RELAXED) <=
		       tx->size / 2;
}

static bool poll_bells(void *arg)
{
	struct sl_xsk *xsk;
	bool busy = false;

	(void)arg;
	pthread_mutex_lock(&lock);
	sl_list_for_each (xsk, &sockets, node) {
		if (xsk->rung || !readable(xsk))
			continue;
		xsk->rung = send(xsk->bell_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
		busy = true;
	}
	pthread_mutex_unlock(&lock);
	return busy;
}

/* With the lock held: takes the bell's byte out of the client's end, if fd is that. */
static void silence(struct sl_xsk *xsk, int fd)
{
	struct stat st;
	char byte;

	if (!xsk->rung || fstat(fd, &st) != 0 || st.st_ino != xsk->ino || st.st_dev != xsk->dev)
		return;
	while (recv(fd, &byte, 1, MSG_DONTWAIT) > 0)
		;
	xsk->rung = false;
}

static void after_fork(void)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&lock, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_mutex_init(&change_lock, NULL);
}

static void start(void)
{
	sl_fork_register(NULL, NULL, after_fork);
	sl_background_add_poll(poll_bells, NULL);
}

static void free_socket(struct sl_xsk *xsk)
{
	if (xsk->bell_fd >= 0) {
		sl_background_del_fd(xsk->bell_fd);
		close(xsk->bell_fd);
	}
	sl_xsk_lock();
	sl_xsk_pool_put(xsk->pool);
	sl_xsk_umem_put(xsk->umem);
	sl_xsk_unlock();
	sl_xsk_ring_free(xsk->rx);
	sl_xsk_ring_free(xsk->tx);
	sl_xsk_ring_free(xsk->fill);
	sl_xsk_ring_free(xsk->completion);
	free(xsk);
}

/* Whether the client has closed its last descriptor; what it sent to ours goes nowhere. */
static bool is_closed(const struct sl_xsk *xsk)
{
	char bytes[256];
	ssize_t n;

	while ((n = recv(xsk->bell_fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* With the lock held: moves the sockets to `gone` that nobody has a descriptor of. */
static void collect(struct sl_list *gone)
{
	struct sl_xsk *xsk, *tmp;

	sl_list_for_each_safe (xsk, tmp, &sockets, node) {
		if (!is_closed(xsk))
			continue;
		sl_list_del(&xsk->node);
		sl_list_add_tail(gone, &xsk->node);
		if (sl_xsk_forget)
			sl_xsk_forget(xsk);
	}
}

/* When this returns no worker touches the memory of clients that have closed their sockets. */
static void reap(void)
{
	struct sl_list gone = SL_LIST_INIT(gone);
	struct sl_xsk *xsk, *tmp;

	pthread_mutex_lock(&change_lock);
	pthread_mutex_lock(&lock);
	collect(&gone);
	pthread_mutex_unlock(&lock);
	sl_list_for_each (xsk, &gone, node) {
		if (xsk->state == SL_XSK_BOUND)
			sl_xsk_port_ops->unbind(xsk);
	}
	if (!sl_list_empty(&gone))
		sl_rcu_synchronize();
	pthread_mutex_unlock(&change_lock);
	sl_list_for_each_safe (xsk, tmp, &gone, node)
		free_socket(xsk);
}

static void on_readable(void *arg)
{
	(void)arg;
	reap();
}

void sluice_xsk_after_close(void)
{
	if (__atomic_load_n(&any, __ATOMIC_RELAXED))
		reap();
}

/* The client's end, as socket(2) would give it. */
static int open_pair(struct sl_xsk *xsk, int flags, int *ret_fd)
{
	struct stat st;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		return -errno;
	xsk->bell_fd = fds[1];
	*ret_fd = xsk->client_fd = fds[0];
	if (fstat(fds[0], &st) != 0)
		return -errno;
	xsk->dev = st.st_dev;
	xsk->ino = st.st_ino;
	if (!(flags & SOCK_CLOEXEC) && fcntl(fds[0], F_SETFD, 0) != 0)
		return -errno;
	if ((flags & SOCK_NONBLOCK) && fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0)
		return -errno;
	return 0;
}

int sluice_xsk_socket(int type, int protocol)
{
	int flags = type & (SOCK_CLOEXEC | SOCK_NONBLOCK), fd = -1, err;
	struct sl_xsk *xsk;

	if ((type & ~flags) != SOCK_RAW)
		return fail(-ESOCKTNOSUPPORT);
	if (protocol)
		return fail(-EPROTONOSUPPORT);
	pthread_once(&once, start);
	xsk = calloc(1, sizeof(*xsk));
	if (!xsk)
		return fail(-ENOMEM);
	xsk->bell_fd = -1;
	err = open_pair(xsk, flags, &fd);
	if (!err)
		err = sl_background_add_fd(xsk->bell_fd, on_readable, NULL);
	if (err) {
		if (fd >= 0)
			close(fd);
		free_socket(xsk);
		return fail(err);
	}
	pthread_mutex_lock(&lock);
	sl_list_add_tail(&sockets, &xsk->node);
	__atomic_store_n(&any, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&lock);
	return fd;
}

static int set_ring(struct sl_xsk *xsk, struct sl_xsk_ring **ring, size_t entry_size,
	const void *value, socklen_t len)
{
	int entries;

	if (len < sizeof(entries))
		return -EINVAL;
	if (!value)
		return -EFAULT;
	memcpy(&entries, value, sizeof(entries));
	if (xsk->state != SL_XSK_READY)
		return -EBUSY;
	if (*ring)
		return -EINVAL;
	return sl_xsk_ring_new((uint32_t)entries, entry_size, ring);
}

static int set_umem(struct sl_xsk *xsk, const void *value, socklen_t len)
{
	if (len < SL_XSK_UMEM_REG_V1)
		return -EINVAL;
	if (!value)
		return -EFAULT;
	if (xsk->state != SL_XSK_READY || xsk->umem)
		return -EBUSY;
	return sl_xsk_umem_new(value, len, &xsk->umem);
}

static int set_option(struct sl_xsk *xsk, int name, const void *value, socklen_t len)
{
	switch (name) {
	case XDP_RX_RING:
		return set_ring(xsk, &xsk->rx, sizeof(struct xdp_desc), value, len);
	case XDP_TX_RING:
		return set_ring(xsk, &xsk->tx, sizeof(struct xdp_desc), value, len);
	case XDP_UMEM_FILL_RING:
		return set_ring(xsk, &xsk->fill, sizeof(uint64_t), value, len);
	case XDP_UMEM_COMPLETION_RING:
		return set_ring(xsk, &xsk->completion, sizeof(uint64_t), value, len);
	case XDP_UMEM_REG:
		return set_umem(xsk, value, len);
	default:
		return -ENOPROTOOPT;
	}
}

int sluice_xsk_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	struct sl_xsk *xsk;
	int err;

	if (level != SOL_XDP)
		return fail(-ENOTSOCK);
	sl_xsk_lock();
	err = find(fd, &xsk);
	if (!err)
		err = set_option(xsk, name, value, len);
	sl_xsk_unlock();
	return answer(err);
}

/* As much of a struct as its caller knows: all of it, or what the first version had. */
static int give(void *value, socklen_t *len, const void *from, size_t size, size_t first_size)
{
	if (*len < first_size)
		return -EINVAL;
	*len = *len < size ? first_size : size;
	memcpy(value, from, *len);
	return 0;
}

static uint64_t read_count(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static int get_statistics(const struct sl_xsk *xsk, void *value, socklen_t *len)
{
	struct xdp_statistics stats = {
		.rx_dropped = read_count(&xsk->rx_dropped),
		.rx_ring_full = read_count(&xsk->rx_full),
	};

	if (xsk->pool)
		stats.rx_fill_ring_empty_descs = read_count(&xsk->pool->fill->empty);
	if (xsk->rx)
		stats.rx_invalid_descs = read_count(&xsk->rx->invalid);
	if (xsk->tx) {
		stats.tx_invalid_descs = read_count(&xsk->tx->invalid);
		stats.tx_ring_empty_descs = read_count(&xsk->tx->empty);
	}
	if (*len < sizeof(stats))
		stats.rx_dropped += stats.rx_ring_full;
	return give(
		value, len, &stats, sizeof(stats), offsetof(struct xdp_statistics, rx_ring_full));
}

static int get_offsets(void *value, socklen_t *len)
{
	static const struct xdp_ring_offset ring = {
		.producer = offsetof(struct sl_xsk_ring_memory, producer),
		.consumer = offsetof(struct sl_xsk_ring_memory, consumer),
		.desc = offsetof(struct sl_xsk_ring_memory, entries),
		.flags = offsetof(struct sl_xsk_ring_memory, flags),
	};
	static const struct xdp_mmap_offsets all = { ring, ring, ring, ring };
	uint64_t first[4][3]; /* before there were flags */

	if (*len >= sizeof(all))
		return give(value, len, &all, sizeof(all), sizeof(all));
	for (unsigned i = 0; i < 4; i++) {
		first[i][0] = ring.producer;
		first[i][1] = ring.consumer;
		first[i][2] = ring.desc;
	}
	return give(value, len, first, sizeof(first), sizeof(first));
}

static int get_option(const struct sl_xsk *xsk, int name, void *value, socklen_t *len)
{
	static const struct xdp_options options;

	if ((int)*len < 0)
		return -EINVAL;
	switch (name) {
	case XDP_STATISTICS:
		return get_statistics(xsk, value, len);
	case XDP_MMAP_OFFSETS:
		return get_offsets(value, len);
	case XDP_OPTIONS:
		return give(value, len, &options, sizeof(options), sizeof(options));
	default:
		return -EOPNOTSUPP;
	}
}

/* What would give away what kind of socket the descriptor really is. */
static int get_kind(int name, void *value, socklen_t *len)
{
	int kind = name == SO_DOMAIN ? AF_XDP : SOCK_RAW;

	if (name != SO_DOMAIN && name != SO_TYPE)
		return -ENOTSOCK;
	*len = sl_min(*len, (socklen_t)sizeof(kind));
	memcpy(value, &kind, *len);
	return 0;
}

int sluice_xsk_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	struct sl_xsk *xsk;
	int err;

	if (level != SOL_XDP && level != SOL_SOCKET)
		return fail(-ENOTSOCK);
	sl_xsk_lock();
	err = find(fd, &xsk);
	if (!err && (!value || !len))
		err = -EFAULT;
	if (!err)
		err = level == SOL_XDP ? get_option(xsk, name, value, len)
				       : get_kind(name, value, len);
	sl_xsk_unlock();
	return answer(err);
}

/* Another socket that is bound to this queue has its pool. With the lock held. */
static struct sl_xsk_pool *pool_of_queue(uint32_t ifindex, uint32_t queue)
{
	struct sl_xsk *xsk;

	sl_list_for_each (xsk, &sockets, node) {
		if (xsk->pool && sl_xsk_is_bound(xsk) && xsk->pool->ifindex == ifindex &&
			xsk->pool->queue == queue)
			return xsk->pool;
	}
	return NULL;
}

static int own_pool(struct sl_xsk *xsk, struct sl_xsk_umem *umem, const struct sockaddr_xdp *to,
	uint32_t queues, bool multi_buffer)
{
	struct sl_xsk_pool *pool;

	if (!umem || !xsk->fill || !xsk->completion)
		return -EINVAL;
	if ((to->sxdp_flags & XDP_COPY) && (to->sxdp_flags & XDP_ZEROCOPY))
		return -EINVAL;
	if (pool_of_queue(to->sxdp_ifindex, to->sxdp_queue_id))
		return -EBUSY;
	if (to->sxdp_queue_id >= queues)
		return -EINVAL;
	if (to->sxdp_flags & XDP_ZEROCOPY)
		return -EOPNOTSUPP;
	pool = sl_xsk_pool_new(umem, xsk->fill, xsk->completion);
	if (!pool)
		return -ENOMEM;
	pool->ifindex = to->sxdp_ifindex;
	pool->queue = to->sxdp_queue_id;
	pool->multi_buffer = multi_buffer;
	xsk->fill = xsk->completion = NULL;
	xsk->pool = pool;
	return 0;
}

static int shared_pool(struct sl_xsk *xsk, const struct sockaddr_xdp *to, uint32_t queues)
{
	struct sl_xsk *with;
	struct sl_xsk_pool *pool;
	int err;

	if (to->sxdp_flags & ~XDP_SHARED_UMEM || xsk->umem)
		return -EINVAL;
	err = sl_xsk_find((int)to->sxdp_shared_umem_fd, &with);
	if (err)
		return err == -EOPNOTSUPP ? -ENOPROTOOPT : -ENOTSOCK;
	if (!sl_xsk_is_bound(with))
		return -EBADF;
	pool = with->pool;
	if (pool->queue != to->sxdp_queue_id || pool->ifindex != to->sxdp_ifindex)
		return own_pool(xsk, pool->umem, to, queues, pool->multi_buffer);
	if (xsk->fill || xsk->completion)
		return -EINVAL;
	pool->refs++;
	xsk->pool = pool;
	return 0;
}

/* The port is there, with the ports' lock held. */
static int make_ready(struct sl_xsk *xsk, void *arg, uint32_t queues)
{
	const struct sockaddr_xdp *to = arg;
	int err;

	sl_xsk_lock();
	if (!xsk->rx && !xsk->tx)
		err = -EINVAL;
	else if (to->sxdp_flags & XDP_SHARED_UMEM)
		err = shared_pool(xsk, to, queues);
	else
		err = own_pool(xsk, xsk->umem, to, queues, to->sxdp_flags & SL_XDP_USE_SG);
	if (!err) {
		xsk->ifindex = to->sxdp_ifindex;
		xsk->queue = to->sxdp_queue_id;
		/* Pairs with sl_xsk_is_bound: the pool is there. */
		__atomic_store_n(&xsk->state, SL_XSK_BOUND, __ATOMIC_RELEASE);
	}
	sl_xsk_unlock();
	return err;
}

static int check_address(const struct sockaddr_xdp *to, socklen_t len)
{
	const uint16_t known =
		XDP_SHARED_UMEM | XDP_COPY | XDP_ZEROCOPY | XDP_USE_NEED_WAKEUP | SL_XDP_USE_SG;

	if (len < sizeof(*to) || to->sxdp_family != AF_XDP || (to->sxdp_flags & ~known))
		return -EINVAL;
	return 0;
}

int sluice_xsk_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_xdp to = { 0 };
	struct sl_xsk *xsk;
	int err;

	/* The queue's former socket may have been closed a moment ago. */
	if (__atomic_load_n(&any, __ATOMIC_RELAXED))
		reap();
	if (addr)
		memcpy(&to, addr, sl_min((size_t)len, sizeof(to)));
	pthread_mutex_lock(&change_lock);
	sl_xsk_lock();
	err = find(fd, &xsk);
	if (!err)
		err = addr ? check_address(&to, len) : -EFAULT;
	if (!err && xsk->state != SL_XSK_READY)
		err = -EBUSY;
	sl_xsk_unlock();
	if (!err)
		err = sl_xsk_port_ops ? sl_xsk_port_ops->bind(xsk, to.sxdp_ifindex, make_ready, &to)
				      : -ENODEV;
	pthread_mutex_unlock(&change_lock);
	return answer(err);
}

void sl_xsk_port_gone(struct sl_xsk *xsk)
{
	sl_xsk_lock();
	__atomic_store_n(&xsk->state, SL_XSK_UNBOUND, __ATOMIC_RELEASE);
	sl_xsk_unlock();
}

/* With the lock held. */
static int ring_at(const struct sl_xsk *xsk, off_t offset, const struct sl_xsk_ring **ret_ring)
{
	bool bound = xsk->state == SL_XSK_BOUND;

	if (xsk->state == SL_XSK_UNBOUND)
		return -EBUSY;
	if (offset == XDP_PGOFF_RX_RING)
		*ret_ring = xsk->rx;
	else if (offset == XDP_PGOFF_TX_RING)
		*ret_ring = xsk->tx;
	else if ((uint64_t)offset == XDP_UMEM_PGOFF_FILL_RING)
		*ret_ring = bound ? xsk->pool->fill : xsk->fill;
	else if ((uint64_t)offset == XDP_UMEM_PGOFF_COMPLETION_RING)
		*ret_ring = bound ? xsk->pool->completion : xsk->completion;
	else
		*ret_ring = NULL;
	return *ret_ring ? 0 : -EINVAL;
}

void *sluice_xsk_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	const struct sl_xsk_ring *ring;
	void *mapped = MAP_FAILED;
	struct sl_xsk *xsk;
	int err;

	sl_xsk_lock();
	err = find(fd, &xsk);
	if (!err)
		err = ring_at(xsk, offset, &ring);
	if (!err && len > ring->len_bytes)
		err = -EINVAL;
	if (!err)
		mapped = mmap(addr, len, prot, flags, ring->memfd, 0);
	else
		errno = -err;
	sl_xsk_unlock();
	return mapped;
}

/* What sending and receiving have in common. */
static int check_transfer(int fd, int flags, bool send)
{
	struct sl_xsk *xsk;
	int err;

	sl_xsk_lock();
	err = find(fd, &xsk);
	if (!err && !sl_xsk_is_bound(xsk))
		err = -ENXIO;
	else if (!err && send && !(flags & MSG_DONTWAIT))
		err = -EOPNOTSUPP;
	else if (!err && !(send ? xsk->tx : xsk->rx))
		err = -ENOBUFS;
	else if (!err && !(flags & MSG_DONTWAIT))
		err = -EOPNOTSUPP;
	sl_xsk_unlock();
	return answer(err);
}

int sluice_xsk_send(int fd, int flags)
{
	return check_transfer(fd, flags, true);
}

int sluice_xsk_receive(int fd, int flags)
{
	return check_transfer(fd, flags, false);
}

bool sluice_xsk_is(int fd)
{
	struct sl_xsk *xsk;
	bool is;

	if (!__atomic_load_n(&any, __ATOMIC_RELAXED))
		return false;
	sl_xsk_lock();
	is = find(fd, &xsk) == 0;
	sl_xsk_unlock();
	return is;
}

int sluice_xsk_poll(int fd, short *ret_events)
{
	struct sl_xsk *xsk;
	int err;

	sl_xsk_lock();
	err = find(fd, &xsk);
	if (!err) {
		xsk->client_fd = fd;
		if (!readable(xsk))
			silence(xsk, fd);
		*ret_events = (short)((readable(xsk) ? POLLIN | POLLRDNORM : 0) |
				      (writable(xsk) ? POLLOUT | POLLWRNORM : 0));
	}
	sl_xsk_unlock();
	return answer(err);
}

void sluice_xsk_before_wait(void)
{
	struct sl_xsk *xsk;

	if (!__atomic_load_n(&any, __ATOMIC_RELAXED))
		return;
	sl_xsk_lock();
	sl_list_for_each (xsk, &sockets, node) {
		if (!readable(xsk))
			silence(xsk, xsk->client_fd);
	}
	sl_xsk_unlock();
}
