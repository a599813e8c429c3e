#pragma once

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

#include "both.h"

/*
 * The same requests to the kernel, about one end of a veth, and to Sluice's service, about a port;
 * and what they answer, as text in which numbers that differ by nature are left out.
 */
enum { WORLD_PROGS = 3, ANSWER_LEN = 65536 };

struct world {
	enum side side;
	uint32_t ifindex;
	int socket; /* of the kernel's */
	int cls[WORLD_PROGS], act[WORLD_PROGS], xdp[WORLD_PROGS]; /* return 0, 1, 2 */
	int none; /* a number that is not open */
	int foreign; /* a descriptor that is no program */
	bool privileged;
	bool elsewhere; /* in another network namespace than the ports' twins */
};

/* Both, the kernel's in a network namespace that the process is in from then on. */
bool world_open(struct world *kernel, struct world *sluice, uint32_t port, const char **ret_reason);
void world_close(struct world *world);
/* A fresh veth: nothing was ever attached to it. */
bool world_renew(struct world *kernel);

/* Sends the request with NLM_F_REQUEST | NLM_F_ACK; `ret` is the answer as text. */
void world_ask(struct world *world, struct nlmsghdr *request, char ret[static ANSWER_LEN]);
