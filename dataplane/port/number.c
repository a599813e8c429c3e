#include <net/if.h>

#include "port.h"

/*
 * The numbers that ports go by. A port with a twin has the number of that kernel interface, others
 * have one of their own; programs know ports by nothing else, so workers look them up here.
 */
struct sl_port *sl_port_buckets[SL_PORT_BUCKETS];

static bool is_taken(uint32_t ifindex, bool beside_kernel)
{
	char name[IF_NAMESIZE];

	return sl_port_peek(ifindex) || (beside_kernel && if_indextoname(ifindex, name));
}

uint32_t sl_port_number(uint16_t id, bool beside_kernel)
{
	uint32_t ifindex = id + 1u;

	while (is_taken(ifindex, beside_kernel))
		ifindex += SL_PORTS_MAX;
	return ifindex;
}

void sl_port_publish(struct sl_port *port)
{
	struct sl_port **bucket = &sl_port_buckets[port->ifindex % SL_PORT_BUCKETS];

	port->next = *bucket;
	sl_rcu_store(*bucket, port);
	sl_rcu_store(sl_ports[port->id], port);
}

void sl_port_withdraw(struct sl_port *port)
{
	struct sl_port **link = &sl_port_buckets[port->ifindex % SL_PORT_BUCKETS];

	while (*link != port)
		link = &(*link)->next;
	sl_rcu_store(*link, port->next);
	sl_rcu_store(sl_ports[port->id], NULL);
}
