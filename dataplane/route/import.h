#pragma once

#include "fib.h"

/*
 * Test runs whose interfaces are the kernel's: as long as nobody has said anything through
 * sluice/route.h, and there are no ports, the network is that of the caller's namespace.
 */

/* Somebody has: from now on nothing is imported. */
SL_CONTROL void sl_route_claim(void);

/* A test run begins: the kernel's network may be another by now. */
SL_CONTROL void sl_route_expire(void);

/*
 * Makes the tables what the kernel's are now, through rtnetlink, once after each sl_route_expire;
 * does nothing after sl_route_claim. In a read section or not, but not on a worker.
 */
SL_CONTROL void sl_route_import(void);

/* What it is made of; all with the lock held, and without claiming. */
SL_CONTROL int sl_interface_put(
	const struct sluice_interface *info, const struct sl_address *addresses, uint32_t count);
SL_CONTROL int sl_neighbour_put(const struct sluice_neighbour *info);
SL_CONTROL int sl_rule_put(const struct sluice_rule *rule);
/* Everything goes. */
SL_CONTROL void sl_interface_clear(void);
SL_CONTROL void sl_rule_clear(void);
