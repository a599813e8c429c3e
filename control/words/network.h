#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * The language of ip(8) for what sluice/route.h has: link set, address, route, neighbour and rule.
 * Words that say nothing to a look-up (proto, scope, onlink) are read and left out.
 */

/* The ifindex of a name, 0 when there is none. */
typedef uint32_t (*sl_network_name_fn)(const char *name);

/*
 * Does what one line says, without the "ip" in front; empty lines and those that begin with # do
 * nothing. 0, or negative errno with the reason in `ret_reason`.
 */
int sl_network_line(
	const char *line, sl_network_name_fn ifindex_of, char *ret_reason, size_t reason_size);
/* Whether the line makes sense, for whatever interfaces there are: nothing is done. */
int sl_network_check(const char *line, char *ret_reason, size_t reason_size);
