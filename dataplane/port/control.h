#pragma once

#include <rte_ether.h>

#include "defs.h"

struct sl_port;

/*
 * A port's MTU and MAC address, from the device to what programs are told. With the ports' lock held,
 * and without a line in the log; the twin is the caller's.
 */
SL_CONTROL int sl_control_set_mtu(struct sl_port *port, uint16_t mtu);
SL_CONTROL int sl_control_set_mac(struct sl_port *port, const struct rte_ether_addr *mac);
