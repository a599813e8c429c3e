#include "twin.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <sluice/route.h>

#include "control.h"
#include "follow.h"
#include "logging.h"
#include "port.h"
#include "transmit.h"
#include "twin_link.h"

/*
 * The life of twins, and the thread that serves them. The thread is there as long as there is a
 * twin. Control threads ask it to do what only it can, and wait for that with the ports' lock held;
 * so it takes that lock only where it is free.
 */

enum {
	SLEEP_MIN_US = 10,
	SLEEP_MAX_US = 250,
	CHORES_MS = 200, /* between looks at links and at what was lost */
	WANTED_MS = 10, /* between looks for neighbours */
	NAME_RETRIES = 50, /* while the twin of a process that has just ended goes away */
	NAME_PAUSE_US = 20000,
};

/* What a control thread asks of the thread. */
struct errand {
	int (*fn)(void *arg);
	void *arg;
	int result;
	bool done;
};

static struct {
	pthread_t thread;
	bool running; /* under the ports' lock */
	bool follows; /* we made the tables of routes the kernel's */
	pid_t tid;
	int kick_fd;
	/* Where twins are: for who has the ports' lock, for the thread, and to be told. */
	struct mnl_socket *home, *asking, *events;
	struct mnl_socket *inner; /* where their inner ends are */

	/* Under the mutex. */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct errand *errand; /* one at a time: the ports' lock is held */

	/* The thread's. */
	struct sl_list twins;
	unsigned count;
	struct sl_twin_area *area;
	struct timespec chores, wants; /* when they are due */
	bool stop;
} st = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
	.twins = SL_LIST_INIT(st.twins),
};

bool sl_twin_name_is_good(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < IF_NAMESIZE && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
	       !strpbrk(name, "/:% \t\n\r\v\f");
}

bool sl_twin_exists(void)
{
	return st.running;
}

static int run_errand(int (*fn)(void *arg), void *arg)
{
	struct errand errand = { .fn = fn, .arg = arg };
	uint64_t one = 1;

	pthread_mutex_lock(&st.mutex);
	st.errand = &errand;
	if (write(st.kick_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		sl_log(SL_LOG_WARN, "cannot wake the thread of the twins: %s", strerror(errno));
	while (!errand.done)
		pthread_cond_wait(&st.changed, &st.mutex);
	pthread_mutex_unlock(&st.mutex);
	return errand.result;
}

static void do_errand(void)
{
	uint64_t kicks;
	struct errand *errand;

	if (read(st.kick_fd, &kicks, sizeof(kicks)) < 0)
		return;
	pthread_mutex_lock(&st.mutex);
	errand = st.errand;
	st.errand = NULL;
	pthread_mutex_unlock(&st.mutex);
	if (!errand)
		return;
	errand->result = errand->fn(errand->arg);
	pthread_mutex_lock(&st.mutex);
	errand->done = true;
	pthread_cond_broadcast(&st.changed);
	pthread_mutex_unlock(&st.mutex);
}

/* The user has changed the twin: the port follows, or the twin goes back. */
static void follow(struct sl_twin *twin, const struct sl_twin_state *state)
{
	struct sl_port *port = twin->port;

	if (state->mtu && state->mtu != port->mtu &&
		(state->mtu > UINT16_MAX || sl_control_set_mtu(port, (uint16_t)state->mtu) != 0)) {
		sl_log(SL_LOG_WARN, "port %s cannot have an MTU of %u", port->name, state->mtu);
		sl_twin_link_set_mtu(st.home, twin->ifindex, port->mtu);
	}
	if (!rte_is_zero_ether_addr(&state->mac) &&
		!rte_is_same_ether_addr(&state->mac, &port->mac) &&
		sl_control_set_mac(port, &state->mac) != 0) {
		sl_log(SL_LOG_WARN, "port %s cannot have another MAC address", port->name);
		sl_twin_link_set_mac(st.home, twin->ifindex, &port->mac);
	}
}

static void note_state(const struct sl_twin_state *state, void *arg)
{
	struct sl_twin *twin;

	(void)arg;
	sl_list_for_each (twin, &st.twins, node) {
		if (twin->ifindex != state->ifindex || twin->gone)
			continue;
		twin->up = state->up && !state->gone;
		twin->gone = state->gone;
		if (twin->gone)
			sl_log(SL_LOG_WARN, "somebody has deleted the kernel twin of port %s",
				twin->port->name);
		else
			follow(twin, state);
	}
}

/* Everything about all twins anew, where notes have been lost. */
static void look_at_all(void)
{
	struct sl_twin *twin;

	sl_list_for_each (twin, &st.twins, node) {
		struct sl_twin_state state;

		if (sl_twin_link_get(st.home, twin->port->name, &state) != 0)
			state = (struct sl_twin_state){ .gone = true };
		state.ifindex = twin->ifindex;
		note_state(&state, NULL);
	}
}

/* What workers would know, at most once in WANTED_MS: each costs a request. */
static void ask_for_wanted(struct sl_twin *twin)
{
	if (!__atomic_load_n(&twin->any_wanted, __ATOMIC_ACQUIRE))
		return;
	__atomic_store_n(&twin->any_wanted, 0, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < SL_TWIN_WANTED; i++) {
		struct sl_twin_want *w = &twin->wanted[i];

		if (__atomic_load_n(&w->state, __ATOMIC_ACQUIRE) != SL_WANT_ASKED)
			continue;
		if (twin->up && !twin->gone)
			sl_twin_link_use_neighbour(st.asking, twin->ifindex, w->family, w->address);
		__atomic_store_n(&w->state, SL_WANT_FREE, __ATOMIC_RELEASE);
	}
}

/* A port without a link is an interface without a carrier. */
static void follow_carrier(struct sl_twin *twin)
{
	struct rte_eth_link link;

	if (twin->gone || rte_eth_link_get_nowait(twin->port->id, &link) != 0 ||
		twin->carrier == (link.link_status == RTE_ETH_LINK_UP))
		return;
	if (sl_twin_link_set_up(st.inner, twin->inner, !twin->carrier) == 0)
		twin->carrier = !twin->carrier;
}

/* With the ports' lock held. */
static void do_chores(bool told)
{
	struct sl_twin *twin;

	if (told && sl_twin_link_events(st.events, note_state, NULL) != 0)
		look_at_all();
	sl_list_for_each (twin, &st.twins, node) {
		sl_twin_count_lost(twin);
		follow_carrier(twin);
	}
}

static bool is_due(const struct timespec *when, const struct timespec *now)
{
	return now->tv_sec > when->tv_sec ||
	       (now->tv_sec == when->tv_sec && now->tv_nsec >= when->tv_nsec);
}

static void put_off(struct timespec *when, const struct timespec *now, unsigned ms)
{
	*when = *now;
	when->tv_nsec += ms * 1000000l;
	when->tv_sec += when->tv_nsec / 1000000000;
	when->tv_nsec %= 1000000000;
}

static void look_for_wanted(const struct timespec *now)
{
	struct sl_twin *twin;

	if (!is_due(&st.wants, now))
		return;
	sl_list_for_each (twin, &st.twins, node)
		ask_for_wanted(twin);
	put_off(&st.wants, now, WANTED_MS);
}

static void look_after(bool told)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	look_for_wanted(&now);
	if (!told && !is_due(&st.chores, &now))
		return;
	if (!sl_port_trylock()) {
		if (told)
			usleep(SLEEP_MIN_US);
		return;
	}
	do_chores(told);
	sl_port_unlock();
	put_off(&st.chores, &now, CHORES_MS);
}

/* Until there is something from the kernel, an errand, or the time is over. */
static void sleep_until(unsigned us, bool full)
{
	struct pollfd fds[2 + RTE_MAX_ETHPORTS];
	struct timespec timeout = { .tv_nsec = (long)us * 1000 };
	struct sl_twin *twin;
	nfds_t n = 0;

	fds[n++] = (struct pollfd){ .fd = st.kick_fd, .events = POLLIN };
	fds[n++] = (struct pollfd){ .fd = mnl_socket_get_fd(st.events), .events = POLLIN };
	/* What there is no room for would only keep it awake. */
	sl_list_for_each (twin, &st.twins, node) {
		if (!full && !twin->gone && twin->carrier)
			fds[n++] = (struct pollfd){ .fd = twin->fd, .events = POLLIN };
	}
	if (ppoll(fds, n, st.count ? &timeout : NULL, NULL) <= 0) {
		look_after(false);
		return;
	}
	if (fds[0].revents)
		do_errand();
	else
		look_after(fds[1].revents);
}

static bool move_packets(bool *ret_full)
{
	struct sl_twin *twin;
	unsigned moved = 0;

	*ret_full = false;
	sl_list_for_each (twin, &st.twins, node) {
		bool full;

		moved += sl_twin_send(twin);
		moved += sl_twin_receive(twin, st.area, &full);
		*ret_full |= full;
	}
	return moved;
}

static void loop(void)
{
	unsigned idle = 0, us = SLEEP_MIN_US;

	while (!st.stop) {
		bool full;

		/* Under load now and then, too. */
		if (move_packets(&full) && ++idle % 1024 != 0) {
			us = SLEEP_MIN_US;
			continue;
		}
		sleep_until(us, full);
		us = sl_min(us * 2, (unsigned)SLEEP_MAX_US);
	}
}

/* Everywhere but on workers' CPUs, where there are others. */
static void avoid_workers(void)
{
	const struct sl_worker *w;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return;
	for (unsigned i = 0; (w = sl_worker_at(i)); i++) {
		if (w->cpu < CPU_SETSIZE)
			CPU_CLR(w->cpu, &set);
	}
	if (CPU_COUNT(&set) > 0)
		sched_setaffinity(0, sizeof(set), &set);
}

static int settle_in(void)
{
	int err = unshare(CLONE_NEWNET) == 0 ? 0 : -errno;

	if (!err)
		err = sl_twin_link_open(0, &st.inner);
	if (!err)
		err = sl_twin_area_new(&st.area);
	return err;
}

static void *thread_main(void *arg)
{
	struct errand *start = arg;
	int err;

	prctl(PR_SET_TIMERSLACK, 1);
	avoid_workers();
	st.tid = gettid();
	st.stop = false;
	err = settle_in();
	pthread_mutex_lock(&st.mutex);
	start->result = err;
	start->done = true;
	pthread_cond_broadcast(&st.changed);
	pthread_mutex_unlock(&st.mutex);
	if (!err)
		loop();
	sl_twin_area_free(st.area);
	if (st.inner)
		mnl_socket_close(st.inner);
	st.area = NULL;
	st.inner = NULL;
	return NULL;
}

static void close_sockets(void)
{
	if (st.home)
		mnl_socket_close(st.home);
	if (st.asking)
		mnl_socket_close(st.asking);
	if (st.events)
		mnl_socket_close(st.events);
	if (st.kick_fd > 0)
		close(st.kick_fd);
	st.home = st.asking = st.events = NULL;
	st.kick_fd = -1;
}

static int start_thread(void)
{
	struct errand start = { 0 };
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&st.thread, NULL, thread_main, &start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return err;
	pthread_setname_np(st.thread, "sluice-twin");
	pthread_mutex_lock(&st.mutex);
	while (!start.done)
		pthread_cond_wait(&st.changed, &st.mutex);
	pthread_mutex_unlock(&st.mutex);
	if (start.result)
		pthread_join(st.thread, NULL);
	return start.result;
}

static int start(const char **ret_what)
{
	int err;

	if (st.running)
		return 0;
	*ret_what = "talk to rtnetlink";
	st.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = st.kick_fd < 0 ? -errno : sl_twin_link_open(0, &st.home);
	if (!err)
		err = sl_twin_link_open(0, &st.asking);
	if (!err)
		err = sl_twin_link_open(RTMGRP_LINK, &st.events);
	if (!err) {
		*ret_what = "make a network namespace";
		err = start_thread();
	}
	if (err) {
		close_sockets();
		return err;
	}
	st.running = true;
	st.follows = sluice_route_follow() == 0;
	if (!st.follows)
		sl_log(SL_LOG_WARN, "routes and neighbours of the kernel are not followed");
	return 0;
}

static int stop_thread(void *arg)
{
	(void)arg;
	st.stop = true;
	return 0;
}

/* Without a twin left. */
static void stop(void)
{
	if (st.follows)
		sluice_route_unfollow();
	run_errand(stop_thread, NULL);
	pthread_join(st.thread, NULL);
	close_sockets();
	st.running = false;
}

static int new_ring(struct rte_ring **ret_ring, const char *what, unsigned flags)
{
	static unsigned serial;
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "sl-%s%u", what, serial++);
	*ret_ring = rte_ring_create(name, SL_TWIN_SLOTS, SOCKET_ID_ANY, flags);
	return *ret_ring ? 0 : -(rte_errno ? rte_errno : ENOMEM);
}

/* That of a process that has been killed goes a moment later than the process. */
static bool is_going(const char *name)
{
	struct sl_twin_state state;

	return sl_twin_link_get(st.home, name, &state) != 0 || state.ours;
}

/* A pair whose outer end has a number that no port of ours has. */
static int add_pair(const struct sl_port *port, struct sl_twin_state *ret_state)
{
	struct sl_twin_pair pair = {
		.name = port->name, .mac = port->mac, .mtu = port->mtu, .thread = st.tid
	};
	unsigned tries = 0;
	int err;

	for (;;) {
		err = sl_twin_link_add(st.home, &pair);
		if (err == -EEXIST && tries++ < NAME_RETRIES) {
			if (pair.ifindex)
				pair.ifindex += SL_PORTS_MAX;
			else if (is_going(port->name))
				usleep(NAME_PAUSE_US);
			else
				return err;
			continue;
		}
		if (!err)
			err = sl_twin_link_get(st.home, port->name, ret_state);
		if (err || !sl_port_peek(ret_state->ifindex))
			return err;
		sl_twin_link_del(st.home, ret_state->ifindex);
		pair.ifindex = ret_state->ifindex + SL_PORTS_MAX;
	}
}

/* On the thread: the part that is in its namespace. */
static int take_in(void *arg)
{
	struct sl_twin *twin = arg;
	struct sl_twin_state state;
	int err = sl_twin_link_get(st.inner, twin->port->name, &state);

	if (err)
		return err;
	twin->inner = state.ifindex;
	sl_twin_link_mute(st.inner, twin->inner);
	err = sl_twin_link_set_up(st.inner, twin->inner, true);
	if (!err)
		err = sl_twin_socket(twin->inner, &twin->fd);
	if (!err)
		err = sl_twin_link_set_up(st.home, twin->ifindex, true);
	if (err)
		return err;
	twin->carrier = twin->up = true;
	sl_list_add_tail(&st.twins, &twin->node);
	st.count++;
	return 0;
}

static void free_mbufs(struct sl_twin *twin)
{
	struct rte_mbuf *pkts[SL_BURST];
	unsigned n;

	while ((n = rte_ring_dequeue_burst(twin->from_kernel, (void **)pkts, SL_BURST, NULL)) > 0) {
		sl_twin_count(twin, SLUICE_FROM_KERNEL, n);
		sl_twin_count(twin, SLUICE_STOPPED, n);
		rte_pktmbuf_free_bulk(pkts, n);
	}
	rte_pktmbuf_free_bulk(twin->spare, twin->spare_count);
	twin->spare_count = 0;
}

/* On the thread. */
static int let_go(void *arg)
{
	struct sl_twin *twin = arg;

	while (sl_twin_send(twin))
		;
	sl_twin_count_lost(twin);
	close(twin->fd);
	free_mbufs(twin);
	sl_list_del(&twin->node);
	st.count--;
	return 0;
}

static void twin_destroy(struct sl_twin *twin)
{
	rte_ring_free(twin->to_kernel);
	rte_ring_free(twin->from_kernel);
	free(twin);
	if (st.running && !st.count)
		stop();
}

static int fill_twin(struct sl_twin *twin, struct sl_twin_state *ret_state, const char **ret_what)
{
	int err = new_ring(&twin->to_kernel, "to", RING_F_SC_DEQ);

	if (!err)
		err = new_ring(&twin->from_kernel, "from", RING_F_SP_ENQ | RING_F_SC_DEQ);
	if (err)
		return err;
	*ret_what = "make a veth pair";
	err = add_pair(twin->port, ret_state);
	if (err)
		return err;
	twin->ifindex = ret_state->ifindex;
	sl_twin_link_restrain(st.home, twin->port->name, twin->ifindex);
	*ret_what = "open a packet socket";
	return run_errand(take_in, twin);
}

int sl_twin_add(struct sl_port *port, const char **ret_what)
{
	struct sl_twin_state state = { 0 };
	struct sl_twin *twin;
	int err = start(ret_what);

	if (err)
		return err;
	*ret_what = "get memory";
	twin = calloc(1, sizeof(*twin));
	if (!twin) {
		if (!st.count)
			stop();
		return -ENOMEM;
	}
	twin->port = port;
	twin->fd = -1;
	err = fill_twin(twin, &state, ret_what);
	if (err) {
		if (twin->fd >= 0)
			close(twin->fd);
		if (twin->ifindex)
			sl_twin_link_del(st.home, twin->ifindex);
		twin_destroy(twin);
		return err;
	}
	port->twin = twin;
	port->ifindex = twin->ifindex;
	port->mac = state.mac;
	sl_follow_catch_up();
	return 0;
}

void sl_twin_free(struct sl_twin *twin)
{
	if (!twin)
		return;
	run_errand(let_go, twin);
	sl_twin_link_del(st.home, twin->ifindex);
	sl_counters_retire_more(&twin->counters);
	twin_destroy(twin);
}

static int settle(void *arg)
{
	struct sl_twin *twin;

	(void)arg;
	sl_list_for_each (twin, &st.twins, node) {
		while (sl_twin_send(twin))
			;
	}
	return 0;
}

void sl_twin_settle(void)
{
	if (st.running)
		run_errand(settle, NULL);
}

int sl_twin_set_mtu(struct sl_twin *twin, uint16_t mtu)
{
	return sl_twin_link_set_mtu(st.home, twin->ifindex, mtu);
}

int sl_twin_set_mac(struct sl_twin *twin, const struct rte_ether_addr *mac)
{
	return sl_twin_link_set_mac(st.home, twin->ifindex, mac);
}
