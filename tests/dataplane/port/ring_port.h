#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_ring;

/*
 * Ports whose other ends the test holds: what it puts into `in` arrives at the port, what the port
 * transmits comes out of `out`. Frames are bytes; their mbufs come from a pool of the test, whose
 * fill level tells whether each packet was freed exactly once.
 */
enum { RING_FRAME_MAX = 256, RING_QUEUES_MAX = 2 };

struct ring_port {
	uint32_t ifindex;
	unsigned tx_queues;
	uint16_t id;
	struct rte_ring *in, *out[RING_QUEUES_MAX];
};

/* Starts the EAL for two workers, or one where there is one CPU; does nothing the next times. */
int ring_eal(void);

/* Before the EAL was started. */
extern bool ring_runtime_dir_was_there;

struct sluice_port_options;

int ring_port_open(struct ring_port *port, unsigned tx_queues);
/* The same with options, which may be NULL. */
int ring_port_open_as(
	struct ring_port *port, unsigned tx_queues, const struct sluice_port_options *options);
void ring_port_close(struct ring_port *port);

/* Sends `n` copies of a frame, waiting while the ring is full. */
void ring_send(struct ring_port *port, const void *frame, uint32_t len, unsigned n);

/* One packet, for a test to make more of; and sends it. */
struct rte_mbuf *ring_new_frame(const void *frame, uint32_t len);
void ring_send_mbuf(struct ring_port *port, struct rte_mbuf *m);

/*
 * Takes one packet that came out, waiting for it up to a second; returns its length, 0 for none.
 * `ret_frame` has room for RING_FRAME_MAX bytes, what is longer is cut.
 */
uint32_t ring_receive(struct ring_port *port, void *ret_frame);
/* Takes all that is there and returns how many. */
unsigned ring_receive_all(struct ring_port *port);

/* Mbufs that are not back in the pool. */
unsigned ring_mbufs_out(void);
