#pragma once

#include <sluice/dataplane.h>

#include "list.h"
#include "worker.h"

struct rte_ring;
struct sl_twin_area;

/*
 * Kernel twins. A twin is a veth pair: the outer end has the port's name and is in the namespace of
 * who added the port; the inner end is in a namespace of the process's own, which nothing but a
 * thread of it holds. When the process dies, however it does, that namespace goes, with it the inner
 * end, and with that the outer one.
 *
 * Packets cross between workers and the kernel by two rings and this one thread, which sends and
 * receives bursts on packet sockets. It lives on CPUs that no worker has, and sleeps for some tens of
 * microseconds at a time when there is nothing to do, as no worker may wake it.
 */
enum { SL_TWIN_WANTED = 16 };
enum sl_twin_want_state { SL_WANT_FREE, SL_WANT_TAKEN, SL_WANT_ASKED };

struct sl_twin {
	/*
	 * Neighbours that workers would know: taken by a worker (FREE to TAKEN), filled (ASKED), and
	 * asked for by the thread (FREE), once in a while.
	 */
	struct sl_twin_want {
		uint32_t state;
		uint16_t family;
		uint8_t address[16];
	} wanted[SL_TWIN_WANTED];
	uint32_t any_wanted;

	/* Immutable. */
	struct rte_ring *to_kernel; /* any worker to the thread */
	struct rte_ring *from_kernel; /* the thread to one worker */
	struct sl_port *port;
	uint32_t ifindex, inner; /* of its two ends, each in its namespace */

	/* The thread's. */
	int fd; /* packet socket on the inner end */
	bool up; /* the outer end is */
	bool carrier; /* the inner end is up: the port has a link */
	bool gone; /* somebody has deleted it */
	struct sl_list node;
	unsigned spare_count;
	struct rte_mbuf *spare[SL_BURST]; /* to be filled */
	struct sluice_counters counters; /* written by the thread, read by anybody */
};

/* What the rings and the thread hold at most, of which some comes from each port's pool. */
enum { SL_TWIN_SLOTS = 2048, SL_TWIN_MBUFS = 2 * SL_TWIN_SLOTS + 4 * SL_BURST };

/* A kernel interface's name can be no other: short, and without some characters. */
SL_ANY bool sl_twin_name_is_good(const char *name);

/*
 * Makes a port that is not published a twin, and gives it the twin's number. With the ports' lock
 * held, as the rest. *ret_what says what could not be done.
 */
SL_CONTROL int sl_twin_add(struct sl_port *port, const char **ret_what);
/* The port has been withdrawn and no worker knows it. What waits goes to the kernel or is counted. */
SL_CONTROL void sl_twin_free(struct sl_twin *twin);
/* With no worker running: what waits for the kernel goes there. */
SL_CONTROL void sl_twin_settle(void);
/* Whether there is any. */
SL_CONTROL bool sl_twin_exists(void);
/* The port's own has changed. */
SL_CONTROL int sl_twin_set_mtu(struct sl_twin *twin, uint16_t mtu);
SL_CONTROL int sl_twin_set_mac(struct sl_twin *twin, const struct rte_ether_addr *mac);

/* twin_worker.c: packets that are complete go to the kernel's side of a port that has one. */
SL_WORKER void sl_twin_burst(
	struct sl_worker *worker, struct sl_port *port, struct rte_mbuf **pkts, unsigned n);
SL_WORKER void sl_twin_put(struct sl_worker *worker, struct sl_port *port, struct rte_mbuf *pkt);
SL_WORKER void sl_twin_flush(struct sl_worker *worker);
/*
 * Makes the kernel look for a neighbour, or see whether it is still there, as a packet of its own
 * would. Forgotten when there are too many to look for.
 */
SL_WORKER void sl_twin_want(struct sl_twin *twin, uint16_t family, const void *address);
/* What the kernel sends: through the port's egress filters, and out. */
SL_WORKER void sl_twin_poll(struct sl_worker *worker, struct sl_port *port);

/* twin_io.c, on the thread: both return how many packets they have moved. */
int sl_twin_area_new(struct sl_twin_area **ret_area);
void sl_twin_area_free(struct sl_twin_area *area);
int sl_twin_socket(uint32_t ifindex, int *ret_fd);
unsigned sl_twin_send(struct sl_twin *twin);
/* *ret_full: there may be more, but no room for it. */
unsigned sl_twin_receive(struct sl_twin *twin, struct sl_twin_area *area, bool *ret_full);
/* What the socket had no room for. */
void sl_twin_count_lost(struct sl_twin *twin);

static inline void sl_twin_count(struct sl_twin *twin, enum sluice_counter counter, uint64_t n)
{
	uint64_t *value = &twin->counters.value[counter];

	__atomic_store_n(value, *value + n, __ATOMIC_RELAXED);
}
