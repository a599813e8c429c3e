#pragma once

#include <sluice/dataplane.h>

#include <linux/if_ether.h>
#include <stdbool.h>

#include "ring_port.h"
#include "stand_in.h"

/* Two ports, running workers, and frames that tell programs what to do. */

enum { PAYLOAD = ETH_HLEN, FRAME = 64 };

/* An Ethernet frame whose first payload bytes tell the programs below what to do. */
struct frame {
	uint8_t bytes[FRAME];
};

struct frame frame_of(uint8_t verdict, uint8_t argument);

struct bed {
	struct ring_port a, b;
	int done; /* tells the test's own threads to end */
};

bool bed_open(struct bed *bed, unsigned tx_queues);
/* Everything that came in has ended, and nothing is left behind. */
void bed_close(struct bed *bed);
/* Sends one frame into port a and waits for its end. */
void send_one(struct bed *bed, struct frame f);

int attach_xdp(struct ring_port *port, sl_prog_fn fn);
int attach_tc(struct ring_port *port, enum sluice_tc_hook hook, sl_prog_fn fn);

uint64_t counter_of(const struct ring_port *port, enum sluice_counter counter);
uint64_t sum_of(enum sluice_counter_kind kind);
/* Waits until every packet that came in has ended, as far as counters tell. */
void settle(const struct ring_port *port, uint64_t received);
