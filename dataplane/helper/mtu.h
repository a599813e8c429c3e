#pragma once

#include "context.h"

/* An interface as bpf_check_mtu sees it. */
struct sl_link_size {
	uint32_t mtu; /* bytes behind the link-layer header */
	uint32_t header; /* bytes of that */
};

/*
 * The port with this ifindex; false where there is none. Called on workers and in test runs; the port
 * layer sets it once at start-up; NULL: there are no ports.
 */
extern bool (*sl_port_link_size)(uint32_t ifindex, struct sl_link_size *ret_size);
